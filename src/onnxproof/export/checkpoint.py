"""Read checkpoints without running anything that is in them."""

import hashlib
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
from onnxproof.wrappers.family import Checkpoint

SUFFIXES = (".pth", ".pt", ".safetensors")
ENVELOPES = ("model", "state_dict")
"""Keys under which training scripts keep the state dict beside an optimizer's and other state."""


def load_checkpoint(path: Path, stems: Collection[str] = ()) -> Checkpoint:
    """Load a checkpoint file, or the one checkpoint in a folder.

    ``stems`` are the file's possible names (without suffix) where a folder holds several. Only tensors
    are read: pickles through ``weights_only``, which runs no code from the file. Raises CheckpointError
    where there is no such file, it is broken, or it holds more than tensors.
    """
    file = find_checkpoint(path, stems)
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


def find_checkpoint(path: Path, stems: Collection[str] = ()) -> Path:
    """The checkpoint file that a path means; CheckpointError where there is none, or no single one."""
    if path.is_file():
        return path
    if not path.is_dir():
        raise CheckpointError(f"checkpoint {path} does not exist: give a file or a folder that holds one")
    files = sorted(file for file in path.iterdir() if file.suffix in SUFFIXES)
    if len(files) > 1:
        files = [file for file in files if file.stem in stems] or files
    if len(files) == 1:
        return files[0]
    if not files:
        expected = ", ".join(f"*{suffix}" for suffix in SUFFIXES)
        raise CheckpointError(f"folder {path} holds no checkpoint: expected one of {expected} in it")
    raise CheckpointError(
        f"folder {path} holds {len(files)} checkpoints ({', '.join(file.name for file in files)}): "
        "name the file in model.checkpoint"
    )


def sha256_of(file: Path) -> str:
    """The SHA-256 of a file's bytes, in hexadecimal."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _read(file: Path) -> Any:
    try:
        if file.suffix == ".safetensors":
            return load_file(file)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of pickles that it then refuses
            return torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:
        # In a damaged file the readers stumble over anything (EOFError, UnicodeDecodeError, …).
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
