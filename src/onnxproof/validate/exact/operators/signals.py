"""Fourier transforms, windows and filter banks. A complex number is a pair along the last axis."""

from collections.abc import Callable

import numpy as np

from onnxproof.validate.exact.arrays import Array
from onnxproof.validate.exact.operators.casts import dtype_of
from onnxproof.validate.exact.registry import operator


def _complex(x: Array) -> Array:
    """[..., 1 or 2] as complex numbers [...]."""
    return x[..., 0] if x.shape[-1] == 1 else np.asarray(x[..., 0] + 1j * x[..., 1])


def _pairs(x: Array) -> Array:
    return np.stack([x.real, x.imag], axis=-1)


def _transformed(x: Array, length: Array | None, axis: int, inverse: int, onesided: int) -> Array:
    """``axis`` counts the axis of pairs. One-sided, the last half is left out; an inverse is real then."""
    along = axis % x.ndim
    numbers = _complex(x)
    if length is not None:
        size = int(length.reshape(-1)[0])
    else:
        size = 2 * (x.shape[along] - 1) if inverse and onesided else x.shape[along]
    if inverse and onesided:
        return np.asarray(np.fft.irfft(numbers, size, along)[..., None])
    if inverse:
        return _pairs(np.fft.ifft(numbers, size, along))
    whole = np.fft.fft(numbers, size, along)
    return _pairs(np.take(whole, range(size // 2 + 1), along) if onesided else whole)


@operator("DFT", since=20)
def _dft(
    x: Array, length: Array | None = None, axis: Array | None = None, *, inverse: int = 0, onesided: int = 0
) -> Array:
    return _transformed(x, length, -2 if axis is None else int(axis.item()), inverse, onesided)


@operator("DFT", since=17)
def _dft_by_attribute(
    x: Array, length: Array | None = None, *, axis: int = 1, inverse: int = 0, onesided: int = 0
) -> Array:
    return _transformed(x, length, axis, inverse, onesided)


@operator("STFT")
def _stft(
    x: Array, step: Array, window: Array | None = None, length: Array | None = None, *, onesided: int = 1
) -> Array:
    """[n, samples, 1 or 2] as [n, frames, frequencies, 2]."""
    numbers = _complex(x) if x.ndim == 3 else x
    whole = numbers.shape[1] if window is None else len(window)
    size = whole if length is None else int(length.item())
    hop = int(step.item())
    frames = np.lib.stride_tricks.sliding_window_view(numbers, size, axis=1)[:, ::hop]
    weighted = frames if window is None else frames * window
    return _pairs(np.fft.rfft(weighted) if onesided else np.fft.fft(weighted))


_COSINES: dict[str, tuple[float, ...]] = {
    "HannWindow": (0.5, -0.5),
    "HammingWindow": (25 / 46, -21 / 46),
    "BlackmanWindow": (0.42, -0.5, 0.08),
}
"""The factors of 1, cos(t), cos(2t)."""


def _register(name: str, factors: tuple[float, ...]) -> None:
    @operator(name)
    def _window(size: Array, *, output_datatype: int = 1, periodic: int = 1) -> Array:
        count = int(size.item())
        turn = 2 * np.pi * np.arange(count) / (count if periodic else count - 1)
        return _summed(factors, turn).astype(dtype_of(output_datatype))


def _summed(factors: tuple[float, ...], turn: Array) -> Array:
    terms: list[Array] = [factor * np.cos(index * turn) for index, factor in enumerate(factors)]
    return np.asarray(sum(terms))


for _name, _factors in _COSINES.items():
    _register(_name, _factors)


@operator("MelWeightMatrix")
def _mel_weight_matrix(
    bins: Array, length: Array, rate: Array, lowest: Array, highest: Array, *, output_datatype: int = 1
) -> Array:
    """Triangles [frequencies, bins] whose corners lie evenly on the mel scale, at whole frequencies."""
    count, size = int(bins.item()), int(length.item())
    mel: Callable[[float], float] = lambda hertz: 2595 * np.log10(1 + hertz / 700)  # noqa: E731
    low, high = mel(float(lowest.item())), mel(float(highest.item()))
    places = low + np.arange(count + 2) * ((high - low) / (count + 2))
    hertz = 700 * (10 ** (places / 2595) - 1)
    corners = ((size + 1) * hertz // float(rate.item())).astype(int)
    result = np.zeros((size // 2 + 1, count))
    for index in range(count):
        left, peak, right = corners[index : index + 3]
        for place in range(left, peak + 1):
            result[place, index] = 1.0 if peak == left else (place - left) / (peak - left)
        for place in range(peak, right):
            result[place, index] = (right - place) / (right - peak)
    return result.astype(dtype_of(output_datatype))
