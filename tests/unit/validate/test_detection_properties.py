"""Boxes in every layout: one flip inside a margin is a tie with its numbers, one just outside is a defect."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from legs import (
    ALL,
    DENSE,
    IN_ROWS,
    THRESHOLD,
    Boxes,
    Layout,
    Legs,
    anchors,
    assert_exact,
    beside,
    bounds,
    chains,
    crowds,
    damaged,
    in_a_row,
    inside,
    noisy,
    outside,
    packed,
    quickly,
    raw,
    seeds,
    split,
    told,
)
from numpy.typing import NDArray

from onnxproof.validate.compare.comparer import exact

BOX_BOUND = 1e-3


def scored(boxes: NDArray[Any], *best: float) -> Boxes:
    """Boxes with a score of class 0 each, far ahead of class 1."""
    return Boxes(np.asarray(boxes, np.float64), np.column_stack((best, np.full(len(best), 0.1))))


def falls_below_the_threshold(share: float, bound: float) -> Legs:
    least = THRESHOLD + share * bound
    # Crossing costs more than the bound only where the score lay outside of it.
    after = THRESHOLD - (1 - share) * bound / 2 if share < 1 else THRESHOLD - bound / 10
    before, moved = (scored(in_a_row(3), 0.9, 0.8, score) for score in (least, after))
    return Legs(before, moved, bound, numbers=(f"score {exact(least)}", f"threshold {THRESHOLD:g}"))


def rises_above_the_threshold(share: float, bound: float) -> Legs:
    least = THRESHOLD - share * bound
    after = THRESHOLD + (1 - share) * bound / 2 if share < 1 else THRESHOLD + bound / 10
    before, moved = (scored(in_a_row(3), 0.9, 0.8, score) for score in (least, after))
    return Legs(before, moved, bound, numbers=(f"score {exact(least)}", f"threshold {THRESHOLD:g}"))


def across_the_iou(share: float, bound: float, way: float) -> Legs:
    """The second box moves across the place where NMS cuts; ``share`` is of the coordinates' bound."""
    boxes = in_a_row(3)
    at = beside(boxes[0], 0.5)
    near = way * share * BOX_BOUND / 2
    # The slack counts what the worst move of all eight coordinates does; a lone one is far outside at 20.
    near = near if share < 1 else 20 * near
    before, after = (boxes.copy() for _ in range(2))
    before[1], after[1] = (at + np.array([x, 0, x, 0]) for x in (near, -near))
    reference, candidate = (scored(leg, 0.9, 0.8, 0.7) for leg in (before, after))
    return Legs(reference, candidate, bound, numbers=("IoU ", "threshold 0.5"))


def iou_rises(share: float, bound: float) -> Legs:
    return across_the_iou(share, bound, 1)


def iou_falls(share: float, bound: float) -> Legs:
    return across_the_iou(share, bound, -1)


def moved_by(share: float, bound: float) -> float:
    """How far two scores, 2 * share * bound apart, move toward and past each other."""
    return share * bound + ((1 - share) * bound / 2 if share < 1 else bound / 10)


def order_changes(share: float, bound: float) -> Legs:
    boxes = in_a_row(3)
    boxes[1] = beside(boxes[0], 0.7)
    low, move = 0.8 - 2 * share * bound, moved_by(share, bound)
    before, after = scored(boxes, 0.8, low, 0.7), scored(boxes, 0.8 - move, low + move, 0.7)
    return Legs(before, after, bound, numbers=(exact(0.8), exact(low), "change order"))


def falls_out_of_the_best(share: float, bound: float) -> Legs:
    low, move = 0.7 - 2 * share * bound, moved_by(share, bound)
    before = scored(in_a_row(4), 0.9, 0.8, 0.7, low)
    after = scored(in_a_row(4), 0.9, 0.8, 0.7 - move, low + move)
    numbers = (exact(0.7), exact(low), "the best 3")
    return Legs(before, after, bound, settings={"max_detections": 3}, numbers=numbers)


