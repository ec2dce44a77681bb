"""Measure how good decisions are by labels: one measure for each task that pictures can be labelled for.

Detections and masks are measured by the libraries of pycoco.py, which are imported only when they are.
"""

import contextlib
import io
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from onnxproof.runtime.oriented import corners_of
from onnxproof.runtime.readings.boxes import Detections
from onnxproof.runtime.readings.masks import Instances
from onnxproof.runtime.readings.points import Poses
from onnxproof.runtime.tasks.classification import Ranking
from onnxproof.runtime.tasks.multilabel import Labels as Present
from onnxproof.runtime.tasks.segmentation import BACKGROUND, NOWHERE, Segments
from onnxproof.validate.dataset.coco import evaluation_of, labelled
from onnxproof.validate.dataset.labels import LabelledPicture, Labels
from onnxproof.validate.dataset.panoptic_quality import PanopticQuality
from onnxproof.validate.dataset.pycoco import evaluator_of, mask_of, require_coco

Array = NDArray[Any]
Found = tuple[LabelledPicture, list[dict[str, Any]]]
"""A picture and the objects that were found on it, as COCO's entries."""

OVERLAPS = {"keypoints": "OKS"}
"""What is held against 0.5 to 0.95 for a kind of result, if it is not the IoU."""

AP, AP_50 = 0, 1
"""Indices of COCO's statistics: the mean AP over IoUs from 0.5 to 0.95, and the AP at 0.5."""


class Measure(Protocol):
    """Gathers decisions picture by picture, in the pictures' order, and turns them into figures.

    What is gathered is in lists, with an entry for each picture.
    """

    def add(self, picture: LabelledPicture, decisions: Any) -> None:
        """Add the decisions on a picture, in its own pixels; None if the leg gave no answer."""

    def figures(self, chosen: Sequence[int]) -> dict[str, float]:
        """The figures by name over the pictures with these numbers, each a share in [0, 1]."""


def extend(measure: Measure, following: Measure) -> None:
    """Add what another measure of the same kind gathered on the pictures that follow."""
    for name, gathered in vars(measure).items():
        if isinstance(gathered, list):
            gathered += vars(following)[name]


class BoxPrecision:
    """mAP of boxes as COCO defines it.

    It is the mean of the average precision over the classes and over IoUs from 0.5 to 0.95. The 100 boxes
    with the highest scores count, of each class on each picture.
    """

    kinds: Mapping[str, str] = MappingProxyType({"bbox": "mAP"})

    def __init__(self, labels: Labels) -> None:
        require_coco()
        self.labels = labels
        self.found: list[Found] = []

    def add(self, picture: LabelledPicture, decisions: Any) -> None:
        self.found.append((picture, [] if decisions is None else self.results(decisions)))

    def results(self, decisions: Detections) -> list[dict[str, Any]]:
        """COCO's entries, without the ids of the picture and of the entries themselves."""
        rows = zip(
            decisions.boxes.tolist(), decisions.scores.tolist(), decisions.labels.tolist(), strict=True
        )
        return [
            {
                "category_id": label,
                "score": score,
                "bbox": [x0, y0, x1 - x0, y1 - y0],
                "area": (x1 - x0) * (y1 - y0),
                "iscrowd": 0,
            }
            for (x0, y0, x1, y1), score, label in rows
        ]

    def figures(self, chosen: Sequence[int]) -> dict[str, float]:
        figures: dict[str, float] = {}
        for kind, name in self.kinds.items():
            found = [self.found[number] for number in chosen]
            mean, at_half = _average_precision(found, self.labels.classes, kind)
            figures |= {name: mean, f"{name} at {OVERLAPS.get(kind, 'IoU')} 0.5": at_half}
        return figures


class InstancePrecision(BoxPrecision):
    """mAP of masks, and of boxes."""

    kinds = MappingProxyType({"segm": "mask mAP", "bbox": "box mAP"})

    def results(self, decisions: Any) -> list[dict[str, Any]]:
        assert isinstance(decisions, Instances)
        entries = super().results(decisions.detections)
        encode = require_coco()["mask"].encode
        for entry, region in zip(entries, decisions.regions(), strict=True):
            canvas = np.zeros((decisions.height, decisions.width), np.uint8, order="F")
            height, width = region.pixels.shape
            canvas[region.top : region.top + height, region.left : region.left + width] = region.pixels
            entry["segmentation"] = encode(canvas)
            entry["mask_area"] = int(region.pixels.sum())
        return entries


