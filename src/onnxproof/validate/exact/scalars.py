"""The number that a float in a file was rounded from, if it is one that people and decompositions write.

A float32 of 0.1 is 0.100000001490116. In float64 the model computes with 0.1 itself, so the graph has to do
so, too. A float is read as the simplest form that rounds to it: a short decimal, a fraction of small
numbers, the root of one, a multiple of pi or ln 2. Taking the form for the float moves it by half a unit in
the last place at most, so a form that is read by chance does no more harm than rounding did.

Decimals end at six digits. There are more decimals of eight digits than floats, so every float is one.
"""

import itertools
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

PLAIN_DIGITS = 3
"""Significant digits of a decimal that anyone writes. One float32 in 30 000 is such a decimal by chance."""

DIGITS = 6
"""The most significant digits of a decimal. One float32 in 30 is such a decimal by chance."""

PLAIN_FRACTION = 2000
"""The largest numerator times denominator of a fraction that comes from sizes."""

FRACTION = 200_000
"""The same for a fraction of decimals, such as 0.485 / 0.229. One float32 in 40 is one by chance."""

ROOT = 5000
"""The same for the square of a root, such as 1 / sqrt(64)."""

MULTIPLE = 400
"""The same for the factor of a named constant."""

LARGEST_SIZE = 4096
"""The largest n of 1 / n^(1/4), which scaled attention makes of a head's size n."""

NAMED = (
    ("pi", math.pi),
    ("e", math.e),
    ("ln 2", math.log(2)),
    ("ln 10", math.log(10)),
    ("sqrt(pi)", math.sqrt(math.pi)),
    ("sqrt(2 pi)", math.sqrt(2 * math.pi)),
    ("sqrt(2 / pi)", math.sqrt(2 / math.pi)),
)
"""Constants of activation functions, logarithms and angles. Their reciprocals are tried, too."""

SELU = (1.6732632423543772848170429916717, 1.0507009873554804934193349852946)
"""Alpha and scale of SELU (Klambauer et al. 2017, arXiv:1706.02515), to the digits that PyTorch writes."""


GELU = 0.044715
"""The factor in GELU's approximation by tanh (Hendrycks and Gimpel 2016, arXiv:1606.08415)."""

HALF_BITS = 11
"""Significant bits of float16; bfloat16 has 8."""

HALF_DIGITS = 2
"""Significant digits of a decimal that is read in float16. In bfloat16 it is one digit: it has 128 numbers
between 1 and 2."""

LARGEST = (65504.0, float(np.finfo(np.float32).max), 3.3895313892515355e38)
"""The largest floats of 16 and 32 bits, and of bfloat16: masks hold them, and mean just that float."""


SLACK = 2.0**-22
"""Two units in the last place of float32."""


@dataclass(frozen=True, slots=True)
class Scalar:
    """A number as it was meant, and how that is written."""

    value: float
    text: str


def short(values: Array, dtype: np.dtype[Any] | None = None) -> bool:
    """Whether every number has at most half of the significant bits of its type, or is NaN or infinite.

    ``dtype`` is given if it is not that of the array.
    """
    bits = significant(dtype or values.dtype) // 2
    fractions = np.frexp(values.astype(np.float64))[0] * 2.0**bits
    return bool(np.all((fractions == np.trunc(fractions)) | ~np.isfinite(fractions)))


def significant(dtype: np.dtype[Any]) -> int:
    """The number of significant bits of a float type."""
    return 8 if dtype.name == "bfloat16" else int(np.finfo(dtype).nmant) + 1


@lru_cache(maxsize=4096)
def written(value: float, dtype: np.dtype[Any]) -> Scalar | None:
    """The simplest form that rounds to ``value`` in that dtype; None if there is none."""
    if short(np.array(value), dtype):
        return Scalar(value, repr(value))
    bits = significant(dtype)
    forms = _forms(value) if bits > HALF_BITS else _half_forms(value, bits)
    return next((form for form in forms if float(dtype.type(form.value)) == value), None)


