"""Labels and overlaps as pycocotools takes them, for keypoints and for oriented boxes."""

from typing import Any

import numpy as np

from onnxproof.errors import RequestError
from onnxproof.runtime.oriented import boxes_of, polygon_iou
from onnxproof.validate.dataset.labels import Annotation

CORNERS = 4


def labelled(annotation: Annotation, kind: str) -> dict[str, Any]:
    """What a label of keypoints or of an oriented box has besides."""
    if kind == "keypoints" and annotation.points is not None:
        seen = sum(value > 0 for value in annotation.points[2::3])
        return {"keypoints": list(annotation.points), "num_keypoints": seen}
    if kind == "oriented":
        return {"oriented": _box_of(annotation)}
    return {}


def _box_of(annotation: Annotation) -> list[float]:
    """The oriented box [5] of four labelled corners."""
    polygon = annotation.mask[0] if isinstance(annotation.mask, list) else None
    if not isinstance(polygon, list) or len(polygon) != 2 * CORNERS:
        raise RequestError(
            "validate.annotations has an object whose segmentation is no polygon of four corners, which "
            "oriented boxes are measured by: [[x0, y0, x1, y1, x2, y2, x3, y3]]"
        )
    box: list[float] = boxes_of(np.array(polygon, np.float64).reshape(1, CORNERS, 2))[0].tolist()
    return box


def evaluation_of(evaluator: Any, wanted: Any, got: Any, kind: str) -> Any:
    """COCO's evaluation, for oriented boxes with the IoU of their polygons, for keypoints that are not COCO's
    17 with the same spread for each."""
    evaluation = evaluator(wanted, got, "bbox" if kind == "oriented" else kind)
    if kind == "oriented":

        def overlaps(image: int, category: int) -> Any:
            labelled, found = evaluation._gts[image, category], evaluation._dts[image, category]
            best = sorted(found, key=lambda entry: -entry["score"])[: evaluation.params.maxDets[-1]]
            boxes = [np.array([one["oriented"] for one in of]).reshape(-1, 5) for of in (best, labelled)]
            return polygon_iou(*boxes) if labelled and best else []

        evaluation.computeIoU = overlaps
    elif kind == "keypoints":
        count = max((len(entry["keypoints"]) // 3 for entry in wanted.dataset["annotations"]), default=0)
        if count != len(evaluation.params.kpt_oks_sigmas):
            evaluation.params.kpt_oks_sigmas = np.full(count, 1 / max(count, 1))
    return evaluation
