"""A detector made by hand, so that predictor and request are tested without an export."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from contracts import manifest as made
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from onnxproof.contract import ClassInfo, Preprocess
from onnxproof.runtime.manifest import METADATA_KEY
from onnxproof.tensors import Dim, TensorSpec

Array = NDArray[Any]

HEIGHT, WIDTH = Dim("height", 8, 64, 8), Dim("width", 8, 64, 8)
BRIGHT = made(
    name="bright",
    task="detection",
    family="none",
    inputs=(TensorSpec("input", "float32", (1, 3, "height", "width"), (0, 1)),),
    outputs=(TensorSpec("output", "float32", (1, 1, 6)),),
    dims=(HEIGHT, WIDTH),
    preprocess=Preprocess("input", "NCHW", "float32", 255, "crop", 16, HEIGHT, WIDTH),
    classes=(ClassInfo("dark", (0, 0, 0)), ClassInfo("bright", (255, 255, 0))),
    postprocess={
        "decode": "packed",
        "outputs": ["output"],
        "score_threshold": 0.5,
        "iou_threshold": 0.5,
        "class_agnostic": False,
    },
    opset=17,
    exporter="by hand",
    simplify="none",
    checkpoint_sha256=None,
)


def detector() -> onnx.ModelProto:
    """One box of 8 by 8 pixels at (4, 2), class 1, whose score is the picture's mean brightness."""
    image = helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, 3, "height", "width"])
    output = helper.make_tensor_value_info("output", TensorProto.FLOAT, [1, 1, 6])
    constants: dict[str, Array] = {
        "box": np.array([[[4, 2, 8, 8, 1]]], np.float32),
        "shape": np.array([1, 1, 1], np.int64),
    }
    nodes = [
        helper.make_node("ReduceMean", ["input"], ["mean"]),
        helper.make_node("Reshape", ["mean", "shape"], ["score"]),
        helper.make_node("Concat", ["box", "score"], ["output"], axis=2),
    ]
    weights = [numpy_helper.from_array(array, name) for name, array in constants.items()]
    graph = helper.make_graph(nodes, "bright", [image], [output], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], producer_name="by hand")
    model.ir_version = 8
    return model


@pytest.fixture(scope="session")
def bright(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The detector's file, with onnxproof's metadata."""
    model = detector()
    helper.set_model_props(model, {METADATA_KEY: BRIGHT.to_metadata()})
    file = tmp_path_factory.mktemp("bright") / "bright.onnx"
    onnx.save(model, file)
    return file


@pytest.fixture(scope="session")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same file as another tool would have written it."""
    model = detector()
    helper.set_model_props(model, {"author": "somebody"})
    file = tmp_path_factory.mktemp("plain") / "plain.onnx"
    onnx.save(model, file)
    return file
