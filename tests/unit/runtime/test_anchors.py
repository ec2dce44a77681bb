"""Anchors and default boxes stand where torchvision puts them, and each head's scores and boxes follow its
paper's formulas; tests/parity/test_one_stage.py holds them against torchvision itself."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from contracts import reading_of
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from onnxproof.errors import ModelFileError
from onnxproof.runtime.readings.boxes import Cuts
from onnxproof.runtime.readings.scored_anchors import (
    ScoredAnchors,
    anchor_boxes,
    decode_deltas,
    decode_distances,
    default_boxes,
    scored_anchors,
)

Array = NDArray[Any]
F32, F64 = np.dtype(np.float32), np.dtype(np.float64)

COMMON: Mapping[str, Any] = {
    "decode": "none",
    "score_threshold": 0.5,
    "iou_threshold": 0.5,
    "top_candidates": 100,
    "max_detections": 10,
    "class_agnostic": False,
    "first_label": 0,
}
RETINANET: Mapping[str, Any] = {
    **COMMON,
    "head": "retinanet",
    "outputs": ["logits", "deltas"],
    "reductions": [16, 32],
    "base_anchors": [[[-8, -8, 8, 8], [-16, -8, 16, 8]], [[-16, -16, 16, 16], [-32, -16, 32, 16]]],
    "delta_weights": [1, 1, 1, 1],
    "largest_log_scale": math.log(1000 / 16),
}
FCOS: Mapping[str, Any] = {
    **COMMON,
    "head": "fcos",
    "outputs": ["logits", "deltas", "centerness"],
    "reductions": [16, 32],
    "base_anchors": [[[-8, -8, 8, 8]], [[-16, -16, 16, 16]]],
    "distances_in_sizes": True,
}
SSD: Mapping[str, Any] = {
    **COMMON,
    "head": "ssd",
    "outputs": ["logits", "deltas"],
    "grids": [[2, 4], [1, 2]],
    "box_sizes": [[[0.25, 0.5]], [[0.5, 1.0], [1.0, 0.5]]],
    "steps": None,
    "delta_weights": [10, 10, 5, 5],
    "largest_log_scale": math.log(1000 / 16),
}
SIZES = {"height": 32, "width": 64}
COUNTS = {"retinanet": 2 * (8 + 2), "fcos": 8 + 2, "ssd": 8 + 4}
"""Anchors of a picture of SIZES: 2x4 cells and 1x2, by as many boxes as each has."""


def head_outputs(post: Mapping[str, Any], dtype: np.dtype[Any] = F32, batch: int = 1) -> dict[str, Array]:
    """Three classes, every logit and delta 0, for a picture of SIZES."""
    channels = {"logits": 3, "deltas": 4, "centerness": 1}
    return {name: np.zeros((batch, COUNTS[post["head"]], channels[name]), dtype) for name in post["outputs"]}


def only(outputs: Mapping[str, Array], post: Mapping[str, Any]) -> ScoredAnchors:
    (picture,) = scored_anchors(outputs, SIZES, reading_of("detection", **post))
    return picture


def cuts_of(post: Mapping[str, Any], **changes: Any) -> Cuts:
    cuts = reading_of("detection", **{**post, **changes}).cuts
    assert isinstance(cuts, Cuts)
    return cuts


def centres(boxes: Array) -> list[list[float]]:
    listed: list[list[float]] = ((boxes[:, :2] + boxes[:, 2:]) / 2).tolist()
    return listed


def test_anchors_stand_row_by_row_and_base_by_base() -> None:
    (level,) = anchor_boxes(32, 48, [16], [[[-8, -8, 8, 8], [-2, -4, 2, 4]]], F32)
    assert level.dtype == F32
    assert level[::2].tolist() == [[x - 8, y - 8, x + 8, y + 8] for y in (0, 16) for x in (0, 16, 32)]
    assert level[1::2].tolist() == [[x - 2, y - 4, x + 2, y + 4] for y in (0, 16) for x in (0, 16, 32)]


@pytest.mark.parametrize(
    ("side", "reduction", "wanted"),
    [
        pytest.param(128, 64, [0, 64], id="divides: a stride is the reduction"),
        pytest.param(96, 64, [0, 48], id="rounds up: the cells share the side"),
        pytest.param(160, 64, [0, 53, 106], id="rounds up: the stride is rounded down"),
        pytest.param(32, 128, [0], id="one cell"),
    ],
)
def test_the_stride_is_the_side_over_its_cells(side: int, reduction: int, wanted: list[int]) -> None:
    for height, width, axis in ((32, side, 0), (side, 32, 1)):
        (level,) = anchor_boxes(height, width, [reduction], [[[-1, -1, 1, 1]]], F64)
        assert [centre[axis] for centre in centres(level)] == wanted


def test_base_anchors_of_any_size_are_moved_in_the_outputs_dtype() -> None:
    third = float(np.float32(1 / 3))
    for dtype in (F32, F64):
        (level,) = anchor_boxes(64, 64, [32], [[[-third, 0, third, 0]]], dtype)
        assert level[:, 2].tolist() == [dtype.type(x) + dtype.type(third) for x in (0, 32, 0, 32)]


def test_default_boxes_spread_over_the_picture_where_no_step_is_given() -> None:
    (level,) = default_boxes(40, 80, [(2, 2)], [[(0.5, 0.25)]], None, F32)
    assert level.dtype == F32
    assert centres(level) == [[20, 10], [60, 10], [20, 30], [60, 30]]
    assert (level[:, 2:] - level[:, :2]).tolist() == [[40, 10]] * 4


def test_default_boxes_stand_a_step_apart_where_one_is_given() -> None:
    """The last centre of SSD300's first level lies at 37.5 * 8 = 300 pixels, not inside the picture."""
    (level,) = default_boxes(300, 300, [(38, 38)], [[(0.1, 0.1), (0.2, 0.1)]], [8], F64)
    assert len(level) == 38 * 38 * 2
    # Torchvision places them in float32, as parts of the picture.
    wanted = [[8 * (column + 0.5), 8 * (row + 0.5)] for row in range(38) for column in range(38)]
    for boxes in (level[::2], level[1::2]):
        assert np.abs(np.array(centres(boxes)) - wanted).max() < 1e-4
    assert np.allclose((level[:, 2:] - level[:, :2])[:2], [[30, 30], [60, 30]], rtol=1e-6)


