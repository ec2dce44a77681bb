"""The float64 evaluator on what operators looked like in older opsets, against ONNX Runtime."""

from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import ModelProto, TensorProto, helper, numpy_helper
from test_exact import Array, Arrays, floats, graph_of, in_ort, ints, node_graph, values_of

from onnxproof.validate.exact.graph import ExactGraph, run_exact

GATES = ["Sigmoid", "Tanh", "Tanh"]

Form = tuple[int, str, list[Array | None], int, dict[str, Any]]

FORMS: dict[str, Form] = {
    **{
        f"Upsample 7, {mode}": (
            7,
            "Upsample",
            [floats(1, 2, 3, 4)],
            1,
            {"mode": mode, "scales": [1.0, 1.0, 2.0, 1.5]},
        )
        for mode in ("nearest", "linear")
    },
    **{
        f"Upsample 9, {mode}": (
            9,
            "Upsample",
            [floats(1, 2, 3, 4), values_of(1.0, 1.0, 2.0, 3.0)],
            1,
            {"mode": mode},
        )
        for mode in ("nearest", "linear")
    },
    **{
        f"Resize 10, {mode}": (
            10,
            "Resize",
            [floats(1, 2, 6, 4), values_of(1.0, 1.0, 0.6, 1.5)],
            1,
            {"mode": mode},
        )
        for mode in ("nearest", "linear")
    },
    "Resize 11, cropped": (
        11,
        "Resize",
        [floats(1, 1, 6, 7), values_of(0, 0, 0.2, 0.1, 1, 1, 0.8, 1.2), values_of(), ints([1, 1, 4, 9])],
        1,
        {
            "mode": "linear",
            "coordinate_transformation_mode": "tf_crop_and_resize",
            "extrapolation_value": 10.0,
        },
    ),
    "Pad 2": (7, "Pad", [floats(2, 3)], 1, {"pads": [0, 1, 2, 0], "value": 0.3}),
    "Pad 2, reflected": (7, "Pad", [floats(4, 5)], 1, {"pads": [1, 2, 1, 0], "mode": "reflect"}),
    "Pad 2, cut": (7, "Pad", [floats(4, 5)], 1, {"pads": [-1, 0, 0, -2]}),
    "Pad 18, some axes": (18, "Pad", [floats(2, 3, 4), ints([1, 2]), None, ints([-1])], 1, {"mode": "edge"}),
    "Slice 1": (7, "Slice", [floats(5, 6)], 1, {"starts": [1, -4], "ends": [9, -1], "axes": [0, 1]}),
    "Slice 10, backwards": (
        10,
        "Slice",
        [floats(5, 6), ints([-1, 4]), ints([-99, 0]), ints([0, 1]), ints([-2, -1])],
        1,
        {},
    ),
    "Slice 13, backwards from before the first": (
        13,
        "Slice",
        [floats(4, 6), ints([-9, -9]), ints([-99, 2]), ints([0, 1]), ints([-1, 1])],
        1,
        {},
    ),
    "Clip 6": (7, "Clip", [floats(3, 4)], 1, {"min": -0.3, "max": 0.4}),
    "Clip 6, one end": (7, "Clip", [floats(3, 4)], 1, {"max": 0.4}),
    "Dropout 7": (7, "Dropout", [floats(3, 4)], 1, {"ratio": 0.4}),
    "Dropout 10": (10, "Dropout", [floats(3, 4)], 1, {}),
    "Dropout 13": (13, "Dropout", [floats(3, 4), np.array(0.4, np.float32)], 2, {}),
    **{
        f"BatchNormalization {opset}": (
            opset,
            "BatchNormalization",
            [floats(2, 3, 4), *(np.abs(floats(3, seed=seed)) + 0.1 for seed in range(4))],
            1,
            {"momentum": 0.8},
        )
        for opset in (7, 9, 14)
    },
    "Split 2": (7, "Split", [floats(5, 3)], 2, {"split": [2, 3], "axis": 0}),
    "Split 2, even": (11, "Split", [floats(4, 3)], 2, {}),
    "Split 18, uneven": (18, "Split", [floats(5, 3)], 2, {"num_outputs": 2}),
    "Squeeze 1": (7, "Squeeze", [floats(1, 3, 1)], 1, {"axes": [0]}),
    "Unsqueeze 11": (11, "Unsqueeze", [floats(3, 4)], 1, {"axes": [0, -1]}),
    "TopK 1": (7, "TopK", [floats(3, 5)], 2, {"k": 2, "axis": 1}),
    "TopK 10": (10, "TopK", [floats(3, 5), ints([2])], 2, {"axis": 1}),
    "ReduceSum 11": (11, "ReduceSum", [floats(3, 4, 5)], 1, {"axes": [0, -1], "keepdims": 0}),
    "ReduceMean 18": (18, "ReduceMean", [floats(3, 4, 5), ints([1])], 1, {}),
    "ReduceMean 18, no axes, nothing": (
        18,
        "ReduceMean",
        [floats(3, 4), None],
        1,
        {"noop_with_empty_axes": 1},
    ),
    **{
        f"{name} 18, no axes, nothing": (
            18,
            name,
            [np.abs(floats(3, 4)) + 0.1, None],
            1,
            {"noop_with_empty_axes": 1, "keepdims": 0},
        )
        for name in ("ReduceLogSumExp", "ReduceLogSum", "ReduceL2", "ReduceMax")
    },
    "ArgMax 11": (11, "ArgMax", [np.round(floats(4, 5))], 1, {"axis": 1}),
    "ArgMax 12, the last": (12, "ArgMax", [np.round(floats(4, 5))], 1, {"axis": 1, "select_last_index": 1}),
    "Gemm 7": (
        7,
        "Gemm",
        [floats(3, 4), floats(4, 5, seed=1), floats(5, seed=2)],
        1,
        {"alpha": 0.3, "beta": 0.7},
    ),
    "RoiAlign 10": (
        10,
        "RoiAlign",
        [floats(1, 2, 9, 9), values_of(1, 1, 6, 7, 0, 2, 3, 8).reshape(2, 4), ints([0, 0])],
        1,
        {"output_height": 2, "output_width": 3, "sampling_ratio": 2},
    ),
    "RoiAlign 16, its number of samples": (
        16,
        "RoiAlign",
        [floats(1, 2, 9, 9), values_of(1, 1, 6, 7, 0, 2, 3, 8).reshape(2, 4), ints([0, 0])],
        1,
        {"output_height": 2, "output_width": 3},
    ),
    "RoiAlign 16, the maximum": (
        16,
        "RoiAlign",
        [floats(1, 2, 9, 9), values_of(1, 1, 6, 7, 0, 2, 3, 8).reshape(2, 4), ints([0, 0])],
        1,
        {"output_height": 2, "output_width": 3, "sampling_ratio": 2, "mode": "max"},
    ),
    "Scatter 9": (9, "Scatter", [floats(3, 4), ints([[0, 2, 1, 1]]), floats(1, 4, seed=1)], 1, {"axis": 0}),
    "ScatterElements 18, the largest": (
        18,
        "ScatterElements",
        [floats(3, 4), ints([[0, 2, 1, 1]]), floats(1, 4, seed=1)],
        1,
        {"axis": 0, "reduction": "max"},
    ),
    "GroupNormalization 21": (
        21,
        "GroupNormalization",
        [floats(2, 4, 3, 3), floats(4, seed=1), floats(4, seed=2)],
        1,
        {"num_groups": 2},
    ),
    "LpPool": (18, "LpPool", [floats(1, 2, 6, 5)], 1, {"kernel_shape": [2, 3], "p": 3}),
    "LRN": (13, "LRN", [floats(1, 5, 3, 3)], 1, {"size": 3, "alpha": 0.3}),
    "MaxPool 12, places": (
        12,
        "MaxPool",
        [floats(2, 2, 6, 5)],
        2,
        {"kernel_shape": [3, 2], "pads": [1, 0, 1, 1]},
    ),
    "MaxPool 12, places by columns": (
        12,
        "MaxPool",
        [floats(2, 2, 6, 5)],
        2,
        {"kernel_shape": [3, 2], "strides": [2, 2], "storage_order": 1},
    ),
    "MaxUnpool": (
        11,
        "MaxUnpool",
        [floats(1, 1, 2, 2), ints([[[[0, 3], [9, 14]]]])],
        1,
        {"kernel_shape": [2, 2], "strides": [2, 2]},
    ),
    "MaxRoiPool": (
        13,
        "MaxRoiPool",
        [floats(2, 2, 9, 9), values_of(0, 1, 1, 6, 7, 1, 0, 2, 3, 8).reshape(2, 5)],
        1,
        {"pooled_shape": [2, 3]},
    ),
    "ConvTranspose, a shape that is asked for": (
        11,
        "ConvTranspose",
        [floats(1, 2, 4, 5), floats(2, 3, 3, 3, seed=1)],
        1,
        {"strides": [2, 2], "output_shape": [8, 11]},
    ),
    **{
        f"ConvTranspose, {pad}": (
            11,
            "ConvTranspose",
            [floats(1, 2, 4, 5), floats(2, 3, 4, 3, seed=1)],
            1,
            {"strides": [2, 2], "auto_pad": pad},
        )
        for pad in ("SAME_UPPER", "SAME_LOWER", "VALID")
    },
    "QuantizeLinear by rows": (
        13,
        "QuantizeLinear",
        [floats(3, 8), np.abs(floats(3, seed=1)) / 50 + 0.01, np.array([0, 3, -7], np.int8)],
        1,
        {"axis": 0},
    ),
    "DequantizeLinear by rows": (
        13,
        "DequantizeLinear",
        [
            np.arange(-12, 12, dtype=np.int8).reshape(3, 8),
            np.abs(floats(3, seed=1)),
            np.array([0, 3, -7], np.int8),
        ],
        1,
        {"axis": 0},
    ),
    "DequantizeLinear by blocks": (
        21,
        "DequantizeLinear",
        [np.arange(-16, 16, dtype=np.int8).reshape(4, 8), np.abs(floats(4, 2, seed=1))],
        1,
        {"axis": 1, "block_size": 4},
    ),
    "DequantizeLinear of large integers": (
        13,
        "DequantizeLinear",
        [np.array([2**24 + 1, 5], np.int32), np.array(1.0, np.float32)],
        1,
        {},
    ),
    "LSTM with other activations": (
        14,
        "LSTM",
        [floats(5, 2, 3), floats(1, 16, 3, seed=1), floats(1, 16, 4, seed=2), floats(1, 32, seed=3)],
        3,
        {
            "hidden_size": 4,
            "activations": ["HardSigmoid", "ScaledTanh", "Softsign"],
            "activation_alpha": [0.3, 0.7],
            "activation_beta": [0.4, 0.9],
        },
    ),
    "LSTM, coupled and clipped": (
        14,
        "LSTM",
        [floats(5, 2, 3), floats(1, 16, 3, seed=1), floats(1, 16, 4, seed=2), floats(1, 32, seed=3)],
        3,
        {"hidden_size": 4, "input_forget": 1, "clip": 0.6},
    ),
    "GRU, clipped": (
        14,
        "GRU",
        [floats(5, 2, 3), floats(1, 12, 3, seed=1), floats(1, 12, 4, seed=2), floats(1, 24, seed=3)],
        2,
        {"hidden_size": 4, "clip": 0.6, "activations": ["Sigmoid", "Relu"]},
    ),
    "RNN, leaky": (
        14,
        "RNN",
        [floats(5, 2, 3), floats(2, 4, 3, seed=1), floats(2, 4, 4, seed=2), floats(2, 8, seed=3)],
        2,
        {
            "hidden_size": 4,
            "direction": "bidirectional",
            "activations": ["LeakyRelu", "Affine"],
            "activation_alpha": [0.3, 0.7],
            "activation_beta": [0.2],
        },
    ),
    "DFT 17": (17, "DFT", [floats(2, 8, 1)], 1, {"axis": 1, "onesided": 1}),
    "DFT 20, inverse": (20, "DFT", [floats(2, 8, 2), None, ints(1)], 1, {"inverse": 1}),
    "STFT": (17, "STFT", [floats(1, 32, 1), ints(4), np.hanning(8).astype(np.float32)], 1, {}),
    "HannWindow": (17, "HannWindow", [ints(9)], 1, {"periodic": 0}),
    "MelWeightMatrix": (
        17,
        "MelWeightMatrix",
        [ints(8), ints(64), ints(8000), values_of(0.0).reshape(()), values_of(4000.0).reshape(())],
        1,
        {},
    ),
    "Einsum with an ellipsis": (
        12,
        "Einsum",
        [floats(2, 3, 4), floats(2, 4, 5, seed=1)],
        1,
        {"equation": "...ij, ...jk -> ...k"},
    ),
    "NonZero": (13, "NonZero", [np.round(floats(3, 4))], 1, {}),
    "OneHot": (11, "OneHot", [ints([0, -1, 5, 2]), ints(3), values_of(-0.5, 0.7)], 1, {"axis": 0}),
    "Mod of negatives": (13, "Mod", [ints([-7, 7, -7]), ints([3, -3, -3])], 1, {}),
    "Div of negatives": (13, "Div", [ints([-7, 7, -7]), ints([3, -3, -3])], 1, {}),
    "Pow of integers": (13, "Pow", [ints([2, 3, 4]), values_of(2.0, 0.5, 1.5)], 1, {}),
    "CumSum, backwards": (14, "CumSum", [floats(3, 4), ints(1)], 1, {"exclusive": 1, "reverse": 1}),
}


