"""Find the sets of weights in what a checkpoint file holds.

Training scripts put a state dict into an envelope: beside the optimizer's state, the epoch, and often a
second set whose weights are averaged over the training (an exponential moving average, EMA).
"""

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from onnxproof.wrappers.held import class_of

RAW = (
    *("model", "state_dict", "model_state_dict", "net", "network", "params", "weights", "module"),
    *("model_state", "network_weights", "net_state_dict", "generator", "backbone"),
)
"""The keys of an envelope whose weights are those of the last training step."""

AVERAGED = ("ema", "state_dict_ema", "model_ema", "ema_model", "params_ema", "ema_state_dict", "ema_params")
"""The keys of an envelope whose weights are averaged."""

OTHERS = ("optimizer", "optimizers", "optimizer_states", "lr_schedulers", "scheduler", "scaler", "optim")
"""Keys that hold tensors which are no weights."""

SCRIPTED = "__torch__."
"""How the names of TorchScript's classes begin."""

MMENGINE = "message_hub"
"""A key of mmengine's checkpoints. Its EMAHook swaps the two sets on saving: ``state_dict`` is averaged."""

DEEPEST = 4
"""How many envelopes may lie in one another."""


@dataclass(frozen=True, slots=True, eq=False)
class WeightSet:
    """Tensors by name, and the keys that lead to them. ``left`` are names of values that are no tensors."""

    path: tuple[str, ...]
    tensors: Mapping[str, Tensor]
    averaged: bool = False
    left: tuple[str, ...] = ()

    @property
    def called(self) -> str:
        """The keys with dots between them."""
        return ".".join(self.path)


def weight_sets(held: Any) -> tuple[WeightSet, ...]:
    """The sets of weights in what a file holds, in the file's order."""
    return tuple(_found(held, (), averaged=False))


def arrays_as_tensors(held: Any, depth: int = 0) -> Any:
    """What a file holds, with tensors in place of NumPy's arrays of numbers, in as many dicts in one another
    as weights are looked for in. A dict may hold itself."""
    if isinstance(held, np.ndarray) and held.dtype.kind in "biufc":
        with contextlib.suppress(TypeError):  # a dtype that PyTorch does not have
            return torch.from_numpy(np.array(held, dtype=held.dtype.newbyteorder("=")))
    if isinstance(held, Mapping) and class_of(held) is None and depth <= DEEPEST:
        return {key: arrays_as_tensors(value, depth + 1) for key, value in held.items()}
    return held


def _found(held: Any, path: tuple[str, ...], *, averaged: bool) -> Iterator[WeightSet]:
    modules = _state_of(held)
    if modules:
        yield WeightSet(path, modules, averaged)
        return
    if not isinstance(held, Mapping) or class_of(held) is not None or len(path) > DEEPEST:
        return
    inside = [
        one
        for key, value in held.items()
        if isinstance(key, str) and key not in OTHERS and "optim" not in key
        for one in _found(value, (*path, key), averaged=averaged or _is_average(key, held))
    ]
    tensors = {name: value for name, value in held.items() if isinstance(value, Tensor)}
    if inside and not any("." in str(name) for name in tensors):
        yield from inside
    elif tensors and all(isinstance(name, str) for name in tensors):
        left = tuple(str(name) for name, value in held.items() if not isinstance(value, Tensor))
        yield WeightSet(path, tensors, averaged, left)


def _is_average(key: str, beside: Mapping[Any, Any]) -> bool:
    if MMENGINE in beside:
        return key == "state_dict" and "ema_state_dict" in beside
    return key in AVERAGED


def _state_of(held: Any, prefix: str = "") -> dict[str, Tensor]:
    """The state dict of a module that was pickled whole; empty for anything else.

    A module keeps its tensors in ``_parameters`` and ``_buffers``, and the modules in it in ``_modules``.
    Buffers that are not saved in a state dict are left out. A module of TorchScript keeps all as attributes.
    """
    name_of_class = class_of(held)
    if name_of_class is None:
        return {}
    kept = vars(held)
    if name_of_class.startswith(SCRIPTED):
        scripted: dict[str, Tensor] = {}
        for name, value in kept.items():
            if isinstance(value, Tensor):
                scripted[prefix + name] = value.detach()
            else:
                scripted |= _state_of(value, f"{prefix}{name}.")
        return scripted
    if not isinstance(kept.get("_modules"), Mapping):
        return {}
    unsaved = kept.get("_non_persistent_buffers_set") or ()
    own = {
        prefix + name: tensor.detach()
        for place in ("_parameters", "_buffers")
        for name, tensor in (kept.get(place) or {}).items()
        if isinstance(tensor, Tensor) and name not in unsaved
    }
    for name, module in kept["_modules"].items():
        own |= _state_of(module, f"{prefix}{name}.")
    return own
