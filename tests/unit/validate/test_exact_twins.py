"""One file's constants against another's: whichever of the two was folded, fused or rounded, the exact
values of both are known; what was changed by more than roundings is not."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from onnxproof.graph import OnnxGraph
from onnxproof.validate.exact.later import made
from onnxproof.validate.exact.twins import ALIKE, Twins, alike, prove_twins

Array = NDArray[Any]

RANDOM = np.random.default_rng(3)
WEIGHT = RANDOM.normal(size=(8, 4, 3, 3)).astype(np.float32)
GAMMA, VARIANCE = (RANDOM.uniform(0.5, 2, 8).astype(np.float32) for _ in range(2))
BETA, MEAN = (RANDOM.normal(size=8).astype(np.float32) for _ in range(2))
HEAD = RANDOM.normal(size=(8, 5)).astype(np.float32)
GAIN = GAMMA.astype(np.float64) / np.sqrt(VARIANCE.astype(np.float64) + 1e-5)
FOLDED = WEIGHT.astype(np.float64) * GAIN[:, None, None, None]
SHIFT = BETA.astype(np.float64) - MEAN.astype(np.float64) * GAIN
UNIT = 2.0**-24
"""One rounding to float32."""


def graph(nodes: list[onnx.NodeProto], constants: dict[str, Array]) -> OnnxGraph:
    proto = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ("n", 4, "h", "w"))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.asarray(array, np.float32), name) for name, array in constants.items()],
    )
    return OnnxGraph(helper.make_model(proto, opset_imports=[helper.make_opsetid("", 18)], ir_version=10))


def apart(**changed: Array) -> OnnxGraph:
    """A convolution, and its batch norm behind it."""
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"]),
        helper.make_node("BatchNormalization", ["c", "gamma", "beta", "mean", "variance"], ["y"]),
    ]
    held = {"w": WEIGHT, "gamma": GAMMA, "beta": BETA, "mean": MEAN, "variance": VARIANCE}
    return graph(nodes, {**held, **changed})


def folded(weight: Array = FOLDED, bias: Array = SHIFT) -> OnnxGraph:
    """The convolution with the norm folded in."""
    return graph(
        [helper.make_node("Conv", ["x", "folded", "shift"], ["y"])], {"folded": weight, "shift": bias}
    )


def in_single() -> tuple[Array, Array]:
    """The fold as float32 computes it."""
    gain = GAMMA / np.sqrt(VARIANCE + np.float32(1e-5))
    return WEIGHT * gain[:, None, None, None], BETA - MEAN * gain


def prove(a: OnnxGraph, b: OnnxGraph) -> Twins:
    return prove_twins(a, b, Path("a.onnx"), Path("b.onnx"))


def near(found: Array, wanted: Array) -> bool:
    return bool(np.allclose(found, wanted, rtol=1e-14, atol=1e-14))


def test_a_file_is_its_own_twin() -> None:
    twins = prove(apart(), apart())
    assert (twins.b.unproven, twins.a_alone) == ((), ())
    assert not twins.a.exact
    assert not twins.b.exact


def test_what_b_folded_is_made_of_a() -> None:
    twins = prove(apart(), folded())
    assert (twins.b.unproven, twins.a_alone) == ((), ())
    assert near(made(twins.b.exact["folded"]), FOLDED)
    assert near(made(twins.b.exact["shift"]), SHIFT)
    assert not twins.a.exact


def test_a_norm_whose_tensors_are_passed_on_is_a_norm() -> None:
    """TorchScript writes equal tensors once, and an Identity for each of the others."""
    a = apart().proto
    a.graph.node[1].input[1] = "passed"
    a.graph.node.insert(1, helper.make_node("Identity", ["gamma"], ["passed"]))
    twins = prove(OnnxGraph(a), folded())
    assert (twins.b.unproven, twins.a_alone) == ((), ())
    assert near(made(twins.b.exact["folded"]), FOLDED)


def test_what_a_folded_is_made_of_b() -> None:
    twins = prove(folded(), apart())
    assert (twins.b.unproven, twins.a_alone) == ((), ())
    assert near(made(twins.a.exact["folded"]), FOLDED)
    assert near(made(twins.a.exact["shift"]), SHIFT)
    assert not twins.b.exact


def test_two_folds_of_one_tensor_are_alike() -> None:
    weight, bias = in_single()
    a = folded()
    twins = prove(a, folded(weight, bias))
    assert (twins.b.unproven, twins.a_alone) == ((), ())
    assert np.array_equal(made(twins.b.exact["folded"]), FOLDED.astype(np.float32).astype(np.float64))
    assert twins.b.origins["folded"].text == "folded, rounded otherwise"
    assert not twins.a.exact


@pytest.mark.parametrize("factor", [1.000001, 1.0001, 1.0371])
@pytest.mark.parametrize("b", [apart, folded])
def test_what_was_changed_is_like_nothing(b: Any, factor: float) -> None:
    changed = apart(w=WEIGHT * np.float32(factor)) if b is apart else folded(FOLDED * factor)
    for a in (apart(), folded()):
        twins = prove(a, changed)
        assert twins.b.unproven, twins.b.origins
        assert twins.a_alone


def test_a_number_that_is_written_is_exact_in_both() -> None:
    def scaled(factor: float) -> OnnxGraph:
        return graph([helper.make_node("Mul", ["x", "factor"], ["y"])], {"factor": np.array(factor)})

    twins = prove(scaled(0.1), scaled(0.1))
    assert float(made(twins.a.exact["factor"])) == float(made(twins.b.exact["factor"])) == 0.1
    odd = 0.731058577
    twins = prove(scaled(odd), scaled(odd))
    assert not twins.b.unproven
    assert float(made(twins.b.exact.get("factor", np.float32(odd)))) == float(np.float32(odd))


def test_like_in_another_order_of_the_axes() -> None:
    moved = HEAD.T * (1 + UNIT * RANDOM.uniform(-ALIKE, ALIKE, HEAD.T.shape))
    laid = alike(HEAD, moved.astype(np.float64))
    assert laid is not None
    assert np.array_equal(laid, HEAD.T)
    assert alike(HEAD, HEAD.T * (1 + 2 * ALIKE * UNIT)) is None


def test_a_bias_is_alike_by_its_largest_number() -> None:
    """What cancels in a sum leaves a small number with the rounding error of a large one."""
    bias = np.array([4.0, -2.0, 1e-6])
    assert alike(bias, bias + np.array([0, 0, 6 * UNIT * 4])) is not None
    assert alike(bias, bias + np.array([0, 0, 20 * UNIT * 4])) is None
    matrix = bias[:, None] * np.ones(2)
    assert alike(matrix, matrix + 6 * UNIT * 4 * (matrix < 1e-3) * (matrix > 0)) is None
