"""The thresholds of readings whose boxes carry something more, from a job."""

from typing import Any

from onnxproof.job import ValidateTable
from onnxproof.runtime.tasks.detection import DEFAULT_IOU_THRESHOLD, DEFAULT_THRESHOLD


def cuts_of(validation: ValidateTable) -> dict[str, Any]:
    """The fields of ``InstanceReading``. Thresholds that the job lacks are those of the task detection."""
    score, overlap = validation.score_threshold, validation.iou_threshold
    suppress = DEFAULT_IOU_THRESHOLD if overlap is None else overlap
    return {
        "score_threshold": DEFAULT_THRESHOLD if score is None else score,
        "iou_threshold": None if validation.nms == "none" else suppress,
        "class_agnostic": validation.class_agnostic,
        "max_detections": validation.max_detections,
    }
