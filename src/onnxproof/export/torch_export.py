"""Capture with torch.export, asked as ``torch.onnx.export(dynamo=True)`` asks it."""

import re
from collections.abc import Callable, Mapping
from itertools import count
from pathlib import Path
from typing import Any

import onnx
import torch
from torch import nn

from onnxproof.errors import ExportError, OnnxproofError
from onnxproof.export.complex_values import in_real_values
from onnxproof.export.dtypes import state_dtypes
from onnxproof.export.followed import Following
from onnxproof.export.quiet import quiet
from onnxproof.export.reasons import UntracedError, failed_capture, fixes_sizes
from onnxproof.export.retraced import translate
from onnxproof.export.zero_bias import drop_zero_biases
from onnxproof.on_disk import read_captured
from onnxproof.runtime.folder import MODEL_FILE
from onnxproof.system.imports import collector_paused
from onnxproof.system.usercode import Place, place_in_trace
from onnxproof.wrappers.family import WrappedModel

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
    following = Following(model, module, told, strict=strict)
    exported = None
    try:
        with quiet(), collector_paused(), torch.no_grad():
            exported = following.program()
            state_dtypes(exported)
            exported = in_real_values(exported, custom_ops.keys())
            program = translate(
                exported,
                opset_version=opset,
                optimize=optimize,
                input_names=[spec.name for spec in model.contract.inputs],
                output_names=[spec.name for spec in model.contract.outputs],
                custom_translation_table={**table_for(exported, opset), **custom_ops},
            )
            _tell_apart(program)
            proto = program.model_proto if folder is None else _saved(program, folder)
    except OnnxproofError:
        raise
    except (Exception, SystemExit) as error:
        # torch.export raises what the traced code and its own passes raise: any type at all.
        failed = failed_capture(told, error, _place(exported, error))
        if exported is None and type(failed) is ExportError:
            frozen = following.frozen() if fixes_sizes(error) else ()
            raise UntracedError("; ".join((str(failed), *frozen[:SHOWN]))) from error
        raise failed from error
    if not optimize:
        drop_zero_biases(proto)
    return proto


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
