"""Class scores: softmax and sigmoid hold at every magnitude, ranks are stable, ties are told from defects."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from contracts import Whole
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray
from PIL import Image

from onnxproof.contract import ClassInfo
from onnxproof.runtime.preprocess import Transform
from onnxproof.runtime.tasks.classification import RankedScores, rank, softmax
from onnxproof.runtime.tasks.multilabel import LabelScores, sigmoid

Array = NDArray[Any]
CLASSES = (ClassInfo("cat", (255, 0, 0)), ClassInfo("dog", (0, 255, 0)), ClassInfo("owl", (0, 0, 255)))
CLASSIFICATION, MULTILABEL = Whole("classification"), Whole("multilabel")
LOGITS = RankedScores(("logits",), "none", 2)
SHARES = RankedScores(("probabilities",), "probabilities", 2)
SETS = LabelScores(("probabilities",), "probabilities", 0.5)
READINGS: dict[str, Any] = {"classification": SHARES, "multilabel": SETS}
NO_MOVE = Transform(1, 1, 0, 0, 64, 48)

rows = arrays.arrays(
    np.float32, st.integers(1, 12), elements=st.floats(-1000, 1000, width=32, allow_nan=False)
)


def row(*values: float) -> Array:
    return np.array(values, np.float32)


@given(rows)
def test_softmax_is_a_distribution_that_keeps_the_order(logits: Array) -> None:
    result = softmax(logits)
    assert result.dtype == np.float32
    assert np.isfinite(result).all()
    assert result.sum() == pytest.approx(1, abs=1e-5)
    assert (np.diff(result[np.argsort(logits, kind="stable")]) >= 0).all()


@given(rows, st.integers(-64, 64))
def test_softmax_does_not_see_a_shift(logits: Array, shift: int) -> None:
    exact = np.round(logits)
    np.testing.assert_array_equal(softmax(exact), softmax(exact + np.float32(shift)))


def test_softmax_is_that_of_the_definition() -> None:
    wanted = np.exp([1.0, 2.0, 4.0]) / np.exp([1.0, 2.0, 4.0]).sum()
    np.testing.assert_allclose(softmax(np.array([[1.0, 2.0, 4.0]])), [wanted], rtol=1e-15)


def test_softmax_of_what_is_no_number_is_none() -> None:
    assert np.isnan(softmax(row(1, np.nan, 2))).all()
    assert np.isnan(softmax(row(1, np.inf, 2))).any()
    np.testing.assert_array_equal(softmax(row(0, -np.inf)), row(1, 0))


@given(rows)
def test_sigmoid_is_symmetric_and_never_overflows(logits: Array) -> None:
    result = sigmoid(logits)
    assert result.dtype == np.float32
    np.testing.assert_allclose(result + sigmoid(-logits), 1, atol=1e-6)
    np.testing.assert_allclose(
        result, 0.5 * (1 + np.tanh(logits.astype(np.float64) / 2)), rtol=1e-6, atol=1e-6
    )


def test_sigmoid_at_its_ends() -> None:
    np.testing.assert_array_equal(sigmoid(row(-np.inf, 0, np.inf)), row(0, 0.5, 1))
    assert np.isnan(sigmoid(row(np.nan))).all()


@pytest.mark.parametrize(
    ("scores", "top_k", "wanted"),
    [
        pytest.param((1, 3, 2), 3, [1, 2, 0], id="best-first"),
        pytest.param((1, 3, 2), 1, [1], id="top-1"),
        pytest.param((2, 5, 5, 2), 4, [1, 2, 0, 3], id="of-equals-the-lower-index"),
        pytest.param((1, np.nan, 2), 3, [2, 0, 1], id="nan-last"),
        pytest.param((1,), 5, [0], id="more-asked-for-than-there-are"),
    ],
)
def test_ranking(scores: tuple[float, ...], top_k: int, wanted: list[int]) -> None:
    assert rank(row(*scores), top_k).tolist() == wanted


def test_evidence_is_one_row_a_picture() -> None:
    logits = np.arange(6, dtype=np.float32).reshape(2, 3)
    for task, reading in ((CLASSIFICATION, LOGITS), (MULTILABEL, replace(SETS, outputs=("logits",)))):
        first, second = task.evidence({"logits": logits}, {"batch": 2}, reading, {})
        assert first.shape == second.shape == (3,)
        assert next(iter(task.quantities(first).values())).shape == (3,)


def compare(task: Any, reading: Any, wanted: Array, found: Array, bound: float) -> Any:
    (name,) = task.quantities(wanted)
    return task.compare(wanted, found, reading, {name: bound})


def test_the_same_ranks_match() -> None:
    comparison = compare(CLASSIFICATION, LOGITS, row(1, 3, 2), row(1.5, 9, 2), 0.001)
    assert (comparison.matched, comparison.ties, comparison.defects) == (2, (), ())


def test_classes_that_swap_within_the_bound_are_ties() -> None:
    comparison = compare(CLASSIFICATION, LOGITS, row(0, 3.0, 2.999), row(0, 2.9995, 2.9996), 0.001)
    assert (comparison.matched, len(comparison.ties), comparison.defects) == (0, 2, ())
    assert comparison.ties[0].what == "rank 1: class 1, now class 2"
    assert "0.001 apart, error bound 1.00e-03" in comparison.ties[0].cause


def test_classes_that_swap_beyond_the_bound_are_defects() -> None:
    comparison = compare(CLASSIFICATION, LOGITS, row(0, 3.0, 2.9), row(0, 2.9, 3.0), 0.001)
    assert (comparison.matched, comparison.ties, len(comparison.defects)) == (0, (), 2)
    assert "0.1 apart, error bound 1.00e-03" in comparison.defects[0].cause


def test_a_narrow_margin_excuses_no_score_that_moved_far() -> None:
    comparison = compare(CLASSIFICATION, LOGITS, row(0, 3.0, 2.999), row(0, 2.999, 4.0), 0.001)
    assert len(comparison.defects) == 2
    assert "class 2 moved by 1" in comparison.defects[0].cause


def test_a_class_from_outside_the_top_is_said_to_be() -> None:
    comparison = compare(CLASSIFICATION, LOGITS, row(2.0, 3.0, 1.9999), row(1.9999, 3.0, 2.0), 0.001)
    assert comparison.matched == 1
    assert (
        comparison.ties[0].what == "rank 2: class 0, now class 2, which is not among the reference's best 2"
    )


@pytest.mark.parametrize("task", [CLASSIFICATION, MULTILABEL], ids=lambda task: task.name)
def test_nan_is_never_a_tie(task: Any) -> None:
    reading = {"classification": replace(SHARES, top_k=3), "multilabel": SETS}[task.name]
    comparison = compare(task, reading, row(0.5001, 0.5002, 0.1), np.full(3, np.nan, np.float32), 0.001)
    assert comparison.defects
    assert not comparison.ties


@given(
    arrays.arrays(np.float64, 6, elements=st.integers(-20, 20).map(float)),
    arrays.arrays(np.float64, 6, elements=st.floats(-1, 1)),
    st.integers(1, 6),
)
def test_no_file_within_the_bound_is_called_defect(scores: Array, errors: Array, top_k: int) -> None:
    found = scores + errors
    comparison = compare(
        CLASSIFICATION, replace(LOGITS, top_k=top_k), scores, found, float(np.abs(found - scores).max())
    )
    assert comparison.defects == ()
    assert comparison.matched + len(comparison.ties) == top_k
    shares, moved = sigmoid(scores / 10), sigmoid(found / 10)
    comparison = compare(MULTILABEL, SETS, shares, moved, float(np.abs(moved - shares).max()))
    assert comparison.defects == ()


def test_the_threshold_is_strict_and_the_best_label_first() -> None:
    decided = MULTILABEL.decide(row(0.6, 0.5, 0.9), SETS)
    assert decided.labels.tolist() == [2, 0]
    assert MULTILABEL.count(decided) == 2
    assert MULTILABEL.count(MULTILABEL.decide(row(0.1, 0.2, np.nan), SETS)) == 0


def test_sets_differ_by_their_members() -> None:
    one, other = (MULTILABEL.decide(values, SETS) for values in (row(0.6, 0.7, 0), row(0.7, 0.6, 0)))
    assert not MULTILABEL.differ(one, other)
    assert MULTILABEL.differ(one, MULTILABEL.decide(row(0.6, 0.4, 0), SETS))


def test_labels_at_the_threshold_are_ties_others_defects() -> None:
    comparison = compare(MULTILABEL, SETS, row(0.5004, 0.9, 0.2), row(0.4998, 0.1, 0.7), 0.001)
    assert comparison.matched == 0
    assert [finding.what for finding in comparison.ties] == ["missing: class 0"]
    assert "against threshold 0.5, error bound 1.00e-03" in comparison.ties[0].cause
    assert [finding.what for finding in comparison.defects] == ["missing: class 1", "extra: class 2"]


def test_a_threshold_near_by_excuses_no_probability_that_moved_far() -> None:
    comparison = compare(MULTILABEL, SETS, row(0.5001, 0, 0), row(0.3, 0, 0), 0.001)
    assert comparison.ties == ()
    assert "moved by 0.2" in comparison.defects[0].cause


@pytest.mark.parametrize("task", [CLASSIFICATION, MULTILABEL], ids=lambda task: task.name)
def test_the_answer_names_every_class_in_order(task: Any) -> None:
    decided = task.restore(task.decide(row(0.25, 0.625, 0.125), READINGS[task.name]), NO_MOVE)
    assert task.to_json(decided, CLASSES, 64, 48) == {
        "probs": [0.25, 0.625, 0.125],
        "labels": ["cat", "dog", "owl"],
    }
    assert task.to_json(decided, (), 64, 48)["labels"] == ["0", "1", "2"]


def test_logits_are_answered_as_probabilities() -> None:
    answer = CLASSIFICATION.to_json(CLASSIFICATION.decide(row(0, 0, 0), LOGITS), CLASSES, 64, 48)
    assert answer["probs"] == pytest.approx([1 / 3] * 3)


def test_lines_tell_names() -> None:
    lines = CLASSIFICATION.lines(CLASSIFICATION.decide(row(0.25, 0.625, 0.125), SHARES), CLASSES)
    assert [" ".join(line.split()) for line in lines] == ["dog", "dog 0.625", "cat 0.250"]
    lines = MULTILABEL.lines(MULTILABEL.decide(row(0.25, 0.625, 0.125), SETS), CLASSES)
    assert [" ".join(line.split()) for line in lines] == ["1 label", "dog 0.625"]
    assert MULTILABEL.lines(MULTILABEL.decide(row(0, 0, 0), SETS), CLASSES) == ("0 labels",)


@pytest.mark.parametrize("task", ["classification", "multilabel"])
@pytest.mark.parametrize("size", [(64, 48), (8, 8), (1, 1), (900, 600)], ids=str)
def test_drawing_leaves_the_picture_as_it_was(task: str, size: tuple[int, int]) -> None:
    picture = Image.new("RGB", size, (0, 0, 0))
    whole = Whole(task)
    drawn = whole.draw(picture, whole.decide(row(0.25, 0.625, 0.75), READINGS[task]), CLASSES)
    assert drawn.size == size
    assert picture.getcolors() == [(size[0] * size[1], (0, 0, 0))]
    assert np.asarray(drawn).any()
    colours = {colour for _, colour in drawn.getcolors(size[0] * size[1]) or ()}
    assert size == (1, 1) or (0, 0, 255) in colours


def test_nothing_to_draw_is_no_error() -> None:
    picture = Image.new("RGB", (20, 20), (9, 9, 9))
    drawn = MULTILABEL.draw(picture, MULTILABEL.decide(row(0, 0, 0), SETS), CLASSES)
    np.testing.assert_array_equal(np.asarray(drawn), np.asarray(picture))
