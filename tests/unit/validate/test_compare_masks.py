"""Pasted masks: the corners where they land, what a jump and a flip mean, and the way back to the picture."""

from typing import Any

import numpy as np
import pytest
from examples import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from onnxproof.runtime.preprocess import Transform
from onnxproof.runtime.readings.boxes import Detections
from onnxproof.runtime.readings.masks import Instances, Patch, crop, restore_mask
from onnxproof.validate.compare import Finding
from onnxproof.validate.compare.masks import (
    EXPANSION_ROUNDINGS,
    compare_masks,
    expansion,
    mask_rows_comparable,
    overlaid,
    pasted_corners,
)

Array = NDArray[Any]
NAN, INF = float("nan"), float("inf")
BOUNDS = {"mask": 1e-5, "box": 1e-4}
SIZE = (80, 100)


def paste(mask: Array, box: Array, size: tuple[int, int] = SIZE) -> Array:
    """A mask [M, M] in a picture of ``size`` (height, width), as torchvision pastes it."""
    x0, y0, x1, y1 = pasted_corners(box[None], len(mask)).corners[0].tolist()
    padded = Image.fromarray(np.pad(mask, 1).astype(np.float32))
    resized = np.asarray(padded.resize((x1 - x0 + 1, y1 - y0 + 1), Image.Resampling.BILINEAR))
    canvas = np.zeros((size[0] + 200, size[1] + 200), np.float32)
    canvas[100 + y0 : 100 + y1 + 1, 100 + x0 : 100 + x1 + 1] = resized
    pasted: Array = canvas[100:-100, 100:-100]
    return pasted


def disk(side: int = 28) -> Array:
    """Probabilities of a disk, [side, side]."""
    offsets = np.arange(side) - (side - 1) / 2
    distances = np.hypot(offsets[:, None], offsets[None])
    probabilities: Array = (1 / (1 + np.exp(distances - side / 3))).astype(np.float32)
    return probabilities


def box_with_corner(x0: float, side: float = 56.0) -> Array:
    """A box of ``side`` px whose expanded left edge is at ``x0``."""
    left = x0 + side / 28
    return np.array([left, 10.3, left + side, 10.3 + side], np.float64)


@pytest.mark.parametrize(
    ("box", "corners", "distances"),
    [
        pytest.param([14, 14, 42, 42], [13, 13, 43, 43], [0, 0, 0, 0], id="on-integers"),
        pytest.param([0, 28, 14, 42], [0, 27, 14, 42], [0.5, 0.5, 0.5, 0.5], id="toward-zero-below-zero"),
        pytest.param([0, 0, 7, 70], [0, -2, 7, 72], [0.75, 0.5, 0.25, 0.5], id="no-jump-at-zero"),
        pytest.param([9.25, 9, 9.25, 9], [9, 9, 9, 9], [0.25, 0, 0.25, 0], id="without-extent"),
        pytest.param([9.75, 20, 9.25, 48], [9, 19, 9, 49], None, id="ends-swapped"),
    ],
)
def test_corners_by_hand(box: list[float], corners: list[int], distances: list[float] | None) -> None:
    pasted = pasted_corners(np.array([box], np.float64))
    assert pasted.corners.tolist() == [corners]
    if distances is not None:
        np.testing.assert_allclose(pasted.distances[0], distances, atol=1e-12)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_corners_are_computed_in_the_boxes_dtype(dtype: type[np.floating[Any]]) -> None:
    rng = np.random.default_rng(1)
    ends = rng.uniform(0, 640, (500, 2, 2)).astype(np.float32)
    boxes: Array = np.sort(ends, axis=1).reshape(-1, 4).astype(dtype)
    pasted = pasted_corners(boxes)
    assert pasted.coordinates.dtype == dtype
    exact = pasted_corners(boxes.astype(np.float64)).coordinates
    assert (pasted.coordinates == exact).all() == (dtype is np.float64)


@given(
    st.lists(st.floats(-50, 1000), min_size=4, max_size=4),
    st.lists(st.floats(-1, 1), min_size=4, max_size=4),
    st.sampled_from([14, 28, 56]),
)
@settings(deadline=None)
def test_a_corner_jumps_where_the_distance_says(ends: list[float], moves: list[float], side: int) -> None:
    box = np.sort(np.array(ends).reshape(1, 2, 2), axis=1).reshape(1, 4)
    pasted = pasted_corners(box, side)
    for coordinate, distance in zip(pasted.coordinates[0], pasted.distances[0], strict=True):
        step = max(distance - 1e-9, 0)  # less than the distance, by more than the sum's rounding
        assert np.trunc(coordinate - step) == np.trunc(coordinate + step)
        step = distance + 1e-9
        assert np.trunc(coordinate - step) != np.trunc(coordinate) or np.trunc(coordinate + step) != np.trunc(
            coordinate
        )
    moved = pasted_corners(box + np.array(moves), side)
    slack = EXPANSION_ROUNDINGS * np.finfo(np.float64).eps * 1001
    assert np.abs(moved.coordinates - pasted.coordinates).max() <= expansion(side) + slack


