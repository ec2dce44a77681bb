"""Masks that are summed from prototypes: the sum, its resize and cut, and how two legs' masks compare."""

from typing import Any

import numpy as np
import pytest
from contracts import Whole, reading_of
from numpy.typing import NDArray

from onnxproof.runtime.preprocess import Transform
from onnxproof.runtime.readings.prototypes import mask_logits
from onnxproof.validate.compare import Comparison

Array = NDArray[Any]
TASK = Whole("instance_segmentation")
DOCUMENT = {
    "decode": "split",
    "outputs": ["boxes", "scores", "coefficients", "prototypes"],
    "score_threshold": 0.5,
    "iou_threshold": 0.5,
    "class_agnostic": False,
    "stride": 4,
    "mask_threshold": 0.5,
}
READING: Any = reading_of("instance_segmentation", **DOCUMENT)
BOUNDS = {"box": 0.01, "score": 0.001, "coefficient": 1e-4, "prototype": 1e-4}


def outputs(seed: int = 0, **changes: Any) -> dict[str, Array]:
    """One object in a picture of 32 by 48 px, with three prototypes."""
    random = np.random.default_rng(seed)
    made = {
        "boxes": np.array([[[5.5, 4, 40.25, 27]]], np.float32),
        "scores": np.array([[[0.9, 0.1]]], np.float32),
        "coefficients": np.array([[[1.0, -0.5, 2.0]]], np.float32),
        "prototypes": random.normal(0, 1, (1, 3, 8, 12)).astype(np.float32),
    }
    return made | changes


def by_hand(values: dict[str, Array]) -> Array:
    """The logits over the whole input, pixel by pixel; zero outside the box."""
    sums = np.tensordot(values["coefficients"][0, 0], values["prototypes"][0], axes=1).astype(np.float64)
    canvas = np.zeros((32, 48))
    x0, y0, x1, y1 = values["boxes"][0, 0].tolist()
    for y in range(32):
        for x in range(48):
            if x0 <= x < x1 and y0 <= y < y1:
                v, u = max((y + 0.5) / 4 - 0.5, 0), max((x + 0.5) / 4 - 0.5, 0)
                top, left = int(v), int(u)
                low, right = min(top + 1, 7), min(left + 1, 11)
                above = sums[top, left] * (1 - (u - left)) + sums[top, right] * (u - left)
                below = sums[low, left] * (1 - (u - left)) + sums[low, right] * (u - left)
                canvas[y, x] = above * (1 - (v - top)) + below * (v - top)
    return canvas


@pytest.mark.parametrize(
    "box",
    [
        pytest.param([5.5, 4, 40.25, 27], id="inside"),
        pytest.param([-9, -9, 60, 60], id="around-the-picture"),
        pytest.param([30, 20, 31, 21], id="one-pixel"),
        pytest.param([20, 20, 10, 10], id="inside-out"),
    ],
)
def test_a_mask_is_the_sum_of_its_prototypes_cut_to_its_box(box: list[float]) -> None:
    values = outputs(boxes=np.array([[box]], np.float32))
    patch = mask_logits(values["boxes"][0, 0], values["coefficients"][0, 0], values["prototypes"][0], 4)
    canvas = np.zeros((32, 48))
    height, width = patch.pixels.shape
    canvas[patch.top : patch.top + height, patch.left : patch.left + width] = patch.pixels
    np.testing.assert_allclose(canvas, by_hand(values), atol=1e-5)


def decided(values: dict[str, Array]) -> Any:
    return TASK.decide(TASK.evidence(values, {}, READING, {})[0], READING)


def test_instances_have_the_pixels_whose_sum_is_positive() -> None:
    found = decided(outputs())
    assert (found.height, found.width) == (32, 48)
    region = found.regions()[0]
    assert int(region.pixels.sum()) == int((by_hand(outputs()) > 0).sum())
    restored = TASK.restore(found, Transform(0.5, 0.5, 0, 0, 96, 64))
    assert int(restored.regions()[0].pixels.sum()) == pytest.approx(4 * region.pixels.sum(), rel=0.1)


def test_an_object_whose_mask_is_empty_is_none() -> None:
    assert (
        len(decided(outputs(prototypes=-np.ones((1, 3, 8, 12), np.float32) * [[[[1]], [[0]], [[1]]]]))) == 0
    )


def test_a_reading_is_written_as_it_was_read() -> None:
    assert READING.to_json() == DOCUMENT


def compared(there: dict[str, Array], here: dict[str, Array] | None = None) -> Comparison:
    legs = [TASK.evidence(values, {}, READING, {})[0] for values in (here or outputs(), there)]
    result: Comparison = TASK.compare(*TASK.thin(*legs, READING), READING, BOUNDS)
    return result


def test_masks_within_the_bounds_match_or_tie() -> None:
    near = outputs()
    near["prototypes"] = near["prototypes"] + np.float32(5e-5)
    found = compared(near)
    assert not found.defects
    assert found.matched + len(found.ties) == 1


def test_other_coefficients_are_a_defect() -> None:
    found = compared(outputs(coefficients=np.array([[[1.0, -0.5, 1.0]]], np.float32)))
    assert [defect.what.partition(":")[0] for defect in found.defects] == ["mask"]
    assert "flipped" in found.defects[0].what


PADDED: Any = reading_of(
    "instance_segmentation",
    decode="nms-padded",
    outputs=["boxes", "labels", "scores", "coefficients", "prototypes", "counts"],
    score_threshold=0.5,
    first_label=0,
    graph={"score_threshold": 0.25, "iou_threshold": 0.5, "max_detections": 2},
    batch="batch",
    stride=4,
    mask_threshold=0.5,
)


def as_rows(values: dict[str, Array]) -> dict[str, Array]:
    """The object as a graph with NMS returns it: one row of two."""
    made = {
        "boxes": np.repeat(values["boxes"], 2, axis=1),
        "labels": np.array([[0, 1]]),
        "scores": np.array([[0.9, 0.0]], np.float32),
        "coefficients": np.repeat(values["coefficients"], 2, axis=1),
        "prototypes": values["prototypes"],
        "counts": np.array([1]),
    }
    return made


def test_rows_of_nms_in_the_graph_have_the_same_masks() -> None:
    (evidence,) = TASK.evidence(as_rows(outputs()), {"batch": 1}, PADDED, {})
    ((ours,), (wanted,)) = (found.regions() for found in (TASK.decide(evidence, PADDED), decided(outputs())))
    np.testing.assert_array_equal(ours.pixels, wanted.pixels)
    legs = [
        TASK.evidence(as_rows(values), {"batch": 1}, PADDED, {})[0]
        for values in (outputs(), outputs(coefficients=np.array([[[1.0, -0.5, 1.0]]], np.float32)))
    ]
    assert TASK.compare(legs[0], legs[0], PADDED, BOUNDS) == Comparison(1, (), ())
    (defect,) = TASK.compare(*TASK.thin(*legs, PADDED), PADDED, BOUNDS).defects
    assert defect.what.startswith("mask: class 0")
    assert TASK.differ(*(TASK.decide(leg, PADDED) for leg in legs))


def test_a_box_that_moved_across_a_pixels_edge_is_a_tie() -> None:
    legs = [outputs(boxes=np.array([[[x, 4, 40, 27]]], np.float32)) for x in (8.002, 7.998)]
    for leg in legs:
        leg["prototypes"] = np.ones_like(leg["prototypes"])
    found = compared(legs[1], legs[0])
    assert not found.defects
    assert "edge of the box" in found.ties[0].cause
