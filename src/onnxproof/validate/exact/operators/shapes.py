"""Operators that move numbers and change shapes, and compute nothing."""

import math
from collections.abc import Sequence

import numpy as np

from onnxproof.validate.exact.arrays import Array, Value
from onnxproof.validate.exact.registry import operator


def numbers_of(array: Array) -> list[int]:
    """An array of integers as a list."""
    return [int(number) for number in np.asarray(array).reshape(-1)]


@operator("Identity")
def _identity(x: Value) -> Value:
    return x


@operator("Shape")
def _shape(x: Array, *, start: int = 0, end: int | None = None) -> Array:
    return np.array(x.shape[start:end], np.int64)


@operator("Size")
def _size(x: Array) -> Array:
    return np.array(x.size, np.int64)


@operator("Reshape", since=5)
def _reshape(x: Array, shape: Array, *, allowzero: int = 0) -> Array:
    """A 0 keeps the axis's size, unless ``allowzero``; -1 is what is left."""
    sizes = numbers_of(shape)
    if not allowzero:
        sizes = [x.shape[axis] if size == 0 else size for axis, size in enumerate(sizes)]
    if -1 in sizes:
        # NumPy cannot tell a size left open if there is nothing in the array.
        known = math.prod(size for size in sizes if size != -1)
        sizes[sizes.index(-1)] = x.size // known if known else 0
    return x.reshape(sizes)


@operator("Flatten")
def _flatten(x: Array, *, axis: int = 1) -> Array:
    axis = axis + x.ndim if axis < 0 else axis
    return x.reshape(math.prod(x.shape[:axis]), math.prod(x.shape[axis:]))


def _squeezed(x: Array, axes: Sequence[int] | None) -> Array:
    return np.squeeze(x) if axes is None else np.squeeze(x, tuple(axes))


@operator("Squeeze", since=13)
def _squeeze(x: Array, axes: Array | None = None) -> Array:
    return _squeezed(x, None if axes is None else numbers_of(axes))


@operator("Squeeze")
def _squeeze_by_attribute(x: Array, *, axes: Sequence[int] | None = None) -> Array:
    return _squeezed(x, axes)


@operator("Unsqueeze", since=13)
def _unsqueeze(x: Array, axes: Array) -> Array:
    return np.expand_dims(x, tuple(numbers_of(axes)))


@operator("Unsqueeze")
def _unsqueeze_by_attribute(x: Array, *, axes: Sequence[int]) -> Array:
    return np.expand_dims(x, tuple(axes))


@operator("Transpose")
def _transpose(x: Array, *, perm: Sequence[int] | None = None) -> Array:
    return np.transpose(x, perm)


@operator("Expand")
def _expand(x: Array, shape: Array) -> Array:
    return np.array(np.broadcast_to(x, np.broadcast_shapes(x.shape, tuple(numbers_of(shape)))))


@operator("Tile", since=6)
def _tile(x: Array, repeats: Array) -> Array:
    return np.tile(x, numbers_of(repeats))


@operator("Concat")
def _concat(*inputs: Array, axis: int) -> Array:
    return np.concatenate(inputs, axis)


def _split_into(x: Array, lengths: Sequence[int], axis: int) -> tuple[Array, ...]:
    if sum(lengths) != x.shape[axis]:
        raise ValueError(f"a split of {x.shape[axis]} into {list(lengths)}")
    return tuple(np.split(x, np.cumsum(lengths)[:-1], axis))


