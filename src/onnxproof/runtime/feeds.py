"""The arrays that a model is fed, checked against its contract: from a picture, from arrays, or from both."""

import time
from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray

from onnxproof.contract import Contract, Preprocess
from onnxproof.errors import RequestError
from onnxproof.runtime.declared import as_declared, require_declared
from onnxproof.runtime.preprocess import Picture, Transform, prepare_read, read_picture, transform_of
from onnxproof.runtime.timings import Timings
from onnxproof.system.signatures import argument
from onnxproof.tensors import Dim, TensorSpec, dims_by_name
from onnxproof.text import meant

Array = NDArray[Any]

NO_PICTURE = b""
"""Takes the picture's place when only the other inputs are checked."""


def feeds_of(
    contract: Contract, picture: Picture | None, inputs: Mapping[str, Array], timings: Timings | None = None
) -> tuple[dict[str, Array], Transform | None]:
    """A checked array for each input, and the picture's transform (None if the model takes none).

    Adds the seconds that the picture took to ``timings``. Raises PictureError if the picture cannot be read
    or fitted, RequestError if the arrays do not fit.
    """
    spec, transform = contract.preprocess, None
    _require_names(contract, picture, inputs)
    found: dict[str, Array] = {}
    if picture is not None:
        assert spec is not None
        start = time.perf_counter()
        image = read_picture(picture)
        decoded = time.perf_counter()
        try:
            found[spec.input], transform = prepare_read(image, spec, picture)
        finally:
            if timings is not None:
                timings.add(decode=decoded - start, prepare=time.perf_counter() - decoded)
    rows = {entry.shape[0] for entry in contract.outputs if entry.shape}
    for entry in contract.inputs:
        if entry.name not in found:
            found[entry.name] = as_declared(inputs[entry.name], entry, rows)
    _require_sizes(contract, found)
    if spec is not None and transform is None:
        height, width = _sides(found[spec.input], spec)
        transform = (
            Transform(1, 1, 0, 0, width, height)
            if spec.network is None
            else transform_of((width, height), spec)
        )
    return found, transform


def require_beside_picture(contract: Contract, inputs: Mapping[str, Array]) -> None:
    """Raise RequestError if the model takes no picture, or other arrays beside a picture than ``inputs``."""
    spec = contract.preprocess
    _require_names(contract, NO_PICTURE, inputs)
    rows = {entry.shape[0] for entry in contract.outputs if entry.shape}
    for entry in contract.inputs:
        if spec is None or entry.name != spec.input:
            as_declared(inputs[entry.name], entry, rows)


def require_fits(contract: Contract, name: str, outline: Array) -> None:
    """Raise RequestError if no array of this dtype and shape fits the input of that name."""
    entry = next((entry for entry in contract.inputs if entry.name == name), None)
    if entry is None:
        raise _unknown(contract, name)
    rows = {output.shape[0] for output in contract.outputs if output.shape}
    dims = dims_by_name(contract.dims)
    shape = require_declared(outline, entry, rows).shape
    for axis, size in zip(entry.shape, shape, strict=True):
        if axis in dims:
            _require_admitted(entry, dims[axis], size)


def sizes_of(contract: Contract, feeds: Mapping[str, Array]) -> dict[str, int]:
    """The sizes of the inputs' named axes, of the picture's height and width, and of fixed dims."""
    sizes = {dim.name: dim.min for dim in contract.dims if dim.fixed}
    for entry in contract.inputs:
        shape = feeds[entry.name].shape
        sizes |= {axis: size for axis, size in zip(entry.shape, shape, strict=True) if isinstance(axis, str)}
    spec = contract.preprocess
    if spec is not None:
        height, width = _sides(feeds[spec.input], spec)
        sizes |= {spec.height.name: height, spec.width.name: width}
    return sizes


def shapes_of(feeds: Mapping[str, Array]) -> dict[str, tuple[int, ...]]:
    """The shape of each array."""
    return {name: array.shape for name, array in feeds.items()}


def _require_names(contract: Contract, picture: Picture | None, inputs: Mapping[str, Array]) -> None:
    argument("inputs", inputs, Mapping[str, Any])
    spec, specs = contract.preprocess, contract.inputs
    listed = ", ".join(f"{entry.name} {entry}" for entry in specs)
    if picture is not None and spec is None:
        raise RequestError(
            f"the model's inputs are {listed}, none a picture: "
            "give arrays, --input NAME=FILE.npy (in Python, predict(inputs={name: array}))"
        )
    if picture is not None and spec is not None and spec.input in inputs:
        raise RequestError(f"input {spec.input} is given twice, as a picture and as an array: give one")
    unknown = sorted(inputs.keys() - {entry.name for entry in specs})
    if unknown:
        raise _unknown(contract, unknown[0])
    for entry in specs:
        is_picture = spec is not None and spec.input == entry.name
        if entry.name in inputs or (is_picture and picture is not None):
            continue
        advice = (
            "give it a picture"
            if is_picture
            else f"--input {entry.name}=FILE.npy (in Python, predict(inputs={{name: array}}))"
        )
        raise RequestError(
            f"nothing is given for input {entry.name} {entry}: {advice}; the inputs are {listed}"
        )


def _require_sizes(contract: Contract, feeds: Mapping[str, Array]) -> None:
    """Raise RequestError if a named axis has two sizes, or one that is not declared."""
    dims = dims_by_name(contract.dims)
    seen: dict[str, tuple[int, str]] = {}
    for entry in contract.inputs:
        for axis, size in zip(entry.shape, feeds[entry.name].shape, strict=True):
            if not isinstance(axis, str):
                continue
            before, owner = seen.setdefault(axis, (size, entry.name))
            if size != before:
                raise RequestError(
                    f"the axis {axis} is {size} in input {entry.name} and {before} in input {owner}: "
                    "give arrays of one size"
                )
            if axis in dims:
                _require_admitted(entry, dims[axis], size)


def _unknown(contract: Contract, name: str) -> RequestError:
    listed = ", ".join(f"{entry.name} {entry}" for entry in contract.inputs)
    hint = meant(str(name), [entry.name for entry in contract.inputs])
    return RequestError(f'the model has no input "{name}"; there are: {listed}{hint}')


def _require_admitted(entry: TensorSpec, dim: Dim, size: int) -> None:
    """Raise RequestError if an axis has a size that is not declared."""
    if not dim.admits(size):
        raise RequestError(
            f"input {entry.name}: {dim.name} is {size}, expected one of the declared sizes "
            f"{dim}: pad or cut the array, or export with other dims"
        )


def _sides(array: Array, spec: Preprocess) -> tuple[int, int]:
    """The height and width of an input array for pictures."""
    height, width = array.shape[2:] if spec.layout == "NCHW" else array.shape[1:3]
    return height, width
