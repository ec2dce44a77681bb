"""Decisions of every task that has boxes, as COCO's results and as supervision's types."""

import sys
import types
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from contracts import contract
from numpy.typing import NDArray

from onnxproof.contract import ClassInfo
from onnxproof.errors import RequestError
from onnxproof.runtime import Prediction
from onnxproof.runtime.converted import encoded
from onnxproof.runtime.oriented import corners_of
from onnxproof.runtime.readings.boxes import Detections
from onnxproof.runtime.readings.masks import Instances, Patch
from onnxproof.runtime.readings.points import Poses

Array = NDArray[Any]

HEIGHT, WIDTH = 20, 30
CLASSES = (ClassInfo("cat", (255, 0, 0)), ClassInfo("dog", (0, 0, 255)))
BOXES = np.array([[2, 3, 8, 9], [10, 4, 14, 12]], np.float32)
SHIP = (15.0, 10.0, 8.0, 4.0, 0.5)


def detections(boxes: Array = BOXES) -> Detections:
    count = len(boxes)
    scores, labels = np.array([0.9, 0.6][:count], np.float32), np.array([1, 0][:count], np.int64)
    return Detections(boxes, scores, labels, np.arange(count))


def instances() -> Instances:
    """A whole box, and one with a hole in it."""
    ring = np.ones((8, 4), bool)
    ring[2:5, 1:3] = False
    return Instances(
        detections(), (Patch(2, 3, np.ones((6, 6), bool)), Patch(10, 4, ring)), 0.5, HEIGHT, WIDTH
    )


def poses() -> Poses:
    points = np.array([[[3, 4, 0.9], [5, 6, 0.1]], [[11, 5, 0.8], [12, 6, 0.7]]], np.float32)
    return Poses(detections(), points, 0.5)


def predicted(task: str, decisions: Any) -> Prediction:
    made = contract(name="m", task="raw", classes=CLASSES)
    object.__setattr__(made, "task", task)  # the reading says nothing here
    return Prediction(decisions, made, WIDTH, HEIGHT)


def test_a_box_is_its_corner_and_its_sides() -> None:
    first, second = predicted("detection", detections()).to_coco(7)
    assert first == {
        **{"image_id": 7, "category_id": 1, "bbox": [2, 3, 6, 6]},
        "score": pytest.approx(0.9),
    }
    assert second["bbox"] == [10, 4, 4, 8]


def test_categories_are_named_and_each_class_needs_one() -> None:
    made = predicted("detection", detections())
    assert [row["category_id"] for row in made.to_coco(0, {"cat": 17, "dog": 18})] == [18, 17]
    with pytest.raises(RequestError, match='no id for the class "dog"'):
        made.to_coco(0, {"cat": 17})


def test_masks_are_the_run_lengths_that_coco_reads() -> None:
    coco: Any = pytest.importorskip("pycocotools.mask")
    rows = predicted("instance_segmentation", instances()).to_coco(1)
    for row, region in zip(rows, instances().regions(), strict=True):
        mask = np.zeros((HEIGHT, WIDTH), np.uint8, order="F")
        height, width = region.pixels.shape
        mask[region.top : region.top + height, region.left : region.left + width] = region.pixels
        assert row["segmentation"]["counts"] == coco.encode(mask)["counts"].decode()
    assert [row["bbox"] for row in rows] == [[2, 3, 6, 6], [10, 4, 4, 8]]


@pytest.mark.parametrize("seed", range(20))
def test_any_mask_is_encoded_as_coco_encodes_it(seed: int) -> None:
    coco: Any = pytest.importorskip("pycocotools.mask")
    random = np.random.default_rng(seed)
    height, width = random.integers(1, 200, 2).tolist()
    mask = random.random((height, width)) < random.choice([0.0, 0.01, 0.5, 1.0])
    wanted = coco.encode(np.asfortranarray(mask.astype(np.uint8)))
    assert encoded(Patch(0, 0, mask), height, width) == {
        "size": wanted["size"],
        "counts": wanted["counts"].decode(),
    }


def test_points_are_triples_and_what_is_not_seen_is_zero() -> None:
    rows = predicted("keypoints", poses()).to_coco(1)
    assert [row["keypoints"] for row in rows] == [[3, 4, 2, 0, 0, 0], [11, 5, 2, 12, 6, 2]]


def test_an_oriented_box_is_a_polygon_in_the_box_around_it() -> None:
    turned = np.array([SHIP])
    (row,) = predicted("oriented_detection", detections(turned)).to_coco(1)
    (polygon,) = row["segmentation"]
    corners = np.reshape(polygon, (4, 2))
    np.testing.assert_allclose(corners, corners_of(turned)[0])
    low, sides = np.array(row["bbox"][:2]), np.array(row["bbox"][2:])
    np.testing.assert_allclose((low, low + sides), (corners.min(axis=0), corners.max(axis=0)))


def test_what_has_no_boxes_is_refused_by_the_name_of_its_task() -> None:
    made = predicted("depth", np.zeros((2, 2)))
    with pytest.raises(RequestError, match="decisions of task depth are no boxes, so they are no COCO"):
        made.to_coco(1)
    with pytest.raises(RequestError, match=r"no supervision\.Detections"):
        made.to_supervision()


def test_without_supervision_the_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "supervision", None)
    with pytest.raises(RequestError, match="install the package supervision"):
        predicted("detection", detections()).to_supervision()


@pytest.fixture(params=["stand-in", "supervision"])
def library(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """supervision itself where it is installed, and what keeps the arguments of its classes."""
    if request.param == "supervision":
        yield pytest.importorskip("supervision")
        return
    made: Any = types.ModuleType("supervision")
    made.Detections = made.KeyPoints = types.SimpleNamespace
    monkeypatch.setitem(sys.modules, "supervision", made)
    yield made


def test_supervision_gets_boxes_masks_points_and_corners(library: Any) -> None:
    plain = predicted("detection", detections()).to_supervision()
    np.testing.assert_array_equal(plain.xyxy, BOXES)
    assert plain.class_id.tolist() == [1, 0]
    assert plain.data["class_name"].tolist() == ["dog", "cat"]
    masked = predicted("instance_segmentation", instances()).to_supervision()
    assert masked.mask.shape == (2, HEIGHT, WIDTH)
    assert masked.mask.sum(axis=(1, 2)).tolist() == [36, 26]
    assert masked.mask[0, 3:9, 2:8].all()
    posed = predicted("keypoints", poses()).to_supervision()
    assert isinstance(posed, library.KeyPoints)
    assert posed.xy.shape == (2, 2, 2)
    assert posed.visible.tolist() == [[True, False], [True, True]]
    turned = predicted("oriented_detection", detections(np.array([SHIP]))).to_supervision()
    np.testing.assert_allclose(turned.data["xyxyxyxy"], corners_of(np.array([SHIP])), rtol=1e-6)
    assert turned.xyxy.shape == (1, 4)
    assert isinstance(turned, library.Detections)


def test_nothing_found_converts_as_well(library: Any) -> None:
    empty = detections(BOXES[:0])
    made = predicted("instance_segmentation", Instances(empty, (), 0.5, HEIGHT, WIDTH))
    assert made.to_coco(1) == []
    assert made.to_supervision().mask.shape == (0, HEIGHT, WIDTH)
    assert predicted("oriented_detection", detections(np.zeros((0, 5)))).to_coco(1) == []
