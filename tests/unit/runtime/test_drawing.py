"""Boxes, captions and masks: drawn where they should be, whatever the numbers are."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from onnxproof.runtime.drawing import Color, blend, contrasting, draw_boxes, draw_masks

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


def test_no_line_crosses_a_caption() -> None:
    # The second box's right edge runs down the picture through the first one's caption.
    boxes = [[60, 0, 100, 99], [70, 60, 190, 90]]
    crossed = draw(boxes, caption="seven 98%", colors=(GREEN, RED))
    alone = draw(boxes[1:], caption="seven 98%")
    x0, y0, x1, _ = extent(painted(alone)[:59])
    assert x0 < 100 < x1, "the line would cross the caption"
    patch = (slice(y0, 60), slice(x0, x1 + 1))
    np.testing.assert_array_equal(crossed[patch], alone[patch])


def test_lines_are_as_wide_as_asked() -> None:
    picture, box = Image.new("RGB", (300, 400), BACKGROUND), np.array([[50, 100, 250, 300]])
    for share, width in ((0.002, 1), (0.02, 10)):
        drawn = np.asarray(draw_boxes(picture, box, [""], [RED], share))
        assert painted(drawn)[200, :150].sum() == width


def test_blending_is_half_and_half_and_in_place() -> None:
    pixels = np.full((1, 3, 3), 100, np.uint8)
    blend(pixels, np.array([[True, False, True]]), (0, 201, 255))
    assert pixels.tolist() == [[[50, 150, 178], [100] * 3, [50, 150, 178]]]
    blend(pixels, np.array([[True, False, False]]), (0, 0, 0), opacity=1)
    assert pixels[0, 0].tolist() == [0, 0, 0]


def drawn_masks(
    *masks: tuple[int, int, NDArray[np.bool_]],
    size: tuple[int, int] = (60, 40),
    colors: tuple[Color, ...] = (RED,),
) -> NDArray[np.uint8]:
    return np.asarray(
        draw_masks(Image.new("RGB", size, BACKGROUND), masks, colors * (len(masks) // len(colors)))
    )


def test_a_mask_has_a_light_inside_a_full_edge_and_a_rim_that_contrasts() -> None:
    mask = np.ones((20, 30), bool)
    mask[8:12, 10:20] = False
    drawn = drawn_masks((5, 10, mask))
    mixed = [148, 20, 20]
    assert drawn[14, 10].tolist() == mixed
    assert drawn[10, 5].tolist() == drawn[29, 34].tolist() == list(RED), "the edge"
    assert drawn[18, 14].tolist() == list(RED), "the hole's edge"
    assert drawn[9, 4].tolist() == [148, 148, 148], "half white on the outside"
    assert drawn[18, 15].tolist() == [148, 148, 148], "and on the inside of the hole"
    assert drawn[20, 20].tolist() == list(BACKGROUND), "nothing in the hole"
    assert drawn[8, 3].tolist() == list(BACKGROUND), "nor further out"


def test_masks_keep_within_the_picture_and_their_edge_runs_along_it() -> None:
    drawn = drawn_masks((0, 0, np.ones((40, 60), bool)))
    assert drawn.shape == (40, 60, 3)
    assert painted(drawn)[[0, -1]].all()
    assert painted(drawn)[:, [0, -1]].all()
    assert not painted(drawn)[1:-1, 1:-1].any()


def test_masks_leave_the_picture_itself_alone() -> None:
    picture = Image.new("RGB", (20, 10), BACKGROUND)
    draw_masks(picture, [(3, 3, np.ones((4, 4), bool))], [RED])
    assert picture.getcolors() == [(200, BACKGROUND)]


@pytest.mark.parametrize(
    "masks",
    [
        pytest.param((), id="none"),
        pytest.param(((0, 0, np.zeros((0, 0), bool)),), id="without-extent"),
        pytest.param(((4, 4, np.zeros((6, 6), bool)),), id="without-a-pixel"),
    ],
)
def test_no_masks_leave_a_copy(masks: Any) -> None:
    assert (drawn_masks(*masks) == BACKGROUND).all()


def test_the_best_mask_is_drawn_over_the_others() -> None:
    place = (10, 10, np.ones((12, 12), bool))
    drawn = drawn_masks(place, place, colors=(RED, GREEN))
    assert painted(drawn, RED).any()
    assert not painted(drawn, GREEN).any()
    assert drawn[15, 15, 0] > drawn[15, 15, 1]


def test_masks_edges_grow_with_the_picture() -> None:
    mask = np.ones((800, 800), bool)
    drawn = drawn_masks((500, 500, mask), size=(3000, 2400))
    assert painted(drawn)[900, 400:600].sum() == 8


def test_captions_of_boxes_that_coincide_move_apart() -> None:
    box = [40, 60, 120, 90]
    one = draw([box], caption="cat", colors=(GREEN,), size=(200, 120))[:60]
    drawn = draw([box, box], caption="cat", colors=(RED, GREEN), size=(200, 120))
    assert extent(painted(drawn[:60])) == extent(painted(one, GREEN))  # the better box's stands above it
    assert painted(drawn, GREEN).sum() >= painted(one, GREEN).sum()  # the other's is whole, too
    assert not painted(drawn[:60], GREEN).any()


def test_captions_stay_in_the_picture_where_there_is_no_room_for_all() -> None:
    drawn = draw([[0, 0, 30, 30]] * 20, caption="a long caption", size=(60, 40))
    assert drawn.shape == (40, 60, 3)