class PointPrecision(BoxPrecision):
    """mAP of keypoints by object keypoint similarity (OKS), and of boxes, as COCO defines both."""

    kinds = MappingProxyType({"keypoints": "OKS mAP", "bbox": "box mAP"})

    def results(self, decisions: Any) -> list[dict[str, Any]]:
        assert isinstance(decisions, Poses)
        entries = super().results(decisions.detections)
        for entry, points in zip(entries, decisions.points.tolist(), strict=True):
            entry["keypoints"] = [value for point in points for value in point]
        return entries


class OrientedPrecision(BoxPrecision):
    """mAP of oriented boxes: COCO's, with the exact IoU of the boxes' polygons.

    A labelled box is the polygon of its four corners, under "segmentation".
    """

    kinds = MappingProxyType({"oriented": "mAP"})

    def results(self, decisions: Detections) -> list[dict[str, Any]]:
        corners = corners_of(decisions.boxes)
        rows = zip(
            decisions.boxes, corners, decisions.scores.tolist(), decisions.labels.tolist(), strict=True
        )
        return [
            {
                "category_id": label,
                "score": score,
                "oriented": box.tolist(),
                "bbox": [*four.min(axis=0).tolist(), *np.ptp(four, axis=0).tolist()],
                "area": float(box[2] * box[3]),
                "iscrowd": 0,
            }
            for box, four, score, label in rows
        ]


class Accuracy:
    """The share of pictures whose best class is among their labels. Pictures without a label do not count."""

    def __init__(self, labels: Labels) -> None:
        self.labels = labels
        self.right: list[bool | None] = []

    def add(self, picture: LabelledPicture, decisions: Ranking | None) -> None:
        best = -1 if decisions is None else int(decisions.labels[0])
        self.right.append(best in picture.labels if picture.labels else None)

    def figures(self, chosen: Sequence[int]) -> dict[str, float]:
        counted = [right for number in chosen if (right := self.right[number]) is not None]
        return {"accuracy, top 1": float(np.mean(counted)) if counted else float("nan")}


class LabelPrecision:
    """The average precision of the probabilities, as the mean over the classes that are labelled on any
    picture; and the share of pictures whose set of labels is right."""

    def __init__(self, labels: Labels) -> None:
        self.classes = len(labels.classes)
        self.scores: list[Array] = []
        self.truth: list[Array] = []
        self.exact: list[bool] = []

    def add(self, picture: LabelledPicture, decisions: Present | None) -> None:
        truth = np.zeros(self.classes, bool)
        truth[sorted(picture.labels)] = True
        self.truth.append(truth)
        lost = np.full(self.classes, -np.inf)
        self.scores.append(lost if decisions is None else decisions.probabilities)
        present = frozenset() if decisions is None else frozenset(decisions.labels.tolist())
        self.exact.append(decisions is not None and present == picture.labels)

    def figures(self, chosen: Sequence[int]) -> dict[str, float]:
        numbers = list(chosen)
        truth, scores = np.stack(self.truth)[numbers], np.stack(self.scores)[numbers]
        labelled = np.flatnonzero(truth.any(axis=0)).tolist()
        each = [average_precision(truth[:, label], scores[:, label]) for label in labelled]
        return {
            "mAP": float(np.mean(each)) if each else float("nan"),
            "exact sets": float(np.mean(np.array(self.exact)[numbers])),
        }


class MeanIou:
    """The mean over the classes of the IoU of a class's labelled pixels with its decided pixels.

    A pixel without a label has the class called "background". If the model has no such class, the pixel does
    not count. If labels overlap, the later one counts.
    """

    def __init__(self, labels: Labels) -> None:
        require_coco()
        self.classes = len(labels.classes)
        self.background = next((labels.classes.index(n) for n in BACKGROUND if n in labels.classes), NOWHERE)
        self.counts: list[Array] = []

    def add(self, picture: LabelledPicture, decisions: Segments | None) -> None:
        truth = np.full((picture.height, picture.width), self.background)
        for annotation in picture.annotations:
            truth[mask_of(annotation.mask, picture)] = annotation.label
        found = np.full_like(truth, NOWHERE) if decisions is None else decisions.labels
        seen = truth != NOWHERE
        # Pixels that the model did not see, or decided no class for, count as wrong.
        decided = np.where((found >= 0) & (found < self.classes), found, self.classes)[seen]
        pairs = truth[seen].astype(np.int64) * (self.classes + 1) + decided
        counts = np.bincount(pairs.reshape(-1), minlength=self.classes * (self.classes + 1))
        self.counts.append(counts.reshape(self.classes, self.classes + 1))

    def figures(self, chosen: Sequence[int]) -> dict[str, float]:
        counts = np.zeros((self.classes, self.classes + 1), np.int64)
        for number in chosen:
            counts += self.counts[number]
        both = np.diag(counts)
        either = counts.sum(axis=1) + counts[:, :-1].sum(axis=0) - both
        there = either > 0
        total = int(counts.sum())
        return {
            "mean IoU": float((both[there] / either[there]).mean()) if there.any() else float("nan"),
            "pixel accuracy": float(both.sum() / total) if total else float("nan"),
        }


