"""The float64 evaluator of ONNX graphs, against ONNX Runtime and against PyTorch in float64."""

import weakref
from collections.abc import Mapping
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from hostile import of_loop
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper
from torch import nn

from onnxproof.errors import ModelFileError
from onnxproof.export.examples import capture_sizes, example_inputs
from onnxproof.export.fold import fold_batch_norms
from onnxproof.export.make import make_graph
from onnxproof.export.model import build_model
from onnxproof.job import load_job
from onnxproof.validate.cases import Case, materialise
from onnxproof.validate.exact import later, registry
from onnxproof.validate.exact.block import Step
from onnxproof.validate.exact.graph import ExactGraph, NotRunnableError, UnsupportedError, run_exact
from onnxproof.validate.exact.operators import control
from onnxproof.validate.exact.operators.windows import Pooling
from onnxproof.validate.legs.exact_graph import ExactLeg
from onnxproof.validate.legs.pytorch import OracleLeg
from onnxproof.wrappers.double import weights

Array = NDArray[Any]
Arrays = Mapping[str, Array]


@pytest.fixture(autouse=True, params=["widened at once", "widened where they are read"])
def how(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Constants are widened when the graph is opened, or where they are read, as a large graph's are."""
    if request.param == "widened where they are read":
        for module in (weights, later):
            monkeypatch.setattr(module, "MOST_WIDENED", 0)
        monkeypatch.setattr(weights, "FEWEST_LENT", 1)
        monkeypatch.setattr(later, "FEWEST_LATER", 1)


CONFIGS = Path(__file__).parents[2] / "configs"


def graph_of(
    nodes: list[NodeProto], inputs: Arrays, weights: Arrays, outputs: int, opset: int = 20
) -> ModelProto:
    values = [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(array.dtype), [None] * array.ndim)
        for name, array in inputs.items()
    ]
    results = [helper.make_value_info(f"y{index}", onnx.TypeProto()) for index in range(outputs)]
    constants = [numpy_helper.from_array(array, name) for name, array in weights.items()]
    graph = helper.make_graph(nodes, "test", values, results, constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)


def node_graph(
    op: str, arrays: list[Array | None], outputs: int = 1, opset: int = 20, **attributes: Any
) -> ModelProto:
    """One node; every given input but the first is a constant."""
    names = ["" if array is None else f"x{index}" for index, array in enumerate(arrays)]
    node = helper.make_node(op, names, [f"y{index}" for index in range(outputs)], **attributes)
    named = {name: array for name, array in zip(names, arrays, strict=True) if array is not None}
    first = next(iter(named))
    weights = {name: array for name, array in named.items() if name != first}
    return graph_of([node], {first: named[first]}, weights, outputs, opset)


def in_ort(model: ModelProto, inputs: Arrays) -> dict[str, Array]:
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, dict(inputs)), strict=True))


