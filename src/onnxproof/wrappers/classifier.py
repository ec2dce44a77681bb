"""Shared by the families of picture classifiers: the input stage, the network, the head, and the contract."""

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor, nn

from onnxproof.contract import ClassInfo, Contract
from onnxproof.errors import CheckpointError, JobError
from onnxproof.job import Job
from onnxproof.normalizations import Channels
from onnxproof.tensors import Dim, TensorSpec
from onnxproof.wrappers.class_scores import Activation, ClassScoresHead
from onnxproof.wrappers.family import Checkpoint, WrappedModel, decode_of, dims_of, task_of
from onnxproof.wrappers.fingerprints import variants_of
from onnxproof.wrappers.folder import number_classes, read_classes
from onnxproof.wrappers.heads import classification, multilabel
from onnxproof.wrappers.input import PictureInput, picture_preprocess, picture_spec, picture_stage
from onnxproof.wrappers.nearest import CHANGED, differences
from onnxproof.wrappers.own.classifier import classifier_pipeline
from onnxproof.wrappers.recognise import (
    CONFIG,
    Recognised,
    Setting,
    chosen_variant,
    config_of,
    dim_settings,
    names_given,
    normalization_settings,
)
from onnxproof.wrappers.weights import load_weights, saved_by

DEFAULT_DIMS = {
    "batch": Dim("batch", 1, 8),
    "height": Dim("height", 224, 224),
    "width": Dim("width", 224, 224),
}
"""224 x 224 px is the size at which most ImageNet classifiers are trained."""

HEADS: Mapping[str, ClassScoresHead] = {head.name: head for head in (classification.HEAD, multilabel.HEAD)}


TIMMS_OWN = "pretrained_cfg"
"""Where timm's config.json says how pictures were prepared (timm.models.save_for_hf)."""


@dataclass(frozen=True, slots=True)
class Training:
    """How a library prepares pictures for a network of its own: the sizes are in pixels."""

    mean: Channels
    std: Channels
    resize: int
    crop: int


class Library(Protocol):
    """A library that makes classifiers by name. ``name`` is the name of its family."""

    name: str

    def knows(self, variant: str) -> bool:
        """Whether the library has a classifier of that name."""

    def close_to(self, variant: str) -> tuple[str, ...]:
        """Up to three names of classifiers that are similar to this one."""

    def head_of(self, variant: str, state_dict: Mapping[str, Tensor]) -> str | None:
        """The name of the last layer's weight [C, ...] in a checkpoint. Returns None if it has none."""

    def make(self, variant: str, num_classes: int, kwargs: Mapping[str, Any]) -> nn.Module:
        """A network with random weights that turns pictures [b, 3, H, W] into logits [b, C]."""

    def trained_with(self, variant: str) -> Training:
        """How the library trains a variant, as far as it says."""


class ClassifierInference(nn.Module):
    """The network with its input stage in front.

    ``activation`` turns the logits into probabilities; if it is None, the logits are returned.
    """

    def __init__(self, network: nn.Module, stage: PictureInput, activation: Activation | None) -> None:
        super().__init__()
        self.stage = stage
        self.network = network
        self.activation = activation

    def forward(self, input: Tensor) -> Tensor:
        """Turn pictures into logits or probabilities, float [b, C]."""
        logits: Tensor = self.network(self.stage(input))
        return logits if self.activation is None else self.activation(logits)


def build_classifier(job: Job, checkpoint: Checkpoint | None, library: Library) -> WrappedModel:
    """Build the wrapped model that the job describes. Raises as ``Family.build`` does."""
    if checkpoint is None:
        raise JobError(f"model.checkpoint is missing: the family {library.name} reads a trained checkpoint")
    batch, height, width = dims_of(job, DEFAULT_DIMS)
    head, decode = HEADS[task_of(job, *HEADS)], decode_of(job, *classification.HEAD.decodes)
    network, classes = _load_network(_variant(job, checkpoint, library), job, checkpoint, library)
    stage = picture_stage(job, checkpoint)
    module = ClassifierInference(network, stage, head.activation(decode)).eval()
    logits = TensorSpec("logits", "float32", (batch.name, len(classes)))
    headed = head.behind(module, logits, len(classes), decode, job.validation)
    contract = Contract(
        name=job.name,
        task=head.name,
        inputs=(picture_spec(job, batch, height, width),),
        outputs=headed.outputs,
        dims=(batch, height, width),
        fields=headed.fields,
        preprocess=picture_preprocess(job, height, width, half="even"),
        classes=classes,
        reading=headed.reading,
    )
    own = classifier_pipeline(contract, network, stage, library.name.partition("_")[0])
    return WrappedModel(headed.module, contract, library.name, own=own)


