"""Oriented boxes: their overlaps, their many names, NMS, the way back, and how they are compared."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from contracts import Whole, reading_of
from examples import examples
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from onnxproof.contract import ClassInfo
from onnxproof.document import Entry
from onnxproof.runtime.nms import pairwise_iou
from onnxproof.runtime.oriented import boxes_of, corners_of, oriented_nms, pairwise_probiou, polygon_iou
from onnxproof.runtime.preprocess import Transform
from onnxproof.validate.compare import Comparison
from onnxproof.validate.compare.turned import corner_distances

Array = NDArray[Any]
TASK = Whole("oriented_detection")
DOCUMENT = {
    "decode": "split",
    "outputs": ["boxes", "scores"],
    "score_threshold": 0.5,
    "iou_threshold": 0.7,
    "class_agnostic": False,
}
READING: Any = reading_of("oriented_detection", **DOCUMENT)
BOUNDS = {"box": 0.01, "angle": 1e-4, "score": 0.001}
CLASSES = (ClassInfo("ship", (255, 0, 0)), ClassInfo("plane", (0, 0, 255)))
SHIP = (50.0, 40.0, 40.0, 10.0, 0.5)


def renamed(box: tuple[float, ...], turns: int) -> tuple[float, ...]:
    """The same box under another name: turned by quarters, sides exchanged for odd ones."""
    x, y, width, height, angle = box
    sides = (height, width) if turns % 2 else (width, height)
    return (x, y, *sides, angle + turns * math.pi / 2)


def rows(*boxes: tuple[float, ...]) -> Array:
    return np.array(boxes, np.float64).reshape(-1, 5)


def test_boxes_that_are_not_turned_overlap_as_any_others() -> None:
    random = np.random.default_rng(0)
    corners = random.uniform(0, 50, (2, 6, 2))
    straight = [np.concatenate((of, of + random.uniform(5, 40, (6, 2))), axis=1) for of in corners]
    turned = [
        np.concatenate(((of[:, :2] + of[:, 2:]) / 2, of[:, 2:] - of[:, :2], np.zeros((6, 1))), axis=1)
        for of in straight
    ]
    np.testing.assert_allclose(polygon_iou(*turned), pairwise_iou(*straight), atol=1e-12)


@given(
    st.tuples(*[st.floats(-20, 20)] * 2, *[st.floats(1, 40)] * 2, st.floats(-4, 4)),
    st.tuples(*[st.floats(-20, 20)] * 2, *[st.floats(1, 40)] * 2, st.floats(-4, 4)),
    st.integers(0, 3),
)
@examples(60)
def test_the_exact_overlap_is_shapelys_under_every_name(
    one: tuple[float, ...], other: tuple[float, ...], turns: int
) -> None:
    shapely = pytest.importorskip("shapely")
    here, there = (shapely.Polygon(corners_of(rows(box))[0]) for box in (one, other))
    with np.errstate(invalid="ignore"):  # shapely 2.0.0 warns of boxes that touch
        wanted = here.intersection(there).area / here.union(there).area
    found = polygon_iou(rows(renamed(one, turns)), rows(other))[0, 0]
    assert found == pytest.approx(wanted, abs=1e-9)


@pytest.mark.parametrize("turns", range(-3, 4))
def test_a_box_has_many_names_and_one_place(turns: int) -> None:
    again = rows(renamed(SHIP, turns))
    assert corner_distances(rows(SHIP), again)[0, 0] < 1e-12
    assert polygon_iou(rows(SHIP), again)[0, 0] == pytest.approx(1)
    assert corner_distances(rows(SHIP), boxes_of(corners_of(again)))[0, 0] < 1e-12


def test_a_box_without_area_overlaps_nothing() -> None:
    assert polygon_iou(rows((5, 5, 0, 4, 0.3)), rows(SHIP)).tolist() == [[0]]


def test_a_box_that_is_dropped_still_drops_others() -> None:
    """Fast NMS: the second goes by the first, and the third by the second, which the first leaves alone."""
    chain = rows((0, 0, 40, 10, 0), (6, 0, 40, 10, 0), (12, 0, 40, 10, 0))
    overlap = pairwise_probiou(chain, chain)
    threshold = float(overlap[0, 1]) - 0.01
    assert overlap[0, 2] < threshold
    scores = np.array([0.9, 0.8, 0.7])
    assert oriented_nms(chain, scores, threshold).tolist() == [0]
    assert oriented_nms(chain, scores, threshold, np.array([0, 1, 0])).tolist() == [0, 1, 2]


def outputs(*boxes: tuple[float, ...], scores: tuple[tuple[float, float], ...]) -> dict[str, Array]:
    return {"boxes": np.array([boxes], np.float32), "scores": np.array([scores], np.float32)}


FAR = (150.0, 60.0, 30.0, 20.0, -0.2)
SCENE = outputs(SHIP, FAR, scores=((0.9, 0.1), (0.2, 0.8)))


def decided(values: dict[str, Array]) -> Any:
    return TASK.decide(TASK.evidence(values, {}, READING, {})[0], READING)


def test_boxes_go_back_to_the_picture_with_their_angle() -> None:
    found = TASK.restore(decided(SCENE), Transform(0.5, 0.5, 10, 0, 400, 200))
    assert found.boxes[0].tolist() == pytest.approx([80, 80, 80, 20, 0.5], rel=1e-5)
    document = TASK.to_json(found, CLASSES, 400, 200)["boxes"][0]
    assert document["label"] == "ship"
    np.testing.assert_allclose(document["corners"], corners_of(found.boxes)[0])
    assert TASK.lines(found, CLASSES)[1].endswith("80.0 by 20.0, 28.6°")


def test_a_resize_that_changes_the_aspect_turns_boxes() -> None:
    found = TASK.restore(decided(SCENE), Transform(1, 0.5, 0, 0, 400, 400))
    assert found.boxes[0, 4] == pytest.approx(math.atan(2 * math.tan(0.5)), rel=1e-5)


def test_outlines_are_drawn_turned() -> None:
    drawn = np.asarray(TASK.draw(Image.new("RGB", (200, 100)), decided(SCENE), CLASSES))
    corner = corners_of(rows(SHIP))[0, 0].round().astype(int)
    around = drawn[corner[1] - 2 : corner[1] + 3, corner[0] - 2 : corner[0] + 3]
    assert (around == (255, 0, 0)).all(axis=-1).any()


def test_a_reading_is_written_as_it_was_read() -> None:
    assert READING.to_json() == DOCUMENT


def compared(here: dict[str, Array], there: dict[str, Array]) -> Comparison:
    legs = [TASK.evidence(values, {}, READING, {})[0] for values in (here, there)]
    result: Comparison = TASK.compare(*TASK.thin(*legs, READING), READING, BOUNDS)
    return result


@pytest.mark.parametrize("turns", range(4))
def test_a_box_under_another_name_matches(turns: int) -> None:
    again = outputs(renamed(SHIP, turns), FAR, scores=((0.9, 0.1), (0.2, 0.8)))
    assert compared(SCENE, again) == Comparison(2, (), ())


@pytest.mark.parametrize(
    ("changed", "verb"),
    [
        pytest.param(outputs(SHIP, scores=((0.9, 0.1),)), "missing", id="missing"),
        pytest.param(
            outputs(SHIP, FAR, (20, 90, 10, 10, 0), scores=((0.9, 0.1), (0.2, 0.8), (0.7, 0.0))),
            "extra",
            id="extra",
        ),
        pytest.param(
            outputs((51, 40, 40, 10, 0.5), FAR, scores=((0.9, 0.1), (0.2, 0.8))), "moved", id="moved"
        ),
        pytest.param(
            outputs((50, 40, 40, 10, 0.6), FAR, scores=((0.9, 0.1), (0.2, 0.8))), "moved", id="turned"
        ),
    ],
)
def test_a_difference_that_no_margin_excuses_is_a_defect(changed: dict[str, Array], verb: str) -> None:
    found = compared(SCENE, changed)
    assert [defect.what.partition(":")[0] for defect in found.defects] == [verb]
    assert not found.ties


def test_a_score_at_the_threshold_is_a_tie() -> None:
    legs = [outputs(SHIP, FAR, scores=((0.9, 0.1), (0.2, score))) for score in (0.5004, 0.4997)]
    for here, there in (legs, legs[::-1]):
        found = compared(here, there)
        assert (found.matched, len(found.ties), len(found.defects)) == (1, 1, 0)


def test_a_class_that_leads_by_nothing_may_flip() -> None:
    legs = [outputs(SHIP, scores=((0.8 + lead, 0.8 - lead),)) for lead in (0.0002, -0.0002)]
    found = compared(*legs)
    assert [tie.what.partition(":")[0] for tie in found.ties] == ["flipped"]
    assert not found.defects


def test_an_overlap_at_the_threshold_is_a_tie() -> None:
    near = (50.0, 42.0, 40.0, 10.0, 0.5)
    overlap = float(pairwise_probiou(rows(SHIP), rows(near))[0, 0])
    reading: Any = reading_of("oriented_detection", **{**DOCUMENT, "iou_threshold": overlap})
    legs = [
        TASK.evidence(
            outputs(SHIP, (50.0, 42.0 + move, 40.0, 10.0, 0.5), scores=((0.9, 0.1), (0.7, 0.1))),
            {},
            reading,
            {},
        )[0]
        for move in (0.004, -0.004)
    ]
    for pair in (legs, legs[::-1]):
        found = TASK.compare(*TASK.thin(*pair, reading), reading, BOUNDS)
        assert (len(found.ties), len(found.defects)) == (1, 0)
    far = TASK.evidence(outputs(SHIP, scores=((0.9, 0.1),)), {}, reading, {})[0]
    kept = TASK.evidence(
        outputs(SHIP, (50.0, 45.0, 40.0, 10.0, 0.5), scores=((0.9, 0.1), (0.7, 0.1))), {}, reading, {}
    )[0]
    assert TASK.compare(*TASK.thin(kept, far, reading), reading, BOUNDS).defects


@pytest.mark.parametrize(
    ("lead", "tie"), [pytest.param(0.0004, True, id="near"), pytest.param(0.05, False, id="far")]
)
def test_boxes_at_the_cut_after_the_best_may_change_places(lead: float, tie: bool) -> None:
    reading: Any = reading_of("oriented_detection", **DOCUMENT, max_detections=1)
    legs = [
        TASK.evidence(outputs(SHIP, FAR, scores=((0.8 + by, 0.1), (0.1, 0.8))), {}, reading, {})[0]
        for by in (lead, -lead)
    ]
    found = TASK.compare(*TASK.thin(*legs, reading), reading, BOUNDS)
    assert (len(found.ties), len(found.defects)) == ((2, 0) if tie else (0, 2))


PADDED: Any = reading_of(
    "oriented_detection",
    decode="nms-padded",
    graph={"score_threshold": 0.5, "iou_threshold": 0.7, "max_detections": 3},
    score_threshold=0.5,
    outputs=["boxes", "labels", "scores", "counts"],
    first_label=0,
    batch="batch",
)
SECOND = (50.0, 41.0, 40.0, 10.0, 0.5)


LISTED: Any = reading_of(
    "oriented_detection",
    **{**PADDED.to_json(), "decode": "nms", "outputs": ["boxes", "labels", "scores", "pictures"]},
)


def listed(*kept: tuple[tuple[float, ...], float, int]) -> dict[str, Array]:
    """The outputs for the second of two pictures. The first one has a row of its own."""
    boxes, scores, labels = (np.array(column) for column in zip((FAR, 0.6, 0), *kept, strict=True))
    pictures = np.array([0, *[1] * len(kept)])
    return {"boxes": boxes.astype(np.float32), "labels": labels, "scores": scores, "pictures": pictures}


def padded(*kept: tuple[tuple[float, ...], float, int], known: bool = False) -> Any:
    """The rows of one picture. ``known`` adds the candidates of a PyTorch leg: a ship, one over it, and a
    plane."""
    boxes, labels, scores = np.zeros((1, 3, 5), np.float32), np.zeros((1, 3), np.int64), np.zeros((1, 3))
    for k, (box, score, label) in enumerate(kept):
        boxes[0, k], scores[0, k], labels[0, k] = box, score, label
    outputs = {"boxes": boxes, "labels": labels, "scores": scores, "counts": np.array([len(kept)])}
    margins = {
        "candidate_boxes": np.array((SHIP, SECOND, FAR), np.float32),
        "candidate_scores": np.array((0.9, 0.7, 0.8)),
        "candidate_labels": np.array((0, 0, 1)),
        "candidate_gaps": np.array((0.8, 0.6, 0.6)),
        "candidate_pictures": np.zeros(3, np.int64),
    }
    return TASK.evidence(outputs, {"batch": 1}, PADDED, margins if known else {})[0]


KEPT = ((SHIP, 0.9, 0), (FAR, 0.8, 1))


def test_rows_with_nms_in_the_graph_are_detections() -> None:
    assert TASK.reading(Entry(PADDED.to_json(), "reading")) == PADDED
    found = TASK.decide(padded(*KEPT), PADDED)
    assert (found.labels.tolist(), found.boxes.shape) == ([0, 1], (2, 5))


def test_listed_rows_are_those_of_their_picture() -> None:
    assert TASK.reading(Entry(LISTED.to_json(), "reading")) == LISTED
    assert (
        LISTED.refuse(listed(*KEPT), {"batch": 1}) == "a row of picture 1; the batch has the pictures 0 to 0"
    )
    first, second = (
        TASK.decide(rows, LISTED) for rows in TASK.evidence(listed(*KEPT), {"batch": 2}, LISTED, {})
    )
    assert (len(first), first.scores.tolist()) == (1, [0.6])
    wanted = TASK.decide(padded(*KEPT), PADDED)
    np.testing.assert_array_equal(second.boxes, wanted.boxes)
    assert second.labels.tolist() == wanted.labels.tolist()


@pytest.mark.parametrize("known", [True, False], ids=["against-pytorch", "against-a-file"])
@pytest.mark.parametrize(
    ("kept", "counts"),
    [
        pytest.param(KEPT, (2, 0, 0), id="the-same"),
        pytest.param((KEPT[1], KEPT[0]), (2, 0, 0), id="in-another-order"),
        pytest.param(KEPT[:1], (1, 0, 1), id="missing"),
        pytest.param((*KEPT, (SECOND, 0.7, 0)), (2, 0, 1), id="not-suppressed"),
        pytest.param((((50, 40, 40, 10, 0.6), 0.85, 0), KEPT[1]), (1, 0, 1), id="turned"),
        pytest.param(((SHIP, np.nan, 0), KEPT[1]), (1, 0, 2), id="no-number"),
    ],
)
def test_rows_are_compared_as_sets(known: bool, kept: Any, counts: tuple[int, int, int]) -> None:
    legs = padded(*KEPT, known=known), padded(*kept)
    found = TASK.compare(*TASK.thin(*legs, PADDED), PADDED, BOUNDS)
    assert (found.matched, len(found.ties), len(found.defects)) == counts
    assert TASK.margins(legs[0], TASK.decide(legs[0], PADDED), PADDED)["score"].min() > 0.1


@pytest.mark.parametrize("known", [True, False], ids=["against-pytorch", "against-a-file"])
def test_rows_near_the_threshold_are_ties(known: bool) -> None:
    """Of an overlap that the file has computed."""
    overlap = float(pairwise_probiou(rows(SHIP), rows(SECOND))[0, 0])
    reading = replace(PADDED, graph=replace(PADDED.graph, iou_threshold=overlap - 1e-6))
    legs = padded(*KEPT, known=known), padded(*KEPT, (SECOND, 0.7, 0))
    exact = {"box": 0.0, "angle": 0.0, "score": 0.0}
    found = TASK.compare(*TASK.thin(*legs, reading), reading, exact)
    assert (found.matched, len(found.ties), len(found.defects)) == (2, 1, 0)
