"""The hazard ``bounds``: a branch of the file that no case takes, of a model that has none."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import helper, numpy_helper
from torch import nn

from onnxproof.graph import OnnxGraph
from onnxproof.validate.checks import Check
from onnxproof.validate.conditions import Seen
from onnxproof.validate.exact.checkpoint import Weights
from onnxproof.validate.exact.graph import ExactGraph
from onnxproof.validate.exact.known import Known, Recorded
from onnxproof.validate.exact.plain import chooses_nothing
from onnxproof.validate.exact.record import known_of_module
from onnxproof.validate.hazards import Subject
from onnxproof.validate.hazards.branches import look_for_unseen_branches

CASES = ([0.1, 0.5], [-0.3, 0.7])
SMOOTH = Recorded(operations=frozenset({"mul", "convolution"}))
CHOOSY = Recorded(operations=frozenset({"mul", "where"}))


def between(low: float, high: float, *how: onnx.NodeProto) -> onnx.ModelProto:
    """Answers otherwise where the mean of ``x`` is between the two."""
    node = helper.make_node
    condition = [
        node("ReduceMean", ["x"], ["mean"], keepdims=0),
        node("Greater", ["mean", "low"], ["above"]),
        node("Less", ["mean", "high"], ["below"]),
        node("And", ["above", "below"], ["inside"]),
        node("Neg", ["x"], ["other"]),
    ]
    chosen = how or (node("Where", ["inside", "other", "x"], ["y"], name="door"),)
    return model([*condition, *chosen], low=low, high=high)


def model(nodes: list[onnx.NodeProto], **held: float) -> onnx.ModelProto:
    tensors = [numpy_helper.from_array(np.array(value, np.float32), name) for name, value in held.items()]
    ports = [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["n"]) for name in "xy"]
    graph = helper.make_graph(nodes, "g", ports[:1], ports[1:], tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)])


def by_if() -> onnx.NodeProto:
    port = helper.make_tensor_value_info("out", onnx.TensorProto.FLOAT, ["n"])
    bodies = [
        helper.make_graph([helper.make_node("Identity", [name], ["out"])], name, [], [port])
        for name in ("other", "x")
    ]
    return helper.make_node(
        "If", ["inside"], ["y"], name="door", then_branch=bodies[0], else_branch=bodies[1]
    )


def by_number() -> list[onnx.NodeProto]:
    node = helper.make_node
    return [
        node("Unsqueeze", ["inside", "zero"], ["one"]),
        node("Cast", ["one"], ["number"], name="door", to=onnx.TensorProto.FLOAT),
        node("Mul", ["other", "number"], ["twice"]),
        node("Sub", ["x", "twice"], ["y"]),
    ]


def look(proto: onnx.ModelProto, recorded: Recorded = SMOOTH) -> Check:
    graph = OnnxGraph(proto)
    seen = Seen.of(graph)
    exact = ExactGraph(proto)
    for case in CASES:
        exact.run({"x": np.array(case)}, watch=seen.watch)
    known = Known(Weights({}, {}), lambda: recorded, checkpoint=True)
    return look_for_unseen_branches(Subject(graph, Path("model.onnx"), known=known, seen=seen))


def with_axes(proto: onnx.ModelProto) -> onnx.ModelProto:
    proto.graph.initializer.append(numpy_helper.from_array(np.array([0]), "zero"))
    return proto


@pytest.mark.parametrize(
    ("proto", "says"),
    [
        pytest.param(
            between(0.8, 0.95),
            'Where "door": its condition (a comparison with 0.95 and 0.8) was false in every case',
            id="where",
        ),
        pytest.param(between(-1, 1), "was true in every case", id="always"),
        pytest.param(between(0.8, 0.95, by_if()), 'If "door"', id="if"),
        pytest.param(with_axes(between(0.8, 0.95, *by_number())), 'Cast "door"', id="a-number"),
    ],
)
def test_a_branch_that_no_case_takes_fails_if_the_model_has_none(proto: onnx.ModelProto, says: str) -> None:
    check = look(proto)
    assert check.status == "fail"
    assert says in check.reason
    assert check.reason.endswith("was never compared, and the model has no condition")


def against_zero() -> onnx.ModelProto:
    """As converters guard against what they divide by."""
    node = helper.make_node
    nodes = [
        node("ReduceMax", ["x"], ["most"], keepdims=0),
        node("LessOrEqual", ["most", "zero"], ["none"]),
        node("Where", ["none", "one", "x"], ["y"], name="guard"),
    ]
    return model(nodes, zero=0.0, one=1.0)


@pytest.mark.parametrize(
    ("proto", "recorded", "says"),
    [
        pytest.param(against_zero(), SMOOTH, "the model has no condition", id="zero"),
        pytest.param(between(0.8, 0.95), CHOOSY, "compares with no such number", id="another-number"),
    ],
)
def test_what_may_be_right_is_advice(proto: onnx.ModelProto, recorded: Recorded, says: str) -> None:
    check = look(proto, recorded)
    assert (check.status, check.value, check.limit) == ("pass", 1, None)
    assert check.reason.endswith(says)


def guarded() -> onnx.ModelProto:
    """As exporters write softmax under a mask."""
    node = helper.make_node
    nodes = [
        node("IsNaN", ["x"], ["nan"]),
        node("Not", ["nan"], ["fine"]),
        node("Where", ["fine", "x", "zero"], ["y"]),
    ]
    return model(nodes, zero=0.0)


def by_size() -> onnx.ModelProto:
    node = helper.make_node
    nodes = [
        node("Size", ["x"], ["size"]),
        node("Cast", ["size"], ["number"], to=onnx.TensorProto.FLOAT),
        node("Greater", ["number", "most"], ["large"]),
        node("Where", ["large", "zero", "x"], ["y"]),
    ]
    return model(nodes, most=9.0, zero=0.0)


@pytest.mark.parametrize(
    ("proto", "recorded"),
    [
        pytest.param(between(0.25, 0.5), SMOOTH, id="turns"),
        pytest.param(guarded(), SMOOTH, id="a-guard-against-NaN"),
        pytest.param(by_size(), SMOOTH, id="a-condition-on-sizes"),
        pytest.param(between(0.8, 0.95), replace(CHOOSY, numbers=frozenset({0.8, 0.95})), id="own-numbers"),
        pytest.param(against_zero(), CHOOSY, id="own-guard"),
    ],
)
def test_other_branches_are_not(proto: onnx.ModelProto, recorded: Recorded) -> None:
    assert look(proto, recorded).status == "pass"


def test_nothing_is_said_without_the_model() -> None:
    proto = between(0.8, 0.95)
    assert look(proto, Recorded(missing="no float64")).status == "skipped"
    assert look_for_unseen_branches(Subject(OnnxGraph(proto), Path("model.onnx"))).status == "skipped"


def test_a_run_tells_the_operations_of_a_model() -> None:
    inputs = {"x": np.ones((1, 3, 8, 8), np.float32)}
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.SiLU(), nn.AdaptiveAvgPool2d(1))
    assert chooses_nothing(known_of_module(net, inputs).recorded)

    class Masked(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.where(x.mean() > 0.8, -x, x)

    recorded = known_of_module(Masked(), inputs).recorded
    assert not chooses_nothing(recorded)
    assert 0.8 in recorded.numbers
