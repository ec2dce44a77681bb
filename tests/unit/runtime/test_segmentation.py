"""Segmentation: per-pixel decisions, ties by margin, the way back to the picture, drawing and JSON."""

import base64
import io
from typing import Any

import numpy as np
import pytest
from contracts import Whole
from PIL import Image

from onnxproof.contract import ClassInfo
from onnxproof.runtime.preprocess import Transform
from onnxproof.runtime.tasks.segmentation import NOWHERE, ClassMaps, PixelLogits, Segments

CLASSES = (ClassInfo("sky", (0, 0, 255)), ClassInfo("sea", (0, 255, 0)), ClassInfo("sand", (255, 0, 0)))
TASK = Whole("segmentation")
LOGITS = PixelLogits(("logits",))
BOUNDS = {"confidence": 1e-6}


def segments(labels: Any, gaps: Any = 1.0) -> Segments:
    array = np.asarray(labels)
    return Segments(array, np.full(array.shape, 0.9), np.broadcast_to(np.asarray(gaps, float), array.shape))


def test_logits_and_masks_give_the_same_decisions() -> None:
    logits = np.random.default_rng(0).normal(size=(2, 3, 4, 5))
    (first, _) = TASK.evidence({"logits": logits}, {}, LOGITS, {})
    probabilities = np.exp(logits[0]) / np.exp(logits[0]).sum(axis=0)
    np.testing.assert_array_equal(first.labels, probabilities.argmax(axis=0))
    np.testing.assert_allclose(first.confidence, probabilities.max(axis=0))
    ranked = np.sort(probabilities, axis=0)
    assert first.gaps is not None
    np.testing.assert_allclose(first.gaps, ranked[-1] - ranked[-2])
    mask = {"mask": first.labels[None], "confidence": first.confidence[None]}
    (again,) = TASK.evidence(mask, {}, ClassMaps(("mask", "confidence")), {})
    assert not TASK.differ(first, again)


def test_huge_logits_do_not_overflow() -> None:
    (only,) = TASK.evidence({"logits": np.full((1, 2, 1, 1), 1e4)}, {}, LOGITS, {})
    assert only.confidence.item() == 0.5


@pytest.mark.parametrize(
    ("gap", "ties", "defects"),
    [
        pytest.param(1.9e-6, 1, 0, id="lead-within-twice-the-bound"),
        pytest.param(2.1e-6, 0, 1, id="lead-just-outside"),
        pytest.param(np.nan, 0, 1, id="lead-not-a-number"),
    ],
)
@pytest.mark.parametrize("thinned", [False, True], ids=["whole", "thinned"])
def test_a_flipped_pixel_is_a_tie_only_within_the_bound(
    gap: float, ties: int, defects: int, *, thinned: bool
) -> None:
    reference = segments([[0, 1], [2, 0]], [[1, gap], [1, 1]])
    candidate = segments([[0, 2], [2, 0]])
    if thinned:
        reference, candidate = TASK.thin(reference, candidate, LOGITS)
        assert reference.labels.size == 1
    comparison = TASK.compare(reference, candidate, LOGITS, BOUNDS)
    assert (comparison.matched, len(comparison.ties), len(comparison.defects)) == (3, ties, defects)


def test_a_flip_without_a_known_margin_is_a_defect() -> None:
    reference = Segments(np.array([[0]]), np.array([[0.5]]), None)
    comparison = TASK.compare(reference, segments([[1]]), LOGITS, BOUNDS)
    assert len(comparison.defects) == 1


def test_pixels_go_back_to_the_picture_and_cropped_ones_are_nowhere() -> None:
    # A picture of 6 x 4, enlarged twice and cropped by 2 on the left: the model saw 8 x 8 of 12 x 8.
    transform = Transform(2.0, 2.0, -2.0, 0.0, 6, 4)
    labels = np.repeat(np.repeat(np.arange(16).reshape(4, 4) % 3, 2, axis=0), 2, axis=1)
    restored = TASK.restore(segments(labels), transform)
    assert restored.labels.shape == (4, 6)
    assert (restored.labels[:, 0] == NOWHERE).all()
    assert (restored.labels[:, 5] == NOWHERE).all()
    np.testing.assert_array_equal(restored.labels[:, 1:5], np.arange(16).reshape(4, 4) % 3)


def test_json_holds_the_mask_and_the_shares() -> None:
    document = TASK.to_json(segments([[0, 0, 1, NOWHERE]]), CLASSES, 4, 1)
    assert document["shares"] == {"sky": 0.5, "sea": 0.25}
    mask = np.asarray(Image.open(io.BytesIO(base64.b64decode(document["mask"]))))
    np.testing.assert_array_equal(mask, [[0, 0, 1, NOWHERE]])


def test_drawing_lays_the_colours_over_the_picture() -> None:
    picture = Image.new("RGB", (3, 1), (100, 100, 100))
    drawn = np.asarray(TASK.draw(picture, segments([[0, 2, NOWHERE]]), CLASSES))
    assert drawn.tolist() == [[[50, 50, 178], [178, 50, 50], [100, 100, 100]]]


def test_the_background_stays_clear_and_a_legend_names_the_rest() -> None:
    classes = (ClassInfo("background", (255, 255, 0)), ClassInfo("sea", (0, 255, 0)))
    labels = np.zeros((90, 160), np.int64)
    labels[:, 120:] = 1
    drawn = np.asarray(TASK.draw(Image.new("RGB", (160, 90), (100, 100, 100)), segments(labels), classes))
    assert (drawn[60:, :100] == 100).all()
    assert (drawn[:, 120:] == (50, 178, 50)).all()
    assert (drawn[1, 1] == (0, 255, 0)).all()  # the legend's patch
    assert not (drawn[:60, :100] == (255, 255, 0)).all(axis=-1).any()


def test_lines_say_each_class_largest_first() -> None:
    assert TASK.lines(segments([[1, 1, 0, 1]]), CLASSES) == (
        "2 classes",
        f"{'sea':<16} 75.0%",
        f"{'sky':<16} 25.0%",
    )
