"""How much a count proves: one-sided Clopper-Pearson bounds on the share behind it.

Clopper and Pearson 1934, "The use of confidence or fiducial limits illustrated in the case of the binomial":
the bound is the share at which a count as small (or as large) as the one seen has the probability
1 - confidence. It holds for any number of trials, and takes trials as independent.
"""

import math
from collections.abc import Callable

HALVINGS = 60
"""Steps of bisection; each halves the interval, and a double has 53 bits."""


def upper_bound(count: int, trials: int, confidence: float) -> float:
    """The largest share that ``count`` of ``trials`` leaves possible; 1 without a trial."""
    if count >= trials:
        return 1.0
    if count == 0:
        return -math.expm1(math.log1p(-confidence) / trials)
    return _solve(lambda share: at_most(count, trials, share) > 1 - confidence)


def lower_bound(count: int, trials: int, confidence: float) -> float:
    """The least share that ``count`` of ``trials`` leaves possible."""
    if count <= 0:
        return 0.0
    return _solve(lambda share: 1 - at_most(count - 1, trials, share) < 1 - confidence)


def trials_needed(count: int, limit: float, confidence: float) -> int:
    """The least number of trials of which ``count`` prove a share of at most ``limit``."""
    low, high = count, max(2 * count, 1)
    while upper_bound(count, high, confidence) > limit:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if upper_bound(count, middle, confidence) <= limit else (middle, high)
    return high


def at_most(count: int, trials: int, share: float) -> float:
    """The probability of at most ``count`` of ``trials``, each with the probability ``share``."""
    if share <= 0:
        return 1.0
    if share >= 1:
        return float(count >= trials)
    yes, no = math.log(share), math.log1p(-share)
    whole = math.lgamma(trials + 1)
    return math.fsum(
        math.exp(whole - math.lgamma(k + 1) - math.lgamma(trials - k + 1) + k * yes + (trials - k) * no)
        for k in range(count + 1)
    )


def _solve(is_below: Callable[[float], bool]) -> float:
    low, high = 0.0, 1.0
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if is_below(middle) else (low, middle)
    return high