MEASURES: Mapping[str, Any] = MappingProxyType(
    {
        "detection": BoxPrecision,
        "instance_segmentation": InstancePrecision,
        "keypoints": PointPrecision,
        "oriented_detection": OrientedPrecision,
        "classification": Accuracy,
        "multilabel": LabelPrecision,
        "segmentation": MeanIou,
        "panoptic": PanopticQuality,
    }
)
"""The measure of each task that has one."""

NEEDS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "detection": ("bbox",),
        "instance_segmentation": ("bbox", "segmentation"),
        "segmentation": ("segmentation",),
        "panoptic": ("segmentation",),
        "keypoints": ("bbox", "keypoints"),
        "oriented_detection": ("segmentation",),
    }
)
"""The keys that an annotation must have, besides its category, for each task."""


def average_precision(truth: NDArray[np.bool_], scores: Array) -> float:
    """The area under the steps of precision over recall, from truth [n] and scores [n].

    AP = sum over the thresholds t of (recall(t) - recall(t - 1)) precision(t) (Manning et al. 2008,
    "Introduction to Information Retrieval", section 8.4); equal scores enter together. A score that is NaN
    ranks last.
    """
    ranked = np.where(np.isnan(scores), -np.inf, scores)
    order = np.argsort(-ranked, kind="stable")
    hits = np.cumsum(truth[order])
    ranked = ranked[order]
    last = np.append(np.flatnonzero(ranked[1:] != ranked[:-1]), len(order) - 1)
    precision, recall = hits[last] / (last + 1), hits[last] / hits[-1]
    return float((np.diff(recall, prepend=0) * precision).sum())


def _average_precision(found: Sequence[Found], classes: Sequence[str], kind: str) -> tuple[float, float]:
    """COCO's mean AP over IoUs from 0.5 to 0.95, and its AP at 0.5; NaN if nothing is labelled.

    Objects of all sizes count, and the best 100 of a class on a picture.
    """
    data, evaluator = evaluator_of(kind)
    images = [
        {"id": number, "width": picture.width, "height": picture.height}
        for number, (picture, _) in enumerate(found)
    ]
    truth = [
        {
            "image_id": number,
            "category_id": annotation.label,
            "bbox": list(annotation.bbox or (0, 0, 0, 0)),
            "area": _area(annotation.bbox) if annotation.area is None else annotation.area,
            "iscrowd": int(annotation.crowd),
            **({} if annotation.mask is None else {"segmentation": annotation.mask}),
            **labelled(annotation, kind),
        }
        for number, (picture, _) in enumerate(found)
        for annotation in picture.annotations
    ]
    if not truth:
        return float("nan"), float("nan")
    shown = [
        {**entry, "image_id": number, "area": entry["mask_area"] if kind == "segm" else entry["area"]}
        for number, (_, entries) in enumerate(found)
        for entry in entries
    ]
    # The libraries print to standard output, which may carry a JSON document.
    with contextlib.redirect_stdout(io.StringIO()):
        wanted, got = (_indexed(data, images, entries, classes) for entries in (truth, shown))
        evaluation = evaluation_of(evaluator, wanted, got, kind)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return float(evaluation.stats[AP]), float(evaluation.stats[AP_50])


def _area(bbox: tuple[float, float, float, float] | None) -> float:
    return 0.0 if bbox is None else bbox[2] * bbox[3]


def _indexed(
    kind: Any, images: list[dict[str, Any]], entries: list[dict[str, Any]], classes: Sequence[str]
) -> Any:
    """A data set of these annotations. Ids start at 1, since 0 means "no match" in pycocotools."""
    data = kind()
    data.dataset = {
        "info": {},
        "images": images,
        "categories": [{"id": label, "name": name} for label, name in enumerate(classes)],
        "annotations": [{**entry, "id": number} for number, entry in enumerate(entries, start=1)],
    }
    data.createIndex()
    return data
