"""Suppression and overlap in NumPy, without torch. tests/parity compares the same with torchvision."""

import importlib
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from onnxproof.errors import RequestError
from onnxproof.runtime.nms import iou_one_to_many, nms, pairwise_iou

# The package offers the function under the module's name, so an import statement would find that.
NMS_MODULE = importlib.import_module("onnxproof.runtime.nms")

NAN, INF = float("nan"), float("inf")
UNIT = (0, 0, 1, 1)
BIG = (0, 0, 10, 10)
# Two of these, one apart, overlap by 2 of 6: an IoU of 1/3.
LEFT, RIGHT = (0, 0, 2, 2), (1, 0, 3, 2)
# The first and the second overlap by 1/2, the second and the third too, the first and the third by 1/5.
CHAIN = ((0, 0, 3, 1), (1, 0, 4, 1), (2, 0, 5, 1))


def kept_list(
    boxes: Any,
    scores: Any,
    threshold: float,
    classes: list[int] | None = None,
    dtype: str = "float32",
) -> list[int]:
    kept = nms(
        np.array(boxes, dtype=dtype).reshape(-1, 4),
        np.array(scores, dtype=dtype),
        threshold,
        None if classes is None else np.array(classes, dtype=np.int64),
    )
    return list(map(int, kept))


@pytest.mark.parametrize(
    ("boxes", "scores", "threshold", "expected"),
    [
        pytest.param([], [], 0.5, [], id="no-boxes"),
        pytest.param([UNIT], [0.1], 0.5, [0], id="one-box-is-kept"),
        pytest.param([UNIT, BIG], [0.1, 0.9], 0.5, [1, 0], id="best-score-comes-first"),
        pytest.param([UNIT, UNIT], [0.1, 0.9], 0.5, [1], id="duplicate-of-a-better-box-goes"),
        pytest.param([UNIT, UNIT], [0.5, 0.5], 0.5, [0], id="equal-scores-the-lower-index-wins"),
        pytest.param(
            [UNIT, BIG, (5, 5, 6, 6)], [1, 1, 1], 0.5, [0, 1, 2], id="equal-scores-keep-input-order"
        ),
        pytest.param(CHAIN, [3, 2, 1], 0.5, [0, 1, 2], id="iou-exactly-at-threshold-stays"),
        pytest.param(
            CHAIN, [3, 2, 1], np.nextafter(0.5, 0), [0, 2], id="a-suppressed-box-suppresses-nothing"
        ),
        pytest.param(CHAIN, [2, 3, 1], np.nextafter(0.5, 0), [1], id="one-box-suppresses-both-sides"),
        pytest.param(
            [(i, 0, i + 3, 1) for i in range(9)],
            np.arange(9, 0, -1),
            0.4,
            [0, 2, 4, 6, 8],
            id="each-suppresses-the-next-so-that-every-other-one-stays",
        ),
        pytest.param([UNIT, UNIT], [2, 1], 1.0, [0, 1], id="threshold-1-suppresses-nothing"),
        pytest.param([LEFT, (1.9, 0, 4, 2)], [2, 1], 0.0, [0], id="threshold-0-suppresses-any-overlap"),
        pytest.param([LEFT, (2, 0, 4, 2)], [2, 1], 0.0, [0, 1], id="threshold-0-touching-is-no-overlap"),
        pytest.param([(1, 1, 1, 1)] * 2, [2, 1], 0.0, [0, 1], id="duplicate-points-both-stay"),
        pytest.param([(1, 1, 5, 1)] * 2, [2, 1], 0.0, [0, 1], id="duplicate-lines-both-stay"),
        pytest.param([BIG, (1, 1, 1, 1)], [2, 1], 0.0, [0, 1], id="point-inside-a-box-stays"),
        pytest.param([(1, 1, 1, 1), BIG], [2, 1], 0.0, [0, 1], id="point-suppresses-no-box"),
        pytest.param([(10, 10, 0, 0)] * 2, [2, 1], 0.0, [0, 1], id="inverted-twice-positive-area-both-stay"),
        pytest.param([(10, 0, 0, 10)] * 2, [2, 1], 0.0, [0, 1], id="inverted-once-negative-area-both-stay"),
        pytest.param([(10, 0, 0, 10), BIG], [2, 1], 0.0, [0, 1], id="areas-that-cancel-both-stay"),
        pytest.param([(NAN, 0, 10, 10), BIG], [2, 1], 0.0, [0, 1], id="nan-x1-suppresses-nothing"),
        pytest.param([BIG, (NAN, 0, 10, 10)], [2, 1], 0.0, [0, 1], id="nan-x1-stays"),
        pytest.param([BIG, (0, NAN, 10, 10)], [2, 1], 0.0, [0, 1], id="nan-y1-stays"),
        pytest.param([BIG, (0, 0, NAN, 10)], [2, 1], 0.0, [0, 1], id="nan-x2-stays"),
        pytest.param([BIG, (0, 0, 10, NAN)], [2, 1], 0.0, [0, 1], id="nan-y2-stays"),
        pytest.param([(0, 0, INF, 10)] * 2, [2, 1], 0.0, [0, 1], id="infinite-duplicates-both-stay"),
        pytest.param(
            [(-INF, -INF, INF, INF), BIG], [2, 1], 0.0, [0, 1], id="infinite-box-suppresses-nothing"
        ),
        pytest.param([(0, 0, 3e38, 3e38)] * 2, [2, 1], 0.0, [0, 1], id="overflowing-area-both-stay"),
        pytest.param([BIG] * 3, [INF, NAN, 1], 0.5, [1], id="nan-score-ranks-above-infinity"),
        pytest.param([UNIT, BIG, UNIT], [1, NAN, NAN], 0.5, [1, 2], id="nan-scores-keep-input-order"),
        pytest.param([UNIT, BIG], [-INF, -1], 0.5, [1, 0], id="minus-infinity-ranks-last-and-is-kept"),
        pytest.param([UNIT, UNIT], [-0.0, 0.0], 0.5, [0], id="negative-zero-ties-with-zero"),
    ],
)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_keeps(boxes: Any, scores: Any, threshold: float, expected: list[int], dtype: str) -> None:
    if dtype == "float64" and boxes == [(0, 0, 3e38, 3e38)] * 2:
        boxes = [(0, 0, 1e300, 1e300)] * 2
    assert kept_list(boxes, scores, threshold, dtype=dtype) == expected


