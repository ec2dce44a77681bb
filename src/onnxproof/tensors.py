"""The vocabulary of shapes and of what a tensor's channels mean.

``Dim`` is a dynamic axis, ``TensorSpec`` an input or an output, ``Field`` a slice of an output's
last axis with one meaning. All three are plain values: they hold no tensor and import no framework.
"""

import json
import math
import re
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self

from onnxproof.document import Entry
from onnxproof.errors import RequestError

INTEGERS = ("uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64")
HALVES = ("float16", "bfloat16")
"""The float types of half precision."""

DTYPES = (*HALVES, "float32", "float64", *INTEGERS, "bool")

EPSILONS = {"float16": 2.0**-10, "bfloat16": 2.0**-7, "float32": 2.0**-23, "float64": 2.0**-52}
"""A unit in the last place of 1, by dtype."""

REAL = {"complex32": "float16", "complex64": "float32", "complex128": "float64"}
"""The dtype of the real and the imaginary part of each complex dtype."""

LIMITS: Mapping[str, tuple[float, float]] = {
    "float16": (-65504, 65504),
    "bfloat16": (-3.3895313892515355e38, 3.3895313892515355e38),
    "float32": (-3.4028235e38, 3.4028235e38),
    "float64": (-sys.float_info.max, sys.float_info.max),
    **{f"uint{bits}": (0, 2**bits - 1) for bits in (8, 16, 32, 64)},
    **{f"int{bits}": (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) for bits in (8, 16, 32, 64)},
    "bool": (0, 1),
}
"""The least and the largest value of each dtype."""

MOST_AXES = 64
"""The most axes of a tensor: NumPy's and PyTorch's limit."""

DIM_PATTERN = re.compile(r"(\d+)(?:\s*\.\.\s*(\d+))?(?:\s+step\s+(\d+))?")
_NUMBER = r"[+-]?(?:\d+(?:\.\d+)?|\.\d+)(?:[eE][+-]?\d+)?"
SPEC_PATTERN = re.compile(rf"(\w+)\s*\[([^\]]*)\](?:\s+in\s+({_NUMBER})\.\.({_NUMBER})|\s+as\s+(mask))?")
_AXIS_PATTERN = re.compile(r"\d+|[A-Za-z_]\w*")


