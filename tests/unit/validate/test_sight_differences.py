"""What counts as another decision than the framework's: keypoints, oriented boxes, segments, maps, edges."""

from dataclasses import replace

import numpy as np
import pytest

from onnxproof.runtime.readings.boxes import Detections
from onnxproof.runtime.readings.masks import Instances, Patch
from onnxproof.runtime.readings.points import Poses
from onnxproof.runtime.tasks.depth import DepthMap
from onnxproof.runtime.tasks.panoptic import Panorama, Segment
from onnxproof.validate.sight.differences import DIFFERS, Difference, Tolerance, in_words

SOME = Tolerance(0.1, 1e-3)


def detections(*boxes: tuple[float, ...]) -> Detections:
    count = len(boxes)
    return Detections(
        np.array(boxes, np.float32),
        np.full(count, 0.9, np.float32),
        np.zeros(count, np.int64),
        np.arange(count),
    )


BOXES = detections((10, 10, 50, 60), (70, 20, 90, 45))
POINTS = np.array([[[20, 20, 0.9], [30, 40, 0.2]], [[75, 30, 0.8], [80, 40, 0.7]]], np.float32)
POSES = Poses(BOXES, POINTS, 0.5)


def moved_points() -> Poses:
    points = POINTS.copy()
    points[1, 0, 0] += 3
    return replace(POSES, points=points)


def hidden_point() -> Poses:
    points = POINTS.copy()
    points[0, 0, 2] = 0.1
    return replace(POSES, points=points)


TURNED = detections((40, 40, 30, 10, 0.3), (90, 90, 20, 12, 1.0))


def turned_by(angle: float) -> Detections:
    boxes = TURNED.boxes.copy()
    boxes[0, 4] += angle
    return replace(TURNED, boxes=boxes)


def panorama(*, label: int = 1, shift: int = 0) -> Panorama:
    owners = np.full((40, 40), -1, np.int64)
    owners[5:20, 5 + shift : 20 + shift] = 3
    owners[25:35, 10:30] = 7
    return Panorama(owners, (Segment(3, label, 0.9, 225), Segment(7, 0, 0.8, 200)))


MAP = DepthMap(np.linspace(0, 4, 64, dtype=np.float32).reshape(8, 8), 8, 8, "cubic")


@pytest.mark.parametrize(
    ("task", "wanted", "found", "told"),
    [
        pytest.param("keypoints", POSES, POSES, "", id="poses-alike"),
        pytest.param(
            "keypoints", POSES, moved_points(), "1 object's points moved by 3 px", id="points-moved"
        ),
        pytest.param(
            "keypoints", POSES, hidden_point(), "1 point shown or hidden otherwise by 1", id="a-point-hidden"
        ),
        pytest.param("oriented_detection", TURNED, turned_by(np.pi), "", id="turned-by-pi-is-the-same"),
        pytest.param("oriented_detection", TURNED, turned_by(0.1), "1 box moved by 1.6 px", id="turned"),
        pytest.param(
            "oriented_detection",
            TURNED,
            detections((40, 40, 30, 10, 0.3)),
            "1 detection missing",
            id="an-oriented-box-missing",
        ),
        pytest.param("panoptic", panorama(), panorama(), "", id="segments-alike"),
        pytest.param("panoptic", panorama(), panorama(shift=1), "1 mask differs by 0.12", id="segment-moved"),
        pytest.param(
            "panoptic",
            panorama(),
            panorama(label=2),
            "1 detection missing, 1 detection too many",
            id="segment-of-another-class",
        ),
        pytest.param("depth", MAP, MAP, "", id="maps-alike"),
        pytest.param(
            "depth",
            MAP,
            replace(MAP, values=MAP.values + np.float32(0.04)),
            "1 map differs by 0.01",
            id="a-map",
        ),
    ],
)
def test_a_difference_is_told(task: str, wanted: object, found: object, told: str) -> None:
    differences = DIFFERS[task](wanted, found, SOME)
    assert in_words(differences).startswith(told)
    assert bool(differences) == bool(told)


def test_a_box_that_the_edge_leaves_no_area_is_the_same_decision_again() -> None:
    there = Difference("extra", ("box", 0, 10.0, 64.0, 30.0, 64.0))
    again, beside = (replace(there, key=("box", 0, x, 64.0, x + 20, 64.0)) for x in (10.4, 14.0))
    assert there.is_in([again])
    assert not there.is_in([beside])


def test_the_edge_of_a_mask_may_be_as_coarse_as_the_frameworks_pixels() -> None:
    def instances(left: int) -> Instances:
        patch = Patch(left, 10, np.ones((30, 30), bool))
        return Instances(detections((10, 10, 40, 40)), (patch,), 0.5, 100, 100)

    differ = DIFFERS["instance_segmentation"]
    assert differ(instances(10), instances(12), SOME)
    assert not differ(instances(10), instances(12), replace(SOME, edge=2))
    assert differ(instances(10), instances(15), replace(SOME, edge=2))
