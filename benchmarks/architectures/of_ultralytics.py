"""Small networks of ultralytics' architectures: detectors, masks, poses, rotated boxes, classes."""

from functools import partial
from typing import Any

from torch import Tensor, nn
from ultralytics.nn.tasks import (
    ClassificationModel,
    DetectionModel,
    OBBModel,
    PoseModel,
    SegmentationModel,
)
from ultralytics.utils import LOGGER

from architectures.architecture import Architecture

LIBRARY = "ultralytics"
LOGGER.setLevel("ERROR")


class Exported(nn.Module):
    """A network that answers as ultralytics' own export lets it: decoded boxes, no list of raw maps."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        for layer in network.modules():
            if hasattr(layer, "export"):
                vars(layer).update(export=True, format="onnx", dynamic=True)

    def forward(self, image: Tensor) -> Any:
        """Predictions for pictures [b, 3, h, w]."""
        return self.network(image)


def configured(kind: type[nn.Module], name: str) -> nn.Module:
    """A network of a configuration that comes with ultralytics."""
    return Exported(kind(f"{name}.yaml", verbose=False).eval())


def of(kind: type[nn.Module], name: str) -> Architecture:
    """An architecture of ultralytics."""
    return Architecture(name, LIBRARY, partial(configured, kind, name))


ARCHITECTURES: tuple[Architecture, ...] = (
    of(DetectionModel, "yolo12n"),
    of(ClassificationModel, "yolov8n-cls"),
    of(SegmentationModel, "yolov8n-seg"),
    of(PoseModel, "yolov8n-pose"),
    of(OBBModel, "yolov8n-obb"),
    of(DetectionModel, "yolov5n"),
    of(DetectionModel, "yolov6n"),
    of(DetectionModel, "yolov8n"),
    of(DetectionModel, "yolov9t"),
    of(DetectionModel, "yolov10n"),
    of(DetectionModel, "yolo11n"),
    of(SegmentationModel, "yolo11n-seg"),
    of(DetectionModel, "yolo26n"),
    of(SegmentationModel, "yolo26n-seg"),
    of(PoseModel, "yolo26n-pose"),
    of(OBBModel, "yolo26n-obb"),
    of(ClassificationModel, "yolo26n-cls"),
)
