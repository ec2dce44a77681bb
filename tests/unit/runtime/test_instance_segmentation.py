"""Instance segmentation: rows and masks to decisions, comparisons, pictures and JSON."""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from contracts import Whole, reading_of
from numpy.typing import NDArray
from PIL import Image

from onnxproof.contract import ClassInfo
from onnxproof.runtime.preprocess import Transform
from onnxproof.runtime.readings.masks import Instances
from onnxproof.runtime.tasks import get_task, task_names
from onnxproof.runtime.tasks.instance_segmentation import Evidence
from onnxproof.validate.compare import Comparison

Array = NDArray[Any]

CLASSES = (ClassInfo("cat", (255, 0, 0)), ClassInfo("dog", (0, 0, 255)))
SIZE = 64
BOUNDS = {"box": 1e-4, "score": 1e-6, "mask": 1e-6}
TASK = Whole("instance_segmentation")
POST: Any = reading_of(
    "instance_segmentation",
    decode="nms",
    outputs=["boxes", "labels", "scores", "masks"],
    first_label=1,
    score_threshold=0.5,
    mask_threshold=0.5,
    graph={"score_threshold": 0.05, "iou_threshold": 0.5, "max_detections": 100},
)
IDENTITY = Transform(1, 1, 0, 0, SIZE, SIZE)

BOXES = [[8.25, 10.25, 30.25, 40.25], [35.25, 20.25, 55.25, 45.25], [2.25, 50.25, 20.25, 60.25]]
SCORES = [0.9, 0.8, 0.2]


def outputs(count: int = 3) -> dict[str, Array]:
    """The first ``count`` of two instances above the threshold and one below, each mask filling its box."""
    masks = np.zeros((count, 1, SIZE, SIZE), np.float32)
    for mask, (x0, y0, x1, y1) in zip(masks, BOXES[:count], strict=True):
        mask[0, int(y0) : int(y1), int(x0) : int(x1)] = 0.75
    return {
        "boxes": np.array(BOXES[:count], np.float32).reshape(-1, 4),
        "labels": np.array([1, 2, 2][:count], np.int64),
        "scores": np.array(SCORES[:count], np.float32),
        "masks": masks,
    }


def evidence(values: Mapping[str, Array], *, chosen_from: bool = False) -> Evidence:
    margins = {}
    if chosen_from:
        margins = {f"candidate_{name}": values[name] for name in ("boxes", "scores", "labels")}
    (only,) = TASK.evidence(values, {}, POST, margins)
    assert isinstance(only, Evidence)
    return only


def decided(count: int = 3) -> Instances:
    found: Instances = TASK.decide(evidence(outputs(count)), POST)
    return found


def compared(wanted: Mapping[str, Array], found: Mapping[str, Array], *, thinned: bool = False) -> Comparison:
    pair = evidence(wanted, chosen_from=True), evidence(found)
    if thinned:
        pair = TASK.thin(*pair, POST)
    comparison: Comparison = TASK.compare(*pair, POST, BOUNDS)
    return comparison


def test_the_task_is_found_by_its_name() -> None:
    assert "instance_segmentation" in task_names()
    found: object = get_task("instance_segmentation")
    assert found is TASK.task
    assert TASK.summary


def test_decisions_are_the_rows_above_the_threshold() -> None:
    decisions = decided()
    assert TASK.count(decisions) == len(decisions) == 2
    assert decisions.detections.labels.tolist() == [0, 1], "the first label is class 0"
    first, second = decisions.regions()
    assert (first.left, first.top, first.pixels.shape) == (8, 10, (30, 22))
    assert (second.left, second.top, second.pixels.shape) == (35, 20, (25, 20))
    assert first.pixels.all()


def test_the_thresholds_themselves_are_not_enough() -> None:
    values = outputs()
    values["scores"][0] = 0.5
    values["masks"][1, 0, 20:22] *= np.float32(0.5 / 0.75)
    decisions = TASK.decide(evidence(values), POST)
    (only,) = decisions.regions()
    assert not only.pixels[:2].any()
    assert only.pixels[2:].all()


@pytest.mark.parametrize("thinned", [False, True], ids=["whole", "thinned"])
def test_equal_legs_match(*, thinned: bool) -> None:
    assert compared(outputs(), outputs(), thinned=thinned) == Comparison(2, (), ())


