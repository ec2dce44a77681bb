"""Fake quantization is carried out in float64, so that right files of quantization-aware training state it,
and files with another scale, zero point or range do not."""

import contextlib
import io
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from torch import Tensor, nn
from torch.nn.functional import linear

import onnxproof
from onnxproof.wrappers.double.float64 import Float64

DRAWN = 0.043182645391123457
"""A scale of too many digits to be read as a decimal."""


class Net(nn.Module):
    """A function of fake quantization, with learned ranges in buffers."""

    def __init__(self, run: Callable[["Net", Tensor], Tensor]) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.layer = nn.Linear(8, 8)
        self.register_buffer("scale", torch.tensor([0.013]))
        self.register_buffer("zero", torch.tensor([3], dtype=torch.int32))
        self.register_buffer("scales", torch.rand(8) * 0.002 + 0.001)
        self.register_buffer("zeros", torch.randint(-5, 5, (8,), dtype=torch.int32))
        self.run = run

    def forward(self, x: Tensor) -> Tensor:
        return self.run(self, x)


def by_numbers(net: Net, x: Tensor) -> Tensor:
    return torch.fake_quantize_per_tensor_affine(net.layer(x), 0.01, 3, -128, 127)


def by_a_drawn_number(net: Net, x: Tensor) -> Tensor:
    return torch.fake_quantize_per_tensor_affine(net.layer(x), DRAWN, 0, 0, 255)


def by_buffers(net: Net, x: Tensor) -> Tensor:
    given = torch.fake_quantize_per_tensor_affine(x, net.scale, net.zero, -128, 127)  # type: ignore[arg-type]
    return net.layer(given)  # type: ignore[no-any-return]


def by_channel(net: Net, x: Tensor) -> Tensor:
    weight = net.layer.weight
    weight = torch.fake_quantize_per_channel_affine(weight, net.scales, net.zeros, 0, -128, 127)  # type: ignore[arg-type]
    return linear(x, weight, net.layer.bias)


def by_float_zeros(net: Net, x: Tensor) -> Tensor:
    return torch.fake_quantize_per_channel_affine(x, net.scales, net.scales * 999, 1, -40, 90)  # type: ignore[arg-type,operator]


def learned(net: Net, x: Tensor) -> Tensor:
    return torch._fake_quantize_learnable_per_tensor_affine(x, net.scale, net.scale * 200, -128, 127)  # type: ignore[arg-type,operator]


def learned_by_channel(net: Net, x: Tensor) -> Tensor:
    return torch._fake_quantize_learnable_per_channel_affine(x, net.scales, net.scales * 999, 1, -128, 127)  # type: ignore[arg-type,operator]


def switched_off(net: Net, x: Tensor) -> Tensor:
    off = torch.zeros(1, dtype=torch.int64)
    quantized = torch.ops.aten._fake_quantize_per_tensor_affine_cachemask_tensor_qparams
    returned: Tensor = quantized(x / 3, net.scale, net.zero, off, -128, 127)[0]
    return returned


CARRIED_OUT = {
    "numbers": by_numbers,
    "a-drawn-number": by_a_drawn_number,
    "buffers": by_buffers,
    "channels": by_channel,
    "zero-points-that-are-floats": by_float_zeros,
    "learned": learned,
    "learned-channels": learned_by_channel,
    "switched-off": switched_off,
}


@pytest.mark.parametrize("name", CARRIED_OUT)
def test_float64_is_rounded_to_the_same_steps_and_nowhere_else(name: str) -> None:
    """What is a multiple of the scale in float32 is the same multiple in float64."""
    x = torch.from_numpy(np.random.default_rng(1).uniform(-2, 2, (8, 8)).astype(np.float32))
    net = Net(CARRIED_OUT[name]).eval()
    given = Float64(net)
    with given.running():
        returned = given.module(given.widen(x))
    found, lost = given.result(returned)
    assert lost is None
    assert found.dtype == torch.float64
    with torch.no_grad():
        single = net(x).double()
    error = (single - found).abs().max().item()
    assert 0 < error < 1e-6
    assert not torch.equal(found.float().double(), found)


def exported(module: nn.Module) -> onnx.ModelProto:
    file, x = io.BytesIO(), torch.rand(2, 8)
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module,
            (x,),
            file,  # type: ignore[arg-type]
            input_names=["x"],
            output_names=["y"],
            dynamic_axes={"x": {0: "batch"}, "y": {0: "batch"}},
            opset_version=18,
            dynamo=False,
        )
    return onnx.load_from_string(file.getvalue())


def status(module: nn.Module, proto: onnx.ModelProto, folder: Path) -> set[str]:
    """What the link ``function`` says of the file."""
    onnx.save(proto, folder / "net.onnx")
    verdict = onnxproof.check_module(
        module,
        folder / "net.onnx",
        inputs={"x": "float32[batch, 8] in -2..2"},
        dims={"batch": "1..3"},
        set=["validate.effort=quick", "validate.threads=1"],
    )
    return {check.status for check in verdict.checks if (check.link, check.name) == ("function", "function")}


WRITTEN = {name: CARRIED_OUT[name] for name in ("numbers", "a-drawn-number", "buffers", "channels")}


@pytest.mark.parametrize("name", WRITTEN)
def test_a_right_file_states_the_function(name: str, tmp_path: Path) -> None:
    module = Net(WRITTEN[name]).eval()
    assert status(module, exported(module), tmp_path) == {"pass"}


def replaced(proto: onnx.ModelProto, at: int, change: Callable[[np.ndarray], np.ndarray]) -> None:
    """Change the scale (1) or the zero point (2) of quantization and back."""
    nodes = [node for node in proto.graph.node if node.op_type in ("QuantizeLinear", "DequantizeLinear")]
    (name,) = {node.input[at] for node in nodes}
    held = [one for one in proto.graph.initializer if one.name == name]
    held += [node.attribute[0].t for node in proto.graph.node if name in node.output]
    (tensor,) = held
    tensor.CopyFrom(numpy_helper.from_array(change(numpy_helper.to_array(tensor)), tensor.name))


DAMAGE = {
    "the-scale-a-little": (1, lambda held: held * np.float32(1.00002)),
    "the-scale": (1, lambda held: held * np.float32(1.01)),
    "the-zero-point": (2, lambda held: held + held.dtype.type(1)),
    "the-range": (2, lambda held: (held % 4).astype(np.int8 if held.dtype == np.uint8 else np.uint8)),
}


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("name", WRITTEN)
def test_another_scale_zero_point_or_range_is_seen(name: str, damage: str, tmp_path: Path) -> None:
    module = Net(WRITTEN[name]).eval()
    proto = exported(module)
    replaced(proto, *DAMAGE[damage])
    assert status(module, proto, tmp_path) == {"fail"}
