"""fp16 and bf16: the network itself in half precision before it is captured, and float32 around it.

The file keeps float32 inputs and outputs, and decodes in float32. A module that is kept gets float32 and
returns half precision; this is done by hooks, so that no code of the network has to know.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map

from onnxproof.wrappers.copies import copied

DTYPES = {"fp16": torch.float16, "bf16": torch.bfloat16}
NAMES = {"fp16": "float16", "bf16": "bfloat16"}

HEADROOM = 2.0
"""A module whose values come within this factor of float16's largest is kept: other pictures may reach it."""

SQUARES = ("native_layer_norm", "native_group_norm", "layer_norm", "group_norm")
"""Norms. A runtime that computes them in float16 squares the distances from the mean."""


@dataclass(frozen=True, slots=True)
class Reach:
    """How large the values of a module are in float32, and of which operator."""

    largest: float
    operator: str

    @property
    def overflows(self) -> bool:
        """Whether float16 may not hold them. NaN counts."""
        return not self.largest * HEADROOM <= torch.finfo(torch.float16).max


def network_name(module: nn.Module) -> str:
    """The name of the network inside a wrapped module: the innermost module that has all parameters alone."""
    name, here = "", module
    while True:
        own = [child for child, _ in here.named_parameters(recurse=False)]
        holders = [child for child, inner in here.named_children() if any(True for _ in inner.parameters())]
        if own or len(holders) != 1 or (name and len(list(here.children())) > 1):
            return name
        name, here = f"{name}.{holders[0]}".lstrip("."), here.get_submodule(holders[0])


def units_of(module: nn.Module) -> tuple[str, ...]:
    """The modules that have parameters of their own, in the network's order."""
    inside = network_name(module)
    return tuple(
        name
        for name, inner in module.named_modules()
        if is_in(name, inside) and any(True for _ in inner.parameters(recurse=False))
    )


def reaches(module: nn.Module, inputs: Sequence[Sequence[Tensor]]) -> dict[str, Reach]:
    """By the name of the module that computes them: how large the network's values are in float32."""
    inside, seen = network_name(module), _Seen()
    handles = []
    for name, inner in module.named_modules():
        if is_in(name, inside):
            handles += [
                inner.register_forward_pre_hook(lambda *_, at=name: seen.names.append(at)),
                inner.register_forward_hook(lambda *_: seen.leave(), always_call=True),
            ]
    try:
        with torch.no_grad(), seen:
            for tensors in inputs:
                module(*tensors)
    finally:
        for handle in handles:
            handle.remove()
    return seen.found


class _Seen(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Looks at the values that each operator returns while a module of ``names`` runs, the innermost last."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.names: list[str] = []
        self.found: dict[str, Reach] = {}

    def leave(self) -> None:
        self.names.pop()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        returned = func(*args, **(kwargs or {}))
        if self.names:
            operator = str(func).removeprefix("aten.").partition(".")[0]
            for value in returned if isinstance(returned, tuple | list) else (returned,):
                self._look(value, operator)
            if operator in SQUARES and isinstance(args[0], Tensor):
                centred = args[0] - args[0].mean(dim=-1, keepdim=True)
                self._look(centred.square(), f"square in {operator.removeprefix('native_')}")
        return returned

    def _look(self, value: Any, operator: str) -> None:
        if not isinstance(value, Tensor) or not value.is_floating_point() or not value.numel():
            return
        largest = float(value.abs().amax())
        if largest == float("inf"):
            return  # a mask, which float16 holds, too
        before = self.found.get(self.names[-1])
        if before is None or not largest <= before.largest:
            self.found[self.names[-1]] = Reach(largest, operator)


def halved(module: nn.Module, dtype: torch.dtype, keep: Collection[str] = ()) -> nn.Module:
    """A copy of a wrapped module with its network in ``dtype``, but for the modules of ``keep``."""
    made = copied(module)
    inside = network_name(made)
    tops = [name for name in keep if not any(is_in(name, other) and name != other for other in keep)]
    for name, inner in made.named_modules():
        if is_in(name, inside) and not any(is_in(name, top) for top in tops):
            _cast_own(inner, dtype)
    network = made.get_submodule(inside)
    _around(network, dtype, torch.float32)
    for name in tops:
        _around(made.get_submodule(name), torch.float32, dtype)
    return made.eval()


def alone(module: nn.Module, unit: str, dtype: torch.dtype) -> nn.Module:
    """A copy of a wrapped module with one module of the network in ``dtype``, and all else in float32."""
    changed = copied(module)
    inner = changed.get_submodule(unit)
    for part in inner.modules():
        _cast_own(part, dtype)
    _around(inner, dtype, torch.float32)
    return changed.eval()


def _cast_own(module: nn.Module, dtype: torch.dtype) -> None:
    for name, parameter in module._parameters.items():
        if parameter is not None and parameter.is_floating_point():
            module._parameters[name] = nn.Parameter(parameter.detach().to(dtype), requires_grad=False)
    for name, buffer in module._buffers.items():
        if buffer is not None and buffer.is_floating_point():
            module._buffers[name] = buffer.to(dtype)


def _around(module: nn.Module, inside: torch.dtype, outside: torch.dtype) -> None:
    """Give a module its floats in one dtype, and what it returns in another."""

    def before(_: nn.Module, args: Any, kwargs: Mapping[str, Any]) -> tuple[Any, Any]:
        return tree_map(lambda one: _to(one, inside), (args, dict(kwargs)))  # type: ignore[no-any-return]

    def after(_: nn.Module, __: Any, returned: Any) -> Any:
        return tree_map(lambda one: _to(one, outside), returned)

    module.register_forward_pre_hook(before, with_kwargs=True)
    module.register_forward_hook(after)


def _to(value: Any, dtype: torch.dtype) -> Any:
    return value.to(dtype) if isinstance(value, Tensor) and value.is_floating_point() else value


def is_in(name: str, outer: str) -> bool:
    return not outer or name == outer or name.startswith(f"{outer}.")
