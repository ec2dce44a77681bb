"""Sizes at which ONNX Runtime picks other pixels than PyTorch: found by name, node and number."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from contracts import contract
from onnx import TensorProto, helper, numpy_helper

from onnxproof.graph import OnnxGraph
from onnxproof.tensors import Dim, TensorSpec
from onnxproof.validate.hazards import HAZARDS, Subject
from onnxproof.validate.hazards._resize import Step, alike, pytorchs_picks, runtimes_picks
from onnxproof.validate.hazards._sums import value_of
from onnxproof.validate.hazards.sizes import look_for_sizes
from onnxproof.validate.verdict import Check

NEAREST = ("asymmetric", "floor")


def graph(*nodes: Any, **constants: Any) -> onnx.ModelProto:
    stored = [numpy_helper.from_array(np.array(value), name) for name, value in constants.items()]
    body = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 3, "height", "width"])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        stored,
    )
    return helper.make_model(body, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def resize(source: str, *parameters: str, **attributes: Any) -> Any:
    given = {"coordinate_transformation_mode": NEAREST[0], "nearest_mode": NEAREST[1], **attributes}
    return helper.make_node(
        "Resize", [source, "", *parameters], ["y"], "resized", **{"mode": "nearest", **given}
    )


def look(proto: onnx.ModelProto, **dims: Dim) -> Check:
    given = {"batch": Dim("batch", 1, 2), "height": Dim("height", 16, 128), "width": Dim("width", 32, 32)}
    told = contract(
        inputs=(TensorSpec("x", "float32", ("batch", 3, "height", "width")),),
        dims=tuple({**given, **dims}.values()),
    )
    return look_for_sizes(Subject(OnnxGraph(proto), Path("model.onnx"), contract=told))


SHAPE = helper.make_node("Shape", ["x"], ["shape"], start=0, end=2)
TO_64 = (SHAPE, helper.make_node("Concat", ["shape", "sides"], ["sizes"], axis=0), resize("x", "", "sizes"))
SIDES = np.array([64, 64], np.int64)


def test_the_hazard_is_looked_for_in_every_verdict() -> None:
    assert "sizes" in [hazard.name for hazard in HAZARDS]


def test_a_resize_to_a_constant_size_is_named_with_its_sizes() -> None:
    check = look(graph(*TO_64, sides=SIDES))
    assert check.status == "fail"
    assert check.value == 10
    assert check.reason == (
        'ONNX Runtime picks other pixels than PyTorch, or another number, in Resize "resized" at 10 of 113 '
        "sizes of height (26, 28, 30 and 7 more)"
    )


def test_declared_sizes_without_the_wrong_ones_pass() -> None:
    assert look(graph(*TO_64, sides=SIDES), height=Dim("height", 16, 128, 16)).status == "fail"
    assert look(graph(*TO_64, sides=SIDES), height=Dim("height", 32, 128, 32)).status == "pass"


@pytest.mark.parametrize(
    "nodes",
    [
        pytest.param(
            (
                helper.make_node("MaxPool", ["x"], ["pooled"], kernel_shape=[2, 2], strides=[2, 2]),
                helper.make_node("Shape", ["x"], ["sizes"]),
                resize("pooled", "", "sizes"),
            ),
            id="back-to-the-size-before-pooling",
        ),
        pytest.param((resize("x", "scales"),), id="by-a-power-of-two"),
        pytest.param((resize("x", "", "fixed", mode="linear"),), id="not-nearest"),
        pytest.param((helper.make_node("Relu", ["x"], ["y"]),), id="no-resize"),
    ],
)
def test_what_is_rounded_alike_passes(nodes: tuple[Any, ...]) -> None:
    scales = np.array([1, 1, 2, 4], np.float32)
    assert look(graph(*nodes, scales=scales, fixed=np.array([1, 3, 64, 64]))).status == "pass"


def test_sizes_that_are_computed_from_shapes_are_followed() -> None:
    # As torch writes x.shape[2] * 2 // 3, which onnx's own inference does not follow.
    nodes = (
        helper.make_node("Shape", ["x"], ["shape"]),
        helper.make_node("Slice", ["shape", "two", "four"], ["sides"]),
        helper.make_node("Mul", ["sides", "two"], ["doubled"]),
        helper.make_node("Div", ["doubled", "three"], ["less"]),
        helper.make_node("Slice", ["shape", "zero", "two"], ["kept"]),
        helper.make_node("Concat", ["kept", "less"], ["sizes"], axis=0),
        resize("x", "", "sizes"),
    )
    check = look(graph(*nodes, zero=[0], two=[2], three=[3], four=[4]))
    assert check.status == "fail"
    assert "3 of 113 sizes of height (100, 106, 124)" in check.reason


def test_sizes_that_depend_on_values_are_said_not_to_be_followed() -> None:
    nodes = (
        helper.make_node("NonZero", ["x"], ["places"]),
        helper.make_node("Shape", ["places"], ["count"]),
        helper.make_node("Concat", ["three", "count"], ["sizes"], axis=0),
        resize("x", "", "sizes"),
    )
    check = look(graph(*nodes, three=np.array([1, 3], np.int64)))
    assert check.status == "skipped"
    assert 'Resize "resized"' in check.reason


def test_a_file_that_declares_no_sizes_is_skipped() -> None:
    check = look_for_sizes(Subject(OnnxGraph(graph(*TO_64, sides=SIDES)), Path("model.onnx")))
    assert (check.status, check.reason) == ("skipped", "the file does not say which sizes it takes")


def test_a_scale_that_gives_another_length_is_wrong() -> None:
    # 90 * 0.7 is 62.99999999999999 in Python and 63 in float32.
    step = Step(NEAREST, 90, 63, float(np.float32(0.7)))
    assert len(pytorchs_picks(step)) == 62
    found = runtimes_picks(step)
    assert found is not None
    assert len(found) == 63
    assert not alike(step)


@pytest.mark.parametrize("mode", ["nearest", "linear", "cubic"])
def test_a_length_that_follows_from_a_scale_is_looked_at_in_every_mode(mode: str) -> None:
    scales = np.array([1, 1, 0.7, 1], np.float32)
    proto = graph(resize("x", "scales", mode=mode), scales=scales)
    check = look(proto)
    assert check.status == "fail"
    assert "1 of 113 sizes of height (90)" in check.reason
    assert look(proto, height=Dim("height", 16, 89)).status == "pass"


def test_values_are_computed_as_onnx_defines_them() -> None:
    nodes = (
        helper.make_node("Shape", ["x"], ["shape"], start=2),
        helper.make_node("Cast", ["shape"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["floats", "half"], ["halved"]),
        helper.make_node("Floor", ["halved"], ["floored"]),
        helper.make_node("Cast", ["floored"], ["whole"], to=TensorProto.INT64),
        helper.make_node("Sub", ["whole", "large"], ["below"]),
        helper.make_node("Div", ["below", "two"], ["quotient"]),
        helper.make_node("Gather", ["quotient", "first"], ["one"]),
        helper.make_node("Unsqueeze", ["one", "axes"], ["y"]),
    )
    proto = graph(*nodes, half=np.float32(0.5), large=[30], two=[2], first=np.array(0), axes=[0])
    read = OnnxGraph(proto)
    stored = {name: entry.array(Path("model.onnx")) for name, entry in read.constants.items()}
    # floor(33 / 2) - 30 = -14, and -15 / 2 is -7: ONNX cuts the fraction off.
    found = value_of(read.outputs[0], stored, {"x": (1, 3, 33, 31)})
    assert found is not None
    assert found.tolist() == [-7]
    other = value_of(read.outputs[0], stored, {"x": (1, 3, 31, 33)})
    assert other is not None
    assert other.tolist() == [-7]
    assert value_of(read.outputs[0], stored, {}) is None


def test_a_list_that_doubles_is_not_computed() -> None:
    names = ["side", *(f"c{step}" for step in range(60))]
    joins = [helper.make_node("Concat", [names[at], names[at]], [names[at + 1]], axis=0) for at in range(60)]
    held = OnnxGraph(graph(*joins, resize("x", "", names[-1]), side=np.array([64], np.int64)))
    outputs = {str(value.name): value for node in held.top for value in node.outputs}
    stored = {"side": np.array([64], np.int64)}
    assert value_of(outputs["c59"], stored, {}) is None
    few = value_of(outputs["c2"], stored, {})
    assert few is not None
    assert few.tolist() == [64] * 8


def test_a_chain_that_is_longer_than_pythons_stack_is_computed() -> None:
    names = ["side", *(f"c{step}" for step in range(5000))]
    sums = [helper.make_node("Add", [names[at], "one"], [names[at + 1]]) for at in range(5000)]
    held = OnnxGraph(graph(*sums, side=np.array([64], np.int64), one=np.array([1], np.int64)))
    last = held.top[-1].outputs[0]
    stored = {name: np.array([number], np.int64) for name, number in (("side", 64), ("one", 1))}
    found = value_of(last, stored, {})
    assert found is not None
    assert found.tolist() == [5064]