@dataclass(frozen=True, slots=True)
class Dim:
    """A dynamic axis: a name, the sizes from ``min`` to ``max`` inclusive, in steps of ``multiple``.

    Raises RequestError if a number is below 1, if ``min`` is above ``max``, or if one of these two is not a
    multiple of ``multiple``.
    """

    name: str
    min: int
    max: int
    multiple: int = 1

    def __post_init__(self) -> None:
        if self.multiple < 1 or self.min < 1:
            raise RequestError(f"dimension {self.name} = {self}: sizes and steps start at 1")
        if self.min > self.max:
            raise RequestError(
                f"dimension {self.name} = {self}: the minimum is above the maximum; "
                f'write "{self.max}..{self.min}"'
            )
        for end in (self.min, self.max):
            if end % self.multiple:
                low = end - end % self.multiple
                near = sorted({max(low, self.multiple), low + self.multiple})
                raise RequestError(
                    f"dimension {self.name} = {self}: {end} is not a multiple of the step "
                    f"{self.multiple}; use {' or '.join(map(str, near))}"
                )

    @classmethod
    def parse(cls, name: str, text: str | int) -> Self:
        """Read ``"64..640 step 32"``, ``"1..8"``, ``"3"`` or ``3`` (a fixed size)."""
        match = DIM_PATTERN.fullmatch(str(text).strip())
        if match is None:
            raise RequestError(
                f"dimension {name} = {json.dumps(text)}: expected a size or a range, "
                'for example "8", "1..8" or "64..640 step 32"'
            )
        low, high, step = match.groups()
        return cls(name, int(low), int(high or low), int(step or 1))

    @classmethod
    def read(cls, entry: Entry) -> Self:
        """Read a JSON object with the keys of this class. Raises ModelFileError for any other value."""
        keys = entry.table(("name", "min", "max"), ("multiple",))
        with entry.naming():
            return cls(
                keys["name"].text(),
                keys["min"].whole(1),
                keys["max"].whole(1),
                keys["multiple"].whole(1) if "multiple" in keys else 1,
            )

    def __str__(self) -> str:
        step = f" step {self.multiple}" if self.multiple != 1 else ""
        return f"{self.min if self.fixed else f'{self.min}..{self.max}'}{step}"

    @property
    def fixed(self) -> bool:
        """Whether only one size is allowed."""
        return self.min == self.max

    def admits(self, size: int) -> bool:
        """Whether ``size`` is one of the declared sizes."""
        return self.min <= size <= self.max and size % self.multiple == 0

    def in_steps_of(self, step: int) -> bool:
        """Whether every declared size is a multiple of ``step``."""
        return self.min % step == 0 and (self.fixed or self.multiple % step == 0)

    def rounded_to(self, step: int) -> str:
        """The text of the dim with those of its sizes that are multiples of ``step``.

        If none is, it has the first multiple above ``min``.
        """
        low, high = -(-self.min // step) * step, self.max // step * step
        return f"{low}..{high} step {step}" if low < high else str(low)

    def floor(self, size: float) -> int:
        """The largest declared size that is not above ``size``, or ``min`` if there is none."""
        return min(max(int(size) // self.multiple * self.multiple, self.min), self.max)

    def ceil(self, size: float) -> int:
        """The smallest declared size that is not below ``size``, or ``max`` if there is none."""
        return min(max(-int(-size // self.multiple) * self.multiple, self.min), self.max)


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """A named tensor: its dtype, its axes (an int is fixed, a str is a name) and its value range.

    Seeded cases draw values from ``range`` (inclusive). It is None if none is declared. A ``mask`` is a
    padding mask: each row of the last axis holds one or more ones, then zeros.
    """

    name: str
    dtype: str
    shape: tuple[int | str, ...]
    range: tuple[float, float] | None = None
    mask: bool = False

    def __post_init__(self) -> None:
        if self.mask and not self.shape:
            raise RequestError(f"tensor {self.name}: a mask needs an axis to run along")
        if self.dtype in REAL:
            raise RequestError(
                f"tensor {self.name} is {self.dtype}; a file's inputs and outputs hold real numbers: let the "
                f"module take and return torch.view_as_real of it, {REAL[self.dtype]}[..., 2], and make it "
                "complex inside with torch.view_as_complex"
            )
        if self.dtype not in DTYPES:
            raise RequestError(f"tensor {self.name}: dtype {self.dtype} is not one of {', '.join(DTYPES)}")
        if self.range is not None and not -math.inf < self.range[0] <= self.range[1] < math.inf:
            raise RequestError(
                f"tensor {self.name}: the range {self.range[0]}..{self.range[1]} is empty or infinite"
            )
        if len(self.shape) > MOST_AXES:
            raise RequestError(f"tensor {self.name}: {len(self.shape)} axes, expected at most {MOST_AXES}")

    @classmethod
    def parse(cls, name: str, text: str) -> Self:
        """Read ``"float32[batch, 3, height, width] in 0..255"`` or ``"int64[batch, time] as mask"``.

        The part after the axes is optional.
        """
        match = SPEC_PATTERN.fullmatch(text.strip())
        axes = [axis.strip() for axis in match[2].split(",")] if match and match[2].strip() else []
        if match is None or not all(_AXIS_PATTERN.fullmatch(axis) for axis in axes):
            raise RequestError(
                f'tensor {name} = "{text}": expected dtype[axes] and optionally a range, '
                'for example "float32[batch, 3, height, width] in 0..255"'
            )
        low, high = match[3], match[4]
        return cls(
            name,
            match[1],
            tuple(int(axis) if axis.isdigit() else axis for axis in axes),
            None if low is None else (float(low), float(high)),
            match[5] is not None,
        )

    def __str__(self) -> str:
        # Every digit of the range is kept, because a bundle's job is written as this text and read back.
        ends = [repr(float(end)).removesuffix(".0") for end in self.range or ()]
        limits = " as mask" if self.mask else f" in {'..'.join(ends)}" if ends else ""
        return f"{self.dtype}[{', '.join(map(str, self.shape))}]{limits}"

    @property
    def axis_names(self) -> tuple[str, ...]:
        """The named axes, in order."""
        return tuple(axis for axis in self.shape if isinstance(axis, str))

    def sized(self, sizes: Mapping[str, int]) -> tuple[int, ...]:
        """The shape with every name replaced by its size. Raises KeyError if ``sizes`` lacks one."""
        return tuple(sizes[axis] if isinstance(axis, str) else axis for axis in self.shape)

    def to_json(self) -> dict[str, Any]:
        """A JSON object: name, dtype, shape and range."""
        limits = None if self.range is None else list(self.range)
        document = {"name": self.name, "dtype": self.dtype, "shape": list(self.shape), "range": limits}
        return {**document, "mask": True} if self.mask else document

    @classmethod
    def from_json(cls, value: Any) -> Self:
        """The inverse of ``to_json``. Raises ModelFileError for any other value."""
        return cls.read(Entry(value))

    @classmethod
    def read(cls, entry: Entry) -> Self:
        """As ``from_json``, for a value inside a document."""
        keys = entry.table(("name", "dtype", "shape"), ("range", "mask"))
        limits = None
        if "range" in keys and keys["range"].value is not None:
            held = LIMITS[keys["dtype"].text(DTYPES)]
            low, high = (end.number(*held) for end in keys["range"].entries(2))
            limits = (low, high)
        with entry.naming():
            return cls(
                keys["name"].text(),
                keys["dtype"].text(DTYPES),
                tuple(_axis(axis) for axis in keys["shape"].entries()),
                limits,
                keys["mask"].flag() if "mask" in keys else False,
            )


NONE = Entry(None)

KINDS = ("continuous", "label")


@dataclass(frozen=True, slots=True)
class Field:
    """The channels ``start:stop`` of the last axis of one output, which share a meaning and a unit.

    ``kind`` is "continuous" (judged by its error) or "label" (a class index, judged by its flips).
    ``stop`` None means to the end. If a label is the arg-max of a continuous field, ``ranks`` names that
    field: a flip is excused if the oracle's lead is within the field's error.
    """

    output: str
    name: str
    unit: str
    start: int = 0
    stop: int | None = None
    kind: Literal["continuous", "label"] = "continuous"
    ranks: str | None = None

    @property
    def channels(self) -> slice:
        """The slice of the last axis."""
        return slice(self.start, self.stop)

    @classmethod
    def read(cls, entry: Entry) -> Self:
        """Read a JSON object with the keys of this class. Raises ModelFileError for any other value."""
        keys = entry.table(("output", "name", "unit"), ("start", "stop", "kind", "ranks"))
        stop, ranks = (None if keys.get(key, NONE).value is None else keys[key] for key in ("stop", "ranks"))
        return cls(
            keys["output"].text(),
            keys["name"].text(),
            keys["unit"].words(),
            keys["start"].whole() if "start" in keys else 0,
            None if stop is None else stop.whole(),
            keys["kind"].text(KINDS) if "kind" in keys else "continuous",  # type: ignore[arg-type]
            None if ranks is None else ranks.text(),
        )


def _axis(entry: Entry) -> int | str:
    if isinstance(entry.value, str):
        return entry.text()
    if isinstance(entry.value, int) and not isinstance(entry.value, bool):
        return entry.whole()
    raise entry.refused("a size or a name of an axis")


def dims_by_name(dims: Iterable[Dim]) -> dict[str, Dim]:
    """Index dims by name. Raises RequestError if a name comes twice."""
    indexed: dict[str, Dim] = {}
    for dim in dims:
        if dim.name in indexed:
            raise RequestError(f"dimension {dim.name} is declared twice")
        indexed[dim.name] = dim
    return indexed
