"""The kinds of networks: which of transformers' classes belong to each, and what builds its wrapped model."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import nn
from transformers.models.auto import modeling_auto

from onnxproof.errors import CheckpointError
from onnxproof.tensors import Dim
from onnxproof.wrappers.family import WrappedModel
from onnxproof.wrappers.heads import get_head
from onnxproof.wrappers.huggingface import pictures, texts
from onnxproof.wrappers.huggingface.opened import Opened
from onnxproof.wrappers.huggingface.processor import PIXELS, picture_dims

Build = Callable[[Opened, nn.Module], WrappedModel]


@dataclass(frozen=True, slots=True)
class Kind:
    """Networks that are read in one way. ``tables`` are those of transformers' lists of classes that name
    them, without ``MODEL_FOR_`` and ``_MAPPING_NAMES``.

    ``tasks`` and ``decodes`` tell the values of ``model.task`` and ``wrapper.decode``, the usual one first,
    and ``dims`` the sizes, without building a network. ``refuse`` raises CheckpointError for a network of the
    kind that is not read.
    """

    what: str
    tables: tuple[str, ...]
    build: Build
    tasks: Callable[[Opened], tuple[str, ...]]
    dims: Callable[[Opened], tuple[Dim, ...]]
    decodes: Callable[[Opened], tuple[str, ...]] = lambda opened: ("none",)  # noqa: ARG005
    refuse: Callable[[Opened], object] = lambda opened: None  # noqa: ARG005

    def has(self, architecture: str) -> bool:
        """Whether a class of that name is of this kind."""
        return any(architecture in _names(f"MODEL_FOR_{table}_MAPPING_NAMES") for table in self.tables)


class _Encoder(Kind):
    """Networks without a head for a task, and those that only project."""

    def has(self, architecture: str) -> bool:
        """Whether a class of that name is of this kind."""
        return architecture.endswith(pictures.PROJECTED) or architecture in _names("MODEL_MAPPING_NAMES")


def _always(*values: str) -> Callable[[Opened], tuple[str, ...]]:
    return lambda opened: values  # noqa: ARG005


def _head_of(opened: Opened) -> tuple[str, ...]:
    """What the head of a classifier's usual task may put into the graph."""
    return get_head(pictures.class_tasks(opened)[0]).decodes


def _encoder_dims(opened: Opened) -> tuple[Dim, ...]:
    takes = getattr(opened.architecture, "main_input_name", "")
    return picture_dims(opened) if takes == PIXELS else texts.text_dims(opened)


def _embedding(opened: Opened, network: nn.Module) -> WrappedModel:
    """An encoder, of pictures or of texts: the network's class says what it takes."""
    takes = getattr(network, "main_input_name", "")
    if takes == PIXELS:
        return pictures.embedding(opened, network)
    if takes == texts.IDS:
        return texts.embedding(opened, network)
    raise CheckpointError(
        f"{opened.folder} holds a {opened.called}, which takes {takes or 'nothing that is known'}; "
        f"encoders of "
        f"{PIXELS} or {texts.IDS} are read: build others with the family module"
    )


KINDS = (
    Kind(
        "image classification",
        ("IMAGE_CLASSIFICATION",),
        pictures.classification,
        pictures.class_tasks,
        picture_dims,
        _head_of,
    ),
    Kind(
        "semantic segmentation",
        ("SEMANTIC_SEGMENTATION",),
        pictures.segmentation,
        _always("segmentation"),
        picture_dims,
        _always("none", "mask"),
    ),
    Kind(
        "object detection",
        ("OBJECT_DETECTION",),
        pictures.detection,
        _always("detection"),
        pictures.detector_dims,
        pictures.scores_of,
        pictures.scores_of,
    ),
    Kind(
        "panoptic and instance segmentation",
        ("UNIVERSAL_SEGMENTATION", "INSTANCE_SEGMENTATION"),
        pictures.segments,
        _always(*pictures.SEGMENT_TASKS),
        picture_dims,
        refuse=pictures.refuse_segments,
    ),
    Kind(
        "depth",
        ("DEPTH_ESTIMATION",),
        pictures.depth,
        _always("depth"),
        picture_dims,
        refuse=pictures.refuse_depth,
    ),
    Kind(
        "text classification",
        ("SEQUENCE_CLASSIFICATION",),
        texts.classification,
        texts.class_tasks,
        texts.text_dims,
        lambda opened: get_head(texts.class_tasks(opened)[0]).decodes,
    ),
    Kind("token classification", ("TOKEN_CLASSIFICATION",), texts.tokens, _always("tokens"), texts.text_dims),
    Kind("speech with a CTC head", ("CTC",), texts.speech, _always("sequence"), texts.sound_dims),
    Kind(
        "pictures and texts",
        ("ZERO_SHOT_IMAGE_CLASSIFICATION",),
        pictures.pairs,
        _always("embedding"),
        pictures.pair_dims,
    ),
    _Encoder("embeddings", (), _embedding, _always("embedding"), _encoder_dims),
)
"""The kinds, in the order in which they are asked."""


def kind_of(opened: Opened) -> Kind:
    """The kind of a folder's network. Raises CheckpointError if it is of none, or not read."""
    for kind in KINDS:
        if kind.has(opened.called):
            kind.refuse(opened)
            return kind
    raise CheckpointError(
        f"{opened.folder} holds a {opened.called}; the family transformers reads networks for "
        f"{', '.join(kind.what for kind in KINDS)}: build others with the family module"
    )


def _names(table: str) -> set[str]:
    listed = getattr(modeling_auto, table)
    names: set[str] = set()
    for entry in listed.values():
        names.update((entry,) if isinstance(entry, str) else entry)
    return names
