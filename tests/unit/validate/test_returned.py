"""Rows of two files, neither of which tells what they were chosen from: what is measured against what, and
which of the rows that one file alone returns are ties."""

from typing import Any

import numpy as np
import pytest
from contracts import Whole, reading_of
from numpy.typing import NDArray

from onnxproof.validate.compare import Comparison
from onnxproof.validate.compare.returned_pairs import pair_returned
from onnxproof.validate.compare.row_pairs import Paired
from onnxproof.validate.legs.leg import Answer

Array = NDArray[Any]

DOCUMENT: dict[str, Any] = {
    "decode": "nms",
    "outputs": ["boxes", "labels", "scores"],
    "first_label": 0,
    "score_threshold": 0.5,
    "graph": {"score_threshold": 0.05, "iou_threshold": 0.5, "max_detections": 5},
}
POST: Any = reading_of("detection", **DOCUMENT)
BOUNDS = {"box": 1e-3, "score": 1e-4}
BOXES = [(0, 0, 40, 40), (100, 0, 140, 40), (0, 100, 40, 150)]

Row = tuple[float, ...]

ROWS: list[Row] = [(*BOXES[0], 0.9, 0), (*BOXES[1], 0.8, 1), (*BOXES[2], 0.7, 0)]


def outputs(rows: list[Row], shift: float = 0.0) -> dict[str, Array]:
    """Rows of x0, y0, x1, y1, score, class; ``shift`` moves every coordinate."""
    table = np.array(rows, np.float32).reshape(-1, 6)
    return {
        "boxes": table[:, :4] + np.float32(shift),
        "labels": table[:, 5].astype(np.int64),
        "scores": table[:, 4],
    }


def pair(oracle: Any, reference: Any, candidate: Any, reading: Any) -> Paired:
    oracle, reference, candidate = (Answer(one, {}) for one in (oracle, reference, candidate))
    return pair_returned(oracle, reference, candidate, reading)


def compared(wanted: list[Row], found: list[Row]) -> Comparison:
    task = Whole("detection")
    evidence = [task.evidence(outputs(rows), {}, POST, {})[0] for rows in (wanted, found)]
    comparison: Comparison = task.compare(evidence[0], evidence[1], POST, BOUNDS)
    return comparison


def test_rows_are_measured_against_their_like_in_any_order() -> None:
    paired = pair(outputs(ROWS), outputs(ROWS, 1e-5), outputs(ROWS[::-1], 2e-5), POST)
    assert (paired.rows, paired.held_back) == (3, 0)
    exact, wanted, found = (leg["boxes"] for leg in paired.outputs)
    assert np.abs(wanted - exact).max() <= 2e-5
    assert np.abs(found - exact).max() <= 4e-5
    assert set(paired.outputs[0]) == {"boxes", "scores"}


@pytest.mark.parametrize(
    ("oracle", "reference", "candidate", "held_back"),
    [
        pytest.param(ROWS, ROWS, ROWS[:2], 0, id="one-fewer"),
        pytest.param(ROWS[:2], ROWS[:2], ROWS, 1, id="one-more"),
        pytest.param(ROWS, ROWS[:2], ROWS, 1, id="one-that-a-returns-only-when-moved"),
        pytest.param(ROWS, ROWS, [*ROWS, ROWS[0]], 1, id="one-twice"),
        pytest.param(ROWS, ROWS, [(*BOXES[0], 0.9, 1)], 1, id="another-class"),
        pytest.param(ROWS, ROWS, [(30, 30, 70, 70, 0.9, 0)], 1, id="another-place"),
        pytest.param([], [], ROWS, 3, id="nothing-in-a"),
        pytest.param(ROWS, ROWS, [], 0, id="nothing-in-b"),
    ],
)
def test_what_has_no_like_is_held_back(
    oracle: list[Row], reference: list[Row], candidate: list[Row], held_back: int
) -> None:
    paired = pair(outputs(oracle), outputs(reference), outputs(candidate), POST)
    assert (paired.rows, paired.held_back) == (len(candidate), held_back)
    lengths = {len(array) for leg in paired.outputs for array in leg.values()}
    assert lengths == {len(candidate) - held_back}