@pytest.mark.parametrize(
    ("dtype", "threshold", "expected"),
    [
        pytest.param("float32", 1 / 3, [0], id="float32-third-exceeds-the-float64-third"),
        pytest.param("float32", float(np.float32(1 / 3)), [0, 1], id="float32-third-does-not-exceed-itself"),
        pytest.param("float64", 1 / 3, [0, 1], id="float64-third-does-not-exceed-itself"),
        pytest.param("float64", np.nextafter(1 / 3, 0), [0], id="float64-third-exceeds-one-step-below"),
    ],
)
def test_threshold_is_not_rounded(dtype: str, threshold: float, expected: list[int]) -> None:
    assert kept_list([LEFT, RIGHT], [2, 1], threshold, dtype=dtype) == expected


@pytest.mark.parametrize(
    ("boxes", "classes", "expected"),
    [
        pytest.param([], [], [], id="no-boxes"),
        pytest.param([UNIT, UNIT, UNIT], [1, 0, 1], [0, 1], id="only-the-same-class-suppresses"),
        pytest.param([UNIT, UNIT, UNIT], [-1, 0, -1], [0, 1], id="negative-labels-are-labels"),
        pytest.param([UNIT, UNIT], [2**53, 2**53 + 1], [0, 1], id="labels-that-float64-cannot-tell-apart"),
        pytest.param(CHAIN, [9, 9, 9], [0, 1, 2], id="a-large-label-moves-no-overlap"),
        pytest.param([UNIT, UNIT, (NAN,) * 4], [0, 0, 1], [0, 2], id="nan-in-another-class-changes-nothing"),
        pytest.param([UNIT, UNIT, (0, 0, INF, 1)], [0, 0, 1], [0, 2], id="infinity-in-another-class-neither"),
    ],
)
def test_keeps_by_class(boxes: Any, classes: list[int], expected: list[int]) -> None:
    assert kept_list(boxes, -np.arange(len(boxes)), 0.5, classes) == expected


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int32, np.uint64])
def test_any_integer_labels(dtype: Any) -> None:
    boxes = np.array([UNIT] * 4, dtype=np.float32)
    scores = np.arange(4, dtype=np.float32)
    assert nms(boxes, scores, 0.5, np.array([3, 4, 3, 4], dtype=dtype)).tolist() == [3, 2]


def test_scores_may_have_another_dtype_than_boxes() -> None:
    boxes = np.array([UNIT, UNIT], dtype=np.float32)
    # float32 would call these a tie, and the lower index would win.
    assert nms(boxes, np.array([1, 1 + 1e-12]), 0.5).tolist() == [1]


