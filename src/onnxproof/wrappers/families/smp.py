"""segmentation-models-pytorch: Unet, FPN, DeepLabV3Plus, …, each with an encoder.

A checkpoint is a folder that ``save_pretrained`` wrote (config.json names the network), or a state dict; then
``model.variant`` is the network's class and ``model.kwargs.encoder_name`` its encoder.
"""

from collections.abc import Mapping
from typing import Any

import segmentation_models_pytorch as library
from torch import nn

from onnxproof.errors import CheckpointError, JobError
from onnxproof.job import Job
from onnxproof.system.parsed import json_in
from onnxproof.tensors import Dim
from onnxproof.text import near
from onnxproof.wrappers.family import Checkpoint, WrappedModel
from onnxproof.wrappers.heads import segmentation
from onnxproof.wrappers.recognise import CONFIG, Recognised
from onnxproof.wrappers.segmenter import Segmenter, build_segmenter
from onnxproof.wrappers.weights import load_weights

EXTRA = "smp"
"""The extra that brings the library. It is read here before this module is imported."""
AXES = ("batch", "height", "width")
"""The names in ``[dims]``. They are read here before this module is imported."""

HEAD = "segmentation_head.0.weight"
"""The last weight, [classes, ...]."""

KIND = "_model_class"
"""The key of config.json that names the network's class."""

STEP, LARGEST = 32, 512
"""px. Encoders halve the picture five times."""

DIMS = {
    "batch": Dim("batch", 1, 8),
    "height": Dim("height", 64, LARGEST, STEP),
    "width": Dim("width", 64, LARGEST, STEP),
}

FIT: Mapping[str, Any] = {"resize": "stretch", "size": LARGEST, "filter": "opencv-linear"}
"""The library does not say how pictures are fitted. Its examples resize with albumentations, by OpenCV."""


class _Smp:
    name = "smp"

    def build(self, job: Job, checkpoint: Checkpoint | None) -> WrappedModel:
        if checkpoint is None:
            raise JobError(f"model.checkpoint is missing: the family {self.name} reads a trained checkpoint")
        weight = checkpoint.state_dict.get(HEAD)
        if weight is None:
            raise CheckpointError(
                f"{checkpoint.file} has no tensor {HEAD}, so it is none of segmentation-models-pytorch's: is "
                "model.family right?"
            )
        channels = int(weight.shape[0])
        kind, settings = _settings(job, checkpoint)
        network = load_weights(
            _network(kind, {**settings, "classes": channels}),
            checkpoint,
            f"{kind} with the encoder {settings['encoder_name']}",
            "are model.variant and model.kwargs right?",
        )
        return build_segmenter(job, checkpoint, self.name, Segmenter(network, channels, DIMS, FIT))

    def recognise(self, checkpoint: Checkpoint) -> Recognised | None:
        """What the checkpoint is, by its last layer and the config.json beside it.

        Raises CheckpointError if there is no config.json: tensors alone do not name the encoder.
        """
        if HEAD not in checkpoint.state_dict:
            return None
        config = _config(checkpoint)
        if not config:
            raise CheckpointError(
                f"{checkpoint.file} is a segmenter of segmentation-models-pytorch, and no config.json beside "
                'it names its encoder: write a job with model.family = "smp", model.variant (Unet, FPN, …) '
                "and model.kwargs.encoder_name, or save the network with save_pretrained"
            )
        why = f"config.json names {config[KIND]} of segmentation-models-pytorch"
        return Recognised(self.name, segmentation.HEAD.name, None, why, (), segmentation.HEAD.decodes)


FAMILY = _Smp()


def _config(checkpoint: Checkpoint) -> dict[str, Any]:
    """What ``save_pretrained`` wrote beside the checkpoint; empty if there is nothing of the kind."""
    file = checkpoint.folder / CONFIG
    if not file.is_file():
        return {}
    try:
        document = json_in(file)
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{file} is no JSON: {error}") from error
    return document if isinstance(document, dict) and isinstance(document.get(KIND), str) else {}


def _settings(job: Job, checkpoint: Checkpoint) -> tuple[str, dict[str, Any]]:
    """The network's class and its arguments: the job's, and for the rest those of config.json."""
    config = _config(checkpoint)
    given = job.model.variant or config.pop(KIND, None)
    if given is None:
        raise JobError(
            f"model.variant is missing: {checkpoint.file} has no config.json beside it, so name the "
            f"network's class, one of {', '.join(_kinds().values())}"
        )
    kind = _kinds().get(given.lower())
    if kind is None:
        close = near(given, _kinds())
        hint = (
            f'did you mean "{_kinds()[close[0]]}"?' if close else f"there are: {', '.join(_kinds().values())}"
        )
        raise JobError(f'model.variant = "{given}" is no network of segmentation-models-pytorch; {hint}')
    told = {name: value for name, value in config.items() if not name.startswith("_")}
    settings = {**told, **job.model.kwargs}
    if "encoder_name" not in settings:
        raise JobError(
            'model.kwargs.encoder_name is missing: name the encoder, such as "resnet34"; tensors alone do '
            "not say which it is"
        )
    channels = settings.get("in_channels", 3)
    if channels != 3:
        raise JobError(
            f"the network takes {channels} channels, and the family {FAMILY.name} pictures of 3: build it "
            "with the family module"
        )
    return kind, settings


def _kinds() -> dict[str, str]:
    """The classes' names, by their names in small letters."""
    return {kind.__name__.lower(): kind.__name__ for kind in library.MODEL_ARCHITECTURES_MAPPING.values()}


def _network(kind: str, settings: Mapping[str, Any]) -> nn.Module:
    """A network with random weights. It returns logits, whatever activation its user put behind them."""
    try:
        network: nn.Module = getattr(library, kind)(
            **{**settings, "encoder_weights": None, "activation": None}
        )
    except (TypeError, ValueError, KeyError) as error:
        raise JobError(f"model.kwargs = {dict(settings)} do not make a {kind}: {error}") from error
    return network