def recognise_classifier(checkpoint: Checkpoint, library: Library) -> Recognised | None:
    """What ``Recognises.recognise`` returns for a library's classifiers."""
    found = chosen_variant(checkpoint, variants_of(library.name, checkpoint.state_dict))
    if found is None:
        _refuse_by_name(checkpoint, library)
        return None
    if not library.knows(found[0]):
        return None
    variant, others, why = found
    training = library.trained_with(variant)
    called = library.name.partition("_")[0]
    said = f"as {called} prepares pictures for its own {variant}; the checkpoint does not say"
    size = f"{training.crop}"
    dims = (Dim.parse("height", size), Dim.parse("width", size))
    return Recognised(
        library.name,
        classification.HEAD.name,
        variant,
        why,
        (
            *_normalization(checkpoint, training, said),
            Setting("predict.resize", "crop", said),
            Setting("predict.size", training.resize, said),
            *dim_settings((DEFAULT_DIMS["batch"],)),
            *dim_settings(dims, said),
        ),
        tuple(classification.HEAD.decodes),
        others,
    )


def _normalization(checkpoint: Checkpoint, training: Training, said: str) -> tuple[Setting, ...]:
    """The normalisation of the config.json that timm saves beside its weights, or the library's own."""
    held = config_of(checkpoint).get(TIMMS_OWN)
    found = [held.get(key) for key in ("mean", "std")] if isinstance(held, Mapping) else [None, None]
    with contextlib.suppress(TypeError, ValueError):
        (red, green, blue), (reds, greens, blues) = (map(float, values or ()) for values in found)
        if min(reds, greens, blues) > 0:
            stated = ((red, green, blue), (reds, greens, blues))
            return normalization_settings(checkpoint, stated, f"{CONFIG} beside the checkpoint", CONFIG)
    return normalization_settings(checkpoint, (training.mean, training.std), said)


def _refuse_by_name(checkpoint: Checkpoint, library: Library) -> None:
    """Raise CheckpointError if a checkpoint that fits no network is named after one of the library's."""
    for name, source in names_given(checkpoint):
        if library.knows(name) and last_weight(checkpoint.state_dict) is not None:
            raise CheckpointError(
                f"{checkpoint.file}: {source} names {name}, and the tensors are not those of {name} as "
                f"{library.name.partition('_')[0]} makes it{_differs(checkpoint, library, name)}"
            )


def _differs(checkpoint: Checkpoint, library: Library, variant: str) -> str:
    """In which tensors it differs from the variant's own, and what to do."""
    head = library.head_of(variant, checkpoint.state_dict)
    classes = 2 if head is None else int(checkpoint.state_dict[head].shape[0])
    try:
        network = library.make(variant, classes, {})
    except Exception:  # noqa: BLE001 - a library's builder raises any type, and the checkpoint is refused anyway
        return f". {CHANGED[0].upper()}{CHANGED[1:]}"
    differ = differences(checkpoint.state_dict, saved_by(network))
    return f": {differ.said}. {differ.advice(library.name, variant, network)}"


def _variant(job: Job, checkpoint: Checkpoint, library: Library) -> str:
    """The job's variant. If it has none, the one in the checkpoint's file name (resnet18-f37072fd.pth)."""
    given = job.model.variant
    if given is None:
        stem = checkpoint.file.stem
        for name in (stem, stem.partition("-")[0]):
            if library.knows(name):
                return name
        raise JobError(
            f"the file name {checkpoint.file.name} names no classifier: give model.variant, a classifier's "
            "name such as resnet18"
        )
    if not library.knows(given):
        close = library.close_to(given)
        hint = f"; did you mean {' or '.join(close)}?" if close else ""
        raise JobError(f'model.variant = "{given}" is no classifier of the family {library.name}{hint}')
    return given


def _load_network(
    variant: str, job: Job, checkpoint: Checkpoint, library: Library
) -> tuple[nn.Module, tuple[ClassInfo, ...]]:
    head = library.head_of(variant, checkpoint.state_dict)
    if head is None:
        raise CheckpointError(
            f"{checkpoint.file} has no weight of a last layer, [classes, ...], so it is no {variant}: "
            "is model.variant right?"
        )
    kwargs = dict(job.model.kwargs)
    held = int(checkpoint.state_dict[head].shape[0])
    num_classes = kwargs.pop("num_classes", held)
    if num_classes != held:
        raise CheckpointError(
            f"checkpoint {checkpoint.file} has {held} classes ({head}), model.kwargs says num_classes = "
            f"{num_classes}: leave it out, for the checkpoint tells"
        )
    classes = read_classes(checkpoint.folder)
    if classes is None:
        classes = number_classes(num_classes)
    try:
        network = library.make(variant, num_classes, kwargs)
    except (TypeError, ValueError) as error:
        raise JobError(f"model.kwargs = {job.model.kwargs} do not make a {variant}: {error}") from error
    network = load_weights(network, checkpoint, variant, "are model.variant and model.kwargs right?")
    if len(classes) != num_classes:
        raise CheckpointError(
            f"checkpoint {checkpoint.file} has {num_classes} classes, the file of classes beside it names "
            f"{len(classes)}: pass the names that the model was trained with"
        )
    return network, classes


def last_weight(state_dict: Mapping[str, Tensor]) -> str | None:
    """The name of the checkpoint's last weight that has two axes or more, classes and features.

    Returns None if there is no such weight.
    """
    names = [name for name, tensor in state_dict.items() if name.endswith("weight") and tensor.ndim >= 2]
    return names[-1] if names else None
