"""Of rows with the last score of a top-k, only the scores are compared; of all others everything."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from contracts import contract, reading_of
from numpy.typing import NDArray

from onnxproof.tensors import Dim, Field, TensorSpec
from onnxproof.validate.cases import Case
from onnxproof.validate.compare.last_place import decided_rows
from onnxproof.validate.legs.leg import Answer
from onnxproof.validate.tally import Tally

Array = NDArray[Any]

ROWS = 6
READING = reading_of("detection", decode="rows", nms="none", outputs=["rows"], score_threshold=0.5)
PARTS = reading_of(
    "detection", decode="rows", nms="none", outputs=["boxes", "labels", "scores"], score_threshold=0.5
)
CONTRACT = contract(
    task="detection",
    inputs=(TensorSpec("picture", "float32", ("batch", 3, 8, 8)),),
    outputs=(TensorSpec("rows", "float32", ("batch", ROWS, 6)),),
    dims=(Dim("batch", 1, 2),),
    fields=(
        Field("rows", "box", "px", 0, 4),
        Field("rows", "score", "", 4, 5),
        Field("rows", "label", "", 5, 6, "label"),
    ),
    postprocess=READING.to_json(),
)
BLACK = Case("black", {"batch": 1}, "black", 0)


def rows(scores: list[float], places: list[int]) -> Array:
    """One picture's rows: each box tells the place that it is of."""
    boxes = np.array([[place, 0, place + 1, 1] for place in places], np.float64)
    labels = np.array(places, np.float64) % 3
    return np.column_stack((boxes, scores, labels))[None]


def measured(exact: Array, found: Array, reference: Array | None = None) -> tuple[dict[str, float], int]:
    """The largest errors of the candidate by field, and how many labels flipped."""
    answers = [
        Answer({"rows": values}, {}) for values in (exact, exact if reference is None else reference, found)
    ]
    exact_answer, wanted, candidate = (
        answers[0],
        *(replace(one, outputs={"rows": one.outputs["rows"].astype(np.float32)}) for one in answers[1:]),
    )
    tally = Tally.of(CONTRACT, decide=False)
    assert tally.add(replace(BLACK, content="noise"), exact_answer, wanted, candidate) is not None
    errors = {one.name: one.max_candidate for one in tally.pools.measured(())}
    return errors, tally.pools.labels["label"].flips


def compared(exact: Array, reference: Array) -> list[bool]:
    """Of which rows the boxes are compared."""
    flags: list[bool] = decided_rows({"rows": exact}, {"rows": reference}, READING)["rows"][0, :, 0].tolist()
    return flags


SHARED = [0.9, 0.8, 0.2, 0.2, 0.2, 0.2]
APART = [0.9, 0.8, 0.5, 0.4, 0.3, 0.2]


@pytest.mark.parametrize(
    ("scores", "places"),
    [
        pytest.param(SHARED, [0, 1, 20, 31, 42, 50], id="four-rows-have-the-last-score"),
        pytest.param(APART, [0, 1, 2, 3, 4, 50], id="the-next-candidate-has-the-last-rows-score"),
    ],
)
def test_other_places_with_the_last_score_are_no_difference(scores: list[float], places: list[int]) -> None:
    errors, flips = measured(rows(scores, [0, 1, 2, 3, 4, 5]), rows(scores, places))
    assert errors["box"] == 0
    assert errors["score"] < 1e-7
    assert flips == 0


@pytest.mark.parametrize(
    ("scores", "places"),
    [
        pytest.param(SHARED, [0, 30, 2, 3, 4, 5], id="a-row-above-the-last-score"),
        pytest.param(APART, [0, 1, 2, 3, 40, 5], id="the-last-row-but-one"),
    ],
)
def test_any_other_row_is_compared(scores: list[float], places: list[int]) -> None:
    errors, _ = measured(rows(scores, [0, 1, 2, 3, 4, 5]), rows(scores, places))
    assert errors["box"] > 20


def test_a_wrong_score_in_the_last_place_is_measured() -> None:
    found = [*SHARED[:2], 0.2, 0.2, 0.2, 0.1]
    errors, _ = measured(rows(SHARED, [0, 1, 2, 3, 4, 5]), rows(found, [0, 1, 2, 3, 4, 5]))
    assert errors["score"] == pytest.approx(0.1)


def test_scores_are_equal_within_what_float_error_does_but_no_further() -> None:
    noisy = [0.9, 0.8, *(0.2 + step * 1e-6 for step in (3, 2, 1, 0))]
    exact, reference = rows(noisy, [0, 1, 2, 3, 4, 5]), rows(SHARED, [0, 1, 6, 7, 8, 9])
    rough = rows([0.9, 0.8, 0.3, 0.3, 0.3, 0.1], [0, 1, 2, 3, 4, 5])
    assert compared(exact, reference) == [True, True, False, False, False, False]
    assert compared(exact, exact) == [True, True, True, True, True, False]
    assert compared(rows(APART, [0, 1, 2, 3, 4, 5]), rough) == [True, True, True, True, True, False]


def test_a_row_that_is_alone_is_compared() -> None:
    alone = rows([0.7], [3])
    assert not decided_rows({"rows": alone}, {"rows": alone}, READING)


def test_three_outputs_are_told_apart_in_the_same_way() -> None:
    whole = rows(SHARED, [0, 1, 2, 3, 4, 5])
    outputs = {"boxes": whole[..., :4], "labels": whole[..., 5].astype(np.int64), "scores": whole[..., 4]}
    kept = decided_rows(outputs, outputs, PARTS)
    assert {name: flags.shape for name, flags in kept.items()} == {"boxes": (1, 6, 4), "labels": (1, 6)}
    assert kept["labels"][0].tolist() == [True, True, False, False, False, False]
