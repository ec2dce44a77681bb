"""Panoptic segments: who owns a pixel, COCO's form, and segments and pixels that are ties or defects."""

import base64
import io
from typing import Any

import numpy as np
import pytest
from contracts import Whole
from PIL import Image

from onnxproof.contract import ClassInfo
from onnxproof.document import Entry
from onnxproof.runtime.preprocess import Transform
from onnxproof.runtime.tasks.panoptic import NOBODY, Queries, QueryMasks, shade

TASK = Whole("panoptic")
READING = QueryMasks(("classes", "masks"), ("height", "width"))
CLASSES = (ClassInfo("cat", (255, 0, 0)), ClassInfo("sky", (0, 0, 255)))
SIZES = {"height": 4, "width": 8}
BOUNDS = {"probability": 1e-6, "mask": 4e-6}
"""A product moves by 2e-6 at most."""

LEFT, RIGHT = (np.where(np.arange(8) < 4, sign, -sign) * np.full((4, 1), 5.0) for sign in (1.0, -1.0))
"""Mask logits [4, 8] of the left and of the right half."""


def queries(*rows: tuple[tuple[float, float, float], Any]) -> Queries:
    """Queries of these probabilities (a cat, sky, no object) and mask logits."""
    outputs = {
        "classes": np.log([[probabilities for probabilities, _ in rows]]),
        "masks": np.array([[mask for _, mask in rows]]),
    }
    (evidence,) = TASK.evidence(outputs, SIZES, READING, {})
    found: Queries = evidence
    return found


HALVES = ((0.9, 0.05, 0.05), LEFT), ((0.1, 0.8, 0.1), RIGHT)


def test_each_pixel_belongs_to_the_query_with_the_largest_product() -> None:
    found = TASK.decide(queries(*HALVES, ((0.1, 0.1, 0.8), LEFT + RIGHT)), READING)
    assert [(one.query, one.label, one.area) for one in found.segments] == [(0, 0, 16), (1, 1, 16)]
    assert (found.owners[:, :4] == 0).all()
    assert (found.owners[:, 4:] == 1).all()


def test_a_query_below_the_threshold_has_no_segment() -> None:
    found = TASK.decide(queries(HALVES[0], ((0.3, 0.45, 0.25), RIGHT)), READING)
    assert [one.query for one in found.segments] == [0]


def test_a_query_that_keeps_too_little_of_its_mask_is_dropped() -> None:
    everywhere = np.full((4, 8), 5.0)
    found = TASK.decide(queries(HALVES[0], ((0.1, 0.8, 0.1), everywhere)), READING)
    # The sky covers all and keeps the right half.
    assert [one.query for one in found.segments] == [0]
    assert (found.owners[:, 4:] == NOBODY).all()
    kept = TASK.decide(
        queries(HALVES[0], ((0.1, 0.8, 0.1), everywhere)), READING.with_settings(overlap_threshold=0.4)
    )
    assert [one.query for one in kept.segments] == [0, 1]


def test_segments_are_decided_in_the_pictures_pixels_and_what_was_not_seen_belongs_to_none() -> None:
    found = TASK.decide(queries(*HALVES), READING)
    restored = TASK.restore(found, Transform(0.5, 0.5, 0, -1, 16, 12))
    assert restored.owners.shape == (12, 16)
    assert (restored.owners[:2] == NOBODY).all()
    assert (restored.owners[2:10, :8] == 0).all()
    assert (restored.owners[2:10, 8:] == 1).all()
    assert [one.area for one in restored.segments] == [64, 64]


