"""Opens a folder that ``save_pretrained`` wrote: its configuration, its classes, the class of its network."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import transformers
from huggingface_hub import constants

from onnxproof.contract import ClassInfo
from onnxproof.errors import CheckpointError
from onnxproof.job import Job
from onnxproof.wrappers.family import Checkpoint
from onnxproof.wrappers.folder import name_classes, read_json
from onnxproof.wrappers.recognise import CONFIG

FAMILY_NAME = "transformers"
PROCESSOR_FILE = "preprocessor_config.json"
SENTENCES_FILE = "modules.json"
"""sentence-transformers' list of what follows the encoder."""

OWN_CODE = "auto_map"
"""The key of a configuration that names Python files of the folder's own."""


@dataclass(frozen=True, slots=True, eq=False)
class Opened:
    """A job and its folder. ``config`` is transformers' configuration, ``architecture`` the network's
    class."""

    job: Job
    checkpoint: Checkpoint
    config: Any
    architecture: type[Any]

    @property
    def folder(self) -> Path:
        """The folder of config.json."""
        return self.checkpoint.folder

    @property
    def called(self) -> str:
        """The name of the network's class."""
        return self.architecture.__name__

    def classes(self, count: int) -> tuple[ClassInfo, ...]:
        """The names under ``id2label``, one for each of the network's ``count`` classes, in order.

        A class that has no name there is called by its number.
        """
        named = getattr(self.config, "id2label", None) or {}
        return name_classes([str(named.get(number, number)) for number in range(count)])


def open_folder(job: Job, checkpoint: Checkpoint) -> Opened:
    """Read the folder's configuration.

    Raises CheckpointError if there is none, if it names code of its own, a network that transformers does
    not have, or weights that are stored as codes.
    """
    file = checkpoint.folder / CONFIG
    stored = _read(file)
    named = stored.get("architectures") or ()
    if not named:
        raise CheckpointError(
            f"{file} names no network under architectures: save the model with its save_pretrained"
        )
    architecture = getattr(transformers, str(named[0]), None)
    if not isinstance(architecture, type):
        own = stored.get(OWN_CODE)
        said = f", and asks for code of its own ({own}), which is not run" if own else ""
        raise CheckpointError(
            f"{file} names the network {named[0]}, which transformers {transformers.__version__} does not "
            f"have{said}: build it yourself, with the family module"
        )
    if stored.get("quantization_config"):
        raise CheckpointError(
            f"{file} has a quantization_config: the weights are codes, and what they mean would be guessed; "
            "save the model as float32, dequantized"
        )
    if OWN_CODE in stored:
        checkpoint.notes.append(
            f"{CONFIG} names code of its own under {OWN_CODE}; it is not run: {named[0]} is transformers' own"
        )
    try:
        with offline():
            config = transformers.AutoConfig.from_pretrained(
                checkpoint.folder, local_files_only=True, trust_remote_code=False
            )
    except Exception as error:
        # A configuration's own class checks it, and raises errors of many types.
        raise CheckpointError(f"{file} is no configuration that transformers reads: {error}") from error
    if (checkpoint.folder / SENTENCES_FILE).is_file():
        # sentence-transformers uses the encoder alone, whatever head the file was trained with.
        encoders: Any = transformers.AutoModel._model_mapping
        architecture = encoders[type(config)]
    return Opened(job, checkpoint, config, architecture)


def is_folder_of_ours(checkpoint: Checkpoint) -> bool:
    """Whether a configuration of transformers lies beside the checkpoint. timm's has no ``model_type``."""
    file = checkpoint.folder / CONFIG
    return file.is_file() and "model_type" in _read(file)


def _read(file: Path) -> dict[str, Any]:
    if not file.exists():
        raise CheckpointError(
            f"{file} does not exist: the family transformers reads a folder that save_pretrained wrote, with "
            f"{CONFIG} beside the weights"
        )
    stored = read_json(file)
    if not isinstance(stored, dict):
        raise CheckpointError(f"{file} holds a {type(stored).__name__}; expected a configuration's object")
    return stored


@contextlib.contextmanager
def offline() -> Iterator[None]:
    """Keep transformers from the network, and from printing, while it reads a folder."""
    logging: Any = transformers.utils.logging
    before, level, bars = constants.HF_HUB_OFFLINE, logging.get_verbosity(), logging.is_progress_bar_enabled()
    constants.HF_HUB_OFFLINE = True
    logging.set_verbosity(logging.CRITICAL)
    logging.disable_progress_bar()
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
