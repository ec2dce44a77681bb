"""How far rounding alone moves a graph: measured between rows of the same candidate, whatever NMS keeps."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from contracts import contract, reading_of
from numpy.typing import NDArray

from onnxproof.tensors import Dim, Field, TensorSpec
from onnxproof.validate.cases import Case
from onnxproof.validate.closer import RoundingAlone, Shifted
from onnxproof.validate.legs.leg import Answer, Arrays, Ports

Array = NDArray[Any]
Row = tuple[int, float]
"""A candidate's place, and its score."""

STEP = 4
"""Pixels between two candidates."""

PLACES = 12
NOISE = 1e-9
NO_PORTS = Ports((), ())
PICTURE = TensorSpec("picture", "float32", ("batch", 3, 8, 8))
NMS = {"score_threshold": 0.05, "iou_threshold": 0.5, "max_detections": 100}
NMS_ROWS = contract(
    task="detection",
    inputs=(PICTURE,),
    outputs=(
        TensorSpec("boxes", "float32", ("rows", 4)),
        TensorSpec("labels", "int64", ("rows",)),
        TensorSpec("scores", "float32", ("rows",)),
        TensorSpec("pictures", "int64", ("rows",)),
    ),
    dims=(Dim("batch", 1, 2),),
    fields=(Field("boxes", "box", "px"), Field("scores", "score", "")),
    postprocess=reading_of(
        "detection",
        decode="nms",
        outputs=["boxes", "labels", "scores", "pictures"],
        first_label=0,
        score_threshold=0.5,
        graph=NMS,
        batch="batch",
    ).to_json(),
)
CASE = Case("2-noise", {"batch": 2}, "noise", 0)


@dataclass(frozen=True)
class Rows:
    """A leg that returns rows [picture][row], all of class 0, with boxes moved by ``noise`` px.

    ``candidates`` says whether it shows what the rows were chosen from.
    """

    rows: Sequence[Sequence[Row]]
    noise: float = 0.0
    off: float = 0.0
    candidates: bool = False
    name: str = "rows"
    ports: Ports = NO_PORTS

    def run(self, inputs: Arrays) -> Answer:
        listed = [(at, *row) for at, rows in enumerate(self.rows) for row in rows]
        outputs = {
            "boxes": self._boxes([place for _, place, _ in listed]),
            "labels": np.zeros(len(listed), np.int64),
            "scores": np.array([score for _, _, score in listed], np.float64),
            "pictures": np.array([at for at, _, _ in listed], np.int64),
        }
        return Answer(outputs, self._margins() if self.candidates else {})

    def _margins(self) -> Arrays:
        places = [*range(PLACES)] * len(self.rows)
        return {
            "candidate_boxes": self._boxes(places),
            "candidate_scores": np.full(len(places), 0.75),
            "candidate_labels": np.zeros(len(places), np.int64),
            "candidate_ids": np.arange(len(places)),
            "candidate_pictures": np.repeat(np.arange(len(self.rows)), PLACES),
        }

    def _boxes(self, places: Sequence[int]) -> Array:
        left = STEP * np.array(places, np.float64) + self.noise + self.off
        return np.stack((left, 0 * left, left + 2 * STEP, 0 * left + 8), axis=1)


STILL = (((0, 0.75), (2, 0.75), (4, 0.6)), ((5, 0.9),))
OTHER_ORDER = (((4, 0.6), (2, 0.75), (0, 0.75)), ((5, 0.9),))
OTHER_CHOICE = (((1, 0.75), (2, 0.75), (4, 0.6)), ((5, 0.9), (9, 0.75)))


def rounding(still: Rows, moved: Rows, oracle: Rows | None = None) -> dict[str, float]:
    shifted = [Shifted(1.0, still, moved)]
    if oracle is not None:
        shifted.insert(0, Shifted(1.0, oracle, oracle))
    return dict(RoundingAlone(NMS_ROWS, lambda seed: shifted)([CASE], NMS_ROWS.fields))


@pytest.mark.parametrize(
    "rows", [OTHER_ORDER, OTHER_CHOICE], ids=["another-order", "another-choice-of-equals"]
)
@pytest.mark.parametrize("off", [0.0, STEP / 2 - 0.5], ids=["healthy", "every-box-off"])
def test_a_row_is_held_against_the_row_of_the_same_candidate(
    rows: Sequence[Sequence[Row]], off: float
) -> None:
    """A graph whose boxes are off chooses among equals, too: that is no rounding of its boxes."""
    still, moved = Rows(STILL, off=off), Rows(rows, NOISE, off)
    found = rounding(still, moved, Rows(STILL, candidates=True))
    assert found["box"] == pytest.approx(NOISE, rel=1e-3)
    assert found["score"] == 0


def test_the_oracle_that_chooses_otherwise_is_moved_by_its_noise_alone() -> None:
    found = rounding(Rows(STILL, candidates=True), Rows(OTHER_CHOICE, NOISE, candidates=True))
    assert found["box"] == pytest.approx(NOISE, rel=1e-3)


def test_without_candidates_rows_that_overlap_are_paired() -> None:
    found = rounding(Rows(STILL), Rows(OTHER_ORDER, NOISE))
    assert found["box"] == pytest.approx(NOISE, rel=1e-3)


def test_a_row_that_rounding_moves_far_counts_whole() -> None:
    found = rounding(Rows(STILL), Rows(STILL, 1.5), Rows(STILL, candidates=True))
    assert found["box"] == pytest.approx(1.5)


SET_ROWS = contract(
    task="detection",
    inputs=(PICTURE,),
    outputs=(TensorSpec("rows", "float32", ("batch", 3, 6)),),
    dims=(Dim("batch", 1, 2),),
    fields=(Field("rows", "box", "px", 0, 4), Field("rows", "score", "", 4, 5)),
    postprocess=reading_of(
        "detection", decode="rows", nms="none", outputs=["rows"], score_threshold=0.5
    ).to_json(),
)


@dataclass(frozen=True)
class Chosen:
    """A leg that returns the rows that a top-k chose, [1, 3, 6]."""

    rows: Sequence[Row]
    name: str = "chosen"
    ports: Ports = NO_PORTS

    def run(self, inputs: Arrays) -> Answer:
        rows = [[STEP * place, 0, STEP * place + 8, 8, score, 0] for place, score in self.rows]
        return Answer({"rows": np.array([rows], np.float64)}, {})


@pytest.mark.parametrize(
    "moved",
    [((2, 0.75), (0, 0.9), (4, 0.6)), ((0, 0.9), (2, 0.75), (7, 0.6))],
    ids=["another-order", "another-row-of-the-last-score"],
)
def test_rows_of_a_top_k_are_put_in_order_and_the_last_place_is_open(moved: Sequence[Row]) -> None:
    still = Chosen(((0, 0.9), (2, 0.75), (4, 0.6)))
    alone = RoundingAlone(SET_ROWS, lambda seed: [Shifted(1.0, still, Chosen(moved))])
    case = Case("1-noise", {"batch": 1}, "noise", 0)
    assert dict(alone([case], SET_ROWS.fields)) == {"box": 0, "score": 0}
