"""What an ONNX graph computes where floats do not round: the same graph, evaluated in float64.

Float32 constants are taken over exactly, and every operation is done in double. Casts to float16 and
bfloat16 still round, for such a cast is part of what the graph says; a cast to float32 does not. So the
difference of two graphs on one input is what they differ in as functions, free of float32's error. ONNX
Runtime cannot do this: it has no Conv in double. The nodes run in ``onnx.reference``, with the operators of
``operators.py`` in front.

Between two casts to float16 nothing is rounded: what a graph of float16 operators loses in each of them is
not seen.
"""

from collections.abc import Iterator, Mapping
from os import PathLike
from types import MappingProxyType
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, helper, inliner, numpy_helper
from onnx.reference import ReferenceEvaluator
from soundness.operators import UnsupportedNodeError, all_classes

Array = NDArray[Any]

_FLOATS = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE)
_OLD_SOFTMAX = ("Softmax", "LogSoftmax", "Hardmax")
"""Operators that meant another thing before opset 13."""


class ExactError(Exception):
    """A graph could not be evaluated in float64."""


class UnsupportedError(ExactError):
    """The graph holds what this evaluator does not know. Nothing is said about the graph itself."""


class NotRunnableError(ExactError):
    """The graph does not take these inputs: an axis is frozen at another size, an input has another name or
    dtype, or shapes do not fit inside of it."""


class ExactGraph:
    """A graph ready to be evaluated any number of times.

    ``model`` is a graph with its weights, or a file of one; it is not changed. Raises UnsupportedError where
    it holds unknown operators, and what ``onnx.load`` raises where the file is none.
    """

    def __init__(self, model: ModelProto | str | PathLike[str]) -> None:
        proto = onnx.load(model) if not isinstance(model, ModelProto) else model
        opset = next((entry.version for entry in proto.opset_import if entry.domain in ("", "ai.onnx")), 0)
        if opset < 13 and any(node.op_type in _OLD_SOFTMAX for node in _nodes(proto.graph)):
            raise UnsupportedError(f"opset {opset} has another softmax; it is evaluated from 13 on")
        weights = {tensor.name for tensor in proto.graph.initializer}
        self._inputs = {value.name: value for value in proto.graph.input if value.name not in weights}
        self._outputs = tuple(value.name for value in proto.graph.output)
        try:
            self._evaluator = ReferenceEvaluator(_widened(proto), new_ops=all_classes())
        except (NotImplementedError, RuntimeError, TypeError) as error:
            raise UnsupportedError(f"an operator is not evaluated here: {error}") from error

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """The outputs by name, floats as float64, others as they are.

        ``inputs`` holds every input of the graph; floats of any width do. Raises NotRunnableError where
        the graph does not take them, UnsupportedError where a node asks for what is not evaluated here.
        """
        feeds = {name: _wide(np.asarray(array)) for name, array in inputs.items()}
        self._check(feeds)
        try:
            with np.errstate(all="ignore"):
                values = self._evaluator.run(list(self._outputs), feeds)
        except (UnsupportedNodeError, NotImplementedError) as error:
            raise UnsupportedError(str(error)) from error
        except Exception as error:
            # Operators raise whatever NumPy and torch raise for shapes that do not fit.
            shapes = ", ".join(f"{name} {list(array.shape)}" for name, array in inputs.items())
            raise NotRunnableError(f"the graph does not run on {shapes}: {_innermost(error)}") from error
        outputs = dict(zip(self._outputs, values, strict=True))
        for name, value in outputs.items():
            if not isinstance(value, np.ndarray):
                raise UnsupportedError(f"output {name} is a {type(value).__name__}, no tensor")
            if value.dtype.kind == "f" and value.dtype != np.float64:
                raise UnsupportedError(f"output {name} came out as {value.dtype}: an operator rounded it")
        return outputs

    def _check(self, feeds: Mapping[str, Array]) -> None:
        if set(feeds) != set(self._inputs):
            raise NotRunnableError(f"the graph's inputs are {sorted(self._inputs)}, got {sorted(feeds)}")
        for name, array in feeds.items():
            kind = self._inputs[name].type.tensor_type
            declared = np.dtype(np.float64) if kind.elem_type in _FLOATS else _dtype(kind.elem_type)
            if array.dtype != declared:
                raise NotRunnableError(f"input {name} is declared as {declared}, got {array.dtype}")
            if not kind.HasField("shape"):
                continue
            axes = [axis.dim_value if axis.HasField("dim_value") else None for axis in kind.shape.dim]
            if len(axes) != array.ndim or any(
                size not in (None, got) for size, got in zip(axes, array.shape, strict=True)
            ):
                raise NotRunnableError(f"input {name} is declared as {axes}, got {list(array.shape)}")