def test_a_row_that_is_nan_is_measured() -> None:
    broken = [ROWS[0], (*BOXES[1], np.nan, 1), ROWS[2]]
    paired = pair(outputs(ROWS), outputs(ROWS), outputs(broken), POST)
    assert paired.held_back == 0
    assert np.isnan(paired.outputs[2]["scores"]).sum() == 1


def test_masks_come_with_their_rows() -> None:
    masked = {"outputs": [*DOCUMENT["outputs"], "masks"], "mask_side": 28, "mask_threshold": 0.5}
    post = reading_of("instance_segmentation", **{**DOCUMENT, **masked})
    masks = np.arange(3, dtype=np.float32).reshape(3, 1, 1, 1) * np.ones((3, 1, 160, 160), np.float32)
    straight, turned = {**outputs(ROWS), "masks": masks}, {**outputs(ROWS[::-1]), "masks": masks[::-1]}
    paired = pair(straight, straight, turned, post)
    assert len(paired.outputs[0]["masks"]) == 3
    assert np.array_equal(paired.outputs[0]["masks"], paired.outputs[2]["masks"])


@pytest.mark.parametrize(
    ("wanted", "found", "cause"),
    [
        pytest.param(
            [*ROWS, (200, 0, 240, 40, 0.50005, 0)], ROWS, "against threshold 0.5", id="lost-at-threshold"
        ),
        pytest.param(
            ROWS, [*ROWS, (200, 0, 240, 40, 0.50005, 0)], "against threshold 0.5", id="come-at-threshold"
        ),
        pytest.param(
            [(0, 0, 40, 40, 0.9, 0)], [(0, 8, 40, 48, 0.90005, 0)], "may change order", id="nms-chose-another"
        ),
        pytest.param(
            [(0, 0, 40, 30, 0.9, 0), (0, 10, 40, 40, 0.8, 0)],
            [(0, 0, 40, 30, 0.9, 0)],
            "against threshold 0.5",
            id="iou-at-threshold",
        ),
        pytest.param(
            [*ROWS, *((200 + 50 * i, 0, 240 + 50 * i, 40, 0.6, 0) for i in range(2))],
            [*ROWS, *((200 + 50 * i, 0, 240 + 50 * i, 40, 0.6, 0) for i in (0, 2))],
            "in the last place",
            id="a-cut-after-the-best",
        ),
    ],
)
def test_a_margin_that_the_rows_show_makes_a_tie(wanted: list[Row], found: list[Row], cause: str) -> None:
    comparison = compared(wanted, found)
    assert not comparison.defects
    assert comparison.ties
    assert all(cause in tie.cause for tie in comparison.ties)


@pytest.mark.parametrize(
    ("wanted", "found", "count"),
    [
        pytest.param(ROWS, ROWS[:2], 1, id="one-lost"),
        pytest.param(ROWS[:2], ROWS, 1, id="one-come"),
        pytest.param(ROWS, [*ROWS, ROWS[0]], 1, id="one-twice"),
        pytest.param(ROWS, [(*BOXES[0], 0.9, 1), *ROWS[1:]], 2, id="another-class"),
        pytest.param(ROWS, [(*BOXES[0], 0.91, 0), *ROWS[1:]], 2, id="another-score"),
        pytest.param(ROWS, [(20, 0, 60, 40, 0.9, 0), *ROWS[1:]], 2, id="another-place"),
        pytest.param(ROWS, [(*BOXES[0], np.nan, 0), *ROWS[1:]], 2, id="nan"),
    ],
)
def test_anything_else_is_a_defect(wanted: list[Row], found: list[Row], count: int) -> None:
    assert len(compared(wanted, found).defects) == count


def test_the_same_rows_match() -> None:
    comparison = compared(ROWS, ROWS[::-1])
    assert (comparison.matched, comparison.ties, comparison.defects) == (3, (), ())
