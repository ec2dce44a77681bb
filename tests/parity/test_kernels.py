"""Asking the nodes of a file: what is proven, what is not, and what it costs."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from onnxproof.runtime.session import Optimization, SessionSettings
from onnxproof.tensors import Field
from onnxproof.validate.chain import ALIGNMENT, Chain, Ran, aligned, open_chain
from onnxproof.validate.exact.graph import ExactGraph
from onnxproof.validate.kernels import Asking, ChosenRows, ask_nodes
from onnxproof.validate.legs.leg import Answer, Arrays
from onnxproof.validate.legs.onnx_runtime import OrtLeg

Array = NDArray[Any]
WITHIN = ((Field("y", "y", ""), 1e-6),)
SETTINGS = SessionSettings(threads=1, in_turn=True)
LEVELS: tuple[Optimization, ...] = ("none", "basic", "extended", "all")


def numbers(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def saved(
    folder: Path,
    nodes: list[onnx.NodeProto],
    constants: Mapping[str, Array],
    name: str = "m",
    outputs: Sequence[str] = ("y",),
) -> Path:
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, 3, None, None])
    stored = [numpy_helper.from_array(array, key) for key, array in constants.items()]
    made = helper.make_graph(nodes, "test", [x], [onnx.ValueInfoProto(name=one) for one in outputs], stored)
    imports = [helper.make_opsetid("", 18), helper.make_opsetid("odd", 1)]
    file = folder / f"{name}.onnx"
    onnx.save(helper.make_model(made, opset_imports=imports, ir_version=10), file)
    return file


def score(folder: Path, factor: float = 1.0, axes: tuple[int, ...] = (1, 2, 3), name: str = "m") -> Path:
    """A picture's mean after a convolution and a sigmoid: a long sum of one sign."""
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["h"], name="conv", pads=[1, 1, 1, 1]),
        helper.make_node("Sigmoid", ["h"], ["s"], name="squash"),
        helper.make_node("ReduceMean", ["s", "axes"], ["y"], name="mean", keepdims=0),
    ]
    w = numbers(8, 3, 3, 3, seed=1) * np.float32(0.2 * factor)
    return saved(folder, nodes, {"w": w, "axes": np.array(axes)}, name)


def leg(file: Path, level: Optimization = "all") -> OrtLeg:
    return OrtLeg(file, ("CPUExecutionProvider",), 1, level)


def asked(
    file: Path, inputs: Mapping[str, Array], level: Optimization = "all", limit: float = 1e-6
) -> Asking:
    settings = replace(SETTINGS, optimization=level)
    return ask_nodes(
        leg(file, level), file, inputs, ExactGraph(file), settings, ((Field("y", "y", ""), limit),)
    )


@pytest.mark.parametrize("level", LEVELS)
def test_a_rough_kernel_is_within_and_named(tmp_path: Path, level: Optimization) -> None:
    found = asked(score(tmp_path), {"x": np.full((1, 3, 300, 300), 0.3, np.float32)}, level)
    assert found.within, found.reason
    assert found.rough[0].operator == "ReduceMean"
    assert found.rough[0].roughness > 100
    assert found.entry is not None
    assert (found.entry.node, found.entry.within) == ("mean", True)
    assert found.entry_share > 0.9


def test_another_function_is_not_within(tmp_path: Path) -> None:
    """Stands for an optimizer that changes what the graph computes."""
    file, other = score(tmp_path), score(tmp_path, factor=1.001, name="other")
    found = ask_nodes(leg(other), other, {"x": numbers(1, 3, 20, 20)}, ExactGraph(file), SETTINGS, WITHIN)
    assert not found.within
    assert "changes what the graph computes" in found.reason


def test_a_reduction_of_other_axes_is_not_within(tmp_path: Path) -> None:
    file, other = score(tmp_path), score(tmp_path, axes=(2, 3), name="other")
    found = ask_nodes(leg(other), other, {"x": numbers(1, 3, 20, 20)}, ExactGraph(file), SETTINGS, WITHIN)
    assert not found.within
    assert "makes y [1, 8] of [1]" in found.reason


ROWS = ((Field("y", "box", "px", 0, 3), 1e-6), (Field("y", "score", "", 3, 4), 1e-6))


def rows(folder: Path, name: str, boxes: list[int], scores: list[int]) -> Path:
    """Rows of three numbers and a score, each in the order of its indices."""
    nodes = [
        helper.make_node("Transpose", ["x"], ["turned"], perm=[0, 2, 3, 1]),
        helper.make_node("Reshape", ["turned", "flat"], ["box"]),
        helper.make_node("ReduceMax", ["box", "last"], ["score"]),
        helper.make_node("Gather", ["box", "boxes"], ["own"], axis=0),
        helper.make_node("Gather", ["score", "scores"], ["its"], axis=0),
        helper.make_node("Concat", ["own", "its"], ["y"], axis=1),
    ]
    held = {"flat": [-1, 3], "last": [1], "boxes": boxes, "scores": scores}
    return saved(folder, nodes, {key: np.array(one) for key, one in held.items()}, name)


