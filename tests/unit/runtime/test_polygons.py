"""Masks as polygons: filled again they give the mask, whatever its holes, islands and touching corners."""

import sys

import numpy as np
import pytest
from examples import examples
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from numpy.typing import NDArray

from onnxproof.errors import RequestError
from onnxproof.runtime.polygons import polygons_of

Mask = NDArray[np.bool_]


def filled(outline: NDArray[np.int64], shape: tuple[int, ...]) -> Mask:
    """The pixels whose centres an outline surrounds (even-odd rule): those with an odd number of its
    vertical edges on their left."""
    crossings = np.zeros((shape[0], shape[1] + 1), np.int64)
    for (x, y0), (x1, y1) in zip(outline.tolist(), np.roll(outline, -1, axis=0).tolist(), strict=True):
        if x == x1:
            crossings[min(y0, y1) : max(y0, y1), x] += 1
    inside: Mask = np.cumsum(crossings, axis=1)[:, :-1] % 2 == 1
    return inside


def coverage(polygons: tuple[NDArray[np.int64], ...], shape: tuple[int, ...]) -> NDArray[np.int64]:
    """In how many polygons each pixel is."""
    total = np.zeros(shape, np.int64)
    for outline in polygons:
        total += filled(outline, shape)
    return total


def picture(*rows: str) -> Mask:
    return np.array([[character == "#" for character in row] for row in rows])


MASKS = [
    pytest.param(picture("...", "..."), 0, id="empty"),
    pytest.param(picture("####", "####"), 1, id="full"),
    pytest.param(picture("...", ".#.", "..."), 1, id="a-pixel"),
    pytest.param(picture("#"), 1, id="a-picture-of-a-pixel"),
    pytest.param(picture("##..##", "##..##"), 2, id="islands"),
    pytest.param(picture("#.", ".#"), 2, id="pixels-that-touch-diagonally"),
    pytest.param(picture(".#", "#."), 2, id="and-the-other-way"),
    pytest.param(picture("###", "#.#", "###"), 2, id="a-hole"),
    pytest.param(picture("####", "#.##", "##.#", "####"), 2, id="holes-that-touch-diagonally"),
    pytest.param(picture("#####", "#...#", "#.#.#", "#...#", "#####"), 3, id="an-island-in-a-hole"),
    pytest.param(picture(".#.", "#.#", ".#."), 4, id="a-ring-of-touching-corners"),
    pytest.param(picture("####", "#..#", "#.##", "###."), 2, id="a-hole-that-touches-the-outside"),
    pytest.param(picture("######", "#.#..#", "######"), 2, id="one-cut-for-two-holes"),
]


@pytest.mark.parametrize(("mask", "count"), MASKS)
def test_polygons_cover_the_mask_once(mask: Mask, count: int) -> None:
    polygons = polygons_of(mask)
    assert len(polygons) == count
    np.testing.assert_array_equal(coverage(polygons, mask.shape), mask)


@given(arrays(bool, array_shapes(min_dims=2, max_dims=2, max_side=14)))
@examples(300)
def test_any_mask_comes_back(mask: Mask) -> None:
    np.testing.assert_array_equal(coverage(polygons_of(mask), mask.shape), mask)


@given(st.integers(0, 2**32 - 1), st.floats(0, 1))
@examples(30)
def test_larger_masks_come_back(seed: int, share: float) -> None:
    mask = np.random.default_rng(seed).random((40, 60)) < share
    np.testing.assert_array_equal(coverage(polygons_of(mask), mask.shape), mask)


@given(arrays(bool, (9, 9)))
@examples(100)
def test_outlines_are_written_one_way(mask: Mask) -> None:
    polygons = polygons_of(mask)
    starts = [(outline[0, 1], outline[0, 0]) for outline in polygons]
    assert starts == sorted(starts)
    for outline, start in zip(polygons, starts, strict=True):
        assert start == min((y, x) for x, y in outline)
        sides = np.roll(outline, -1, axis=0) - outline
        assert ((sides == 0).sum(axis=1) == 1).all(), "every side runs along an axis, and none is empty"
        assert ((sides[:, 0] == 0) != (np.roll(sides, 1, axis=0)[:, 0] == 0)).all(), (
            "every vertex is a corner"
        )
        assert sides[0, 0] > 0, "from the first vertex to the right: clockwise on the screen"


def test_a_square_has_four_vertices() -> None:
    (outline,) = polygons_of(picture("....", ".##.", ".##."))
    assert outline.tolist() == [[1, 1], [3, 1], [3, 3], [1, 3]]


def test_without_shapely_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "shapely", None)
    with pytest.raises(RequestError, match=r"pip install 'onnxproof\[polygons\]'"):
        polygons_of(picture("#"))
