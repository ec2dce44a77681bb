"""Read checkpoints without running anything that is in them."""

import pickle
import re
import warnings
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from onnxproof.errors import CheckpointError
from onnxproof.memory import require_memory_to_read
from onnxproof.source import find_checkpoint, sha256_of
from onnxproof.wrappers.family import Checkpoint

ENVELOPES = ("model", "state_dict")
"""Keys under which training scripts keep the state dict beside an optimizer's and other state."""


def load_checkpoint(path: Path, stems: Collection[str] = ()) -> Checkpoint:
    """Load a checkpoint file, or the one checkpoint in a folder.

    ``stems`` are the names, without suffix, that the file may have if a folder holds several. Only tensors
    are read: pickles through ``weights_only``, which runs no code from the file. Raises CheckpointError
    if there is no such file, if it is broken, or if it holds more than tensors.
    """
    file = find_checkpoint(path, stems)
    require_memory_to_read(file)
    state = _read(file)
    for key in ENVELOPES:
        if isinstance(state, Mapping) and isinstance(state.get(key), Mapping):
            state = state[key]
            break
    if not isinstance(state, Mapping) or not state or not all(isinstance(v, Tensor) for v in state.values()):
        raise CheckpointError(
            f"{file} holds {_describe(state)}; expected a state dict (names to tensors), "
            'or {"model": …} or {"state_dict": …} around one'
        )
    return Checkpoint(file, sha256_of(file), dict(state))


def _read(file: Path) -> Any:
    try:
        if file.suffix == ".safetensors":
            return load_file(file)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # PyTorch warns of pickles that it then refuses
            return torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:
        # On a damaged file the readers raise errors of many types (EOFError, UnicodeDecodeError, …).
        code = re.search(r"GLOBAL (\S+)", str(error)) if isinstance(error, pickle.UnpicklingError) else None
        if code is not None:
            raise CheckpointError(
                f"checkpoint {file} is refused: reading it would run {code[1]}, which is stored in it, and "
                "only tensors are read. Where it was trained, save the state dict alone: "
                "torch.save(model.state_dict(), path)"
            ) from error
        raise CheckpointError(
            f"checkpoint {file} cannot be read ({_reason(error)}): is it whole, and a state dict that was "
            "saved with torch.save(model.state_dict(), path) or safetensors?"
        ) from error


def _reason(error: Exception) -> str:
    """The first sentence of what a reader says, without PyTorch's advice to run the file's code."""
    if isinstance(error, pickle.UnpicklingError):
        return "it is no PyTorch file"
    return str(error).strip().partition("\n")[0].partition(". ")[0] or "it ends too early"


def _describe(state: Any) -> str:
    if isinstance(state, Mapping):
        keys = ", ".join(map(str, list(state)[:5]))
        return f"a dict with the keys {keys}" if state else "an empty dict"
    return f"a {type(state).__name__}"
