"""Rows of a head without NMS whose boxes are turned, or carry keypoints or the coefficients of masks."""

import numpy as np
import pytest

from onnxproof.document import Entry
from onnxproof.errors import OnnxproofError
from onnxproof.runtime.readings.chosen_rows import KeypointRows, MaskRows, OrientedRows
from onnxproof.runtime.tasks import get_task
from onnxproof.tensors import TensorSpec

TURNED = np.array([[[20, 30, 10, 4, 0.9, 1, 0.5], [60, 30, 10, 4, 0.1, 0, -0.2]]], np.float32)


def test_a_turned_box_has_its_angle_behind_the_label() -> None:
    reading = OrientedRows(("rows",), 0.25, 2)
    task = get_task("oriented_detection")
    assert task.reading(Entry(reading.to_json(), "reading")) == reading
    (evidence,) = task.evidence({"rows": TURNED}, {}, reading, {})
    found = task.decide(evidence, reading)
    np.testing.assert_array_equal(found.boxes, TURNED[0, :1, [0, 1, 2, 3, 6]].T)
    assert (found.labels.tolist(), found.scores.tolist()) == ([1], [np.float32(0.9)])
    flags = reading.spread_over(np.array([[True, False]]), {"rows": TURNED})["rows"]
    assert flags[0, 1].tolist() == [False] * 4 + [True] + [False] * 2


def test_a_mask_is_summed_from_what_the_row_carries() -> None:
    rows = np.array([[[0, 0, 8, 8, 0.9, 2, 1, -1], [0, 0, 8, 8, 0.8, 2, -1, 1]]], np.float32)
    prototypes = np.zeros((1, 2, 4, 4), np.float32)
    prototypes[0, 0, :, :2], prototypes[0, 1, :, :2] = 3, 1
    reading = MaskRows(("rows", "prototypes"), 0.25, 2)
    task = get_task("instance_segmentation")
    assert task.reading(Entry(reading.to_json(), "reading")) == reading
    outputs = {"rows": rows, "prototypes": prototypes}
    (evidence,) = task.evidence(outputs, {}, reading, {})
    found = task.decide(evidence, reading)
    assert found.detections.scores.tolist() == [np.float32(0.9)]  # the other's mask has no pixel
    assert reading.row_outputs == ("rows",)


@pytest.mark.parametrize("numbers", [2, 3])
def test_a_row_has_its_points_in_an_output_of_their_own(numbers: int) -> None:
    rows = np.array([[[0, 0, 8, 8, 0.1, 2], [1, 1, 9, 9, 0.9, 1]]], np.float32)
    points = np.array([[[[1, 2, 0.9], [3, 4, 0.2]], [[5, 6, 0.9], [7, 8, 0.2]]]], np.float32)[..., :numbers]
    outputs = {"rows": rows, "keypoints": points}
    reading = KeypointRows(("rows", "keypoints"), 0.25, 2)
    task = get_task("keypoints")
    assert task.reading(Entry(reading.to_json(), "reading")) == reading
    reading.require({name: TensorSpec(name, "float32", one.shape) for name, one in outputs.items()})
    (evidence,) = task.evidence(outputs, {}, reading, {})
    found = task.decide(evidence, reading)
    assert found.detections.labels.tolist() == [1]
    assert found.points[0, :, :2].tolist() == [[5, 6], [7, 8]]
    assert found.seen().tolist() == [[True, numbers == 2]]
    flags = reading.spread_over(np.array([[True, False]]), outputs)
    assert flags["rows"][0, 1].tolist() == [False] * 4 + [True, False]
    assert flags["keypoints"].shape == points.shape
    assert flags["keypoints"].any(axis=(0, 2, 3)).tolist() == [True, False]


@pytest.mark.parametrize("columns", [6, 8])
def test_other_rows_are_refused(columns: int) -> None:
    spec = TensorSpec("rows", "float32", ("batch", 300, columns))
    with pytest.raises(OnnxproofError):
        OrientedRows(("rows",), 0.25, 300).require({"rows": spec})
