"""The child process of ``inference``: infers the shapes of one graph at one set of sizes after the other.

It imports little, since somebody waits for it.
"""

import importlib
import importlib.util
import pickle
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

from onnxproof.system.confined import Failed, answering, answers_alone, limit_memory, outcome, say

if TYPE_CHECKING:
    import onnx


def main() -> None:
    """Read questions from standard input, and write answers to standard output."""
    answers = answers_alone()
    proto = _messages().ModelProto()
    content, most_axes, limits = pickle.load(sys.stdin.buffer)
    limit_memory(limits)
    said = outcome(proto.ParseFromString, content, limits)
    say(said, answers)
    if not isinstance(said, Failed):
        answering(lambda asked: _answer(proto, most_axes, *asked), limits, answers)


def _messages() -> ModuleType:
    """onnx's messages. The package's own code, which imports all of its modules and NumPy, does not run."""
    spec = importlib.util.find_spec("onnx")
    assert spec is not None
    sys.modules["onnx"] = importlib.util.module_from_spec(spec)
    importlib.import_module("onnx.onnx_cpp2py_export")
    return importlib.import_module("onnx.onnx_pb")


def _inferred(proto: "onnx.ModelProto", *, strict: bool) -> "onnx.ModelProto":
    """What ``onnx.shape_inference.infer_shapes`` returns."""
    inferred = type(proto)()
    compiled = sys.modules["onnx.onnx_cpp2py_export"].shape_inference
    inferred.ParseFromString(compiled.infer_shapes(proto.SerializeToString(), False, strict, True))
    return inferred


def _answer(proto: "onnx.ModelProto", most_axes: int, sizes: Any, strict: bool) -> Any:
    """The shapes and types, or what onnx says of the nodes that cannot take their inputs if ``strict``."""
    for value in proto.graph.input:
        for axis, size in zip(value.type.tensor_type.shape.dim, sizes.get(value.name, ()), strict=False):
            if size is not None:
                axis.dim_value = size
    if not strict:
        return _found(_inferred(proto, strict=False), most_axes)
    try:
        _inferred(proto, strict=True)
    except sys.modules["onnx.onnx_cpp2py_export"].shape_inference.InferenceError as error:
        return str(error)
    return ""


def _found(inferred: "onnx.ModelProto", most_axes: int) -> tuple[dict[str, tuple[int, ...]], dict[str, int]]:
    shapes, types = {}, {}
    for value in (*inferred.graph.value_info, *inferred.graph.output, *inferred.graph.input):
        tensor = value.type.tensor_type
        types[value.name] = tensor.elem_type
        dims = tensor.shape.dim
        if not tensor.HasField("shape") or len(dims) > most_axes:
            continue
        if all(dim.HasField("dim_value") for dim in dims):
            shapes[value.name] = tuple(dim.dim_value for dim in dims)
    return shapes, types
