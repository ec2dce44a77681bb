"""Capture with torch.export, asked as ``torch.onnx.export(dynamo=True)`` asks it."""

import contextlib
import inspect
import re
import tempfile
from collections.abc import Iterator
from typing import Any, Literal

import onnx
import torch
from torch import nn
from torch.fx.experimental import _config as symbolic_shapes

from onnxproof.errors import ExportError, OnnxproofError
from onnxproof.export.assumptions import broken_assumption
from onnxproof.export.examples import capture_sizes, example_inputs
from onnxproof.export.quiet import collector_paused, outputs_apart, quiet
from onnxproof.export.reasons import UntracedError, failed_capture
from onnxproof.export.zero_bias import drop_zero_biases
from onnxproof.files import scratch_folder
from onnxproof.tensors import Dim, dims_by_name
from onnxproof.usercode import Place, place_in_trace
from onnxproof.wrappers.family import WrappedModel

STEPS = 5
"""The least number of a dim's steps to capture at. torch.export treats sizes 0 and 1 as constants, in feature
maps too: with 5 steps of 32 pixels, a map at 1/128 of the picture's size still has two cells."""

TRANSLATING = re.compile(r"translating node %(\w+)")


Mode = Literal["", "strict", "draft"]
"""How torch.export follows the module: Python as it runs, its bytecode ("strict"), or Python with real values
beside the symbols ("draft"), which goes on where a size or a value decides."""


def with_torch_export(
    model: WrappedModel, module: nn.Module, opset: int, *, optimize: bool, mode: Mode = ""
) -> onnx.ModelProto:
    """The graph that torch.export captures of ``module``, with the model's dims as dynamic axes.

    ``optimize`` runs the optimizer of torch's own exporter. Raises UntracedError if torch.export cannot
    follow the module in this mode, ExportError if what it took for granted does not hold at a declared size
    or if its program cannot be translated, UserCodeError if the module's own code raises.
    """
    told = f"torch.export{f', {mode}' if mode else ''}"
    dims = dims_by_name(model.contract.dims)
    sizes = capture_sizes(model.contract.dims, STEPS)
    args = example_inputs(model.contract.inputs, sizes)
    symbols = {name: _symbol(dim) for name, dim in dims.items() if not dim.fixed}
    exported = None
    try:
        with quiet(), collector_paused(), torch.no_grad(), outputs_apart(module):
            exported = _program(module, args, _shapes(model, module, symbols), mode)
            broken = broken_assumption(exported, module, model.contract, dims, sizes)
            if broken is not None:
                raise ExportError(f"{told} could not capture the model: {broken}")
            program = torch.onnx.export(
                exported,
                dynamo=True,
                opset_version=opset,
                optimize=optimize,
                verbose=False,
                input_names=[spec.name for spec in model.contract.inputs],
                output_names=[spec.name for spec in model.contract.outputs],
            )
    except OnnxproofError:
        raise
    except (Exception, SystemExit) as error:
        # torch.export raises what the traced code and its own passes raise: any type at all.
        failed = failed_capture(told, error, _place(exported, error))
        if exported is None and type(failed) is ExportError:
            raise UntracedError(str(failed)) from error
        raise failed from error
    assert program is not None
    proto = program.model_proto
    if not optimize:
        drop_zero_biases(proto)
    return proto


def _program(
    module: nn.Module, args: tuple[Any, ...], shapes: tuple[Any, ...], mode: Mode
) -> torch.export.ExportedProgram:
    """What torch.export makes of the module.

    The options are torch.onnx's own choices (_capture_strategies.py in torch 2.9 to 2.15). The first does not
    ask of every size whether it is 0 or 1. The second takes what torch cannot prove for granted instead of
    refusing it; ``broken_assumption`` proves it. torch.onnx of 2.15 also writes recurrences as loops. That is
    left out: the ONNX operators LSTM and GRU, which other rungs write, are faster by far.
    """
    with symbolic_shapes.patch(backed_size_oblivious=True):  # type: ignore[attr-defined]
        if mode == "draft":
            with _own_temporary_files():
                return torch.export.draft_export(
                    module, args, dynamic_shapes=shapes, prefer_deferred_runtime_asserts_over_guards=True
                )
        return torch.export.export(
            module,
            args,
            dynamic_shapes=shapes,
            strict=mode == "strict",
            prefer_deferred_runtime_asserts_over_guards=True,
        )


def _shapes(model: WrappedModel, module: nn.Module, symbols: dict[str, Any]) -> tuple[Any, ...]:
    """The symbols of the inputs' axes, in the form of the signature of ``forward``."""
    shapes: tuple[Any, ...] = tuple(
        {axis: symbols[name] for axis, name in enumerate(spec.shape) if name in symbols}
        for spec in model.contract.inputs
    )
    parameters = inspect.signature(module.forward).parameters.values()
    if any(parameter.kind is inspect.Parameter.VAR_POSITIONAL for parameter in parameters):
        return (shapes,)  # torch.export mirrors the signature: *inputs is one argument, a tuple
    return shapes


@contextlib.contextmanager
def _own_temporary_files() -> Iterator[None]:
    """Remove the log that draft_export leaves in the folder for temporary files."""
    before = tempfile.tempdir
    with scratch_folder() as folder:
        tempfile.tempdir = str(folder)
        try:
            yield
        finally:
            tempfile.tempdir = before


def _symbol(dim: Dim) -> Any:
    if dim.multiple == 1:
        return torch.export.Dim(dim.name, min=dim.min, max=dim.max)
    steps = torch.export.Dim(f"{dim.name}_steps", min=dim.min // dim.multiple, max=dim.max // dim.multiple)
    return dim.multiple * steps


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
