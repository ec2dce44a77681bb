"""Capture with TorchScript: it traces what runs, and bakes in what Python computed on the way."""

import contextlib
import sys
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import helper
from torch import Tensor, nn
from torch.jit._trace import TracerWarning

from onnxproof.export.examples import capture_sizes, example_inputs
from onnxproof.export.quiet import outputs_apart, quiet, tensors_only
from onnxproof.export.reasons import failed_capture
from onnxproof.export.symbolics import registered
from onnxproof.on_disk import read_captured
from onnxproof.runtime.folder import MODEL_FILE
from onnxproof.system.scratch import scratch_folder
from onnxproof.system.usercode import Place, place_outside
from onnxproof.tensors import TensorSpec
from onnxproof.wrappers.double.weights import has_scripted_part
from onnxproof.wrappers.family import WrappedModel

LIBRARY = frozenset({"torch", "torchvision"})
"""Packages whose own warnings torch's tracer ignores (``TracerWarning.ignore_lib_warnings``)."""

ENTRANCES = ("torch/_tensor.py", "torch/functional.py", "torch/overrides.py")
"""Files of torch that user code calls as a tensor's methods: what they read, the user's line reads."""


@dataclass(frozen=True, slots=True)
class Warned:
    """A place where Python read a traced value.

    ``in_library`` is True if a line of ``LIBRARY`` read it of its own accord.
    """

    place: Place
    in_library: bool


def with_torchscript(
    model: WrappedModel, module: nn.Module, opset: int, folder: Path | None = None
) -> tuple[onnx.ModelProto, tuple[Warned, ...]]:
    """The graph that TorchScript captures of ``module``, and where the tracer warned.

    Large tensors are left in files in ``folder``, unless that is None. Raises ExportError if capture fails.
    """
    fixed = {dim.name for dim in model.contract.dims if dim.fixed}
    axes = {
        spec.name: {
            axis: name for axis, name in enumerate(spec.shape) if isinstance(name, str) and name not in fixed
        }
        for spec in (*model.contract.inputs, *model.contract.outputs)
    }
    args = example_inputs(model.contract.inputs, capture_sizes(model.contract.dims))
    try:
        with (
            quiet(),
            tracer_warnings() as warned,
            no_graph_dump(),
            registered(opset),
            torch.no_grad(),
            outputs_apart(module),
            tensors_only(module),
            scratch_folder() if folder is None else contextlib.nullcontext(folder) as place,
        ):
            file = place / MODEL_FILE
            torch.onnx.export(
                _traceable(module, args),
                args,
                file,
                dynamo=False,
                opset_version=opset,
                input_names=[spec.name for spec in model.contract.inputs],
                output_names=[spec.name for spec in model.contract.outputs],
                dynamic_axes=axes,
            )
            proto = onnx.load(file) if folder is None else read_captured(file)
    except (Exception, SystemExit) as error:
        # The tracer raises what the traced code raises: any type at all.
        raise failed_capture("TorchScript", error) from error
    _declare_unread(proto, model.contract.inputs)
    return proto, tuple(dict.fromkeys(warned))


def _declare_unread(proto: onnx.ModelProto, inputs: Sequence[TensorSpec]) -> None:
    """Declare the inputs that nothing reads, too: the exporter drops them."""
    read = {value.name: value for value in proto.graph.input}
    declared = [
        read.get(spec.name)
        or helper.make_tensor_value_info(
            spec.name, helper.np_dtype_to_tensor_dtype(np.dtype(spec.dtype)), spec.shape
        )
        for spec in inputs
    ]
    others = [value for name, value in read.items() if name not in {spec.name for spec in inputs}]
    del proto.graph.input[:]
    proto.graph.input.extend((*declared, *others))


def _traceable(module: nn.Module, args: tuple[Tensor, ...]) -> nn.Module:
    """The module in a form that the exporter takes: traced already, if a part of it is scripted.

    The exporter's own trace does not enter scripted parts of a module; ``torch.jit.trace`` does.
    """
    if not has_scripted_part(module):
        return module
    traced: nn.Module = torch.jit.trace(module, args, check_trace=False)  # type: ignore[no-untyped-call]
    return traced


def of_library(filename: str) -> bool:
    """Whether a file is torch's or torchvision's, and not one of ``ENTRANCES``."""
    return Place(filename, 0, None).package in LIBRARY and not filename.endswith(ENTRANCES)


@contextlib.contextmanager
def tracer_warnings() -> Iterator[list[Warned]]:
    """Collect where the tracer warns, instead of showing it. Other warnings are ignored."""
    found: list[Warned] = []

    def note(message: Warning | str, category: type[Warning], filename: str, *_: Any) -> None:  # noqa: ARG001
        place = place_outside(sys._getframe(1), LIBRARY)
        if issubclass(category, TracerWarning) and place is not None:
            found.append(Warned(place, of_library(filename)))

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("always", TracerWarning)
        warnings.showwarning = note  # type: ignore[assignment]
        yield found


@contextlib.contextmanager
def no_graph_dump() -> Iterator[None]:
    """Keep the TorchScript exporter from switching on the log into which it dumps the graph when it fails.

    The exporter means to switch on the log only if it was on before. But it tests the function that tells
    so instead of calling it (torch 2.15, ``setup_onnx_logging``), so it always does. The log is written in
    C++, past ``sys.stdout``.
    """
    switch = torch._C._jit_set_onnx_log_enabled
    switch(False)
    torch._C._jit_set_onnx_log_enabled = lambda enabled: None  # noqa: ARG005
    try:
        yield
    finally:
        torch._C._jit_set_onnx_log_enabled = switch
