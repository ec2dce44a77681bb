"""ONNX operators in float64, where ``onnx.reference`` is slow, rounds to float32 or is wrong.

Each function takes a node's inputs (NumPy arrays; None for an optional one left out), then its attributes
by keyword and how many outputs are ``wanted``, and returns one array or a tuple of them. Formulas are those
of the ONNX operator specification; where it leaves something open, ONNX Runtime's kernels are followed, and
the docstring says so. Inputs are never written to.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from onnx import TensorProto
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun
from torch import Tensor
from torch.nn import functional

Array = NDArray[Any]
Operator = Callable[..., Array | tuple[Array, ...]]

_FLOAT32_KINDS = (TensorProto.FLOAT, TensorProto.DOUBLE)


class UnsupportedNodeError(Exception):
    """A node asks for what is not implemented here in float64."""


_OPERATORS: dict[str, Operator] = {}


def operator_classes() -> list[type[OpRun]]:
    """The operators of this module, in the form that ``ReferenceEvaluator(new_ops=...)`` takes."""
    return [*(_as_class(name, function) for name, function in _OPERATORS.items()), Loop]


def _as_class(name: str, function: Operator) -> type[OpRun]:
    def run(self: OpRun, *inputs: Array | None, **attributes: Any) -> tuple[Array, ...]:
        try:
            returned = function(*inputs, wanted=len(self.onnx_node.output), **attributes)
        except (TypeError, AttributeError) as error:
            raise UnsupportedNodeError(f"{name}: {error}") from error
        return returned if isinstance(returned, tuple) else (returned,)

    return type(name, (OpRun,), {"op_domain": "", "_run": run})


def _operator(name: str) -> Callable[[Operator], Operator]:
    def register(function: Operator) -> Operator:
        if name in _OPERATORS:
            raise ValueError(f"operator {name} is implemented twice")
        _OPERATORS[name] = function
        return function

    return register


def _tensor(array: Array) -> Tensor:
    array = np.asarray(array, order="C")
    return torch.from_numpy(array if array.flags.writeable else array.copy())


def _numpy(tensor: Tensor) -> Array:
    return tensor.numpy()


# Types


_PLAIN: dict[int, type[np.generic]] = {
    TensorProto.BOOL: np.bool_,
    TensorProto.INT8: np.int8,
    TensorProto.INT16: np.int16,
    TensorProto.INT32: np.int32,
    TensorProto.INT64: np.int64,
    TensorProto.UINT8: np.uint8,
    TensorProto.UINT16: np.uint16,
    TensorProto.UINT32: np.uint32,
    TensorProto.UINT64: np.uint64,
}


def cast(values: Array, kind: int) -> Array:
    """``values`` as the ONNX type ``kind``. float16 and bfloat16 round to nearest even and are held in
    float64; float32 does not round."""
    if kind in _FLOAT32_KINDS:
        return values.astype(np.float64)
    if kind == TensorProto.FLOAT16:
        return values.astype(np.float16).astype(np.float64)
    if kind == TensorProto.BFLOAT16:
        return _numpy(_tensor(values.astype(np.float64)).bfloat16().double())
    if kind not in _PLAIN:
        raise UnsupportedNodeError(f"Cast to {TensorProto.DataType.Name(kind)}")
    return values.astype(_PLAIN[kind])


@_operator("Cast")
def _cast(x: Array, *, to: int, **_: Any) -> Array:
    return cast(x, to)


@_operator("CastLike")
def _cast_like(x: Array, like: Array, **_: Any) -> Array:
    return x.astype(like.dtype)


# Functions of one number


def _logistic(x: Array) -> Array:
    return _numpy(torch.sigmoid(_tensor(x)))


def _rectified(x: Array) -> Array:
    result: Array = np.maximum(x, 0)
    return result


@_operator("Erf")
def _erf(x: Array, **_: Any) -> Array:
    return _numpy(torch.special.erf(_tensor(x)))


@_operator("Gelu")
def _gelu(x: Array, *, approximate: str = "none", **_: Any) -> Array:
    return _numpy(functional.gelu(_tensor(x), approximate=approximate))


@_operator("Sigmoid")
def _sigmoid(x: Array, **_: Any) -> Array:
    return _logistic(x)


# Convolutions and pools


def _pads(
    auto_pad: str,
    pads: Sequence[int] | None,
    sizes: Sequence[int],
    extents: Sequence[int],
    strides: Sequence[int],
) -> list[tuple[int, int]]:
    """Cells before and after, of each spatial axis. ``extents``: of the dilated kernel."""
    count = len(sizes)
    if auto_pad in ("NOTSET", "", None):
        flat = [0] * (2 * count) if pads is None else list(pads)
        return [(flat[axis], flat[axis + count]) for axis in range(count)]
    if auto_pad == "VALID":
        return [(0, 0)] * count
    result = []
    for size, extent, stride in zip(sizes, extents, strides, strict=True):
        whole = max((-(-size // stride) - 1) * stride + extent - size, 0)
        small, large = whole // 2, whole - whole // 2
        result.append((small, large) if auto_pad == "SAME_UPPER" else (large, small))
    return result


def _padded(x: Tensor, pads: Sequence[tuple[int, int]], value: float = 0.0) -> Tensor:
    if not any(cells for pair in pads for cells in pair):
        return x
    flat = [cells for pair in reversed(pads) for cells in pair]
    return functional.pad(x, flat, value=value)


def _extents(kernel: Sequence[int], dilations: Sequence[int]) -> list[int]:
    return [(size - 1) * step + 1 for size, step in zip(kernel, dilations, strict=True)]


_CONVOLUTIONS = {1: functional.conv1d, 2: functional.conv2d, 3: functional.conv3d}
_TRANSPOSED = {1: functional.conv_transpose1d, 2: functional.conv_transpose2d, 3: functional.conv_transpose3d}
_MAX_POOLS: dict[int, Any] = {1: functional.max_pool1d, 2: functional.max_pool2d, 3: functional.max_pool3d}


@_operator("Conv")
def _conv(
    x: Array,
    w: Array,
    b: Array | None = None,
    *,
    auto_pad: str = "NOTSET",
    dilations: Sequence[int] | None = None,
    group: int = 1,
    pads: Sequence[int] | None = None,
    strides: Sequence[int] | None = None,
    **_: Any,
) -> Array:
    """Convolution of [n, c, d1, ...] with [m, c / group, k1, ...]."""
    rank = x.ndim - 2
    strides = [1] * rank if strides is None else list(strides)
    dilations = [1] * rank if dilations is None else list(dilations)
    around = _pads(auto_pad, pads, x.shape[2:], _extents(w.shape[2:], dilations), strides)
    padded = _padded(_tensor(x), around)
    if rank == 2 and group == x.shape[1] == w.shape[0]:
        result = _depthwise(padded, _tensor(w), strides, dilations)
    else:
        result = _CONVOLUTIONS[rank](padded, _tensor(w), None, strides, 0, dilations, group)
    if b is not None:
        result = result + _tensor(b).reshape(-1, *[1] * rank)
    return _numpy(result)


def _depthwise(x: Tensor, w: Tensor, strides: Sequence[int], dilations: Sequence[int]) -> Tensor:
    """One filter a channel: a sum of shifted pictures. PyTorch's own goes channel by channel in float64."""
    free = [size - extent for size, extent in zip(x.shape[2:], _extents(w.shape[2:], dilations), strict=True)]
    down, across = (cells // stride + 1 for cells, stride in zip(free, strides, strict=True))
    if min(free) < 0:
        raise ValueError(f"Conv: a kernel {tuple(w.shape[2:])} does not fit into {tuple(x.shape[2:])}")
    total = x.new_zeros((x.shape[0], x.shape[1], down, across))
    for i in range(w.shape[2]):
        for j in range(w.shape[3]):
            top, left = i * dilations[0], j * dilations[1]
            rows = slice(top, top + (down - 1) * strides[0] + 1, strides[0])
            columns = slice(left, left + (across - 1) * strides[1] + 1, strides[1])
            total.addcmul_(x[:, :, rows, columns], w[:, 0, i, j].reshape(-1, 1, 1))
    return total


@_operator("ConvTranspose")
def _conv_transpose(
    x: Array,
    w: Array,
    b: Array | None = None,
    *,
    auto_pad: str = "NOTSET",
    dilations: Sequence[int] | None = None,
    group: int = 1,
    output_padding: Sequence[int] | None = None,
    output_shape: Sequence[int] | None = None,
    pads: Sequence[int] | None = None,
    strides: Sequence[int] | None = None,
    **_: Any,
) -> Array:
    """Transposed convolution of [n, c, d1, ...] with [c, m / group, k1, ...]: computed unpadded, then cut."""
    rank = x.ndim - 2
    strides = [1] * rank if strides is None else list(strides)
    dilations = [1] * rank if dilations is None else list(dilations)
    extra = [0] * rank if output_padding is None else list(output_padding)
    extents = _extents(w.shape[2:], dilations)
    if output_shape is not None or auto_pad not in ("NOTSET", "", None):
        raise UnsupportedNodeError("ConvTranspose with output_shape or auto_pad")
    flat = [0] * (2 * rank) if pads is None else list(pads)
    whole = _TRANSPOSED[rank](_tensor(x), _tensor(w), None, strides, 0, 0, group, dilations)
    whole = _padded(whole, [(0, cells) for cells in extra])
    for axis, (size, extent) in enumerate(zip(x.shape[2:], extents, strict=True)):
        length = (size - 1) * strides[axis] + extent + extra[axis] - flat[axis] - flat[axis + rank]
        whole = whole.narrow(axis + 2, flat[axis], length)
    if b is not None:
        whole = whole + _tensor(b).reshape(-1, *[1] * rank)
    return _numpy(whole.contiguous())


def _pool_plan(
    x: Array,
    kernel_shape: Sequence[int],
    auto_pad: str,
    ceil_mode: int,
    dilations: Sequence[int] | None,
    pads: Sequence[int] | None,
    strides: Sequence[int] | None,
) -> tuple[list[int], list[int], list[tuple[int, int]], list[tuple[int, int]]]:
    """Strides, dilations, pads, and pads with what ``ceil_mode`` adds after. A window that would start in the
    padding after the picture is left out, as PyTorch and ONNX Runtime do."""
    rank = len(kernel_shape)
    strides = [1] * rank if strides is None else list(strides)
    dilations = [1] * rank if dilations is None else list(dilations)
    extents = _extents(kernel_shape, dilations)
    around = _pads(auto_pad, pads, x.shape[2:], extents, strides)
    wider = []
    for size, extent, stride, (before, after) in zip(x.shape[2:], extents, strides, around, strict=True):
        free = before + size + after - extent
        if free < 0:
            raise ValueError(f"a pool's window of {extent} does not fit into {size} cells")
        steps = -(-free // stride) if ceil_mode else free // stride
        if ceil_mode and steps * stride >= size + before:
            steps -= 1
        wider.append((before, max(after, steps * stride + extent - before - size)))
    return strides, dilations, around, wider


@_operator("MaxPool")
def _max_pool(
    x: Array,
    *,
    kernel_shape: Sequence[int],
    wanted: int,
    auto_pad: str = "NOTSET",
    ceil_mode: int = 0,
    dilations: Sequence[int] | None = None,
    pads: Sequence[int] | None = None,
    strides: Sequence[int] | None = None,
    **_: Any,
) -> Array:
    if wanted > 1:
        raise UnsupportedNodeError("MaxPool with indices")
    plan = _pool_plan(x, kernel_shape, auto_pad, ceil_mode, dilations, pads, strides)
    strides, dilations, _around, wider = plan
    padded = _padded(_tensor(x.astype(np.float64)), wider, -np.inf)
    pool: Callable[..., Tensor] = _MAX_POOLS[len(kernel_shape)]
    return _numpy(pool(padded, kernel_shape, strides, 0, dilations)).astype(x.dtype)


@_operator("AveragePool")
def _average_pool(
    x: Array,
    *,
    kernel_shape: Sequence[int],
    auto_pad: str = "NOTSET",
    ceil_mode: int = 0,
    count_include_pad: int = 0,
    dilations: Sequence[int] | None = None,
    pads: Sequence[int] | None = None,
    strides: Sequence[int] | None = None,
    **_: Any,
) -> Array:
    """Sums over windows, divided by the cells that count: not what ``ceil_mode`` adds."""
    plan = _pool_plan(x, kernel_shape, auto_pad, ceil_mode, dilations, pads, strides)
    strides, dilations, around, wider = plan
    rank = len(kernel_shape)
    ones = torch.ones((1, 1, *kernel_shape), dtype=torch.float64)
    cells = torch.ones((1, 1, *x.shape[2:]), dtype=torch.float64)
    added = [(wide[0] - pad[0], wide[1] - pad[1]) for pad, wide in zip(around, wider, strict=True)]
    counted = _padded(_padded(cells, around, 1.0 if count_include_pad else 0.0), added)
    padded = _padded(_tensor(x), wider)
    flat = padded.reshape(-1, 1, *padded.shape[2:])
    convolve = _CONVOLUTIONS[rank]
    sums, counts = (convolve(cells, ones, None, strides, 0, dilations) for cells in (flat, counted))
    result = sums / counts
    return _numpy(result.reshape(*x.shape[:2], *result.shape[2:]))


# Sampling


@_operator("Resize")
def _resize(
    x: Array,
    _roi: Array | None = None,
    scales: Array | None = None,
    sizes: Array | None = None,
    *,
    antialias: int = 0,
    axes: Sequence[int] | None = None,
    coordinate_transformation_mode: str = "half_pixel",
    cubic_coeff_a: float = -0.75,
    exclude_outside: int = 0,
    keep_aspect_ratio_policy: str = "stretch",
    mode: str = "nearest",
    nearest_mode: str = "round_prefer_floor",
    **_: Any,
) -> Array:
    """Axis by axis. A size that is asked for as a scale is cut off in float32, as ONNX Runtime does, so that
    both have the same number of cells: 10 cells times the float32 nearest 0.7 are 7, in float64 6."""
    if coordinate_transformation_mode == "tf_crop_and_resize":
        raise UnsupportedNodeError("Resize with tf_crop_and_resize")
    chosen = list(range(x.ndim)) if axes is None else [axis % x.ndim for axis in axes]
    by_scale = scales is not None and scales.size > 0
    wanted = scales if by_scale else sizes
    if wanted is None or len(wanted) != len(chosen):
        raise ValueError(f"Resize: {len(chosen)} axes, got scales {scales} and sizes {sizes}")
    steps: list[tuple[int, int, float]] = []
    if by_scale:
        for axis, scale in zip(chosen, wanted, strict=True):
            length = int(np.floor(np.float32(scale) * np.float32(x.shape[axis])))
            steps.append((axis, length, float(scale)))
    else:
        lengths = [int(size) for size in wanted]
        if keep_aspect_ratio_policy != "stretch":
            ratios = [length / x.shape[axis] for axis, length in zip(chosen, lengths, strict=True)]
            ratio = min(ratios) if keep_aspect_ratio_policy == "not_larger" else max(ratios)
            lengths = [int(np.floor(ratio * x.shape[axis] + 0.5)) for axis in chosen]
        steps = [
            (axis, length, length / max(x.shape[axis], 1))
            for axis, length in zip(chosen, lengths, strict=True)
        ]
    result = x
    for axis, length, scale in steps:
        if length == result.shape[axis] and scale in (0.0, 1.0):
            continue
        places = _places(result.shape[axis], length, scale, coordinate_transformation_mode)
        if mode == "nearest":
            result = np.take(result, _nearest(places, nearest_mode, result.shape[axis]), axis=axis)
        else:
            kernel = _Kernel(mode, float(cubic_coeff_a), bool(antialias), bool(exclude_outside))
            taps = kernel.taps(places, result.shape[axis], scale)
            result = np.moveaxis(np.moveaxis(result, axis, -1) @ taps.T, -1, axis)
    return np.asarray(result, order="C")


def _places(size: int, length: int, scale: float, mode: str) -> Array:
    """Where each of ``length`` cells lies among ``size`` cells, float64 [length]."""
    cells = np.arange(length, dtype=np.float64)
    # As a quotient of integers where it is one: 3 * (10 / 6) is 5.000000000000001.
    exact = scale == length / size
    if mode == "asymmetric":
        return cells * size / length if exact else cells / scale
    if mode == "align_corners":
        return cells * (size - 1) / (length - 1) if length > 1 else np.zeros(length)
    centres = (2 * cells + 1) * size / (2 * length) - 0.5 if exact else (cells + 0.5) / scale - 0.5
    if mode == "pytorch_half_pixel":
        return centres if length > 1 else np.zeros(length)
    if mode == "half_pixel_symmetric":
        return size / 2 * (1 - length / (scale * size)) + centres
    if mode == "half_pixel":
        return centres
    raise UnsupportedNodeError(f"Resize with {mode}")


def _nearest(places: Array, mode: str, size: int) -> Array:
    rounding: dict[str, Callable[[Array], Array]] = {
        "round_prefer_floor": lambda p: np.ceil(p - 0.5),
        "round_prefer_ceil": lambda p: np.floor(p + 0.5),
        "floor": np.floor,
        "ceil": np.ceil,
    }
    return np.clip(rounding[mode](places), 0, size - 1).astype(np.int64)


@dataclass(frozen=True, slots=True)
class _Kernel:
    """Linear or cubic interpolation. Neighbours beyond the border are the border's cell, or do not count
    where ``exclude_outside``. ``antialias`` widens the kernel by 1 / scale where that is above 1; its windows
    are those of ONNX Runtime (``upsample.h``, after Pillow)."""

    mode: str
    coefficient: float
    antialias: bool
    exclude_outside: bool

    def taps(self, places: Array, size: int, scale: float) -> Array:
        """Weights [length, size]."""
        reach = {"linear": 1, "cubic": 2}[self.mode]
        stretch = max(1.0, 1.0 / scale) if self.antialias else 1.0
        taps = np.zeros((len(places), size))
        for row, place in enumerate(places):
            if self.antialias:
                first = int(np.floor(place + 1 - reach * stretch))
                cells = np.arange(first, int(np.floor(place + 1 + reach * stretch)))
            else:
                cells = int(np.floor(place)) + np.arange(1 - reach, 1 + reach)
            weights = self._weights(np.abs(cells - place) / stretch)
            if self.exclude_outside:
                weights = np.where((cells >= 0) & (cells < size), weights, 0.0)
            np.add.at(taps[row], np.clip(cells, 0, size - 1), weights / weights.sum())
        return taps

    def _weights(self, distances: Array) -> Array:
        """The triangle, or the cubic convolution kernel (Keys 1981)."""
        if self.mode == "linear":
            return _rectified(1 - distances)
        a = self.coefficient
        near = ((a + 2) * distances - (a + 3)) * distances**2 + 1
        far = a * (((distances - 5) * distances + 8) * distances - 4)
        return np.where(distances <= 1, near, np.where(distances < 2, far, 0.0))


@_operator("GridSample")
def _grid_sample(
    x: Array,
    grid: Array,
    *,
    mode: str = "linear",
    padding_mode: str = "zeros",
    align_corners: int = 0,
    **_: Any,
) -> Array:
    names = {"linear": "bilinear", "cubic": "bicubic"}
    sampled = functional.grid_sample(
        _tensor(x), _tensor(grid), names.get(mode, mode), padding_mode, bool(align_corners)
    )
    return _numpy(sampled)


@_operator("RoiAlign")
def _roi_align(
    x: Array,
    rois: Array,
    batch_indices: Array,
    *,
    coordinate_transformation_mode: str = "half_pixel",
    mode: str = "avg",
    output_height: int = 1,
    output_width: int = 1,
    sampling_ratio: int = 0,
    spatial_scale: float = 1.0,
    **_: Any,
) -> Array:
    """``rois`` [n, 4]: x0, y0, x1, y1. The samples of a box stand in rows and columns, so that each box is
    two products of matrices."""
    if mode != "avg":
        raise UnsupportedNodeError(f"RoiAlign with mode {mode}")
    shift = 0.5 if coordinate_transformation_mode == "half_pixel" else 0.0
    result = np.zeros((len(rois), x.shape[1], output_height, output_width))
    for row, (roi, batch) in enumerate(zip(rois * float(spatial_scale) - shift, batch_indices, strict=True)):
        down, across = (
            _samples(roi[axis], roi[axis + 2], cells, size, sampling_ratio, least=0.0 if shift else 1.0)
            for axis, cells, size in ((1, output_height, x.shape[2]), (0, output_width, x.shape[3]))
        )
        result[row] = down @ x[batch] @ across.T
    return result


def _samples(start: float, end: float, cells: int, size: int, ratio: int, least: float) -> Array:
    """Weights [cells, size] of one axis of a box: the mean over each cell's samples, which are interpolated
    between neighbours; a sample more than a pixel outside of the picture counts as 0."""
    length = max(end - start, least)
    count = ratio if ratio > 0 else int(np.ceil(length / cells))
    weights = np.zeros((cells, size))
    for cell in range(cells):
        for sample in range(count):
            place = start + (cell + (sample + 0.5) / count) * length / cells
            if -1 <= place <= size:
                place = min(max(place, 0.0), size - 1.0)
                low = int(place)
                weights[cell, low] += (1 - place + low) / count
                weights[cell, min(low + 1, size - 1)] += (place - low) / count
    return weights


# Selection


@_operator("Flatten")
def _flatten(x: Array, *, axis: int = 1, **_: Any) -> Array:
    """Both sizes from the shape: with nothing in the array NumPy cannot tell a size left open."""
    axis = axis + x.ndim if axis < 0 else axis
    return x.reshape(math.prod(x.shape[:axis]), math.prod(x.shape[axis:]))


@_operator("NonMaxSuppression")
def _non_max_suppression(
    boxes: Array,
    scores: Array,
    most: Array | None = None,
    iou_threshold: Array | None = None,
    score_threshold: Array | None = None,
    *,
    center_point_box: int = 0,
    **_: Any,
) -> Array:
    """``boxes`` [batch, n, 4], ``scores`` [batch, classes, n]: int64 [kept, 3] of batch, class and box, each
    class's best first, of equal scores the lower index. Both thresholds are exceeded strictly."""
    most_boxes = 0 if most is None else int(most.reshape(-1)[0])
    overlap = 0.0 if iou_threshold is None else float(iou_threshold.reshape(-1)[0])
    lowest = None if score_threshold is None else float(score_threshold.reshape(-1)[0])
    if center_point_box:
        half = boxes[..., 2:] / 2
        corners = np.concatenate([boxes[..., :2] - half, boxes[..., :2] + half], axis=-1)
    else:
        corners = np.concatenate(
            [np.minimum(boxes[..., :2], boxes[..., 2:]), np.maximum(boxes[..., :2], boxes[..., 2:])], axis=-1
        )
    chosen: list[tuple[int, int, int]] = []
    for batch in range(scores.shape[0]):
        for label in range(scores.shape[1]):
            row = scores[batch, label]
            order = np.argsort(-row, kind="stable")
            if lowest is not None:
                order = order[row[order] > lowest]
            kept = _greedy(corners[batch], order, overlap, most_boxes)
            chosen += [(batch, label, index) for index in kept]
    return np.array(chosen, dtype=np.int64).reshape(-1, 3)


def _greedy(corners: Array, order: Array, overlap: float, most: int) -> list[int]:
    kept: list[int] = []
    areas = np.prod(corners[:, 2:] - corners[:, :2], axis=1)
    while order.size and len(kept) < most:
        best, order = order[0], order[1:]
        kept.append(int(best))
        low = np.maximum(corners[order, :2], corners[best, :2])
        high = np.minimum(corners[order, 2:], corners[best, 2:])
        shared = np.prod(np.maximum(high - low, 0), axis=1)
        union = areas[order] + areas[best] - shared
        order = order[~((shared > 0) & (shared > overlap * union))]
    return kept


@_operator("TopK")
def _top_k(x: Array, k: Array, *, axis: int = -1, largest: int = 1, **_: Any) -> tuple[Array, Array]:
    """Sorted; of equals the lower index first."""
    count = int(np.asarray(k).reshape(-1)[0])
    if count > x.shape[axis]:
        raise ValueError(f"TopK: the best {count} of {x.shape[axis]}")
    if x.dtype.kind == "u":
        raise UnsupportedNodeError("TopK of unsigned integers")
    order = np.argsort(-x if largest else x, axis=axis, kind="stable")
    first = np.take(order, np.arange(count), axis=axis)
    return np.take_along_axis(x, first, axis=axis), first


@_operator("GatherND")
def _gather_nd(x: Array, indices: Array, *, batch_dims: int = 0, **_: Any) -> Array:
    batch = x.shape[:batch_dims]
    if batch != indices.shape[:batch_dims]:
        raise ValueError(f"GatherND: batches {batch} and {indices.shape[:batch_dims]} differ")
    flat = x.reshape(-1, *x.shape[batch_dims:])
    places = indices.reshape(flat.shape[0], -1, indices.shape[-1])
    rows = np.broadcast_to(np.arange(flat.shape[0])[:, None], places.shape[:2])
    taken = flat[(rows, *np.moveaxis(places, -1, 0))]
    shape = (*indices.shape[:-1], *x.shape[batch_dims + indices.shape[-1] :])
    return np.reshape(taken, shape)


@_operator("GatherElements")
def _gather_elements(x: Array, indices: Array, *, axis: int = 0, **_: Any) -> Array:
    return x[_elements(indices, axis)]


def _elements(indices: Array, axis: int) -> tuple[Array, ...]:
    """The places that ``indices`` name along ``axis``, every other axis at its own place."""
    places: list[Array] = list(np.indices(indices.shape, sparse=True))
    places[axis] = indices
    return tuple(places)


_REDUCTIONS = {"add": np.add, "mul": np.multiply, "max": np.maximum, "min": np.minimum}


@_operator("ScatterND")
def _scatter_nd(x: Array, indices: Array, updates: Array, *, reduction: str = "none", **_: Any) -> Array:
    return _scattered(x, tuple(np.moveaxis(indices, -1, 0)), updates, reduction)


@_operator("ScatterElements")
def _scatter_elements(
    x: Array, indices: Array, updates: Array, *, axis: int = 0, reduction: str = "none", **_: Any
) -> Array:
    return _scattered(x, _elements(indices, axis), updates, reduction)


def _scattered(x: Array, places: tuple[Array, ...], updates: Array, reduction: str) -> Array:
    result = x.copy()
    if reduction == "none":
        result[places] = updates
    else:
        _REDUCTIONS[reduction].at(result, places, updates)
    return result


# Recurrences


Function = Callable[[Array], Array]

_ACTIVATIONS: dict[str, Function] = {"Sigmoid": _logistic, "Tanh": np.tanh, "Relu": _rectified}

Step = Callable[[Array, tuple[Array, ...], int], tuple[Array, ...]]


def _functions(names: Sequence[str] | None, defaults: Sequence[str], direction: int) -> list[Function]:
    count = len(defaults)
    chosen = defaults if not names else names[direction * count : (direction + 1) * count]
    for name in chosen:
        if name not in _ACTIVATIONS:
            raise UnsupportedNodeError(f"a recurrence with {name}")
    return [_ACTIVATIONS[name] for name in chosen]


def _recurrence(
    x: Array,
    lengths: Array | None,
    starts: Sequence[Array | None],
    hidden: int,
    direction: str,
    layout: int,
    step: Step,
) -> tuple[Array, ...]:
    """Run ``step(x_t, states, direction)`` over time: Y and each state's last value.

    ``x`` [time, batch, inputs], states [directions, batch, hidden]. After its ``lengths`` a row's output is 0
    and its state stays; backwards it begins at its own end.
    """
    if layout:
        x = np.swapaxes(x, 0, 1)
    time, batch = x.shape[:2]
    directions = {"forward": [False], "reverse": [True], "bidirectional": [False, True]}[direction]
    outputs = np.zeros((time, len(directions), batch, hidden))
    ends: list[tuple[Array, ...]] = []
    for number, backwards in enumerate(directions):
        states = tuple(
            np.zeros((batch, hidden)) if start is None else _of_direction(start, number, layout)
            for start in starts
        )
        for moment in reversed(range(time)) if backwards else range(time):
            moved = step(x[moment], states, number)
            if lengths is None:
                states = moved
                outputs[moment, number] = moved[0]
            else:
                running = (moment < lengths)[:, None]
                states = tuple(np.where(running, new, old) for new, old in zip(moved, states, strict=True))
                outputs[moment, number] = np.where(running, moved[0], 0.0)
        ends.append(states)
    last = [np.stack([states[index] for states in ends]) for index in range(len(starts))]
    if layout:
        return np.transpose(outputs, (2, 0, 1, 3)), *(np.swapaxes(state, 0, 1) for state in last)
    return outputs, *last


def _of_direction(state: Array, direction: int, layout: int) -> Array:
    chosen: Array = state[:, direction] if layout else state[direction]
    return chosen


def _clipped(x: Array, clip: float | None) -> Array:
    return x if not clip else np.clip(x, -clip, clip)


@_operator("GRU")
def _gru(
    x: Array,
    w: Array,
    r: Array,
    b: Array | None = None,
    lengths: Array | None = None,
    start: Array | None = None,
    *,
    activations: Sequence[str] | None = None,
    clip: float | None = None,
    direction: str = "forward",
    hidden_size: int | None = None,
    layout: int = 0,
    linear_before_reset: int = 0,
    **_: Any,
) -> tuple[Array, ...]:
    """Gates in the order update, reset, hidden."""
    size = r.shape[-1] if hidden_size is None else hidden_size
    bias = np.zeros((w.shape[0], 6 * size)) if b is None else b

    def step(x_t: Array, states: tuple[Array, ...], number: int) -> tuple[Array, ...]:
        gate, candidate = _functions(activations, ("Sigmoid", "Tanh"), number)
        (h,) = states
        of_x = x_t @ w[number].T + bias[number, : 3 * size]
        of_h = h @ r[number][: 2 * size].T + bias[number, 3 * size : 5 * size]
        z = gate(_clipped(of_x[:, :size] + of_h[:, :size], clip))
        reset = gate(_clipped(of_x[:, size : 2 * size] + of_h[:, size:], clip))
        r_h, b_h = r[number][2 * size :], bias[number, 5 * size :]
        memory = reset * (h @ r_h.T + b_h) if linear_before_reset else (reset * h) @ r_h.T + b_h
        new = candidate(_clipped(of_x[:, 2 * size :] + memory, clip))
        return ((1 - z) * new + z * h,)

    return _recurrence(x, lengths, [start], size, direction, layout, step)


@_operator("LSTM")
def _lstm(
    x: Array,
    w: Array,
    r: Array,
    b: Array | None = None,
    lengths: Array | None = None,
    start: Array | None = None,
    cell: Array | None = None,
    peepholes: Array | None = None,
    *,
    activations: Sequence[str] | None = None,
    clip: float | None = None,
    direction: str = "forward",
    hidden_size: int | None = None,
    input_forget: int = 0,
    layout: int = 0,
    **_: Any,
) -> tuple[Array, ...]:
    """Gates in the order input, output, forget, cell."""
    size = r.shape[-1] if hidden_size is None else hidden_size
    bias = np.zeros((w.shape[0], 8 * size)) if b is None else b
    if input_forget:
        raise UnsupportedNodeError("LSTM with coupled gates")
    peeps = np.zeros((w.shape[0], 3 * size)) if peepholes is None else peepholes

    def step(x_t: Array, states: tuple[Array, ...], number: int) -> tuple[Array, ...]:
        gate, candidate, squash = _functions(activations, ("Sigmoid", "Tanh", "Tanh"), number)
        h, c = states
        whole = x_t @ w[number].T + h @ r[number].T + bias[number, : 4 * size] + bias[number, 4 * size :]
        i, o, f, g = np.split(whole, 4, axis=1)
        peep_i, peep_o, peep_f = np.split(peeps[number], 3)
        i = gate(_clipped(i + peep_i * c, clip))
        f = gate(_clipped(f + peep_f * c, clip))
        new = f * c + i * candidate(_clipped(g, clip))
        return gate(_clipped(o + peep_o * new, clip)) * squash(new), new

    return _recurrence(x, lengths, [start, cell], size, direction, layout, step)


@_operator("RNN")
def _rnn(
    x: Array,
    w: Array,
    r: Array,
    b: Array | None = None,
    lengths: Array | None = None,
    start: Array | None = None,
    *,
    activations: Sequence[str] | None = None,
    clip: float | None = None,
    direction: str = "forward",
    hidden_size: int | None = None,
    layout: int = 0,
    **_: Any,
) -> tuple[Array, ...]:
    size = r.shape[-1] if hidden_size is None else hidden_size
    bias = np.zeros((w.shape[0], 2 * size)) if b is None else b

    def step(x_t: Array, states: tuple[Array, ...], number: int) -> tuple[Array, ...]:
        (activation,) = _functions(activations, ("Tanh",), number)
        whole = x_t @ w[number].T + states[0] @ r[number].T + bias[number, :size] + bias[number, size:]
        return (activation(_clipped(whole, clip)),)

    return _recurrence(x, lengths, [start], size, direction, layout, step)


# Control flow


class Loop(OpRun):
    """A loop whose scan outputs are stacked along a new first axis; ``onnx.reference`` joins them along the
    old one."""

    op_domain = ""
    body: ReferenceEvaluator

    def need_context(self) -> bool:
        return True

    def _run(
        self,
        most: Array | None,
        condition: Array | None,
        *carried: Array,
        context: dict[str, Any],
        attributes: dict[str, Any] | None = None,
        **_: Any,
    ) -> tuple[Array, ...]:
        names = self.body.input_names
        results = self.body.output_names
        states = list(carried)
        scans: list[list[Array]] = [[] for _ in results[1 + len(states) :]]
        turn = 0
        alive = condition is None or bool(condition.item())
        while alive and (most is None or turn < most.item()):
            values = [np.array(turn, dtype=np.int64), np.array(alive), *states]
            outputs = self.body.run(None, {**context, **dict(zip(names, values, strict=True))}, attributes)
            assert isinstance(outputs, list)
            alive = bool(outputs[0].item())
            states = outputs[1 : 1 + len(states)]
            for scan, value in zip(scans, outputs[1 + len(states) :], strict=True):
                scan.append(value)
            turn += 1
        if scans and turn == 0:
            raise UnsupportedNodeError("Loop that collects outputs over no turn")
        return *states, *(np.stack(scan) for scan in scans)
