"""A program is spared torch.onnx's second trace only where it states the same function without it."""

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnxscript  # noqa: F401 - torch's registry needs it
import pytest
import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F  # noqa: N812 - as everyone calls it

import onnxproof
from onnxproof.export.retraced import functional

Function = Callable[[Tensor], Tensor]


@pytest.fixture(scope="module")
def translated() -> set[Any]:
    """The operators that torch.onnx translates."""
    exporter: Any = "torch.onnx._internal.exporter"
    registry = importlib.import_module(f"{exporter}._registration").ONNXRegistry.from_torchlib()
    return set(importlib.import_module(f"{exporter}._decomp").get_onnx_implemented_overloads(registry))


class Module(nn.Module):
    def __init__(self, function: Function) -> None:
        super().__init__()
        self.function = function
        self.norm = nn.BatchNorm2d(4)
        nn.init.uniform_(self.norm.get_buffer("running_mean"))
        self.up = nn.ConvTranspose2d(4, 4, 3, stride=2, output_padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self.up(self.norm(x))) if self.function.__name__ == "wide" else self.function(x)


def wide(x: Tensor) -> Tensor:
    return F.adaptive_avg_pool2d(F.relu(x, inplace=True), 1)


def meshed(x: Tensor) -> Tensor:
    rows, columns = torch.arange(x.shape[2], dtype=x.dtype), torch.arange(5, dtype=x.dtype)
    row, column = torch.meshgrid(rows, columns, indexing="ij")
    return x * row + column


def captured(function: Function) -> torch.export.ExportedProgram:
    sizes = ({0: torch.export.Dim.DYNAMIC, 2: torch.export.Dim.DYNAMIC},)
    with torch.no_grad():
        return torch.export.export(Module(function).eval(), (torch.rand(2, 4, 6, 5),), dynamic_shapes=sizes)


def answer(program: torch.export.ExportedProgram, x: Tensor) -> Tensor:
    held = {**program.state_dict, **program.constants}
    names = {spec.arg.name: spec.target for spec in program.graph_signature.input_specs}
    placed = [node.name for node in program.graph.nodes if node.op == "placeholder"]
    with torch.no_grad():
        inputs = [x if names[name] is None else held[names[name]] for name in placed]
        found: tuple[Tensor] = fx.Interpreter(program.graph_module).run(*inputs)
    return found[0]


@pytest.mark.parametrize(
    "function",
    [
        pytest.param(wide, id="a-norm-an-upsampling-a-pool"),
        pytest.param(lambda x: (x + 1).relu_().mul_(2), id="in-place-on-new-memory"),
        pytest.param(lambda x: (y := x + 1).relu_() + y, id="in-place-and-read-later"),
        pytest.param(lambda x: torch.sigmoid(x).clamp_(0.2, 0.6), id="in-place-of-two-numbers"),
        pytest.param(lambda x: (x * 2).to(torch.float64) + 1, id="to-another-dtype"),
        pytest.param(lambda x: (x * 2).to("cpu") + 1, id="to-the-same"),
        pytest.param(lambda x: x.masked_fill((x > 0).__and__(x < 0.5), 3), id="and"),
        pytest.param(meshed, id="a-grid-of-sizes"),
        pytest.param(lambda x: torch.cat([x[:, :2] * x.shape[2], x[:, 2:]], 1), id="of-sizes"),
        pytest.param(lambda x: x.var((1, -1), unbiased=False, keepdim=True), id="a-variance-with-its-axes"),
        pytest.param(lambda x: x.std(1), id="a-deviation"),
        pytest.param(lambda x: x.std((1, 3), keepdim=True), id="a-deviation-with-its-axes"),
        pytest.param(lambda x: torch.stack([-x[:, 1::2], x[:, ::2]], 1).reshape_as(x), id="as-shaped"),
        pytest.param(lambda x: x.diff(dim=-2), id="differences"),
        pytest.param(lambda x: x.diff(dim=2, prepend=x[:, :, :1] - 1), id="differences-from-a-first"),
        pytest.param(lambda x: F.conv2d(x, torch.ones(4, 1, 3, 5), padding="same", groups=4), id="same"),
        pytest.param(lambda x: F.conv2d(x, torch.ones(4, 4, 3, 2), padding="valid"), id="valid"),
        pytest.param(lambda x: torch.feature_dropout(x * 2, 0.5, False) + 1, id="a-dropout-of-features"),
        pytest.param(lambda x: torch.dropout_((x * 2).relu_(), 0.5, False).relu_(), id="dropout-in-place"),
        pytest.param(
            lambda x: x + torch.full((x.shape[2], 1), torch.tensor(3.5).item()), id="a-number-in-a-tensor"
        ),
        pytest.param(
            lambda x: F.batch_norm(x, None, None, torch.ones(4) / 3, training=True, eps=1e-3),
            id="a-norm-by-the-batch",
        ),
    ],
)
def test_the_function_is_the_same(function: Function, translated: set[Any]) -> None:
    program = captured(function)
    ready = functional(program, translated)
    assert ready is not None
    assert not any(
        isinstance(node.target, torch._ops.OpOverload) and node.target._schema.is_mutable
        for node in ready.graph.nodes
    )
    x = torch.randn(3, 4, 8, 5)
    # The root of a variance is rounded once more than what computes both at once.
    torch.testing.assert_close(answer(ready, x), answer(program, x.clone()), rtol=2**-22, atol=0)


