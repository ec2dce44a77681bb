"""Decisions in the forms of other libraries: COCO's results, and ``supervision``'s types."""

import importlib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxproof.contract import ClassInfo, Contract
from onnxproof.errors import RequestError
from onnxproof.runtime.oriented import corners_of
from onnxproof.runtime.readings.boxes import Detections
from onnxproof.runtime.readings.masks import Instances, Patch
from onnxproof.runtime.readings.points import Poses
from onnxproof.runtime.tasks import get_task
from onnxproof.runtime.tasks.task import class_name

Array = NDArray[Any]

TURNED = 5
"""The numbers of an oriented box: centre, sides, angle."""

CORNERS = "xyxyxyxy"
"""The key of ``supervision.Detections.data`` for the corners of oriented boxes."""


def to_coco(
    contract: Contract, decisions: Any, image_id: int, categories: Mapping[str, int]
) -> list[dict[str, Any]]:
    """A detection a row, as COCO's evaluation reads them; ``Prediction.to_coco`` says how."""
    found = _detections(contract, decisions, "COCO's results")
    corners = np.asarray(_upright(found), np.float64)
    boxes = np.hstack((corners[:, :2], corners[:, 2:] - corners[:, :2])).tolist()
    rows = []
    for box, label, score in zip(boxes, found.labels.tolist(), found.scores.tolist(), strict=True):
        category = _category(label, contract.classes, categories)
        rows.append({"image_id": image_id, "category_id": category, "bbox": box, "score": score})
    for row, more in zip(rows, _beside(contract, decisions, found), strict=True):
        row.update(more)
    return rows


def to_supervision(contract: Contract, decisions: Any) -> Any:
    """``supervision``'s own type; ``Prediction.to_supervision`` says which."""
    found = _detections(contract, decisions, "supervision.Detections")
    try:
        supervision: Any = importlib.import_module("supervision")
    except ModuleNotFoundError as error:
        raise RequestError("supervision is not installed: install the package supervision") from error
    names = np.array([class_name(label, contract.classes) for label in found.labels.tolist()], dtype=str)
    scores, labels = np.asarray(found.scores, np.float32), np.asarray(found.labels, int)
    if isinstance(decisions, Poses):
        points = np.asarray(decisions.points, np.float32)
        return supervision.KeyPoints(
            xy=points[..., :2],
            class_id=labels,
            keypoint_confidence=points[..., 2],
            detection_confidence=scores,
            visible=decisions.seen(),
            data={"class_name": names},
        )
    data: dict[str, Array] = {"class_name": names}
    if _is_turned(found):
        data[CORNERS] = corners_of(found.boxes).astype(np.float32)
    masks = None
    if isinstance(decisions, Instances):
        whole = [_whole(region, decisions) for region in decisions.regions()]
        masks = np.array(whole, bool).reshape(-1, decisions.height, decisions.width)
    return supervision.Detections(
        xyxy=np.asarray(_upright(found), np.float32),
        confidence=scores,
        class_id=labels,
        mask=masks,
        data=data,
    )


def _detections(contract: Contract, decisions: Any, form: str) -> Detections:
    found = getattr(decisions, "detections", decisions)
    if not isinstance(found, Detections):
        raise RequestError(
            f"decisions of task {contract.task} are no boxes, so they are no {form}: take to_json()"
        )
    return found


def _is_turned(found: Detections) -> bool:
    return found.boxes.ndim == 2 and found.boxes.shape[1] == TURNED


def _upright(found: Detections) -> Array:
    """Boxes [n, 4] (x0, y0, x1, y1): around each oriented box, the smallest that is not turned."""
    if not _is_turned(found):
        return found.boxes
    corners = corners_of(found.boxes)
    around: Array = np.concatenate((corners.min(axis=1), corners.max(axis=1)), axis=1)
    return around


def _category(label: int, classes: tuple[ClassInfo, ...], categories: Mapping[str, int]) -> int:
    if not categories:
        return label
    name = class_name(label, classes)
    if name not in categories:
        raise RequestError(f'categories has no id for the class "{name}": give one for each class')
    return categories[name]


def _beside(contract: Contract, decisions: Any, found: Detections) -> Iterator[Mapping[str, Any]]:
    """What each row has beside its box: a mask, points, or the corners of the oriented box."""
    if isinstance(decisions, Instances):
        for region in decisions.regions():
            yield {"segmentation": encoded(region, decisions.height, decisions.width)}
    elif isinstance(decisions, Poses):
        for row in get_task(contract.task).to_json(decisions, contract.classes, None, None)["objects"]:
            yield {"keypoints": row["keypoints"]}
    elif _is_turned(found):
        for corners in corners_of(found.boxes).reshape(-1, 8).tolist():
            yield {"segmentation": [corners]}
    else:
        yield from ({} for _ in range(len(found.boxes)))


def _whole(region: Patch, decisions: Instances) -> Array:
    """A mask over the whole picture, bool [H, W]."""
    mask = np.zeros((decisions.height, decisions.width), bool)
    height, width = region.pixels.shape
    mask[region.top : region.top + height, region.left : region.left + width] = region.pixels
    return mask


def encoded(region: Patch, height: int, width: int) -> dict[str, Any]:
    """A mask as COCO's run lengths: {"size": [height, width], "counts": text}.

    The runs go down the columns and begin with pixels that are not set. The text is that of COCO's
    ``rleToString`` (cocoapi, common/maskApi.c): from the fourth run on, the difference to the run two before;
    5 bits a character, the lowest first, a sixth if more follow.
    """
    mask = np.zeros((width, height), bool)
    rows, columns = region.pixels.shape
    mask[region.left : region.left + columns, region.top : region.top + rows] = region.pixels.T
    changes = np.flatnonzero(np.diff(mask.reshape(-1), prepend=False))
    runs = np.diff(changes, prepend=0, append=mask.size).tolist()
    letters = []
    for number, run in enumerate(runs):
        value = run - runs[number - 2] if number > 2 else run
        more = True
        while more:
            low = value & 0x1F
            value >>= 5
            more = value != -1 if low & 0x10 else value != 0
            letters.append(chr(48 + (low | 0x20 if more else low)))
    return {"size": [height, width], "counts": "".join(letters)}
