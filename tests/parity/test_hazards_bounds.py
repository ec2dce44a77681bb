"""The hazard ``bounds``: a bound of the file that no case reaches, and that the model does not have."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from onnxproof.graph import OnnxGraph
from onnxproof.validate.exact.block import Watch
from onnxproof.validate.exact.checkpoint import Weights
from onnxproof.validate.exact.constants import prove_constants
from onnxproof.validate.exact.graph import ExactGraph
from onnxproof.validate.exact.known import Known, Recorded
from onnxproof.validate.hazards import Found, Subject
from onnxproof.validate.hazards.bounds import BOUNDS

TENSORS = {"edge": np.array([0.9], np.float32)}
SIX = Recorded(bounds={0.0: 1, 6.0: 1})
CASES = ([0.1, 0.5], [-0.3, 0.7])


def model(op: str, opset: int = 20, **more: Any) -> onnx.ModelProto:
    """One node on ``x``: the constants are its other inputs, if they are floats, or else its attributes."""
    held = {name: value for name, value in more.items() if opset >= 11}
    tensors = [numpy_helper.from_array(np.asarray(value, np.float32), name) for name, value in held.items()]
    inputs = ["x", *("" if value is None else name for name, value in held.items())]
    node = helper.make_node(op, inputs, ["y"], name="n", **({} if held else more))
    ports = [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["n"]) for name in "xy"]
    tensors = [tensor for tensor in tensors if held[tensor.name] is not None]
    graph = helper.make_graph([node], "g", ports[:1], ports[1:], tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])


def look(proto: onnx.ModelProto, recorded: Recorded = SIX) -> Found:
    known = Known(Weights(TENSORS, {}), lambda: recorded, checkpoint=True)
    graph, exact = OnnxGraph(proto), ExactGraph(proto)

    def evaluate(watch: Watch) -> Iterator[None]:
        for case in CASES:
            exact.run({"x": np.array(case)}, watch=watch)
            yield

    proven = prove_constants(graph, known)
    subject = Subject(graph, Path("model.onnx"), proven=proven, known=known, evaluate=evaluate)
    return Found(BOUNDS, BOUNDS.look(subject))


@pytest.mark.parametrize(
    ("proto", "says"),
    [
        pytest.param(model("Min", c=[0.8]), 'Min "n" holds x to at most 0.8', id="min"),
        pytest.param(model("Max", c=-0.4), 'Max "n" holds x to at least -0.4', id="max"),
        pytest.param(model("Clip", low=0.0, high=0.8), "at most 0.8", id="clip"),
        pytest.param(model("Clip", low=None, high=0.8), "at most 0.8", id="clip-from-above"),
        pytest.param(model("Clip", 7, min=-0.4, max=0.8), "at least -0.4.*at most 0.8", id="attributes"),
    ],
)
def test_a_bound_that_the_model_lacks_and_no_case_reaches_is_told(proto: onnx.ModelProto, says: str) -> None:
    found = look(proto)
    assert found.check.status == "pass"
    assert found.advice is not None
    assert re.search(says, found.advice)


@pytest.mark.parametrize(
    "proto",
    [
        pytest.param(model("Relu"), id="no-bound"),
        pytest.param(model("Clip", low=0.0, high=6.0), id="the-model's-own"),
        pytest.param(model("Min", c=0.6), id="reached"),
        pytest.param(model("Max", c=-0.2), id="reached-from-below"),
        pytest.param(model("Min", edge=[0.9]), id="a-tensor-of-the-checkpoint"),
        pytest.param(model("Max", c=np.finfo(np.float32).min), id="none-in-effect"),
        pytest.param(model("Max", c=0.0), id="a-relu"),
    ],
)
def test_other_bounds_are_not(proto: onnx.ModelProto) -> None:
    found = look(proto)
    assert (found.check.status, found.advice) == ("pass", None)


def test_it_fails_if_the_model_chooses_nothing_and_has_no_such_bound() -> None:
    smooth = Recorded(bounds={6.0: 1}, operations=frozenset({"clamp", "mul"}))
    check = look(model("Min", c=0.8), smooth).check
    assert check.status == "fail"
    assert check.reason.endswith("and the model has neither such a bound nor a condition")
    twice = model("Clip", low=0.0, high=6.0)
    twice.graph.node.append(helper.make_node("HardSwish", ["y"], ["z"]))
    twice.graph.output[0].name = "z"
    assert look(twice, smooth).advice is not None
    assert look(model("Min", c=0.8), Recorded(operations=frozenset({"where"}))).advice is not None


def test_a_bound_of_which_the_model_has_fewer_is_told() -> None:
    proto = model("Clip", low=0.0, high=6.0)
    proto.graph.node.append(helper.make_node("HardSwish", ["y"], ["z"]))
    proto.graph.output[0].name = "z"
    found = look(proto, Recorded(bounds={3.0: 1, 6.0: 1}))
    assert found.advice is not None
    assert "at most 6: no case reached that" in found.advice
    assert "2 nodes cut off at 6, 1 operations of it do" in found.advice
    assert look(proto, Recorded(bounds={3.0: 1, 6.0: 2})).advice is None


def test_nothing_is_said_without_what_the_model_is_bounded_by() -> None:
    assert look(model("Min", c=0.8), Recorded(missing="no float64")).check.status == "skipped"
    graph = OnnxGraph(model("Min", c=0.8))
    assert BOUNDS.look(Subject(graph, Path("model.onnx"))).status == "skipped"