def test_default_boxes_in_float64_start_from_float32() -> None:
    """As torchvision's do: the oracle's constants are those of the checkpoint's own arithmetic."""
    grids, shapes = [(3, 3)], [[(1 / 3, 1 / 7)]]
    (level,) = default_boxes(300, 300, grids, shapes, None, F64)
    assert (level[:, 2] - level[:, 0])[0] == pytest.approx(300 * float(np.float32(1 / 3)), rel=1e-15)
    assert centres(level)[0][0] == pytest.approx(300 * float(np.float32(0.5) / np.float32(3)), rel=1e-14)


SIDES = st.floats(1, 500)
PLACES = st.floats(-500, 500)


@given(st.tuples(PLACES, PLACES, SIDES, SIDES), st.tuples(PLACES, PLACES, SIDES, SIDES))
def test_deltas_lead_from_the_anchor_to_the_box(anchor: tuple[float, ...], box: tuple[float, ...]) -> None:
    """The inverse of Faster R-CNN's parametrisation, weights included."""
    ax, ay, aw, ah = anchor
    bx, by, bw, bh = box
    deltas = [10 * (bx - ax) / aw, 10 * (by - ay) / ah, 5 * math.log(bw / aw), 5 * math.log(bh / ah)]
    corners = np.array([[ax - aw / 2, ay - ah / 2, ax + aw / 2, ay + ah / 2]])
    found = decode_deltas(np.array([[deltas]]), corners, (10, 10, 5, 5), math.log(1000))
    assert found[0, 0] == pytest.approx([bx - bw / 2, by - bh / 2, bx + bw / 2, by + bh / 2], abs=1e-8)


