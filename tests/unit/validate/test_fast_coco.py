"""The fast library's mAP is that of pycocotools, the reference, to the rounding of a float64."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from onnxproof.runtime.readings.boxes import Detections
from onnxproof.runtime.readings.masks import Instances, Patch
from onnxproof.validate.dataset import metrics
from onnxproof.validate.dataset.labels import Annotation, LabelledPicture, Labels
from onnxproof.validate.dataset.metrics import BoxPrecision, InstancePrecision
from onnxproof.validate.dataset.pycoco import FAST, require_coco

SIDE, CLASSES = 120, 4
PICTURES = 60


def rectangle(x: float, y: float, w: float, h: float) -> list[list[float]]:
    return [[x, y, x + w, y, x + w, y + h, x, y + h]]


def labelled(random: np.random.Generator, number: int) -> LabelledPicture:
    """Up to six objects, a crowd now and then, of all of COCO's sizes."""
    objects = []
    for _ in range(int(random.integers(0, 7))):
        w, h = random.uniform(3, 100, 2)
        x, y = random.uniform(0, SIDE - w), random.uniform(0, SIDE - h)
        crowd = bool(random.random() < 0.1)
        label = int(random.integers(CLASSES))
        objects.append(Annotation(label, (x, y, w, h), rectangle(x, y, w, h), None, crowd))
    return LabelledPicture(Path(f"{number}.png"), SIDE, SIDE, tuple(objects))


def found_on(random: np.random.Generator, picture: LabelledPicture) -> Instances | None:
    """The objects moved a little, some of another class, some twice, with scores of which many are equal."""
    if random.random() < 0.05:
        return None
    rows: list[tuple[Any, float, int]] = []
    for annotation in picture.annotations:
        assert annotation.bbox is not None
        for _ in range(int(random.integers(0, 4))):
            x, y, w, h = np.array(annotation.bbox) + random.normal(0, 4, 4)
            corners = np.clip([x, y, x + abs(w) + 1, y + abs(h) + 1], 0, SIDE)
            label = annotation.label if random.random() < 0.9 else int(random.integers(CLASSES))
            rows.append((corners, round(float(random.random()), 1), label))
    boxes = np.array([corners for corners, _, _ in rows], np.float32).reshape(-1, 4)
    detections = Detections(
        boxes,
        np.array([score for _, score, _ in rows], np.float32),
        np.array([label for _, _, label in rows], np.int64),
        np.arange(len(rows)),
    )
    patches = []
    for left, top, right, bottom in boxes.astype(int).tolist():
        pixels = random.random((max(bottom - top, 1), max(right - left, 1))) < 0.9
        patches.append(Patch(left, top, pixels[: SIDE - top, : SIDE - left]))
    return Instances(detections, tuple(patches), 0.5, SIDE, SIDE)


@pytest.mark.parametrize("kind", ["boxes", "masks"])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_it_equals_the_reference(kind: str, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(seed)
    measure = (BoxPrecision if kind == "boxes" else InstancePrecision)(
        Labels((), tuple(map(str, range(CLASSES))))
    )
    for number in range(PICTURES):
        picture = labelled(random, number)
        found = found_on(random, picture)
        measure.add(picture, found.detections if found is not None and kind == "boxes" else found)
    fast = measure.figures(range(PICTURES))
    used: list[str] = []

    def reference(kind: str) -> tuple[Any, Any]:
        used.append(kind)
        modules = require_coco()
        return modules["coco"].COCO, modules["cocoeval"].COCOeval

    monkeypatch.setattr(metrics, "evaluator_of", reference)
    slow = measure.figures(range(PICTURES))
    assert set(used) == set(measure.kinds) <= set(FAST)
    assert 0.05 < min(slow.values()) < 0.95
    assert fast == pytest.approx(slow, rel=0, abs=1e-14)