@pytest.mark.parametrize("thinned", [False, True], ids=["whole", "thinned"])
@pytest.mark.parametrize(
    ("wanted_value", "found_value", "ties", "defects"),
    [
        pytest.param(0.5000004, 0.4999999, 1, 0, id="within-the-bound"),
        pytest.param(0.51, 0.49, 0, 1, id="outside"),
        pytest.param(0.5000004, np.nan, 0, 1, id="not-a-number"),
        pytest.param(0.9, 0.6, 0, 0, id="no-pixel-flips"),
    ],
)
def test_masks_of_matched_pairs_are_judged(
    wanted_value: float, found_value: float, ties: int, defects: int, *, thinned: bool
) -> None:
    wanted, found = outputs(), outputs()
    wanted["masks"][1, 0, 20, 35:40] = wanted_value
    found["masks"][1, 0, 20, 35:40] = found_value
    comparison = compared(wanted, found, thinned=thinned)
    assert (len(comparison.ties), len(comparison.defects)) == (ties, defects)
    assert comparison.matched == 2 - ties - defects
    for finding in (*comparison.ties, *comparison.defects):
        assert finding.what == (
            "mask: class 1, score 0.800000012, box [35.2, 20.2, 55.2, 45.2]: "
            "5 pixels flipped, mask IoU 0.9900"
        )


def test_a_mask_of_another_is_a_defect_though_the_boxes_match() -> None:
    found = outputs()
    found["masks"] = found["masks"][[1, 0, 2]]
    comparison = compared(outputs(), found)
    assert comparison.matched == 0
    assert [finding.what.rpartition(" ")[2] for finding in comparison.defects] == ["0.0000", "0.0000"]


def test_a_missing_row_is_a_defect_and_takes_no_mask_with_it() -> None:
    comparison = compared(outputs(), outputs(1))
    assert comparison.matched == 1
    (defect,) = comparison.defects
    assert defect.what.startswith("missing: class 1")


def test_rows_in_another_order_are_the_same_set() -> None:
    found = {name: values[[1, 0, 2]] for name, values in outputs().items()}
    assert TASK.differ(decided(), TASK.decide(evidence(found), POST))
    assert compared(outputs(), found) == Comparison(2, (), ())


def test_decisions_differ_where_a_pixel_flips() -> None:
    values = outputs()
    assert not TASK.differ(decided(), TASK.decide(evidence(values), POST))
    values["masks"][0, 0, 10, 8] = 0.6
    assert not TASK.differ(decided(), TASK.decide(evidence(values), POST))
    values["masks"][0, 0, 10, 8] = 0.4
    assert TASK.differ(decided(), TASK.decide(evidence(values), POST))
    assert TASK.differ(decided(), decided(1))


def test_thinned_evidence_holds_no_view_of_the_outputs() -> None:
    values = outputs()
    whole = evidence(values, chosen_from=True)
    assert np.shares_memory(whole.masks[0].pixels, values["masks"])
    thinned, _ = TASK.thin(whole, evidence(values), POST)
    assert not any(np.shares_memory(mask.pixels, values["masks"]) for mask in thinned.masks)
    assert [mask.pixels.size for mask in thinned.masks] == [30 * 22, 25 * 20, 0]


def test_instances_go_back_to_the_picture() -> None:
    # The picture is half as large, and the input shows it 8 px to the right.
    transform = Transform(2, 2, 8, 0, 28, 32)
    restored = TASK.restore(decided(), transform)
    np.testing.assert_allclose(restored.detections.boxes[0], [0.125, 5.125, 11.125, 20.125])
    first = restored.regions()[0]
    assert (first.left, first.top, first.pixels.shape) == (0, 5, (15, 11))
    assert first.pixels.dtype == bool
    assert (restored.height, restored.width) == (32, 28)


def test_many_instances_in_a_large_picture_stay_small() -> None:
    transform = Transform(SIZE / 4000, SIZE / 3000, 0, 0, 4000, 3000)
    restored = TASK.restore(decided(), transform)
    held = sum(mask.pixels.nbytes for mask in restored.masks)
    areas = sum((x1 - x0) * (y1 - y0) for x0, y0, x1, y1 in restored.detections.boxes.tolist())
    assert held < 1.2 * areas, "a byte a pixel, and only around the instances"