def plain(value: float, dtype: np.dtype[Any]) -> Scalar | None:
    """The simplest form that rounds to ``value``, if a number drawn by chance is hardly ever of such a form;
    None if it is not."""
    if significant(dtype) <= HALF_BITS or short(np.array(value), dtype):
        return written(value, dtype)
    forms = itertools.chain(_plain_forms(value), _selu_forms(value))
    return next((form for form in forms if float(dtype.type(form.value)) == value), None)


def traced(value: float, dtype: np.dtype[Any], scalars: Iterable[float]) -> Scalar | None:
    """The scalar of a run that rounds to ``value``, or whose negation, reciprocal, square or root does."""
    for scalar in scalars:
        for form in _variants(scalar):
            if float(dtype.type(form.value)) == value:
                return form
    return None


def near(value: float, tolerance: float, scalars: Iterable[float] = ()) -> Scalar | None:
    """The factor that differs from ``value`` by at most ``tolerance`` of it: a scalar of the run, or a form
    that is plainer than what a changed tensor may be a multiple by. None if there is none."""
    forms = [form for scalar in scalars for form in _variants(scalar)]
    for form in (*forms, *_plain_forms(value)):
        if abs(form.value - value) <= tolerance * abs(value):
            return form
    return None


def is_near_any(value: float, tolerance: float, scalars: Iterable[float]) -> bool:
    """Whether a number differs by at most ``tolerance`` of it from 1, from a scalar of a run, or from the
    negation, reciprocal, square or root of one that is not 1."""
    forms = (form.value for one in scalars for form in (_variants(one) if abs(one) != 1 else ()))
    return any(abs(form - value) <= tolerance * abs(value) for form in (1.0, *scalars, *forms))


def _plain_forms(value: float) -> Iterator[Scalar]:
    """The plainest numbers nearest to a number, one of each form."""
    if not math.isfinite(value) or value == 0 or abs(value) in LARGEST:
        yield Scalar(value, repr(value))
        return
    yield _decimal(value, PLAIN_DIGITS)
    sign = "-" if value < 0 else ""
    yield from _fraction(value, PLAIN_FRACTION)
    for form in _fraction(value * value, ROOT):
        yield Scalar(math.copysign(math.sqrt(form.value), value), f"{sign}sqrt({form.text})")
    yield from _fourth_roots(value)
    for name, named in NAMED:
        for form in _fraction(value / named, MULTIPLE):
            yield Scalar(form.value * named, f"{form.text} {name}")
        for form in _fraction(value * named, MULTIPLE):
            yield Scalar(form.value / named, f"{form.text} / ({name})")


def _forms(value: float) -> Iterator[Scalar]:
    """The numbers nearest to a number in every form, the plainest first."""
    yield from _plain_forms(value)
    yield from _selu_forms(value)
    yield _decimal(value, DIGITS)
    yield from _fraction(value, FRACTION)


def _selu_forms(value: float) -> Iterator[Scalar]:
    for alpha in (*SELU, math.prod(SELU)):
        yield Scalar(math.copysign(alpha, value), repr(alpha))


def _decimal(value: float, digits: int) -> Scalar:
    text = f"{value:.{digits}g}"
    return Scalar(float(text), text)


def computed(value: float, tolerance: float) -> Scalar | None:
    """The fourth root that differs from ``value`` by at most ``tolerance`` of it: scaled attention computes
    one in float32, in several steps. None if there is none.

    A root that is a short number does not count: those steps give it exactly, so ``value`` is meant to be
    beside it.
    """
    return next((form for form in _fourth_roots(value) if _rounds_to(form.value, value, tolerance)), None)


def merged(value: float, tolerance: float) -> Scalar | None:
    """1 / sqrt(n), if ``value`` differs from it by at most ``tolerance`` of it: an optimizer multiplies the
    two factors 1 / n^(1/4) of scaled attention, each rounded. None if it is no such number.

    An n whose factors are short numbers does not count: they are not rounded.
    """
    whole = round(value**-2) if 1e-4 < value < 1 else 0
    if not 1 < whole <= LARGEST_SIZE or short(np.array(whole**-0.25, np.float32)):
        return None
    root = whole**-0.5
    return Scalar(root, f"1 / sqrt({whole})") if abs(root - value) <= tolerance * value else None