def floats(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def ints(values: Any) -> Array:
    return np.array(values, dtype=np.int64)


def values_of(*numbers: float) -> Array:
    return np.array(numbers, dtype=np.float32)


def boxes(count: int, seed: int = 0) -> Array:
    corners = np.random.default_rng(seed).uniform(0, 30, (count, 4)).astype(np.float32)
    corners[:, 2:] += corners[:, :2] + 1
    return corners


NODES: dict[str, tuple[str, list[Array | None], int, dict[str, Any]]] = {
    "conv": (
        "Conv",
        [floats(2, 3, 9, 8), floats(4, 3, 3, 3, seed=1), floats(4, seed=2)],
        1,
        {"pads": [1] * 4},
    ),
    "conv, uneven pads": (
        "Conv",
        [floats(1, 3, 9, 8), floats(4, 3, 3, 2, seed=1)],
        1,
        {"pads": [0, 1, 2, 0], "strides": [2, 1], "dilations": [1, 2]},
    ),
    "conv, same lower": (
        "Conv",
        [floats(1, 2, 7, 8), floats(3, 2, 4, 4, seed=1)],
        1,
        {"auto_pad": "SAME_LOWER"},
    ),
    "conv, depthwise": (
        "Conv",
        [floats(2, 6, 9, 8), floats(6, 1, 3, 3, seed=1), floats(6, seed=2)],
        1,
        {"pads": [1] * 4, "strides": [2, 2], "group": 6},
    ),
    "conv, grouped": ("Conv", [floats(2, 6, 5, 5), floats(4, 3, 3, 3, seed=1)], 1, {"group": 2}),
    "conv, 1 axis": ("Conv", [floats(2, 3, 9), floats(4, 3, 3, seed=1)], 1, {"pads": [1, 1]}),
    "conv transpose": (
        "ConvTranspose",
        [floats(1, 3, 4, 5), floats(3, 2, 3, 3, seed=1), floats(2, seed=2)],
        1,
        {"strides": [2, 2], "pads": [1, 0, 0, 1], "output_padding": [1, 0]},
    ),
    "max pool, ceiling": (
        "MaxPool",
        [floats(1, 2, 8, 9)],
        1,
        {"kernel_shape": [3, 3], "strides": [2, 2], "ceil_mode": 1, "pads": [1, 1, 0, 0]},
    ),
    "max pool, dilated": ("MaxPool", [floats(1, 2, 8, 9)], 1, {"kernel_shape": [2, 3], "dilations": [2, 1]}),
    "average pool": (
        "AveragePool",
        [floats(1, 2, 8, 9)],
        1,
        {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]},
    ),
    "average pool, padding counts": (
        "AveragePool",
        [floats(1, 2, 8, 9)],
        1,
        {
            "kernel_shape": [3, 3],
            "strides": [2, 2],
            "pads": [1, 1, 1, 1],
            "count_include_pad": 1,
            "ceil_mode": 1,
        },
    ),
    "average pool, a window beyond the map": (
        "AveragePool",
        [floats(1, 2, 4, 3)],
        1,
        {"kernel_shape": [32, 5], "strides": [32, 5], "ceil_mode": 1},
    ),
    "average pool, a window beyond the map, padding counts": (
        "AveragePool",
        [floats(1, 2, 4, 3)],
        1,
        {
            "kernel_shape": [9, 3],
            "strides": [4, 1],
            "pads": [1, 0, 2, 1],
            "count_include_pad": 1,
            "ceil_mode": 1,
        },
    ),
    "max pool, a dilated window beyond the map": (
        "MaxPool",
        [floats(1, 2, 4, 3)],
        1,
        {"kernel_shape": [4, 3], "strides": [7, 4], "dilations": [3, 2], "ceil_mode": 1},
    ),
    "lp pool, a window beyond the map": (
        "LpPool",
        [floats(1, 2, 4, 3)],
        1,
        {"kernel_shape": [32, 5], "strides": [32, 5], "ceil_mode": 1, "p": 3},
    ),
    "erf": ("Erf", [floats(50)], 1, {}),
    "gelu": ("Gelu", [floats(50)], 1, {}),
    "gelu, tanh": ("Gelu", [floats(50)], 1, {"approximate": "tanh"}),
    "sigmoid, large": ("Sigmoid", [1000 * floats(50)], 1, {}),
    "softmax": ("Softmax", [floats(4, 5)], 1, {"axis": 0}),
    "batch norm": (
        "BatchNormalization",
        [floats(2, 3, 4, 4), *(np.abs(floats(3, seed=seed)) + 0.1 for seed in range(4))],
        1,
        {},
    ),
    "layer norm": ("LayerNormalization", [floats(2, 7), floats(7, seed=1), floats(7, seed=2)], 1, {}),
    "instance norm": (
        "InstanceNormalization",
        [floats(2, 3, 7), floats(3, seed=1), floats(3, seed=2)],
        1,
        {},
    ),
    "einsum": ("Einsum", [floats(2, 3, 4), floats(2, 4, 5, seed=1)], 1, {"equation": "bij,bjk->bki"}),
    "hard swish": ("HardSwish", [3 * floats(50)], 1, {}),
    "mish": ("Mish", [3 * floats(50)], 1, {}),
    "softplus": ("Softplus", [3 * floats(50)], 1, {}),
    "grid sample": (
        "GridSample",
        [floats(1, 2, 5, 6), np.tanh(floats(1, 4, 4, 2, seed=1))],
        1,
        {"mode": "linear", "padding_mode": "border", "align_corners": 1},
    ),
    "roi align": (
        "RoiAlign",
        [floats(2, 3, 16, 16), boxes(5), ints([0, 1, 1, 0, 1])],
        1,
        {"output_height": 3, "output_width": 2, "sampling_ratio": 2, "spatial_scale": 0.5},
    ),
    "roi align, boxes that stand out": (
        "RoiAlign",
        [
            floats(1, 3, 16, 16),
            np.concatenate([boxes(5) / 2 - 4, np.full((1, 4), 3, np.float32)]),
            ints([0] * 6),
        ],
        1,
        {"output_height": 2, "output_width": 2},
    ),
    "roi align, not aligned": (
        "RoiAlign",
        [floats(2, 3, 16, 16), boxes(5), ints([0, 1, 1, 0, 1])],
        1,
        {
            "output_height": 3,
            "output_width": 3,
            "spatial_scale": 0.25,
            "coordinate_transformation_mode": "output_half_pixel",
        },
    ),
    "NMS": (
        "NonMaxSuppression",
        [
            np.stack([boxes(40), boxes(40, seed=1)]),
            np.abs(floats(2, 3, 40)),
            ints([9]),
            np.array([0.3], np.float32),
            np.array([0.2], np.float32),
        ],
        1,
        {},
    ),
    "NMS, centres, equal scores": (
        "NonMaxSuppression",
        [np.abs(floats(1, 30, 4)), np.ones((1, 1, 30), np.float32), ints([99]), np.array([0.1], np.float32)],
        1,
        {"center_point_box": 1},
    ),
    "top k, ties": ("TopK", [np.array([[3, 1, 3, 2, 3], [0, 0, 0, 0, 1]], np.float32), ints([3])], 2, {}),
    "top k, smallest": ("TopK", [floats(4, 5), ints([2])], 2, {"axis": 0, "largest": 0}),
    "gather elements, fewer rows": (
        "GatherElements",
        [floats(4, 5), ints([[0, 3, 2, 1, -1]])],
        1,
        {"axis": 0},
    ),
    "gather nd": (
        "GatherND",
        [floats(2, 3, 4), ints([[[0, 1], [2, 3]], [[1, 1], [0, -1]]])],
        1,
        {"batch_dims": 1},
    ),
    "gather nd, slices": ("GatherND", [floats(3, 4, 2), ints([[0, 1], [2, 3]])], 1, {}),
    "scatter nd": ("ScatterND", [floats(4, 3), ints([[0], [2]]), floats(2, 3, seed=1)], 1, {}),
    "scatter nd, sums": (
        "ScatterND",
        [floats(4, 3), ints([[1], [1]]), floats(2, 3, seed=1)],
        1,
        {"reduction": "add"},
    ),
    "scatter elements": (
        "ScatterElements",
        [floats(4, 5), ints([[0, 3, 2, 1, 3]]), floats(1, 5, seed=1)],
        1,
        {"axis": 0},
    ),
    "flatten": ("Flatten", [floats(2, 3, 4)], 1, {"axis": -1}),
    "GRU, both ways, lengths": (
        "GRU",
        [
            floats(6, 3, 4),
            floats(2, 15, 4, seed=1),
            floats(2, 15, 5, seed=2),
            floats(2, 30, seed=3),
            np.array([6, 2, 4], np.int32),
            floats(2, 3, 5, seed=4),
        ],
        2,
        {"hidden_size": 5, "direction": "bidirectional", "linear_before_reset": 1},
    ),
    "GRU, reset before": (
        "GRU",
        [floats(6, 3, 4), floats(1, 15, 4, seed=1), floats(1, 15, 5, seed=2), floats(1, 30, seed=3)],
        2,
        {"hidden_size": 5, "direction": "reverse"},
    ),
    "LSTM, peepholes": (
        "LSTM",
        [
            floats(6, 3, 4),
            floats(2, 20, 4, seed=1),
            floats(2, 20, 5, seed=2),
            floats(2, 40, seed=3),
            np.array([6, 2, 4], np.int32),
            floats(2, 3, 5, seed=4),
            floats(2, 3, 5, seed=5),
            floats(2, 15, seed=6),
        ],
        3,
        {"hidden_size": 5, "direction": "bidirectional"},
    ),
    "RNN": (
        "RNN",
        [floats(6, 3, 4), floats(1, 5, 4, seed=1), floats(1, 5, 5, seed=2), floats(1, 10, seed=3)],
        2,
        {"hidden_size": 5},
    ),
}