@pytest.mark.parametrize("name", FORMS)
def test_a_form_of_an_opset_agrees_with_onnx_runtime(name: str) -> None:
    opset, op, arrays, outputs, attributes = FORMS[name]
    model, first = node_graph(op, arrays, outputs, opset, **attributes), arrays[0]
    assert first is not None
    got, expected = run_exact(model, {"x0": first}), in_ort(model, {"x0": first})
    assert set(got) == set(expected)
    for key, value in expected.items():
        assert got[key].dtype == (np.float64 if value.dtype == np.float32 else value.dtype)
        np.testing.assert_allclose(got[key], value, rtol=3e-5, atol=3e-6)


def test_a_large_integer_is_dequantized_exactly() -> None:
    _, op, arrays, outputs, attributes = FORMS["DequantizeLinear of large integers"]
    assert arrays[0] is not None
    got = run_exact(node_graph(op, arrays, outputs, 13, **attributes), {"x0": arrays[0]})
    assert got["y0"].tolist() == [2.0**24 + 1, 5.0]


def body(nodes: list[onnx.NodeProto], inputs: list[str], outputs: list[str]) -> onnx.GraphProto:
    kinds = {"turn": TensorProto.INT64, "alive": TensorProto.BOOL}

    def described(names: list[str]) -> list[onnx.ValueInfoProto]:
        return [
            helper.make_tensor_value_info(
                name, kinds.get(name, TensorProto.FLOAT), [] if name in kinds else None
            )
            for name in names
        ]

    return helper.make_graph(nodes, "body", described(inputs), described(outputs))


