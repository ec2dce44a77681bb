"""Resizing and sampling."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from onnxproof.validate.exact.arrays import Array
from onnxproof.validate.exact.errors import UnsupportedNodeError
from onnxproof.validate.exact.operators.activations import rectified
from onnxproof.validate.exact.registry import operator


@operator("Resize", since=11)
def resize(
    x: Array,
    roi: Array | None = None,
    scales: Array | None = None,
    sizes: Array | None = None,
    *,
    antialias: int = 0,
    axes: Sequence[int] | None = None,
    coordinate_transformation_mode: str = "half_pixel",
    cubic_coeff_a: float = -0.75,
    exclude_outside: int = 0,
    extrapolation_value: float = 0.0,
    keep_aspect_ratio_policy: str = "stretch",
    mode: str = "nearest",
    nearest_mode: str = "round_prefer_floor",
) -> Array:
    """Axis by axis."""
    chosen = list(range(x.ndim)) if axes is None else [axis % x.ndim for axis in axes]
    cropped = coordinate_transformation_mode == "tf_crop_and_resize"
    crops = _crops(roi, len(chosen)) if cropped else [(0.0, 1.0)] * len(chosen)
    steps = _steps(x.shape, chosen, crops, scales, sizes, keep_aspect_ratio_policy)
    result, outside = x, np.zeros([1] * x.ndim, np.bool_)
    for (axis, length, scale), crop in zip(steps, crops, strict=True):
        size = result.shape[axis]
        if cropped:
            places = _cropped(size, length, crop)
            beyond = (places < 0) | (places > size - 1)
            outside = outside | np.moveaxis(beyond.reshape(-1, *[1] * (x.ndim - 1)), 0, axis)
        elif length == size and scale in (0.0, 1.0):
            continue
        else:
            places = _places(size, length, scale, coordinate_transformation_mode)
        if mode == "nearest":
            result = np.take(result, _nearest(places, nearest_mode, size), axis=axis)
        else:
            kernel = _Kernel(mode, cubic_coeff_a, bool(antialias), bool(exclude_outside))
            taps = kernel.taps(places, size, scale)
            result = np.moveaxis(np.moveaxis(result, axis, -1) @ taps.T, -1, axis)
    if outside.any():
        result = np.where(outside, extrapolation_value, result)
    return np.asarray(result, order="C")


def _crops(roi: Array | None, count: int) -> list[tuple[float, float]]:
    if roi is None or roi.size != 2 * count:
        raise ValueError(f"Resize: a crop of {count} axes has {2 * count} ends")
    return [(float(roi[axis]), float(roi[axis + count])) for axis in range(count)]


def _steps(
    shape: Sequence[int],
    axes: Sequence[int],
    crops: Sequence[tuple[float, float]],
    scales: Array | None,
    sizes: Array | None,
    policy: str,
) -> list[tuple[int, int, float]]:
    """For each axis its new length and the scale.

    A size that is asked for as a scale is cut off in float32, as ONNX Runtime does, so that both have the
    same number of cells: 10 cells times the float32 nearest 0.7 are 7, in float64 6.
    """
    by_scale = scales is not None and scales.size > 0
    wanted = scales if by_scale else sizes
    if wanted is None or len(wanted) != len(axes):
        raise ValueError(f"Resize: {len(axes)} axes, got scales {scales} and sizes {sizes}")
    if by_scale:
        return [
            (axis, int(np.floor(np.float32(scale) * np.float32(shape[axis] * (end - start)))), float(scale))
            for axis, scale, (start, end) in zip(axes, wanted, crops, strict=True)
        ]
    lengths = [int(size) for size in wanted]
    if policy != "stretch":
        ratios = [length / shape[axis] for axis, length in zip(axes, lengths, strict=True)]
        ratio = min(ratios) if policy == "not_larger" else max(ratios)
        lengths = [int(np.floor(ratio * shape[axis] + 0.5)) for axis in axes]
    return [(axis, size, size / max(shape[axis], 1)) for axis, size in zip(axes, lengths, strict=True)]


@operator("Resize", since=10)
@operator("Upsample", since=9)
def _resize_by_scale(x: Array, scales: Array, *, mode: str = "nearest") -> Array:
    """The older forms: a place is its index divided by the scale.

    They leave open which neighbour is nearest. ONNX Runtime takes the one before in a larger picture, the
    one after in a smaller one.
    """
    result = x
    for axis, scale in enumerate(scales):
        lone = np.ones(x.ndim)
        lone[axis] = scale
        rounding = "ceil" if scale < 1 else "floor"
        result = resize(
            result, None, lone, mode=mode, nearest_mode=rounding, coordinate_transformation_mode="asymmetric"
        )
    return result


@operator("Upsample", since=7)
def _upsample(x: Array, *, scales: Sequence[float], mode: str = "nearest") -> Array:
    return _resize_by_scale(x, np.array(scales), mode=mode)


def _cropped(size: int, length: int, crop: tuple[float, float]) -> Array:
    """Where each of ``length`` cells lies among the cells of a crop, which is in parts of ``size - 1``."""
    start, end = crop[0] * (size - 1), crop[1] * (size - 1)
    return np.linspace(start, end, length) if length > 1 else np.full(length, (start + end) / 2)


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
