"""Shapes are inferred in a process that starts at once, as onnx infers them."""

import subprocess
import sys

import onnx
import pytest
from onnx import TensorProto, helper
from onnx.shape_inference import infer_shapes

from onnxproof.validate.inference import Inference

STARTED = """
import json, sys
from onnxproof.validate import _inference_child as child
child._inferred(child._messages().ModelProto(), strict=False)
print(json.dumps(sorted(sys.modules)))
"""


@pytest.fixture
def network() -> onnx.ModelProto:
    """Three rows of x, twice as wide, and y, which only fits at a width of 4."""
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [3, name]) for name in "xy")
    nodes = [helper.make_node("Concat", ["x", "x"], ["wide"], axis=1)]
    nodes.append(helper.make_node("Add", ["wide", "four"], ["y"]))
    four = helper.make_tensor("four", TensorProto.FLOAT, [3, 4], [1.0] * 12)
    return helper.make_model(helper.make_graph(nodes, "two", [x], [y], [four]))


def test_the_process_imports_neither_numpy_nor_the_rest_of_onnx() -> None:
    ran = subprocess.run(
        [sys.executable, "-c", STARTED], capture_output=True, text=True, check=False, timeout=120
    )
    assert ran.returncode == 0, ran.stderr
    assert "onnx.onnx_ml_pb2" in ran.stdout
    assert '"numpy"' not in ran.stdout
    assert "onnx.helper" not in ran.stdout


def test_shapes_are_those_that_onnx_infers(network: onnx.ModelProto) -> None:
    asked = Inference(network, "two.onnx")
    shapes = asked.at({"x": [3, 2]}).shapes
    network.graph.input[0].type.tensor_type.shape.dim[1].dim_value = 2
    (wide,) = infer_shapes(network).graph.value_info
    assert shapes["wide"] == tuple(dim.dim_value for dim in wide.type.tensor_type.shape.dim) == (3, 4)
    assert asked.complaint({"x": [3, 2]}) == ""


def test_a_complaint_is_in_onnxs_words(network: onnx.ModelProto) -> None:
    said = Inference(network, "two.onnx").complaint({"x": [3, 5]})
    network.graph.input[0].type.tensor_type.shape.dim[1].dim_value = 5
    with pytest.raises(onnx.shape_inference.InferenceError) as refused:
        infer_shapes(network, strict_mode=True, data_prop=True)
    assert said == str(refused.value)
    assert "Add" in said or "Incompatible" in said
