"""Ultralytics' own prediction: its predictors of boxes, masks, keypoints and oriented boxes, whole and taken
apart."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn

from onnxproof.contract import PADDING, Contract, Preprocess
from onnxproof.runtime.preprocess.lay import Transform, transform_of
from onnxproof.runtime.readings.boxes import Cuts, Detections
from onnxproof.runtime.readings.masks import HALF, Instances, crop, restore_mask
from onnxproof.runtime.readings.points import Poses
from onnxproof.wrappers.own.pipeline import Own, Pixels, Staged
from onnxproof.wrappers.ultralytics.library import (
    DetectionPredictor,
    OBBPredictor,
    PosePredictor,
    RTDETRPredictor,
    SegmentationPredictor,
    imread,
    scale_boxes,
    scale_coords,
)
from onnxproof.wrappers.ultralytics.networks import KINDS, Kind, quiet

CPU = "cpu"


def ultralytics_pipeline(contract: Contract, network: nn.Module, kind: Kind) -> Own:
    """The pipeline of a network whose file has this contract, asked for the job's size and thresholds.

    ``network`` is as Ultralytics builds it, before anything was changed for the export.
    """
    if kind == KINDS["classify"]:
        return "YOLO.predict is compared for boxes, masks, keypoints and oriented boxes, not for classes"
    made = {KINDS["segment"]: _Segmenter, KINDS["pose"]: _Poser, KINDS["obb"]: _Turner}.get(kind, _Predictor)
    return lambda: made(contract, network, stretches=kind == KINDS["rtdetr"])


class _Predictor(Staged):
    name = "YOLO.predict"
    predictor_of: Any = DetectionPredictor

    def __init__(self, contract: Contract, network: nn.Module, *, stretches: bool) -> None:
        spec = contract.preprocess
        assert spec is not None
        # Ultralytics gives a file of one size pictures of that size, though the job may fit them to less.
        fixed = spec.height.fixed and spec.width.fixed
        self.size = [side.max if fixed else min(spec.size, side.max) for side in (spec.height, spec.width)]
        fitted = replace(spec, size=max(spec.size, *self.size))
        super().__init__(contract.task, _as_trained(fitted, stretches=stretches))
        reading: Any = contract.reading
        self.settings: Mapping[str, float] = reading.settings()
        cuts: Cuts = reading.cuts  # also of NMS in the graph, whose settings nobody replaces
        self.stretches = stretches
        asked = {
            "imgsz": self.size,
            "conf": cuts.score_threshold,
            "iou": 0.7 if cuts.iou_threshold is None else cuts.iou_threshold,
            "agnostic_nms": cuts.class_agnostic,
            "max_det": cuts.max_detections or 300,
            "rect": spec.pad_to == "least" and not fixed,
            "device": CPU,
            "verbose": False,
            "save": False,
        }
        if not stretches and cuts.iou_threshold is None:
            asked["nms"] = False  # else YOLOv10 and YOLO26 are asked for their other head, and NMS
        with quiet():
            predictor: Any = (RTDETRPredictor if stretches else self.predictor_of)(overrides=asked)
            predictor.setup_model(network, verbose=False)
        predictor.imgsz = self.size
        self.predictor = predictor

    def predict(self, picture: Path) -> Any:
        """See ``OwnPipeline``."""
        with quiet(), torch.no_grad():
            (found,) = self.predictor(source=str(picture))
        height, width = found.orig_shape
        return self.decided(found, transform_of((width, height), self.spec))

    def decided(self, found: Any, transform: Transform | None) -> Any:  # noqa: ARG002
        """The decisions of one of Ultralytics' results, in the result's own pixels.

        ``transform`` is how its picture was laid into the input; None if the picture is the input.
        """
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

    def decide(self, laid: Pixels) -> Any:
        """See ``OwnPipeline``."""
        predictor, picture = self.predictor, np.array(laid[:, :, ::-1])
        predictor.batch = (["laid"], [picture], [""])
        with quiet(), torch.no_grad():
            values = predictor.preprocess(torch.from_numpy(np.array(laid)).permute(2, 0, 1)[None] / 255)
            (found,) = predictor.postprocess(predictor.inference(values), values, [picture])
        return self.decided(found, None)

    def restore(self, decisions: Any, laid: Pixels, picture: Image.Image) -> Any:
        """See ``OwnPipeline``."""
        return self.restored(decisions, laid, picture)

    def restored(self, decisions: Detections, laid: Pixels, picture: Image.Image) -> Detections:
        """Boxes in the picture's pixels."""
        boxes = torch.from_numpy(np.array(decisions.boxes))
        size = (picture.height, picture.width)
        if self.stretches:
            sides = [picture.width / laid.shape[1], picture.height / laid.shape[0]] * 2
            return replace(decisions, boxes=(boxes * torch.tensor(sides)).numpy())
        return replace(decisions, boxes=np.asarray(scale_boxes(laid.shape[:2], boxes, size)))


