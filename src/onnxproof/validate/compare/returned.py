"""Compare the rows of two files. Neither returns the candidates that its rows were chosen from.

A row that only one file returns is a tie if the returned rows show that it is open: its score is at the
threshold or at the last place, or a row that it overlaps may suppress it. If it depends on boxes that neither
file returns, or on a network's choice of proposals, the rows do not show that, and it is a defect. Comparing
the file with the checkpoint shows it.
"""

from collections.abc import Mapping

import numpy as np

from onnxproof.runtime.readings.boxes import Cuts, Detections
from onnxproof.validate.compare.comparer import Comparison, Finding, as_compared, error_bound, exact
from onnxproof.validate.compare.margins import IOU_ROUNDINGS, below_threshold, iou_with_slack
from onnxproof.validate.compare.matching import describe, pair_up
from onnxproof.validate.compare.nearness import nearness

OVERLAPS = "NMS keeps no two rows that overlap so much, and the same file returns the other one too"


def compare_returned(
    wanted: Detections,
    found: Detections,
    cuts: Cuts,
    bounds: Mapping[str, float],
    full: bool,
) -> tuple[Comparison, tuple[tuple[int, int], ...]]:
    """Pair the rows above the threshold, and judge each unpaired one as a tie or a defect.

    Returns the comparison, and the pairs as indices into ``wanted`` and ``found``. ``bounds`` are as in
    ``compare_detections``. ``full`` says that one of the files returned as many rows as it may.
    """
    shifts, near = nearness(wanted, found, bounds)
    pairs = pair_up(shifts, near & (wanted.labels[:, None] == found.labels))
    ties: list[Finding] = []
    defects: list[Finding] = []
    for verb, here, there, side in (("missing", wanted, found, 0), ("extra", found, wanted, 1)):
        partners = {pair[1 - side]: pair[side] for pair in pairs}
        for i in sorted(set(range(len(here))) - set(partners.values())):
            wrong = _why_wrong(here, i, cuts, bounds)
            cause = None if wrong else _why_open(here, i, there, partners, cuts, bounds, full=full)
            told = cause or wrong or "no margin that the returned rows show lies within the error bound"
            (defects if cause is None else ties).append(Finding(describe(verb, here, i), told))
    return Comparison(len(pairs), tuple(ties), tuple(defects)), pairs


def _why_wrong(here: Detections, i: int, cuts: Cuts, bounds: Mapping[str, float]) -> str | None:
    """Why no file with these cuts returns a row beside the others of its own. Returns None if it may."""
    threshold = as_compared(cuts.score_threshold, here.scores)
    below = below_threshold(float(here.scores[i]), cuts.score_threshold, threshold, bounds["score"])
    if below is not None or cuts.iou_threshold is None:
        return below
    boxes = here.boxes.astype(np.float64)
    rounding = IOU_ROUNDINGS * float(np.finfo(here.boxes.dtype).eps)
    ious, slack = iou_with_slack(boxes[i], boxes, bounds["box"], rounding)
    beside = (here.scores >= here.scores[i]) & (ious > cuts.iou_threshold + slack)
    beside &= (here.labels == here.labels[i]) | cuts.class_agnostic
    beside[i] = False
    return OVERLAPS if beside.any() else None


def _why_open(
    here: Detections,
    i: int,
    there: Detections,
    partners: Mapping[int, int],
    cuts: Cuts,
    bounds: Mapping[str, float],
    *,
    full: bool,
) -> str | None:
    """Why a row may be in one file and not in the other. Returns None if nothing shows it.

    ``partners[j]`` is the index of the row ``here`` that was paired with row ``j`` of ``there``.
    """
    score, bound = float(here.scores[i]), bounds["score"]
    if score <= as_compared(cuts.score_threshold, here.scores) + bound:
        return f"score {exact(score)} against threshold {exact(cuts.score_threshold)}, {error_bound(bound)}"
    last = float(min(here.scores.min(), there.scores.min(initial=np.inf)))
    if full and score <= last + 2 * bound:
        return (
            f"score {exact(score)} against {exact(last)} in the last place, {error_bound(bound, each=True)}"
        )
    if cuts.iou_threshold is None:
        return None
    boxes, others = here.boxes[i].astype(np.float64), there.boxes.astype(np.float64)
    rounding = IOU_ROUNDINGS * float(np.finfo(here.boxes.dtype).eps)
    ious, slack = iou_with_slack(boxes, others, bounds["box"], rounding)
    may = (there.labels == here.labels[i]) & (there.scores >= score - 2 * bound)
    may &= ious > cuts.iou_threshold - slack
    for j in np.flatnonzero(may).tolist():
        if j not in partners and there.scores[j] <= score + 2 * bound:
            return (
                f"scores {exact(score)} and {exact(there.scores[j])} of overlapping boxes may change order, "
                f"{error_bound(bound, each=True)}"
            )
        if j in partners and ious[j] <= cuts.iou_threshold + slack[j]:
            return (
                f"IoU {exact(ious[j])} against threshold {exact(cuts.iou_threshold)}, "
                f"{error_bound(float(slack[j]))}"
            )
    return None
