"""Read checkpoints without running anything that is in them."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor

from onnxproof.errors import CheckpointError
from onnxproof.export.pickled import read_pickled, unreadable
from onnxproof.export.sets import OTHERS, RAW, WeightSet, arrays_as_tensors, weight_sets
from onnxproof.shards import parts_of
from onnxproof.sniffed import is_safetensors
from onnxproof.source import find_checkpoint, sha256_of_checkpoint
from onnxproof.system.memory import require_memory_to_read
from onnxproof.wrappers.family import Checkpoint
from onnxproof.wrappers.held import class_of, tables_in, without_tensors

WRAPPERS = ("module.", "_orig_mod.", "model.", "net.", "network.")
"""Prefixes that are taken off where all names have them. ``load_weights`` puts them back if a network has
them itself."""

SHOWN = 3

ARRAYS = "the checkpoint's weights are NumPy arrays, which are taken as tensors of their dtypes"


def load_checkpoint(path: Path, stems: Collection[str] = (), weights: str = "auto") -> Checkpoint:
    """Load a checkpoint file, or the one checkpoint in a folder.

    ``stems`` are the names, without suffix, that the file may have if a folder holds several. ``weights``
    chooses where the file holds several sets of weights, as ``model.weights`` says. Only tensors are read:
    pickles through ``weights_only``, which runs no code from the file. Raises CheckpointError if there is no
    such file, if it is broken, if it holds no weights, or if it holds several sets and nothing chooses.
    """
    file = find_checkpoint(path, stems)
    parts, sum_ = parts_of(file), sha256_of_checkpoint(file)
    for part in parts:
        require_memory_to_read(part)
    held = _read(file) if parts == (file,) else _read_all(parts)
    found = weight_sets(held)
    arrays = [] if found else [ARRAYS]
    found = found or weight_sets(arrays_as_tensors(held))
    if not found:
        raise CheckpointError(
            f"{file} holds {_describe(held)}; expected a state dict (names to tensors), "
            'or {"model": …} or {"state_dict": …} around one'
        )
    chosen, weights = _chosen(found, weights, file)
    state, notes = dict(chosen.tensors), [*arrays, *_notes(chosen, found)]
    loaded = Checkpoint(file, sum_, state, "", weights, notes, without_tensors(held))
    while bare := loaded.without_prefix(WRAPPERS):
        loaded = bare
    return loaded


def _read_all(parts: Sequence[Path]) -> dict[str, Any]:
    """The tensors of all files of an index."""
    return {name: tensor for part in parts for name, tensor in _read(part).items()}


def _read(file: Path) -> Any:
    if file.suffix.lower() == ".npz":
        try:
            with np.load(file, allow_pickle=False) as arrays:
                return dict(arrays)
        except Exception as error:
            # On a damaged file the reader raises errors of several types.
            raise unreadable(file, error) from error
    if not is_safetensors(file):
        return read_pickled(file)
    try:
        state: dict[str, Tensor] = load_file(file)
        with safe_open(file, "pt") as opened:
            stored = opened.metadata() or {}
    except Exception as error:
        # On a damaged file the reader raises errors of several types.
        raise unreadable(file, error) from error
    # safetensors' save_model stores one of the names that share a tensor, and which name is which.
    return state | {other: state[name] for other, name in stored.items() if name in state}


def _chosen(found: Sequence[WeightSet], wanted: str, file: Path) -> tuple[WeightSet, str]:
    """The set of weights that ``model.weights`` asks for, and what is left to choose among its prefixes.

    "auto" takes the averaged one, as timm, Ultralytics and RT-DETR do when they deploy a checkpoint, or the
    one under a usual key. Raises CheckpointError if that leaves none or several.
    """
    averaged = [one for one in found if one.averaged]
    raw = [one for one in found if not one.averaged]
    named = [one for one in found if wanted in (one.called, *one.path[-1:])]
    left = {"auto": averaged or raw, "ema": averaged, "raw": raw}.get(wanted, named)
    if len(found) == 1:
        chosen = bool(left) and wanted != "raw"
        return found[0], "auto" if chosen else wanted
    usual = sorted((one for one in left if one.path and one.path[-1] in RAW), key=_place)
    if wanted in ("auto", "ema", "raw") and len(left) > 1 and usual:
        left = usual[:1]
    if len(left) == 1:
        return left[0], "auto"
    names = ", ".join(f'"{one.called}"' for one in found)
    raise CheckpointError(
        f'checkpoint {file} holds {len(found)} sets of weights ({names}), and model.weights = "{wanted}" '
        f"chooses {len(left) or 'none'} of them: choose one of these names with --set model.weights=NAME"
    )


def _place(one: WeightSet) -> int:
    return RAW.index(one.path[-1])


def _notes(chosen: WeightSet, found: Sequence[WeightSet]) -> list[str]:
    notes = []
    others = [f'"{one.called}"' for one in found if one is not chosen]
    if others:
        kind = " (averaged over the training)" if chosen.averaged else ""
        notes.append(
            f'of {len(found)} sets of weights in the checkpoint the one under "{chosen.called}"{kind} is '
            f"used, not {', '.join(others)}: choose with model.weights"
        )
    if chosen.left:
        shown = ", ".join(chosen.left[:SHOWN])
        notes.append(f"what the checkpoint holds beside tensors is left out: {shown}")
    return notes


def _describe(held: Any) -> str:
    named = class_of(held)
    if named is not None:
        return f"an object of {named}"
    unnamed = [
        key
        for table in tables_in(held)
        for key, value in table.items()
        if isinstance(value, Tensor) and not isinstance(key, str)
    ]
    if unnamed:
        return f"a tensor under the key {unnamed[0]!r}, which is no name: names are texts"
    if isinstance(held, Mapping):
        keys = ", ".join(map(str, list(held)[:5]))
        if "param_groups" in held or any(key in OTHERS for key in held):
            return f"the state of an optimizer and no weights (the keys {keys})"
        return f"a dict with the keys {keys}" if held else "an empty dict"
    return f"a {type(held).__name__}"
