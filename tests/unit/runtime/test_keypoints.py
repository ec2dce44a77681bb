"""Keypoints: instances and the points that each shows, back in the picture, and compared."""

import json
from typing import Any

import numpy as np
import pytest
from contracts import Whole, reading_of
from numpy.typing import NDArray
from PIL import Image

from onnxproof.contract import ClassInfo
from onnxproof.runtime.preprocess import Transform
from onnxproof.validate.compare import Comparison

Array = NDArray[Any]
TASK = Whole("keypoints")
DOCUMENT = {
    "decode": "split",
    "outputs": ["boxes", "scores", "keypoints"],
    "score_threshold": 0.5,
    "iou_threshold": 0.5,
    "class_agnostic": False,
    "point_threshold": 0.5,
}
READING: Any = reading_of("keypoints", **DOCUMENT)
BOUNDS = {"box": 0.01, "score": 0.001, "point": 0.01, "visibility": 0.001}
CLASSES = (ClassInfo("cat", (255, 0, 0)), ClassInfo("dog", (0, 0, 255)))


def outputs(**changes: Any) -> dict[str, Array]:
    """Two cats that overlap, of which NMS keeps the first, and a dog apart, with two points each."""
    made = {
        "boxes": np.array([[[0, 0, 40, 40], [1, 1, 41, 41], [50, 10, 90, 30]]], np.float32),
        "scores": np.array([[[0.9, 0.1], [0.8, 0.1], [0.2, 0.7]]], np.float32),
        "keypoints": np.array(
            [[[[10, 20, 0.9], [30, 34, 0.1]], [[11, 21, 0.9], [31, 6, 0.1]], [[60, 20, 0.8], [70, 25, 0.6]]]],
            np.float32,
        ),
    }
    for name, (place, value) in changes.items():
        made[name][(0, *place)] = value
    return made


def decided(values: dict[str, Array], reading: Any = READING) -> Any:
    return TASK.decide(TASK.evidence(values, {}, reading, {})[0], reading)


def test_the_points_of_what_nms_keeps_come_with_it() -> None:
    found = decided(outputs())
    assert found.detections.labels.tolist() == [0, 1]
    assert found.points[:, 0, :2].tolist() == [[10, 20], [60, 20]]
    assert found.seen().tolist() == [[True, False], [True, True]]


def test_without_nms_each_class_of_a_row_has_its_points() -> None:
    document = {
        name: value for name, value in DOCUMENT.items() if name not in ("iou_threshold", "class_agnostic")
    }
    reading: Any = reading_of("keypoints", **document)
    assert reading.settings() == {"point_threshold": 0.5, "score_threshold": 0.5}
    found = decided(outputs(scores=((2,), (0.6, 0.7))), reading)
    assert found.detections.labels.tolist() == [0, 0, 1, 0]
    assert found.points[2].tolist() == found.points[3].tolist()


def test_points_without_a_visibility_are_all_seen() -> None:
    values = outputs()
    values["keypoints"] = values["keypoints"][..., :2]
    assert decided(values).seen().all()


def test_points_go_back_to_the_picture_and_are_written_as_coco_writes_them() -> None:
    found = TASK.restore(decided(outputs()), Transform(0.5, 0.5, 0, 4, 160, 60))
    document = TASK.to_json(found, CLASSES, 160, 60)
    cat, dog = document["objects"]
    assert cat["keypoints"] == [20, 32, 2, 0, 0, 0]
    assert (cat["num_keypoints"], dog["num_keypoints"]) == (1, 2)
    assert dog["keypoints"] == [120, 32, 2, 140, 42, 2]
    assert cat["visibility"] == pytest.approx([0.9, 0.1])
    json.dumps(document)
    assert TASK.lines(found, CLASSES)[1].endswith("1 of 2 points")


def test_only_points_that_are_seen_are_drawn() -> None:
    drawn = np.asarray(TASK.draw(Image.new("RGB", (100, 50)), decided(outputs()), CLASSES))
    assert drawn[20, 10].tolist() == [255, 0, 0]
    assert drawn[34, 30].tolist() == [0, 0, 0]


