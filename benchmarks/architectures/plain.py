"""What PyTorch's own exporters make of a model, asked as their users ask."""

import io
from typing import Any

import onnx
import torch

from onnxproof.export.examples import capture_sizes, example_inputs
from onnxproof.wrappers.family import WrappedModel


def by_dynamo(model: WrappedModel) -> onnx.ModelProto:
    """``torch.onnx.export(dynamo=True)`` with all else as it comes."""
    dynamic: Any = tuple(
        {axis: torch.export.Dim.DYNAMIC for axis, name in enumerate(spec.shape) if isinstance(name, str)}
        for spec in model.contract.inputs
    )
    arguments, names = _arguments(model)
    program = torch.onnx.export(
        model.module, arguments, dynamo=True, dynamic_shapes=(dynamic,), verbose=False, **names
    )
    assert program is not None
    return program.model_proto


def by_torchscript(model: WrappedModel) -> onnx.ModelProto:
    """``torch.onnx.export(dynamo=False)`` with all else as it comes."""
    axes = {
        spec.name: {axis: name for axis, name in enumerate(spec.shape) if isinstance(name, str)}
        for spec in (*model.contract.inputs, *model.contract.outputs)
    }
    arguments, names = _arguments(model)
    file: Any = io.BytesIO()
    torch.onnx.export(model.module, arguments, file, dynamo=False, dynamic_axes=axes, **names)
    return onnx.load_from_string(file.getvalue())


def _arguments(model: WrappedModel) -> tuple[tuple[torch.Tensor, ...], dict[str, Any]]:
    contract = model.contract
    arguments = example_inputs(contract.inputs, capture_sizes(contract.dims))
    names = {
        "input_names": [spec.name for spec in contract.inputs],
        "output_names": [spec.name for spec in contract.outputs],
    }
    return arguments, names
