"""torchvision's and timm's way from a picture to classes: torchvision's transforms, then the network."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn
from torchvision.transforms import InterpolationMode, functional

from onnxproof.contract import Contract, Preprocess
from onnxproof.wrappers.input import PictureInput
from onnxproof.wrappers.own.pipeline import Own, Pixels, Staged

FILTERS = {
    f"pillow-{mode.value}": mode
    for mode in InterpolationMode
    if mode.value in ("nearest", "bilinear", "bicubic", "box", "hamming", "lanczos")
}
"""The filters that torchvision's transforms offer, by our names. They call Pillow's."""

RANK = "classification"


def classifier_pipeline(contract: Contract, network: nn.Module, stage: PictureInput, library: str) -> Own:
    """The pipeline of a classifier whose file has this contract.

    torchvision's transforms are asked for the job's sizes and, if Pillow has it, the job's filter.
    """
    spec = contract.preprocess
    assert spec is not None
    if spec.resize not in ("crop", "stretch"):
        return f'torchvision\'s transforms resize and crop, and the job asks for resize = "{spec.resize}"'
    if not (spec.height.fixed and spec.width.fixed):
        return "torchvision's transforms give pictures of one size, and the job's height or width is free"
    return lambda: _Classifier(contract, network, stage, library)


class _Classifier(Staged):
    def __init__(self, contract: Contract, network: nn.Module, stage: PictureInput, library: str) -> None:
        spec = contract.preprocess
        assert spec is not None
        super().__init__(contract.task, _torchvisions(spec))
        self.name = f"torchvision's transforms and {library}'s {type(network).__name__}"
        self.settings: Mapping[str, float] = contract.reading.settings()
        self.reading: Any = contract.reading
        self.network = network
        self.mean, self.std = (part.flatten().tolist() for part in (stage.mean, stage.std))

    def lay(self, picture: Image.Image) -> Pixels:
        """See ``OwnPipeline``."""
        spec, mode = self.spec, FILTERS[self.spec.filter]
        size = [spec.height.max, spec.width.max]
        if spec.resize == "stretch":
            return np.asarray(functional.resize(picture, size, mode))
        return np.asarray(functional.center_crop(functional.resize(picture, spec.size, mode), size))

    def decide(self, laid: Pixels) -> Any:
        """See ``OwnPipeline``."""
        values = functional.normalize(functional.to_tensor(np.array(laid)), self.mean, self.std)
        with torch.no_grad():
            logits = self.network(values[None])
            scores = torch.softmax(logits, -1) if self.task.name == RANK else torch.sigmoid(logits)
        reading = replace(self.reading, decode="probabilities")
        return self.task.decide(scores[0].numpy(), reading)


def _torchvisions(spec: Preprocess) -> Preprocess:
    known = spec.filter if spec.filter in FILTERS else "pillow-bilinear"
    return replace(spec, filter=known, channels="rgb", half="even")