def test_a_reading_is_written_as_it_was_read() -> None:
    assert READING.to_json() == DOCUMENT


def compared(**changes: Any) -> Comparison:
    legs = [TASK.evidence(values, {}, READING, {})[0] for values in (outputs(), outputs(**changes))]
    result: Comparison = TASK.compare(*TASK.thin(*legs, READING), READING, BOUNDS)
    return result


def test_equal_legs_match() -> None:
    assert compared() == Comparison(2, (), ())


def test_a_point_that_moved_is_a_defect() -> None:
    found = compared(keypoints=((2, 1, 0), 70.5))
    assert found.matched == 1
    assert ["point 1 moved" in defect.what for defect in found.defects] == [True]


def test_a_point_that_is_not_seen_may_be_anywhere() -> None:
    assert compared(keypoints=((0, 1, 0), 99.0)) == Comparison(2, (), ())


@pytest.mark.parametrize(
    ("before", "after", "tie"),
    [
        pytest.param(0.5005, 0.4998, True, id="at-the-threshold"),
        pytest.param(0.6, 0.4, False, id="far-from-it"),
        pytest.param(0.5005, 0.2, False, id="moved-too-far"),
    ],
)
def test_a_point_that_one_leg_does_not_show(before: float, after: float, tie: bool) -> None:
    place = (2, 1, 2)
    legs = [TASK.evidence(outputs(keypoints=(place, value)), {}, READING, {})[0] for value in (before, after)]
    found = TASK.compare(*TASK.thin(*legs, READING), READING, BOUNDS)
    assert (len(found.ties), len(found.defects)) == ((1, 0) if tie else (0, 1))
    assert TASK.differ(*(TASK.decide(leg, READING) for leg in legs))


PADDED: Any = reading_of(
    "keypoints",
    decode="nms-padded",
    outputs=["boxes", "labels", "scores", "keypoints", "counts"],
    score_threshold=0.5,
    first_label=0,
    graph={"score_threshold": 0.25, "iou_threshold": 0.5, "max_detections": 4},
    batch="batch",
    point_threshold=0.5,
)


def rows(**changes: Any) -> dict[str, Array]:
    """The same objects as a graph with NMS returns them, and one below the threshold of ``predict``."""
    values = outputs(**changes)
    order = [0, 2, 1, 1]
    made = {
        "boxes": values["boxes"][:, order],
        "labels": np.array([[0, 1, 0, 0]]),
        "scores": np.array([[0.9, 0.7, 0.3, 0.0]], np.float32),
        "keypoints": values["keypoints"][:, order],
        "counts": np.array([3]),
    }
    return made


def test_rows_of_nms_in_the_graph_have_their_points() -> None:
    found = decided(rows(), PADDED)
    assert found.detections.labels.tolist() == [0, 1]
    assert found.seen().tolist() == [[True, False], [True, True]]


@pytest.mark.parametrize(
    ("changes", "defects"),
    [
        pytest.param({}, 0, id="equal"),
        pytest.param({"keypoints": ((2, 1, 0), 70.5)}, 1, id="a-point-moved"),
        pytest.param({"keypoints": ((2, 1, 2), 0.4)}, 1, id="a-point-is-gone"),
        pytest.param({"keypoints": ((1, 1, 0), 70.5)}, 0, id="of-a-row-below-the-threshold"),
    ],
)
def test_rows_are_compared_with_their_points(changes: dict[str, Any], defects: int) -> None:
    legs = [TASK.evidence(values, {"batch": 1}, PADDED, {})[0] for values in (rows(), rows(**changes))]
    found = TASK.compare(*TASK.thin(*legs, PADDED), PADDED, BOUNDS)
    assert (found.matched, len(found.defects)) == (2 - defects, defects)


def test_a_missing_object_is_a_defect() -> None:
    found = compared(scores=((2, 1), 0.3))
    assert found.matched == 1
    assert len(found.defects) == 1
