"""Rows of the file and of PyTorch are measured like against like, whatever their order and number."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import pytest
from contracts import reading_of
from numpy.typing import NDArray

from onnxproof.validate.compare.row_pairs import Paired, pair_batch, pair_rows, with_open_regions
from onnxproof.validate.legs.leg import Answer

Array = NDArray[Any]

DOCUMENT: dict[str, Any] = {
    "decode": "nms",
    "outputs": ["boxes", "labels", "scores"],
    "first_label": 0,
    "score_threshold": 0.5,
    "graph": {"score_threshold": 0.05, "iou_threshold": 0.5, "max_detections": 100},
}
POST: Any = reading_of("detection", **DOCUMENT)
BOXES = np.array([(0, 0, 40, 40), (100, 0, 140, 40), (0, 100, 40, 150), (10, 2, 50, 41)], np.float64)
SCORES = np.array([0.9, 0.8, 0.7, 0.6])
LABELS = np.array([0, 1, 0, 0])
NOISE = np.random.default_rng(0).normal(scale=1e-5, size=(2, 4, 5))


def answer(chosen: Sequence[int], leg: int | None, *, tell: bool = True) -> Answer:
    """A leg with float error of its own (None: the oracle) that keeps the chosen ones of four candidates."""
    noise = np.zeros((4, 5)) if leg is None else NOISE[leg]
    dtype = np.float64 if leg is None else np.float32
    boxes, scores = (BOXES + noise[:, :4]).astype(dtype), (SCORES + noise[:, 4]).astype(dtype)
    rows = list(chosen)
    outputs = {"boxes": boxes[rows], "labels": LABELS[rows], "scores": scores[rows]}
    margins = {
        "candidate_boxes": boxes,
        "candidate_scores": scores,
        "candidate_labels": LABELS,
        "candidate_ids": np.array([70, 11, 30, 42]),
    }
    return Answer(outputs, margins if tell else {})


def paired(found: Answer, oracle: Answer | None = None, reference: Answer | None = None) -> Paired:
    result = pair_rows(oracle or answer((0, 1, 2), None), reference or answer((0, 1, 2), 0), found, POST)
    assert isinstance(result, Paired)
    return result


@pytest.mark.parametrize(
    "rows",
    [
        pytest.param((0, 1, 2), id="as-pytorch"),
        pytest.param((2, 0, 1), id="in-another-order"),
        pytest.param((3, 1, 2), id="nms-kept-the-other"),
        pytest.param((0,), id="fewer"),
        pytest.param((0, 0, 1), id="one-twice"),
        pytest.param((), id="none"),
    ],
)
def test_each_row_is_measured_against_what_it_is(rows: tuple[int, ...]) -> None:
    found = paired(answer(rows, 1, tell=False))
    truth, wanted, measured = (leg["boxes"] for leg in found.outputs)
    np.testing.assert_array_equal(truth, BOXES[list(rows)].reshape(-1, 4))
    assert np.abs(wanted - truth).max(initial=0) < 1e-4
    assert np.abs(measured - truth).max(initial=0) < 1e-4
    assert set(found.outputs[0]) == {"boxes", "scores"}
    assert set(found.quantities[0]) == {"box", "score"}


def test_a_row_that_moved_is_measured_as_it_is() -> None:
    found = answer((0, 1, 2), 1, tell=False)
    moved = replace(found, outputs={**found.outputs, "boxes": found.outputs["boxes"] + np.float32(0.5)})
    truth, _, measured = (leg["boxes"] for leg in paired(moved).outputs)
    assert np.abs(measured - truth).max() > 0.4


def test_nan_is_measured() -> None:
    found = answer((0, 1, 2), 1, tell=False)
    broken = found.outputs["scores"].copy()
    broken[1] = np.nan
    measured = paired(replace(found, outputs={**found.outputs, "scores": broken})).outputs[2]["scores"]
    assert np.isnan(measured).sum() == 1


@pytest.mark.parametrize("lacking", ["the oracle", "the reference"])
def test_a_row_that_one_leg_of_pytorch_lacks_is_held_back(lacking: str) -> None:
    oracle, reference = answer((0, 1), None), answer((0, 1), 0)
    leg = oracle if lacking == "the oracle" else reference
    left = {name: values[[0, 1, 3]] for name, values in leg.margins.items()}
    without = replace(leg, margins=left)
    found = paired(
        answer((0, 1, 2), 1, tell=False),
        oracle=without if leg is oracle else oracle,
        reference=without if leg is reference else reference,
    )
    assert found.held_back == 1
    np.testing.assert_array_equal(found.outputs[0]["boxes"], BOXES[[0, 1]])


def test_a_class_that_pytorch_sees_nowhere_is_told() -> None:
    found = answer((0, 1, 2), 1, tell=False)
    strange = replace(found, outputs={**found.outputs, "labels": found.outputs["labels"] + 5})
    assert pair_rows(answer((0,), None), answer((0,), 0), strange, POST) == (
        "a row of class 5, which PyTorch sees nowhere"
    )


@pytest.mark.parametrize(("moved", "measured"), [(0, [0, 1, 2]), (0.5, [0, 2])], ids=["as-it-was", "moved"])
def test_rows_that_hang_on_an_open_choice_are_held_back_where_it_went_otherwise(
    moved: float, measured: list[int]
) -> None:
    reference, candidate = answer((0, 1, 2), 0), answer((0, 1, 2), 1, tell=False)
    candidate.outputs["boxes"][1] += np.float32(moved)
    told = {"open_boxes": BOXES[1:2], "open_causes": np.array(["a coin toss"])}
    found = paired(candidate, reference=replace(reference, margins={**reference.margins, **told}))
    assert (found.rows, found.held_back) == (3, 3 - len(measured))
    np.testing.assert_array_equal(found.outputs[0]["boxes"], BOXES[measured])


STAGE = {"iou_threshold": 0.7, "top_candidates": 3, "max_detections": 3, "levels": [2, 5, 4, 224]}
TWO_STAGES: Any = reading_of("detection", **{**DOCUMENT, "graph": {**DOCUMENT["graph"], "proposals": STAGE}})


class TestProposals:
    def regions(self, boxes: Array, scores: Sequence[float], error: float = 1e-6) -> tuple[Array, list[str]]:
        told = {
            "proposal_boxes": boxes,
            "proposal_scores": np.array(scores),
            "proposal_levels": np.zeros(len(boxes), np.int64),
            "resized": np.array([2.0, 4.0]),
        }
        exact = {**told, "proposal_boxes": boxes + error, "proposal_scores": told["proposal_scores"] + error}
        oracle, reference = answer((0, 1, 2), None), answer((0, 1, 2), 0)
        oracle = replace(oracle, margins={**oracle.margins, **exact})
        reference = replace(reference, margins={**reference.margins, **told})
        same = answer((2, 0, 1), 1, tell=False)
        assert with_open_regions(oracle, reference, same, TWO_STAGES) is reference
        strange = replace(same, outputs={**same.outputs, "labels": same.outputs["labels"] + 9})
        assert with_open_regions(oracle, reference, strange, TWO_STAGES) is not reference
        moved = replace(same, outputs={**same.outputs, "boxes": same.outputs["boxes"] + np.float32(1)})
        assert with_open_regions(oracle, reference, moved, TWO_STAGES) is not reference
        differs = answer((0, 1), 1, tell=False)
        found = with_open_regions(oracle, reference, differs, TWO_STAGES).margins
        return found["open_boxes"], found["open_causes"].tolist()

    def test_none_is_open_where_all_lie_apart(self) -> None:
        found, causes = self.regions(BOXES[:3], (0.9, 0.8, 0.7))
        assert (found.shape, causes) == ((0, 4), [])

    def test_two_of_one_score_are_open_where_they_overlap_and_regions_are_in_input_pixels(self) -> None:
        boxes = np.array([(0, 0, 40, 40), (2, 0, 42, 40), (100, 0, 150, 40)], float)
        found, causes = self.regions(boxes, (0.8, 0.8, 0.7))
        np.testing.assert_allclose(found, boxes[:2] / (2, 4, 2, 4))
        assert all("may change order" in cause for cause in causes)

    def test_the_last_that_counts_is_open(self) -> None:
        found, causes = self.regions(BOXES * 2, (0.9, 0.8, 0.5, 0.5))
        assert len(found) == 2
        assert all("at the cut after the best 3" in cause for cause in causes)

    def test_of_a_crowd_at_the_cut_all_are_open(self) -> None:
        boxes = np.array([(x * 60, 0, x * 60 + 40, 40) for x in range(12)], float)
        found, causes = self.regions(boxes, [0.9, *[0.5] * 11])
        assert sorted(found[:, 0].tolist()) == (boxes[1:, 0] / 2).tolist()
        assert sum("one of a crowd at the cut after the best 3" in cause for cause in causes) == 6

    def test_a_size_at_the_border_of_two_levels_is_open(self) -> None:
        found, causes = self.regions(
            np.array([(0, 0, 224.0, 224.0), (300, 0, 500, 100)]), (0.9, 0.5), error=1e-3
        )
        assert len(found) == 1
        assert "border of two levels" in causes[0]


BATCH: Any = reading_of(
    "detection", **{**DOCUMENT, "outputs": [*DOCUMENT["outputs"], "pictures"], "batch": "batch"}
)


def batched(answers: Sequence[Answer]) -> Answer:
    """The answers of one picture each as that of a batch."""
    outputs, margins = (
        {
            name: np.concatenate([getattr(one, kind)[name] for one in answers])
            for name in getattr(answers[0], kind)
        }
        for kind in ("outputs", "margins")
    )
    of_rows = [np.full(len(one.outputs["boxes"]), at) for at, one in enumerate(answers)]
    outputs["pictures"] = np.concatenate(of_rows)
    if margins:
        margins["candidate_pictures"] = np.repeat(np.arange(len(answers)), len(BOXES))
    return Answer(outputs, margins)


class TestABatch:
    SIZES: ClassVar = {"batch": 3}

    def test_each_row_is_measured_against_its_own_picture(self) -> None:
        kept: tuple[tuple[int, ...], ...] = ((0, 1), (), (2,))
        oracle, reference = (batched([answer(rows, leg) for rows in kept]) for leg in (None, 0))
        found = batched([answer(rows, 1, tell=False) for rows in kept])
        paired = pair_batch(oracle, reference, found, BATCH, self.SIZES, pair_rows)
        assert isinstance(paired, Paired)
        assert (paired.rows, paired.held_back) == (3, 0)
        np.testing.assert_array_equal(paired.outputs[0]["boxes"], BOXES[[0, 1, 2]])
        assert set(paired.outputs[0]) == {"boxes", "scores"}
        evidence = BATCH.evidence(oracle.outputs, self.SIZES, oracle.margins)
        assert [len(rows.detections) for rows in evidence] == [2, 0, 1]

    def test_a_row_of_a_picture_that_is_not_there_is_told(self) -> None:
        oracle, reference = (batched([answer((0, 1), leg)] * 3) for leg in (None, 0))
        found = batched([answer((0, 1), 1, tell=False)] * 4)
        told = pair_batch(oracle, reference, found, BATCH, self.SIZES, pair_rows)
        assert told == "a row of picture 3; the batch has the pictures 0 to 2"

    def test_a_file_that_answers_for_the_first_picture_alone_has_missing_rows(self) -> None:
        found = batched([answer((0, 1, 2), 1, tell=False)])
        evidence = BATCH.evidence(found.outputs, self.SIZES, {})
        assert [len(rows.detections) for rows in evidence] == [3, 0, 0]


def test_padded_rows_are_cut_to_their_counts() -> None:
    reading: Any = reading_of(
        "detection",
        **{
            **DOCUMENT,
            "decode": "nms-padded",
            "outputs": [*DOCUMENT["outputs"], "counts"],
            "batch": "batch",
            "graph": {**DOCUMENT["graph"], "max_detections": 4},
        },
    )
    outputs = {
        "boxes": np.stack((BOXES, BOXES)),
        "labels": np.stack((LABELS, LABELS)),
        "scores": np.stack((SCORES, SCORES)),
        "counts": np.array([3, 0]),
    }
    evidence = reading.evidence(outputs, {"batch": 2}, {})
    assert [len(rows.detections) for rows in evidence] == [3, 0]
    assert reading.refuse(outputs, {}) is None
    assert reading.refuse({**outputs, "counts": np.array([5, 0])}, {}) == (
        "5 rows of a picture; it has room for 4"
    )


def test_a_row_whose_class_may_flip_is_measured_against_its_own_candidate() -> None:
    """The best two classes of the first box score nearly alike: the file may choose the other one."""
    gaps = np.array([1e-6, 0.5, 0.5, 0.5])
    oracle, reference = (
        replace(one, margins={**one.margins, "candidate_gaps": gaps})
        for one in (answer((0, 1, 2), leg) for leg in (None, 0))
    )
    found = answer((0, 1, 2), 1, tell=False)
    labels = found.outputs["labels"].copy()
    labels[0] = 7
    paired_up = pair_rows(
        oracle, reference, replace(found, outputs={**found.outputs, "labels": labels}), POST
    )
    assert isinstance(paired_up, Paired)
    np.testing.assert_array_equal(paired_up.outputs[0]["boxes"], BOXES[:3])
