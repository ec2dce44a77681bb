"""Boxes and captions: drawn where they should be, whatever the numbers are."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from onnxproof.runtime.drawing import Color, contrasting, draw_boxes

NAN, INF = float("nan"), float("inf")
BACKGROUND = (40, 40, 40)
RED, GREEN = (255, 0, 0), (0, 255, 0)


def draw(
    boxes: list[Any],
    size: tuple[int, int] = (200, 100),
    caption: str = "",
    colors: tuple[Color, ...] = (RED,),
) -> NDArray[np.uint8]:
    picture = Image.new("RGB", size, BACKGROUND)
    array = np.array(boxes, np.float32).reshape(-1, 4)
    colors = colors * (len(array) if len(colors) == 1 else 1)
    return np.asarray(draw_boxes(picture, array, [caption] * len(array), colors))


def painted(drawn: NDArray[np.uint8], color: Color = RED) -> NDArray[np.bool_]:
    painted: NDArray[np.bool_] = (drawn == color).all(axis=-1)
    return painted


def lettering(drawn: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Where a caption's white letters stand on red: neither red nor background is as green."""
    letters: NDArray[np.bool_] = drawn[:, :, 1] > 100
    return letters


def extent(mask: NDArray[np.bool_]) -> tuple[int, int, int, int]:
    """The rectangle of what is painted: x0, y0, x1, y1, the last ones included."""
    rows, columns = np.nonzero(mask)
    return int(columns.min()), int(rows.min()), int(columns.max()), int(rows.max())


def test_no_boxes_leave_a_copy() -> None:
    picture = Image.new("RGB", (20, 10), BACKGROUND)
    drawn = draw_boxes(picture, np.zeros((0, 4), np.float32), [], [])
    assert drawn is not picture
    assert np.asarray(drawn).tolist() == np.asarray(picture).tolist()


def test_the_picture_itself_is_left_alone() -> None:
    picture = Image.new("RGB", (50, 50), BACKGROUND)
    draw_boxes(picture, np.array([[5, 5, 40, 40]]), ["x"], [RED])
    assert picture.getcolors() == [(2500, BACKGROUND)]


def test_the_outline_is_the_box() -> None:
    mask = painted(draw([[20, 30, 120, 80]]))
    assert extent(mask[40:]) == (20, 0, 120, 40)
    assert not mask[45:75, 30:110].any()


def test_the_best_is_drawn_over_the_others() -> None:
    box = [20, 30, 120, 80]
    drawn = draw([box, box], colors=(RED, GREEN))
    assert painted(drawn, RED).any()
    assert not painted(drawn, GREEN).any()


@pytest.mark.parametrize(
    "box",
    [
        pytest.param([60, 20, 10, 70], id="x-ends-swapped"),
        pytest.param([10, 70, 60, 20], id="y-ends-swapped"),
        pytest.param([60, 70, 10, 20], id="both-swapped"),
    ],
)
def test_swapped_ends_draw_the_same_box(box: list[float]) -> None:
    np.testing.assert_array_equal(draw([box], caption="7"), draw([[10, 20, 60, 70]], caption="7"))


@pytest.mark.parametrize(
    "box",
    [
        pytest.param([50, 50, 50, 50], id="a-point"),
        pytest.param([50, 50, 50.3, 50.2], id="less-than-a-pixel"),
        pytest.param([10, 50, 90, 50], id="a-line"),
        pytest.param([-50, -50, -10, -10], id="outside-above-left"),
        pytest.param([500, 500, 900, 900], id="outside-below-right"),
        pytest.param([-1e30, -1e30, 1e30, 1e30], id="beyond-all-integers"),
        pytest.param([-INF, 10, INF, 20], id="infinite"),
        pytest.param([INF, INF, INF, INF], id="at-infinity"),
        pytest.param([0, 0, 200, 100], id="the-whole-picture"),
    ],
)
@pytest.mark.parametrize("caption", ["", "seven 98%"], ids=["no-caption", "caption"])
def test_odd_boxes_draw_without_error(box: list[float], caption: str) -> None:
    assert draw([box], caption=caption).shape == (100, 200, 3)


@pytest.mark.parametrize("corner", range(4))
def test_a_box_with_nan_is_nowhere(corner: int) -> None:
    box = [10.0, 20.0, 60.0, 70.0]
    box[corner] = NAN
    assert not painted(draw([box], caption="7")).any()


@pytest.mark.parametrize(
    "box",
    [
        pytest.param([40, 60, 120, 90], id="room-above"),
        pytest.param([40, 0, 120, 90], id="at-the-top-it-moves-into-the-box"),
        pytest.param([190, 60, 199, 90], id="at-the-right-edge-it-is-pushed-in"),
        pytest.param([0, 97, 30, 99], id="at-the-bottom"),
        pytest.param([10, 300, 60, 400], id="a-box-below-the-picture"),
        pytest.param([-90, -90, 300, 300], id="a-box-around-the-picture"),
    ],
)
def test_the_caption_stays_inside(box: list[float]) -> None:
    whole = lettering(draw([[40, 60, 120, 90]], caption="seven 98%")).sum()
    assert whole > 50
    assert lettering(draw([box], caption="seven 98%")).sum() == pytest.approx(whole, rel=0.1)


def test_captions_grow_with_the_picture() -> None:
    heights = []
    for scale in (1, 4):
        box = [40 * scale, 120 * scale, 360 * scale, 180 * scale]
        drawn = draw([box], size=(400 * scale, 200 * scale), caption="98%")
        _, top, _, bottom = extent(lettering(drawn))
        heights.append(bottom - top)
    assert heights[1] > 3 * heights[0]


@pytest.mark.parametrize(
    ("color", "expected"),
    [
        pytest.param((0, 0, 0), (255, 255, 255), id="white-on-black"),
        pytest.param((255, 255, 255), (0, 0, 0), id="black-on-white"),
        pytest.param((255, 255, 0), (0, 0, 0), id="black-on-yellow"),
        pytest.param((0, 255, 0), (0, 0, 0), id="black-on-green"),
        pytest.param((0, 0, 255), (255, 255, 255), id="white-on-blue"),
        pytest.param((255, 0, 0), (255, 255, 255), id="white-on-red"),
    ],
)
def test_captions_contrast_with_their_colour(color: Color, expected: Color) -> None:
    assert contrasting(color) == expected
