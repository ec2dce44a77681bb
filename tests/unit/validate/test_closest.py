"""The closest call: no smaller move flips a decision, and the order of the work does not matter."""

from dataclasses import replace

import numpy as np
import pytest
from examples import examples
from hypothesis import given
from hypothesis import strategies as st
from legs import IOU_THRESHOLD, THRESHOLD, Boxes, crowds, noisy

from onnxproof.runtime.readings.boxes import Cuts, from_class_scores
from onnxproof.validate.compare.closest import MarginPool, closest_of, margins_of_boxes
from onnxproof.validate.facts import Closest, Decisions, Outcome

CUTS = Cuts(THRESHOLD, IOU_THRESHOLD)


def least(boxes: Boxes) -> dict[str, float]:
    """The least margin of each quantity of the boxes' detections; infinite if there is none."""
    (candidates,) = from_class_scores(boxes.xyxy[None], boxes.scores[None])
    margins = margins_of_boxes(candidates, candidates.decide(CUTS), CUTS)
    return {name: float(np.min(values, initial=np.inf)) for name, values in margins.items()}


@examples(150, derandomize=True)
@given(crowds(), st.integers(0, 999))
def test_moves_within_the_least_margins_flip_no_detection(boxes: Boxes, seed: int) -> None:
    margins = least(boxes)
    # The move of an IoU is taken to be linear in that of the corners, which holds for small moves.
    shift = min(0.8 * margins["box"], 0.5)
    moved = noisy(boxes, np.random.default_rng(seed), 0.99 * margins["score"], shift)
    before, after = (
        from_class_scores(leg.xyxy[None], leg.scores[None])[0].decide(CUTS) for leg in (boxes, moved)
    )
    assert sorted(before.indices.tolist()) == sorted(after.indices.tolist())
    assert sorted(before.labels.tolist()) == sorted(after.labels.tolist())


SIDE = np.array([0.0, 0, 40, 40])
APART = np.array([100.0, 0, 140, 40])


@pytest.mark.parametrize(
    ("boxes", "scores", "quantity", "margin"),
    [
        pytest.param([SIDE], [[THRESHOLD + 0.01]], "score", 0.01, id="just-above-the-threshold"),
        pytest.param([SIDE], [[THRESHOLD - 0.01]], "score", 0.01, id="just-below-it"),
        pytest.param([SIDE], [[0.9, 0.88]], "score", 0.01, id="the-class-and-the-runner-up"),
        pytest.param([SIDE, SIDE], [[0.9], [0.896]], "score", 0.002, id="the-order-of-two-that-overlap"),
        pytest.param([SIDE, APART], [[0.9], [0.9]], "score", 0.9 - THRESHOLD, id="not-of-two-that-do-not"),
    ],
)
def test_examples(boxes: list[np.ndarray], scores: list[list[float]], quantity: str, margin: float) -> None:
    assert least(Boxes(np.array(boxes), np.array(scores)))[quantity] == pytest.approx(margin)


@pytest.mark.parametrize("shift", [0.3, -0.3], ids=["too-little-overlap", "just-enough"])
def test_an_overlap_near_the_threshold_is_as_many_px_away(shift: float) -> None:
    # Two squares side by side by s px: IoU = (w - s) / (w + s). Each of two corners moves.
    at = 40 * (1 - IOU_THRESHOLD) / (1 + IOU_THRESHOLD)
    boxes = Boxes(np.stack([SIDE, SIDE + np.array([at + shift, 0, at + shift, 0])]), np.array([[0.9], [0.7]]))
    found = least(boxes)["box"]
    assert 0 < found < abs(shift)


def test_nothing_to_decide_has_no_margin() -> None:
    assert least(Boxes(np.zeros((0, 4)), np.zeros((0, 2)))) == {"score": np.inf, "box": np.inf}


values = st.lists(st.floats(0, 10), max_size=8)


