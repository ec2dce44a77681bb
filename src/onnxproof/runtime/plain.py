"""Any ONNX file, also one that onnxproof did not write: its interface, and its outputs as arrays.

Such a file does not say what its outputs mean. An input of three channels takes a picture. The file does not
say how the model normalises pixels either, so they are given in [0, 1] or as they are; for a model that needs
more, give an array.
"""

import math
import warnings
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from onnxproof.errors import ModelFileError, OnnxproofError, PictureError, RequestError
from onnxproof.runtime.folder import model_file
from onnxproof.runtime.look import look_at
from onnxproof.runtime.manifest import METADATA_KEY
from onnxproof.runtime.port import Port
from onnxproof.runtime.preprocess import Picture, read_picture
from onnxproof.runtime.session import (
    CPU,
    SessionSettings,
    first_line,
    open_session,
    provider_names,
    provider_notes,
)
from onnxproof.runtime.stored import arrays_in
from onnxproof.system.signatures import argument, checks_arguments
from onnxproof.text import meant

Array = NDArray[Any]

NO_VERSION = 2**63 - 1
"""The model version that ONNX Runtime returns for a file that states none."""

ROWS = 8
"""A summary names the arg-max of at most this many rows."""

PICTURE_DTYPES = ("float32", "uint8")


@dataclass(frozen=True, slots=True)
class PictureLayout:
    """How a picture is laid into an input. ``order`` is "NCHW" or "NHWC". ``height`` and ``width`` are in px,
    and None if dynamic."""

    order: str
    height: int | None
    width: int | None


class PlainModel:
    """An ONNX file and its session. Made by ``load_plain``; safe to call from several threads."""

    def __init__(self, session: Any, file: Path) -> None:
        self.session = session
        self.file = file
        self.inputs = tuple(Port.of(node) for node in session.get_inputs())
        self.outputs = tuple(Port.of(node) for node in session.get_outputs())
        self.metadata: Mapping[str, str] = session.get_modelmeta().custom_metadata_map

    @property
    def by_onnxproof(self) -> bool:
        """Whether the file carries a manifest, so that ``onnxproof.load`` can predict with it."""
        return METADATA_KEY in self.metadata

    def to_json(self) -> dict[str, Any]:
        """What the file says of itself. "task" is null, because the file names none."""
        about = self.session.get_modelmeta()
        return {
            "file": str(self.file),
            "task": None,
            "inputs": [port.to_json() for port in self.inputs],
            "outputs": [port.to_json() for port in self.outputs],
            "producer": about.producer_name,
            "graph": about.graph_name,
            "description": about.description,
            "version": None if about.version == NO_VERSION else about.version,
            "opset": look_at(self.file).opsets,
            "metadata": dict(sorted(self.metadata.items())),
        }

    def run(self, arrays: Mapping[str, Array]) -> dict[str, Any]:
        """The outputs by name, for one array for each input. A sequence or map is returned as a list or dict.

        Raises ModelFileError if the file has no outputs, RequestError if names, dtypes, ranks or fixed sizes
        are not the file's, or if ONNX Runtime cannot run these sizes.
        """
        if not self.outputs:
            raise ModelFileError(
                f"{self.file} has no outputs, so there is nothing to compute: export it again"
            )
        argument("arrays", arrays, Mapping[str, Any])
        self.require_names(arrays)
        for port in self.inputs:
            port.check(arrays[port.name])
        names = [port.name for port in self.outputs]
        feeds = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
        # ascontiguousarray gives 0-d arrays an axis.
        feeds = {name: feed.reshape(arrays[name].shape) for name, feed in feeds.items()}
        try:
            # ONNX Runtime's exceptions have no common public base below Exception.
            return dict(zip(names, self.session.run(names, feeds), strict=True))
        except OnnxproofError:
            raise
        except Exception as error:
            sizes = ", ".join(f"{name} {list(array.shape)}" for name, array in arrays.items())
            reason = first_line(error)
            raise RequestError(
                f"{self.file} does not run on {sizes} ({reason}): try other sizes of the dynamic axes, "
                "such as those that the model was exported with, or multiples of 32"
            ) from error

    def require_names(self, names: Mapping[str, object]) -> None:
        """Raise RequestError if an input is missing, or if a name is not an input's."""
        expected = {port.name for port in self.inputs}
        missing = [port for port in self.inputs if port.name not in names]
        unknown = sorted(names.keys() - expected)
        if unknown:
            hint = meant(str(unknown[0]), expected)
            raise RequestError(
                f'the file has no input "{unknown[0]}"; there are: {self._list_inputs()}{hint}'
            )
        if missing:
            raise RequestError(
                f"nothing is given for input {missing[0].name} {missing[0]}; the inputs are: "
                f"{self._list_inputs()}: give each, --input NAME=FILE"
            )

    def input_named(self, name: str) -> Port:
        """The input of that name. Raises RequestError if there is none."""
        for port in self.inputs:
            if port.name == name:
                return port
        hint = meant(str(name), [port.name for port in self.inputs])
        raise RequestError(f'the file has no input "{name}"; there are: {self._list_inputs()}{hint}')

    def picture_input(self, given: Collection[str] = ()) -> Port:
        """The only input, besides those ``given``, that a picture fits. Raises PictureError if none does, or
        if several do."""
        free = [port for port in self.inputs if port.name not in given]
        fitting = []
        for port in free:
            try:
                layout_of(port)
            except PictureError:
                continue
            fitting.append(port)
        if len(fitting) == 1:
            return fitting[0]
        if len(free) == 1:
            layout_of(free[0])  # raises, and says why the picture does not fit
        count = f"{len(fitting)} inputs" if fitting else "no input that is still free"
        raise PictureError(
            f"{count} can take a picture; there are: {self._list_inputs()}: "
            "give each by its name, --input NAME=FILE"
        )

    def _list_inputs(self) -> str:
        return ", ".join(f"{port.name} {port}" for port in self.inputs) or "none"


