"""What operators of torch do to complex values, in operators on their real and imaginary parts."""

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor

from onnxproof.export.complex_values.pairs import REAL, Part, is_complex, joined, parts
from onnxproof.export.complex_values.transforms import to_real

Rule = Callable[..., Any]
"""Carries out an operator: it is given the operator, its arguments by position and those by name."""

STRUCTURE = frozenset(("index", "indices", "mask", "condition", "alpha"))
"""Names of arguments that are the same for both parts."""

PARTWISE = """
    add alias cat clone col2im constant_pad_nd copy cumsum detach diag_embed diagonal diagonal_copy
    diagonal_scatter empty empty_like expand expand_copy flip full full_like gather im2col index index_add
    index_copy index_put index_select lift_fresh lift_fresh_copy masked_fill masked_scatter mean neg new_empty
    new_full new_zeros permute permute_copy repeat roll rsub scalar_tensor
    scatter scatter_add select select_copy select_scatter slice slice_copy slice_scatter split split_copy
    split_with_sizes split_with_sizes_copy squeeze squeeze_copy stack sub sum t trace transpose transpose_copy
    tril triu unbind unbind_copy unfold unfold_copy unsqueeze unsqueeze_copy where zeros zeros_like
    _unsafe_index
""".split()
"""Operators that do to the real parts what they do to the imaginary ones."""

PRODUCTS = "mul mm bmm dot mv".split()
"""Operators that multiply: linear in each of their first two arguments."""


def partwise(op: Any, *args: Any, **kwargs: Any) -> Any:
    """The operator, on the real parts and on the imaginary ones."""
    real, imaginary = (_half(op, args, kwargs, which) for which in (0, 1))
    if isinstance(real, Tensor):
        return joined(real, imaginary)
    return [joined(one, other) for one, other in zip(real, imaginary, strict=True)]


def _half(op: Any, args: Any, kwargs: Any, which: int) -> Any:
    """What the operator makes of the real parts (0), or of the imaginary ones (1)."""
    arguments = op._schema.arguments
    given = [_part(argument, value, which) for argument, value in zip(arguments, args, strict=False)]
    by_name = {argument.name: argument for argument in arguments}
    return op(*given, **{name: _part(by_name[name], value, which) for name, value in kwargs.items()})


def _part(argument: Any, value: Any, which: int) -> Any:
    """What an argument is to one of the parts."""
    if isinstance(value, torch.dtype):
        return REAL.get(value, value)
    kind = str(argument.type)
    if argument.name in STRUCTURE or value is None or not ("Tensor" in kind or "number" in kind):
        return value
    if isinstance(value, list | tuple):
        return [parts(one)[which] for one in value]
    return parts(value)[which]


def reshaped(op: Any, z: Tensor, shape: Any) -> Tensor:
    """A view of another shape. The parts need not lie in memory as the complex values do."""
    del op
    return joined(*(part.reshape(shape) for part in parts(z)))


def cast(op: Any, x: Tensor, *args: Any, dtype: torch.dtype | None = None, **kwargs: Any) -> Tensor:
    """``_to_copy``. A cast to a real dtype drops the imaginary part."""
    wanted = x.dtype if dtype is None else dtype
    if wanted == torch.bool:
        return torch.ne(x, 0)
    real, imaginary = (op(part, *args, dtype=REAL.get(wanted, wanted), **kwargs) for part in parts(x))
    return joined(real, imaginary) if wanted in REAL else real


def ones(op: Any, *args: Any, **kwargs: Any) -> Tensor:
    """``ones`` and its like: the imaginary part is zero."""
    real: Tensor = _half(op, args, kwargs, 0)
    return joined(real, torch.zeros_like(real))


def product(op: Any, one: Any, other: Any, *more: Any, **kwargs: Any) -> Tensor:
    """(a + ib)(c + id) = ac - bd + i(ad + bc), for whatever ``op`` multiplies."""
    (a, b), (c, d) = _nonzero(one), _nonzero(other)

    def term(left: Part, right: Part) -> Tensor | None:
        return None if left is None or right is None else op(left, right, *more, **kwargs)

    real = _sum(term(a, c), term(b, d), torch.sub)
    imaginary = _sum(term(a, d), term(b, c), torch.add)
    if imaginary is None:
        assert real is not None
        imaginary = torch.zeros_like(real)
    return joined(torch.zeros_like(imaginary) if real is None else real, imaginary)


