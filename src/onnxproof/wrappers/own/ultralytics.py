"""Ultralytics' own prediction of boxes: its predictor, whole and taken apart."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn

from onnxproof.contract import PADDING, Contract, Preprocess
from onnxproof.runtime.readings.boxes import Detections
from onnxproof.wrappers.own.pipeline import Own, Pixels, Staged
from onnxproof.wrappers.ultralytics.library import (
    DetectionPredictor,
    RTDETRPredictor,
    imread,
    scale_boxes,
)
from onnxproof.wrappers.ultralytics.networks import KINDS, Kind, quiet

CPU = "cpu"


def ultralytics_pipeline(contract: Contract, network: nn.Module, kind: Kind) -> Own:
    """The pipeline of a network whose file has this contract, asked for the job's size and thresholds.

    ``network`` is as Ultralytics builds it, before anything was changed for the export.
    """
    if kind not in (KINDS["detect"], KINDS["rtdetr"]):
        return f"the pipeline of Ultralytics is compared for boxes, and the network is a {kind.network}"
    return lambda: _Predictor(contract, network, stretches=kind == KINDS["rtdetr"])


class _Predictor(Staged):
    name = "YOLO.predict"

    def __init__(self, contract: Contract, network: nn.Module, *, stretches: bool) -> None:
        spec = contract.preprocess
        assert spec is not None
        super().__init__(contract.task, _as_trained(spec, stretches=stretches))
        self.settings: Mapping[str, float] = contract.reading.settings()
        self.stretches = stretches
        self.size = [min(spec.size, side.max) for side in (spec.height, spec.width)]
        fixed = spec.height.fixed and spec.width.fixed
        asked = {
            "imgsz": self.size,
            "conf": self.settings["score_threshold"],
            "iou": self.settings.get("iou_threshold", 0.7),
            "agnostic_nms": bool(self.settings.get("class_agnostic", False)),
            "max_det": getattr(contract.reading, "max_detections", None) or 300,
            "rect": spec.pad_to == "least" and not fixed,
            "device": CPU,
            "verbose": False,
            "save": False,
        }
        if not stretches and "iou_threshold" not in self.settings:
            asked["nms"] = False  # else YOLOv10 and YOLO26 are asked for their other head, and NMS
        with quiet():
            predictor: Any = (RTDETRPredictor if stretches else DetectionPredictor)(overrides=asked)
            predictor.setup_model(network, verbose=False)
        predictor.imgsz = self.size
        self.predictor = predictor

    def predict(self, picture: Path) -> Detections:
        """See ``OwnPipeline``."""
        with quiet(), torch.no_grad():
            (found,) = self.predictor(source=str(picture))
        return _detections(found)

    def read(self, picture: Path) -> Image.Image:
        """See ``OwnPipeline``."""
        pixels: Any = imread(str(picture))
        return Image.fromarray(np.array(pixels[:, :, ::-1]))

    def lay(self, picture: Image.Image) -> Pixels:
        """See ``OwnPipeline``."""
        (laid,) = self.predictor.pre_transform([np.array(np.asarray(picture)[:, :, ::-1])])
        pixels: Pixels = laid[:, :, ::-1]
        return pixels

    def decide(self, laid: Pixels) -> Detections:
        """See ``OwnPipeline``."""
        predictor, picture = self.predictor, np.array(laid[:, :, ::-1])
        predictor.batch = (["laid"], [picture], [""])
        with quiet(), torch.no_grad():
            values = predictor.preprocess(torch.from_numpy(np.array(laid)).permute(2, 0, 1)[None] / 255)
            (found,) = predictor.postprocess(predictor.inference(values), values, [picture])
        return _detections(found)

    def restore(self, decisions: Detections, laid: Pixels, picture: Image.Image) -> Detections:
        """See ``OwnPipeline``."""
        boxes = torch.from_numpy(np.array(decisions.boxes))
        size = (picture.height, picture.width)
        if self.stretches:
            sides = [picture.width / laid.shape[1], picture.height / laid.shape[0]] * 2
            return replace(decisions, boxes=(boxes * torch.tensor(sides)).numpy())
        return replace(decisions, boxes=np.asarray(scale_boxes(laid.shape[:2], boxes, size)))


def _as_trained(spec: Preprocess, *, stretches: bool) -> Preprocess:
    """How Ultralytics fits pictures (data/augment.py: LetterBox), at the job's size."""
    return replace(
        spec,
        resize="stretch" if stretches else "letterbox",
        filter="opencv-linear",
        channels="rgb",
        enlarge=True,
        rounding="nearest",
        place="centre",
        half="down",
        padding=PADDING,
        way_back="sides",
    )


def _detections(found: Any) -> Detections:
    boxes = found.boxes
    scores = boxes.conf.numpy()
    return Detections(boxes.xyxy.numpy(), scores, boxes.cls.numpy().astype(np.int64), np.arange(len(scores)))
