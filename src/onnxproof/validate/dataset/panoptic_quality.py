"""How good panoptic segments are by labels."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxproof.runtime.tasks.panoptic import NOBODY, Panorama
from onnxproof.validate.dataset.labels import LabelledPicture, Labels
from onnxproof.validate.dataset.pycoco import mask_of, require_coco

Array = NDArray[Any]


class PanopticQuality:
    """PQ of Kirillov et al. 2019 (arXiv:1801.00868): the sum of the matched segments' IoUs over
    matched + (missed + surplus) / 2, as the mean over the classes.

    A segment is matched to a labelled one of its class if their IoU is above 0.5, which at most one has.
    Pixels that several labels cover belong to the last.
    """

    def __init__(self, labels: Labels) -> None:
        require_coco()
        self.classes = len(labels.classes)
        self.counts: list[Array] = []
        """For each picture [classes, 4]: the sum of IoUs, and how many are matched, surplus and missed."""

    def add(self, picture: LabelledPicture, decisions: Panorama | None) -> None:
        counts = np.zeros((self.classes, 4))
        truth = np.full((picture.height, picture.width), NOBODY)
        for number, annotation in enumerate(picture.annotations):
            truth[mask_of(annotation.mask, picture)] = number
        labelled = [
            (truth == number, annotation.label) for number, annotation in enumerate(picture.annotations)
        ]
        labelled = [(mask, label) for mask, label in labelled if mask.any()]
        found = () if decisions is None else decisions.segments
        matched: set[int] = set()
        for segment in found:
            own = (decisions.owners if decisions is not None else truth) == segment.query
            for number, (mask, label) in enumerate(labelled):
                both = int((own & mask).sum())
                if label == segment.label and both * 2 > int((own | mask).sum()):
                    counts[label, :2] += both / int((own | mask).sum()), 1
                    matched.add(number)
                    break
            else:
                if 0 <= segment.label < self.classes:
                    counts[segment.label, 2] += 1
        for number, (_, label) in enumerate(labelled):
            counts[label, 3] += number not in matched
        self.counts.append(counts)

    def figures(self, chosen: Sequence[int]) -> dict[str, float]:
        iou, matched, surplus, missed = sum(
            (self.counts[number] for number in chosen), np.zeros((self.classes, 4))
        ).T
        total = matched + (surplus + missed) / 2
        there = total > 0
        if not there.any():
            return dict.fromkeys(("PQ", "segmentation quality", "recognition quality"), float("nan"))
        quality = np.divide(iou, matched, out=np.zeros_like(iou), where=matched > 0)
        return {
            "PQ": float((iou[there] / total[there]).mean()),
            "segmentation quality": float(quality[there].mean()),
            "recognition quality": float((matched[there] / total[there]).mean()),
        }
