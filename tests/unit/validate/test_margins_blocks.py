"""Many candidates are compared in blocks, not one by one, and in the arithmetic of the runtime's NMS."""

from typing import Any

import numpy as np
import pytest

from onnxproof.runtime.nms import pairwise_iou
from onnxproof.runtime.readings.boxes import Candidates, Cuts
from onnxproof.validate.compare import margins
from onnxproof.validate.compare.margins import Margins, iou_with_slack

CUTS = Cuts(0.1, 0.5, class_agnostic=False)
BOUNDS = {"score": 1e-6, "box": 1e-4}


def scattered(count: int) -> Candidates:
    """Boxes of 8 to 40 px on a picture of 640 px, of four classes."""
    random = np.random.default_rng(0)
    centres, halves = random.uniform(0, 640, (count, 2)), random.uniform(4, 20, (count, 2))
    boxes = np.concatenate((centres - halves, centres + halves), axis=1).astype(np.float32)
    scores = random.uniform(0.1, 1, count).astype(np.float32)
    return Candidates(boxes, scores, random.integers(0, 4, count), gaps=None)


def test_a_crowd_takes_few_comparisons(monkeypatch: pytest.MonkeyPatch) -> None:
    pairs: list[int] = []

    def counting(boxes: Any, others: Any, *rest: float) -> Any:
        pairs.append(max(len(boxes), len(others)))
        return iou_with_slack(boxes, others, *rest)

    monkeypatch.setattr(margins, "iou_with_slack", counting)
    Margins(scattered(3000), CUTS, BOUNDS)
    assert len(pairs) < 100
    assert sum(pairs) < 100_000


def test_overlaps_are_those_of_the_runtime_to_the_bit() -> None:
    boxes = scattered(200).boxes
    ious, slack = iou_with_slack(boxes[:, None], boxes[None], 1e-3, 0.0)
    wanted = pairwise_iou(boxes, boxes)
    assert np.array_equal(ious[wanted > 0], wanted[wanted > 0])
    assert (slack[wanted > 0] > 0).all()
