"""timm's picture classifiers, by their name: resnet10t, efficientnet_b0, convnext_tiny, …

A checkpoint is a state dict. The class names (``*-colormap.json`` or ``*-classes.json``) and
``norm_stats.json`` are beside it. No weights are downloaded.
"""

import math
from collections.abc import Mapping
from typing import Any

import timm
from torch import Tensor, nn

from onnxproof.job import Job
from onnxproof.normalizations import NORMALIZATIONS
from onnxproof.text import near
from onnxproof.wrappers.classifier import Training, build_classifier, last_weight, recognise_classifier
from onnxproof.wrappers.family import Checkpoint, WrappedModel
from onnxproof.wrappers.recognise import Recognised

EXTRA = "timm"
"""The extra that brings the library. It is read here before this module is imported."""
AXES = ("batch", "height", "width")
"""The names in ``[dims]``. They are read here before this module is imported."""


class _TimmClassifier:
    name = "timm_classifier"

    def build(self, job: Job, checkpoint: Checkpoint | None) -> WrappedModel:
        return build_classifier(job, checkpoint, self)

    def recognise(self, checkpoint: Checkpoint) -> Recognised | None:
        return recognise_classifier(checkpoint, self)

    def knows(self, variant: str) -> bool:
        return bool(timm.is_model(variant))

    def close_to(self, variant: str) -> tuple[str, ...]:
        return near(variant, timm.list_models(), 3)

    def head_of(self, variant: str, state_dict: Mapping[str, Tensor]) -> str | None:
        """The weight of the layer that timm's own configuration names as the classifier, if it names one.

        The classifier is not always the checkpoint's last layer.
        """
        config = timm.get_pretrained_cfg(variant, allow_unregistered=True)
        named = getattr(config, "classifier", None)
        for layer in named if isinstance(named, tuple | list) else (named,):
            if f"{layer}.weight" in state_dict:
                return f"{layer}.weight"
        return last_weight(state_dict)

    def make(self, variant: str, num_classes: int, kwargs: Mapping[str, Any]) -> nn.Module:
        network: nn.Module = timm.create_model(variant, pretrained=False, num_classes=num_classes, **kwargs)
        return network

    def trained_with(self, variant: str) -> Training:
        config = timm.get_pretrained_cfg(variant, allow_unregistered=True)
        if config is None:
            return Training(*NORMALIZATIONS["imagenet"], 256, 224)
        crop = config.input_size[-1]
        mean, std = (tuple(map(float, values)) for values in (config.mean, config.std))
        if len(mean) != 3 or len(std) != 3:
            mean, std = NORMALIZATIONS["imagenet"]
        return Training(mean, std, math.floor(crop / config.crop_pct), crop)


FAMILY = _TimmClassifier()
