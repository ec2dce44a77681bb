"""Say how far labels, places and rounded numbers that differ were from being the oracle's."""

import math

from onnxproof.validate.measure import LabelMeasurement


def told_flips(label: LabelMeasurement) -> str:
    """How many differ, and how far the one that was the surest was from what was found."""
    if label.kind == "rounded":
        return _told_rounded(label)
    what = "gap between the scores of the two places" if label.kind == "place" else "lead over the next class"
    reason = f"{label.flips} of {label.count} labels differ; the oracle's "
    if math.isinf(label.largest_margin):
        return f"{reason}{what} is not known in {label.worst_case}, so that no flip there is excused"
    return f"{reason}largest {what} among them is {label.largest_margin:.3g}, in {label.worst_case}"


def _told_rounded(label: LabelMeasurement) -> str:
    reason = f"{label.flips} of {label.count} numbers that the model rounds or compares differ; "
    if math.isinf(label.largest_margin):
        return f"{reason}in {label.worst_case} by more than to the next number, which no float error explains"
    moves = f"a float would have to move by {label.largest_margin / 2:.3g} for that"
    return f"{reason}{moves}, in {label.worst_case}"
