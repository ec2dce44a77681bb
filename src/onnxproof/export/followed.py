"""Have torch.export follow a module for all declared sizes.

It follows the code at one example, and takes for granted what the code asked of its sizes on the way. Where
that does not hold at every declared size, the module is followed again: within the sizes at which it holds,
or at a size at which it does not. Such a program may be right for all sizes nevertheless: where a module
makes a larger table for a longer input, what makes the table serves every length. Whether it is right is
found out by ``assumptions``, which runs it at the sizes that it was not followed at.
"""

import contextlib
import inspect
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx.experimental import _config as symbolic_shapes
from torch.fx.experimental import proxy_tensor

from onnxproof.errors import ExportError
from onnxproof.export.assumptions import broken_assumption, frozen_sizes
from onnxproof.export.examples import capture_sizes, example_inputs
from onnxproof.export.guards import STEPS as COUNTED
from onnxproof.export.guards import Guards
from onnxproof.export.quiet import outputs_apart
from onnxproof.export.reasons import fixes_sizes
from onnxproof.export.stand_ins import followable
from onnxproof.tensors import Dim, TensorSpec, dims_by_name
from onnxproof.wrappers.copies import copied
from onnxproof.wrappers.family import WrappedModel

STEPS = 5
"""The least number of a dim's steps to capture at. torch.export treats sizes 0 and 1 as constants, in feature
maps too: with 5 steps of 32 pixels, a map at 1/128 of the picture's size still has two cells."""

MOST_TRIES = 5
"""How often a module is followed at most."""

ALLOWED = re.compile(r"^\s*(\w+) = Dim\('\w+'(?:, min=(\d+))?(?:, max=(\d+))?\)$", re.MULTILINE)
"""How torch.export says which sizes it can keep free."""

CONSTANT = re.compile(r"^\s*\w+ = \d+$", re.MULTILINE)
"""How it says that there are none."""


@dataclass(frozen=True)
class _Try:
    """The sizes of the example, and the dims as they are told to torch.export."""

    sizes: tuple[tuple[str, int], ...]
    dims: tuple[Dim, ...]


class Following:
    """The ways to have torch.export follow a module. ``told`` is what a message calls torch.export."""

    def __init__(self, model: WrappedModel, module: nn.Module, told: str, *, strict: bool) -> None:
        self._contract = model.contract
        self._module = module
        self._told, self._strict = told, strict
        self._guards = Guards()
        self._dims = dims_by_name(model.contract.dims)

    def program(self) -> torch.export.ExportedProgram:
        """The program of the first try that works and is right for all declared sizes.

        Raises what torch.export raises, or ExportError if what it took for granted is wrong: for the first
        try, if none works.
        """
        # A capture leaves its own values in what a module caches. So each try gets a module as it was before.
        spare = _spare(self._contract.dims, self._module)
        module, error = self._module, None
        asked: _Try | None = _Try(
            tuple(capture_sizes(self._contract.dims, STEPS).items()), self._contract.dims
        )
        tried: list[_Try] = []
        while asked is not None and asked not in tried and len(tried) < MOST_TRIES:
            tried.append(asked)
            guards = Guards()
            try:
                made = self._followed(module, asked, guards)
                checked = module if spare is None else copied(spare, _tensors(spare))
                broken = broken_assumption(
                    made, checked, self._contract, self._dims, dict(asked.sizes), guards
                )
                if broken is None:
                    return made
                failed: Exception = ExportError(f"{self._told} could not capture the model: {broken.told}")
                asked = _Try(tuple({**dict(asked.sizes), **broken.point}.items()), self._contract.dims)
            except Exception as raised:  # noqa: BLE001 - torch.export raises what the traced code raises
                failed, asked = raised, self._after(raised, asked, first=len(tried) == 1)
            if error is None:
                error, self._guards = failed, guards
            if spare is None:
                break
            module = copied(spare, _tensors(spare))
        assert error is not None
        raise error

    def frozen(self) -> tuple[str, ...]:
        """What the try that failed had taken for granted, as ``frozen_sizes`` tells it."""
        return frozen_sizes(self._guards, self._dims)

    def _after(self, error: Exception, tried: _Try, *, first: bool) -> _Try | None:
        """What to try after a failure. Returns None if that was not about sizes."""
        if not fixes_sizes(error):
            return None
        if CONSTANT.search(str(error)):
            return replace(tried, sizes=_elsewhere(tried)) if first else None
        allowed = {name.removesuffix(COUNTED): ends for name, *ends in ALLOWED.findall(str(error))}
        dims = tuple(_within(dim, *allowed.get(dim.name, ("", ""))) for dim in tried.dims)
        return replace(tried, dims=dims)

    def _followed(self, module: nn.Module, asked: _Try, guards: Guards) -> torch.export.ExportedProgram:
        """The program that torch.export makes of the module.

        What it takes for granted goes into ``guards``.
        """
        # The options are torch.onnx's own choices (_capture_strategies.py in torch 2.9 to 2.15). The first
        # does not ask of every size whether it is 0 or 1. The second takes what torch cannot prove for
        # granted instead of refusing it; it is proved afterwards. torch.onnx of 2.15 also writes recurrences
        # as loops. That is left out: ONNX's own LSTM and GRU, which TorchScript writes, are faster by far.
        inputs = self._contract.inputs
        with (
            outputs_apart(module),
            guards.noting(),
            symbolic_shapes.patch(backed_size_oblivious=True),  # type: ignore[attr-defined]
            _layouts_unasked(),
            followable(),
        ):
            return torch.export.export(
                module,
                example_inputs(inputs, dict(asked.sizes)),
                dynamic_shapes=shapes_of(inputs, asked.dims, module),
                strict=self._strict,
                prefer_deferred_runtime_asserts_over_guards=True,
            )