def test_views_are_read_and_left_alone() -> None:
    wide = np.repeat(np.array(CHAIN, dtype=np.float32), 2, axis=0)[::-1]
    boxes, scores = wide[::2], np.arange(6, dtype=np.float32)[::2]
    for array in (wide, scores):
        array.flags.writeable = False
    before = boxes.copy()
    assert nms(boxes, scores, 0.4).tolist() == [2, 0]
    np.testing.assert_array_equal(boxes, before)


def test_odd_boxes_raise_no_floating_point_error() -> None:
    boxes = np.array([(1, 1, 1, 1), (0, 0, INF, 1), (INF,) * 4, (0, 0, 3e38, 3e38)] * 2, dtype=np.float32)
    with np.errstate(all="raise"):
        assert len(nms(boxes, np.ones(8), 0.5)) == 8
        assert pairwise_iou(boxes, boxes).shape == (8, 8)


GOOD_BOXES = np.zeros((3, 4), dtype=np.float32)
GOOD_SCORES = np.zeros(3, dtype=np.float32)
GOOD_CLASSES = np.zeros(3, dtype=np.int64)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        pytest.param({"boxes_xyxy": np.zeros((3, 5), np.float32)}, r"\[3, 5\].*\[N, 4\]", id="five-columns"),
        pytest.param({"boxes_xyxy": np.zeros(4, np.float32)}, r"\[4\].*\[N, 4\]", id="a-single-box"),
        pytest.param({"boxes_xyxy": np.zeros((1, 3, 4), np.float32)}, r"\[1, 3, 4\]", id="a-batch-axis"),
        pytest.param({"boxes_xyxy": np.zeros((3, 4), np.int64)}, "int64.*float32", id="integer-boxes"),
        pytest.param({"boxes_xyxy": np.zeros((3, 4), np.float16)}, "float16.*float32", id="half-boxes"),
        pytest.param({"scores": np.zeros(2, np.float32)}, r"scores.*\[2\].*\[3\]", id="too-few-scores"),
        pytest.param({"scores": np.zeros((3, 1), np.float32)}, r"scores.*\[3, 1\]", id="scores-as-a-column"),
        pytest.param({"scores": np.zeros(3, np.float16)}, "scores is float16", id="half-scores"),
        pytest.param({"classes": np.zeros(4, np.int64)}, r"classes.*\[4\].*\[3\]", id="too-many-classes"),
        pytest.param({"classes": np.zeros(3, np.float32)}, "classes is float32.*int64", id="float-classes"),
        pytest.param({"classes": np.zeros(3, bool)}, "classes is bool", id="boolean-classes"),
        pytest.param({"boxes_xyxy": [[0, 0, 1, 1], [0]]}, "boxes_xyxy is no array", id="ragged-boxes"),
        pytest.param({"boxes_xyxy": [[0, 0, 1]] * 3}, r"boxes_xyxy.*\[3, 3\]", id="lists-of-three"),
        pytest.param({"scores": ["a", "b", "c"]}, "scores is <U1", id="texts"),
        pytest.param({"iou_threshold": -0.01}, "-0.01.*0 to 1", id="negative-threshold"),
        pytest.param({"iou_threshold": 45.0}, "45.0.*0 to 1", id="threshold-in-percent"),
        pytest.param({"iou_threshold": NAN}, "nan.*0 to 1", id="nan-threshold"),
    ],
)
def test_refuses(changed: dict[str, Any], message: str) -> None:
    good: dict[str, Any] = {
        "boxes_xyxy": GOOD_BOXES,
        "scores": GOOD_SCORES,
        "iou_threshold": 0.5,
        "classes": GOOD_CLASSES,
    }
    nms(**good)
    with pytest.raises(RequestError, match=message):
        nms(**(good | changed))


def test_lists_are_taken_as_arrays() -> None:
    boxes, classes = [[0, 0, 10, 10], [1, 0, 11, 10], [1, 0, 11, 10]], [0, 0, 1]
    for scores in ([1, 2, 0], [0.5, 0.9, 0.1]):
        expected = nms(np.array(boxes, float), np.array(scores, float), 0.5, np.array(classes))
        assert expected.tolist() == [1, 2]
        assert nms(boxes, scores, 0.5, classes).tolist() == expected.tolist()
    assert nms([], [], 0.5, []).tolist() == []


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_overlap_values(dtype: str) -> None:
    point, below, far, inverted = (1, 1, 1, 1), (0, 3, 2, 5), (5, 5, 6, 6), (2, 2, 0, 0)
    first = np.array([LEFT, point], dtype=dtype)
    second = np.array([LEFT, RIGHT, below, far, inverted, point, (NAN, 0, 2, 2)], dtype=dtype)
    third = np.ones(1, dtype=dtype)[0] / 3
    expected = np.array([[1, third, 0, 0, 0, 0, NAN], [0, 0, 0, 0, 0, NAN, NAN]], dtype=dtype)
    result = pairwise_iou(first, second)
    assert result.dtype == np.dtype(dtype)
    np.testing.assert_array_equal(result, expected)
    np.testing.assert_array_equal(iou_one_to_many(first[0], second), expected[0])
    np.testing.assert_array_equal(pairwise_iou(second, first), expected.T)


