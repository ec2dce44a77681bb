"""The child process of ``inference``: infers the shapes of one graph at one set of sizes after the other.

It imports little, since somebody waits for it.
"""

import pickle
import sys
from typing import Any

import onnx
from onnx.shape_inference import InferenceError, infer_shapes

from onnxproof.system.confined import Failed, answering, answers_alone, limit_memory, outcome, say


def main() -> None:
    """Read questions from standard input, and write answers to standard output."""
    answers = answers_alone()
    content, most_axes, limits = pickle.load(sys.stdin.buffer)
    limit_memory(limits)
    proto = onnx.ModelProto()
    said = outcome(proto.ParseFromString, content, limits)
    say(said, answers)
    if not isinstance(said, Failed):
        answering(lambda asked: _answer(proto, most_axes, *asked), limits, answers)


def _answer(proto: onnx.ModelProto, most_axes: int, sizes: Any, strict: bool) -> Any:
    """The shapes and types, or what onnx says of the nodes that cannot take their inputs if ``strict``."""
    for value in proto.graph.input:
        for axis, size in zip(value.type.tensor_type.shape.dim, sizes.get(value.name, ()), strict=False):
            if size is not None:
                axis.dim_value = size
    if not strict:
        return _found(infer_shapes(proto, data_prop=True), most_axes)
    try:
        infer_shapes(proto, strict_mode=True, data_prop=True)
    except InferenceError as error:
        return str(error)
    return ""


def _found(inferred: onnx.ModelProto, most_axes: int) -> tuple[dict[str, tuple[int, ...]], dict[str, int]]:
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
