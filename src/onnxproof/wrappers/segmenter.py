"""Shared by the families of segmenters: the input stage, the network's logits, the head, and the contract."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from onnxproof.contract import ClassInfo
from onnxproof.errors import CheckpointError
from onnxproof.job import Job
from onnxproof.normalizations import NORMALIZATIONS
from onnxproof.tensors import Dim, TensorSpec
from onnxproof.wrappers.family import Checkpoint, WrappedModel, dims_of, task_of
from onnxproof.wrappers.folder import (
    NORM_STATS,
    name_classes,
    number_classes,
    read_classes,
    read_norm_stats,
)
from onnxproof.wrappers.heads import segmentation
from onnxproof.wrappers.input import PICTURE, PictureInput, picture_preprocess, picture_spec
from onnxproof.wrappers.picture_port import PicturePort
from onnxproof.wrappers.wrap import wrap_module

LOGITS = "logits"

BACKGROUND = "background"
"""The name of what is not the one class of a network with a single channel."""


@dataclass(frozen=True, slots=True)
class Segmenter:
    """A network that turns pictures [b, 3, H, W], normalised, into class logits [b, channels, H, W].

    It may return them first of several, or as "out". ``dims`` are the sizes of its pictures if the job says
    no others; ``fit`` are the keys of ``Preprocess`` that say how its framework fits pictures.
    """

    network: nn.Module
    channels: int
    dims: Mapping[str, Dim]
    fit: Mapping[str, Any]


class _Logits(nn.Module):
    """The logits alone. A single channel is the logit of one class against the background, whose is 0."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, input: Tensor) -> dict[str, Tensor]:
        """Class logits [b, C, H, W], C at least 2."""
        found: Any = self.network(input)
        if isinstance(found, Mapping):
            found = found["out"]
        logits: Tensor = found[0] if isinstance(found, tuple) else found
        if logits.shape[1] == 1:
            logits = torch.cat((torch.zeros_like(logits), logits), dim=1)
        return {LOGITS: logits}


def build_segmenter(job: Job, checkpoint: Checkpoint, family: str, made: Segmenter) -> WrappedModel:
    """Wrap a network as the job describes.

    The normalisation is the job's, or that of a norm_stats.json beside the checkpoint, or ImageNet's. Raises
    as ``Family.build`` does.
    """
    task = task_of(job, segmentation.HEAD.name)
    batch, height, width = dims_of(job, made.dims)
    beside = read_norm_stats(checkpoint.folder)
    stats = beside or NORMALIZATIONS["imagenet"]
    mean, std = (own or other for own, other in zip(job.wrapper.normalization(), stats, strict=True))
    wrapper = job.wrapper
    stage = PictureInput(
        mean,
        std,
        scale=wrapper.scale_input,
        channels_last=wrapper.channels_last,
        stated="" if beside is None else NORM_STATS,
    )
    port = PicturePort(
        0,
        picture_spec(job, batch, height, width),
        picture_preprocess(job, height, width, **made.fit),
        stage,
    )
    own = TensorSpec(PICTURE, "float32", (batch.name, 3, height.name, width.name), (0.0, 1.0))
    return wrap_module(
        _Logits(made.network).eval(),
        (own,),
        (batch, height, width),
        name=job.name,
        family=family,
        task=task,
        decode=wrapper.decode,
        classes=_classes(checkpoint, made.channels),
        picture=port,
        validation=job.validation,
    )


def _classes(checkpoint: Checkpoint, channels: int) -> tuple[ClassInfo, ...]:
    """The classes beside the checkpoint, with the background if its network has a channel for one class."""
    count = max(channels, 2)
    classes = read_classes(checkpoint.folder)
    if classes is None:
        return number_classes(channels) if channels > 1 else name_classes((BACKGROUND, "1"))
    if channels == 1 and len(classes) == 1:
        return (*name_classes((BACKGROUND,)), *classes)
    if len(classes) != count:
        raise CheckpointError(
            f"checkpoint {checkpoint.file} has {count} classes, the file of classes beside it names "
            f"{len(classes)}: pass the names that the model was trained with"
        )
    return classes