def falls_out_of_its_level(share: float, bound: float) -> Legs:
    legs = falls_out_of_the_best(share, bound)
    return Legs(legs.reference, legs.candidate, bound, settings={"top_candidates": 3}, numbers=legs.numbers)


def class_flips(share: float, bound: float) -> Legs:
    low, move = 0.8 - 2 * share * bound, moved_by(share, bound)
    before, after = (scored(in_a_row(2), 0.8, 0.7) for _ in range(2))
    before.scores[0, 1] = low
    after.scores[0] = 0.8 - move, low + move
    return Legs(before, after, bound, numbers=(exact(0.8), f"runner-up by {2 * share * bound:.3g}"))


Flip = Callable[[float, float], Legs]
FLIPS: tuple[tuple[Flip, tuple[Layout, ...]], ...] = (
    (falls_below_the_threshold, ALL),
    (rises_above_the_threshold, ALL),
    (iou_rises, ALL),
    (iou_falls, ALL),
    (order_changes, ALL),
    (falls_out_of_the_best, ALL),
    (falls_out_of_its_level, (anchors,)),
    (class_flips, (split, packed, raw)),
)
every_flip = pytest.mark.parametrize(
    ("flip", "layout"),
    [
        pytest.param(flip, layout, id=f"{layout.__name__}-{flip.__name__}")
        for flip, layouts in FLIPS
        for layout in layouts
    ],
)
every_layout = pytest.mark.parametrize("layout", ALL, ids=lambda layout: layout.__name__)


@every_flip
@quickly
@given(share=inside, bound=bounds)
def test_one_flip_inside_a_margin_is_a_tie(flip: Flip, layout: Layout, share: float, bound: float) -> None:
    legs = flip(share, bound)
    comparison = layout(legs)
    assert comparison.defects == ()
    assert comparison.ties
    assert_exact(comparison, None if flip in (iou_rises, iou_falls) else bound)
    causes = "\n".join(tie.cause for tie in comparison.ties)
    for number in legs.numbers:
        assert number in causes


@every_flip
@quickly
@given(share=outside, bound=bounds)
def test_one_flip_just_outside_is_a_defect(flip: Flip, layout: Layout, share: float, bound: float) -> None:
    comparison = layout(flip(share, bound))
    assert comparison.defects
    assert comparison.ties == ()


@every_layout
@quickly
@given(crowd=crowds())
def test_a_leg_matches_itself(layout: Layout, crowd: Boxes) -> None:
    comparison = layout(Legs(crowd, crowd, 1e-6, 1e-6))
    assert comparison.matched >= 1
    assert told(comparison) == (comparison.matched, 0, 0)


@every_layout
@quickly
@given(crowd=crowds(), seed=seeds)
def test_permuted_rows_change_nothing(layout: Layout, crowd: Boxes, seed: int) -> None:
    random = np.random.default_rng(seed)
    other = noisy(crowd, random, 0.02, 0.02)  # beyond the bounds, so that there is something to tell
    straight = layout(Legs(crowd, other, 1e-3, 1e-3))
    one, two = (random.permutation(len(crowd.xyxy)) for _ in range(2))
    turned = layout(Legs(crowd.take(one), other.take(two), 1e-3, 1e-3))
    assert told(turned) == told(straight)
    assert sorted(finding.what for finding in (*turned.ties, *turned.defects)) == sorted(
        finding.what for finding in (*straight.ties, *straight.defects)
    )


@every_layout
@quickly
@given(chain=chains(), seed=seeds, bound=st.sampled_from([1e-6, 1e-3, 0.05]))
def test_at_the_iou_threshold_noise_is_no_defect(
    layout: Layout, chain: Boxes, seed: int, bound: float
) -> None:
    other = noisy(chain, np.random.default_rng(seed), 1e-6, bound)
    comparison = layout(Legs(chain, other, 1e-6, bound))
    assert comparison.defects == ()
    assert_exact(comparison)


@every_layout
@quickly
@given(chain=chains(), x=st.sampled_from([-2.0, 2.0]))
def test_at_the_iou_threshold_the_best_box_moved_far_is_a_defect(
    layout: Layout, chain: Boxes, x: float
) -> None:
    moved = chain.xyxy.copy()
    moved[chain.scores[:, 0].argmax(), [0, 2]] += x
    assert layout(Legs(chain, Boxes(moved, chain.scores), 1e-6, 1e-3)).defects


