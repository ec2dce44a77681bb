"""The parts of Ultralytics that the family uses, imported without what the import does to other libraries.

It prints where it keeps its settings, replaces ``torch.save`` and ``PIL.Image.open``, and sets how NumPy
prints arrays.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from PIL import Image

VERBOSE = "YOLO_VERBOSE"
"""The environment variable by which Ultralytics' logger says warnings, and what it does, or errors alone."""


@contextmanager
def _left_alone() -> Iterator[None]:
    """Put back what the import replaces."""
    held: list[tuple[Any, str, Any]] = [(torch, "save", torch.save), (Image, "open", Image.open)]
    before = os.environ.get(VERBOSE)
    os.environ[VERBOSE] = "false" if before is None else before
    try:
        with np.printoptions():
            yield
    finally:
        for owner, name, value in held:
            setattr(owner, name, value)
        if before is None:
            del os.environ[VERBOSE]


with _left_alone():
    from ultralytics.models.rtdetr.predict import RTDETRPredictor
    from ultralytics.models.yolo.detect.predict import DetectionPredictor
    from ultralytics.models.yolo.obb.predict import OBBPredictor
    from ultralytics.models.yolo.pose.predict import PosePredictor
    from ultralytics.models.yolo.segment.predict import SegmentationPredictor
    from ultralytics.nn import tasks
    from ultralytics.utils import LOGGER
    from ultralytics.utils.ops import scale_boxes, scale_coords
    from ultralytics.utils.patches import imread

__all__ = [
    "LOGGER",
    "DetectionPredictor",
    "OBBPredictor",
    "PosePredictor",
    "RTDETRPredictor",
    "SegmentationPredictor",
    "imread",
    "scale_boxes",
    "scale_coords",
    "tasks",
]
