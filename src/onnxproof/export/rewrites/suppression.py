"""The detections of a batch: NMS in the graph."""

from typing import Any

from onnxproof.export import suppression
from onnxproof.export.rewrites.values import Value, op


def detections(*arguments: Any, **options: Any) -> tuple[Value, Value]:
    """``onnxproof::detections``."""
    return suppression.detections(op, *arguments, **options)
