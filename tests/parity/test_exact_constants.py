"""The constants of files that exporters and simplifiers made are all proven. With their exact values, the
file computes in float64 what the module computes."""

import contextlib
import io
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import onnxsim
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import gelu, grid_sample
from torch.nn.utils import parametrizations, prune
from torchvision.models import resnet18
from torchvision.ops import FrozenBatchNorm2d

from onnxproof.export.fold import fold_batch_norms
from onnxproof.graph import OnnxGraph
from onnxproof.validate.exact.constants import prove_constants
from onnxproof.validate.exact.graph import ExactGraph
from onnxproof.validate.exact.record import known_of_module

EXACT = 1e-6
"""The most that a file may differ from its module in float64, as a share of what PyTorch's float32 errs by.
The smallest effect that the proof has to see is 1e-3."""

Array = NDArray[Any]

PICTURE = (2, 3, 12, 16)
SEQUENCE = (2, 7, 16)


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.MultiheadAttention(16, 4, batch_first=True)
        self.second = nn.MultiheadAttention(16, 2, batch_first=True, kdim=8, vdim=4)
        self.gru = nn.GRU(16, 8, 2, batch_first=True, bidirectional=True)
        self.lstm = nn.LSTM(16, 8, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x, x, x, need_weights=False)[0] + x
        x = self.second(x, x[..., :8], x[..., 8:12], need_weights=False)[0] + x
        hidden: Tensor = self.lstm(self.gru(x)[0])[0]
        return hidden


class Tables(nn.Module):
    """Places as sines, distances as logarithms, and a grid, none of which depends on the input's values."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor([0.7, 1.3, 0.2]))
        self.distances = nn.Parameter(torch.randn(11, 4))

    def forward(self, x: Tensor) -> Tensor:
        rates = 10000 ** (torch.arange(0, 16, 2) / 16)
        angles = torch.arange(12)[:, None] / rates
        places = torch.cat([angles.sin(), angles.cos()], -1)
        far = (torch.arange(12)[:, None] - torch.arange(12)).abs().clamp(max=10)
        bias = self.distances[far].permute(2, 0, 1).mean(0)
        rows, columns = torch.linspace(-0.9, 0.9, 12), torch.linspace(-0.8, 0.7, 16)
        grid = torch.stack(torch.meshgrid(rows, columns, indexing="ij")[::-1], -1)[None].expand(2, -1, -1, -1)
        moved = grid_sample(x * (1 + self.scale).reshape(1, 3, 1, 1), grid, align_corners=True)
        return gelu(moved + places) @ places.T.softmax(0) @ bias / 3


def convolutions() -> nn.Module:
    return nn.Sequential(
        *(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.GELU()),
        *(nn.Conv2d(8, 8, 3, bias=False, groups=8), nn.BatchNorm2d(8, eps=1e-3), nn.LeakyReLU(0.01)),
        *(nn.ConvTranspose2d(8, 6, 2), nn.BatchNorm2d(6), nn.Hardswish()),
        *(nn.BatchNorm2d(6), nn.Conv2d(6, 4, 1), FrozenBatchNorm2d(4), nn.GroupNorm(2, 4)),
    )


def parametrized() -> nn.Module:
    pruned = nn.Conv2d(8, 8, 3)
    prune.l1_unstructured(pruned, "weight", 0.5)  # type: ignore[no-untyped-call]
    return nn.Sequential(
        *(parametrizations.weight_norm(nn.Conv2d(3, 8, 3)), nn.BatchNorm2d(8), nn.ReLU()),
        *(pruned, nn.BatchNorm2d(8), nn.ReLU()),
        *(parametrizations.weight_norm(nn.Conv2d(8, 8, 3)), nn.ReLU()),
    )


def normed() -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # PyTorch is about to give up the old form
        old = nn.utils.weight_norm(nn.Conv2d(8, 8, 3))
    return nn.Sequential(
        *(parametrizations.spectral_norm(nn.Conv2d(3, 8, 3)), nn.BatchNorm2d(8), nn.ReLU()),
        *(old, nn.BatchNorm2d(8), nn.ReLU()),
    )


MODULES: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "convolutions": (convolutions, PICTURE),
    "parametrized": (parametrized, PICTURE),
    "normed": (normed, PICTURE),
    "attention": (Attention, SEQUENCE),
    "tables": (Tables, PICTURE),
    "resnet18": (resnet18, (1, 3, 64, 64)),
}

UNWRITTEN = {"normed": ("torchscript", "simplified", "folded-by-onnxproof")}
"""Exports of modules that TorchScript does not write."""

REPEATED = (("resnet18", "dynamo-as-captured"), ("resnet18", "simplified"))
"""What small modules show in CI."""


def trained(module: nn.Module) -> nn.Module:
    """The module with norms that do something."""
    for layer in module.modules():
        running = getattr(layer, "running_var", None)
        if running is None:
            continue
        assert isinstance(layer, nn.BatchNorm2d | FrozenBatchNorm2d)
        running.uniform_(0.5, 2)
        layer.weight.data.uniform_(0.5, 2)
        layer.bias.data.normal_()
        layer.running_mean.normal_()  # type: ignore[union-attr]
    return module.eval()


def dynamo(module: nn.Module, given: Tensor, optimize: bool = True) -> onnx.ModelProto:
    program = torch.onnx.export(module, (given,), dynamo=True, optimize=optimize, verbose=False)
    assert program is not None
    return program.model_proto


def torchscript(module: nn.Module, given: Tensor) -> onnx.ModelProto:
    file = io.BytesIO()
    torch.onnx.export(module, (given,), file, dynamo=False, opset_version=17)  # type: ignore[arg-type]
    return onnx.load_from_string(file.getvalue())


EXPORTS: dict[str, Callable[[nn.Module, Tensor], onnx.ModelProto]] = {
    "dynamo": dynamo,
    "dynamo-as-captured": lambda module, given: dynamo(module, given, False),
    "torchscript": torchscript,
    "simplified": lambda module, given: onnxsim.simplify(torchscript(module, given))[0],
    "folded-by-onnxproof": lambda module, given: torchscript(fold_batch_norms(module, (given,))[0], given),
}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "export"),
    [
        pytest.param(name, export, marks=pytest.mark.long if (name, export) in REPEATED else ())
        for name in MODULES
        for export in EXPORTS
        if export not in UNWRITTEN.get(name, ())
    ],
)
def test_a_healthy_file_is_exact_with_its_constants_proven(name: str, export: str) -> None:
    torch.manual_seed(1)
    make, shape = MODULES[name]
    module, given = trained(make()), torch.rand(shape)
    with torch.no_grad():
        module(given)  # so that computed weights carry no gradient, which a copy refuses
    fused = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()), torch.no_grad():
            warnings.simplefilter("ignore")
            proto = EXPORTS[export](module, given)
            single = module(given).numpy()
    finally:
        torch.backends.mha.set_fastpath_enabled(fused)
    proven = prove_constants(OnnxGraph(proto), known_of_module(module, {"x": given.numpy()}))
    assert not proven.unproven, list(map(str, proven.unproven))
    graph = ExactGraph(proto, constants=proven.exact, attributes=proven.attributes)
    (computed,) = graph.run({graph.inputs[0].name: given.numpy()}).values()
    exact = in_double(module, given)
    assert np.std(computed - exact) <= EXACT * np.std(single - exact)


def in_double(module: nn.Module, given: Tensor) -> Array:
    """What the module computes in float64."""
    default = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        with torch.no_grad():
            exact: Array = module.double()(given.double()).numpy()
            return exact
    finally:
        torch.set_default_dtype(default)
