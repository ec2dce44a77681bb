"""See with which numbers a model compares its integer inputs, and which ids its configuration names."""

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.weak import WeakTensorKeyDictionary

from onnxproof.system.usercode import no_exit
from onnxproof.validate.legs.leg import Arrays, Ports
from onnxproof.validate.texts import Text
from onnxproof.wrappers.attention import without_fast_path
from onnxproof.wrappers.control_flow import unfolded
from onnxproof.wrappers.copies import copied
from onnxproof.wrappers.double.weights import lendable
from onnxproof.wrappers.family import WrappedModel
from onnxproof.wrappers.weights import tensor_of

COMPARISONS = frozenset("eq ne lt le gt ge isin".split())
HANDS_ON = frozenset(
    """
    view reshape _unsafe_view expand unsqueeze squeeze select slice clone alias detach contiguous flatten
    permute transpose t lift_fresh _to_copy to where masked_fill index gather index_select cat stack flip roll
    clamp clamp_min clamp_max maximum minimum
    """.split()
)
"""Operations behind which numbers are still an input's own."""
SHIFTS = {"add": 1, "sub": -1}
"""The same, moved by a number: its sign."""

MOST_COMPARED = 64
"""A tensor of more numbers than these is no list of ids."""

ID = "_token_id"
PAD = "pad_token_id"
ENDS = ("eos_token_id", "sep_token_id")
"""How configurations name ids: any, that of padding, and those at the end of a text."""
NESTED = "config"
DEEPEST = 4
"""How deep configurations are looked for in configurations."""

Shifted = dict[str, int]
"""Inputs that a tensor's numbers are those of, each with what was added."""


class _Comparisons(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Notes the numbers with which integer inputs are compared."""

    def __init__(self, inputs: Mapping[str, Tensor]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.found: dict[str, set[int]] = defaultdict(set)
        self._of: Any = WeakTensorKeyDictionary()
        for name, tensor in inputs.items():
            self._of[tensor] = {name: 0}

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        # Otherwise PyTorch wraps the method below, and imports its compiler for that.
        return False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        name = func._schema.name.removeprefix("aten::").rstrip("_")
        leaves = tree_leaves(args)
        sources: Shifted = {}
        for leaf in leaves:
            if isinstance(leaf, Tensor) and leaf in self._of:
                sources = {**self._of[leaf], **sources}
        if not sources:
            return result
        others = [leaf for leaf in leaves if not (isinstance(leaf, Tensor) and leaf in self._of)]
        if name in COMPARISONS:
            for number in (number for other in others[:1] for number in _numbers(other)):
                for source, shift in sources.items():
                    self.found[source].add(number - shift)
        elif name in SHIFTS:
            numbers = [*_numbers(others[0])] if others else []
            at = isinstance(leaves[0], Tensor) and leaves[0] in self._of
            if len(numbers) == 1 and at and isinstance(result, Tensor):
                shift = SHIFTS[name] * numbers[0]
                self._of[result] = {source: before + shift for source, before in sources.items()}
        elif name in HANDS_ON:
            for leaf in tree_leaves(result):
                if isinstance(leaf, Tensor):
                    self._of[leaf] = sources
        return result


def _numbers(value: Any) -> Iterator[int]:
    """The whole numbers of a constant; nothing of one that is large, or holds others."""
    if isinstance(value, Tensor):
        if value.numel() > MOST_COMPARED or value.is_complex() or value.dtype == torch.bool:
            return
        values = value.detach().cpu().double().reshape(-1).tolist()
    else:
        values = [value] if isinstance(value, int | float) and not isinstance(value, bool) else []
    yield from (int(one) for one in values if np.isfinite(one) and one == int(one))


def compared_ids(model: WrappedModel, inputs: Arrays, names: Collection[str]) -> Mapping[str, frozenset[int]]:
    """The numbers with which the model compares some of its inputs when it runs on ``inputs``, by the input's
    name.

    Empty if the model does not run under a mode that sees its operations.
    """
    module = copied(model.module, lendable(model.module).values()).eval()
    given = {
        port.name: tensor_of(np.array(array, order="C"), port.dtype)
        for port, array in zip(Ports.of(model.contract).inputs, inputs.values(), strict=True)
    }
    mode = _Comparisons({name: given[name] for name in names})
    try:
        with torch.no_grad(), without_fast_path(), unfolded(), no_exit("the module's forward"), mode:
            module(*given.values())
    except Exception:  # noqa: BLE001
        # The model's own code runs here; the sweep tells what it raises.
        return {}
    return {name: frozenset(numbers) for name, numbers in mode.found.items()}


def named_ids(module: nn.Module) -> tuple[frozenset[int], Text]:
    """The ids that the configurations of a module and its parts name, and those with which texts are written.

    Where no configuration names the id of padding, it is that of an embedding.
    """
    parts = list(module.modules())
    configs = [config for part in parts for config in [vars(part).get(NESTED)] if config is not None]
    named: dict[str, list[int]] = defaultdict(list)
    seen: set[int] = set()
    for config in configs:
        for key, number in _named(config, seen, DEEPEST):
            named[key].append(number)
    pads = named[PAD] or [
        part.padding_idx
        for part in parts
        if isinstance(part, nn.Embedding | nn.EmbeddingBag) and part.padding_idx is not None
    ]
    ends = dict.fromkeys(number for key in ENDS for number in named[key])
    found = {number for numbers in named.values() for number in numbers} | set(pads[:1])
    return frozenset(found), Text(pads[0] if pads else None, tuple(ends))


def _named(config: Any, seen: set[int], depth: int) -> Iterator[tuple[str, int]]:
    """Each id that a configuration or one inside it names, with its key."""
    entries = config if isinstance(config, Mapping) else getattr(config, "__dict__", None)
    if entries is None or id(config) in seen or not depth:
        return
    seen.add(id(config))
    for key, value in entries.items():
        if not isinstance(key, str):
            continue
        if key.endswith(ID):
            listed: Sequence[Any] = value if isinstance(value, list | tuple) else (value,)
            yield from ((key, one) for one in listed if isinstance(one, int) and not isinstance(one, bool))
        elif key.endswith(NESTED):
            yield from _named(value, seen, depth - 1)