def test_boxes_grow_up_to_the_largest_scale() -> None:
    deltas = np.array([[[0, 0, 100, np.log(2)]]], F32)
    found = decode_deltas(deltas, np.array([[-1, -1, 1, 1]], F32), (1, 1, 1, 1), math.log(8))
    assert found[0, 0] == pytest.approx([-8, -2, 8, 2], rel=1e-6)


@pytest.mark.parametrize(
    ("normalized", "wanted"),
    [
        pytest.param(True, [10 - 4, 20 - 16, 10 + 12, 20 + 32], id="in sizes of the anchor, 4 x 8"),
        pytest.param(False, [10 - 1, 20 - 2, 10 + 3, 20 + 4], id="in pixels"),
    ],
)
def test_distances_lead_from_the_centre_to_the_sides(normalized: bool, wanted: list[float]) -> None:
    distances, anchors = np.array([[[1, 2, 3, 4]]], F32), np.array([[8, 16, 12, 24]], F32)
    assert decode_distances(distances, anchors, normalized=normalized)[0, 0].tolist() == wanted


HEADS = pytest.mark.parametrize("post", [RETINANET, FCOS, SSD], ids=["retinanet", "fcos", "ssd"])


@HEADS
@pytest.mark.parametrize("dtype", [F32, F64], ids=str)
def test_every_anchor_gets_a_box_inside_the_picture(post: Mapping[str, Any], dtype: np.dtype[Any]) -> None:
    outputs = head_outputs(post, dtype, batch=2)
    outputs["deltas"][1] = np.random.default_rng(0).normal(0, 3, outputs["deltas"][1].shape)
    pictures = scored_anchors(outputs, SIZES, reading_of("detection", **post))
    assert len(pictures) == 2
    for picture in pictures:
        assert picture.boxes.shape == (COUNTS[post["head"]], 4)
        assert picture.scores.shape == picture.groups.shape == (COUNTS[post["head"]], 3)
        assert picture.boxes.dtype == picture.scores.dtype == dtype
        assert (picture.boxes >= 0).all()
        assert (picture.boxes <= [64, 32, 64, 32]).all()
    assert (pictures[1].boxes != pictures[0].boxes).any()


def test_retinanets_scores_are_sigmoids() -> None:
    outputs = head_outputs(RETINANET)
    outputs["logits"][0, 4] = [-2, 0, 3]
    assert only(outputs, RETINANET).scores[4] == pytest.approx([1 / (1 + math.exp(-x)) for x in (-2, 0, 3)])


def test_fcos_scores_are_the_geometric_mean_of_class_and_centerness() -> None:
    outputs = head_outputs(FCOS)
    outputs["logits"][0, 4], outputs["centerness"][0, 4] = [-2, 0, 3], 1
    wanted = [1 / math.sqrt((1 + math.exp(-x)) * (1 + math.exp(-1))) for x in (-2, 0, 3)]
    assert only(outputs, FCOS).scores[4] == pytest.approx(wanted)


def test_ssds_scores_are_a_softmax_and_its_background_is_never_detected() -> None:
    outputs = head_outputs(SSD)
    outputs["logits"][0] = [2, 1, 0]
    picture = only(outputs, SSD)
    total = math.e**2 + math.e + 1
    assert picture.scores[7] == pytest.approx([math.e**2 / total, math.e / total, 1 / total])
    assert set(picture.pairs(0)[1].tolist()) == {1, 2}


