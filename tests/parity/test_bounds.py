"""Healthy kernels of ONNX Runtime lie within the rounding bounds of their operators."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from onnxproof.runtime.session import Optimization, SessionSettings
from onnxproof.tensors import Field
from onnxproof.validate.bounds.model import LAMBDA, UNITS, gamma, summed
from onnxproof.validate.chain import Ran, open_chain
from onnxproof.validate.exact.graph import ExactGraph
from onnxproof.validate.kernels import Asking, ask_nodes, judge_node
from onnxproof.validate.legs.onnx_runtime import OrtLeg

Array = NDArray[Any]

LEVELS: tuple[Optimization, ...] = ("none", "basic", "extended", "all")
CONTENTS = ("normal", "uniform", "even", "black")


def content(kind: str, shape: tuple[int, ...], seed: int = 0) -> Array:
    """Numbers as they come: of both signs, of one sign, all alike, and 0."""
    random = np.random.default_rng(seed)
    made: Array = random.normal(size=shape) if kind == "normal" else random.random(shape)
    if kind in ("even", "black"):
        made = np.full(shape, 0.7 if kind == "even" else 0.0)
    return np.asarray(made, np.float32)


def graph_of(
    nodes: list[onnx.NodeProto], inputs: Mapping[str, Array], constants: Mapping[str, Array], opset: int = 20
) -> onnx.ModelProto:
    """A model of nodes of which the last writes ``y``."""
    given = [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(array.dtype), [None] * array.ndim)
        for name, array in inputs.items()
    ]
    stored = [numpy_helper.from_array(array, name) for name, array in constants.items()]
    made = helper.make_graph(nodes, "test", given, [onnx.ValueInfoProto(name="y")], stored)
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)


def ask(
    model: onnx.ModelProto, inputs: Mapping[str, Array], folder: Path, level: Optimization = "all"
) -> Asking:
    """What the nodes of a model answer."""
    file = folder / "model.onnx"
    onnx.save(model, file)
    settings = SessionSettings(threads=1, optimization=level, in_turn=True)
    leg = OrtLeg(file, settings.providers, 1, level)
    return ask_nodes(leg, file, inputs, ExactGraph(file), settings, ((Field("y", "y", ""), 1e-3),))


def one_node(
    operator: str, x: Array, *constants: Array, opset: int = 20, **attributes: Any
) -> onnx.ModelProto:
    names = [f"c{index}" for index in range(len(constants))]
    node = helper.make_node(operator, ["x", *names], ["y"], name="it", **attributes)
    return graph_of([node], {"x": x}, dict(zip(names, constants, strict=True)), opset)


def weights(*shape: int) -> Array:
    return content("normal", shape, seed=1) / np.float32(np.sqrt(np.prod(shape[1:]) or 1))


FUNCTIONS = """
    Exp Sigmoid Tanh Erf Sin Cos Atan Sinh Cosh Asinh Softplus Softsign Elu Selu Celu Mish HardSwish
    HardSigmoid Gelu LeakyRelu Relu Abs Neg Floor Round
