"""Resizing and sampling."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from torch.nn import functional

from onnxproof.validate.exact.arrays import Array, to_numpy, to_tensor
from onnxproof.validate.exact.errors import UnsupportedNodeError
from onnxproof.validate.exact.operators.activations import rectified
from onnxproof.validate.exact.registry import operator


@operator("Resize", since=11, ignores=("extrapolation_value",))
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


@operator("Resize", since=10)
@operator("Upsample", since=9)
def _resize_by_scale(x: Array, scales: Array, *, mode: str = "nearest") -> Array:
    """The older forms: a place is its index divided by the scale."""
    return _resize(
        x, None, scales, mode=mode, nearest_mode="floor", coordinate_transformation_mode="asymmetric"
    )


@operator("Upsample", since=7)
def _upsample(x: Array, *, scales: Sequence[float], mode: str = "nearest") -> Array:
    return _resize_by_scale(x, np.array(scales), mode=mode)


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
            return rectified(1 - distances)
        a = self.coefficient
        near = ((a + 2) * distances - (a + 3)) * distances**2 + 1
        far = a * (((distances - 5) * distances + 8) * distances - 4)
        return np.where(distances <= 1, near, np.where(distances < 2, far, 0.0))


@operator("GridSample")
def _grid_sample(
    x: Array,
    grid: Array,
    *,
    mode: str = "linear",
    padding_mode: str = "zeros",
    align_corners: int = 0,
) -> Array:
    names = {"linear": "bilinear", "cubic": "bicubic"}
    sampled = functional.grid_sample(
        to_tensor(x), to_tensor(grid), names.get(mode, mode), padding_mode, bool(align_corners)
    )
    return to_numpy(sampled)


@operator("RoiAlign")
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
