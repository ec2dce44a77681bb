"""Capture with torch.export, asked as ``torch.onnx.export(dynamo=True)`` asks it."""

import contextlib
import inspect
import re
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import onnx
import torch
from torch import nn
from torch.fx.experimental import _config as symbolic_shapes
from torch.fx.experimental import proxy_tensor

from onnxproof.errors import ExportError, OnnxproofError
from onnxproof.export.assumptions import broken_assumption, frozen_sizes
from onnxproof.export.complex_values import in_real_values
from onnxproof.export.dtypes import state_dtypes
from onnxproof.export.examples import capture_sizes, example_inputs
from onnxproof.export.guards import STEPS as COUNTED
from onnxproof.export.guards import Guards
from onnxproof.export.quiet import outputs_apart, quiet
from onnxproof.export.reasons import UntracedError, failed_capture, fixes_sizes
from onnxproof.export.retraced import translate
from onnxproof.export.stand_ins import followable
from onnxproof.export.zero_bias import drop_zero_biases
from onnxproof.on_disk import read_captured
from onnxproof.runtime.folder import MODEL_FILE
from onnxproof.system.imports import collector_paused
from onnxproof.system.usercode import Place, place_in_trace
from onnxproof.tensors import Dim, dims_by_name
from onnxproof.wrappers.copies import copied
from onnxproof.wrappers.family import WrappedModel

STEPS = 5
"""The least number of a dim's steps to capture at. torch.export treats sizes 0 and 1 as constants, in feature
maps too: with 5 steps of 32 pixels, a map at 1/128 of the picture's size still has two cells."""

SHOWN = 3
"""How many lines that freeze a size are told."""

TRANSLATING = re.compile(r"translating node %(\w+)")


CustomOps = Mapping[Any, Callable[..., Any]]
"""By operator of torch, the function that writes it in ONNX, as in torch.onnx.export's table."""


def with_torch_export(
    model: WrappedModel,
    module: nn.Module,
    opset: int,
    custom_ops: CustomOps,
    *,
    optimize: bool,
    strict: bool = False,
    folder: Path | None = None,
) -> onnx.ModelProto:
    """The graph that torch.export captures of ``module``, with the model's dims as dynamic axes.

    ``custom_ops`` are the user's own translations, which go before ours and torch's. ``optimize`` runs the
    optimizer of torch's own exporter. torch.export follows Python as it runs, or its bytecode if ``strict``.
    Large tensors are written to ``folder``, unless that is None. Raises UntracedError if it cannot follow the
    module, ExportError if what it took for granted does not hold at a declared size or if its program cannot
    be translated, UserCodeError if the module's own code raises.
    """
    from onnxproof.export.rewrites import table_for  # noqa: PLC0415 - imports onnxscript, as a capture does

    told = "torch.export, strict," if strict else "torch.export"
    dims = dims_by_name(model.contract.dims)
    sizes = capture_sizes(model.contract.dims, STEPS)
    exported = None
    guards = Guards()
    try:
        with quiet(), collector_paused(), torch.no_grad():
            spare = _spare(model, module)
            try:
                exported = _followed(model, module, sizes, guards, strict=strict)
            except Exception as error:
                elsewhere = _elsewhere(model, sizes)
                if spare is None or elsewhere == sizes or not fixes_sizes(error):
                    raise
                module, sizes, guards = spare, elsewhere, Guards()
                exported = _followed(model, module, sizes, guards, strict=strict)
            broken = broken_assumption(exported, module, model.contract, dims, sizes, guards)
            if broken is not None:
                raise ExportError(f"{told} could not capture the model: {broken}")
            state_dtypes(exported)
            exported = in_real_values(exported, custom_ops.keys())
            program = translate(
                exported,
                opset_version=opset,
                optimize=optimize,
                input_names=[spec.name for spec in model.contract.inputs],
                output_names=[spec.name for spec in model.contract.outputs],
                custom_translation_table={**table_for(exported), **custom_ops},
            )
            _tell_apart(program)
            proto = program.model_proto if folder is None else _saved(program, folder)
    except OnnxproofError:
        raise
    except (Exception, SystemExit) as error:
        # torch.export raises what the traced code and its own passes raise: any type at all.
        failed = failed_capture(told, error, _place(exported, error))
        if exported is None and type(failed) is ExportError:
            frozen = frozen_sizes(guards, dims) if fixes_sizes(error) else ()
            raise UntracedError("; ".join((str(failed), *frozen[:SHOWN]))) from error
        raise failed from error
    if not optimize:
        drop_zero_biases(proto)
    return proto