def _rounds_to(root: float, value: float, tolerance: float) -> bool:
    return abs(root - value) <= tolerance * abs(value) and not short(np.array(root, np.float32))


def _fourth_roots(value: float) -> Iterator[Scalar]:
    """1 / n^(1/4) and n^(1/4) of the whole n nearest to it, up to LARGEST_SIZE."""
    if not 1e-4 < abs(value) < 1e4:
        return
    sign = "-" if value < 0 else ""
    for power, text in ((-4, "1 / {}^(1/4)"), (4, "{}^(1/4)")):
        whole = round(abs(value) ** power)
        if 1 < whole <= LARGEST_SIZE:
            yield Scalar(math.copysign(whole ** (1 / power), value), sign + text.format(whole))


def _variants(scalar: float) -> Iterator[Scalar]:
    text = repr(scalar)
    yield Scalar(scalar, text)
    yield Scalar(-scalar, f"-{text}")
    if scalar and math.isfinite(scalar):
        yield Scalar(1 / scalar, f"1 / {text}")
        yield Scalar(scalar * scalar, f"{text}^2")
    if 0 < scalar < math.inf:
        yield Scalar(math.sqrt(scalar), f"sqrt({text})")
        yield Scalar(1 / math.sqrt(scalar), f"1 / sqrt({text})")


def _half_forms(value: float, bits: int) -> Iterator[Scalar]:
    """The forms that a float of few significant bits may be a rounding of.

    Of larger fractions and longer decimals there are more than such floats.
    """
    if not math.isfinite(value) or value == 0 or abs(value) in LARGEST:
        yield Scalar(value, repr(value))
        return
    slack, largest = 2.0 ** (1 - bits), 2 ** (bits // 2)
    yield _decimal(value, HALF_DIGITS if bits == HALF_BITS else 1)
    sign = "-" if value < 0 else ""
    yield from _fraction(value, largest, slack)
    for form in _fraction(value * value, largest, 2 * slack):
        yield Scalar(math.copysign(math.sqrt(form.value), value), f"{sign}sqrt({form.text})")
    for name, named in NAMED:
        for factor, text in ((1.0, name), (2.0, f"2 {name}"), (0.5, f"{name} / 2")):
            yield Scalar(math.copysign(factor * named, value), sign + text)
            yield Scalar(math.copysign(factor / named, value), f"{sign}{factor:g} / ({name})")
    for constant in (*SELU, math.prod(SELU), GELU):
        yield Scalar(math.copysign(constant, value), f"{sign}{constant!r}")
    whole = round(1 / value**2) if abs(value) > LARGEST_SIZE**-0.5 else 0
    if whole:
        yield Scalar(math.copysign(whole**-0.5, value), f"{sign}1 / sqrt({whole})")
    yield from _fourth_roots(value)


def _fraction(value: float, largest: int, slack: float = SLACK) -> Iterator[Scalar]:
    """The simplest fraction within ``slack`` of a number, as a share of it, if it is simple enough."""
    if not 1e-6 < abs(value) < 1e6:
        return
    bound = slack * abs(value)
    for part in _convergents(Fraction(abs(value))):
        if abs(part.numerator * part.denominator) > largest:
            return
        if abs(float(part) - abs(value)) <= bound:
            sign = "-" if value < 0 else ""
            bottom = f" / {part.denominator}" if part.denominator > 1 else ""
            yield Scalar(math.copysign(float(part), value), f"{sign}{part.numerator}{bottom}")
            return


def _convergents(value: Fraction) -> Iterator[Fraction]:
    """The best approximations of a number by fractions, from coarse to fine (its continued fraction)."""
    before, last = (0, 1), (1, 0)
    rest = value
    while True:
        whole = rest.numerator // rest.denominator
        before, last = last, (whole * last[0] + before[0], whole * last[1] + before[1])
        if last[1]:
            yield Fraction(*last)
        rest -= whole
        if not rest:
            return
        rest = 1 / rest