@every_layout
@quickly
@given(crowd=crowds(), which=st.integers(0, 99), what=st.sampled_from(["box", "score"]), share=inside)
def test_nan_excuses_nothing(layout: Layout, crowd: Boxes, which: int, what: str, share: float) -> None:
    """Not even where the reference's score lies at the threshold."""
    bound = 1e-3
    lone = np.array([[120.0, 120, 160, 160]]), np.array([[THRESHOLD + share * bound, 0.1]])
    apart = Boxes(np.append(crowd.xyxy, lone[0], axis=0), np.append(crowd.scores, lone[1], axis=0))
    boxes, found = apart.xyxy.copy(), apart.scores.copy()
    if what == "box":
        boxes[-1, which % 4] = np.nan
    else:
        found[-1] = np.nan
    comparison = layout(Legs(apart, Boxes(boxes, found), bound))
    assert comparison.defects
    assert comparison.matched == layout(Legs(crowd, crowd, bound)).matched


@every_layout
def test_nothing_against_nothing_matches_nothing(layout: Layout) -> None:
    empty = Boxes(np.zeros((0, 4)), np.zeros((0, 2)))
    assert told(layout(Legs(empty, empty, 1e-6))) == (0, 0, 0)


@every_layout
@quickly
@given(crowd=crowds())
def test_nothing_against_something_is_all_defects(layout: Layout, crowd: Boxes) -> None:
    empty = Boxes(np.zeros((0, 4)), np.zeros((0, 2)))
    for before, after in ((crowd, empty), (empty, crowd)):
        comparison = layout(Legs(before, after, 1e-6, 1e-6))
        assert comparison.defects
        assert comparison.matched == len(comparison.ties) == 0


@pytest.mark.parametrize("layout", DENSE, ids=lambda layout: layout.__name__)
@quickly
@given(crowd=crowds(), which=st.integers(0, 99))
def test_a_duplicate_that_no_nms_drops_is_a_defect(layout: Layout, crowd: Boxes, which: int) -> None:
    twice = np.append(np.arange(len(crowd.xyxy)), which % len(crowd.xyxy))
    legs = Legs(crowd, crowd, 1e-6, 1e-6, settings={"iou_threshold": 1.0})
    comparison = layout(damaged(legs, crowd.take(twice)))
    assert told(comparison) == (len(crowd.xyxy), 0, 1)
    assert "duplicate" in comparison.defects[0].cause


@pytest.mark.parametrize("layout", IN_ROWS, ids=lambda layout: layout.__name__)
@quickly
@given(count=st.integers(1, 8), which=st.integers(0, 99))
def test_a_graph_whose_nms_leaves_a_duplicate_is_a_defect(layout: Layout, count: int, which: int) -> None:
    """Of two rows that are one detection, one is too many."""
    one = scored(in_a_row(count), *(0.6 + 0.03 * np.arange(count)))
    assert told(layout(Legs(one, one, 1e-6))) == (count, 0, 0)
    twice = one.take(np.append(np.arange(count), which % count))
    # An IoU threshold of 1 lets the graph keep both; the reference has one, under the same setting.
    comparison = layout(Legs(one, twice, 1e-6, settings={"iou_threshold": 1.0}))
    assert told(comparison) == (count, 0, 1)


@quickly
@given(share=inside, bound=bounds)
def test_a_box_that_vanished_is_a_defect_though_its_score_lay_at_the_threshold(
    share: float, bound: float
) -> None:
    """A tie is what float error can have done: the file must still have the candidate."""
    legs = falls_below_the_threshold(share, bound)
    gone = legs.reference.scores.copy()
    gone[2] = 0.3
    for layout in DENSE:
        comparison = layout(damaged(legs, Boxes(legs.reference.xyxy, gone)))
        assert told(comparison) == (2, 0, 1), layout.__name__
        assert "no candidate" in comparison.defects[0].cause
