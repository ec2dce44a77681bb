"""Turn a wrapped model into an ONNX graph: with torch.export, or with TorchScript if that fails."""

import contextlib
import gc
import inspect
import io
import logging
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import onnx
import torch
from torch import Tensor, nn

from onnxproof.errors import ExportError, OnnxproofError, UserCodeError
from onnxproof.files import scratch_folder
from onnxproof.job import OLDEST_TORCH_EXPORT_OPSET
from onnxproof.seeded import draw
from onnxproof.tensors import Dim, TensorSpec, dims_by_name
from onnxproof.usercode import failure, raised_by_user
from onnxproof.wrappers.family import WrappedModel

Exporter = Literal["torch.export", "torchscript"]

TORCH_EXPORT_STEPS = 5
"""The least number of a dim's steps that torch.export captures at. It treats sizes 0 and 1 as constants, in
feature maps too: with 5 steps of 32 pixels, a map at 1/128 of the picture's size still has two cells."""


@dataclass(frozen=True, slots=True, eq=False)
class Captured:
    """An ONNX graph and the exporter that made it. ``fallback_reason`` says why the first choice did not, and
    is None if it did."""

    proto: onnx.ModelProto
    exporter: Exporter
    fallback_reason: str | None


def capture(
    model: WrappedModel,
    module: nn.Module,
    exporter: Exporter | Literal["auto"],
    opset: int,
    *,
    optimize: bool,
) -> Captured:
    """Export ``module`` (the model's own, or a folded copy) with the model's dims as dynamic axes.

    ``optimize`` runs the optimizer of torch's own exporter. It takes a third of the export's time, which is
    wasted if a simplifier runs afterwards.

    Raises ExportError if capture fails, or if the exporter wrote another opset than asked for.
    """
    if exporter == "torchscript":
        return Captured(_with_torchscript(model, module, opset), "torchscript", None)
    if model.traced is not None:
        if exporter == "torch.export":
            raise ExportError(f'{model.traced}: set export.exporter = "torchscript", or "auto"')
        return Captured(_with_torchscript(model, module, opset), "torchscript", model.traced)
    if opset < OLDEST_TORCH_EXPORT_OPSET:
        reason = f"torch.export writes opset {OLDEST_TORCH_EXPORT_OPSET} and later, asked for {opset}"
        if exporter == "torch.export":
            raise ExportError(f'{reason}: raise export.opset, or set export.exporter = "torchscript"')
        return Captured(_with_torchscript(model, module, opset), "torchscript", reason)
    try:
        return Captured(_with_torch_export(model, module, opset, optimize), "torch.export", None)
    except (ExportError, UserCodeError) as error:
        # A module that ends the program does so whoever captures it.
        if exporter == "torch.export" or isinstance(error.__cause__, SystemExit):
            raise
        return Captured(_with_torchscript(model, module, opset), "torchscript", str(error))


