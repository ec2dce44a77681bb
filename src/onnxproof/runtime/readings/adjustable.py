"""What every reading has: settings that a user may replace, and outputs whose dtypes and axes are checked."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from types import MappingProxyType
from typing import Any, Self

from numpy.typing import NDArray

from onnxproof.document import Entry
from onnxproof.errors import ModelFileError, RequestError
from onnxproof.tensors import TensorSpec
from onnxproof.text import meant

Array = NDArray[Any]

SETTINGS: Mapping[str, Callable[[Entry], float]] = MappingProxyType(
    {
        "score_threshold": lambda entry: entry.number(0, 1),
        "iou_threshold": lambda entry: entry.number(0, 1),
        "mask_threshold": lambda entry: entry.number(0, 1),
        "overlap_threshold": lambda entry: entry.number(0, 1),
        "point_threshold": lambda entry: entry.number(0, 1),
        "class_agnostic": lambda entry: entry.flag(),
        "top_k": lambda entry: entry.whole(1),
    }
)
"""The settings that a user may replace, and the function that checks the value of each."""


@dataclass(frozen=True, slots=True)
class Adjustable:
    """A reading. Those of its fields that ``SETTINGS`` names are settings."""

    outputs: tuple[str, ...]

    def settings(self) -> dict[str, float]:
        """The settings that a user may replace, by name."""
        names = sorted(entry.name for entry in fields(self) if entry.name in SETTINGS)
        return {name: getattr(self, name) for name in names}

    def with_settings(self, **settings: float) -> Self:
        """The same reading with some of its settings replaced.

        Raises RequestError for a setting that it does not have, or a value outside of its range.
        """
        known = self.settings()
        for name, value in settings.items():
            if name not in known:
                listed = ", ".join(known) or "none"
                raise RequestError(f"{name} is no setting here; there are: {listed}{meant(name, known)}")
            try:
                SETTINGS[name](Entry(value, name))
            except ModelFileError as error:
                raise RequestError(str(error)) from error
        return replace(self, **settings)  # type: ignore[arg-type]

    def require(self, outputs: Mapping[str, TensorSpec]) -> None:
        """Raise RequestError if an output does not have the dtype and the axes that are read."""


def setting(keys: Mapping[str, Entry], name: str) -> Any:
    """The checked value of a setting among the entries of a reading."""
    return SETTINGS[name](keys[name])


def output_names(keys: Mapping[str, Entry], least: int, most: int | None = None) -> tuple[str, ...]:
    """The names under "outputs". Raises ModelFileError if they are not ``least`` to ``most`` different names;
    ``most`` None means ``least``."""
    names = tuple(entry.text() for entry in keys["outputs"].entries())
    most = least if most is None else most
    if not least <= len(names) <= most or len(set(names)) < len(names):
        count = str(least) if least == most else f"{least} to {most}"
        raise keys["outputs"].refused(f"a list of {count} different names")
    return names


def require_form(spec: TensorSpec, dtype: str, *axes: int | None) -> None:
    """Raise RequestError if an output's dtype does not begin with ``dtype`` ("float", "int"), or if its axes
    do not have the sizes ``axes``. None stands for any size. A dynamic axis fits every size."""
    fits = len(spec.shape) == len(axes) and all(
        wanted is None or isinstance(size, str) or size == wanted
        for size, wanted in zip(spec.shape, axes, strict=True)
    )
    if not fits or not spec.dtype.startswith(dtype):
        form = ", ".join("any" if axis is None else str(axis) for axis in axes)
        raise RequestError(f"the output {spec.name} is {spec}, its reading expects {dtype}[{form}]")


def require_scored_boxes(boxes: TensorSpec, scores: TensorSpec, numbers: int = 4) -> None:
    """Raise RequestError if outputs are not boxes float [b, n, numbers] and scores float [b, n, classes]."""
    require_form(boxes, "float", None, None, numbers)
    require_form(scores, "float", None, None, None)