def test_the_rounding_of_two_expansions_is_within_its_bound() -> None:
    rng = np.random.default_rng(0)
    boxes = np.sort(rng.uniform(0, 2000, (20000, 2, 2)).astype(np.float32), axis=1).reshape(-1, 4)
    exact = pasted_corners(boxes.astype(np.float64)).coordinates
    units = (
        np.abs(pasted_corners(boxes).coordinates - exact)
        / (np.finfo(np.float32).eps * boxes.max(axis=1))[:, None]
    )
    assert 0.5 < 2 * units.max() < EXPANSION_ROUNDINGS


@pytest.mark.parametrize("value", [NAN, INF, -INF, 3e38])
def test_boxes_that_are_nowhere_have_no_distance(value: float) -> None:
    pasted = pasted_corners(np.array([[value, 5, value, 30]], np.float32))
    assert np.isnan(pasted.distances[0, [0, 2]]).all()
    assert np.isfinite(pasted.distances[0, [1, 3]]).all()


def test_no_boxes_have_no_corners() -> None:
    pasted = pasted_corners(np.zeros((0, 4), np.float32))
    assert pasted.corners.shape == pasted.distances.shape == (0, 4)
    assert mask_rows_comparable([np.zeros((0, 4), np.float32)] * 3).shape == (0,)


def test_rows_are_comparable_where_all_legs_paste_alike() -> None:
    reference = np.array([box_with_corner(20.5), box_with_corner(30.0001), box_with_corner(40.5), [NAN] * 4])
    candidate = reference - np.array([0.0002, 0, 0.0002, 0])
    assert mask_rows_comparable([reference, reference.copy()]).tolist() == [True, True, True, False]
    assert mask_rows_comparable([reference, reference, candidate]).tolist() == [True, False, True, False]


def judged(wanted: Any, found: Any, threshold: float = 0.5) -> tuple[bool, Finding] | None:
    box = box_with_corner(20.5)
    rows = [np.array(values, np.float64).reshape(1, -1) for values in (wanted, found)]
    return compare_masks(rows[0], rows[1], box, box, threshold, BOUNDS)


@pytest.mark.parametrize(
    ("wanted", "found", "is_tie", "cause"),
    [
        pytest.param(
            [0.9, 0.500004],
            [0.9, 0.499998],
            True,
            "probability 0.500004 against threshold 0.5, 4e-06 apart",
            id="within",
        ),
        pytest.param(
            [0.9, 0.6], [0.9, 0.4], False, "probability 0.6 against threshold 0.5, 0.1 apart", id="far-off"
        ),
        pytest.param(
            [0.500004, 0.6],
            [0.499998, 0.4],
            False,
            "probability 0.6 against threshold 0.5, 0.1 apart at most",
            id="one-of-two-far-off",
        ),
        pytest.param(
            [0.9, 0.500004],
            [0.9, 0.1],
            False,
            "the probability moved by 0.4 from 0.500004 to 0.1",
            id="moved-beyond-the-bound",
        ),
        pytest.param([0.9, 0.500004], [0.9, NAN], False, "1 probability is NaN", id="nan-in-the-file"),
        pytest.param(
            [0.9, NAN], [0.9, 0.6], False, "probability nan against threshold 0.5", id="nan-in-the-reference"
        ),
        pytest.param([0.9, INF], [0.9, -INF], False, "probability inf against threshold 0.5", id="infinite"),
    ],
)
def test_a_flip_is_a_tie_only_within_the_bound(wanted: Any, found: Any, is_tie: bool, cause: str) -> None:
    judgement = judged(wanted, found)
    assert judgement is not None
    assert judgement[0] is is_tie
    assert judgement[1].cause.startswith(cause) or cause in judgement[1].cause
    assert "error bound 1.00e-05" in judgement[1].cause or "is NaN" in cause


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        pytest.param([0.9, 0.1], [0.6, 0.4], id="probabilities-move-but-no-pixel-flips"),
        pytest.param([0.1, 0.2], [0.2, 0.1], id="both-empty"),
        pytest.param([0.5, 0.9], [0.4, 0.9], id="the-threshold-itself-is-outside"),
        pytest.param([NAN, 0.9], [NAN, 0.9], id="nan-in-both"),
    ],
)
def test_no_flip_is_no_finding(wanted: Any, found: Any) -> None:
    assert judged(wanted, found) is None