def _nonzero(value: Any) -> tuple[Part | None, Part | None]:
    """The parts of a factor; None for one that is zero whatever the input."""
    if isinstance(value, Tensor):
        return parts(value) if value.is_complex() else (value, None)
    real, imaginary = parts(value)
    # A symbol is never compared: it is real.
    return (None if imaginary and real == 0 else real), imaginary or None


def _sum(one: Tensor | None, other: Tensor | None, join: Callable[[Tensor, Tensor], Tensor]) -> Tensor | None:
    if one is None:
        return None if other is None else (other if join is torch.add else -other)
    return one if other is None else join(one, other)


def added_product(
    op: Any, start: Tensor, one: Tensor, other: Tensor, beta: Any = 1, alpha: Any = 1
) -> Tensor:
    """``addmm`` and ``baddbmm``."""
    del op
    made = torch.matmul(one, other)
    return (start if beta == 1 else start * beta) + (made if alpha == 1 else made * alpha)


def convolution(op: Any, x: Tensor, weight: Tensor, bias: Tensor | None, *args: Any) -> Tensor:
    """A convolution, its bias added afterwards."""
    made = product(op, x, weight, None, *args)
    return made if bias is None else made + bias.view(-1, *[1] * (x.dim() - 2))


def quotient(op: Any, one: Any, other: Any) -> Tensor:
    """Division: by a real value of both parts, otherwise a product with the reciprocal."""
    if not is_complex(other):
        return joined(*(op(part, other) for part in parts(one)))
    if isinstance(other, complex):
        return one * (1 / other)  # type: ignore[no-any-return]
    (a, b), (c, d) = parts(one), parts(other)
    size = c * c + d * d
    return joined((a * c + b * d) / size, (b * c - a * d) / size)


def power(op: Any, z: Tensor, exponent: Any) -> Tensor:
    """A power: products for a small whole number, else by the logarithm, and 0 of 0.

    Raises NotImplementedError for an exponent that is a tensor or complex.
    """
    del op
    if not isinstance(exponent, int | float):
        raise NotImplementedError("a complex power whose exponent is no real number")
    if exponent in (1, 2, 3, 4):
        made = z
        for _ in range(int(exponent) - 1):
            made = made * z
        return made
    if exponent == 0:
        return torch.ones_like(z)
    if exponent < 0:
        return torch.reciprocal(power(None, z, -exponent))
    size, turn = torch.abs(z) ** exponent, torch.angle(z) * exponent
    return torch.polar(size, turn)


def _size(z: Tensor) -> Tensor:
    real, imaginary = parts(z)
    return torch.sqrt(real * real + imaginary * imaginary)


def _angle(z: Tensor) -> Tensor:
    real, imaginary = parts(z)
    return torch.atan2(imaginary, real)


def _conjugate(z: Tensor) -> Tensor:
    real, imaginary = parts(z)
    return joined(real, -imaginary)


def _sign(z: Tensor) -> Tensor:
    real, imaginary = parts(z)
    size = _size(z)
    at = torch.where(size == 0, torch.ones_like(size), size)
    return joined(real / at, imaginary / at)


def _reciprocal(z: Tensor) -> Tensor:
    real, imaginary = parts(z)
    size = real * real + imaginary * imaginary
    return joined(real / size, -imaginary / size)


def _polar(size: Tensor, turn: Tensor) -> Tensor:
    return joined(size * torch.cos(turn), size * torch.sin(turn))


def _exponential(z: Tensor) -> Tensor:
    real, imaginary = parts(z)
    return _polar(torch.exp(real), imaginary)


def _logarithm(z: Tensor) -> Tensor:
    return joined(torch.log(_size(z)), _angle(z))


def _root(z: Tensor) -> Tensor:
    return _polar(torch.sqrt(_size(z)), _angle(z) / 2)


def _sine(z: Tensor) -> Tensor:
    a, b = parts(z)
    return joined(torch.sin(a) * torch.cosh(b), torch.cos(a) * torch.sinh(b))


def _cosine(z: Tensor) -> Tensor:
    a, b = parts(z)
    return joined(torch.cos(a) * torch.cosh(b), -torch.sin(a) * torch.sinh(b))


def _hyperbolic_sine(z: Tensor) -> Tensor:
    a, b = parts(z)
    return joined(torch.sinh(a) * torch.cos(b), torch.cosh(a) * torch.sin(b))


