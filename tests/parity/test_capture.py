"""Capture as people's modules need it: outputs that are one tensor, what torch.export takes for granted, and
reasons that name the cause."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import onnxsim
import pytest
import torch
from torch import Tensor, nn
from torch.nn.modules import transformer

import onnxproof
from onnxproof.errors import ExportError, UserCodeError
from onnxproof.export.capture import Captured, capture
from onnxproof.pipeline import Bundle
from onnxproof.tensors import Dim, TensorSpec
from onnxproof.wrappers.wrap import wrap_module

EXPORTERS = ("torch.export", "torchscript")
ROW = {"x": "float32[batch, 8] in -1..1"}
PICTURE = {"x": "float32[batch, 3, height, width] in 0..1"}
SIZES = {"batch": "1..3", "height": "16..40", "width": "16..40"}


class Net(nn.Module):
    """A function of its parts and inputs as ``forward``."""

    def __init__(self, run: Callable[..., Any], **parts: nn.Module) -> None:
        super().__init__()
        self.run = run
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, *inputs: Tensor) -> Any:
        return self.run(self, *inputs)


def net(run: Callable[..., Any], **parts: nn.Module) -> Net:
    return Net(run, **parts).eval()


def linear() -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(8, 3)


def captured(module: nn.Module, inputs: dict[str, str], dims: dict[str, str], exporter: Any) -> Captured:
    model = wrap_module(
        module,
        [TensorSpec.parse(name, text) for name, text in inputs.items()],
        [Dim.parse(name, text) for name, text in dims.items()],
    )
    return capture(model, exporter, 20, optimize=False)


def exported(
    module: nn.Module, inputs: dict[str, str], dims: dict[str, str], out: Path, *overrides: str
) -> Bundle:
    quick = ["validate.effort=quick", "validate.threads=1", *overrides]
    return onnxproof.export_module(module, inputs=inputs, dims=dims, out=out / "bundle", set=quick)


def passed(bundle: Bundle) -> bool:
    assert bundle.verdict is not None
    assert bundle.verdict.passed, [check for check in bundle.verdict.checks if check.status != "pass"]
    return True


RETURNED: dict[str, tuple[Net, tuple[str, ...]]] = {
    "a-tensor-twice": (
        net(lambda s, x: {"a": (y := s.l(x)), "b": y.relu(), "c": y}, l=linear()),
        ("a", "b", "c"),
    ),
    "an-input": (net(lambda s, x: {"y": s.l(x), "z": x}, l=linear()), ("y", "z")),
    "an-input-alone": (net(lambda s, x: x), ("output",)),
    "a-parameter": (net(lambda s, x: {"y": s.l(x), "w": s.l.weight}, l=linear()), ("y", "w")),
    "computed-of-parameters": (
        net(lambda s, x: {"y": s.l(x), "b": s.l.bias + 1, "again": s.l.bias + 1}, l=linear()),
        ("y", "b", "again"),
    ),
    "constants": (
        net(lambda s, x: {"y": s.l(x), "a": torch.arange(6), "again": torch.arange(6)}, l=linear()),
        ("y", "a", "again"),
    ),
    "equal-computations": (
        net(lambda s, x: {"a": s.l(x).relu(), "b": s.l(x).relu()}, l=linear()),
        ("a", "b"),
    ),
    "what-dropout-leaves": (
        net(lambda s, x: {"a": (y := s.l(x)), "b": s.d(y)}, l=linear(), d=nn.Dropout()),
        ("a", "b"),
    ),
}


WAYS = (
    ("torch.export", "onnxsim"),
    ("torchscript", "onnxsim"),
    ("torchscript", "none"),
    ("torch.export", "none"),
)
AS_CAPTURED = ("a-tensor-twice", "constants")
"""What CI exports by torch.export and leaves as captured. It simplifies all of them."""


@pytest.mark.first_case
@pytest.mark.parametrize(
    ("name", "exporter", "simplify"),
    [
        pytest.param(name, *way, marks=() if way != WAYS[-1] or name in AS_CAPTURED else pytest.mark.long)
        for name in RETURNED
        for way in WAYS
    ],
)
def test_outputs_that_are_one_tensor_keep_their_names(
    name: str, exporter: str, simplify: str, tmp_path: Path
) -> None:
    module, names = RETURNED[name]
    bundle = onnxproof.export_module(
        module,
        inputs=ROW,
        dims={"batch": "1..4"},
        out=tmp_path / "bundle",
        set=[f"export.exporter={exporter}", f"export.simplify={simplify}"],
        validate=False,
    )
    assert not [note for note in bundle.notes if "not simplified" in note]
    session = onnxruntime.InferenceSession(str(bundle.path / "model.onnx"))
    assert tuple(output.name for output in session.get_outputs()) == names
    x = torch.rand(3, 8)
    with torch.no_grad():
        wanted = module(x)
    wanted = wanted if isinstance(wanted, dict) else {"output": wanted}
    for key, got in zip(names, session.run(None, {"x": x.numpy()}), strict=True):
        np.testing.assert_allclose(got, wanted[key].detach().numpy(), rtol=1e-5, atol=1e-6)


@pytest.mark.first_case
@pytest.mark.parametrize("name", ["a-tensor-twice", "an-input", "a-parameter", "constants"])
def test_a_module_with_such_outputs_passes(name: str, tmp_path: Path) -> None:
    assert passed(exported(RETURNED[name][0], ROW, {"batch": "1..4"}, tmp_path))


def test_the_module_is_left_as_it_was() -> None:
    module = RETURNED["an-input"][0]
    for exporter in EXPORTERS:
        captured(module, ROW, {"batch": "1..4"}, exporter)
    x = torch.rand(1, 8)
    assert module(x)["z"] is x


VOLUME = {"x": "float32[batch, 4, 5, 9, 9] in 0..1"}


def test_a_3d_convolution_without_bias_gets_none(tmp_path: Path) -> None:
    torch.manual_seed(0)
    module = nn.Conv3d(4, 8, 3, bias=False).eval()
    proto = captured(module, VOLUME, {"batch": "1..4"}, "torch.export").proto
    (node,) = (node for node in proto.graph.node if node.op_type != "Identity")
    assert (node.op_type, len(node.input)) == ("Conv", 2)
    bundle = exported(module, VOLUME, {"batch": "1..4"}, tmp_path)
    assert passed(bundle)
    assert bundle.manifest.simplify == "onnxsim"


def unloadable(proto: onnx.ModelProto, **_: Any) -> tuple[onnx.ModelProto, bool]:
    """A graph that the checker takes, and that ONNX Runtime does not."""
    changed = onnx.ModelProto()
    changed.CopyFrom(proto)
    changed.opset_import.append(onnx.helper.make_opsetid("nobody.at.all", 1))
    name = changed.graph.output[0].name
    for node in changed.graph.node:
        node.output[:] = ["before" if output == name else output for output in node.output]
    changed.graph.node.append(onnx.helper.make_node("Foo", ["before"], [name], domain="nobody.at.all"))
    return changed, True


@pytest.mark.parametrize("validate", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_a_simplified_graph_that_onnx_runtime_refuses_is_dropped(
    validate: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnxsim, "simplify", unloadable)
    bundle = onnxproof.export_module(
        linear().eval(), inputs=ROW, dims={"batch": "1..4"}, out=tmp_path / "b", validate=validate
    )
    assert bundle.manifest.simplify == "none"
    (note,) = (note for note in bundle.notes if "not simplified" in note)
    assert "ONNX Runtime refuses the simplified graph" in note
    assert str(tmp_path) not in note
    if validate:
        assert passed(bundle)


def test_torch_export_captures_ceil_mode_at_every_size(tmp_path: Path) -> None:
    module = net(lambda s, x: nn.functional.max_pool2d(x, 3, 2, ceil_mode=True))
    bundle = exported(module, PICTURE, SIZES, tmp_path, "export.exporter=torch.export")
    assert passed(bundle)
    assert bundle.manifest.exporter == "torch.export"


class OddIsPadded(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        if x.shape[2] % 2:
            x = nn.functional.pad(x, (0, 0, 0, 1))
        return x * 2


class OneIsDoubled(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * 2 if x.shape[0] == 1 else x + 1


class Windows(nn.Module):
    """Cuts pictures into windows and puts them together again. How many there were is computed in floats, as
    Swin transformers are written: torch.export makes that a constant, and says so nowhere."""

    def forward(self, x: Tensor) -> Tensor:
        batch, channels, height, width = x.shape
        cut = x.view(batch, channels, height // 4, 4, width // 4, 4).permute(0, 2, 4, 1, 3, 5)
        windows = cut.reshape(-1, channels, 4, 4)
        whole = int(windows.shape[0] / (height * width / 4 / 4))
        parts = windows.view(whole, height // 4, width // 4, -1, 4, 4).permute(0, 3, 1, 4, 2, 5)
        return parts.reshape(whole, -1, height, width)


FOURS = {"batch": "1..3", "height": "16..40 step 4", "width": "16..40 step 4"}


def test_a_size_that_is_computed_in_floats_is_refused_with_its_line() -> None:
    with pytest.raises(ExportError) as raised:
        captured(Windows().eval(), PICTURE, FOURS, "torch.export")
    said = str(raised.value)
    assert "it took Eq(int(" in said
    assert re.search(r"at \S*test_capture\.py:\d+ \(in forward\), which is wrong for batch = 1\b", said)


def test_with_that_size_fixed_it_is_captured(tmp_path: Path) -> None:
    assert passed(exported(Windows().eval(), PICTURE, {**FOURS, "batch": "1"}, tmp_path))


@pytest.mark.parametrize(
    ("module", "says"),
    [
        pytest.param(
            OddIsPadded(), r"Mod\(height, 2\), 0\).*test_capture\.py:\d+.*wrong for height = 17$", id="odd"
        ),
        pytest.param(OneIsDoubled(), r"batch.*test_capture\.py:\d+.*wrong for batch = 1$", id="one"),
    ],
)
def test_a_branch_on_sizes_that_torch_export_froze_is_refused(module: nn.Module, says: str) -> None:
    with pytest.raises(ExportError, match=says):
        captured(module.eval(), PICTURE, SIZES, "torch.export")


def test_a_branch_on_sizes_that_makes_no_difference_is_captured() -> None:
    def run(s: Net, x: Tensor) -> Tensor:
        return x + x if x.shape[0] == 1 else x * 2

    assert captured(net(run), PICTURE, SIZES, "torch.export").exporter == "torch.export"


def shifted(s: Net, x: Tensor) -> Tensor:
    """A part of the channels one step back in time, another part one step on."""
    made = torch.zeros_like(x)
    made[:, :-1, :2] = x[:, 1:, :2]
    made[:, 1:, 2:4] = x[:, :-1, 2:4]
    made[:, :, 4:] = x[:, :, 4:]
    return made


def padded(s: Net, x: Tensor) -> Tensor:
    """The height and the width up to a multiple of 4, if they are none."""
    for axis, before in ((2, (0, 0)), (3, ())):
        if x.shape[axis] % 4:
            x = nn.functional.pad(x, (*before, 0, -x.shape[axis] % 4))
    return x


class Growing(nn.Module):
    """Makes a longer table of positions if a longer input comes."""

    table: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("table", self.made(8), persistent=False)

    def made(self, count: int) -> Tensor:
        return torch.cos(torch.arange(count)[:, None] * torch.arange(1, 9))

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[1] > len(self.table):
            self.register_buffer("table", self.made(x.shape[1]), persistent=False)
        return x + self.table[: x.shape[1]]


SERIES = {"x": "float32[batch, time, 8] in -1..1"}


@pytest.mark.first_case
@pytest.mark.parametrize(
    ("module", "inputs", "dims"),
    [
        pytest.param(net(shifted), SERIES, {"batch": "1..3", "time": "2..8"}, id="shorter-by-one-is-one"),
        pytest.param(net(padded), PICTURE, SIZES, id="padded-where-need-be"),
        pytest.param(Growing().eval(), SERIES, {"batch": "1..3", "time": "2..20"}, id="a-table-that-grows"),
    ],
)
def test_a_way_that_serves_the_other_sizes_too_is_taken(
    module: nn.Module, inputs: dict[str, str], dims: dict[str, str], tmp_path: Path
) -> None:
    bundle = exported(module, inputs, dims, tmp_path, "export.exporter=torch.export")
    assert passed(bundle)
    assert bundle.manifest.exporter == "torch.export"


def test_an_input_that_nothing_reads_stays_an_input(tmp_path: Path) -> None:
    unread = net(lambda s, x, ages, y: y * 2)
    inputs = {**ROW, "ages": "int64[batch] in 0..99", "y": "float32[batch, 2] in -1..1"}
    bundle = exported(unread, inputs, {"batch": "1..3"}, tmp_path, "export.exporter=torchscript")
    assert passed(bundle)
    session = onnxruntime.InferenceSession(bundle.path / "model.onnx")
    assert [port.name for port in session.get_inputs()] == [*inputs]


def test_a_branch_on_sizes_is_followed_where_dims_leave_one_way() -> None:
    sizes = {**SIZES, "height": "16..40 step 2"}
    assert captured(OddIsPadded(), PICTURE, sizes, "torch.export").exporter == "torch.export"


def test_the_reason_names_the_operator_and_the_users_line() -> None:
    with pytest.raises(ExportError) as raised:
        captured(net(lambda s, x: torch.polygamma(1, x)), PICTURE, SIZES, "torch.export")
    reason = str(raised.value)
    assert "aten.polygamma.default" in reason
    assert "test_capture.py:" in reason
    assert "\x1b" not in reason
    assert "This is step" not in reason


def test_the_reason_for_torchscript_names_a_size_that_was_made_a_constant() -> None:
    def run(s: Net, x: Tensor) -> Tensor:
        return x + 1 if x.shape[2] > 20 else x - 1

    reason = captured(net(run), PICTURE, SIZES, "auto").reasons[0]
    assert "constraints violated (height): " in reason
    assert "16 <= height <= 40" in reason
    assert "TORCH_LOGS" not in reason
    assert re.search(
        r"it took height <= 20 for granted at \S*test_capture\.py:\d+ .*, which is wrong for height = 21",
        reason,
    )


@pytest.mark.slow
def test_if_both_exporters_fail_both_reasons_are_told() -> None:
    svd = torch.linalg.svdvals
    module = net(lambda s, x: svd(x) if (x > 2).any() else svd(-x))
    with pytest.raises(ExportError) as raised:
        captured(module, {"x": "float32[batch, 8, 8] in -1..1"}, {"batch": "1..4"}, "auto")
    said = str(raised.value)
    assert "TorchScript could not capture the model: UnsupportedOperatorError" in said
    assert "linalg_svd" in said
    assert "torch.export could not capture the model: GuardOnDataDependentSymNode" in said
    assert "data-dependent" in said
    assert "test_capture.py:" in said


def test_what_the_modules_own_code_raises_for_both_is_told_once() -> None:
    raising = net(lambda s, x: x + 1)
    model = wrap_module(raising, [TensorSpec.parse("x", ROW["x"])], [Dim("batch", 1, 4)])

    def run(s: Net, x: Tensor) -> Tensor:
        raise ValueError("this model does not run")

    raising.run = run
    with pytest.raises(UserCodeError) as raised:
        capture(model, "auto", 20, optimize=False)
    assert str(raised.value).count("this model does not run") == 1


class Encoder(nn.Module):
    """A stock encoder, which torch runs by a fused kernel in evaluation mode."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2)

    def forward(self, steps: Tensor, padding: Tensor | None = None) -> Tensor:
        answer: Tensor = self.encoder(steps, src_key_padding_mask=padding)
        return answer if padding is None else answer.masked_fill(padding[..., None], 0)


