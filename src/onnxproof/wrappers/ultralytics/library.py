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

QUIET = {"YOLO_VERBOSE": "false", "YOLO_AUTOINSTALL": "false"}
"""Environment variables that Ultralytics reads when it is imported, as they are here unless the user sets
them: its logger says errors alone, and it installs no package that it misses."""


@contextmanager
def _left_alone() -> Iterator[None]:
    """Put back what the import replaces."""
    held: list[tuple[Any, str, Any]] = [(torch, "save", torch.save), (Image, "open", Image.open)]
    added = [name for name in QUIET if name not in os.environ]
    os.environ.update({name: QUIET[name] for name in added})
    try:
        with np.printoptions():
            yield
    finally:
        for owner, name, value in held:
            setattr(owner, name, value)
        for name in added:
            del os.environ[name]


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
