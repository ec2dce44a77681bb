"""Fake quantization in float64.

PyTorch's kernels take the scale in float32, and return float32's numbers whatever they are given.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

ATEN = torch.ops.aten


def quantized(
    x: Tensor, scale: Tensor | float, zero: Tensor | int, least: int, most: int
) -> tuple[Tensor, Tensor] | None:
    """The numbers of ``x`` that are left when it is quantized and back, and where none was cut off.

    ``(min(most, max(least, round(x / scale) + zero)) - zero) * scale``, rounded to nearest even
    (https://docs.pytorch.org/docs/stable/generated/torch.fake_quantize_per_tensor_affine.html). A zero point
    that is no integer is added before rounding, as PyTorch's kernel for channels does it. Returns None if
    ``x`` is not float64, or if PyTorch has to say what is wrong.
    """
    if x.dtype != torch.float64 or least > most:
        return None
    steps = x / scale
    floating = isinstance(zero, Tensor) and zero.dtype.is_floating_point
    whole = (steps + zero).round() if floating else steps.round() + zero
    kept = whole.clamp(least, most)
    return (kept - zero) * scale, kept == whole


def of_numbers(x: Tensor, scale: float, zero: int, least: int, most: int) -> tuple[Tensor, Tensor] | None:
    """``aten::fake_quantize_per_tensor_affine_cachemask``. PyTorch's own refuses a zero point outside."""
    return quantized(x, scale, zero, least, most) if least <= zero <= most else None


def of_tensors(
    x: Tensor, scale: Tensor, zero: Tensor, enabled: Tensor, least: int, most: int
) -> tuple[Tensor, Tensor] | None:
    """``aten::_fake_quantize_per_tensor_affine_cachemask_tensor_qparams``: one scale and one zero point."""
    if not enabled.reshape(-1)[0]:
        return x.clone(), torch.ones_like(x, dtype=torch.bool)
    return quantized(x, scale.reshape(-1)[0], zero.reshape(-1)[0], least, most)


def of_channels(
    x: Tensor, scale: Tensor, zero: Tensor, axis: int, least: int, most: int
) -> tuple[Tensor, Tensor] | None:
    """``aten::fake_quantize_per_channel_affine_cachemask``: a scale and a zero point an index of an axis."""
    if not -x.ndim <= axis < x.ndim or scale.shape != zero.shape or scale.shape != x.shape[axis : axis + 1]:
        return None
    along = [-1 if one == axis else 1 for one in range(x.ndim)]
    return quantized(x, scale.reshape(along), zero.reshape(along), least, most)


def of_learned(
    x: Tensor, scale: Tensor, zero: Tensor, least: int, most: int, factor: float = 1.0
) -> Tensor | None:
    """``aten::_fake_quantize_learnable_per_tensor_affine``. Its zero point is a float that is rounded."""
    del factor  # it scales gradients
    found = quantized(x, scale.reshape(-1)[0], _whole(zero, least, most).reshape(-1)[0], least, most)
    return None if found is None else found[0]


def of_learned_channels(
    x: Tensor, scale: Tensor, zero: Tensor, axis: int, least: int, most: int, factor: float = 1.0
) -> Tensor | None:
    """``aten::_fake_quantize_learnable_per_channel_affine``."""
    del factor
    found = of_channels(x, scale, _whole(zero, least, most), axis, least, most)
    return None if found is None else found[0]


def _whole(zero: Tensor, least: int, most: int) -> Tensor:
    return zero.round().clamp(least, most).long()


FAKE_QUANTIZED: Mapping[Any, Callable[..., Any]] = {
    ATEN.fake_quantize_per_tensor_affine_cachemask.default: of_numbers,
    ATEN._fake_quantize_per_tensor_affine_cachemask_tensor_qparams.default: of_tensors,
    ATEN.fake_quantize_per_channel_affine_cachemask.default: of_channels,
    ATEN._fake_quantize_learnable_per_tensor_affine.default: of_learned,
    ATEN._fake_quantize_learnable_per_channel_affine.default: of_learned_channels,
}
"""What carries out fake quantization, or returns None where PyTorch has to do it."""