STEPS = {"steps": "float32[batch, time, 8] in -1..1"}


@pytest.mark.first_case
@pytest.mark.parametrize("padded", [False, True], ids=["all-steps", "padded"])
def test_an_encoder_that_torch_runs_fused_is_captured(padded: bool, tmp_path: Path) -> None:
    inputs = {**STEPS, "padding": "bool[batch, time]"} if padded else STEPS
    sizes = {"batch": "1..3", "time": "2..9"}
    assert passed(exported(Encoder().eval(), inputs, sizes, tmp_path))
    assert torch.backends.mha.get_fastpath_enabled()


def causal(steps: int) -> Tensor:
    return nn.Transformer.generate_square_subsequent_mask(steps)


class Masked(nn.Module):
    """Stock layers with a mask. torch looks at what it holds, unless it is told with ``hint``."""

    def __init__(self, *, hint: bool | None = None, diagonal: int | None = None) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.network = nn.Transformer(8, 2, 1, 1, 16, batch_first=True)
        self.hint, self.diagonal = hint, diagonal

    def forward(self, steps: Tensor, target: Tensor) -> Tensor:
        mask = causal(target.shape[1])
        if self.diagonal is not None:
            mask = torch.ones_like(mask).tril(self.diagonal) == 0
        answer: Tensor = self.network(steps, target, tgt_mask=mask, tgt_is_causal=self.hint)
        return answer