class _Segmenter(_Predictor):
    """Its masks have the input's pixels, so their edges are that coarse in the picture."""

    predictor_of = SegmentationPredictor
    coarse_masks = True

    def decided(self, found: Any, transform: Transform | None) -> Instances:
        """See ``_Predictor``."""
        height, width = found.orig_shape
        if found.masks is None:
            return Instances(_detections(found), (), HALF, height, width)
        masks = found.masks.data.numpy().astype(np.float32)
        patches = [crop(mask) for mask in masks]
        if transform is not None:
            patches = [restore_mask(patch, HALF, transform, masks.shape[1:]) for patch in patches]
        return Instances(_detections(found), tuple(patches), HALF, height, width)

    def restore(self, decisions: Instances, laid: Pixels, picture: Image.Image) -> Instances:
        """See ``OwnPipeline``."""
        there: Instances = self.task.restore(decisions, transform_of(picture.size, self.spec))
        return replace(there, detections=self.restored(decisions.detections, laid, picture))


class _Poser(_Predictor):
    predictor_of = PosePredictor

    def __init__(self, contract: Contract, network: nn.Module, *, stretches: bool) -> None:
        super().__init__(contract, network, stretches=stretches)
        self.threshold: float = contract.reading.point_threshold  # type: ignore[attr-defined]

    def decided(self, found: Any, transform: Transform | None) -> Poses:  # noqa: ARG002
        """See ``_Predictor``."""
        points = found.keypoints.data.numpy()
        if points.shape[-1] == 2:
            points = np.concatenate((points, np.ones_like(points[..., :1])), axis=-1)
        return Poses(_detections(found), points, self.threshold)

    def restore(self, decisions: Poses, laid: Pixels, picture: Image.Image) -> Poses:
        """See ``OwnPipeline``."""
        points = torch.from_numpy(np.array(decisions.points))
        return replace(
            decisions,
            detections=self.restored(decisions.detections, laid, picture),
            points=np.asarray(scale_coords(laid.shape[:2], points, (picture.height, picture.width))),
        )


class _Turner(_Predictor):
    predictor_of = OBBPredictor

    def decided(self, found: Any, transform: Transform | None) -> Detections:  # noqa: ARG002
        """See ``_Predictor``."""
        boxes, scores = found.obb.xywhr.numpy(), found.obb.conf.numpy()
        return Detections(boxes, scores, found.obb.cls.numpy().astype(np.int64), np.arange(len(scores)))

    def restore(self, decisions: Detections, laid: Pixels, picture: Image.Image) -> Detections:
        """See ``OwnPipeline``."""
        boxes = torch.from_numpy(np.array(decisions.boxes))
        size = (picture.height, picture.width)
        moved: Any = scale_boxes(laid.shape[:2], boxes[:, :4], size, xywh=True)
        boxes[:, :4] = moved
        return replace(decisions, boxes=boxes.numpy())


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