@examples(50, derandomize=True)
@given(st.lists(values, min_size=1, max_size=6), st.permutations(range(6)))
def test_pools_that_are_merged_in_any_order_are_the_same(parts: list[list[float]], order: list[int]) -> None:
    whole, merged = MarginPool(), MarginPool()
    pools = []
    for number, part in enumerate(parts):
        whole.add((str(number), 0), np.array(part))
        pools.append(MarginPool())
        pools[-1].add((str(number), 0), np.array(part))
    for number in order:
        if number < len(pools):
            merged.merge(pools[number])
    assert merged == whole
    assert whole.count == sum(map(len, parts))


def test_margins_within_a_limit_are_counted_to_the_width_of_a_bin() -> None:
    pool = MarginPool()
    pool.add(("a", 0), np.array([0.0, 1e-7, 1e-6, 1e-3, np.inf, np.nan]))
    assert pool.count == 4
    assert [pool.within(limit) for limit in (0, 1.1e-7, 1.1e-6, 1e-2)] == [1, 2, 3, 4]
    assert pool.within(0.5e-6) == 2


def test_the_closest_call_is_the_one_with_the_fewest_float_errors() -> None:
    pools = {"score": MarginPool(), "box": MarginPool(), "mask": MarginPool()}
    pools["score"].add(("b", 1), np.array([4e-4, 0.1]))
    pools["score"].add(("a", 0), np.array([4e-4]))
    pools["box"].add(("a", 0), np.array([3.0]))
    pools["mask"].add(("a", 0), np.array([1e-9]))
    found = closest_of(pools, {"score": 1e-6, "box": 1e-5}, ["b", "a"])
    assert found is not None
    assert found.units == pytest.approx(400)
    assert replace(found, units=400.0) == Closest("score", 4e-4, 400.0, "b", 1, decisions=4, near=0)
    assert closest_of(pools, {}, []) is None
    assert closest_of(pools, {"score": 1e-4}, []).near == 2  # type: ignore[union-attr]


def test_calls_between_equal_numbers_are_counted_and_are_not_the_closest() -> None:
    pools = {"score": MarginPool(), "box": MarginPool()}
    pools["score"].add(("a", 0), np.array([0.0, 0.0, 0.1]))
    pools["score"].add(("b", 1), np.array([4e-4, 0.0]))
    pools["box"].add(("a", 0), np.array([0.0]))
    found = closest_of(pools, {"score": 1e-6, "box": 1e-5}, ["a", "b"])
    assert found is not None
    assert (found.case, found.picture, found.decisions, found.equal) == ("b", 1, 6, 4)
    assert found.text == "4 calls lay between equal numbers, the closest other 400 float errors from flipping"
    only = closest_of({"box": pools["box"]}, {"box": 1e-5}, ["a"])
    assert only is not None
    assert (only.margin, only.units, only.case, only.equal) == (0.0, 0.0, "", 1)
    assert only.text == "1 call lay between equal numbers, and no other"


def test_two_overlapping_boxes_of_one_score_are_a_call_between_equals() -> None:
    assert least(Boxes(np.array([SIDE, SIDE]), np.array([[0.9], [0.9]])))["score"] == 0


@pytest.mark.parametrize(
    ("units", "says"),
    [
        pytest.param(412.4, "the closest call lay 412 float errors from flipping", id="far"),
        pytest.param(3.14, "the closest call lay 3.1 float errors from flipping", id="near"),
    ],
)
def test_it_is_told_in_words(units: float, says: str) -> None:
    assert Closest("score", 1e-4, units, "a", 0, 9, 1).text == says


def test_it_is_written_and_read_and_older_documents_have_none() -> None:
    outcome = Outcome(1, 2, 2, (), (), Closest("score", 1e-4, 3.5, "a", 0, 9, 1))
    decisions = Decisions.of(outcome)
    document = decisions.to_json()
    assert document["closest"] == {
        "quantity": "score",
        "margin": 1e-4,
        "units": 3.5,
        "case": "a",
        "picture": 0,
        "decisions": 9,
        "near": 1,
        "equal": 0,
    }
    assert Decisions.from_json(document) == decisions
    del document["closest"]
    assert Decisions.from_json(document) == replace(decisions, closest=None)
