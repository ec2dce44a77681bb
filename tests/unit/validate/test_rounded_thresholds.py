"""A threshold that float32 cannot hold: 0.3 cuts float32 scores at 0.300000012, and margins begin there."""

from typing import Any

import numpy as np
import pytest
from contracts import Whole, reading_of
from numpy.typing import NDArray

from onnxproof.runtime.readings.boxes import Cuts, Detections
from onnxproof.validate.compare import Comparison
from onnxproof.validate.compare.masks import compare_masks
from onnxproof.validate.compare.returned import compare_returned

THRESHOLD = 0.3
CUT = np.float32(THRESHOLD)
ABOVE = np.nextafter(CUT, np.float32(1))
BOUND = float(ABOVE) - float(CUT)
BOX = np.array([[10, 10, 50, 50]], np.float32)


def detections(score: np.float32) -> Detections:
    """One detection, if its score is above the threshold."""
    scores = np.array([score], np.float32)
    kept = np.flatnonzero(scores > THRESHOLD)
    return Detections(BOX[kept], scores[kept], np.zeros(len(kept), np.int64), kept)


def in_dense_boxes(bound: float) -> Comparison:
    task = Whole("detection")
    reading: Any = reading_of(
        "detection",
        decode="split",
        outputs=["boxes", "scores"],
        score_threshold=THRESHOLD,
        iou_threshold=0.5,
        class_agnostic=False,
    )
    legs = [
        task.evidence({"boxes": BOX[None], "scores": np.array([[[score]]], np.float32)}, {}, reading, {})[0]
        for score in (ABOVE, CUT)
    ]
    comparison: Comparison = task.compare(*legs, reading, {"box": 0.0, "score": bound})
    return comparison


def in_returned_rows(bound: float) -> Comparison:
    bounds = {"box": 0.0, "score": bound}
    cuts = Cuts(THRESHOLD, 0.5)
    comparison, _ = compare_returned(detections(ABOVE), detections(CUT), cuts, bounds, full=False)
    return comparison


def in_labels(bound: float) -> Comparison:
    reading: Any = reading_of(
        "multilabel", decode="probabilities", outputs=["probabilities"], score_threshold=THRESHOLD
    )
    legs: list[NDArray[Any]] = [np.array([score], np.float32) for score in (ABOVE, CUT)]
    comparison: Comparison = Whole("multilabel").compare(*legs, reading, {"probability": bound})
    return comparison


def in_masks(bound: float) -> Comparison:
    wanted, found = (np.full((2, 2), probability, np.float32) for probability in (ABOVE, CUT))
    difference = compare_masks(wanted, found, BOX[0], BOX[0], THRESHOLD, {"mask": bound, "box": 0.0})
    assert difference is not None
    is_tie, finding = difference
    return Comparison(0, (finding,) if is_tie else (), () if is_tie else (finding,))


@pytest.mark.parametrize("compare", [in_dense_boxes, in_returned_rows, in_labels, in_masks])
def test_a_move_of_one_rounding_across_it_is_a_tie_under_that_bound_and_no_smaller_one(compare: Any) -> None:
    assert float(CUT) > THRESHOLD
    tie = compare(BOUND)
    assert len(tie.ties) == 1
    assert tie.defects == ()
    assert "threshold 0.3," in tie.ties[0].cause
    defect = compare(BOUND / 2)
    assert defect.ties == ()
    assert len(defect.defects) == 1
