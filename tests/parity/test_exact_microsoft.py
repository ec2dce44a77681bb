"""The float64 evaluator on com.microsoft's operators, against ONNX Runtime, which writes and runs them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from numpy.typing import NDArray
from onnx import ModelProto, helper, numpy_helper
from test_exact_exports import exported
from torch import Tensor, nn

from onnxproof.validate.exact.graph import ExactGraph

Array = NDArray[Any]
Arrays = Mapping[str, Array]


def floats(*shape: int, seed: int = 0, scale: float = 1.0) -> Array:
    return (scale * np.random.default_rng(seed).normal(size=shape)).astype(np.float32)


def ints(values: Any) -> Array:
    return np.array(values, np.int32)


def bytes_of(*shape: int, seed: int = 0, signed: bool = False) -> Array:
    low, high = (-128, 128) if signed else (0, 256)
    return np.random.default_rng(seed).integers(low, high, shape).astype(np.int8 if signed else np.uint8)


def number(value: float) -> Array:
    return np.array(value, np.float32)


def zero(value: int, signed: bool = False) -> Array:
    return np.array(value, np.int8 if signed else np.uint8)


Node = tuple[str, list[Array | None], int, dict[str, Any]]

GRID = bytes_of(1, 3, 6, 5)
NODES: dict[str, Node] = {
    "FusedConv": (
        "FusedConv",
        [floats(1, 3, 6, 5), floats(4, 3, 3, 3, seed=1), floats(4, seed=2), floats(1, 4, 6, 5, seed=3)],
        1,
        {"pads": [1] * 4, "activation": "Relu"},
    ),
    "FusedConv, leaky": (
        "FusedConv",
        [floats(1, 3, 6, 5), floats(4, 3, 3, 3, seed=1)],
        1,
        {"activation": "LeakyRelu", "activation_params": [0.2]},
    ),
    "FusedConv, clipped": (
        "FusedConv",
        [floats(1, 3, 6, 5), floats(4, 3, 3, 3, seed=1)],
        1,
        {"activation": "Clip", "activation_params": [0.0, 1.5]},
    ),
    "FusedConv, hard sigmoid": (
        "FusedConv",
        [floats(1, 3, 6, 5), floats(4, 3, 3, 3, seed=1)],
        1,
        {"activation": "HardSigmoid", "activation_params": [0.3, 0.4]},
    ),
    "FusedGemm": (
        "FusedGemm",
        [floats(3, 4), floats(5, 4, seed=1), floats(5, seed=2)],
        1,
        {"transB": 1, "alpha": 0.5, "activation": "Relu"},
    ),
    "FusedMatMul": (
        "FusedMatMul",
        [floats(2, 4, 3), floats(2, 4, 5, seed=1)],
        1,
        {"transA": 1, "alpha": 0.125},
    ),
    "FusedMatMul, batches": (
        "FusedMatMul",
        [floats(3, 2, 4), floats(2, 4, 5, seed=1)],
        1,
        {"transBatchA": 1},
    ),
    "Gelu": ("Gelu", [floats(3, 4)], 1, {}),
    "BiasGelu": ("BiasGelu", [floats(3, 4), floats(4, seed=1)], 1, {}),
    "FastGelu": ("FastGelu", [floats(3, 4), floats(4, seed=1)], 1, {}),
    "QuickGelu": ("QuickGelu", [floats(3, 4)], 1, {"alpha": 1.5}),
    "SkipLayerNormalization": (
        "SkipLayerNormalization",
        [floats(2, 3, 8), floats(2, 3, 8, seed=1), floats(8, seed=2), floats(8, seed=3), floats(8, seed=4)],
        4,
        {"epsilon": 1e-5},
    ),
    "SkipSimplifiedLayerNormalization": (
        "SkipSimplifiedLayerNormalization",
        [floats(2, 3, 8), floats(2, 3, 8, seed=1), floats(8, seed=2)],
        1,
        {"epsilon": 1e-5},
    ),
    "EmbedLayerNormalization": (
        "EmbedLayerNormalization",
        [
            ints([[1, 3, 2], [0, 4, 4]]),
            ints([[0, 0, 1], [0, 1, 1]]),
            *(floats(6, 8), floats(5, 8, seed=1), floats(2, 8, seed=2), floats(8, seed=3), floats(8, seed=4)),
            ints([[1, 1, 0], [1, 1, 1]]),
        ],
        2,
        {"epsilon": 1e-5},
    ),
    **{
        f"Attention, {name}": (
            "Attention",
            [floats(2, 3, 8), floats(8, 24, seed=1, scale=0.4), floats(24, seed=2), mask, *more],
            1,
            {"num_heads": 2, **attributes},
        )
        for name, mask, more, attributes in (
            ("no mask", None, (), {}),
            ("lengths", ints([3, 2]), (), {}),
            ("ends and starts", ints([3, 2, 1, 0]), (), {}),
            ("a mask of keys", ints([[1, 1, 0], [0, 1, 1]]), (), {}),
            ("one way", None, (), {"unidirectional": 1}),
            ("a bias", None, (None, floats(1, 2, 3, 3, seed=3)), {"scale": 0.3}),
        )
    },
    "MultiHeadAttention": (
        "MultiHeadAttention",
        [
            *(floats(2, 3, 8), floats(2, 4, 8, seed=1), floats(2, 4, 8, seed=2), floats(24, seed=3)),
            *(ints([[1, 1, 0, 1], [0, 1, 1, 1]]), floats(1, 2, 3, 4, seed=4)),
        ],
        1,
        {"num_heads": 2},
    ),
    "MultiHeadAttention with a past": (
        "MultiHeadAttention",
        [
            *(floats(2, 3, 8), floats(2, 3, 8, seed=1), floats(2, 3, 8, seed=2), None, None, None),
            *(floats(2, 2, 5, 4, seed=3), floats(2, 2, 5, 4, seed=4)),
        ],
        3,
        {"num_heads": 2, "unidirectional": 1},
    ),
    "RotaryEmbedding": (
        "RotaryEmbedding",
        [floats(2, 3, 16), np.array([[0, 1, 2], [3, 4, 5]]), floats(8, 4, seed=1), floats(8, 4, seed=2)],
        1,
        {},
    ),
    "RotaryEmbedding, interleaved, from a step on": (
        "RotaryEmbedding",
        [floats(2, 2, 3, 8), np.array([2]), floats(8, 4, seed=1), floats(8, 4, seed=2)],
        1,
        {"interleaved": 1},
    ),
    "ConvTransposeWithDynamicPads": (
        "ConvTransposeWithDynamicPads",
        [floats(1, 3, 4, 5), floats(3, 2, 3, 3, seed=1), np.array([1, 0, 0, 1])],
        1,
        {"strides": [2, 2]},
    ),
    "NhwcMaxPool": (
        "NhwcMaxPool",
        [np.moveaxis(GRID, 1, -1).copy()],
        1,
        {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1] * 4},
    ),
    "QLinearAdd": (
        "QLinearAdd",
        [
            *(bytes_of(3, 4), number(0.1), zero(100), bytes_of(3, 4, seed=1), number(0.05), zero(7)),
            *(number(0.2), zero(128)),
        ],
        1,
        {},
    ),
    "QLinearMul": (
        "QLinearMul",
        [
            *(bytes_of(3, 4), number(0.1), zero(100), bytes_of(3, 4, seed=1), number(0.05), zero(7)),
            *(number(0.9), zero(128)),
        ],
        1,
        {},
    ),
    "QLinearLeakyRelu": (
        "QLinearLeakyRelu",
        [bytes_of(3, 4), number(0.1), zero(100), number(0.07), zero(20)],
        1,
        {"alpha": 0.3},
    ),
    "QLinearSigmoid": (
        "QLinearSigmoid",
        [bytes_of(3, 4), number(0.03), zero(100), number(1 / 256), zero(0)],
        1,
        {},
    ),
    "QLinearAveragePool": (
        "QLinearAveragePool",
        [GRID, number(0.1), zero(100), number(0.08), zero(90)],
        1,
        {"kernel_shape": [3, 3], "pads": [1] * 4},
    ),
    "QLinearGlobalAveragePool": (
        "QLinearGlobalAveragePool",
        [GRID, number(0.1), zero(100), number(0.02), zero(90)],
        1,
        {},
    ),
    "QLinearConcat": (
        "QLinearConcat",
        [
            *(number(0.2), zero(90), bytes_of(2, 3), number(0.1), zero(100)),
            *(bytes_of(2, 3, seed=1), number(0.3), zero(10)),
        ],
        1,
        {"axis": 0},
    ),
    "QLinearSoftmax": (
        "QLinearSoftmax",
        [bytes_of(3, 4), number(0.03), zero(100), number(1 / 256), zero(0)],
        1,
        {"axis": -1, "opset": 13},
    ),
    "QLinearConv, channels last": (
        "QLinearConv",
        [
            *(np.moveaxis(GRID, 1, -1).copy(), number(0.1), zero(100)),
            *(bytes_of(4, 3, 3, 3, seed=1, signed=True), number(0.02), zero(0, signed=True)),
            *(number(0.9), zero(128), ints([5, -60, 20, 0])),
        ],
        1,
        {"channels_last": 1, "pads": [1] * 4},
    ),
    "QGemm": (
        "QGemm",
        [
            *(bytes_of(3, 4), number(0.1), zero(100)),
            *(bytes_of(4, 5, seed=1, signed=True), number(0.02), zero(0, signed=True)),
            *(ints([5, -60, 20, 0, 9]), number(0.9), zero(128)),
        ],
        1,
        {},
    ),
    "MatMulIntegerToFloat": (
        "MatMulIntegerToFloat",
        [
            *(bytes_of(3, 4), bytes_of(4, 5, seed=1, signed=True), number(0.1), floats(5, seed=2)),
            *(zero(100), None, floats(5, seed=3)),
        ],
        1,
        {},
    ),
    "MatMulNBits": (
        "MatMulNBits",
        [floats(3, 40), bytes_of(6, 2, 16), floats(12, seed=1), bytes_of(6, seed=2)],
        1,
        {"K": 40, "N": 6, "bits": 4, "block_size": 32},
    ),
    "Inverse": ("Inverse", [floats(2, 3, 3)], 1, {}),
}


def model_of(op: str, arrays: list[Array | None], outputs: int, attributes: dict[str, Any]) -> ModelProto:
    """One node; every given input but the first is a constant."""
    names = ["" if array is None else f"x{index}" for index, array in enumerate(arrays)]
    node = helper.make_node(
        op, names, [f"y{index}" for index in range(outputs)], domain="com.microsoft", **attributes
    )
    first = arrays[0]
    assert first is not None
    value = helper.make_tensor_value_info("x0", helper.np_dtype_to_tensor_dtype(first.dtype), first.shape)
    results = [helper.make_value_info(f"y{index}", onnx.TypeProto()) for index in range(outputs)]
    constants = [
        numpy_helper.from_array(array, name)
        for name, array in zip(names[1:], arrays[1:], strict=True)
        if array is not None
    ]
    graph = helper.make_graph([node], "test", [value], results, constants)
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8)


def in_ort(model: ModelProto, inputs: Arrays, optimized: Path | None = None) -> dict[str, Array]:
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = (
        ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        if optimized is None
        else ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    )
    if optimized is not None:
        options.optimized_model_filepath = str(optimized)
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, dict(inputs)), strict=True))


@pytest.mark.parametrize("name", NODES)
def test_a_node_agrees_with_onnx_runtime(name: str) -> None:
    op, arrays, outputs, attributes = NODES[name]
    model, first = model_of(op, arrays, outputs, attributes), arrays[0]
    assert first is not None
    got, expected = ExactGraph(model).run({"x0": first}), in_ort(model, {"x0": first})
    assert set(got) == set(expected)
    for key, value in expected.items():
        assert got[key].shape == value.shape
        if value.dtype.kind in "iu":
            assert got[key].dtype == value.dtype
            # Half way between two numbers float32's rounding decides.
            np.testing.assert_allclose(got[key].astype(int), value.astype(int), atol=1, rtol=0)
            assert np.mean(got[key] != value) < 0.1
        else:
            np.testing.assert_allclose(got[key], value, rtol=2e-5, atol=3e-6)
    # Activations cut, and other outputs are inputs handed on.
    y = got["y0"]
    assert y.dtype != np.float64 or np.mean(y.astype(np.float32) == y) < 0.9, "it was rounded to float32"


class Block(nn.Module):
    """Attention, a residual, normalisation and an MLP, as language models have them."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv, self.out = nn.Linear(16, 48), nn.Linear(16, 16)
        self.first, self.second = nn.LayerNorm(16), nn.LayerNorm(16)
        self.up, self.down = nn.Linear(16, 32), nn.Linear(32, 16)

    def forward(self, x: Tensor) -> Tensor:
        batch, steps = x.shape[:2]
        parts = self.qkv(x).reshape(batch, steps, 3, 2, 8).permute(2, 0, 3, 1, 4)
        scores = (parts[0] @ parts[1].transpose(-1, -2)) / 8**0.5
        seen = (scores.softmax(-1) @ parts[2]).transpose(1, 2).reshape(batch, steps, 16)
        x = self.first(x + self.out(seen))
        y: Tensor = self.second(x + self.down(nn.functional.gelu(self.up(x))))
        return y


