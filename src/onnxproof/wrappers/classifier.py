"""What all picture classifiers share: the picture's stage, a network that ends in class scores, the head of
the task, and the contract of the file."""

from collections.abc import Mapping
from typing import Any, Protocol

from torch import Tensor, nn

from onnxproof.contract import ClassInfo, Contract
from onnxproof.errors import CheckpointError, JobError
from onnxproof.job import Job
from onnxproof.tensors import Dim, TensorSpec
from onnxproof.wrappers.class_scores import Activation, ClassScoresHead
from onnxproof.wrappers.family import Checkpoint, WrappedModel, decode_of, dims_of, task_of
from onnxproof.wrappers.folder import number_classes, read_classes
from onnxproof.wrappers.heads import classification, multilabel
from onnxproof.wrappers.input import PictureInput, picture_preprocess, picture_spec, picture_stage
from onnxproof.wrappers.weights import load_weights

DEFAULT_DIMS = {
    "batch": Dim("batch", 1, 8),
    "height": Dim("height", 224, 224),
    "width": Dim("width", 224, 224),
}
"""224 x 224 pixels is the size that ImageNet's classifiers are trained at."""

HEADS: Mapping[str, ClassScoresHead] = {head.name: head for head in (classification.HEAD, multilabel.HEAD)}


class Library(Protocol):
    """Where classifiers come from by name. ``name`` is the family's."""

    name: str

    def knows(self, variant: str) -> bool:
        """Whether there is a classifier of that name."""

    def close_to(self, variant: str) -> tuple[str, ...]:
        """A few names like this one."""

    def head_of(self, variant: str, state_dict: Mapping[str, Tensor]) -> str | None:
        """The name of the last layer's weight, [C, ...], in a checkpoint. None if there is none."""

    def make(self, variant: str, num_classes: int, kwargs: Mapping[str, Any]) -> nn.Module:
        """The network with random weights: pictures [b, 3, H, W] to logits [b, C]."""


class ClassifierInference(nn.Module):
    """The network with its input stage in front. ``activation`` makes probabilities of its logits; it is None
    if the graph leaves them."""

    def __init__(self, network: nn.Module, stage: PictureInput, activation: Activation | None) -> None:
        super().__init__()
        self.stage = stage
        self.network = network
        self.activation = activation

    def forward(self, input: Tensor) -> Tensor:
        """Pictures to logits or probabilities, float [b, C]."""
        logits: Tensor = self.network(self.stage(input))
        return logits if self.activation is None else self.activation(logits)


def build_classifier(job: Job, checkpoint: Checkpoint | None, library: Library) -> WrappedModel:
    """The wrapped model that the job asks for. Raises as ``Family.build`` does."""
    if checkpoint is None:
        raise JobError(f"model.checkpoint is missing: the family {library.name} reads a trained checkpoint")
    batch, height, width = dims_of(job, DEFAULT_DIMS)
    head, decode = HEADS[task_of(job, *HEADS)], decode_of(job, *classification.HEAD.decodes)
    network, classes = _load_network(_variant(job, checkpoint, library), job, checkpoint, library)
    module = ClassifierInference(network, picture_stage(job, checkpoint), head.activation(decode)).eval()
    logits = TensorSpec("logits", "float32", (batch.name, len(classes)))
    headed = head.behind(module, logits, len(classes), decode, job.validation)
    contract = Contract(
        name=job.name,
        task=head.name,
        inputs=(picture_spec(job, batch, height, width),),
        outputs=headed.outputs,
        dims=(batch, height, width),
        fields=headed.fields,
        preprocess=picture_preprocess(job, height, width),
        classes=classes,
        reading=headed.reading,
    )
    return WrappedModel(headed.module, contract, library.name)


def _variant(job: Job, checkpoint: Checkpoint, library: Library) -> str:
    """The job's variant, or the one that the checkpoint's file is named after (resnet18-f37072fd.pth)."""
    given = job.model.variant
    if given is None:
        stem = checkpoint.file.stem
        for name in (stem, stem.partition("-")[0]):
            if library.knows(name):
                return name
        raise JobError(
            f"the name {checkpoint.file.name} tells no variant: give model.variant, a classifier's name "
            "such as resnet18"
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
            f"{checkpoint.file} has no tensor of a last layer, [classes, ...]: it is no {variant}; "
            "is model.variant right?"
        )
    num_classes = int(checkpoint.state_dict[head].shape[0])
    classes = read_classes(checkpoint.folder)
    if classes is None:
        classes = number_classes(num_classes)
    try:
        network = library.make(variant, num_classes, job.model.kwargs)
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
    """The name of the last weight with an axis for classes and one for features, in the order of the
    checkpoint. None if there is none."""
    names = [name for name, tensor in state_dict.items() if name.endswith("weight") and tensor.ndim >= 2]
    return names[-1] if names else None
