"""The keep lists of ``onnxproof.runtime.nms`` are those of torchvision's CPU kernel, index for index."""

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from numpy.typing import NDArray

from onnxproof.runtime.nms import nms, pairwise_iou

SEED = 20_240
SETS = 3_000
MORE_SETS = 10_000
"""Of the long run."""
# As long as a leaf is, work is not divided at all; some sets have to be larger than that.
LARGE = 129
GRID_THRESHOLDS = (0.25, 1 / 3, float(np.float32(1 / 3)), 0.5)
# How often each kind has to occur in ``MORE_SETS`` at least, for the comparison to mean what it says.
EXPECTED_KINDS = {
    "float32": 4000,
    "float64": 4000,
    "no boxes": 100,
    "large": 200,
    "tied scores": 4000,
    "distinct scores": 3000,
    "nan score": 400,
    "infinite score": 400,
    "duplicate boxes": 3000,
    "zero area": 4000,
    "inverted": 1000,
    "nan box": 400,
    "infinite box": 400,
    "iou exactly at threshold decides": 1500,
    "boxes suppressed": 6000,
    "classes matter": 3000,
}


@dataclass(frozen=True)
class BoxSet:
    """The arguments of one comparison."""

    boxes: NDArray[Any]
    scores: NDArray[Any]
    threshold: float
    classes: NDArray[np.int64]


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> None:
    torch.set_num_threads(1)


def draw_size(rng: np.random.Generator) -> int:
    return int(rng.integers(LARGE, 400) if rng.random() < 0.03 else rng.integers(0, 61))


