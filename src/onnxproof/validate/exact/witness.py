"""Whether a node on which its implementation here raised is at fault itself, as ONNX Runtime sees it.

An implementation raises whatever NumPy and torch raise where shapes do not fit. It may also be wrong about
what fits. So the node is run on the same values in ONNX Runtime, too. Only what is refused there, at a check
of the values, is held against the file. What ONNX Runtime runs, lacks itself or has no memory for is a limit
of the evaluator.
"""

from collections.abc import Sequence

import numpy as np
from onnx import NodeProto, ValueInfoProto, helper

from onnxproof.runtime.session import SessionSettings, open_bytes
from onnxproof.validate.exact.arrays import Value

NEWEST_IR = 10
"""An IR version that every supported ONNX Runtime reads."""

NEWEST_OPSET = 21
"""The opset that ONNX's own operators have in a model of a node of another domain."""

WITHOUT_SAY = ("NOT_IMPLEMENTED", "INVALID_GRAPH", "bad_alloc", "allocate memory", "out of memory")
"""What ONNX Runtime's messages hold if it lacks a kernel, does not take the dtypes, or runs out of memory."""

REFUSES = ("ShapeInferenceError", "Non-zero status code", "INVALID_ARGUMENT")
"""What they hold if the shapes or the values do not fit."""


def is_forbidden(node: NodeProto, opset: int, values: Sequence[Value]) -> bool:
    """Whether ONNX Runtime refuses to run the node on these values, floats as float32."""
    feeds: dict[str, Value] = {}
    try:
        model = _model_of(node, opset, values, feeds)
        session = open_bytes(model, "the node's own model", SessionSettings(threads=1, optimization="none"))
        session.run(None, feeds)
    except Exception as error:  # noqa: BLE001
        # ONNX Runtime's exceptions have no common public base below Exception.
        said = f"{error} {error.__cause__}"
        return any(word in said for word in REFUSES) and not any(word in said for word in WITHOUT_SAY)
    return False


def _model_of(node: NodeProto, opset: int, values: Sequence[Value], feeds: dict[str, Value]) -> bytes:
    """A model of the node alone; fills ``feeds`` with its inputs."""
    inputs = []
    for name, value in zip(node.input, values, strict=True):
        if name and name not in feeds:
            feeds[name] = _narrow(value)
            inputs.append(_declared(name, feeds[name]))
    outputs = [ValueInfoProto(name=name) for name in node.output if name]
    graph = helper.make_graph([node], "alone", inputs, outputs)
    domain = "" if node.domain == "ai.onnx" else node.domain
    opsets = {"": NEWEST_OPSET, domain: opset}
    imported = [helper.make_opsetid(name, version) for name, version in opsets.items()]
    model = helper.make_model(graph, opset_imports=imported, ir_version=NEWEST_IR)
    return bytes(model.SerializeToString())


def _narrow(value: Value) -> Value:
    """ONNX Runtime has kernels in float32 for nearly all operators, and in float64 for few."""
    if isinstance(value, list):
        return [_narrow(one) for one in value]
    with np.errstate(over="ignore"):
        return value.astype(np.float32) if value.dtype == np.float64 else value


def _declared(name: str, value: Value) -> ValueInfoProto:
    if isinstance(value, list):
        kind = helper.np_dtype_to_tensor_dtype(value[0].dtype if value else np.dtype(np.float32))
        return helper.make_tensor_sequence_value_info(name, kind, None)
    return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(value.dtype), value.shape)