@pytest.mark.parametrize("turns", [0, 3])
def test_a_loop_over_any_number_of_turns_collects_what_onnx_runtime_does(turns: int) -> None:
    nodes = [helper.make_node("Mul", ["state", "x"], ["after"]), helper.make_node("Exp", ["after"], ["seen"])]
    inside = body(nodes, ["turn", "alive", "state"], ["alive", "after", "seen"])
    loop = helper.make_node("Loop", ["turns", "", "x"], ["y0", "y1"], body=inside)
    inputs = {"x": floats(2, 3), "turns": ints(turns)}
    model = graph_of([loop], inputs, {}, 2)
    got, expected = ExactGraph(model).run(inputs), in_ort(model, inputs)
    assert got["y1"].shape == (turns, 2, 3)
    np.testing.assert_allclose(got["y0"], expected["y0"], rtol=1e-5)
    if turns:
        np.testing.assert_allclose(got["y1"], expected["y1"], rtol=1e-5)


def test_a_scan_along_other_axes_and_backwards_agrees_with_onnx_runtime() -> None:
    nodes = [
        helper.make_node("Add", ["state", "slice"], ["after"]),
        helper.make_node("Tanh", ["after"], ["seen"]),
    ]
    inside = body(nodes, ["state", "slice"], ["after", "seen"])
    scan = helper.make_node(
        "Scan",
        ["start", "x"],
        ["y0", "y1"],
        body=inside,
        num_scan_inputs=1,
        scan_input_axes=[1],
        scan_input_directions=[1],
        scan_output_axes=[1],
        scan_output_directions=[1],
    )
    inputs: Arrays = {"start": floats(2), "x": floats(2, 5, seed=1)}
    model = graph_of([scan], inputs, {}, 2)
    got, expected = ExactGraph(model).run(inputs), in_ort(model, inputs)
    for name, value in expected.items():
        np.testing.assert_allclose(got[name], value, rtol=1e-5)