""".split()


@pytest.mark.parametrize("operator", FUNCTIONS)
def test_functions_are_within(operator: str, tmp_path: Path) -> None:
    x = np.concatenate([content("normal", (4000,)) * size for size in (0.01, 1, 30)]).astype(np.float32)
    asked = ask(one_node(operator, x), {"x": x}, tmp_path)
    assert asked.within, asked.reason


@pytest.mark.parametrize("operator", ["Log", "Sqrt", "Reciprocal", "Acosh"])
def test_functions_of_positive_numbers_are_within(operator: str, tmp_path: Path) -> None:
    x = (
        1 + np.exp(8 * content("normal", (4000,)))
        if operator == "Acosh"
        else np.exp(8 * content("normal", (4000,)))
    )
    asked = ask(one_node(operator, x), {"x": x}, tmp_path)
    assert asked.within, asked.reason


@pytest.mark.parametrize("operator", ["Asin", "Acos", "Atanh"])
def test_functions_up_to_1_are_within(operator: str, tmp_path: Path) -> None:
    x = np.float32(0.999) * (2 * content("uniform", (4000,)) - 1)
    asked = ask(one_node(operator, x), {"x": x}, tmp_path)
    assert asked.within, asked.reason


@pytest.mark.parametrize("kind", CONTENTS)
@pytest.mark.parametrize("size", [3, 40, 384])
@pytest.mark.parametrize(
    "operator", ["ReduceMean", "ReduceSum", "ReduceL1", "ReduceL2", "ReduceSumSquare", "ReduceLogSumExp"]
)
def test_reductions_are_within(operator: str, size: int, kind: str, tmp_path: Path) -> None:
    x = content(kind, (1, 3, size, size))
    for axes in ([2, 3], [1], [3]) if size < 384 else ([1, 2, 3],):
        model = one_node(operator, x, np.array(axes), opset=18, keepdims=0)
        asked = ask(model, {"x": x}, tmp_path)
        assert asked.within, asked.reason


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("kind", CONTENTS)
@pytest.mark.parametrize(("channels", "filters", "size"), [(3, 8, 32), (16, 16, 9), (64, 24, 5), (6, 6, 12)])
def test_convolutions_are_within(
    channels: int, filters: int, size: int, kind: str, level: Optimization, tmp_path: Path
) -> None:
    x = content(kind, (2, channels, size, size))
    group = channels if channels == 6 else 1
    w, b = weights(filters, channels // group, 3, 3), weights(filters)
    nodes = [
        helper.make_node("Conv", ["x", "w", "b"], ["h"], name="conv", pads=[1, 1, 1, 1], group=group),
        helper.make_node("LeakyRelu", ["h"], ["i"], name="act", alpha=0.1),
        helper.make_node("MaxPool", ["i"], ["j"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("AveragePool", ["j"], ["k"], kernel_shape=[2, 2], ceil_mode=1),
        helper.make_node("Conv", ["k", "v"], ["l"], name="again", strides=[2, 2], kernel_shape=[1, 1]),
        helper.make_node("Sigmoid", ["l"], ["m"]),
        helper.make_node("GlobalAveragePool", ["m"], ["y"]),
    ]
    constants = {"w": w, "b": b, "v": weights(32, filters, 1, 1)}
    asked = ask(graph_of(nodes, {"x": x}, constants), {"x": x}, tmp_path, level)
    assert asked.within, asked.reason
    assert asked.nodes >= 5


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("kind", CONTENTS)
@pytest.mark.parametrize("size", [8, 512, 4096])
def test_products_are_within(size: int, kind: str, level: Optimization, tmp_path: Path) -> None:
    x = content(kind, (3, size))
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["h"]),
        helper.make_node("Add", ["h", "b"], ["i"]),
        helper.make_node("Transpose", ["i"], ["j"], perm=[1, 0]),
        helper.make_node("MatMul", ["i", "j"], ["k"]),
        helper.make_node("Softmax", ["k"], ["y"], axis=-1),
    ]
    constants = {"w": content("even", (size, 16)), "b": weights(16)}
    asked = ask(graph_of(nodes, {"x": x}, constants), {"x": x}, tmp_path, level)
    assert asked.within, asked.reason


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("kind", CONTENTS)
def test_normalisations_are_within(kind: str, level: Optimization, tmp_path: Path) -> None:
    """Added, normalised over channels, over the last axis and by given figures, and activated."""
    x = content(kind, (2, 8, 20, 64)) + np.float32(3)
    nodes = [
        helper.make_node("InstanceNormalization", ["x", "s", "t"], ["h"]),
        helper.make_node("GroupNormalization", ["h", "g", "k"], ["i"], num_groups=4),
        helper.make_node("BatchNormalization", ["i", "s", "t", "t", "v"], ["j"]),
        helper.make_node("Add", ["x", "j"], ["l"]),
        helper.make_node("LayerNormalization", ["l", "w", "b"], ["m"], axis=-1),
        helper.make_node("Sigmoid", ["m"], ["n"]),
        helper.make_node("Mul", ["m", "n"], ["y"]),
    ]
    constants = {"s": weights(8), "t": weights(8), "g": weights(4), "k": weights(4), "v": np.abs(weights(8))}
    constants |= {"w": weights(64), "b": weights(64)}
    asked = ask(graph_of(nodes, {"x": x}, constants, opset=18), {"x": x}, tmp_path, level)
    assert asked.within, asked.reason


@pytest.mark.parametrize("kind", CONTENTS)
@pytest.mark.parametrize("mode", ["linear", "cubic"])
def test_resizes_are_within(mode: str, kind: str, tmp_path: Path) -> None:
    x = content(kind, (1, 3, 17, 23))
    nothing = np.zeros(0, np.float32)
    sizes = np.array([1, 3, 41, 30])
    asked = ask(one_node("Resize", x, nothing, nothing, sizes, mode=mode), {"x": x}, tmp_path)
    assert asked.within, asked.reason


@pytest.mark.parametrize("operator", ["GRU", "LSTM", "RNN"])
@pytest.mark.parametrize("steps", [1, 50])
def test_recurrences_are_within(operator: str, steps: int, tmp_path: Path) -> None:
    gates = {"GRU": 3, "LSTM": 4, "RNN": 1}[operator]
    x = content("normal", (steps, 2, 12))
    constants = weights(1, gates * 16, 12), weights(1, gates * 16, 16), weights(1, gates * 32)
    asked = ask(one_node(operator, x, *constants, hidden_size=16), {"x": x}, tmp_path)
    assert asked.within, asked.reason


@pytest.mark.parametrize("length", [64, 1000])
def test_fourier_transforms_are_within(length: int, tmp_path: Path) -> None:
    x = content("normal", (2, length, 1))
    asked = ask(one_node("DFT", x, opset=17, axis=1), {"x": x}, tmp_path)
    assert asked.within, asked.reason
    constants = np.array(16), np.hanning(64).astype(np.float32), np.array(64)
    asked = ask(one_node("STFT", x, *constants, opset=17), {"x": x}, tmp_path)
    assert asked.within, asked.reason


@pytest.mark.parametrize("operator", ["Softmax", "LogSoftmax"])
def test_masked_scores_are_within_and_nothing_is_warned_of(operator: str, tmp_path: Path) -> None:
    scores = content("normal", (4, 8))
    scores[:, 5:] = -np.inf
    asked = ask(one_node(operator, scores, axis=-1), {"x": scores}, tmp_path)
    assert asked.within, asked.reason


def test_sums_of_overlapping_blocks_are_within(tmp_path: Path) -> None:
    x = content("normal", (3, 64, 17))
    shapes = np.array([1, 320]), np.array([1, 64])
    asked = ask(one_node("Col2Im", x, *shapes, opset=18, strides=[1, 16]), {"x": x}, tmp_path)
    assert asked.within, asked.reason


PLANTED = {
    "Sigmoid": (),
    "Softmax": (),
    "ReduceMean": (np.array([1]),),
    "MatMul": (weights(40, 8),),
    "LayerNormalization": (weights(40), weights(40)),
    "Add": (weights(40),),
}


@pytest.mark.parametrize("operator", PLANTED)
def test_an_error_of_4_times_the_bound_is_not_within(operator: str, tmp_path: Path) -> None:
    x = content("normal", (16, 40))
    file = tmp_path / "model.onnx"
    onnx.save(one_node(operator, x, *PLANTED[operator], opset=18), file)
    with open_chain(file, SessionSettings(threads=1, optimization="none"), ("y",)) as chain:
        (ran,) = chain.walk({"x": x})
        healthy, _ = judge_node(chain.exact, ran)
        assert healthy.within
        (y,) = ran.outputs
        planted = y.copy()
        planted[3] += np.float32(4 * healthy.bound)
        wrong, _ = judge_node(chain.exact, Ran(ran.step, ran.inputs, (planted,)))
    assert not wrong.within
    assert wrong.error > healthy.error


def test_a_sum_over_other_axes_is_not_within(tmp_path: Path) -> None:
    x = content("uniform", (2, 64, 64))
    file = tmp_path / "model.onnx"
    onnx.save(one_node("ReduceMean", x, np.array([1, 2]), opset=18, keepdims=0), file)
    with open_chain(file, SessionSettings(threads=1), ("y",)) as chain:
        (ran,) = chain.walk({"x": x})
        wrong, _ = judge_node(chain.exact, replace(ran, outputs=(x[:, :, 1:].mean((1, 2)),)))
    assert not wrong.within


def test_the_nearest_pixel_is_no_rounding(tmp_path: Path) -> None:
    """ONNX Runtime takes another pixel at some sizes (microsoft/onnxruntime#12098)."""
    nothing = np.zeros(0, np.float32)
    reasons = []
    for size in range(16, 129):
        x = content("normal", (1, 1, size, 1))
        sizes = np.array([1, 1, 64, 1])
        attributes: dict[str, Any] = {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
        model = one_node("Resize", x, nothing, nothing, sizes, mode="nearest", **attributes)
        asked = ask(model, {"x": x}, tmp_path, "none")
        if not asked.within:
            reasons.append(asked.reason)
    assert 0 < len(reasons) < 30
    assert "Resize it" in reasons[0]


def test_the_bound_of_a_sum_is_the_lesser_of_the_worst_and_the_probable() -> None:
    unit = UNITS["float32"]
    assert gamma(2, unit) == 2 * unit
    assert gamma(10**6, unit) == LAMBDA * 1000 * unit


def test_numbers_that_are_alike_may_drift_and_others_may_not() -> None:
    unit = UNITS["float32"]
    even = summed(np.full((1, 400_000), 0.7), (1,), unit) / (400_000 * 0.7)
    varied = summed(np.random.default_rng(0).random((1, 400_000)), (1,), unit) / 200_000
    assert float(even[0, 0]) > 4 * float(varied[0, 0])


BELOW = {
    "Exp": (np.linspace(-102, -88, 400, dtype=np.float32), ()),
    "Mul": (np.full(400, 1e-35, np.float32), (np.linspace(1e-9, 1e-4, 400, dtype=np.float32),)),
}
"""Inputs whose results lie below the smallest normal float32."""


@pytest.mark.parametrize("operator", BELOW)
def test_numbers_below_the_smallest_normal_one_are_held_to_their_own_rounding(
    operator: str, tmp_path: Path
) -> None:
    x, constants = BELOW[operator]
    file = tmp_path / "model.onnx"
    onnx.save(one_node(operator, x, *constants), file)
    with open_chain(file, SessionSettings(threads=1, optimization="none"), ("y",)) as chain:
        (ran,) = chain.walk({"x": x})
        healthy, _ = judge_node(chain.exact, ran)
        assert healthy.within
        assert healthy.share > 0.05
        assert healthy.roughness < 2
        flushed, _ = judge_node(chain.exact, replace(ran, outputs=(np.zeros_like(x),)))
    assert not flushed.within