@pytest.mark.parametrize(
    "function",
    [
        pytest.param(lambda x: x[:, :2].relu_() + x[:, :2], id="to-a-view"),
        pytest.param(lambda x: x.relu_() + 1, id="to-the-input"),
        pytest.param(lambda x: torch.dropout_(x, 0.5, False).relu_() + x, id="to-the-input-past-a-dropout"),
        pytest.param(lambda x: torch.feature_dropout(x * 2, 0.5, True), id="a-dropout-that-drops"),
        pytest.param(lambda x: (x > 0).diff(dim=2).float(), id="differences-of-truth-values"),
        pytest.param(
            lambda x: F.conv2d(x, torch.ones(4, 4, 2, 2), padding="same"),
            id="more-on-one-side",
            marks=pytest.mark.filterwarnings("ignore:Using padding='same':UserWarning"),
        ),
        pytest.param(lambda x: x.diff(2, dim=2), id="second-differences"),
        pytest.param(lambda x: x.half().var(1), id="a-variance-of-half-precision"),
        pytest.param(lambda x: F.dropout(x, training=False).relu_() + x, id="to-what-may-be-its-argument"),
        pytest.param(lambda x: x.contiguous().relu_() + x, id="to-what-is-its-argument"),
        pytest.param(lambda x: (x > 0).float().add_(x.double()), id="of-two-dtypes"),
        pytest.param(lambda x: torch.zeros_like(x).copy_(x[:1]), id="a-copy-that-spreads"),
        pytest.param(lambda x: torch.einsum("ncab,ncab->nc", x, x), id="an-operator-without-translation"),
    ],
)
def test_what_torch_has_to_trace_again(function: Function, translated: set[Any]) -> None:
    ready = functional(captured(function), translated - {torch.ops.aten.einsum.default})
    assert ready is None


def test_an_input_that_is_called_as_one_of_pythons_functions_keeps_its_name(translated: set[Any]) -> None:
    program = torch.export.export(nn.Tanh(), (torch.rand(2),))
    ready = functional(program, translated)
    assert ready is not None
    placed = [node.name for node in ready.graph.nodes if node.op == "placeholder"]
    assert placed == list(ready.graph_signature.user_inputs) == ["input"]


def test_what_cannot_be_translated_as_it_is_goes_the_other_way(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Here, because a node that torch.onnx would have exchanged gets an attribute that nothing translates."""

    def broken(program: torch.export.ExportedProgram, _: Any) -> torch.export.ExportedProgram:
        ready = functional(program, _AnyTarget())
        assert ready is not None
        for node in ready.graph.nodes:
            if node.op == "call_function":
                node.target = torch.ops.aten.special_airy_ai.default
        return ready

    retraced = importlib.import_module("onnxproof.export.retraced")
    monkeypatch.setattr(retraced, "functional", broken)
    bundle = onnxproof.export_module(
        nn.Tanh().eval(),
        inputs={"input": "float32[n, 3] in -1..1"},
        dims={"n": "1..4"},
        out=tmp_path / "bundle",
        set=("validate.effort=quick", "validate.threads=1", "export.exporter=torch.export"),
    )
    assert bundle.verdict is not None
    assert bundle.verdict.passed
    assert bundle.manifest.exporter == "torch.export"


class _AnyTarget(set[Any]):
    """Every operator is translated."""

    def __contains__(self, _: object) -> bool:
        return True