@pytest.mark.parametrize(
    ("boxes", "scores", "axes", "within"),
    [
        pytest.param([3, 1, 2, 0], [3, 1, 2, 0], 1, True, id="rows-in-another-order"),
        pytest.param([3, 1, 2, 0], [3, 1, 2, 0], 0, False, id="that-are-no-rows"),
        pytest.param([3, 1, 2, 0], [0, 1, 2, 3], 1, False, id="scores-of-other-rows"),
        pytest.param([1, 1, 2, 0], [1, 1, 2, 0], 1, False, id="a-row-twice"),
    ],
)
def test_rows_are_the_same_in_any_order(
    boxes: list[int], scores: list[int], axes: int, within: bool, tmp_path: Path
) -> None:
    """An optimizer may exchange rows that rounding alone puts in order."""
    file = ExactGraph(rows(tmp_path, "file", [0, 1, 2, 3], [0, 1, 2, 3]))
    other = rows(tmp_path, "other", boxes, scores)
    inputs = {"x": numbers(1, 3, 2, 2)}
    found = ask_nodes(
        leg(other), other, inputs, file, SETTINGS, ROWS, rows=ChosenRows(axes) if axes else None
    )
    assert found.within is within, found.reason


def carried(folder: Path, name: str, order: list[int], *, shared: float = 1.0) -> Path:
    """Rows of two scores and two points of three numbers each, and what all rows share."""
    nodes = [
        helper.make_node("Reshape", ["x", "scores"], ["own"]),
        helper.make_node("Gather", ["own", "order"], ["score"], axis=1),
        helper.make_node("Reshape", ["x", "points"], ["pairs"]),
        helper.make_node("Gather", ["pairs", "order"], ["y"], axis=1),
        helper.make_node("Mul", ["x", "factor"], ["shared"]),
    ]
    held = {
        "scores": np.array([1, 4, 6]),
        "points": np.array([1, 4, 2, 3]),
        "order": np.array(order),
        "factor": np.array(shared, np.float32),
    }
    return saved(folder, nodes, held, name, outputs=("y", "score", "shared"))


@pytest.mark.parametrize(
    ("order", "shared", "within"),
    [
        pytest.param([3, 1, 2, 0], 1.0, True, id="rows-in-another-order"),
        pytest.param([3, 1, 2, 2], 1.0, False, id="a-row-twice"),
        pytest.param([0, 1, 2, 3], 1.5, False, id="what-is-shared-moved"),
    ],
)
def test_rows_carry_points_and_share_prototypes(
    order: list[int], shared: float, within: bool, tmp_path: Path
) -> None:
    file = ExactGraph(carried(tmp_path, "file", [0, 1, 2, 3]))
    other = carried(tmp_path, "other", order, shared=shared)
    limits = [(Field(name, name, ""), 1e-6) for name in ("y", "score", "shared")]
    rows = ChosenRows(2, frozenset(["shared"]))
    found = ask_nodes(leg(other), other, {"x": numbers(1, 3, 2, 4)}, file, SETTINGS, limits, rows=rows)
    assert found.within is within, found.reason


def wrong_kernel(monkeypatch: pytest.MonkeyPatch, node: str, change: Any) -> None:
    """A runtime in which one node computes something else."""
    walk = Chain.walk

    def changed(chain: Chain, inputs: Mapping[str, Array]) -> Iterator[Ran]:
        for ran in walk(chain, inputs):
            yield replace(ran, outputs=tuple(map(change, ran.outputs))) if ran.step.label == node else ran

    monkeypatch.setattr(Chain, "walk", changed)


@pytest.mark.parametrize("change", [lambda y: y * np.float32(1.001), lambda y: np.full_like(y, np.nan)])
def test_a_wrong_kernel_inside_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: Any) -> None:
    wrong_kernel(monkeypatch, "squash", change)
    found = asked(score(tmp_path), {"x": numbers(1, 3, 20, 20)}, "none")
    assert not found.within
    assert "Sigmoid squash" in found.reason


def test_nodes_that_do_not_answer_as_the_session_does_prove_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong_kernel(monkeypatch, "mean", lambda y: np.nextafter(y, np.float32(9)))
    found = asked(score(tmp_path), {"x": numbers(1, 3, 20, 20)}, "none")
    assert not found.within
    assert "does not answer as it does in the whole session" in found.reason


