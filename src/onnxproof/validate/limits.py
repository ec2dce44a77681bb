"""The limits that measurements are held against, and where they come from."""

from onnxproof.validate.measure import Measurement

RATIO_RMS = 2.7
"""Limit of ratio_rms. Healthy exports measured 0.68 to 2.43; a fault with three times the effect of PyTorch's
own float error measures 3 or more (benchmarks/soundness)."""

RATIO_MAX = 5.0
"""Limit of ratio_max. A maximum scatters more than an rms: healthy exports measured 0.50 to 3.63."""

RATIO_CONSTANT = 100.0
"""Limit of both ratios on pictures of one value. There every pixel rounds alike, and errors add up instead of
averaging out: healthy exports that take means or normalise over such a picture measured up to 29."""

FEW = 8
"""A failure that rests on this many cases or fewer is looked at again: so few measure float error badly."""

REPEATS = 32
"""How many runs a second look takes, on inputs next to those of the doubtful cases. The rms of as many normal
deviates scatters by an eighth."""

BEYOND_DOUBT = 100.0
"""The ratio from which on nothing is looked at again. Of one number in float error, ratios over 30 are not
rare (one in fifty; the ratio of two normal deviates is Cauchy's)."""

HELD_BACK = 0.1
"""The largest share of a file's rows that may hang on hidden choices that went otherwise."""

DATASET_DIFFERENCE = 0.001
"""How far mAP or accuracy of the two legs may differ on the labelled pictures without a tie: the last digit
that is published of such figures, a tenth of a point."""

FIXED_TOLERANCE = 1e-4
"""Where a model cannot run in float64: the largest error, as a share of the field's largest value."""


def error_bound(measured: Measurement, *, has_oracle: bool, limit: float = RATIO_MAX) -> float:
    """How far float error alone can part a healthy candidate from the reference, in the field's unit.

    The reference's measured error plus the candidate's, the latter counted only up to what ``limit``
    lets pass: a damaged file must not excuse its own decisions.
    """
    if not has_oracle:
        return FIXED_TOLERANCE * measured.scale_max
    allowed = limit * measured.floor_max
    candidate = measured.max_candidate if measured.max_candidate <= allowed else allowed
    return measured.floor_max + candidate