@pytest.mark.parametrize(("rows", "columns"), [(0, 3), (3, 0), (0, 0)])
def test_overlap_of_nothing(rows: int, columns: int) -> None:
    assert pairwise_iou(GOOD_BOXES[:rows], GOOD_BOXES[:columns]).shape == (rows, columns)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        pytest.param(lambda: iou_one_to_many(GOOD_BOXES, GOOD_BOXES), r"\[3, 4\].*\[4\]", id="many-for-one"),
        pytest.param(
            lambda: iou_one_to_many(GOOD_BOXES[0], GOOD_BOXES[0]), r"second.*\[4\]", id="one-for-many"
        ),
        pytest.param(
            lambda: pairwise_iou(GOOD_BOXES[:, :3], GOOD_BOXES), r"first.*\[3, 3\]", id="three-columns"
        ),
        pytest.param(lambda: pairwise_iou(GOOD_BOXES.astype(int), GOOD_BOXES), "int64", id="integers"),
        pytest.param(
            lambda: pairwise_iou(GOOD_BOXES.astype(float), GOOD_BOXES), "one dtype", id="two-dtypes"
        ),
    ],
)
def test_overlap_refuses(call: Any, message: str) -> None:
    with pytest.raises(RequestError, match=message):
        call()


@dataclass(frozen=True)
class Scene:
    """The arguments of one call of ``nms``."""

    boxes: NDArray[Any]
    scores: NDArray[Any]
    threshold: float
    classes: NDArray[np.int64]


@st.composite
def scenes(draw: st.DrawFn, distinct_scores: bool = False) -> Scene:
    """Few boxes on a small grid: IoU at the threshold, ties, duplicates, points, inverted boxes and NaN."""
    count = draw(st.integers(0, 24))
    coordinate = st.integers(0, 5).map(float) | st.integers(0, 5).map(float) | st.just(NAN)
    dtype = draw(st.sampled_from([np.float32, np.float64]))
    boxes = draw(st.lists(st.tuples(*[coordinate] * 4), min_size=count, max_size=count))
    score = st.sampled_from([0.25, 0.5, 0.75, NAN])
    if distinct_scores:
        scores = draw(st.permutations([float(i) for i in range(count)]))
    else:
        scores = draw(st.lists(score, min_size=count, max_size=count))
    classes = draw(st.lists(st.integers(0, 3), min_size=count, max_size=count))
    return Scene(
        np.array(boxes, dtype=dtype).reshape(count, 4),
        np.array(scores, dtype=dtype),
        draw(st.sampled_from([0.0, 0.25, 1 / 3, 0.5, 1.0])),
        np.array(classes, dtype=np.int64),
    )


@contextmanager
def pieces(sizes: tuple[int, ...]) -> Iterator[None]:
    """Cut the work into pieces so small that a few boxes go through every branch."""
    small, block, sweep, shared, pairs, width = sizes
    boxes = {"_SMALL_BOXES": small, "_BLOCK_BOXES": block, "_SWEEP_BOXES": sweep, "_SHARED_BOXES": shared}
    values: Any = {**boxes, "_TILE_PAIRS": pairs, "_TILE_WIDTH": width}
    with patch.multiple(NMS_MODULE, **values):
        yield


# How long an example takes says more about the machine than about the code.
unhurried = settings(deadline=None)

PIECES = st.sampled_from(
    [(128, 64, 1024, 256, 1 << 16, 2048), (1, 1, 1, 2, 3, 2), (3, 2, 5, 3, 9, 4), (0, 3, 60, 2, 90, 4)]
)


