"""PQ by hand: what is matched, surplus and missed."""

from pathlib import Path

import numpy as np
import pytest

from onnxproof.runtime.tasks.panoptic import NOBODY, Panorama, Segment
from onnxproof.validate.dataset.labels import Annotation, LabelledPicture, Labels
from onnxproof.validate.dataset.panoptic_quality import PanopticQuality

HEIGHT, WIDTH = 10, 20


def label(number: int, left: int, right: int) -> Annotation:
    """A labelled object over whole columns."""
    corners = [left, 0, right, 0, right, HEIGHT, left, HEIGHT]
    return Annotation(number, None, [corners], None, crowd=False)


def found(*columns: tuple[int, int, int]) -> Panorama:
    """Segments of a class over whole columns."""
    owners = np.full((HEIGHT, WIDTH), NOBODY)
    segments = []
    for query, (number, left, right) in enumerate(columns):
        owners[:, left:right] = query
        segments.append(Segment(query, number, 0.9, (right - left) * HEIGHT))
    return Panorama(owners, tuple(segments))


def quality(*pictures: tuple[tuple[Annotation, ...], Panorama | None]) -> dict[str, float]:
    labelled = tuple(LabelledPicture(Path("p.png"), WIDTH, HEIGHT, labels) for labels, _ in pictures)
    measure = PanopticQuality(Labels(labelled, ("cat", "sky")))
    for picture, (_, decisions) in zip(labelled, pictures, strict=True):
        measure.add(picture, decisions)
    return measure.figures(range(len(pictures)))


def test_the_same_segments_have_quality_one() -> None:
    got = quality(((label(0, 0, 8), label(1, 8, 20)), found((0, 0, 8), (1, 8, 20))))
    assert set(got.values()) == {1.0}


def test_an_overlap_counts_by_its_iou_and_a_surplus_and_a_miss_by_half() -> None:
    # The cat is matched with IoU 6/8. The sky is labelled and not found; another cat is found and not there.
    got = quality(((label(0, 0, 8), label(1, 8, 14)), found((0, 0, 6), (0, 15, 20))))
    assert got["PQ"] == pytest.approx((0.75 / 1.5 + 0) / 2)
    assert got["recognition quality"] == pytest.approx((1 / 1.5 + 0) / 2)
    assert got["segmentation quality"] == pytest.approx((0.75 + 0) / 2)


def test_half_an_overlap_or_another_class_is_no_match() -> None:
    assert quality(((label(0, 0, 8),), found((0, 0, 4))))["PQ"] == 0
    assert quality(((label(0, 0, 8),), found((1, 0, 8))))["PQ"] == 0


def test_classes_are_gathered_over_pictures_and_a_leg_that_failed_misses_all() -> None:
    labels = (label(0, 0, 8),)
    assert quality((labels, found((0, 0, 8))), (labels, None))["PQ"] == pytest.approx(1 / 1.5)


def test_without_labels_and_segments_there_is_no_quality() -> None:
    assert np.isnan(quality(((), found()))["PQ"])
