"""The faults that find their place in any graph do what they say, and nothing where there is no place."""

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from soundness.elsewhere.faults import COMMON, EVERYWHERE, RARE, Kind, planted

Array = NDArray[Any]


def graph(nodes: list[onnx.NodeProto], shape: tuple[int, ...], **weights: Array) -> onnx.ModelProto:
    """From x float32 of a shape to y."""
    body = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None] * len(shape))],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    return helper.make_model(body, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def one(op: str, *more: str, **attributes: Any) -> list[onnx.NodeProto]:
    return [helper.make_node(op, ["x", *more], ["y"], **attributes)]


def run(proto: onnx.ModelProto, x: Array) -> Array:
    session = ort.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    (answer,) = session.run(None, {"x": x})
    return np.asarray(answer)


def kind(name: str, severity: str = "one") -> Kind:
    kinds = (EVERYWHERE, *RARE, *COMMON)
    return next(entry for entry in kinds if (entry.kind, entry.severity) == (name, severity))


def damaged(proto: onnx.ModelProto, found: Kind) -> onnx.ModelProto | None:
    everything = {entry.severity + entry.kind: made for entry, made in planted(proto, "", 99)}
    return everything.get(found.severity + found.kind)


def sigmoid(x: Array) -> Array:
    return np.asarray(1 / (1 + np.exp(-x)))


RANDOM = np.random.default_rng(0)
ROW = RANDOM.normal(size=(2, 32)).astype(np.float32)
MAP = RANDOM.normal(size=(1, 2, 5, 5)).astype(np.float32)
WIDE = RANDOM.normal(size=(32, 32)).astype(np.float32)
GAIN, SHIFT = np.ones(32, np.float32), np.zeros(32, np.float32)


def normed(epsilon: float) -> Callable[[Array], Array]:
    return lambda x: (x - x.mean(1, keepdims=True)) / np.sqrt(x.var(1, keepdims=True) + epsilon)


DOES: list[Any] = [
    pytest.param(
        graph(one("MatMul", "w"), (2, 32), w=WIDE),
        EVERYWHERE,
        lambda x: x @ (WIDE * 1.0001),
        ROW,
        id="weight",
    ),
    pytest.param(
        graph(one("LayerNormalization", "g", "b", epsilon=1e-2), (2, 32), g=GAIN, b=SHIFT),
        kind("epsilon of a norm", "x 10"),
        normed(0.1),
        ROW,
        id="epsilon",
    ),
    pytest.param(
        graph(one("Mul", "half"), (2, 32), half=np.array(0.5, np.float32)),
        kind("a scale", "x 1.01"),
        lambda x: x * 0.505,
        ROW,
        id="scale",
    ),
    pytest.param(
        graph(one("Relu"), (2, 32)),
        kind("ReLU leaks", "slope 0.01"),
        lambda x: np.where(x > 0, x, 0.01 * x),
        ROW,
        id="leaking",
    ),
    pytest.param(
        graph(one("Erf"), (2, 32)),
        kind("tanh's GELU for erf's"),
        lambda x: np.tanh(1.1283791670955126 * x + 0.10091094 * x**3),
        ROW,
        id="gelu",
    ),
    pytest.param(
        graph(one("HardSwish"), (2, 32)),
        kind("swish for hard swish"),
        lambda x: x * sigmoid(x),
        ROW,
        id="swish",
    ),
    pytest.param(
        graph(one("GlobalAveragePool"), (1, 2, 5, 5)),
        kind("largest for mean"),
        lambda x: x.max((2, 3), keepdims=True),
        MAP,
        id="largest",
    ),
]


@pytest.mark.parametrize(("proto", "found", "wanted", "x"), DOES)
def test_a_fault_does_what_it_says(
    proto: onnx.ModelProto, found: Kind, wanted: Callable[[Array], Array], x: Array
) -> None:
    made = damaged(proto, found)
    assert made is not None
    np.testing.assert_allclose(run(made, x), wanted(x.astype(np.float64)), rtol=1e-5, atol=1e-6)


def test_a_graph_without_a_place_gets_no_fault() -> None:
    assert list(planted(graph(one("Neg"), (2, 32)), "name", 9)) == []


def test_so_many_faults_are_planted_and_the_graph_stays_as_it_was() -> None:
    proto = graph(one("MatMul", "w"), (2, 32), w=WIDE)
    before = proto.SerializeToString()
    made = list(planted(proto, "name", 3))
    assert len(made) == 3
    assert made[0][0] == EVERYWHERE
    assert len({damaged.SerializeToString() for _, damaged in made} | {before}) == 4
    assert proto.SerializeToString() == before


def test_names_let_the_common_faults_take_turns() -> None:
    proto = graph(one("MatMul", "w"), (2, 32), w=WIDE)
    chosen = {kind.kind + kind.severity for n in range(40) for kind, _ in planted(proto, f"net {n}", 2)}
    assert len(chosen) > 3


def test_faults_have_names_of_their_own() -> None:
    kinds = (EVERYWHERE, *RARE, *COMMON)
    assert len({(entry.kind, entry.severity) for entry in kinds}) == len(kinds)
