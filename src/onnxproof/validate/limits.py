"""The limits that measurements are held against, and where they come from."""

from onnxproof.validate.measure import Measurement

RATIO_RMS = 2.0
"""Limit of ratio_rms. Healthy exports measured 0.28 to 1.74, the mildest planted fault that fails 3.6
(docs/verdict.md)."""

RATIO_MAX = 4.0
"""Limit of ratio_max. A maximum scatters more than an rms: healthy exports measured 0.49 to 1.98."""

HELD_BACK = 0.1
"""The largest share of a file's rows that may hang on hidden choices that went otherwise."""

FIXED_TOLERANCE = 1e-4
"""Where a model cannot run in float64: the largest error, as a share of the field's largest value."""


def error_bound(measured: Measurement, *, has_oracle: bool) -> float:
    """How far float error alone can part a healthy candidate from the reference, in the field's unit.

    The reference's measured error plus the candidate's, the latter counted only up to what the limit
    lets pass: a damaged file must not excuse its own decisions.
    """
    if not has_oracle:
        return FIXED_TOLERANCE * measured.scale_max
    allowed = RATIO_MAX * measured.floor_max
    candidate = measured.max_candidate if measured.max_candidate <= allowed else allowed
    return measured.floor_max + candidate