def deformed(modulated: bool, groups: int) -> tuple[ModelProto, Arrays, torch.Tensor]:
    x, w, b = floats(2, 4, 7, 8), floats(6, 4 // groups, 3, 3, seed=1), floats(6, seed=2)
    offset, mask = floats(2, 2 * 18, 4, 4, seed=3), np.abs(floats(2, 2 * 9, 4, 4, seed=4))
    weights = {"w": w, "offset": offset, "b": b} | ({"mask": mask} if modulated else {})
    node = helper.make_node(
        "DeformConv",
        ["x", "w", "offset", "b", *(["mask"] if modulated else [])],
        ["y0"],
        strides=[2, 2],
        pads=[1, 1, 1, 1],
        group=groups,
        offset_group=2,
    )
    ops = pytest.importorskip("torchvision.ops")
    wide = {name: torch.from_numpy(array).double() for name, array in {"x": x, **weights}.items()}
    expected = ops.deform_conv2d(
        wide["x"], wide["offset"], wide["w"], wide["b"], stride=2, padding=1, mask=wide.get("mask")
    )
    return graph_of([node], {"x": x}, weights, 1), {"x": x}, expected


@pytest.mark.parametrize(("modulated", "groups"), [(True, 1), (False, 2)])
def test_a_deformable_convolution_is_the_one_of_torchvision(modulated: bool, groups: int) -> None:
    model, inputs, expected = deformed(modulated, groups)
    np.testing.assert_allclose(run_exact(model, inputs)["y0"], expected.numpy(), rtol=1e-12, atol=1e-13)


def test_weights_of_four_bits_and_of_float8_are_read() -> None:
    packed = helper.make_tensor("w", TensorProto.INT4, [2, 3], [-8, -1, 0, 1, 7, 3])
    eighth = helper.make_tensor("v", TensorProto.FLOAT8E4M3FN, [2], [1.5, -0.25])
    nodes = [
        helper.make_node("DequantizeLinear", ["w", "s"], ["wide"]),
        helper.make_node("Mul", ["x", "wide"], ["y0"]),
        helper.make_node("Cast", ["v"], ["y1"], to=TensorProto.FLOAT),
    ]
    x = floats(2, 3)
    model = graph_of(nodes, {"x": x}, {"s": np.array(0.5, np.float32)}, 2, opset=21)
    model.graph.initializer.extend([packed, eighth])
    got = run_exact(model, {"x": x})
    np.testing.assert_array_equal(got["y0"], x.astype(np.float64) * 0.5 * [[-8, -1, 0], [1, 7, 3]])
    np.testing.assert_array_equal(got["y1"], [1.5, -0.25])
    assert numpy_helper.to_array(packed).shape == (2, 3)