@contextlib.contextmanager
def _layouts_unasked() -> Iterator[None]:
    """Inside, a trace does not note of each tensor whether it lies as channels first or last.

    With symbolic sizes that is a tenth of a capture, and no exporter reads it. Does nothing if this version
    of torch notes it in another way.
    """
    tracer: Any = proxy_tensor
    noted = getattr(tracer, "_extract_tensor_metadata", None)
    if noted is None or "include_contiguity" not in inspect.signature(noted).parameters:
        yield
        return
    tracer._extract_tensor_metadata = partial(noted, include_contiguity=False)
    try:
        yield
    finally:
        tracer._extract_tensor_metadata = noted


def _spare(dims: Sequence[Dim], module: nn.Module) -> nn.Module | None:
    """The module as it is now, for more tries.

    It has the tensors in common with the module. Returns None if no size is free, or if it cannot be copied.
    """
    if all(dim.fixed for dim in dims):
        return None
    try:
        return copied(module, _tensors(module))
    except Exception:  # noqa: BLE001 - the user's own attributes are copied
        return None


def _elsewhere(tried: _Try) -> tuple[tuple[str, int], ...]:
    """Other sizes to capture at.

    A module that keeps a table for the size that it saw last asks whether the size is still the same. If it
    is in the example, torch.export takes the size for a constant.
    """
    sizes, moved = dict(tried.sizes), {}
    for dim in tried.dims:
        size = sizes[dim.name]
        larger, smaller = size + dim.multiple, size - dim.multiple
        moved[dim.name] = larger if larger <= dim.max else smaller if smaller >= dim.min else size
    return tuple(moved.items())


def shapes_of(inputs: Sequence[TensorSpec], dims: Sequence[Dim], module: nn.Module) -> tuple[Any, ...]:
    """The symbols of the inputs' dynamic axes, in the form of the signature of ``forward``."""
    symbols = {dim.name: _symbol(dim) for dim in dims if not dim.fixed}
    shapes: tuple[Any, ...] = tuple(
        {axis: symbols[name] for axis, name in enumerate(spec.shape) if name in symbols} for spec in inputs
    )
    parameters = inspect.signature(module.forward).parameters.values()
    if any(parameter.kind is inspect.Parameter.VAR_POSITIONAL for parameter in parameters):
        return (shapes,)  # torch.export mirrors the signature: *inputs is one argument, a tuple
    return shapes


def _symbol(dim: Dim) -> Any:
    if dim.multiple == 1:
        return torch.export.Dim(dim.name, min=dim.min, max=dim.max)
    steps = torch.export.Dim(f"{dim.name}{COUNTED}", min=dim.min // dim.multiple, max=dim.max // dim.multiple)
    return dim.multiple * steps


def _tensors(module: nn.Module) -> tuple[Tensor, ...]:
    return (*module.parameters(), *module.buffers())


def _within(dim: Dim, lowest: str, highest: str) -> Dim:
    """The dim with the ends that torch.export names, in its own steps, where these are narrower."""
    low = max(dim.min, int(lowest) * dim.multiple) if lowest else dim.min
    high = min(dim.max, int(highest) * dim.multiple) if highest else dim.max
    return replace(dim, min=low, max=high) if low < high else dim