def test_the_finding_counts_pixels_and_never_rounds_to_an_iou_of_one() -> None:
    wanted = np.full(100_000, 0.9)
    found = wanted.copy()
    found[0] = 0.1
    judgement = judged(wanted, found)
    assert judgement is not None
    assert judgement[1].what == "1 pixel flipped, mask IoU 0.9999"
    judgement = judged([0.9, 0.9, 0.9, 0.1], [0.9, 0.9, 0.1, 0.9])
    assert judgement is not None
    assert judgement[1].what == "2 pixels flipped, mask IoU 0.5000"


@pytest.mark.parametrize(
    ("corner", "move", "is_tie", "cause"),
    [
        pytest.param(
            20.00003, -5e-5, True, "pasted 1 px off: corner x0 20.00003 against 20", id="jumps-back"
        ),
        pytest.param(19.99998, 5e-5, True, "pasted 1 px off: corner x0 19.99998 against 20", id="jumps-on"),
        pytest.param(20.3, -0.5, False, "pasted elsewhere: corner x0 20.3, now 19.8", id="moved-far"),
        pytest.param(
            20.00003, -0.3, False, "pasted elsewhere: corner x0 20.00003", id="moved-beyond-the-bound"
        ),
        pytest.param(
            20.002, -0.0021, False, "pasted elsewhere: corner x0 20.002", id="too-far-from-the-integer"
        ),
    ],
)
def test_a_mask_pasted_elsewhere(corner: float, move: float, is_tie: bool, cause: str) -> None:
    wanted_box = box_with_corner(corner, side=60.2)
    found_box = wanted_box + np.array([move, 0, move, 0])
    wanted, found = paste(disk(), wanted_box), paste(disk(), found_box)
    assert np.abs(wanted - found).max() > 0.01
    judgement = compare_masks(wanted, found, wanted_box, found_box, 0.5, BOUNDS)
    assert judgement is not None
    assert judgement[0] is is_tie
    assert judgement[1].cause.startswith(cause)
    assert f"error bound {1e-4 * 30 / 28:.2e}" in judgement[1].cause


def test_two_corners_may_jump_at_once() -> None:
    box = np.array([14, 14.5, 42, 42.5])  # expanded by one pixel each way: x0 13 and x1 43
    found_box = box - np.array([1e-5, 0, 1e-5, 0])
    wanted, found = paste(disk(), box), paste(disk(), found_box)
    judgement = compare_masks(wanted, found, box, found_box, 0.5, BOUNDS)
    assert judgement is not None
    assert judgement[0]
    assert "corner x0 13 against 13 (and 1 more)" in judgement[1].cause


def test_all_corners_that_jump_must_be_excused() -> None:
    box = box_with_corner(20.00003, side=60.2)
    found_box = box - np.array([5e-5, 0.5, 5e-5, 0.5])  # x0 jumps by float error, y0 and y1 by half a pixel
    wanted, found = paste(disk(), box), paste(disk(), found_box)
    judgement = compare_masks(wanted, found, box, found_box, 0.5, BOUNDS)
    assert judgement is not None
    assert not judgement[0]
    assert judgement[1].cause.startswith("pasted elsewhere: corner y0 ")


def test_a_jump_does_not_excuse_nan() -> None:
    wanted_box = box_with_corner(20.00003)
    found_box = wanted_box - np.array([5e-5, 0, 5e-5, 0])
    wanted, found = paste(disk(), wanted_box), paste(disk(), found_box)
    found[wanted > 0.5] = NAN
    judgement = compare_masks(wanted, found, wanted_box, found_box, 0.5, BOUNDS)
    assert judgement is not None
    assert not judgement[0]


@pytest.mark.parametrize("value", [NAN, INF])
def test_a_box_that_is_nowhere_excuses_nothing(value: float) -> None:
    wanted, box = paste(disk(), box_with_corner(20.00003)), box_with_corner(20.00003)
    judgement = compare_masks(wanted, np.zeros_like(wanted), box, np.full(4, value), 0.5, BOUNDS)
    assert judgement is not None
    assert not judgement[0]


def test_a_crop_is_a_view_and_lays_back() -> None:
    pixels = np.zeros((6, 8), np.float32)
    pixels[2, 3], pixels[4, 5] = 0.5, 0.25
    patch = crop(pixels)
    assert (patch.left, patch.top, patch.pixels.shape) == (3, 2, (3, 3))
    assert patch.pixels.base is pixels
    other = Patch(1, 4, np.ones((2, 1), np.float32))
    first, second = overlaid((patch, other))
    np.testing.assert_array_equal(first, pixels[2:6, 1:6])
    assert second.tolist() == [[0] * 5, [0] * 5, [1, 0, 0, 0, 0], [1, 0, 0, 0, 0]]