class MaskedEncoder(Encoder):
    def forward(self, steps: Tensor, padding: Tensor | None = None) -> Tensor:
        added = None if padding is None else torch.zeros(padding.shape).masked_fill(padding, -torch.inf)
        answer: Tensor = self.encoder(steps, mask=causal(steps.shape[1]), src_key_padding_mask=added)
        return answer if padding is None else answer.masked_fill(padding[..., None], 0)


class MaskedDecoder(nn.Module):
    """``nn.TransformerDecoder`` with a mask for each of its two attentions."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        layer = nn.TransformerDecoderLayer(8, 2, 16, batch_first=True)
        self.decoder = nn.TransformerDecoder(layer, 2)

    def forward(self, steps: Tensor, target: Tensor) -> Tensor:
        near = torch.zeros(target.shape[1], steps.shape[1]).masked_fill(
            torch.arange(steps.shape[1]) > torch.arange(target.shape[1])[:, None] + 2, -torch.inf
        )
        answer: Tensor = self.decoder(target, steps, causal(target.shape[1]), near)
        return answer


TWO = {**STEPS, "target": "float32[batch, answered, 8] in -1..1"}


@pytest.mark.parametrize(
    ("module", "inputs"),
    [
        pytest.param(Masked(), TWO, id="causal"),
        pytest.param(Masked(hint=True), TWO, id="told-that-it-is-causal", marks=pytest.mark.slow),
        pytest.param(Masked(hint=False), TWO, id="told-that-it-is-not", marks=pytest.mark.long),
        pytest.param(Masked(diagonal=1), TWO, id="another-mask", marks=pytest.mark.slow),
        pytest.param(MaskedEncoder(), STEPS, id="encoder", marks=pytest.mark.slow),
        pytest.param(
            MaskedEncoder(), {**STEPS, "padding": "bool[batch, time]"}, id="padded", marks=pytest.mark.slow
        ),
        pytest.param(MaskedDecoder(), TWO, id="decoder", marks=pytest.mark.slow),
    ],
)
def test_a_mask_that_torch_looks_into_is_captured(
    module: nn.Module, inputs: dict[str, str], tmp_path: Path
) -> None:
    sizes = {"batch": "1..3", "time": "2..9", "answered": "2..7"}
    used = {name: size for name, size in sizes.items() if any(name in text for text in inputs.values())}
    before = transformer._detect_is_causal_mask
    bundle = exported(module.eval(), inputs, used, tmp_path)
    assert passed(bundle)
    assert bundle.manifest.exporter == "torch.export"
    assert transformer._detect_is_causal_mask is before