@checks_arguments
def load_plain(
    path: str | PathLike[str],
    *,
    providers: str | Sequence[str] = (CPU,),
    threads: int = 0,
    fallback: bool = False,
) -> PlainModel:
    """Load any ONNX file (or a bundle's) to run it with arrays.

    ``threads``, ``providers`` and ``fallback`` are as for ``load``. Raises ModelFileError if the file is
    missing or broken, RequestError for too many threads, or a provider that is not there.
    """
    file = model_file(path)
    asked = SessionSettings(provider_names(providers), threads, fallback=fallback)
    session = open_session(file, asked)
    for note in provider_notes(session, asked):
        warnings.warn(note, RuntimeWarning, stacklevel=3)  # past checks_arguments
    return PlainModel(session, file)


def layout_of(port: Port) -> PictureLayout:
    """How a picture fits an input. Raises PictureError, which says why, if it does not.

    The axis of size 3 holds the channels: the second in "NCHW", the last in "NHWC". If both have size 3,
    "NCHW" is chosen, which is PyTorch's.
    """

    def refuse(why: str) -> PictureError:
        return PictureError(
            f"a picture does not fit input {port.name} {port}: {why}; "
            f"make the array yourself, --input {port.name}=FILE.npy"
        )

    if port.dtype not in PICTURE_DTYPES:
        raise refuse(f"expected dtype {' or '.join(PICTURE_DTYPES)}")
    if len(port.shape) != 4:
        raise refuse("expected four axes, batch, channels, height and width")
    batch, second, third, fourth = port.shape
    if isinstance(batch, int) and batch != 1:
        raise refuse(f"its batch is fixed at {batch}, a picture makes a batch of 1")
    if second == 3:
        order, height, width = "NCHW", third, fourth
    elif fourth == 3:
        order, height, width = "NHWC", second, third
    else:
        raise refuse("no channel axis (the second or the last) is fixed at 3, for red, green and blue")
    return PictureLayout(
        order, height if isinstance(height, int) else None, width if isinstance(width, int) else None
    )


@checks_arguments
def picture_array(picture: Picture, port: Port, *, scale: float = 1.0) -> tuple[Array, str]:
    """A picture as the array for an input, [1, 3, H, W] or [1, H, W, 3] in RGB, and what was done to it.

    The picture is stretched to a fixed height or width; a dynamic one is the picture's own. float32 pixels
    are in [0, ``scale``], uint8 pixels in 0..255. Raises PictureError if the picture cannot be read, or if
    it does not fit the input.
    """
    layout = layout_of(port)
    image = read_picture(picture)
    own = image.size
    size = (layout.width or own[0], layout.height or own[1])
    if size != own:
        image = image.resize(size)
    pixels: Array = np.asarray(image)
    span = "0..255"
    if port.dtype == "float32":
        pixels = pixels.astype(np.float32)
        if scale != 255:
            pixels *= np.float32(scale / 255)
        span = f"[0, {scale:g}]"
    if layout.order == "NCHW":
        pixels = pixels.transpose(2, 0, 1)
    array = np.ascontiguousarray(pixels[None])
    resized = "its own size" if size == own else f"stretched from {own[0]}x{own[1]} to {size[0]}x{size[1]}"
    return array, f"input {port.name}: RGB in {span}, {layout.order} {list(array.shape)}, {resized}"


Fits: TypeAlias = Callable[[str, Array], None]
"""Raises RequestError if an array of this dtype and shape does not fit the input of this name."""


def anything(name: str, outline: Array) -> None:
    """``Fits`` that takes any array."""


@checks_arguments
def gather(
    model: PlainModel, given: Sequence[str], *, scale: float = 1.0
) -> tuple[dict[str, Array], tuple[str, ...]]:
    """Arrays by input name from texts, and what was done to pictures. Each text is one of these:

    - NAME=FILE. The file is a .npy, a .npz (its array of that name, or its only one) or a picture
      (``scale`` as in ``picture_array``).
    - A .npz alone, which holds inputs by name.
    - A .npy alone, if the model has one input.

    Raises RequestError if a name or a file does not exist, or if a name comes twice; PictureError as
    ``picture_array``. The arrays' shapes are not checked.
    """
    return gather_fitting(model, given, anything, scale=scale)


