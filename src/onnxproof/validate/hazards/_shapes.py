"""Infer the shapes of a graph at given sizes of its inputs, without its weights."""

import math

import onnx
import onnx_ir as ir

from onnxproof.graph import axes_of

Shape = tuple[int, ...]

SMALL = 512
"""The most elements of a tensor that stays in the copy whose shapes are inferred: larger are no sizes."""


def known_shape(value: ir.Value) -> Shape | None:
    """A value's shape if all of it is known."""
    axes = axes_of(value)
    return None if axes is None or any(isinstance(axis, str) for axis in axes) else axes  # type: ignore[return-value]


def without_weights(proto: onnx.ModelProto) -> onnx.ModelProto:
    """A copy of a graph whose large initializers are inputs. It has no shapes of intermediate values."""
    light = onnx.ModelProto(ir_version=max(proto.ir_version, 8), opset_import=proto.opset_import)
    light.graph.name = "light"
    light.graph.node.extend(proto.graph.node)
    light.graph.input.extend(proto.graph.input)
    given = {value.name for value in proto.graph.input}
    for tensor in proto.graph.initializer:
        if tensor.data_location != onnx.TensorProto.EXTERNAL and math.prod(tensor.dims) <= SMALL:
            light.graph.initializer.append(tensor)
        elif tensor.name not in given:
            light.graph.input.append(
                onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, list(tensor.dims))
            )
    light.graph.output.extend(onnx.ValueInfoProto(name=value.name) for value in proto.graph.output)
    return light