@pytest.mark.parametrize("name", NODES)
def test_a_node_agrees_with_onnx_runtime_up_to_float32(name: str) -> None:
    op, arrays, outputs, attributes = NODES[name]
    first = next(array for array in arrays if array is not None)
    model = node_graph(op, arrays, outputs, **attributes)
    got, expected = run_exact(model, {"x0": first}), in_ort(model, {"x0": first})
    assert set(got) == set(expected)
    for key, value in expected.items():
        assert got[key].dtype == (np.float64 if value.dtype == np.float32 else value.dtype)
        np.testing.assert_allclose(got[key], value, rtol=2e-5, atol=2e-6)


SELECTING = (
    "NMS",
    "flatten",
    "top k",
    "gather",
    "scatter nd",
    "scatter elements",
    "max pool",
    "sigmoid, large",
)


@pytest.mark.parametrize("name", [name for name in NODES if not name.startswith(SELECTING)])
def test_a_node_rounds_nothing_to_float32(name: str) -> None:
    op, arrays, outputs, attributes = NODES[name]
    first = next(array for array in arrays if array is not None)
    values = run_exact(node_graph(op, arrays, outputs, **attributes), {"x0": first})["y0"]
    # Some numbers are zeros, or inputs handed on.
    rounded = values.astype(np.float32) == values
    assert rounded.mean() < 0.5, "float32 holds most of the numbers: something rounded them"


RESIZES = [
    (mode, coordinates, more)
    for coordinates in (
        "half_pixel",
        "pytorch_half_pixel",
        "align_corners",
        "asymmetric",
        "half_pixel_symmetric",
    )
    for mode, more in (
        ("nearest", {"nearest_mode": "floor"}),
        ("nearest", {"nearest_mode": "round_prefer_floor"}),
        ("nearest", {"nearest_mode": "round_prefer_ceil"}),
        ("nearest", {"nearest_mode": "ceil"}),
        ("linear", {}),
        ("cubic", {"cubic_coeff_a": -0.5}),
        ("cubic", {"exclude_outside": 1}),
    )
] + [
    (mode, "half_pixel", {"antialias": 1, "exclude_outside": out})
    for mode in ("linear", "cubic")
    for out in (0, 1)
]