def gather_fitting(
    model: PlainModel, given: Sequence[str], fits: Fits, *, scale: float = 1.0
) -> tuple[dict[str, Array], tuple[str, ...]]:
    """As ``gather``. Of the arrays that ``fits`` refuses, no more than the header is read."""
    arrays: dict[str, Array] = {}
    notes: list[str] = []
    for text in given:
        # Compared with the inputs' names, because a name or a path may itself hold an equals sign.
        port = next((port for port in model.inputs if text.startswith(f"{port.name}=")), None)
        if port is None:
            found = _arrays_alone(model, text, fits)
        else:
            file = text.removeprefix(f"{port.name}=")
            if file.lower().endswith((".npy", ".npz")):
                found = {port.name: _one_array(port.name, file, fits)}
            else:
                array, note = picture_array(file, port, scale=scale)
                found = {port.name: array}
                notes.append(note)
        twice = sorted(found.keys() & arrays.keys())
        if twice:
            raise RequestError(f"input {twice[0]} is given twice: give each input once")
        arrays |= found
    return arrays, tuple(notes)


def _arrays_alone(model: PlainModel, text: str, fits: Fits) -> dict[str, Array]:
    if not text.lower().endswith((".npy", ".npz")) or ("=" in text and not Path(text).is_file()):
        name, equals, _ = text.partition("=")
        if equals:
            model.input_named(name)  # raises, and lists the names
        raise RequestError(
            f"--input {text}: expected NAME=FILE (a .npy, a .npz or a picture), or a .npz alone with "
            "arrays named as the inputs are"
        )
    with arrays_in(Path(text)) as found:
        if "" in found:
            if len(model.inputs) != 1:
                raise RequestError(
                    f"{text} is one array, the file has {len(model.inputs)} inputs: say which, "
                    f"--input NAME={text}"
                )
            found = {model.inputs[0].name: found[""]}
        for name, stored in found.items():
            fits(name, stored.outline)
        return {name: stored.read() for name, stored in found.items()}


def _one_array(name: str, file: str, fits: Fits) -> Array:
    with arrays_in(Path(file)) as found:
        if name not in found and len(found) != 1:
            names = f"the arrays {', '.join(sorted(found))}" if found else "no array"
            raise RequestError(f"{file} holds {names}; expected one, or one named {name}")
        stored = found.get(name, next(iter(found.values())))
        fits(name, stored.outline)
        return stored.read()


@checks_arguments
def read_arrays(path: str | PathLike[str]) -> dict[str, Array]:
    """The arrays of a ``.npz`` by name, or that of a ``.npy`` under the name "".

    No code in the file is run: arrays of Python objects are refused. Raises RequestError if the file is
    missing or has another form.
    """
    with arrays_in(Path(path)) as found:
        return {name: stored.read() for name, stored in found.items()}


def summarize(value: Any) -> dict[str, Any]:
    """An output's dtype, its shape, and a summary of its values, as a JSON object.

    "min", "max" and "mean" are of the finite values, and absent if there are none. "not_finite" counts the
    others. "argmax" is along the last axis, for finite floats with one or two axes: one index, or one for
    each of the first ``ROWS`` rows. A sequence or a map has its Python type as dtype and its length as shape.
    """
    if not isinstance(value, np.ndarray):
        return {"dtype": type(value).__name__, "shape": [len(value)] if hasattr(value, "__len__") else []}
    summary: dict[str, Any] = {"dtype": _dtype_name(value), "shape": list(value.shape)}
    if value.dtype.kind not in "biuf" or not value.size:
        return summary
    numbers = value.astype(np.float64) if value.dtype.kind in "bf" else value
    finite = numbers[np.isfinite(numbers)]
    if finite.size:
        summary |= {"min": finite.min().item(), "max": finite.max().item()}
        summary["mean"] = finite.astype(np.float64).mean().item()
    if finite.size != value.size:
        summary["not_finite"] = value.size - finite.size
    elif value.ndim in (1, 2) and value.shape[-1] > 1 and value.dtype.kind == "f":
        summary["argmax"] = value[:ROWS].argmax(-1).tolist() if value.ndim == 2 else int(value.argmax())
    return summary


def values_json(value: Any, limit: int) -> Any:
    """The values of an output as JSON, with null for what is not finite. None if an array has more than
    ``limit`` values."""
    if isinstance(value, np.ndarray):
        return None if value.size > limit else values_json(value.tolist(), limit)
    if isinstance(value, list):
        return [values_json(entry, limit) for entry in value]
    if isinstance(value, dict):
        return {str(key): values_json(entry, limit) for key, entry in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _dtype_name(array: Array) -> str:
    return "string" if array.dtype.kind in "UO" else array.dtype.name
