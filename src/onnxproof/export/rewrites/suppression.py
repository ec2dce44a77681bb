"""The detections of a batch: NMS in the graph."""

from typing import Any

from onnxproof.export import oriented_suppression, suppression
from onnxproof.export.rewrites.values import Value, op


def detections(*arguments: Any, **options: Any) -> tuple[Value, Value]:
    """``onnxproof::detections``."""
    return suppression.detections(op, *arguments, **options)


def oriented_detections(*arguments: Any, **options: Any) -> tuple[Value, Value]:
    """``onnxproof::oriented_detections``."""
    return oriented_suppression.oriented_detections(op, *arguments, **options)
