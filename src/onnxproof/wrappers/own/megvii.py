"""The pipeline of Megvii's YOLOX: OpenCV's letterbox, the network on bytes, torchvision's NMS.

Megvii's package pins old tools and is seldom installed, so its steps are done here, by the libraries that do
them there. Sources: yolox/data/data_augment.py (preproc, ValTransform), yolox/utils/boxes.py (postprocess)
and tools/demo.py in github.com/Megvii-BaseDetection/YOLOX.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn

from onnxproof.contract import PADDING, Contract, Preprocess
from onnxproof.normalizations import NORMALIZATIONS
from onnxproof.runtime.readings.boxes import Detections
from onnxproof.system.extras import is_there
from onnxproof.system.imports import imported
from onnxproof.tensors import Dim
from onnxproof.wrappers.input import PictureInput
from onnxproof.wrappers.megvii import FIT
from onnxproof.wrappers.own.pipeline import Own, Pixels
from onnxproof.wrappers.own.tutorial import Tutorial

OPENCV = "cv2"


def megvii_pipeline(
    contract: Contract, network: nn.Module, stage: PictureInput, strides: Sequence[int], *, normalizes: bool
) -> Own:
    """The pipeline of a YOLOX of Megvii whose file has this contract, with the job's size and thresholds.

    ``normalizes`` says that the network was trained on normalised pictures, red first, as in Megvii's first
    release.
    """
    if not is_there(OPENCV):
        return (
            "Megvii's YOLOX reads and resizes pictures with OpenCV, which is not installed (the package "
            "opencv-python-headless)"
        )
    return lambda: _Megvii(contract, network, stage, strides, normalizes=normalizes)


class _Megvii(Tutorial):
    name = "Megvii's YOLOX (its steps, by OpenCV and torchvision)"

    def __init__(
        self,
        contract: Contract,
        network: nn.Module,
        stage: PictureInput,
        strides: Sequence[int],
        *,
        normalizes: bool,
    ) -> None:
        super().__init__(contract, network, stage, strides)
        self.opencv: Any = imported(OPENCV)
        # Imported only here: with torchvision comes torch._dynamo, which takes a second.
        self.ops: Any = imported("torchvision.ops")
        self.normalizes = normalizes
        self.mean, self.std = (np.array(part, np.float32) for part in NORMALIZATIONS["imagenet"])
        self.size = tuple(_side(dim, self.spec.size) for dim in (self.spec.height, self.spec.width))
        self.spec = _as_trained(self.spec, max(self.size), normalizes=normalizes)

    def read(self, picture: Path) -> Image.Image:
        """See ``OwnPipeline``."""
        pixels = self.opencv.imread(str(picture))
        if pixels is None:
            raise ValueError(f"OpenCV cannot read {picture}")
        return Image.fromarray(np.array(pixels[:, :, ::-1]))

    def lay(self, picture: Image.Image) -> Pixels:
        """The picture in the upper left corner of the size that the network is tested with."""
        pixels = np.array(np.asarray(picture)[:, :, ::-1])
        laid = np.full((*self.size, 3), PADDING, np.uint8)
        ratio = min(side / own for side, own in zip(self.size, pixels.shape, strict=False))
        height, width = (int(side * ratio) for side in pixels.shape[:2])
        laid[:height, :width] = self.opencv.resize(
            pixels, (width, height), interpolation=self.opencv.INTER_LINEAR
        )
        return laid[:, :, ::-1] if self.normalizes else laid

    def decide(self, laid: Pixels) -> Detections:
        """The network on the bytes as floats, its maps decoded, and torchvision's NMS."""
        values = laid.astype(np.float32)
        if self.normalizes:
            values = (values / 255 - self.mean) / self.std
        found = torch.from_numpy(self.cells(values))
        found = found[found[:, 5] >= self.cuts.score_threshold]
        boxes, labels, scores = found[:, :4].contiguous(), found[:, 4], found[:, 5].contiguous()
        assert self.cuts.iou_threshold is not None
        if self.cuts.class_agnostic:
            kept = self.ops.nms(boxes, scores, self.cuts.iou_threshold)
        else:
            kept = self.ops.batched_nms(boxes, scores, labels, self.cuts.iou_threshold)
        kept = kept[: self.cuts.max_detections]
        return Detections(
            boxes[kept].numpy().astype(np.float32),
            scores[kept].numpy().astype(np.float32),
            labels[kept].numpy().astype(np.int64),
            np.arange(len(kept)),
        )


def _side(dim: Dim, size: int) -> int:
    """A side of the pictures that the network gets: the job's size as far as the file declares it."""
    return min(max(dim.min, size), dim.max)


def _as_trained(spec: Preprocess, size: int, *, normalizes: bool) -> Preprocess:
    """How Megvii fits pictures, at a size."""
    fit = {**FIT, "channels": "rgb"} if normalizes else FIT
    return replace(spec, **fit, size=size, enlarge=True, padding=PADDING)
