"""torchvision's segmenters: FCN, DeepLabV3 and LR-ASPP. The variant follows from the checkpoint's names.

A checkpoint is a state dict, with or without the auxiliary classifier. The class names (``*-colormap.json``
or ``*-classes.json``) are beside it.
"""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn
from torchvision import models

from onnxproof.errors import CheckpointError, JobError
from onnxproof.job import Job
from onnxproof.tensors import Dim
from onnxproof.wrappers.family import Checkpoint, WrappedModel
from onnxproof.wrappers.heads import segmentation
from onnxproof.wrappers.recognise import Recognised
from onnxproof.wrappers.segmenter import Segmenter, build_segmenter
from onnxproof.wrappers.weights import load_weights

EXTRA = "torchvision"
"""The extra that brings the library. It is read here before this module is imported."""
AXES = ("batch", "height", "width")
"""The names in ``[dims]``. They are read here before this module is imported."""

HEADS = {
    "classifier.0.convs.0.0.weight": ("deeplabv3", "classifier.4.weight"),
    "classifier.low_classifier.weight": ("lraspp", "classifier.low_classifier.weight"),
    "classifier.4.weight": ("fcn", "classifier.4.weight"),
}
"""By a tensor that only a kind of network has: its name, and its last weight [classes, ...]."""

BACKBONES = {
    "backbone.layer3.22.conv1.weight": "resnet101",
    "backbone.layer3.5.conv1.weight": "resnet50",
    "backbone.0.0.weight": "mobilenet_v3_large",
}
"""By a tensor that only a backbone has, the more telling first: its name."""

SHORT_SIDE = 520
"""px. torchvision's presets make the short side this long (transforms/_presets.py, SemanticSegmentation)."""

FIT: Mapping[str, Any] = {
    "resize": "short-side",
    "size": SHORT_SIDE,
    "filter": "pillow-bilinear",
    "rounding": "down",
    "place": "top-left",
}

DIMS = {
    "batch": Dim("batch", 1, 8),
    "height": Dim("height", 64, 2 * SHORT_SIDE),
    "width": Dim("width", 64, 2 * SHORT_SIDE),
}


class _TorchvisionSegmenter:
    name = "torchvision_segmenter"

    def build(self, job: Job, checkpoint: Checkpoint | None) -> WrappedModel:
        if checkpoint is None:
            raise JobError(f"model.checkpoint is missing: the family {self.name} reads a trained checkpoint")
        found = _found(checkpoint.state_dict)
        if found is None:
            raise CheckpointError(
                f"{checkpoint.file} has none of the last layers of torchvision's segmenters "
                f"({', '.join(HEADS)}): is model.family right?"
            )
        variant, last = found
        if job.model.variant not in (None, variant):
            raise JobError(
                f'model.variant = "{job.model.variant}", and the names in {checkpoint.file} are those of '
                f"{variant}: leave model.variant out"
            )
        channels = int(checkpoint.state_dict[last].shape[0])
        network = _network(variant, channels, checkpoint.state_dict, job.model.kwargs)
        network = load_weights(network, checkpoint, variant, "are model.kwargs right?")
        return build_segmenter(job, checkpoint, self.name, Segmenter(network, channels, DIMS, FIT))

    def recognise(self, checkpoint: Checkpoint) -> Recognised | None:
        """What the checkpoint is, by the names of its tensors."""
        found = _found(checkpoint.state_dict)
        if found is None:
            return None
        why = f"the names of its tensors are those of torchvision's {found[0]}"
        return Recognised(self.name, segmentation.HEAD.name, found[0], why, (), segmentation.HEAD.decodes)


FAMILY = _TorchvisionSegmenter()


def _found(state: Mapping[str, Tensor]) -> tuple[str, str] | None:
    """The variant of a checkpoint, and the name of its last weight. Returns None for another network."""
    head = next((told for name, told in HEADS.items() if name in state), None)
    backbone = next((told for name, told in BACKBONES.items() if name in state), None)
    if head is None or backbone is None:
        return None
    kind, last = head
    variant = f"{kind}_{backbone}"
    return (variant, last) if variant in models.list_models(module=models.segmentation) else None


def _network(
    variant: str, channels: int, state: Mapping[str, Tensor], kwargs: Mapping[str, Any]
) -> nn.Module:
    auxiliary = {"aux_loss": True} if any(name.startswith("aux_classifier.") for name in state) else {}
    try:
        network: nn.Module = models.get_model(
            variant, weights=None, weights_backbone=None, num_classes=channels, **{**auxiliary, **kwargs}
        )
    except (TypeError, ValueError) as error:
        raise JobError(f"model.kwargs = {dict(kwargs)} do not make a {variant}: {error}") from error
    return network