def _hyperbolic_cosine(z: Tensor) -> Tensor:
    a, b = parts(z)
    return joined(torch.cosh(a) * torch.cos(b), torch.sinh(a) * torch.sin(b))


def _hyperbolic_tangent(z: Tensor) -> Tensor:
    """With t = tanh a and u = tan b: (t (1 + u^2) + i u (1 - t^2)) / (1 + t^2 u^2). It does not overflow."""
    a, b = parts(z)
    t, u = torch.tanh(a), torch.tan(b)
    below = 1 + t * t * u * u
    return joined(t * (1 + u * u) / below, u * (1 - t * t) / below)


def _tangent(z: Tensor) -> Tensor:
    """tan z = -i tanh iz."""
    a, b = parts(z)
    real, imaginary = parts(_hyperbolic_tangent(joined(-b, a)))
    return joined(imaginary, -real)


def _sigmoid(z: Tensor) -> Tensor:
    return _reciprocal(torch.exp(-z) + 1)


def _viewed(pairs: Tensor) -> Tensor:
    return joined(pairs.select(-1, 0), pairs.select(-1, 1))


FUNCTIONS: Mapping[str, Callable[..., Tensor]] = {
    "abs": _size,
    "angle": _angle,
    "conj": _conjugate,
    "_conj": _conjugate,
    "_conj_copy": _conjugate,
    "conj_physical": _conjugate,
    "_conj_physical": _conjugate,
    "cos": _cosine,
    "cosh": _hyperbolic_cosine,
    "exp": _exponential,
    "imag": lambda z: parts(z)[1],
    "log": _logarithm,
    "log10": lambda z: torch.log(z) / math.log(10),
    "log2": lambda z: torch.log(z) / math.log(2),
    "_neg_view": lambda z: -z,
    "polar": _polar,
    "real": lambda z: parts(z)[0],
    "reciprocal": _reciprocal,
    "resolve_conj": lambda z: z.clone(),
    "resolve_neg": lambda z: z.clone(),
    "rsqrt": lambda z: torch.reciprocal(torch.sqrt(z)),
    "sgn": _sign,
    "sigmoid": _sigmoid,
    "sin": _sine,
    "sinh": _hyperbolic_sine,
    "sqrt": _root,
    "tan": _tangent,
    "tanh": _hyperbolic_tangent,
    "vdot": lambda one, other: torch.dot(torch.conj_physical(one), other),
    "view_as_complex": _viewed,
    "view_as_complex_copy": _viewed,
}
"""Operators of complex values alone, by their names."""


def _of_values(function: Callable[..., Tensor], op: Any, *args: Any, **kwargs: Any) -> Tensor:
    del op
    return function(*args, **kwargs)


def _of_size(op: Any, z: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """A norm: it is of the absolute values."""
    made: Tensor = op(torch.abs(z), *args, **kwargs)
    return made


def _of_both(join: Callable[[Tensor, Tensor], Tensor], op: Any, *args: Any, **kwargs: Any) -> Tensor:
    return join(_half(op, args, kwargs, 0), _half(op, args, kwargs, 1))


def _nothing(op: Any, *args: Any, **kwargs: Any) -> None:
    del op, args, kwargs


BY_NAME: Mapping[str, Rule] = {
    **dict.fromkeys(PARTWISE, partwise),
    **dict.fromkeys(PRODUCTS, product),
    **{name: partial(_of_values, function) for name, function in FUNCTIONS.items()},
    **dict.fromkeys(("addmm", "baddbmm"), added_product),
    **dict.fromkeys(("ones", "ones_like", "new_ones"), ones),
    **dict.fromkeys(("linalg_vector_norm", "norm"), _of_size),
    **dict.fromkeys(("eq", "isfinite"), partial(_of_both, torch.logical_and)),
    **dict.fromkeys(("ne", "isnan", "isinf"), partial(_of_both, torch.logical_or)),
    **dict.fromkeys(("div", "true_divide"), quotient),
    **dict.fromkeys(("view", "view_copy", "_unsafe_view", "_reshape_alias"), reshaped),
    "_assert_tensor_metadata": _nothing,
    "_fft_c2r": to_real,
    "_to_copy": cast,
    "convolution": convolution,
    "pow": power,
    "var": partial(_of_both, torch.add),
}
"""The rules by the names of operators of aten. There is none for ``_fft_c2c`` and ``_fft_r2c``, which are
translated as they are."""
