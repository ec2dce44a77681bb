"""The kinds of networks: which of transformers' classes belong to each, and what builds its wrapped model."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import nn
from transformers.models.auto import modeling_auto

from onnxproof.errors import CheckpointError
from onnxproof.wrappers.family import WrappedModel
from onnxproof.wrappers.huggingface import pictures, texts
from onnxproof.wrappers.huggingface.opened import Opened
from onnxproof.wrappers.huggingface.processor import PIXELS

Build = Callable[[Opened, nn.Module], WrappedModel]


@dataclass(frozen=True, slots=True)
class Kind:
    """Networks that are read in one way. ``tables`` are those of transformers' lists of classes that name
    them, without ``MODEL_FOR_`` and ``_MAPPING_NAMES``. ``tasks`` are the tasks, the usual one first."""

    what: str
    tables: tuple[str, ...]
    build: Build
    tasks: tuple[str, ...]

    def has(self, architecture: str) -> bool:
        """Whether a class of that name is of this kind."""
        return any(architecture in _names(f"MODEL_FOR_{table}_MAPPING_NAMES") for table in self.tables)


class _Encoder(Kind):
    """Networks without a head for a task, and those that only project."""

    def has(self, architecture: str) -> bool:
        """Whether a class of that name is of this kind."""
        return architecture.endswith(pictures.PROJECTED) or architecture in _names("MODEL_MAPPING_NAMES")


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
        ("classification", "multilabel"),
    ),
    Kind("semantic segmentation", ("SEMANTIC_SEGMENTATION",), pictures.segmentation, ("segmentation",)),
    Kind("object detection", ("OBJECT_DETECTION",), pictures.detection, ("detection",)),
    Kind("depth", ("DEPTH_ESTIMATION",), pictures.depth, ("depth",)),
    Kind(
        "text classification",
        ("SEQUENCE_CLASSIFICATION",),
        texts.classification,
        ("classification", "multilabel", "raw"),
    ),
    Kind("token classification", ("TOKEN_CLASSIFICATION",), texts.tokens, ("tokens",)),
    Kind("speech with a CTC head", ("CTC",), texts.speech, ("sequence",)),
    Kind("pictures and texts", ("ZERO_SHOT_IMAGE_CLASSIFICATION",), pictures.pairs, ("embedding",)),
    _Encoder("embeddings", (), _embedding, ("embedding",)),
)
"""The kinds, in the order in which they are asked."""


def kind_of(opened: Opened) -> Kind:
    """The kind of a folder's network. Raises CheckpointError if it is of none."""
    for kind in KINDS:
        if kind.has(opened.called):
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