def run_exact(model: ModelProto | str | PathLike[str], inputs: Mapping[str, Array]) -> dict[str, Array]:
    """The outputs of a graph on one input, in float64; ExactGraph prepares a graph for many inputs."""
    return ExactGraph(model).run(inputs)


def _innermost(error: BaseException) -> str:
    while error.__cause__ is not None:
        error = error.__cause__
    return f"{type(error).__name__}: {error}".splitlines()[0]


def _dtype(kind: int) -> np.dtype[Any]:
    return np.dtype(helper.tensor_dtype_to_np_dtype(kind))


def _wide(array: Array) -> Array:
    return array.astype(np.float64) if array.dtype.kind == "f" else array


def _nodes(graph: GraphProto) -> Iterator[NodeProto]:
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            yield from _nodes(attribute.g)


def _widened(model: ModelProto) -> ModelProto:
    """A copy whose float constants are float64, with local functions written out."""
    wide = ModelProto()
    wide.CopyFrom(model)
    if wide.functions:
        wide = inliner.inline_local_functions(wide)
    _widen_graph(wide.graph)
    return wide


def _widen_graph(graph: GraphProto, outer: Mapping[str, int] = MappingProxyType({})) -> None:
    # Declared types say float32 still, and nothing needs them.
    del graph.value_info[:]
    narrow = {**outer, **_narrow(graph)}
    for tensor in graph.initializer:
        _widen_tensor(tensor)
    for node in graph.node:
        if node.op_type == "CastLike" and node.input[1] in narrow:
            node.op_type = "Cast"
            node.attribute.append(helper.make_attribute("to", narrow[node.input.pop()]))
        _widen_node(node)
        for attribute in node.attribute:
            if attribute.type == AttributeProto.GRAPH:
                _widen_graph(attribute.g, narrow)


def _narrow(graph: GraphProto) -> dict[str, int]:
    """Constants of float16 and bfloat16 by name: what is cast like one of them is rounded."""
    kinds = {tensor.name: tensor.data_type for tensor in graph.initializer}
    kinds |= {
        node.output[0]: attribute.t.data_type
        for node in graph.node
        if node.op_type == "Constant"
        for attribute in node.attribute
        if attribute.name == "value"
    }
    return {name: kind for name, kind in kinds.items() if kind in (TensorProto.FLOAT16, TensorProto.BFLOAT16)}


def _widen_node(node: NodeProto) -> None:
    for attribute in node.attribute:
        if attribute.type == AttributeProto.TENSOR:
            _widen_tensor(attribute.t)
        elif node.op_type == "Constant" and attribute.name in ("value_float", "value_floats"):
            numbers = attribute.f if attribute.name == "value_float" else list(attribute.floats)
            attribute.CopyFrom(helper.make_attribute("value", _from_array(np.array(numbers, np.float64), "")))
        elif attribute.name == "dtype" and attribute.type == AttributeProto.INT and attribute.i in _FLOATS:
            attribute.i = TensorProto.DOUBLE
    if node.op_type == "ConstantOfShape" and not node.attribute:
        node.attribute.append(helper.make_attribute("value", _from_array(np.zeros(1), "")))


def _widen_tensor(tensor: TensorProto) -> None:
    if tensor.data_type in _FLOATS:
        tensor.CopyFrom(_from_array(numpy_helper.to_array(tensor).astype(np.float64), tensor.name))


def _from_array(values: Array, name: str) -> TensorProto:
    return numpy_helper.from_array(np.asarray(values, order="C"), name)
