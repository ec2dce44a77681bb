"""The float64 evaluator on graphs that PyTorch's exporters write, against the module in float64."""

import io
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from onnxproof.validate.exact.graph import ExactGraph

OPSETS = (9, 11, 13, 17, 20)


class Of(nn.Module):
    """A function as a module."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, *inputs: Tensor) -> Any:
        return self.function(*inputs)


class Recurrent(nn.Module):
    """A recurrence over [time, batch, inputs]; its sequence and its last state."""

    def __init__(self, kind: Callable[..., nn.Module], **more: Any) -> None:
        super().__init__()
        self.cell = kind(4, 5, **more)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        whole, last = self.cell(x)
        return whole, last[0] if isinstance(last, tuple) else last


def picture(*shape: int) -> Tensor:
    return torch.randn(*(shape or (2, 4, 9, 8)), generator=torch.Generator().manual_seed(0))


def sized(size: tuple[int, int], mode: str, corners: bool | None = None) -> Callable[[Tensor], Tensor]:
    return lambda x: functional.interpolate(x, size=size, mode=mode, align_corners=corners)


def attention(x: Tensor) -> Tensor:
    return functional.scaled_dot_product_attention(x, x, x)


NEVER = 99
"""An opset that is not asked of the TorchScript exporter, because it does not write the module."""

MODULES: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...], int]] = {
    "convolution": (lambda: nn.Conv2d(4, 6, 3, padding=1, stride=2), (), 9),
    "circular padding": (lambda: nn.Conv2d(4, 6, 3, padding=1, padding_mode="reflect"), (), 9),
    "depthwise, dilated": (lambda: nn.Conv2d(4, 4, 3, groups=4, dilation=2), (), 9),
    "convolution over 1 axis": (lambda: nn.Conv1d(4, 6, 3, groups=2), (2, 4, 9), 9),
    "convolution over 3 axes": (lambda: nn.Conv3d(4, 6, 3, padding=1), (1, 4, 5, 6, 7), 9),
    "transposed convolution": (
        lambda: nn.ConvTranspose2d(4, 6, 3, stride=2, padding=1, output_padding=1, groups=2),
        (),
        9,
    ),
    "linear": (lambda: nn.Linear(8, 5), (), 9),
    "max pool": (lambda: nn.MaxPool2d(3, 2, 1, ceil_mode=True), (), 11),
    "average pool": (lambda: nn.AvgPool2d(3, 2, 1, count_include_pad=False), (), 11),
    "average pool, a window beyond the map": (lambda: nn.AvgPool2d(32, ceil_mode=True), (), 11),
    "max pool, a window beyond the map": (lambda: nn.MaxPool2d(32, ceil_mode=True), (), 11),
    "adaptive pool": (lambda: nn.AdaptiveAvgPool2d(1), (), 9),
    "batch norm": (lambda: nn.BatchNorm2d(4).eval(), (), 9),
    "layer norm": (lambda: nn.LayerNorm(8), (), 9),
    "group norm": (lambda: nn.GroupNorm(2, 4), (), 9),
    "instance norm": (lambda: nn.InstanceNorm2d(4, affine=True), (), 9),
    "local response norm": (lambda: nn.LocalResponseNorm(3), (), 9),
    "activations": (
        lambda: nn.Sequential(
            *(nn.GELU(), nn.SiLU(), nn.Mish(), nn.ELU(0.7), nn.Hardswish(), nn.Softplus(), nn.LeakyReLU(0.1)),
            *(
                nn.SELU(),
                nn.Hardsigmoid(),
                nn.Softsign(),
                nn.Tanh(),
                nn.CELU(0.7),
                nn.PReLU(),
                nn.LogSigmoid(),
            ),
        ),
        (),
        13,
    ),
    "softmax": (lambda: nn.Sequential(nn.Softmax(1), nn.LogSoftmax(2)), (), 9),
    "LSTM": (lambda: Recurrent(nn.LSTM, num_layers=2, bidirectional=True), (6, 2, 4), 9),
    "GRU": (lambda: Recurrent(nn.GRU, bidirectional=True), (6, 2, 4), 9),
    "RNN": (lambda: Recurrent(nn.RNN, nonlinearity="relu"), (6, 2, 4), 9),
    "transformer layer": (
        lambda: nn.TransformerEncoderLayer(8, 2, 16, batch_first=True).eval(),
        (2, 5, 8),
        NEVER,
    ),
    "attention": (lambda: Of(attention), (2, 3, 5, 8), 14),
    # Before opset 11, ONNX leaves open which neighbour is nearest, and ONNX Runtime takes another.
    "nearest": (lambda: Of(sized((14, 5), "nearest")), (), 11),
    "bilinear": (lambda: Of(sized((14, 5), "bilinear", False)), (), 11),
    "bilinear, corners": (lambda: Of(sized((14, 5), "bilinear", True)), (), 11),
    "bicubic": (lambda: Of(sized((14, 5), "bicubic", False)), (), 11),
    "grid sample": (
        lambda: Of(lambda x: functional.grid_sample(x, x[:, :3, :, :2].tanh(), align_corners=False)),
        (),
        16,
    ),
    "volume sample": (
        lambda: Of(lambda x: functional.grid_sample(x, x[:, :3, :, :, :3].tanh(), align_corners=True)),
        (2, 4, 5, 6, 7),
        20,
    ),
    "affine grid": (
        lambda: Of(lambda x: functional.affine_grid(x[:, :2, :3, 0], [2, 3, 5, 6], align_corners=False)),
        (),
        20,
    ),
    "pixel shuffle": (lambda: nn.PixelShuffle(2), (), 9),
    "fold": (lambda: nn.Fold((6, 7), (2, 3), padding=1, stride=2), (2, 12, 16), 18),
    "unfold": (lambda: nn.Unfold((2, 3), padding=1, stride=2), (), 11),
    "einsum": (lambda: Of(lambda x: torch.einsum("nchw,ndhw->ncd", x, x)), (), 12),
    "statistics": (
        lambda: Of(lambda x: torch.cat([x.std(-1), x.var(-1), x.logsumexp(-1), x.norm(dim=-1)], -1)),
        (),
        11,
    ),
    "cumulative": (lambda: Of(lambda x: x.cumsum(-1)), (), 11),
    "sorting": (lambda: Of(lambda x: x.topk(3, dim=-1)[0] + x.sort(-1)[0][..., :3]), (), 11),
    "indexing": (lambda: Of(lambda x: x[:, [2, 0]].clone().masked_fill(x[:, :2] > 0.3, 0.1)), (), 11),
    "padding": (
        lambda: Of(
            lambda x: functional.pad(functional.pad(x, (1, 2, 0, 1), "reflect"), (0, 1, 1, 0), "replicate")
        ),
        (),
        11,
    ),
    "powers": (
        lambda: Of(lambda x: (x.abs() + 0.1).pow(1.7) + (x.abs() + 0.1).rsqrt() + x.exp().log1p() + x.atan()),
        (),
        11,
    ),
    "short-time Fourier": (
        lambda: Of(
            lambda x: torch.view_as_real(
                torch.stft(x, 8, 4, window=torch.hann_window(8, dtype=x.dtype), return_complex=True)
            )
        ),
        (2, 40),
        NEVER,
    ),
}


ROUNDED = frozenset(["local response norm", "activations", "indexing", "powers"])
"""Modules with numbers that float32 does not hold, such as a slope of 0.1. The file has them rounded."""

ROUNDED_BY_DYNAMO = {
    **{(name, 18): "the root of the scale" for name in ("attention", "transformer layer")},
    **{("affine grid", opset): "the places of the cells" for opset in (18, 23)},
    **{("short-time Fourier", opset): "the window" for opset in (18, 23)},
}
"""What the dynamo exporter writes as a float32 constant."""


def exported(module: nn.Module, inputs: tuple[Tensor, ...], opset: int, dynamo: bool) -> onnx.ModelProto:
    with warnings.catch_warnings():
        # The TorchScript exporter is deprecated; both warn of what they do not know.
        warnings.simplefilter("ignore")
        if dynamo:
            program = torch.onnx.export(module, inputs, dynamo=True, opset_version=opset, verbose=False)
            assert program is not None
            return program.model_proto
        file = io.BytesIO()
        torch.onnx.export(module, inputs, file, dynamo=False, opset_version=opset)  # type: ignore[arg-type]
        return onnx.load_from_string(file.getvalue())


def check(name: str, opset: int, dynamo: bool) -> None:
    build, shape, _ = MODULES[name]
    torch.manual_seed(0)
    module, x = build().eval(), picture(*shape)
    graph = ExactGraph(exported(module, (x,), opset, dynamo))
    expected = module.double()(x.double())
    expected = expected if isinstance(expected, tuple) else (expected,)
    got = graph.run({graph.inputs[0].name: x.numpy()})
    assert graph.unsupported == ()
    for value, truth in zip(got.values(), expected, strict=True):
        # An epsilon and other numbers of the trace are float32 in the file.
        scale = float(truth.detach().abs().max())
        np.testing.assert_allclose(value, truth.detach().numpy(), rtol=0, atol=1e-7 * scale)
        if name not in ROUNDED and not (dynamo and (name, opset) in ROUNDED_BY_DYNAMO):
            np.testing.assert_allclose(value, truth.detach().numpy(), rtol=0, atol=2e-12 * scale)


@pytest.mark.parametrize("opset", OPSETS)
@pytest.mark.parametrize("name", MODULES)
def test_a_graph_of_the_torchscript_exporter_computes_what_the_module_does(name: str, opset: int) -> None:
    if opset < MODULES[name][2]:
        pytest.skip("the exporter does not write it at this opset")
    check(name, opset, dynamo=False)


@pytest.mark.slow
@pytest.mark.parametrize("opset", [23, pytest.param(18, marks=pytest.mark.long)])
@pytest.mark.parametrize("name", MODULES)
def test_a_graph_of_the_dynamo_exporter_computes_what_the_module_does(name: str, opset: int) -> None:
    check(name, opset, dynamo=True)
