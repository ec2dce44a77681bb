"""Matrix products."""

import numpy as np
import torch

from onnxproof.validate.exact.arrays import Array, to_numpy, to_tensor
from onnxproof.validate.exact.registry import operator


def product(a: Array, b: Array) -> Array:
    """The matrix product, batched and broadcast as NumPy's."""
    if a.dtype.kind != "f" or b.dtype.kind != "f":
        whole: Array = a @ b
        return whole
    if a.shape[-1] != b.shape[-2 if b.ndim > 1 else 0]:
        raise ValueError(f"a product of {list(a.shape)} and {list(b.shape)}")
    return to_numpy(torch.matmul(to_tensor(a), to_tensor(b)))


@operator("MatMul")
def _mat_mul(a: Array, b: Array) -> Array:
    return product(a, b)


@operator("Gemm")
def gemm(
    a: Array,
    b: Array,
    c: Array | None = None,
    *,
    alpha: float = 1.0,
    beta: float = 1.0,
    transA: int = 0,  # noqa: N803
    transB: int = 0,  # noqa: N803
) -> Array:
    """alpha * a @ b + beta * c."""
    result = product(a.T if transA else a, b.T if transB else b)
    if alpha != 1.0:
        result = (alpha * result).astype(result.dtype)
    if c is not None:
        result = result + (c if beta == 1.0 else (beta * c).astype(c.dtype))
    return result


@operator("Einsum")
def _einsum(*inputs: Array, equation: str) -> Array:
    """Contracted pair by pair in the best order; an ellipsis and repeated letters are allowed."""
    lower = equation.replace(" ", "")
    return np.asarray(np.einsum(lower, *inputs, optimize=len(inputs) > 1))


@operator("Det")
def _det(x: Array) -> Array:
    return np.asarray(np.linalg.det(x))