def draw_boxes(rng: np.random.Generator, count: int, on_grid: bool) -> NDArray[np.float64]:
    """Boxes on a grid of integers, where overlaps are simple fractions, or jittered around a few objects."""
    if on_grid:
        corner = rng.integers(0, 6, (count, 2))
        return np.concatenate((corner, corner + rng.integers(0, 5, (count, 2))), axis=1).astype(np.float64)
    objects = rng.uniform(0, 640, (1 + count // 8, 2))
    centre = objects[rng.integers(0, len(objects), count)] + rng.normal(0, 8, (count, 2))
    half = np.exp(rng.normal(3, 0.3, (count, 2)))
    return np.concatenate((centre - half, centre + half), axis=1)


def spoil(rng: np.random.Generator, boxes: NDArray[np.float64], scores: NDArray[np.float64]) -> None:
    """Write duplicates, points, inverted boxes, NaN and infinities over some of the boxes and scores."""
    count = len(boxes)

    def some() -> NDArray[np.bool_]:
        return rng.random(count) < 0.1

    def perhaps(probability: float) -> bool:
        return bool(rng.random() < probability)

    if perhaps(0.5):
        boxes[:] = boxes[np.where(some(), rng.integers(0, count, count), np.arange(count))]
    if perhaps(0.3):
        rows = some()
        boxes[rows, 2] = boxes[rows, 0]
    if perhaps(0.3):
        rows = some()
        boxes[rows] = boxes[rows][:, rng.permutation(4)]
    if perhaps(0.1):
        boxes[some(), rng.integers(0, 4)] = np.nan
    if perhaps(0.1):
        boxes[some(), rng.integers(0, 4)] = rng.choice([-np.inf, np.inf])
    if perhaps(0.1):
        scores[some()] = np.nan
    if perhaps(0.1):
        scores[some()] = rng.choice([-np.inf, np.inf])


def draw(index: int) -> BoxSet:
    """One set, the same for the same index."""
    rng = np.random.default_rng([SEED, index])
    count = draw_size(rng)
    on_grid = bool(rng.random() < 0.5)
    boxes = draw_boxes(rng, count, on_grid)
    scores = rng.random(count)
    if rng.random() < 0.5:
        scores = np.round(scores, 1)
    if count > 0 and rng.random() < 0.7:
        spoil(rng, boxes, scores)
    dtype = np.float32 if rng.random() < 0.5 else np.float64
    threshold = float(rng.choice(GRID_THRESHOLDS) if on_grid else rng.choice([0.0, 0.3, 0.45, 0.7, 1.0]))
    classes = rng.integers(0, rng.choice([1, 3, 20]), count)
    return BoxSet(boxes.astype(dtype), scores.astype(dtype), threshold, classes)


def is_tied(scores: NDArray[Any]) -> bool:
    return len(np.unique(scores)) < len(scores)


def places(scores: NDArray[Any]) -> NDArray[np.int64]:
    """Where each score stands from best to worst, by torch's stable sort, the first of equal ones first."""
    order = torch.from_numpy(scores).sort(descending=True, stable=True).indices.numpy()
    result = np.empty_like(order)
    result[order] = np.arange(len(scores))
    return result


def distinct(scores: NDArray[Any]) -> NDArray[Any]:
    """The scores or, where some are equal, others in the same order of which none are.

    torchvision sorts without asking for stability, so what it keeps of equal scores depends on its version
    and on the CPU. This way its kernel sees no tie.
    """
    return -places(scores).astype(scores.dtype) if is_tied(scores) else scores


def reference(boxes: NDArray[Any], scores: NDArray[Any], threshold: float) -> list[int]:
    """What torchvision keeps, given distinct scores."""
    kept = torchvision.ops.nms(torch.from_numpy(boxes), torch.from_numpy(scores), threshold)
    return kept.tolist()  # type: ignore[no-any-return]


def reference_by_class(case: BoxSet, scores: NDArray[Any]) -> list[int]:
    """What torchvision keeps class by class, best first, given distinct scores: ``batched_nms`` unshifted."""
    kept: list[int] = []
    for label in np.unique(case.classes):
        members = np.flatnonzero(case.classes == label)
        kept += members[reference(case.boxes[members], scores[members], case.threshold)].tolist()
    return sorted(kept, key=places(scores).tolist().__getitem__)


def kinds_of(case: BoxSet, kept: list[int], kept_by_class: list[int]) -> set[str]:
    """What is special about a set, taken from the set itself and from what torchvision keeps of it."""
    boxes, scores = case.boxes, case.scores
    sides = boxes[:, 2:] - boxes[:, :2]
    finite = np.isfinite(boxes).all(axis=1)
    one_step_lower = reference(boxes, distinct(scores), float(np.nextafter(case.threshold, 0)))
    found = {
        str(boxes.dtype): True,
        "no boxes": len(boxes) == 0,
        "large": len(boxes) >= LARGE,
        "tied scores": is_tied(scores),
        "distinct scores": len(scores) > 1 and not is_tied(scores),
        "nan score": bool(np.isnan(scores).any()),
        "infinite score": bool(np.isinf(scores).any()),
        "duplicate boxes": len(np.unique(boxes[finite], axis=0)) < finite.sum(),
        "zero area": bool((sides[finite] == 0).any()),
        "inverted": bool((sides[finite] < 0).any()),
        "nan box": bool(np.isnan(boxes).any()),
        "infinite box": bool(np.isinf(boxes).any()),
        "iou exactly at threshold decides": 0 < case.threshold < 1 and one_step_lower != kept,
        "boxes suppressed": len(kept) < len(boxes),
        "classes matter": kept_by_class != kept,
    }
    return {kind for kind, present in found.items() if present}


@pytest.mark.slow
@pytest.mark.parametrize("sets", [SETS, pytest.param(MORE_SETS, marks=pytest.mark.long)])
def test_keep_lists_are_those_of_torchvision(sets: int) -> None:
    kinds: Counter[str] = Counter()
    compared = 0
    for index in range(sets):
        case = draw(index)
        scores = distinct(case.scores)
        expected = reference(case.boxes, scores, case.threshold)
        expected_by_class = reference_by_class(case, scores)
        kept = nms(case.boxes, case.scores, case.threshold)
        kept_by_class = nms(case.boxes, case.scores, case.threshold, case.classes)
        assert kept.tolist() == expected, f"set {index}, any class"
        assert kept_by_class.tolist() == expected_by_class, f"set {index}, by class"
        kinds.update(kinds_of(case, expected, expected_by_class))
        compared += 1

    assert compared == sets
    assert kinds.keys() == EXPECTED_KINDS.keys()
    wanted = {kind: least * sets / MORE_SETS for kind, least in EXPECTED_KINDS.items()}
    rare = {kind: kinds[kind] for kind, least in wanted.items() if kinds[kind] < least}
    assert not rare, f"too few sets of these kinds: {rare}; all: {dict(kinds)}"


@pytest.mark.first_case
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("count", [8_400, 30_000])
def test_keep_lists_of_a_full_detector_head(count: int, dtype: Any) -> None:
    rng = np.random.default_rng([SEED, count])
    boxes = draw_boxes(rng, count, on_grid=False).astype(dtype)
    # Two decimals: hundreds of boxes share each score.
    case = BoxSet(boxes, rng.random(count).round(2).astype(dtype), 0.5, rng.integers(0, 80, count))
    scores = distinct(case.scores)
    expected = reference(case.boxes, scores, case.threshold)
    assert 0 < len(expected) < count / 2
    assert nms(case.boxes, case.scores, case.threshold).tolist() == expected
    assert nms(case.boxes, case.scores, case.threshold, case.classes).tolist() == reference_by_class(
        case, scores
    )


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_overlaps_are_those_of_torchvision(dtype: Any) -> None:
    rng = np.random.default_rng(SEED)
    first, second = (draw_boxes(rng, count, on_grid=False).astype(dtype) for count in (300, 200))
    expected = torchvision.ops.box_iou(torch.from_numpy(first), torch.from_numpy(second)).numpy()
    assert (expected > 0).sum() > 500
    np.testing.assert_array_equal(pairwise_iou(first, second), expected)