def test_the_answer_is_cocos() -> None:
    found = TASK.decide(queries(*HALVES), READING)
    told = TASK.to_json(found, CLASSES, 8, 4)
    assert [(one["id"], one["category"], one["area"], one["bbox"]) for one in told["segments_info"]] == [
        (1, "cat", 16, [0, 0, 4, 4]),
        (2, "sky", 16, [4, 0, 4, 4]),
    ]
    pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(told["png"])))).astype(int)
    np.testing.assert_array_equal(pixels @ [1, 256, 65536], found.owners + 1)
    assert TASK.lines(found, CLASSES)[0] == "2 segments"
    assert TASK.draw(Image.new("RGB", (8, 4)), found, CLASSES).size == (8, 4)


def test_segments_of_one_class_have_shades_of_its_colour() -> None:
    shades = [shade((200, 100, 0), number) for number in range(5)]
    assert shades[0] == (200, 100, 0)
    assert len(set(shades)) == 5
    assert shade((200, 100, 0), 5) == shades[0]


def test_a_picture_without_segments_is_told_and_drawn() -> None:
    found = TASK.decide(queries(((0.1, 0.1, 0.8), LEFT)), READING)
    assert TASK.to_json(found, CLASSES, 8, 4)["segments_info"] == []
    assert TASK.lines(found, CLASSES) == ("0 segments",)
    assert TASK.draw(Image.new("RGB", (8, 4)), found, CLASSES).size == (8, 4)


def compared(reference: Queries, candidate: Queries) -> tuple[int, int, int]:
    found = TASK.compare(*TASK.thin(reference, candidate, READING), READING, BOUNDS)
    return found.matched, len(found.ties), len(found.defects)


def test_equal_segments_match() -> None:
    assert compared(queries(*HALVES), queries(*HALVES)) == (2, 0, 0)


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        pytest.param(0.5 + 5e-7, 0.5 - 4e-7, (1, 1, 0), id="at-the-threshold"),
        pytest.param(0.5 + 2e-6, 0.5 - 1e-6, (1, 0, 1), id="too-far-from-it"),
        pytest.param(0.5 + 5e-7, 0.4, (1, 0, 1), id="moved-too-far"),
    ],
)
def test_a_segment_that_one_leg_lacks(before: float, after: float, expected: tuple[int, int, int]) -> None:
    legs = [queries(HALVES[0], ((0.1, share, 0.9 - share), RIGHT)) for share in (before, after)]
    assert compared(*legs) == expected


@pytest.mark.parametrize(
    ("lead", "expected"),
    [
        pytest.param(3e-6, (2, 1, 0), id="within-twice-the-bound"),
        pytest.param(9e-6, (2, 0, 1), id="too-far"),
    ],
)
def test_a_pixel_of_another_segment(lead: float, expected: tuple[int, int, int]) -> None:
    """At one pixel the products are ``lead`` apart, and change places."""

    def leg(first: float, second: float) -> Queries:
        left, right = LEFT.copy(), RIGHT.copy()
        left[0, 3], right[0, 3] = first, second
        return queries(((0.8, 0.1, 0.1), left), ((0.1, 0.8, 0.1), right))

    # A logit at 0 moves the product by 0.8 / 4 of its own move.
    apart = lead / 0.2
    assert compared(leg(apart, 0.0), leg(apart / 2 - apart / 100, apart / 2)) == expected


def test_a_mask_that_is_not_a_number_is_a_defect() -> None:
    broken = RIGHT.copy()
    broken[0, 7] = np.nan
    _, ties, defects = compared(queries(*HALVES), queries(HALVES[0], (HALVES[1][0], broken)))
    assert (ties, defects > 0) == (0, True)


def test_margins_are_how_far_a_number_has_to_move() -> None:
    evidence = queries(*HALVES)
    margins = TASK.margins(evidence, TASK.decide(evidence, READING), READING)
    assert margins["probability"].min() == pytest.approx(0.3)
    assert margins["mask"].shape == (4, 8)


def test_a_reading_survives_the_manifest() -> None:
    for reading in (READING, QueryMasks(("classes", "masks"), (64, "width"), (384, 384), 0.4, 0.5, 0.7)):
        assert TASK.reading(Entry(reading.to_json())) == reading
