"""Turn a wrapped model into an ONNX graph: with torch.export, or with TorchScript if that fails."""

from dataclasses import dataclass
from typing import Literal

import onnx
from torch import nn

from onnxproof.errors import ExportError, OnnxproofError, UserCodeError
from onnxproof.export.finish import name_outputs
from onnxproof.export.frozen import apart, find_frozen
from onnxproof.export.reasons import both_failed
from onnxproof.export.torch_export import with_torch_export
from onnxproof.export.torchscript import with_torchscript
from onnxproof.job import OLDEST_TORCH_EXPORT_OPSET
from onnxproof.runtime.manifest import Frozen
from onnxproof.wrappers.family import WrappedModel

Exporter = Literal["torch.export", "torchscript"]


@dataclass(frozen=True, slots=True, eq=False)
class Captured:
    """An ONNX graph and the exporter that made it.

    ``fallback_reason`` says why the first choice did not make it, and is None if it did. ``frozen`` are the
    places where a trace froze what Python computed.
    """

    proto: onnx.ModelProto
    exporter: Exporter
    fallback_reason: str | None
    frozen: tuple[Frozen, ...] = ()


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
        return _traced(model, module, opset, None)
    if model.traced is not None:
        if exporter == "torch.export":
            raise ExportError(f'{model.traced}: set export.exporter = "torchscript", or "auto"')
        return _traced(model, module, opset, model.traced)
    if opset < OLDEST_TORCH_EXPORT_OPSET:
        reason = f"torch.export writes opset {OLDEST_TORCH_EXPORT_OPSET} and later, asked for {opset}"
        if exporter == "torch.export":
            raise ExportError(f'{reason}: raise export.opset, or set export.exporter = "torchscript"')
        return _traced(model, module, opset, reason)
    try:
        proto = with_torch_export(model, module, opset, optimize=optimize)
        return Captured(_checked(model, proto, opset), "torch.export", None)
    except (ExportError, UserCodeError) as error:
        # A module that ends the program does so whoever captures it.
        if exporter == "torch.export" or isinstance(error.__cause__, SystemExit):
            raise
        first: OnnxproofError = error
    try:
        return _traced(model, module, opset, str(first))
    except (ExportError, UserCodeError) as error:
        raise both_failed(first, error) from error.__cause__


def _traced(model: WrappedModel, module: nn.Module, opset: int, reason: str | None) -> Captured:
    before = apart(module)
    proto, warned = with_torchscript(model, module, opset)
    checked = _checked(model, proto, opset)
    return Captured(checked, "torchscript", reason, find_frozen(before, model.contract, warned))


def _checked(model: WrappedModel, proto: onnx.ModelProto, opset: int) -> onnx.ModelProto:
    written = opset_of(proto)
    if written != opset:
        raise ExportError(
            f"the exporter wrote opset {written}, asked for {opset}: set export.opset = {written}"
        )
    return name_outputs(proto, [spec.name for spec in model.contract.outputs])


def opset_of(proto: onnx.ModelProto) -> int:
    """The version of the standard operator set that a model imports."""
    return next((int(entry.version) for entry in proto.opset_import if entry.domain in ("", "ai.onnx")), 0)
