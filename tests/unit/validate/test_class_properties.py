"""Ranks, labels, steps, pixels and masks: inside a margin a tie with its numbers, just outside a defect."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from contracts import Whole, reading_of
from hypothesis import given
from hypothesis import strategies as st
from legs import assert_exact, bounds, inside, outside, quickly, seeds, told
from numpy.typing import NDArray

from onnxproof.validate.compare.comparer import Comparison, exact
from onnxproof.validate.compare.masks import compare_masks

CLASSIFICATION, MULTILABEL = Whole("classification"), Whole("multilabel")
SEGMENTATION, SEQUENCE = Whole("segmentation"), Whole("sequence")

Array = NDArray[Any]
Compare = Callable[[Array, Array, float], Comparison]

THRESHOLD = 0.5
BOX = np.array([10.5, 10.5, 40.5, 40.5])


def _judged(
    task: Any,
    post: Mapping[str, Any],
    outputs: tuple[Mapping[str, Array], Mapping[str, Array]],
    bound: float,
    margins: Mapping[str, Array] | None = None,
) -> Comparison:
    """The comparison as a sweep makes it: of what is left after thinning."""
    reading = reading_of(task.name, **post)
    (wanted,) = task.evidence(outputs[0], {}, reading, margins or {})
    (found,) = task.evidence(outputs[1], {}, reading, {})
    (quantity,) = task.quantities(wanted)
    comparison: Comparison = task.compare(*task.thin(wanted, found, reading), reading, {quantity: bound})
    return comparison


def _post(name: str, decode: str, **more: Any) -> dict[str, Any]:
    return {"decode": decode, "outputs": [name], **more}


def best_three(reference: Array, candidate: Array, bound: float) -> Comparison:
    """Rows [C] of scores, ranked."""
    pair = {"logits": reference[None]}, {"logits": candidate[None]}
    return _judged(CLASSIFICATION, _post("logits", "none", top_k=3), pair, bound)


def labels(reference: Array, candidate: Array, bound: float) -> Comparison:
    """Rows [C] of probabilities, cut at the threshold."""
    pair = {"shares": reference[None]}, {"shares": candidate[None]}
    return _judged(MULTILABEL, _post("shares", "probabilities", score_threshold=THRESHOLD), pair, bound)


def steps(reference: Array, candidate: Array, bound: float) -> Comparison:
    """Logits [C] of the second of three steps."""
    sure = np.eye(len(reference))[0] * 9
    pair = tuple({"logits": np.stack((sure, leg, sure))[None]} for leg in (reference, candidate))
    return _judged(SEQUENCE, _post("logits", "none", blank=None), (pair[0], pair[1]), bound)


def pixels(reference: Array, candidate: Array, bound: float) -> Comparison:
    """Probabilities [C] of one pixel of four, their logarithms told by the model."""
    sure = np.full(len(reference), 0.01)
    sure[0] = 1 - sure[1:].sum()
    pair = tuple(
        {"logits": np.log(np.stack((sure, leg, sure, sure)).T.reshape(1, -1, 2, 2))}
        for leg in (reference, candidate)
    )
    return _judged(SEGMENTATION, _post("logits", "none"), (pair[0], pair[1]), bound)


def pixels_of_a_mask(reference: Array, candidate: Array, bound: float) -> Comparison:
    """The same where the graph tells the class and its confidence alone, and PyTorch the lead."""
    outputs = []
    for leg in (reference, candidate):
        label, best = (0, np.nan) if np.isnan(leg).any() else (int(leg.argmax()), leg.max())
        outputs.append({"mask": np.array([[[0, label]]]), "confidence": np.array([[[0.9, best]]])})
    lead = float(np.diff(np.sort(reference)[-2:])[0])
    post = {"decode": "mask", "outputs": ["mask", "confidence"]}
    margins = {"mask": np.array([[[0.8, lead]]])}
    return _judged(SEGMENTATION, post, (outputs[0], outputs[1]), bound, margins)


def one_mask(reference: Array, candidate: Array, bound: float) -> Comparison:
    """A mask's probabilities [n], all of one row."""
    found = compare_masks(reference[None], candidate[None], BOX, BOX, THRESHOLD, {"mask": bound, "box": 1e-6})
    if found is None:
        return Comparison(1, (), ())
    is_tie, finding = found
    return Comparison(0, (finding,) if is_tie else (), () if is_tie else (finding,))