def assert_greedy(scene: Scene, kept: NDArray[np.int64], by_class: bool) -> None:
    """Together these three leave no other answer than that of greedy suppression."""
    count = len(scene.scores)
    ranking = sorted(range(count), key=lambda i: (not np.isnan(scene.scores[i]), -scene.scores[i], i))
    rank = np.empty(count, dtype=int)
    rank[ranking] = np.arange(count)
    over = pairwise_iou(scene.boxes, scene.boxes).astype(np.float64) > scene.threshold
    if by_class:
        over &= scene.classes[:, None] == scene.classes
    np.fill_diagonal(over, val=False)

    assert (np.diff(rank[kept]) > 0).all(), "kept boxes are not in order, or not distinct"
    assert not over[np.ix_(kept, kept)].any(), "two kept boxes overlap by more than the threshold"
    dropped = np.setdiff1d(np.arange(count), kept)
    better = rank[kept][:, None] < rank[dropped]
    assert (over[np.ix_(kept, dropped)] & better).any(axis=0).all(), "dropped without a better suppressor"


@unhurried
@given(scenes(), PIECES)
def test_greedy_without_classes(scene: Scene, sizes: tuple[int, ...]) -> None:
    with pieces(sizes):
        kept = nms(scene.boxes, scene.scores, scene.threshold)
    assert_greedy(scene, kept, by_class=False)


@unhurried
@given(scenes(), PIECES)
def test_greedy_with_classes(scene: Scene, sizes: tuple[int, ...]) -> None:
    with pieces(sizes):
        kept = nms(scene.boxes, scene.scores, scene.threshold, scene.classes)
    assert_greedy(scene, kept, by_class=True)


@unhurried
@given(scenes(), PIECES)
def test_classes_are_suppressed_apart(scene: Scene, sizes: tuple[int, ...]) -> None:
    apart = []
    for label in np.unique(scene.classes):
        members = np.flatnonzero(scene.classes == label)
        apart.append(members[nms(scene.boxes[members], scene.scores[members], scene.threshold)])
    with pieces(sizes):
        together = nms(scene.boxes, scene.scores, scene.threshold, scene.classes)
    assert sorted(together.tolist()) == sorted(np.concatenate([[], *apart]).astype(int).tolist())


@unhurried
@given(scenes(distinct_scores=True), st.data())
def test_order_of_input_is_irrelevant_without_ties(scene: Scene, data: st.DataObject) -> None:
    shuffle = np.array(data.draw(st.permutations(range(len(scene.scores)))), dtype=int)
    for classes in (None, scene.classes):
        kept = nms(scene.boxes, scene.scores, scene.threshold, classes)
        moved = None if classes is None else classes[shuffle]
        again = nms(scene.boxes[shuffle], scene.scores[shuffle], scene.threshold, moved)
        np.testing.assert_array_equal(shuffle[again], kept)


def crowd(count: int, class_count: int) -> Scene:
    """About 30 jittered boxes around each object, as a detector gives."""
    rng = np.random.default_rng(count)
    owner = rng.integers(0, max(1, count // 30), count)
    centre = rng.uniform(0, 1280, (count, 2))[owner] + rng.normal(0, 6, (count, 2))
    size = rng.uniform(16, 256, (count, 2))[owner] * np.exp(rng.normal(0, 0.1, (count, 2)))
    boxes = np.concatenate((centre - size / 2, centre + size / 2), axis=1).astype(np.float32)
    # Rounded scores tie often.
    scores = rng.uniform(0, 1, count).round(2).astype(np.float32)
    return Scene(boxes, scores, 0.5, rng.integers(0, class_count, count))


@pytest.mark.parametrize("by_class", [False, True], ids=["any-class", "by-class"])
@pytest.mark.parametrize(
    ("count", "class_count"),
    [
        pytest.param(129, 129, id="one-above-a-leaf-most-classes-single"),
        pytest.param(1500, 2, id="classes-larger-than-a-leaf"),
        pytest.param(1500, 40, id="classes-that-share-leaves"),
        pytest.param(5000, 3, id="more-boxes-than-a-tile-is-wide"),
    ],
)
def test_greedy_in_a_crowd(count: int, class_count: int, by_class: bool) -> None:
    scene = crowd(count, class_count)
    kept = nms(scene.boxes, scene.scores, scene.threshold, scene.classes if by_class else None)
    assert_greedy(scene, kept, by_class)


@pytest.mark.parametrize("by_class", [False, True], ids=["any-class", "by-class"])
def test_memory_grows_with_boxes_and_not_with_pairs(by_class: bool) -> None:
    count = 30_000
    scene = crowd(count, 80)
    tracemalloc.start()
    try:
        nms(scene.boxes, scene.scores, scene.threshold, scene.classes if by_class else None)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    # 4 MB when written. One byte for each pair would be 900 MB.
    assert peak < 300 * count
