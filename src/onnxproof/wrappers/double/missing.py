"""Operations that PyTorch carries out in float32 and not in float64, made of others that it has in both."""

from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor


def grouped_product(
    rows: Tensor,
    matrices: Tensor,
    offs: Tensor | None = None,
    bias: Tensor | None = None,
    out_dtype: torch.dtype | None = None,
) -> Tensor | None:
    """``grouped_mm`` of rows [s, k] and matrices [groups, k, n], float64 [s, n]; rows behind the last group
    are zeros. Returns None for its other forms."""
    del out_dtype  # whatever is asked for, it is answered in float64
    if rows.ndim != 2 or matrices.ndim != 3 or offs is None or bias is not None:
        return None
    ends = [0, *map(int, offs)]
    products = [rows[start:end] @ each for (start, end), each in zip(pairwise(ends), matrices, strict=True)]
    return torch.cat([*products, rows.new_zeros(rows.shape[0] - ends[-1], matrices.shape[2])])


MISSING: Mapping[str, Callable[..., Any]] = {"aten::_grouped_mm": grouped_product}
"""By the operation's qualified name, what carries it out, or returns None if it cannot."""