@dataclass(frozen=True, slots=True)
class Flip:
    """What two legs say, and the numbers that the cause of a tie names."""

    reference: Array
    candidate: Array
    numbers: tuple[str, ...]


def moved_by(share: float, bound: float) -> float:
    """How far two values, 2 * share * bound apart, move toward and past each other."""
    return share * bound + ((1 - share) * bound / 2 if share < 1 else bound / 10)


def lead_lost(share: float, bound: float, best: float = 0.4, rest: float = 0.1) -> Flip:
    """Class 1 leads class 2 by ``2 * share * bound``, and falls behind."""
    low, move = best - 2 * share * bound, moved_by(share, bound)
    reference, candidate = (np.array([rest, *pair]) for pair in ((best, low), (best - move, low + move)))
    return Flip(reference, candidate, (exact(best), f"{best - low:.3g}"))


def lead_lost_over_another(share: float, bound: float) -> Flip:
    flip = lead_lost(share, bound)
    return Flip(flip.reference, flip.candidate, (*flip.numbers, exact(flip.reference[2])))


def falls_out_of_the_best_three(share: float, bound: float) -> Flip:
    flip = lead_lost_over_another(share, bound)
    more = [0.9, 0.8]
    return Flip(np.append(flip.reference, more), np.append(flip.candidate, more), flip.numbers)


def pixel_lead_lost(share: float, bound: float) -> Flip:
    """Probabilities that add up to one."""
    flip = lead_lost(share, bound)
    rests = [1 - leg[1:].sum() for leg in (flip.reference, flip.candidate)]
    reference, candidate = flip.reference.copy(), flip.candidate.copy()
    reference[0], candidate[0] = rests
    return Flip(reference, candidate, flip.numbers)


def crosses_the_threshold(share: float, bound: float, way: float) -> Flip:
    at = THRESHOLD + way * share * bound
    after = THRESHOLD - way * ((1 - share) * bound / 2 if share < 1 else bound / 10)
    numbers = (exact(at), f"threshold {THRESHOLD:g}")
    return Flip(np.array([0.9, at, 0.1]), np.array([0.9, after, 0.1]), numbers)


def falls_below(share: float, bound: float) -> Flip:
    return crosses_the_threshold(share, bound, 1)


def rises_above(share: float, bound: float) -> Flip:
    return crosses_the_threshold(share, bound, -1)


FLIPS: tuple[tuple[Compare, Callable[[float, float], Flip]], ...] = (
    (best_three, lead_lost_over_another),
    (best_three, falls_out_of_the_best_three),
    (labels, falls_below),
    (labels, rises_above),
    (steps, lead_lost_over_another),
    (pixels, pixel_lead_lost),
    (pixels_of_a_mask, pixel_lead_lost),
    (one_mask, falls_below),
    (one_mask, rises_above),
)
every_flip = pytest.mark.parametrize(
    ("compare", "flip"),
    [pytest.param(compare, flip, id=f"{compare.__name__}-{flip.__name__}") for compare, flip in FLIPS],
)
every_task = pytest.mark.parametrize(
    "compare", [best_three, labels, steps, pixels, pixels_of_a_mask, one_mask]
)


@every_flip
@quickly
@given(share=inside, bound=bounds)
def test_one_flip_inside_a_margin_is_a_tie(
    compare: Compare, flip: Callable[[float, float], Flip], share: float, bound: float
) -> None:
    legs = flip(share, bound)
    comparison = compare(legs.reference, legs.candidate, bound)
    assert comparison.defects == ()
    assert comparison.ties
    assert_exact(comparison, bound)
    causes = "\n".join(tie.cause for tie in comparison.ties)
    for number in legs.numbers:
        assert number in causes


@every_flip
@quickly
@given(share=outside, bound=bounds)
def test_one_flip_just_outside_is_a_defect(
    compare: Compare, flip: Callable[[float, float], Flip], share: float, bound: float
) -> None:
    legs = flip(share, bound)
    comparison = compare(legs.reference, legs.candidate, bound)
    assert comparison.defects
    assert comparison.ties == ()


