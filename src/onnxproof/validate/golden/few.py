"""The limits of few values: how far the ratio of two errors scatters that were measured on so many values.

An rms over n values of normal error with the deviation s has (rms / s)^2 = chi^2(n) / n. So the square of
the ratio of two rms, over n and over m values, is the ratio of the variances times F(n, m), Fisher's
distribution (Abramowitz and Stegun 1964, 26.6). A runtime that errs r times what PyTorch errs measures at
most r * sqrt(F) at a confidence, F being the quantile. ``r`` is the most that healthy exports measured over
many values. So a runtime that is no worse than these is refused with a probability of at most 1 - confidence
for each field, however few its values are.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from onnxproof.validate.measure import Measurement
from onnxproof.validate.policy import BEYOND_DOUBT, HEALTHY_MAX, HEALTHY_RMS, FloatFloor, Held

CONFIDENCE = 0.999
"""The confidence at which a runtime is refused by few values."""

MANY = 10_000
"""As many values, or more, scatter too little to raise a limit."""

HALVINGS = 60
"""Steps of bisection; each halves the interval, and a double has 53 bits."""

TERMS = 1000
"""The most terms of a continued fraction. It takes about the root of its larger parameter (DLMF 8.17(v))."""

SMALLEST = 1e-300
"""What stands for 0 where it would be divided by."""


@dataclass(frozen=True, slots=True)
class FewValues(FloatFloor):
    """The float floor, with limits that grow where few values were compared.

    ``counts`` has, by field, on how many values PyTorch's own error was measured; many where it is not told.
    """

    counts: Mapping[str, int] = field(default_factory=dict)

    def held(self, measured: Measurement, *, has_oracle: bool) -> Iterator[Held]:
        healthy = {"ratio_rms": HEALTHY_RMS, "ratio_max": HEALTHY_MAX}
        for held in FloatFloor.held(self, measured, has_oracle=has_oracle):
            if held.check not in healthy:
                yield held
                continue
            scatter = scatter_of(measured.count, max(self.counts.get(measured.name, MANY), measured.count))
            grown = min(healthy[held.check] * scatter, BEYOND_DOUBT)
            yield Held(held.check, held.value, max(held.limit, grown))

    def to_json(self) -> dict[str, Any]:
        """The limits for many values."""
        return FloatFloor().to_json()


@lru_cache(maxsize=256)
def scatter_of(count: int, reference: int, confidence: float = CONFIDENCE) -> float:
    """The most that the ratio of two rms of equal errors is, at a confidence: the root of F's quantile.

    ``count`` is the number of values of the numerator, ``reference`` of the denominator; at least 1 each.
    """
    one, other = min(count, MANY) / 2, min(reference, MANY) / 2
    low, high = 0.0, 1.0
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if beta(one, other, middle) < confidence else (low, middle)
    return math.sqrt(other * high / (one * max(1 - high, SMALLEST)))


def beta(a: float, b: float, x: float) -> float:
    """The regularised incomplete beta function, for x in [0, 1], by its continued fraction (DLMF 8.17.22).

    The probability that F(n, m) is at most f is this of n / 2, m / 2 and n f / (n f + m).
    """
    if not 0 < x < 1:
        return float(x >= 1)
    if x > (a + 1) / (a + b + 2):  # it converges fast below
        return 1 - beta(b, a, 1 - x)
    front = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)
    c, d = 1.0, 1 / _not_zero(1 - (a + b) * x / (a + 1))
    product = d
    for m in range(1, TERMS):
        before = product
        for term in (
            m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)),
        ):
            d = 1 / _not_zero(1 + term * d)
            c = _not_zero(1 + term / c)
            product *= c * d
        if abs(product - before) <= 1e-15 * abs(product):
            break
    return math.exp(front) * product / a


def _not_zero(value: float) -> float:
    return value if abs(value) > SMALLEST else SMALLEST