def test_what_is_empty_overlays() -> None:
    nothing = crop(np.zeros((6, 8)))
    assert nothing.pixels.size == 0
    assert [laid.size for laid in overlaid((nothing, nothing))] == [0, 0]
    first, second = overlaid((nothing, Patch(5, 2, np.ones((1, 2)))))
    assert (first.tolist(), second.tolist()) == ([[0, 0]], [[1, 1]])


def sampled(pixels: Array, transform: Transform) -> Array:
    """The probabilities of the picture's pixels, bilinear between the input's pixel centres, clamped at its
    edges, 0 outside of it: computed pixel by pixel, apart from what is tested."""

    def weights(count: int, scale: float, offset: float, length: int) -> Array:
        matrix = np.zeros((count, length))
        for i in range(count):
            at = (i + 0.5) * scale + offset
            if 0 <= at < length:
                low = int(np.floor(at - 0.5))
                share = at - 0.5 - low
                matrix[i, min(max(low, 0), length - 1)] += 1 - share
                matrix[i, min(max(low + 1, 0), length - 1)] += share
        return matrix

    height, width = pixels.shape
    rows = weights(transform.picture_height, transform.scale_y, transform.offset_y, height)
    columns = weights(transform.picture_width, transform.scale_x, transform.offset_x, width)
    return rows @ pixels.astype(np.float64) @ columns.T


def full(patch: Patch, height: int, width: int) -> Array:
    canvas = np.zeros((height, width), patch.pixels.dtype)
    rows, columns = patch.pixels.shape
    canvas[patch.top : patch.top + rows, patch.left : patch.left + columns] = patch.pixels
    return canvas


@given(st.integers(0, 2**32 - 1))
@examples(150)
def test_masks_go_back_to_the_picture(seed: int) -> None:
    rng = np.random.default_rng(seed)
    height, width = rng.integers(3, 25, 2).tolist()
    pixels = rng.random((height, width)).astype(np.float32)
    pixels[: rng.integers(0, height)] = 0
    pixels[:, rng.integers(0, width) :] = 0
    scales = rng.uniform(0.2, 3, 2).tolist()
    offsets = rng.uniform(-8, 8, 2).tolist()
    transform = Transform(*scales, *offsets, *rng.integers(1, 60, 2).tolist())
    patch = restore_mask(crop(pixels), 0.5, transform, (height, width))
    assert patch.pixels.dtype == bool
    assert patch.pixels.base is None
    found = full(patch, transform.picture_height, transform.picture_width)
    wanted = sampled(pixels, transform)
    clear = np.abs(wanted - 0.5) > 1e-5
    np.testing.assert_array_equal(found[clear], (wanted > 0.5)[clear])


def test_a_restored_mask_is_no_larger_than_it_is_wide() -> None:
    pixels = np.zeros((512, 512), np.float32)
    pixels[100:120, 200:230] = 1
    patch = restore_mask(crop(pixels), 0.5, Transform(0.125, 0.125, 0, 0, 4096, 4096), (512, 512))
    assert (patch.left, patch.top, patch.pixels.shape) == (1600, 800, (160, 240))
    assert 0.999 < patch.pixels.mean() < 1, "all but the corners, where a bilinear mask is round"


@pytest.mark.parametrize(
    "transform",
    [
        pytest.param(Transform(1, 1, 500, 0, 20, 20), id="left-of-the-picture"),
        pytest.param(Transform(1, 1, -500, 0, 20, 20), id="right-of-the-picture"),
    ],
)
def test_a_mask_off_the_picture_is_empty(transform: Transform) -> None:
    pixels = np.ones((4, 4), np.float32)
    assert restore_mask(crop(pixels), 0.5, transform, (4, 4)).pixels.size == 0
    assert restore_mask(crop(pixels[:0]), 0.5, transform, (4, 4)).pixels.size == 0


def test_a_mask_that_is_cut_first_loses_what_is_a_pixel_wide() -> None:
    """Where the picture has more pixels than the input."""
    values = np.array([[0.9, 0.9, 0.1, 0.55, 0.1]] * 4, np.float32)
    nothing = Detections(np.zeros((1, 4)), np.ones(1), np.zeros(1, np.int64), np.arange(1))
    fine = Instances(nothing, (Patch(2, 1, values),), 0.5, 8, 8)
    coarse = fine.cut()
    assert [mask.pixels.tolist() for mask in coarse.regions()] == [(values > 0.5).tolist()]
    assert coarse.masks[0].pixels.max() == 1
    larger = Transform(0.25, 0.25, 0, 0, 32, 32)
    areas = [restore_mask(of.masks[0], of.threshold, larger, (8, 8)).pixels.sum() for of in (fine, coarse)]
    assert areas[0] < areas[1]