@every_flip
@quickly
@given(share=inside, bound=bounds, far=st.floats(2.5, 100))
def test_a_narrow_margin_excuses_no_value_that_moved_far(
    compare: Compare, flip: Callable[[float, float], Flip], share: float, bound: float, far: float
) -> None:
    """The reference's margin lies inside; the candidate went beyond what float error can do."""
    legs = flip(share, bound)
    move = legs.candidate - legs.reference
    # All of the move again, and at least the bound more.
    overshot = legs.reference + move + far * bound * np.sign(move) * (np.abs(move) == np.abs(move).max())
    comparison = compare(legs.reference, overshot, bound)
    assert comparison.defects
    assert comparison.ties == ()


@every_flip
@quickly
@given(share=inside, bound=bounds)
def test_nan_is_neither_matched_nor_a_tie(
    compare: Compare, flip: Callable[[float, float], Flip], share: float, bound: float
) -> None:
    legs = flip(share, bound)
    candidate = legs.candidate.copy()
    candidate[1] = np.nan
    comparison = compare(legs.reference, candidate, bound)
    assert comparison.defects
    assert comparison.ties == ()


@every_task
@quickly
@given(seed=seeds, count=st.integers(2, 8))
def test_a_leg_matches_itself(compare: Compare, seed: int, count: int) -> None:
    values = np.random.default_rng(seed).dirichlet(np.ones(count))
    comparison = compare(values, values.copy(), 1e-6)
    assert told(comparison) == (comparison.matched, 0, 0)
    assert compare is labels or comparison.matched > 0


@every_task
@quickly
@given(seed=seeds, count=st.integers(2, 8), bound=st.sampled_from([1e-6, 1e-3, 0.02]))
def test_noise_within_the_bound_is_never_a_defect(
    compare: Compare, seed: int, count: int, bound: float
) -> None:
    """Values that lie close together, each moved by up to the bound."""
    random = np.random.default_rng(seed)
    values = 0.5 + bound * random.integers(-3, 4, count) + bound * random.uniform(-1, 1, count)
    noisy = values + 0.99 * bound * random.uniform(-1, 1, count)
    if compare is pixels:
        # What a softmax makes of them; the bound is then that of what came out.
        values, noisy = (leg / leg.sum() for leg in (values, noisy))
        bound = max(float(np.abs(noisy - values).max()), 1e-12) * (1 + 1e-9) + 1e-15
    comparison = compare(values, noisy, bound)
    assert comparison.defects == ()
    assert_exact(comparison)


@pytest.mark.parametrize("compare", [best_three, labels])
@quickly
@given(seed=seeds, count=st.integers(4, 8), bound=st.sampled_from([1e-6, 0.01]))
def test_classes_in_another_order_are_compared_alike(
    compare: Compare, seed: int, count: int, bound: float
) -> None:
    """The same permutation of both legs' classes changes no count."""
    random = np.random.default_rng(seed)
    values = random.uniform(0.4, 0.6, count)
    other = values + bound * random.uniform(-2, 2, count)
    order = random.permutation(count)
    assert told(compare(values[order], other[order], bound)) == told(compare(values, other, bound))


@quickly
@given(seed=seeds)
def test_a_class_permutation_of_the_file_alone_is_a_defect(seed: int) -> None:
    random = np.random.default_rng(seed)
    values = np.linspace(0.1, 0.9, 6)[random.permutation(6)]
    turned = np.roll(values, 1)
    for compare in (best_three, labels, steps):
        comparison = compare(values, turned, 1e-6)
        assert comparison.defects
        assert comparison.ties == ()


def test_no_label_against_no_label_matches_nothing() -> None:
    assert told(labels(np.zeros(3), np.zeros(3), 1e-6)) == (0, 0, 0)


def test_no_step_against_no_step_matches_nothing() -> None:
    empty = {"logits": np.zeros((1, 0, 3))}
    assert told(_judged(SEQUENCE, _post("logits", "none", blank=None), (empty, empty), 1e-6)) == (0, 0, 0)


@quickly
@given(share=st.one_of(inside, outside), bound=st.sampled_from([1e-6, 1e-3]))
def test_a_step_of_ctc_is_judged_alike(share: float, bound: float) -> None:
    """With a blank it is still each step that is compared, not the text."""
    flip = lead_lost(share, bound)
    pair = tuple({"logits": leg[None, None]} for leg in (flip.reference, flip.candidate))
    comparison = _judged(SEQUENCE, _post("logits", "none", blank=2), (pair[0], pair[1]), bound)
    assert told(comparison) == ((0, 1, 0) if share < 1 else (0, 0, 1))
