"""What a file from elsewhere shows of itself: half precision, rows that its graph chose, classes."""

import re
from pathlib import Path

import ml_dtypes
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from onnxproof.errors import RequestError
from onnxproof.finding.unlike import (
    chosen_rows,
    few_pictures,
    half_of,
    other_names,
    says_nms,
    settings_of_nms,
    why_chosen_rows_are_refused,
)
from onnxproof.graph import OnnxGraph
from onnxproof.runtime.port import Port

FILE = Path("theirs.onnx")


def graph(dtype: type, metadata: dict[str, str] | None = None) -> OnnxGraph:
    """A file with a large weight of that dtype and a small one in float32."""
    weights = [
        numpy_helper.from_array(np.ones((1, 64), dtype), "large"),
        numpy_helper.from_array(np.ones(4, np.float32), "small"),
    ]
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n"])
    nodes = [helper.make_node("Identity", [name], [f"{name}_out"]) for name in ("large", "small")]
    made = helper.make_graph(
        nodes, "g", [value], [helper.make_tensor_value_info("small_out", TensorProto.FLOAT, [4])], weights
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)])
    helper.set_model_props(model, metadata or {})
    return OnnxGraph(onnx.ModelProto.FromString(model.SerializeToString()))


def test_a_files_dtype_is_that_of_most_of_its_weights() -> None:
    assert half_of(FILE, graph(np.float16)) == "float16"
    assert half_of(FILE, graph(np.float32)) == "float32"
    with pytest.raises(RequestError, match="94 % of its weights in bfloat16"):
        half_of(FILE, graph(ml_dtypes.bfloat16))


def test_the_thresholds_of_nms_are_read_from_the_graph() -> None:
    numbers = {"iou": np.array([0.6], np.float16), "score": np.array(0.2, np.float16), "most": np.array([50])}
    weights = [numpy_helper.from_array(one, name) for name, one in numbers.items()]
    nodes = [
        helper.make_node("Greater", ["s", "score"], ["above"]),
        helper.make_node("Cast", ["iou"], ["wide"], to=TensorProto.FLOAT),
        helper.make_node("NonMaxSuppression", ["b", "s", "most", "wide"], ["kept"]),
    ]
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("b", "s")]
    kept = helper.make_tensor_value_info("kept", TensorProto.INT64, None)
    made = helper.make_model(helper.make_graph(nodes, "g", values, [kept], weights))
    assert settings_of_nms(OnnxGraph(made), FILE) == {"iou_threshold": 0.6, "score_threshold": 0.2}
    assert settings_of_nms(graph(np.float32), FILE) == {}


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        pytest.param("{'nms': True, 'batch': 1}", "--set dims.batch=1", id="one-picture"),
        pytest.param("{'nms': True, 'batch': 4}", "--set dims.batch=1..4", id="four"),
        pytest.param("{'nms': True, 'batch': 8}", None, id="as-many-as-are-tried"),
        pytest.param("{'nms': False, 'batch': 1}", None, id="without-nms"),
        pytest.param("nms=True", None, id="no-literal"),
        pytest.param(None, None, id="none"),
    ],
)
def test_how_many_pictures_nms_was_exported_for_is_said(arguments: str | None, says: str | None) -> None:
    told = few_pictures(graph(np.float32, {} if arguments is None else {"args": arguments}), 8)
    assert told is None if says is None else says in str(told)


@pytest.mark.parametrize(
    ("task", "shape", "chosen"),
    [
        pytest.param("detection", (1, 300, 6), True, id="nms-in-the-graph"),
        pytest.param("detection", ("batch", 189, 6), True, id="fewer-cells-than-rows"),
        pytest.param("detection", (1, 84, 189), False, id="all-cells"),
        pytest.param("detection", (1, 8400, 6), False, id="all-cells-of-two-classes"),
        pytest.param("detection", (1, None, 6), False, id="a-number-that-is-open"),
        pytest.param("oriented_detection", (1, 300, 7), True, id="with-an-angle"),
        pytest.param("keypoints", (1, 300, 57), True, id="with-keypoints"),
        pytest.param("keypoints", (1, 56, 8400), False, id="all-cells-with-keypoints"),
        pytest.param("classification", (1, 300, 6), False, id="a-task-without-boxes"),
    ],
)
def test_chosen_rows_are_told_by_their_shape(
    task: str, shape: tuple[int | str | None, ...], chosen: bool
) -> None:
    port = Port("output0", "float32", shape)
    assert (chosen_rows(task, [port]) is port) is chosen


def test_chosen_rows_of_any_number_are_told_by_what_the_file_says() -> None:
    port = Port("output0", "float32", (1, 50, 57))
    assert (
        chosen_rows("keypoints", [port], said=says_nms(graph(np.float32, {"args": "{'nms': True}"}))) is port
    )
    assert chosen_rows("keypoints", [port], said=says_nms(graph(np.float32))) is None


@pytest.mark.parametrize(
    ("decodes", "says"),
    [
        pytest.param(("split", "nms"), "export best.pt --set wrapper.decode=nms make", id="with-nms"),
        pytest.param(("split", "nms-padded"), "--set wrapper.decode=nms-padded make", id="with-padded-nms"),
        pytest.param(("split",), "export best.pt make", id="without-nms"),
    ],
)
def test_what_to_do_about_chosen_rows_is_said(decodes: tuple[str, ...], says: str) -> None:
    port = Port("output0", "float32", (1, 300, 6))
    error = why_chosen_rows_are_refused(FILE, port, Path("best.pt"), decodes)
    assert re.search(r"theirs.onnx returns output0 float32\[1, 300, 6\]", str(error))
    assert says in str(error)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        pytest.param("{0: 'cat', 1: 'dog'}", None, id="the-same"),
        pytest.param("{0: 'dog', 1: 'cat'}", "names 2 classes (dog, cat), the checkpoint 2", id="swapped"),
        pytest.param("['cat']", "names 1 classes (cat), the checkpoint 2", id="another-number"),
        pytest.param("__import__('os')", None, id="no-literal"),
        pytest.param(None, None, id="none"),
    ],
)
def test_classes_that_the_file_names_otherwise_are_told(text: str | None, says: str | None) -> None:
    told = other_names(graph(np.float32, {} if text is None else {"names": text}), ("cat", "dog"))
    assert told is None if says is None else says in str(told)
