"""Fourier transforms from real values and to them. A complex number is a pair along the last axis.

The shape that ONNX infers of a one-sided DFT is wrong if the size is known only when the file runs (onnx
1.23), and ONNX Runtime plans its memory by it. So here each is a whole DFT, of which a part is taken.
"""

from collections.abc import Sequence

from onnxproof.export.rewrites.values import Value, ints, number, op


def from_real(x: Value, dim: Sequence[int], normalization: int, onesided: bool) -> Value:
    """``_fft_r2c``. The last of the axes is transformed first, and cut in half if ``onesided``."""
    made, size = op.Unsqueeze(x, ints(-1)), ints(1)
    for axis in reversed(dim):
        count = op.Shape(x, start=axis, end=axis + 1)
        made, size = _transformed(made, axis), op.Mul(size, count)
        if onesided and axis == dim[-1]:
            half = op.Add(op.Div(count, ints(2)), ints(1))
            made = op.Slice(made, ints(0), half, ints(axis))
    return made if not normalization else op.Div(made, _scale(size, x, normalization))


def from_half_spectrum(pairs: Value, axis: int, length: Value | int, normalization: int) -> Value:
    """The other half of a real signal's spectrum is the first one's mirror image, conjugated."""
    count = number(length)
    last = op.Div(op.Sub(count, ints(1)), ints(2))
    mirrored = op.Slice(pairs, last, ints(0), ints(axis), ints(-1))
    conjugated = op.Mul(mirrored, op.CastLike(op.Constant(value_floats=[1.0, -1.0]), pairs))
    made = _transformed(op.Concat(pairs, conjugated, axis=axis), axis, inverse=1)
    signal = op.Squeeze(op.Slice(made, ints(0), ints(1), ints(-1)), ints(-1))
    # DFT divides by the size.
    return signal if normalization == 2 else op.Mul(signal, _scale(count, pairs, 2 - normalization))


def _transformed(pairs: Value, axis: int, inverse: int = 0) -> Value:
    """A whole DFT. To DFT of opset 17, the first axis is that of the batch."""
    if axis:
        return op.DFT(pairs, axis=axis, inverse=inverse, onesided=0)
    return op.Squeeze(op.DFT(op.Unsqueeze(pairs, ints(0)), axis=1, inverse=inverse, onesided=0), ints(0))


def _scale(size: Value, like: Value, normalization: int) -> Value:
    """The size (2), or its root (1), in the dtype of ``like``."""
    scale = op.CastLike(size, like)
    return op.Sqrt(scale) if normalization == 1 else scale
