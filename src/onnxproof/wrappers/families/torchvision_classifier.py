"""torchvision's picture classifiers, by their builder's name: resnet18, mobilenet_v3_small, vit_b_16, …

A checkpoint is a state dict. The class names (``*-colormap.json`` or ``*-classes.json``) and
``norm_stats.json`` are beside it. No weights are downloaded.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torchvision import models

from onnxproof.job import Job
from onnxproof.text import near
from onnxproof.wrappers.classifier import Training, build_classifier, last_weight, recognise_classifier
from onnxproof.wrappers.family import Checkpoint, WrappedModel
from onnxproof.wrappers.recognise import Recognised

EXTRA = "torchvision"
"""The extra that brings the library. It is read here before this module is imported."""
AXES = ("batch", "height", "width")
"""The names in ``[dims]``. They are read here before this module is imported."""


class _TorchvisionClassifier:
    name = "torchvision_classifier"

    def build(self, job: Job, checkpoint: Checkpoint | None) -> WrappedModel:
        return build_classifier(job, checkpoint, self)

    def recognise(self, checkpoint: Checkpoint) -> Recognised | None:
        return recognise_classifier(checkpoint, self)

    def knows(self, variant: str) -> bool:
        return variant in models.list_models(module=models)

    def close_to(self, variant: str) -> tuple[str, ...]:
        return near(variant, models.list_models(module=models), 3)

    def head_of(self, variant: str, state_dict: Mapping[str, Tensor]) -> str | None:
        # The order of a checkpoint's tensors says nothing: safetensors sorts their names.
        with torch.device("meta"):
            few, more = (self.make(variant, classes, {}).state_dict() for classes in (2, 3))
        sized = {name: tensor for name, tensor in few.items() if tensor.shape != more[name].shape}
        head = last_weight(sized)
        # The checkpoint's names may have a prefix.
        return next((name for name in state_dict if f".{name}".endswith(f".{head}")), None)

    def make(self, variant: str, num_classes: int, kwargs: Mapping[str, Any]) -> nn.Module:
        network: nn.Module = models.get_model(variant, weights=None, num_classes=num_classes, **kwargs)
        return network

    def trained_with(self, variant: str) -> Training:
        transforms = models.get_model_weights(variant).DEFAULT.transforms()
        mean, std = tuple(transforms.mean), tuple(transforms.std)
        return Training(mean, std, transforms.resize_size[0], transforms.crop_size[0])


FAMILY = _TorchvisionClassifier()
