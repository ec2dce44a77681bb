"""What a checkpoint of Ultralytics says of its network: its class, its yaml, its classes and its size.

The trainer pickles the module itself. It is read as a stand-in (held.py): no class of the file is imported,
and no code of it runs. The network is built anew from the yaml, which is plain numbers and names.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from onnxproof.errors import CheckpointError
from onnxproof.wrappers.family import Checkpoint
from onnxproof.wrappers.held import class_of

PACKAGE = "ultralytics"
OLD_PACKAGE = "models"
"""The package of the repository yolov5, whose checkpoints name classes of that repository."""

KEPT_UNDER = ("ema", "model")
"""The keys of the trainer's envelope. Ultralytics deploys the averaged module if there is one."""


@dataclass(frozen=True, slots=True)
class Saved:
    """A module as its trainer pickled it.

    ``kind`` is the name of its class, ``config`` its yaml, ``names`` its classes in order. ``size`` is the
    size of pictures that it was trained with, px; it is None if the checkpoint does not say.
    """

    kind: str
    config: Mapping[str, Any]
    names: tuple[str, ...]
    size: int | None


def saved_model(checkpoint: Checkpoint) -> Saved | None:
    """The module that a checkpoint holds. Returns None if it holds none of Ultralytics'.

    Raises CheckpointError if it is one of the repository yolov5, or if its yaml or its classes are missing.
    """
    held = checkpoint.held
    envelope = held if isinstance(held, Mapping) and class_of(held) is None else {"model": held}
    for key in KEPT_UNDER:
        module = envelope.get(key)
        package, _, rest = (class_of(module) or "").partition(".")
        if package == OLD_PACKAGE:
            raise CheckpointError(
                f"{checkpoint.file} was trained in the repository yolov5: its head is another one than "
                "Ultralytics' YOLOv5u, which the family ultralytics builds. Export it with the family "
                "module, whose builder makes the network in that repository"
            )
        if package == PACKAGE:
            return _read(checkpoint, module, rest.rpartition(".")[2], _trained_at(envelope))
    return None


def _read(checkpoint: Checkpoint, module: Any, kind: str, size: int | None) -> Saved:
    kept = vars(module)
    config, names = kept.get("yaml"), kept.get("names")
    if not isinstance(config, Mapping) or not isinstance(config.get("head"), list):
        raise CheckpointError(
            f"{checkpoint.file} holds a {kind} without its yaml: give model.variant, such as "
            '"yolo11n", and a state dict'
        )
    if isinstance(names, list | tuple):
        names = dict(enumerate(names))
    if not isinstance(names, Mapping) or sorted(names) != list(range(len(names))):
        raise CheckpointError(f"{checkpoint.file} holds a {kind} without the names of its classes")
    return Saved(kind, config, tuple(str(names[index]) for index in range(len(names))), size)


def _trained_at(envelope: Mapping[str, Any]) -> int | None:
    settings = envelope.get("train_args")
    size = settings.get("imgsz") if isinstance(settings, Mapping) else None
    if isinstance(size, list | tuple) and size:
        size = max(size)
    return size if isinstance(size, int) and size > 0 else None