@operator("Split", since=13)
def _split(
    x: Array, lengths: Array | None = None, *, axis: int = 0, num_outputs: int | None = None, wanted: int
) -> tuple[Array, ...]:
    """Without lengths all parts are equally long, but the last one may be shorter."""
    if lengths is not None:
        return _split_into(x, numbers_of(lengths), axis)
    count, size = num_outputs or wanted, x.shape[axis]
    each = -(-size // count)
    return _split_into(x, [max(0, min(each, size - each * part)) for part in range(count)], axis)


@operator("Split", since=2)
def _split_by_attribute(
    x: Array, *, axis: int = 0, split: Sequence[int] | None = None, wanted: int
) -> tuple[Array, ...]:
    return _split(x, None if split is None else np.array(split), axis=axis, wanted=wanted)


@operator("Slice", since=10)
def _slice(
    x: Array, starts: Array, ends: Array, axes: Array | None = None, steps: Array | None = None
) -> Array:
    """The bounds are vectors. Exporters write a single number, too."""
    first = numbers_of(starts)
    chosen = range(len(first)) if axes is None else numbers_of(axes)
    strides = [1] * len(first) if steps is None else numbers_of(steps)
    slices = [slice(None)] * x.ndim
    for axis, start, end, step in zip(chosen, first, numbers_of(ends), strides, strict=True):
        size = x.shape[axis]
        # Backwards, an end before the first place is a negative number still; Python would count it anew.
        # A start before the first place is the first place; Python would have nothing left.
        stop = None if step < 0 and end < -size else end
        slices[axis] = slice(max(start, -size) if step < 0 else start, stop, step)
    return x[tuple(slices)]


@operator("Slice")
def _slice_by_attributes(
    x: Array, *, starts: Sequence[int], ends: Sequence[int], axes: Sequence[int] | None = None
) -> Array:
    return _slice(x, np.array(starts), np.array(ends), None if axes is None else np.array(axes))


def _padded(x: Array, pads: Sequence[int], value: float, mode: str) -> Array:
    """A negative number of cells cuts that many off."""
    before, after = pads[: len(pads) // 2], pads[len(pads) // 2 :]
    cut = x[
        tuple(
            slice(max(0, -low), size - max(0, -high))
            for size, low, high in zip(x.shape, before, after, strict=True)
        )
    ]
    widths = [(max(0, low), max(0, high)) for low, high in zip(before, after, strict=True)]
    if mode == "constant":
        return np.pad(cut, widths, constant_values=value)
    return np.pad(cut, widths, mode)  # type: ignore[call-overload,no-any-return]


@operator("Pad", since=11)
def _pad(
    x: Array, pads: Array, value: Array | None = None, axes: Array | None = None, *, mode: str = "constant"
) -> Array:
    cells = numbers_of(pads)
    if axes is not None:
        chosen = [axis % x.ndim for axis in numbers_of(axes)]
        whole = [0] * (2 * x.ndim)
        for index, axis in enumerate(chosen):
            whole[axis], whole[axis + x.ndim] = cells[index], cells[index + len(chosen)]
        cells = whole
    filler = x.dtype.type(0) if value is None or value.size == 0 else value.reshape(-1)[0]
    return _padded(x, cells, filler, mode)


@operator("Pad", since=2)
def _pad_by_attributes(x: Array, *, pads: Sequence[int], mode: str = "constant", value: float = 0.0) -> Array:
    return _padded(x, pads, value, mode)


@operator("Gather")
def _gather(x: Array, indices: Array, *, axis: int = 0) -> Array:
    if indices.size and not -x.shape[axis] <= indices.min() <= indices.max() < x.shape[axis]:
        outside = indices.max() if indices.max() >= x.shape[axis] else indices.min()
        raise ValueError(f"the index {outside} is outside of an axis of {x.shape[axis]}")
    return np.take(x, indices, axis)


@operator("Range", ignores=("stash_type",))
def _range(start: Array, limit: Array, delta: Array) -> Array:
    first, end, step = (one.item() for one in (start, limit, delta))
    count = max(math.ceil((end - first) / step), 0)
    return np.asarray(first + step * np.arange(count), start.dtype)


@operator("OneHot")
def _one_hot(indices: Array, depth: Array, values: Array, *, axis: int = -1) -> Array:
    """An index that is out of range makes a row without a one."""
    size = int(np.asarray(depth).reshape(-1)[0])
    whole = np.asarray(indices).astype(np.int64)
    places = np.where(whole < 0, whole + size, whole)
    hot = np.expand_dims(places, axis) == np.arange(size).reshape(
        [-1 if place == axis % (whole.ndim + 1) else 1 for place in range(whole.ndim + 1)]
    )
    return np.asarray(np.where(hot, values[1], values[0]))


@operator("DepthToSpace")
def _depth_to_space(x: Array, *, blocksize: int, mode: str = "DCR") -> Array:
    n, c, height, width = x.shape
    b = blocksize
    if mode == "DCR":
        parts = x.reshape(n, b, b, c // b**2, height, width).transpose(0, 3, 4, 1, 5, 2)
    else:
        parts = x.reshape(n, c // b**2, b, b, height, width).transpose(0, 1, 4, 2, 5, 3)
    return parts.reshape(n, c // b**2, height * b, width * b)


@operator("SpaceToDepth")
def _space_to_depth(x: Array, *, blocksize: int, mode: str = "DCR") -> Array:
    n, c, height, width = x.shape
    b = blocksize
    parts = x.reshape(n, c, height // b, b, width // b, b)
    order = (0, 3, 5, 1, 2, 4) if mode == "DCR" else (0, 1, 3, 5, 2, 4)
    return parts.transpose(order).reshape(n, c * b**2, height // b, width // b)


@operator("Trilu")
def _trilu(x: Array, k: Array | None = None, *, upper: int = 1) -> Array:
    diagonal = 0 if k is None else int(np.asarray(k).reshape(-1)[0])
    return np.triu(x, diagonal) if upper else np.tril(x, diagonal)


@operator("NonZero")
def _non_zero(x: Array) -> Array:
    """int64 [axes, found]; of a scalar as of one number in a row."""
    return np.array(np.nonzero(np.atleast_1d(x)), np.int64)[: max(x.ndim, 1)]


@operator("Compress")
def _compress(x: Array, condition: Array, *, axis: int | None = None) -> Array:
    return np.compress(condition, x, axis)


@operator("Dropout", since=12, ignores=("seed",))
def _dropout(
    x: Array, ratio: Array | None = None, training: Array | None = None, *, wanted: int
) -> tuple[Array, ...]:
    """In inference nothing is dropped."""
    dropped = ratio is None or bool(np.any(ratio != 0))
    if training is not None and bool(np.any(training)) and dropped:
        raise NotImplementedError("it draws random numbers")
    return (x, np.ones(x.shape, np.bool_))[:wanted]


@operator("Dropout", since=7, ignores=("ratio",))
def _dropout_of_inference(x: Array, *, wanted: int, opset: int) -> tuple[Array, ...]:
    return (x, np.ones(x.shape, np.bool_ if opset >= 10 else x.dtype))[:wanted]
