"""torchvision's detectors as they are called in PyTorch: eager, with their own resize, decoding and NMS."""

from collections.abc import Mapping
from copy import copy
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn
from torchvision.transforms import functional

from onnxproof.contract import Contract
from onnxproof.runtime.preprocess.lay import in_order, lay
from onnxproof.runtime.readings.boxes import Detections
from onnxproof.runtime.readings.masks import Instances, crop
from onnxproof.wrappers.own.pipeline import Own, Pixels, Staged


def untouched(network: nn.Module) -> nn.Module:
    """The network with its own transform, which the inference wrappers replace. It shares all weights."""
    same = copy(network)
    same._modules = dict(network._modules)
    return same


def detector_pipeline(contract: Contract, network: nn.Module, first_label: int) -> Own:
    """The pipeline of a detector whose file has this contract.

    torchvision's detectors take a picture of any size; they are given what the job makes of it.
    """
    return lambda: _Detector(contract, network, first_label)


class _Detector(Staged):
    def __init__(self, contract: Contract, network: Any, first_label: int) -> None:
        spec = contract.preprocess
        assert spec is not None
        super().__init__(contract.task, replace(spec, channels="rgb"))
        self.name = f"torchvision's {type(network).__name__}"
        known = contract.reading.settings()
        asked = ("score_threshold", "iou_threshold")
        self.settings: Mapping[str, float] = {name: known[name] for name in asked if name in known}
        self.network = network
        if "iou_threshold" in known:
            self.network.nms_thresh = known["iou_threshold"]
        self.first_label = first_label
        self.mask_threshold = getattr(contract.reading, "mask_threshold", None)

    def lay(self, picture: Image.Image) -> Pixels:
        """See ``OwnPipeline``."""
        return in_order(lay(picture, self.spec)[0], self.spec)

    def decide(self, laid: Pixels) -> Any:
        """See ``OwnPipeline``."""
        with torch.no_grad():
            (found,) = self.network([functional.to_tensor(np.array(laid))])
        labels = found["labels"].numpy() - self.first_label
        scores = found["scores"].numpy()
        kept = np.flatnonzero(scores > np.float32(self.settings["score_threshold"]))
        detections = Detections(
            found["boxes"].numpy()[kept], scores[kept], labels[kept], np.arange(len(kept))
        )
        if self.mask_threshold is None:
            return detections
        masks = tuple(crop(mask) for mask in found["masks"].numpy()[kept, 0])
        return Instances(detections, masks, self.mask_threshold, *laid.shape[:2])