class Residual(nn.Module):
    """Convolutions with a residual and activations."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(4, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.head = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(x + self.second(nn.functional.leaky_relu(self.first(x), 0.2)))
        x = nn.functional.hardtanh(self.first(x)) + torch.sigmoid(self.second(x))
        y: Tensor = torch.relu(self.head(x.mean((2, 3))))
        return y + x.mean((1, 2))[:, :3] * torch.sigmoid(1.702 * x[:, 0, 0, :3])


@pytest.mark.parametrize(
    ("build", "shape", "fused"),
    [
        (Block, (2, 5, 16), {"FusedMatMul", "SkipLayerNormalization", "Gelu"}),
        (Residual, (2, 4, 6, 5), {"FusedConv", "FusedGemm"}),
    ],
    ids=["a transformer", "a residual network"],
)
def test_a_graph_that_onnx_runtime_optimized_computes_what_it_did(
    build: type[nn.Module], shape: tuple[int, ...], fused: set[str], tmp_path: Path
) -> None:
    torch.manual_seed(0)
    x = torch.randn(*shape)
    before = exported(build().eval(), (x,), 17, dynamo=False)
    feeds = {before.graph.input[0].name: x.numpy()}
    in_ort(before, feeds, tmp_path / "optimized.onnx")
    after = onnx.load(tmp_path / "optimized.onnx")
    assert fused <= {node.op_type for node in after.graph.node}
    (expected,), (got,) = ExactGraph(before).run(feeds).values(), ExactGraph(after).run(feeds).values()
    # Scales are folded in float32.
    np.testing.assert_allclose(got, expected, rtol=0, atol=2e-7 * np.abs(expected).max())