class Elsewhere(OrtLeg):
    """A runtime that answers otherwise than its nodes do."""

    def run(self, inputs: Arrays) -> Answer:
        answer = super().run(inputs)
        return Answer({name: array * np.float32(1.01) for name, array in answer.outputs.items()}, {})


def test_a_runtime_that_answers_otherwise_than_its_nodes_is_not_excused(tmp_path: Path) -> None:
    file = score(tmp_path)
    other = Elsewhere(file, ("CPUExecutionProvider",), 1)
    found = ask_nodes(other, file, {"x": numbers(1, 3, 20, 20)}, ExactGraph(file), SETTINGS, WITHIN)
    assert not found.within
    assert "does not answer as it does in the whole session" in found.reason


def test_a_node_that_is_not_evaluated_proves_nothing(tmp_path: Path) -> None:
    nodes = [
        helper.make_node(
            "UnfoldTensor", ["x"], ["y"], name="turn", domain="com.microsoft", dim=3, size=2, step=1
        )
    ]
    file = saved(tmp_path, nodes, {})
    model = onnx.load(file)
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    onnx.save(model, file)
    found = asked(file, {"x": numbers(1, 3, 4, 4)})
    assert not found.within
    assert "com.microsoft.UnfoldTensor" in found.reason


def test_an_operator_without_a_bound_is_held_to_one_rounding(tmp_path: Path) -> None:
    file = saved(tmp_path, [helper.make_node("Det", ["x"], ["y"], name="volume")], {})
    found = asked(file, {"x": numbers(1, 3, 9, 9)})
    assert not found.within
    assert "Det volume" in found.reason
    assert "no wider bound is known of that operator" in found.reason


@pytest.mark.parametrize("read", ["values", "places"])
def test_a_top_k_in_any_order_computes_what_it_says(tmp_path: Path, read: str) -> None:
    """Its values are the right ones in ONNX Runtime's order, which is not that of the float64 graph."""
    nodes = [
        helper.make_node("TopK", ["x", "k"], ["values", "places"], name="best", sorted=0),
        helper.make_node("Cast", [read], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("ReduceSum", ["floats", "last"], ["y"], keepdims=0),
    ]
    file = saved(tmp_path, nodes, {"k": np.array([7]), "last": np.array([3])})
    found = asked(file, {"x": numbers(1, 3, 4, 60)})
    assert found.within, found.reason


def test_a_top_k_in_any_order_that_finds_other_values_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nodes = [
        helper.make_node("TopK", ["x", "k"], ["values", "places"], name="best", sorted=0),
        helper.make_node("ReduceSum", ["values", "last"], ["y"], keepdims=0),
    ]
    file = saved(tmp_path, nodes, {"k": np.array([7]), "last": np.array([3])})
    wrong_kernel(monkeypatch, "best", lambda y: y * np.float32(1.001) if y.dtype.kind == "f" else y)
    found = asked(file, {"x": numbers(1, 3, 4, 60)}, "none")
    assert not found.within
    assert "TopK best" in found.reason


def test_a_file_that_does_not_run_proves_nothing(tmp_path: Path) -> None:
    found = asked(score(tmp_path), {"x": numbers(1, 4, 20, 20)})
    assert not found.within
    assert "could not be asked" in found.reason


def test_a_file_with_external_data_is_asked(tmp_path: Path) -> None:
    file = score(tmp_path)
    apart = tmp_path / "apart"
    apart.mkdir()
    model = onnx.load(file)
    onnx.save(model, apart / "m.onnx", save_as_external_data=True, location="m.data", size_threshold=100)
    found = asked(apart / "m.onnx", {"x": numbers(1, 3, 20, 20)})
    assert found.within, found.reason


def test_memory_does_not_grow_with_the_nodes(tmp_path: Path) -> None:
    """Values are freed after their last use: what is held is one node's."""
    peaks = []
    for count in (4, 40):
        names = ["x", *(f"h{index}" for index in range(count - 1)), "y"]
        nodes = [helper.make_node("Tanh", [names[at]], [names[at + 1]]) for at in range(count)]
        file = saved(tmp_path, nodes, {}, f"deep{count}")
        feeds = {"x": numbers(1, 3, 64, 64)}
        peaks.append(asked(file, feeds).peak_bytes)
        with open_chain(file, SETTINGS, ("y",)) as chain:
            assert len(chain.steps) == count
    assert peaks[0] == peaks[1] <= 10 * 3 * 64 * 64 * 4


def test_arrays_are_placed_as_the_runtime_places_its_own() -> None:
    odd = np.arange(101, dtype=np.float32)[1:].reshape(10, 10).T
    placed = aligned(odd)
    assert placed.ctypes.data % ALIGNMENT == 0
    assert placed.flags.c_contiguous
    assert np.array_equal(placed, odd)
    assert aligned(np.zeros((), np.int64)).shape == ()