@pytest.mark.parametrize(
    "sizes", [(11, 4), (3, 10), (14, 16)], ids=["mixed", "smaller and larger", "doubled"]
)
@pytest.mark.parametrize(("mode", "coordinates", "more"), RESIZES)
def test_resize_agrees_with_onnx_runtime(
    mode: str, coordinates: str, more: dict[str, Any], sizes: tuple[int, int]
) -> None:
    x = floats(1, 2, 7, 8)
    attributes = {"mode": mode, "coordinate_transformation_mode": coordinates, **more}
    model = node_graph("Resize", [x, None, None, ints([1, 2, *sizes])], **attributes)
    expected = in_ort(model, {"x0": x})["y0"]
    got = run_exact(model, {"x0": x})["y0"]
    assert got.shape == expected.shape
    np.testing.assert_allclose(got, expected, rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize(
    ("dtype", "kind", "step"),
    [
        (np.float16, TensorProto.FLOAT16, 2.0**-10),
        (np.float32, TensorProto.BFLOAT16, 2.0**-7),
        (np.float32, TensorProto.FLOAT, 0.0),
    ],
    ids=["float16 rounds", "bfloat16 rounds", "float32 does not"],
)
def test_a_planted_cast_rounds_but_for_one_to_float32(dtype: Any, kind: int, step: float) -> None:
    nodes = [
        helper.make_node("Mul", ["x", "w"], ["whole"]),
        helper.make_node("Cast", ["whole"], ["cast"], to=kind),
        helper.make_node("Cast", ["cast"], ["y0"], to=TensorProto.FLOAT),
    ]
    x, w = floats(200), np.array([1 / 3], np.float32)
    got = run_exact(graph_of(nodes, {"x": x}, {"w": w}, 1), {"x": x})["y0"]
    whole = x.astype(np.float64) * np.float64(w)
    error = np.max(np.abs(got - whole) / np.abs(whole))
    assert error == 0.0 if step == 0.0 else step / 8 < error <= step / 2


def test_a_cast_like_a_float16_constant_rounds_as_the_cast_does() -> None:
    x, like = floats(200), np.zeros(1, np.float16)
    node = helper.make_node("CastLike", ["x", "like"], ["y0"])
    got = run_exact(graph_of([node], {"x": x}, {"like": like}, 1), {"x": x})["y0"]
    np.testing.assert_array_equal(got, x.astype(np.float16).astype(np.float64))


def test_casts_of_other_types_are_those_of_onnx() -> None:
    x = np.array([-1.5, 0.0, 2.7], np.float32)
    for kind, expected in ((TensorProto.INT64, [-1, 0, 2]), (TensorProto.BOOL, [True, False, True])):
        model = graph_of([helper.make_node("Cast", ["x"], ["y0"], to=kind)], {"x": x}, {}, 1)
        assert run_exact(model, {"x": x})["y0"].tolist() == expected


def test_float16_weights_are_taken_over_exactly() -> None:
    x, w = floats(5), floats(5, seed=1).astype(np.float16)
    nodes = [
        helper.make_node("Cast", ["w"], ["wide"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["x", "wide"], ["y0"]),
    ]
    got = run_exact(graph_of(nodes, {"x": x}, {"w": w}, 1), {"x": x})["y0"]
    np.testing.assert_array_equal(got, x.astype(np.float64) * w.astype(np.float64))


def test_constants_of_every_kind_are_wide() -> None:
    x = floats(3)
    nodes = [
        helper.make_node("Constant", [], ["a"], value_float=0.1),
        helper.make_node("Constant", [], ["b"], value_floats=[0.1, 0.2, 0.3]),
        helper.make_node("Constant", [], ["c"], value=numpy_helper.from_array(np.array(0.7, np.float32))),
        helper.make_node("Shape", ["x"], ["size"]),
        helper.make_node("ConstantOfShape", ["size"], ["zeros"]),
        helper.make_node("Sum", ["x", "a", "b", "c", "zeros"], ["y0"]),
    ]
    got = run_exact(graph_of(nodes, {"x": x}, {}, 1), {"x": x})["y0"]
    parts = (np.float32(0.1), np.array([0.1, 0.2, 0.3], np.float32), np.float32(0.7))
    np.testing.assert_allclose(
        got, sum((p.astype(np.float64) for p in parts), x.astype(np.float64)), rtol=1e-15
    )


EMPTY: dict[str, tuple[str, list[Array | None], dict[str, Any]]] = {
    "flatten": ("Flatten", [floats(0, 3, 4)], {"axis": 1}),
    "reshape": ("Reshape", [floats(0, 4), ints([0, 2, 2])], {}),
    "softmax": ("Softmax", [floats(0, 4)], {}),
    "top k": ("TopK", [floats(2, 0), ints([0])], {}),
    "gather": ("Gather", [floats(3, 4), ints(np.zeros(0))], {}),
    "gather nd": ("GatherND", [floats(3, 4), ints(np.zeros((0, 1)))], {}),
    "conv": ("Conv", [floats(0, 3, 5, 5), floats(4, 3, 3, 3)], {}),
    "conv, depthwise": ("Conv", [floats(0, 3, 5, 5), floats(3, 1, 3, 3)], {"group": 3}),
    "conv transpose": ("ConvTranspose", [floats(0, 3, 5, 5), floats(3, 4, 2, 2)], {"strides": [2, 2]}),
    "resize": ("Resize", [floats(0, 3, 5, 5), None, None, ints([0, 3, 7, 7])], {"mode": "linear"}),
    "roi align": ("RoiAlign", [floats(1, 3, 8, 8), boxes(0), ints(np.zeros(0))], {}),
    "scatter elements": ("ScatterElements", [floats(4, 5), ints(np.zeros((0, 5))), floats(0, 5)], {}),
    "matrix product": ("Gemm", [floats(0, 4), floats(4, 3), floats(3)], {}),
    "NMS, none above": (
        "NonMaxSuppression",
        [floats(1, 5, 4), np.zeros((1, 1, 5), np.float32), ints([9]), values_of(0.5), values_of(0.5)],
        {},
    ),
}


@pytest.mark.parametrize("name", EMPTY)
def test_nothing_in_is_the_shape_of_onnx_runtime_out(name: str) -> None:
    op, arrays, attributes = EMPTY[name]
    outputs = 2 if op == "TopK" else 1
    first = next(array for array in arrays if array is not None)
    model = node_graph(op, arrays, outputs, **attributes)
    got, expected = run_exact(model, {"x0": first}), in_ort(model, {"x0": first})
    assert {key: value.shape for key, value in got.items()} == {
        key: value.shape for key, value in expected.items()
    }


def looping() -> ModelProto:
    """y0: x divided by 3 as often as ``turns`` says; y1: every turn's value; y2: of a branch."""
    third = numpy_helper.from_array(np.array(3, np.float32), "third")
    body = helper.make_graph(
        [
            helper.make_node("Div", ["before", "third"], ["after"]),
            helper.make_node("Identity", ["alive"], ["alive_after"]),
            helper.make_node("Identity", ["after"], ["scan"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("turn", TensorProto.INT64, []),
            helper.make_tensor_value_info("alive", TensorProto.BOOL, []),
            helper.make_tensor_value_info("before", TensorProto.FLOAT, None),
        ],
        [
            helper.make_tensor_value_info("alive_after", TensorProto.BOOL, []),
            helper.make_tensor_value_info("after", TensorProto.FLOAT, None),
            helper.make_tensor_value_info("scan", TensorProto.FLOAT, None),
        ],
        [third],
    )
    branches = {
        f"{name}_branch": helper.make_graph(
            [helper.make_node(op, ["last", "tenth"], [name])],
            name,
            [],
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, None)],
            [numpy_helper.from_array(np.array(0.1, np.float32), "tenth")],
        )
        for name, op in (("then", "Mul"), ("else", "Add"))
    }
    nodes = [
        helper.make_node("Loop", ["turns", "", "x"], ["last", "y1"], body=body),
        helper.make_node("Identity", ["last"], ["y0"]),
        helper.make_node("If", ["condition"], ["y2"], **branches),
    ]
    inputs = {"x": floats(2, 3), "turns": ints(4), "condition": np.array(True)}
    return graph_of(nodes, inputs, {}, 3)


@pytest.mark.parametrize("condition", [True, False])
def test_loops_and_branches_run_in_float64(condition: bool) -> None:
    inputs = {"x": floats(2, 3), "turns": ints(4), "condition": np.array(condition)}
    got, expected = run_exact(looping(), inputs), in_ort(looping(), inputs)
    for name, value in expected.items():
        assert got[name].shape == value.shape
        np.testing.assert_allclose(got[name], value, rtol=1e-6)
    wide = inputs["x"].astype(np.float64)
    np.testing.assert_allclose(got["y1"], np.stack([wide / 3.0**turn for turn in range(1, 5)]), rtol=1e-15)


def test_local_functions_run_in_float64() -> None:
    third = numpy_helper.from_array(np.array(1 / 3, np.float32))
    function = helper.make_function(
        "mine",
        "Third",
        ["a"],
        ["b"],
        [helper.make_node("Constant", [], ["w"], value=third), helper.make_node("Mul", ["a", "w"], ["b"])],
        [helper.make_opsetid("", 20)],
    )
    model = graph_of([helper.make_node("Third", ["x"], ["y0"], domain="mine")], {"x": floats(4)}, {}, 1)
    model.functions.append(function)
    model.opset_import.append(helper.make_opsetid("mine", 1))
    got = run_exact(model, {"x": floats(4)})["y0"]
    np.testing.assert_array_equal(got, floats(4).astype(np.float64) * np.float64(np.float32(1 / 3)))


def test_a_resize_by_scale_has_as_many_cells_as_in_onnx_runtime() -> None:
    x = floats(1, 1, 10, 10)
    model = node_graph("Resize", [x, None, np.array([1, 1, 0.7, 1.3], np.float32)], mode="linear")
    assert run_exact(model, {"x0": x})["y0"].shape == in_ort(model, {"x0": x})["y0"].shape == (1, 1, 7, 13)


def frozen() -> ModelProto:
    """A Reshape with the batch of 2 that it was captured with."""
    node = helper.make_node("Reshape", ["x", "shape"], ["y0"])
    return graph_of([node], {"x": floats(2, 3, 4)}, {"shape": ints([2, 12])}, 1)


@pytest.mark.parametrize(
    ("inputs", "said"),
    [
        ({"x": floats(3, 3, 4)}, r"does not run on x \[3, 3, 4\].*reshape"),
        ({"picture": floats(2, 3, 4)}, r"inputs are \['x'\], got \['picture'\]"),
        ({"x": ints(np.zeros((2, 3, 4)))}, "declared as float64, got int64"),
        ({"x": floats(2, 3)}, "declared as"),
    ],
    ids=["frozen inside", "another name", "another dtype", "another rank"],
)
def test_a_graph_that_does_not_take_the_input_says_so(inputs: Arrays, said: str) -> None:
    graph = ExactGraph(frozen())
    assert graph.run({"x": floats(2, 3, 4)})["y0"].shape == (2, 12)
    with pytest.raises(NotRunnableError, match=said):
        graph.run(inputs)


def test_a_frozen_axis_of_an_input_is_held_to() -> None:
    model = frozen()
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 2
    with pytest.raises(NotRunnableError, match=r"declared as \[2, None, None\], got \[4, 3, 2\]"):
        run_exact(model, {"x": floats(4, 3, 2)})


@pytest.mark.parametrize(
    ("op", "attributes", "outputs"),
    [
        ("QMoE", {"domain": "com.microsoft"}, 1),
        ("RandomNormalLike", {}, 1),
        ("Cast", {"to": TensorProto.STRING}, 1),
    ],
    ids=["a foreign domain", "random numbers", "a text"],
)
def test_what_is_not_evaluated_is_told_from_what_does_not_run(
    op: str, attributes: dict[str, Any], outputs: int
) -> None:
    x = floats(1, 2, 4, 4)
    with pytest.raises(UnsupportedError):
        run_exact(node_graph(op, [x], outputs, **attributes), {"x0": x})


def drawn_pool(op: str, opset: int, seed: int) -> tuple[ModelProto, Arrays]:
    """A pool with windows of any size on a small map."""
    random = np.random.default_rng(seed)
    rank = int(random.integers(1, 4))
    kernel, strides = (random.integers(1, 12, rank).tolist() for _ in range(2))
    attributes: dict[str, Any] = {
        "kernel_shape": kernel,
        "strides": strides,
        "pads": [int(random.integers(0, min(3, kernel[at % rank]))) for at in range(2 * rank)],
        "ceil_mode": 1,
    }
    if op == "AveragePool":
        attributes["count_include_pad"] = int(random.integers(2))
    if (op != "AveragePool" or opset >= 19) and random.integers(2):
        attributes["dilations"] = random.integers(1, 4, rank).tolist()
    x = floats(2, 2, *random.integers(1, 7, rank), seed=seed)
    return node_graph(op, [x], 2 if op == "MaxPool" else 1, opset, **attributes), {"x0": x}


@pytest.mark.parametrize(
    ("op", "opset"),
    [
        *(("AveragePool", 12), ("AveragePool", 19), ("AveragePool", 22)),
        *(("MaxPool", 12), ("MaxPool", 22), ("LpPool", 18), ("LpPool", 22)),
    ],
)
def test_pools_of_any_window_agree_with_onnx_runtime(op: str, opset: int) -> None:
    """Windows larger than the map, none at all, and sizes below zero, which both refuse."""
    beyond = refused = 0
    for seed in range(60):
        model, inputs = drawn_pool(op, opset, seed)
        try:
            expected = in_ort(model, inputs)
        except Exception:  # noqa: BLE001
            # ONNX Runtime's exceptions have no common public base below Exception.
            with pytest.raises(NotRunnableError, match="does not fit"):
                run_exact(model, inputs)
            refused += 1
            continue
        if np.any(expected["y0"] < -1e38):
            continue  # a dilated window that meets padding alone has no largest cell
        got = run_exact(model, inputs)
        kernel = helper.get_node_attr_value(model.graph.node[0], "kernel_shape")
        beyond += any(window > size for window, size in zip(kernel, inputs["x0"].shape[2:], strict=True))
        for name, value in expected.items():
            assert got[name].shape == value.shape, seed
            np.testing.assert_allclose(got[name], value, rtol=2e-5, atol=2e-6, err_msg=str(seed))
    assert (beyond > 10, refused > 3) == (True, True)


def test_a_window_of_thousands_of_cells_takes_no_more_memory_than_the_map() -> None:
    """As in EfficientNet of Hugging Face, whose last pool has as many cells a side as it has channels."""
    x = floats(1, 1280, 2, 2)
    model = node_graph("AveragePool", [x], kernel_shape=[1280] * 2, strides=[1280] * 2, ceil_mode=1)
    got = run_exact(model, {"x0": x})["y0"]
    np.testing.assert_allclose(got, x.astype(np.float64).mean((2, 3), keepdims=True), rtol=1e-12, atol=1e-15)
    plan = Pooling.of((2, 2), [1280] * 2, strides=[1280] * 2, ceil_mode=1)
    assert (plan.kernel, plan.wider) == ((2, 2), ((0, 0), (0, 0)))


@pytest.mark.parametrize("ceil_mode", [0, 1])
def test_a_window_beyond_the_map_is_refused_where_onnx_leaves_no_window(ceil_mode: int) -> None:
    """Without ``ceil_mode``. ONNX Runtime gives one window, ONNX's formula leaves none, PyTorch refuses."""
    x = floats(1, 2, 4, 4)
    model = node_graph("AveragePool", [x], kernel_shape=[5] * 2, strides=[5] * 2, ceil_mode=ceil_mode)
    assert in_ort(model, {"x0": x})["y0"].shape == (1, 2, 1, 1)
    if ceil_mode:
        assert run_exact(model, {"x0": x})["y0"].shape == (1, 2, 1, 1)
        return
    with pytest.raises(RuntimeError, match="too small"):
        nn.AvgPool2d(5)(torch.from_numpy(x))
    with pytest.raises(NotRunnableError, match="a window of 5 cells does not fit into 4"):
        run_exact(model, {"x0": x})


def broken(monkeypatch: pytest.MonkeyPatch, name: str, error: Exception) -> None:
    """Have the evaluator's own implementation of an operator raise."""

    def raises(*_: Any, **__: Any) -> Array:
        raise error

    entries = [replace(entry, function=raises) for entry in registry._OPERATORS["", name]]
    monkeypatch.setitem(registry._OPERATORS, ("", name), entries)


@pytest.mark.parametrize(
    "error",
    [ValueError("too large"), RuntimeError("no such size"), IndexError("7"), KeyError("x"), MemoryError()],
    ids=lambda error: type(error).__name__,
)
def test_what_the_evaluator_fails_at_is_told_by_the_operators_name(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ONNX Runtime runs the node, so that its implementation here is at fault, and not the file."""
    broken(monkeypatch, "Relu", error)
    x = floats(2, 3)
    nodes = [helper.make_node("Relu", ["x"], ["y0"], name="last"), helper.make_node("Neg", ["x"], ["y1"])]
    graph = ExactGraph(graph_of(nodes, {"x": x}, {}, 2))
    assert list(graph.run({"x": x})) == ["y1"]
    (lack,) = graph.unsupported
    assert str(lack).startswith(f"Relu of opset 20 (last): {type(error).__name__}")
    assert lack.outputs == ("y0",)
    with pytest.raises(UnsupportedError, match="Relu of opset 20"):
        run_exact(graph_of(nodes[:1], {"x": x}, {}, 1), {"x": x})


def test_a_node_that_onnx_runtime_lacks_too_is_not_held_against_the_file(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    broken(monkeypatch, "Swish", ValueError("too large"))
    x = floats(2, 3)
    with pytest.raises(UnsupportedError, match="Swish of opset 24"):
        run_exact(node_graph("Swish", [x], opset=24), {"x0": x})


@pytest.mark.parametrize(
    ("op", "arrays", "attributes"),
    [
        ("Add", [floats(2, 3), floats(4, seed=1)], {}),
        ("Concat", [floats(2, 3), floats(3, 4, seed=1)], {"axis": 0}),
        ("Conv", [floats(1, 3, 8, 8), floats(4, 2, 3, 3, seed=1)], {}),
        ("Gather", [floats(2, 3), ints([5])], {}),
        ("Reshape", [floats(2, 3), ints([4, 2])], {}),
        ("Expand", [floats(2, 3), ints([4, 2])], {}),
        ("Split", [floats(5, 3), ints([2, 2])], {"axis": 0}),
        ("Where", [np.ones((2, 3), bool), floats(4), floats(2, 3)], {}),
        ("TopK", [floats(2, 3), ints([5])], {}),
        ("Squeeze", [floats(2, 3), ints([0])], {}),
    ],
    ids=lambda given: given if isinstance(given, str) else "",
)
def test_shapes_that_do_not_fit_are_the_files_fault(
    op: str, arrays: list[Array | None], attributes: dict[str, Any]
) -> None:
    model = node_graph(op, arrays, 2 if op in ("TopK", "Split") else 1, **attributes)
    assert arrays[0] is not None
    with pytest.raises(NotRunnableError, match=f"does not run on x0.*{op}"):
        run_exact(model, {"x0": arrays[0]})


@pytest.mark.parametrize("op", ["Softmax", "LogSoftmax", "Hardmax"])
def test_an_old_softmax_takes_the_last_axes_as_one(op: str) -> None:
    x = floats(2, 3, 4)
    model = node_graph(op, [x], opset=12)
    np.testing.assert_allclose(
        run_exact(model, {"x0": x})["y0"], in_ort(model, {"x0": x})["y0"], rtol=2e-5, atol=2e-6
    )


def test_a_file_runs_as_its_graph_does_and_the_graph_stays_as_it_was(tmp_path: Path) -> None:
    model = frozen()
    before = model.SerializeToString(deterministic=True)
    onnx.save(model, tmp_path / "m.onnx")
    inputs = {"x": floats(2, 3, 4)}
    np.testing.assert_array_equal(
        run_exact(tmp_path / "m.onnx", inputs)["y0"], run_exact(model, inputs)["y0"]
    )
    assert model.SerializeToString(deterministic=True) == before


@pytest.mark.first_case
@pytest.mark.parametrize(
    ("config", "overrides", "sizes"),
    [
        ("digits-reader", (), {"batch": 3, "time": 11}),
        (
            "digits-yolox",
            ("dims.batch=1..2", 'dims.height="64..96 step 32"', 'dims.width="64..96 step 32"'),
            {"batch": 2, "height": 64, "width": 96},
        ),
    ],
    ids=["recurrent", "convolutional"],
)
def test_an_export_agrees_with_pytorch_in_float64(
    config: str, overrides: tuple[str, ...], sizes: dict[str, int]
) -> None:
    """With the weights that are in the file, batch norms folded and rounded once; and, less closely, with
    those of the checkpoint."""
    job = load_job(CONFIGS / f"{config}.toml", (*overrides, "export.exporter=torchscript"))
    model, _ = build_model(job)
    folded, _ = fold_batch_norms(
        model.module, example_inputs(model.contract.inputs, capture_sizes(model.contract.dims))
    )
    inputs = materialise(Case("noise", sizes, "noise", 0), model.contract.inputs, model.contract.preprocess)
    proto = make_graph(job, model).proto
    (exact,) = run_exact(proto, inputs).values()
    (single,) = in_ort(proto, inputs).values()

    def off(values: Array, module: nn.Module) -> float:
        """rms of the difference to the module in float64, in units of its output's rms."""
        (truth,) = OracleLeg(replace(model, module=module), 1).run(inputs).outputs.values()
        return float(np.sqrt(np.mean((values - truth) ** 2) / np.mean(truth**2)))

    assert off(exact, folded) < 1e-13 < 1e-8 < off(single, folded)
    assert off(exact, model.module) < 1e-7


def two_ways(op: str = "QMoE", domain: str = "com.microsoft") -> ModelProto:
    """y0 depends on an operator that is not evaluated, y1 does not."""
    nodes = [
        helper.make_node("Exp", ["x"], ["e"], name="first"),
        helper.make_node(op, ["e"], ["q"], name="odd", domain=domain),
        helper.make_node("Neg", ["q"], ["y0"]),
        helper.make_node("Neg", ["e"], ["y1"], name="last"),
    ]
    model = graph_of(nodes, {"x": floats(3)}, {}, 2)
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    return model


def test_an_operator_that_is_not_evaluated_is_named_and_the_other_outputs_are_returned() -> None:
    graph = ExactGraph(two_ways())
    lack = graph.unsupported[0]
    assert len(graph.unsupported) == 1
    assert (lack.operator, lack.domain, lack.opset, lack.node) == ("QMoE", "com.microsoft", 1, "odd")
    assert lack.outputs == ("y0",)
    assert list(graph.run({"x": floats(3)})) == ["y1"]


def test_an_operator_in_a_branch_is_named_only_when_the_branch_is_taken() -> None:
    def branch(name: str, op: str, domain: str) -> onnx.GraphProto:
        node = helper.make_node(op, ["x"], [name], domain=domain)
        return helper.make_graph([node], name, [], [helper.make_value_info(name, onnx.TypeProto())])

    chosen = helper.make_node(
        "If",
        ["condition"],
        ["y0"],
        then_branch=branch("then", "Exp", ""),
        else_branch=branch("else", "QMoE", "com.microsoft"),
    )
    x = floats(3)
    graph = ExactGraph(graph_of([chosen], {"x": x, "condition": np.array(True)}, {}, 1))
    assert list(graph.run({"x": x, "condition": np.array(True)})) == ["y0"]
    assert list(graph.unsupported) == []
    with pytest.raises(UnsupportedError, match=r"com\.microsoft\.QMoE"):
        graph.run({"x": x, "condition": np.array(False)})
    assert [(lack.operator, lack.outputs) for lack in graph.unsupported] == [("QMoE", ("y0",))]


def test_what_no_output_needs_is_not_computed() -> None:
    model = two_ways()
    del model.graph.output[0]
    graph = ExactGraph(model)
    assert list(graph.unsupported) == []
    assert [step.label for step in graph.nodes] == ["first", "last"]


def test_nodes_are_watched_and_run_alone_on_given_values() -> None:
    seen: dict[str, tuple[Any, Any]] = {}

    def watch(step: Step, read: tuple[Any, ...], written: tuple[Any, ...]) -> None:
        seen[step.label] = (read, written)

    x, w = floats(4, 3), floats(3, 2, seed=1)
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["z"], name="mul"),
        helper.make_node("Relu", ["z"], ["y0"]),
    ]
    graph = ExactGraph(graph_of(nodes, {"x": x}, {"w": w}, 1))
    outputs = graph.run({"x": x}, watch=watch)
    assert list(seen) == ["mul", "Relu of y0"]
    np.testing.assert_array_equal(seen["Relu of y0"][1][0], outputs["y0"])
    product = graph.nodes[0]
    assert (product.reads, product.writes) == (("x", "w"), ("z",))
    (z,) = graph.run_node(product, [2 * x, graph.constants["w"]])
    np.testing.assert_allclose(z, 2 * seen["mul"][1][0], rtol=1e-15)
    with pytest.raises(NotRunnableError, match="mul: ValueError"):
        graph.run_node(product, [x.T, w])


def test_constants_are_replaced_by_name() -> None:
    nodes = [
        helper.make_node("Constant", [], ["third"], value_float=1 / 3),
        helper.make_node("Mul", ["x", "third"], ["a"]),
        helper.make_node("Add", ["a", "w"], ["y0"]),
    ]
    x = floats(3)
    model = graph_of(nodes, {"x": x}, {"w": values_of(0.1)}, 1)
    graph = ExactGraph(model, constants={"third": np.array(1 / 3), "w": np.array([0.1])})
    np.testing.assert_array_equal(graph.run({"x": x})["y0"], x.astype(np.float64) * (1 / 3) + 0.1)
    with pytest.raises(ValueError, match="no constant v"):
        ExactGraph(model, constants={"v": np.array([0.1])})
    with pytest.raises(ValueError, match=r"w is float64\[1\] in the graph, got float64\[2\]"):
        ExactGraph(model, constants={"w": np.zeros(2)})


def test_values_are_freed_after_their_last_use() -> None:
    """A chain of nodes holds two values at a time, however long it is."""
    names = ["x", *(f"v{index}" for index in range(40)), "y0"]
    nodes = [helper.make_node("Neg", [a], [b]) for a, b in pairwise(names)]
    alive: list[weakref.ref[Any]] = []
    most = 0

    def watch(_step: Step, _read: tuple[Any, ...], written: tuple[Any, ...]) -> None:
        nonlocal most
        alive.append(weakref.ref(written[0]))
        most = max(most, sum(one() is not None for one in alive))

    x = floats(10)
    ExactGraph(graph_of(nodes, {"x": x}, {}, 1)).run({"x": x}, watch=watch)
    assert most <= 2


def test_external_data_beside_the_file_is_read(tmp_path: Path) -> None:
    x, w = floats(2, 3), floats(3, 400, seed=1)
    model = graph_of([helper.make_node("MatMul", ["x", "w"], ["y0"])], {"x": x}, {"w": w}, 1)
    expected = run_exact(model, {"x": x})["y0"]
    file = tmp_path / "m.onnx"
    onnx.save(model, file, save_as_external_data=True, location="m.data", size_threshold=0)
    assert (tmp_path / "m.data").is_file()
    np.testing.assert_array_equal(run_exact(file, {"x": x})["y0"], expected)
    (tmp_path / "m.data").unlink()
    with pytest.raises(ModelFileError, match="the external data of w cannot be read"):
        ExactGraph(file)


def test_the_leg_answers_in_float64_and_declares_what_the_graph_does() -> None:
    x, w = floats(2, 3), floats(3, 4, seed=1)
    model = graph_of([helper.make_node("MatMul", ["x", "w"], ["y0"])], {"x": x}, {"w": w}, 1)
    leg = ExactLeg(model, 1)
    assert leg.name == "onnx-float64"
    assert [(port.name, port.dtype, port.shape) for port in leg.ports.inputs] == [
        ("x", "float32", (None, None))
    ]
    answer = leg.run({"x": x})
    assert answer.outputs["y0"].dtype == np.float64
    np.testing.assert_allclose(answer.outputs["y0"], x.astype(np.float64) @ w.astype(np.float64), rtol=1e-15)


def shrunk(kind: int = TensorProto.FLOAT) -> ModelProto:
    """As many ones as 0.7 times the cells of x."""
    dtype = helper.tensor_dtype_to_np_dtype(kind)
    nodes = [
        helper.make_node("Shape", ["x"], ["shape"]),
        helper.make_node("Cast", ["shape"], ["cells"], to=kind),
        helper.make_node("Mul", ["cells", "factor"], ["fewer"]),
        helper.make_node("Floor", ["fewer"], ["whole"]),
        helper.make_node("Cast", ["whole"], ["size"], to=TensorProto.INT64),
        helper.make_node("ConstantOfShape", ["size"], ["y0"]),
        helper.make_node("Identity", ["fewer"], ["y1"]),
    ]
    return graph_of(nodes, {"x": floats(10)}, {"factor": np.array(0.7, dtype)}, 2)


def test_a_size_is_computed_in_float32_as_the_graph_declares() -> None:
    inputs = {"x": floats(10)}
    got, expected = run_exact(shrunk(), inputs), in_ort(shrunk(), inputs)
    assert got["y0"].shape == expected["y0"].shape == (7,)
    # What is no size is computed in double from the same constant.
    assert got["y1"].tolist() == [10 * float(np.float32(0.7))]


def test_a_size_is_computed_in_float64_if_declared_so_or_from_an_exact_constant() -> None:
    inputs = {"x": floats(10)}
    nearly = {"factor": np.array(0.7 - 1e-12)}
    assert ExactGraph(shrunk(), constants=nearly).run(inputs)["y0"].shape == (6,)
    double = shrunk(TensorProto.DOUBLE)
    double.graph.initializer[0].CopyFrom(numpy_helper.from_array(np.array(0.7 - 1e-12), "factor"))
    assert run_exact(double, inputs)["y0"].shape == in_ort(double, inputs)["y0"].shape == (6,)


def test_a_graph_that_reads_what_nothing_writes_does_not_run() -> None:
    x = floats(3)
    for node, said in (
        (
            helper.make_node("Add", ["x", "lost"], ["y0"]),
            "Add of y0 reads lost, which nothing before it writes",
        ),
        (helper.make_node("Neg", ["x"], ["z"]), "nothing writes the output y0"),
    ):
        with pytest.raises(NotRunnableError, match=said):
            run_exact(graph_of([node], {"x": x}, {}, 1), {"x": x})


def test_an_attribute_of_a_kind_that_is_not_read_is_named() -> None:
    x = floats(3)
    node = helper.make_node("Many", ["x"], ["y0"], domain="com.microsoft")
    node.attribute.append(helper.make_attribute("tensors", [numpy_helper.from_array(x)]))
    graph = ExactGraph(graph_of([node], {"x": x}, {}, 1))
    assert ["attribute of type TENSORS" in lack.reason for lack in graph.unsupported] == [True]


def test_an_operator_of_the_reference_takes_the_exact_value_of_an_attribute() -> None:
    """A file holds a scale in float32. Attention of opset 23 is onnx.reference's."""
    scale = 1 / np.sqrt(8)
    node = helper.make_node("Attention", ["q", "k", "v"], ["y"], scale=float(np.float32(scale)))
    axes = [1, 2, 4, 8]
    body = helper.make_graph(
        [node],
        "attention",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, axes) for name in "qkv"],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, axes)],
    )
    graph = ExactGraph(
        helper.make_model(body, opset_imports=[helper.make_opsetid("", 23)]),
        attributes={("y", "scale"): scale},
    )
    q, k, v = np.random.default_rng(0).normal(size=(3, *axes)).astype(np.float32)
    scores = np.exp(q.astype(float) @ k.astype(float).swapaxes(-1, -2) * scale)
    wanted = scores / scores.sum(-1, keepdims=True) @ v.astype(float)
    np.testing.assert_allclose(graph.run({"q": q, "k": k, "v": v})["y"], wanted, rtol=1e-13)


def test_a_loop_without_end_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control, "MOST_TURNS", 10)
    graph = ExactGraph(of_loop())
    with pytest.raises(UnsupportedError, match=r"Loop of opset 17.*the loop does not end within 10 turns"):
        graph.run({"x": np.ones((1, 3), np.float32)})
