"""Small networks as ONNX files, made by hand, and what two of them may differ in."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

Array = NDArray[Any]

FEATURES, HIDDEN, CLASSES = 32, 256, 4
RANDOM = np.random.default_rng(0)
FIRST = (RANDOM.normal(size=(FEATURES, HIDDEN)) / np.sqrt(FEATURES)).astype(np.float32)
SECOND = (RANDOM.normal(size=(HIDDEN, CLASSES)) / np.sqrt(HIDDEN)).astype(np.float32)
BIAS = RANDOM.normal(size=HIDDEN).astype(np.float32)
ORDER = RANDOM.permutation(HIDDEN)

Axes = Sequence[int | str | None]


def network(
    first: Array = FIRST,
    bias: Array = BIAS,
    second: Array = SECOND,
    *,
    gemm: bool = False,
    opset: int = 18,
    axes: Axes = ("batch", FEATURES),
    names: tuple[str, str] = ("x", "scores"),
    tail: Sequence[onnx.NodeProto] = (),
    outputs: Sequence[onnx.ValueInfoProto] = (),
) -> onnx.ModelProto:
    """Two layers with a ReLU between; ``tail`` reads their result, "scores", where outputs name another."""
    if gemm:
        nodes = [helper.make_node("Gemm", [names[0], "first", "bias"], ["sums"])]
    else:
        nodes = [
            helper.make_node("MatMul", [names[0], "first"], ["products"]),
            helper.make_node("Add", ["products", "bias"], ["sums"]),
        ]
    nodes += [
        helper.make_node("Relu", ["sums"], ["kept"]),
        helper.make_node("MatMul", ["kept", "second"], [names[1]]),
        *tail,
    ]
    graph = helper.make_graph(
        nodes,
        "network",
        [helper.make_tensor_value_info(names[0], TensorProto.FLOAT, axes)],
        list(outputs) or [scores(names[1])],
        [numpy_helper.from_array(array, name) for name, array in weights(first, bias, second)],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)


def scores(name: str = "scores", kind: int = TensorProto.FLOAT, axes: Axes = ("batch", CLASSES)) -> Any:
    return helper.make_tensor_value_info(name, kind, axes)


def weights(first: Array, bias: Array, second: Array) -> list[tuple[str, Array]]:
    return [("first", first), ("bias", bias), ("second", second)]


def labelled(first: Array = FIRST, **more: Any) -> onnx.ModelProto:
    """The network with the best class as its one output."""
    tail = [helper.make_node("ArgMax", ["scores"], ["label"], axis=1, keepdims=0)]
    return network(first, tail=tail, outputs=[scores("label", TensorProto.INT64, ("batch",))], **more)


HEALTHY = [
    pytest.param(network(gemm=True), id="other-operators"),
    pytest.param(network(opset=20), id="a-newer-opset"),
    pytest.param(network(FIRST[:, ORDER], BIAS[ORDER], SECOND[ORDER]), id="sums-in-another-order"),
    pytest.param(network(FIRST * np.float32(3), BIAS * 3, SECOND / np.float32(3)), id="weights-rescaled"),
    pytest.param(network(axes=(None, FEATURES)), id="a-nameless-axis"),
    pytest.param(network(axes=(None, None)), id="an-axis-that-a-fixes"),
    pytest.param(network(outputs=[scores(axes=("n", CLASSES))]), id="an-axis-of-another-name"),
]
"""B, where A is ``network()``, that computes the same."""


def nan_for_some(proto: onnx.ModelProto) -> onnx.ModelProto:
    """NaN where a score is above 0.5."""
    tail = [
        helper.make_node("Sub", ["limit", "scores"], ["room"]),
        helper.make_node("Sqrt", ["room"], ["root"]),
        helper.make_node("Mul", ["root", "zero"], ["nothing"]),
        helper.make_node("Add", ["scores", "nothing"], ["answer"]),
    ]
    proto.graph.node.extend(tail)
    limit = numpy_helper.from_array(np.array(0.5, np.float32), "limit")
    proto.graph.initializer.extend([limit, numpy_helper.from_array(np.array(0.0, np.float32), "zero")])
    proto.graph.output[0].name = "answer"
    return proto


def renamed(proto: onnx.ModelProto, name: str) -> onnx.ModelProto:
    proto.graph.node.append(helper.make_node("Identity", [proto.graph.output[0].name], [name]))
    proto.graph.output[0].name = name
    return proto


TWICE = [scores(), scores("more")]
DOUBLE = [helper.make_node("Add", ["scores", "scores"], ["more"])]
TO_DOUBLE = [helper.make_node("Cast", ["scores"], ["wide"], to=TensorProto.DOUBLE)]
FLAT = [
    helper.make_node("Constant", [], ["all"], value_ints=[-1]),
    helper.make_node("Reshape", ["scores", "all"], ["flat"]),
]


FAULTS = [
    pytest.param(network(FIRST.astype(np.float16).astype(np.float32)), "ratio_rms", id="float16-weights"),
    pytest.param(network(FIRST * np.float32(1.00001)), "ratio_rms", id="a-layer-scaled"),
    pytest.param(network(second=SECOND[:, ::-1].copy()), "ratio_rms", id="classes-reversed"),
    pytest.param(network(bias=np.zeros_like(BIAS)), "ratio_max", id="bias-lost"),
    pytest.param(network(axes=(1, FEATURES)), "interface runs", id="frozen-batch"),
    pytest.param(renamed(network(), "logits"), "interface shapes", id="renamed-output"),
    pytest.param(
        network(tail=TO_DOUBLE, outputs=[scores("wide", TensorProto.DOUBLE)]),
        "interface shapes",
        id="output-in-double-under-another-name",
    ),
    pytest.param(
        network(tail=FLAT, outputs=[scores("flat", axes=("n",))]),
        "interface",
        id="output-of-another-rank",
    ),
    pytest.param(network(tail=DOUBLE, outputs=TWICE), "interface shapes", id="one-output-more"),
]
"""B, where A is ``network()``, that is damaged, and the checks by which A's two runs find it."""
