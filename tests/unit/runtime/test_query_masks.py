"""Instances by queries: what counts, their masks in the picture, and differences that are ties or defects."""

from typing import Any

import numpy as np
import pytest
from contracts import Whole, reading_of
from PIL import Image

from onnxproof.contract import ClassInfo
from onnxproof.runtime.preprocess import Transform
from onnxproof.runtime.readings.query_masks import MaskedQueries, QueryMaskReading

TASK = Whole("instance_segmentation")
READING = QueryMaskReading(("classes", "masks"), ("height", "width"))
CLASSES = (ClassInfo("cat", (255, 0, 0)), ClassInfo("dog", (0, 0, 255)))
SIZES = {"height": 8, "width": 16}
BOUNDS = {"probability": 1e-6, "mask": 4e-6}

LEFT, RIGHT = (np.where(np.arange(8) < 4, sign, -sign) * np.full((4, 1), 5.0) for sign in (1.0, -1.0))
"""Mask logits [4, 8] of the left and of the right half."""

NOWHERE = np.full((4, 8), -5.0)

SURE = 1 / (1 + np.exp(-5.0))
"""The mean probability of the pixels of each half."""


def queries(*rows: tuple[tuple[float, float, float], Any]) -> MaskedQueries:
    """Queries of these probabilities (a cat, a dog, no object) and mask logits."""
    outputs = {
        "classes": np.log([[probabilities for probabilities, _ in rows]]),
        "masks": np.array([[mask for _, mask in rows]]),
    }
    (evidence,) = TASK.evidence(outputs, SIZES, READING, {})
    found: MaskedQueries = evidence
    return found


HALVES = ((0.9, 0.05, 0.05), LEFT), ((0.1, 0.8, 0.1), RIGHT)


def decided(evidence: MaskedQueries) -> list[tuple[int, int]]:
    """The queries and the classes of the instances."""
    found = TASK.decide(evidence, READING).detections
    return list(zip(found.indices.tolist(), found.labels.tolist(), strict=True))


def test_a_score_is_the_probability_times_the_masks_mean() -> None:
    found = TASK.decide(queries(*HALVES), READING)
    assert decided(queries(*HALVES)) == [(0, 0), (1, 1)]
    np.testing.assert_allclose(found.detections.scores, [0.9 * SURE, 0.8 * SURE], rtol=1e-6)
    np.testing.assert_array_equal(found.detections.boxes, [[0, 0, 8, 8], [8, 0, 16, 8]])


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        pytest.param((((0.5, 0.4, 0.1), LEFT),), [], id="the-masks-mean-takes-it-below-the-threshold"),
        pytest.param((((0.9, 0.05, 0.05), NOWHERE),), [], id="a-mask-without-a-pixel"),
        pytest.param((((0.1, 0.1, 0.8), LEFT),), [], id="no-object"),
        pytest.param(
            (*HALVES, ((0.7, 0.2, 0.1), LEFT)), [(0, 0), (1, 1), (2, 0)], id="instances-may-overlap"
        ),
    ],
)
def test_what_counts(rows: Any, expected: list[tuple[int, int]]) -> None:
    assert decided(queries(*rows)) == expected


def test_one_query_may_be_an_instance_of_two_classes() -> None:
    reading = READING.with_settings(score_threshold=0.3)
    found = TASK.decide(queries(((0.5, 0.4, 0.1), LEFT), ((0.1, 0.1, 0.8), RIGHT)), reading)
    assert found.detections.indices.tolist() == [0, 0]
    assert found.detections.labels.tolist() == [0, 1]


def test_masks_are_decided_in_the_size_between() -> None:
    reading = QueryMaskReading(("classes", "masks"), ("height", "width"), (8, 16))
    found = TASK.decide(queries(*HALVES), reading)
    assert [mask.pixels.shape for mask in found.masks] == [(8, 8), (8, 8)]


def test_instances_are_taken_to_the_pictures_pixels_and_what_was_not_seen_is_left_out() -> None:
    found = TASK.decide(queries(*HALVES), READING)
    restored = TASK.restore(found, Transform(0.5, 0.5, 0, -1, 32, 18))
    assert (restored.height, restored.width) == (18, 32)
    np.testing.assert_array_equal(restored.detections.boxes, [[0, 2, 16, 18], [16, 2, 32, 18]])
    assert all(mask.pixels.all() for mask in restored.masks)


def test_instances_are_told_and_drawn() -> None:
    found = TASK.restore(TASK.decide(queries(*HALVES), READING), Transform(1, 1, 0, 0, 16, 8))
    assert TASK.lines(found, CLASSES)[0] == "2 instances"
    assert TASK.draw(Image.new("RGB", (16, 8)), found, CLASSES).size == (16, 8)
    empty = TASK.restore(TASK.decide(queries(((0.1, 0.1, 0.8), LEFT)), READING), Transform(1, 1, 0, 0, 16, 8))
    assert TASK.lines(empty, CLASSES) == ("0 instances",)


def test_a_reading_comes_back_from_its_document() -> None:
    reading = QueryMaskReading(("classes", "masks"), (8, "width"), (384, 384), 0.3)
    assert reading_of("instance_segmentation", **reading.to_json()) == reading


def compared(before: MaskedQueries, after: MaskedQueries) -> tuple[int, int, int]:
    found = TASK.compare(*TASK.thin(before, after, READING), READING, BOUNDS)
    return found.matched, len(found.ties), len(found.defects)


def test_equal_instances_match() -> None:
    assert compared(queries(*HALVES), queries(*HALVES)) == (2, 0, 0)
    assert not TASK.differ(*(TASK.decide(queries(*HALVES), READING) for _ in range(2)))


AT = 0.5 / SURE
"""The probability whose score lies at the threshold."""


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        pytest.param(AT + 5e-7, AT - 4e-7, (1, 1, 0), id="at-the-threshold"),
        pytest.param(AT - 4e-7, AT + 5e-7, (1, 1, 0), id="extra-at-the-threshold"),
        pytest.param(AT + 4e-6, AT - 1e-6, (1, 0, 1), id="too-far-from-it"),
        pytest.param(AT + 5e-7, 0.4, (1, 0, 1), id="moved-too-far"),
    ],
)
def test_an_instance_that_one_leg_lacks(before: float, after: float, expected: tuple[int, int, int]) -> None:
    legs = [queries(HALVES[0], ((0.0001, p, 0.9999 - p), RIGHT)) for p in (before, after)]
    assert compared(*legs) == expected


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        pytest.param(2e-6, -1e-6, (1, 1, 0), id="at-the-edge"),
        pytest.param(6e-6, -1e-6, (1, 0, 1), id="too-far-from-it"),
        pytest.param(2e-6, -4e-6, (1, 0, 1), id="moved-too-far"),
        pytest.param(2e-6, np.nan, (1, 0, 1), id="nan"),
    ],
)
def test_a_pixel_that_flips(before: float, after: float, expected: tuple[int, int, int]) -> None:
    legs = []
    for value in (before, after):
        mask = LEFT.copy()
        mask[0, 4] = value
        legs.append(queries(((0.9, 0.05, 0.05), mask), HALVES[1]))
    assert compared(*legs) == expected


def test_the_closest_call_is_the_score_that_is_nearest_to_the_threshold() -> None:
    evidence = queries(*HALVES)
    margins = TASK.margins(evidence, TASK.decide(evidence, READING), READING)
    np.testing.assert_allclose(
        np.sort(margins["probability"]), [0.8 * SURE - 0.5, 0.9 * SURE - 0.5], rtol=1e-6
    )
