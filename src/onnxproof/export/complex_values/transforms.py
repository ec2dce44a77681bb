"""The inverse Fourier transform of a half spectrum, as an operator of real tensors."""

from typing import Any

import torch
from torch import Tensor

from onnxproof.export.complex_values.pairs import parts

NORMS = ("forward", "ortho", "backward")
"""What torch.fft calls the normalizations of an inverse transform that the operators of aten number: none, by
the root of the size, by the size (aten/src/ATen/native/SpectralOpsUtils.h)."""


@torch.library.custom_op("onnxproof::from_half_spectrum", mutates_args=())
def from_half_spectrum(pairs: Tensor, axis: int, length: int, normalization: int) -> Tensor:
    """The real signal of a half spectrum [..., 2], with ``length`` elements along ``axis``."""
    half = torch.view_as_complex(pairs.contiguous())
    signal: Tensor = torch.fft.irfft(half, length, axis, norm=NORMS[normalization])
    return signal


@from_half_spectrum.register_fake
def _(pairs: Tensor, axis: int, length: int, normalization: int) -> Tensor:
    del normalization
    return pairs.new_empty([length if at == axis else size for at, size in enumerate(pairs.shape[:-1])])


def to_real(op: Any, z: Tensor, dim: list[int], normalization: int, last_dim_size: int) -> Tensor:
    """``_fft_c2r``: complex transforms along all axes but the last one, and then the real one."""
    del op
    *others, last = dim
    if others:
        z = torch.ops.aten._fft_c2c.default(z, others, normalization, False)
    pairs = torch.stack(parts(z), -1)
    made: Tensor = torch.ops.onnxproof.from_half_spectrum(pairs, last, last_dim_size, normalization)
    return made
