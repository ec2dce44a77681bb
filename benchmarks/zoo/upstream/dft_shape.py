"""ONNX's shape inference of a one-sided DFT whose size is known at run time: prints what it infers
beside what ONNX Runtime computes."""

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper

AXIS = helper.make_tensor("axis", TensorProto.INT64, [], [1])


def model(inverse: int) -> onnx.ModelProto:
    """A one-sided DFT of [batch, width, 1 or 2]."""
    last = 2 if inverse else 1
    signal = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", "width", last])
    length = helper.make_tensor_value_info("length", TensorProto.INT64, [])
    nodes = [
        helper.make_node("DFT", ["x", "length", "axis"], ["made"], inverse=inverse, onesided=1),
        helper.make_node("Relu", ["made"], ["y"]),
    ]
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [None, None, None])
    graph = helper.make_graph(nodes, "dft", [signal, length], [y], [AXIS])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


for inverse in (0, 1):
    proto = model(inverse)
    onnx.checker.check_model(proto)
    inferred = onnx.shape_inference.infer_shapes(proto).graph.value_info
    shape = next(value.type.tensor_type.shape for value in inferred if value.name == "made")
    sizes = [axis.dim_param or axis.dim_value for axis in shape.dim]
    x = np.zeros((1, 8, 2 if inverse else 1), np.float32)
    session = onnxruntime.InferenceSession(proto.SerializeToString())
    made = session.run(None, {"x": x, "length": np.array(14 if inverse else 8)})[0]
    print("inverse" if inverse else "forward", "inferred", sizes, "of width 8 came", made.shape)