def _followed(
    model: WrappedModel, module: nn.Module, sizes: Mapping[str, int], guards: Guards, *, strict: bool
) -> torch.export.ExportedProgram:
    """The program that torch.export makes of the module, at these sizes of the example.

    What it takes for granted goes into ``guards``.
    """
    # The options are torch.onnx's own choices (_capture_strategies.py in torch 2.9 to 2.15). The first does
    # not ask of every size whether it is 0 or 1. The second takes what torch cannot prove for granted instead
    # of refusing it; it is proved afterwards. torch.onnx of 2.15 also writes recurrences as loops. That is
    # left out: ONNX's own LSTM and GRU, which TorchScript writes, are faster by far.
    with (
        outputs_apart(module),
        guards.noting(),
        symbolic_shapes.patch(backed_size_oblivious=True),  # type: ignore[attr-defined]
        _layouts_unasked(),
        followable(),
    ):
        return torch.export.export(
            module,
            example_inputs(model.contract.inputs, sizes),
            dynamic_shapes=shapes_of(model, module),
            strict=strict,
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


def _spare(model: WrappedModel, module: nn.Module) -> nn.Module | None:
    """The module as it is now, for a second try: a capture leaves its own values in what a module caches.

    It has the tensors in common with the module. Returns None if no size is free, or if it cannot be copied.
    """
    if all(dim.fixed for dim in model.contract.dims):
        return None
    try:
        return copied(module, (*module.parameters(), *module.buffers()))
    except Exception:  # noqa: BLE001 - the user's own attributes are copied
        return None


def _elsewhere(model: WrappedModel, sizes: Mapping[str, int]) -> dict[str, int]:
    """Other sizes to capture at.

    A module that keeps a table for the size that it saw last asks whether the size is still the same. If it
    is in the example, torch.export takes the size for a constant.
    """
    moved = {}
    for dim in model.contract.dims:
        size = sizes[dim.name]
        larger, smaller = size + dim.multiple, size - dim.multiple
        moved[dim.name] = larger if larger <= dim.max else smaller if smaller >= dim.min else size
    return moved


def shapes_of(model: WrappedModel, module: nn.Module) -> tuple[Any, ...]:
    """The symbols of the inputs' dynamic axes, in the form of the signature of ``forward``."""
    symbols = {dim.name: _symbol(dim) for dim in model.contract.dims if not dim.fixed}
    shapes: tuple[Any, ...] = tuple(
        {axis: symbols[name] for axis, name in enumerate(spec.shape) if name in symbols}
        for spec in model.contract.inputs
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


def _tell_apart(program: torch.onnx.ONNXProgram) -> None:
    """Rename values inside of the graph that have the name of an input or an output.

    torch's exporter names values after their operators: an input that is called "cat" is none of them.
    """
    graph = program.model.graph
    ports = [*graph.inputs, *graph.outputs]
    taken = {value.name for value in ports}
    inside = [value for node in graph.all_nodes() for value in node.outputs]
    names = {value.name for value in inside} | taken
    for value in inside:
        if value.name in taken and not any(value is port for port in ports):
            value.name = next(name for n in count(1) if (name := f"{value.name}_inside_{n}") not in names)
            names.add(value.name)


def _saved(program: torch.onnx.ONNXProgram, folder: Path) -> onnx.ModelProto:
    """The model of a program, with its large tensors in files in the folder."""
    file = folder / MODEL_FILE
    program.save(file, external_data=True)
    return read_captured(file)


def _place(exported: torch.export.ExportedProgram | None, error: BaseException) -> Place | None:
    """The line of code behind the node that could not be translated. Returns None if no node is named."""
    if exported is None:
        return None
    cause: BaseException | None = error
    while cause is not None:
        found = TRANSLATING.search(str(cause))
        node = next((node for node in exported.graph.nodes if found and node.name == found[1]), None)
        if node is not None:
            return place_in_trace(node.meta.get("stack_trace") or "")
        cause = cause.__cause__
    return None