@HEADS
def test_candidates_are_cut_within_levels_or_within_classes(post: Mapping[str, Any]) -> None:
    first = COUNTS[post["head"]] * 8 // 10
    by_level = [[0] * 3] * first + [[1] * 3] * (COUNTS[post["head"]] - first)
    by_class = [[0, 1, 2]] * COUNTS["ssd"]
    wanted = by_class if post["head"] == "ssd" else by_level
    assert only(head_outputs(post), post).groups.tolist() == wanted


@pytest.mark.parametrize(
    ("top", "wanted"),
    [
        pytest.param(2, [(0, 0), (8, 2), (1, 1)], id="two of each level"),
        pytest.param(1, [(0, 0), (8, 2)], id="one of each level"),
        pytest.param(9, [(0, 0), (8, 2), (1, 1), (2, 0)], id="more than there are"),
    ],
)
def test_the_best_of_each_level_become_detections(top: int, wanted: list[tuple[int, int]]) -> None:
    """An index of a detection tells its anchor and its class."""
    outputs = head_outputs(FCOS)
    outputs["logits"][:], outputs["centerness"][:], outputs["deltas"][:] = -20, 20, 0.25
    for (anchor, label), logit in zip([(0, 0), (8, 2), (1, 1), (2, 0)], (4, 3, 2, 1), strict=True):
        outputs["logits"][0, anchor, label] = logit
    found = only(outputs, FCOS).decide(cuts_of(FCOS, top_candidates=top))
    assert [divmod(index, 3) for index in found.indices.tolist()] == wanted
    assert found.labels.tolist() == [label for _, label in wanted]
    assert (np.diff(found.scores) < 0).all()


def test_an_anchor_may_have_several_classes() -> None:
    outputs = head_outputs(RETINANET)
    outputs["logits"][:] = -20
    outputs["logits"][0, 5] = [1, -20, 2]
    found = only(outputs, RETINANET).decide(cuts_of(RETINANET))
    assert found.indices.tolist() == [5 * 3 + 2, 5 * 3]
    assert np.array_equal(found.boxes[0], found.boxes[1])


def test_labels_count_from_the_first_named_class() -> None:
    outputs = head_outputs(SSD)
    outputs["logits"][0, 3] = [0, 0, 9]
    found = only(outputs, {**SSD, "first_label": 1}).decide(cuts_of(SSD))
    assert found.labels.tolist() == [1]
    assert found.indices.tolist() == [3 * 3 + 2]


def test_comparisons_see_what_scores_half_the_threshold_or_more() -> None:
    outputs = head_outputs(RETINANET, F64)
    outputs["logits"][:] = -20
    outputs["logits"][0, 7] = [0, -0.001, 0.001]
    picture = only(outputs, RETINANET)
    thin = picture.candidates(cuts_of(RETINANET, score_threshold=1.0))
    assert thin.labels.tolist() == [0, 2]
    assert np.array_equal(thin.boxes, picture.boxes[[7, 7]])
    assert thin.scores.tolist() == picture.scores[7, [0, 2]].tolist()
    assert thin.groups is not None
    assert thin.groups.tolist() == [0, 0]


@HEADS
def test_numbers_beyond_float32_pass_without_a_warning(post: Mapping[str, Any]) -> None:
    outputs = head_outputs(post)
    outputs["logits"][0, 0] = [-3e38, 3e38, np.nan]
    outputs["deltas"][0, 1:3] = [[3e38, -3e38, 3e38, 3e38], [np.nan, 0, 0, 0]]
    picture = only(outputs, post)
    assert np.isnan(picture.scores[0]).any()
    assert np.isnan(picture.boxes[2]).any()
    assert np.isfinite(picture.scores[1:]).all()


@HEADS
def test_another_number_of_anchors_is_refused(post: Mapping[str, Any]) -> None:
    outputs = {name: array[:, 1:] for name, array in head_outputs(post).items()}
    count = COUNTS[post["head"]]
    with pytest.raises(ModelFileError, match=rf"has {count - 1} anchors, .* 32x64 has {count}: .*frozen\?"):
        scored_anchors(outputs, SIZES, reading_of("detection", **post))