def capture_sizes(dims: Sequence[Dim], least: int = 2) -> dict[str, int]:
    """Small sizes to capture at: another for each dim, and at least ``least`` steps if the dim allows it."""
    sizes: dict[str, int] = {}
    for position, dim in enumerate(dims):
        steps = max(least + position, -(-dim.min // dim.multiple))
        sizes[dim.name] = dim.floor(steps * dim.multiple)
    return sizes


def example_inputs(inputs: Sequence[TensorSpec], sizes: dict[str, int]) -> tuple[Tensor, ...]:
    """Seeded tensors of the inputs' dtypes, sizes and ranges."""
    random = np.random.default_rng(0)
    return tuple(torch.from_numpy(draw(spec, sizes, random)) for spec in inputs)


def _with_torch_export(model: WrappedModel, module: nn.Module, opset: int, optimize: bool) -> onnx.ModelProto:
    dims = dims_by_name(model.contract.dims)
    args = example_inputs(model.contract.inputs, capture_sizes(model.contract.dims, TORCH_EXPORT_STEPS))
    symbols = {name: _symbol(dim) for name, dim in dims.items() if not dim.fixed}
    shapes: tuple[Any, ...] = tuple(
        {axis: symbols[name] for axis, name in enumerate(spec.shape) if name in symbols}
        for spec in model.contract.inputs
    )
    parameters = inspect.signature(module.forward).parameters.values()
    if any(parameter.kind is inspect.Parameter.VAR_POSITIONAL for parameter in parameters):
        shapes = (shapes,)  # torch.export mirrors the signature: *inputs is one argument, a tuple
    try:
        with _quiet(), _collector_paused(), torch.no_grad():
            exported = torch.export.export(module, args, dynamic_shapes=shapes)
            program = torch.onnx.export(
                exported,
                dynamo=True,
                opset_version=opset,
                optimize=optimize,
                verbose=False,
                input_names=[spec.name for spec in model.contract.inputs],
                output_names=[spec.name for spec in model.contract.outputs],
            )
    except (Exception, SystemExit) as error:
        # torch.export raises what the traced code and its own passes raise: any type at all.
        raise _failure("torch.export", error) from error
    assert program is not None
    return _checked(program.model_proto, opset)


def _symbol(dim: Dim) -> Any:
    if dim.multiple == 1:
        return torch.export.Dim(dim.name, min=dim.min, max=dim.max)
    steps = torch.export.Dim(f"{dim.name}_steps", min=dim.min // dim.multiple, max=dim.max // dim.multiple)
    return dim.multiple * steps


def _with_torchscript(model: WrappedModel, module: nn.Module, opset: int) -> onnx.ModelProto:
    fixed = {dim.name for dim in model.contract.dims if dim.fixed}
    axes = {
        spec.name: {
            axis: name for axis, name in enumerate(spec.shape) if isinstance(name, str) and name not in fixed
        }
        for spec in (*model.contract.inputs, *model.contract.outputs)
    }
    args = example_inputs(model.contract.inputs, capture_sizes(model.contract.dims))
    try:
        with _quiet(), _no_graph_dump(), torch.no_grad(), scratch_folder() as folder:
            file = folder / "model.onnx"
            torch.onnx.export(
                module,
                args,
                file,
                dynamo=False,
                opset_version=opset,
                input_names=[spec.name for spec in model.contract.inputs],
                output_names=[spec.name for spec in model.contract.outputs],
                dynamic_axes=axes,
            )
            proto = onnx.load(file)
    except (Exception, SystemExit) as error:
        # The tracer raises what the traced code raises: any type at all.
        raise _failure("TorchScript", error) from error
    return _checked(proto, opset)


def _checked(proto: onnx.ModelProto, opset: int) -> onnx.ModelProto:
    written = opset_of(proto)
    if written != opset:
        raise ExportError(
            f"the exporter wrote opset {written}, asked for {opset}: set export.opset = {written}"
        )
    return proto


def opset_of(proto: onnx.ModelProto) -> int:
    """The version of the standard operator set that a model imports."""
    return next((int(entry.version) for entry in proto.opset_import if entry.domain in ("", "ai.onnx")), 0)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporters' own progress, warnings and graph dumps off the terminal."""
    previous = logging.root.manager.disable
    with (
        warnings.catch_warnings(),
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
    ):
        warnings.simplefilter("ignore")
        logging.disable(logging.WARNING)
        try:
            yield
        finally:
            logging.disable(previous)


@contextlib.contextmanager
def _collector_paused() -> Iterator[None]:
    """Pause Python's cycle collector. It takes a fifth of a capture's time to walk the millions of small
    objects that a symbolic trace keeps alive, and frees next to nothing."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


@contextlib.contextmanager
def _no_graph_dump() -> Iterator[None]:
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


def _failure(exporter: str, error: BaseException) -> OnnxproofError:
    """UserCodeError if the traced code itself raised, ExportError if the exporter did."""
    if raised_by_user(error):
        return failure(f"while {exporter} captures the model, its code", error)
    return ExportError(f"{exporter} could not capture the model: {_first_line(error)}")


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = lines[0] if lines else ""
    return f"{type(error).__name__}: {text[:300]}"