def test_json_is_what_azure_answers() -> None:
    document = TASK.to_json(TASK.restore(decided(), IDENTITY), CLASSES, SIZE, SIZE)
    assert json.loads(json.dumps(document)) == document
    first, second = document["boxes"]
    assert set(first) == {"box", "box_xyxy", "label", "score", "polygon"}
    assert (first["label"], second["label"]) == ("cat", "dog")
    assert first["box_xyxy"] == BOXES[0]
    assert first["box"] == {
        "topX": 8.25 / SIZE,
        "topY": 10.25 / SIZE,
        "bottomX": 30.25 / SIZE,
        "bottomY": 40.25 / SIZE,
    }
    assert first["score"] == pytest.approx(0.9)
    corners = [8, 10, 30, 10, 30, 40, 8, 40]
    assert first["polygon"] == [[value / SIZE for value in corners]]


def test_json_lists_each_part_of_a_mask() -> None:
    values = outputs(1)
    values["masks"][0, 0, 24:26] = 0
    document = TASK.to_json(TASK.decide(evidence(values), POST), CLASSES, SIZE, SIZE)
    (only,) = document["boxes"]
    assert only["polygon"] == [
        [value / SIZE for value in (8, top, 30, top, 30, bottom, 8, bottom)]
        for top, bottom in ((10, 24), (26, 40))
    ]


def test_an_instance_without_a_pixel_has_no_polygon() -> None:
    values = outputs(1)
    values["masks"] *= 0.5
    decisions = TASK.restore(TASK.decide(evidence(values), POST), IDENTITY)
    (only,) = TASK.to_json(decisions, CLASSES, SIZE, SIZE)["boxes"]
    assert only["polygon"] == []
    assert TASK.lines(decisions, CLASSES)[1].endswith("  0 px")
    assert TASK.draw(Image.new("RGB", (SIZE, SIZE)), decisions, CLASSES).size == (SIZE, SIZE)


def test_lines_say_the_area() -> None:
    assert TASK.lines(decided(), CLASSES) == (
        "2 instances",
        f"{'cat':<16} 0.900  [8.2, 10.2, 30.2, 40.2]  660 px",
        f"{'dog':<16} 0.800  [35.2, 20.2, 55.2, 45.2]  500 px",
    )


def test_drawing_lays_masks_under_boxes() -> None:
    picture = Image.new("RGB", (SIZE, SIZE), (100, 100, 100))
    drawn = np.asarray(TASK.draw(picture, TASK.restore(decided(), IDENTITY), CLASSES))
    assert drawn[35, 20].tolist() == [178, 50, 50]
    assert drawn[40, 45].tolist() == [50, 50, 178]
    assert drawn[62, 62].tolist() == [100, 100, 100]
    assert drawn[40, 8].tolist() == [255, 0, 0], "the box's corner, outside of the mask"


def test_nothing_flows_through_every_step() -> None:
    for count in (0, 3):
        values = outputs(count)
        values["scores"][:] = 0.1
        whole = evidence(values, chosen_from=True)
        assert set(TASK.quantities(whole)) == {"box", "score"}
        decisions = TASK.decide(whole, POST)
        assert TASK.count(decisions) == 0
        assert not TASK.differ(decisions, decisions)
        assert compared(values, values) == compared(values, values, thinned=True) == Comparison(0, (), ())
        restored = TASK.restore(decisions, Transform(0.5, 0.5, 3, 3, 90, 70))
        assert TASK.to_json(restored, CLASSES, 90, 70) == {"boxes": []}
        assert TASK.lines(restored, CLASSES) == ("0 instances",)
        picture = Image.new("RGB", (90, 70), (1, 2, 3))
        assert TASK.draw(picture, restored, CLASSES).getcolors() == [(6300, (1, 2, 3))]


def test_a_file_that_finds_nothing_misses_everything() -> None:
    comparison = compared(outputs(), outputs(0))
    assert (comparison.matched, len(comparison.ties), len(comparison.defects)) == (0, 0, 2)
