"""What modules take and return: each is exported as it is, or refused by name."""

import dataclasses
from collections import UserDict
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import onnxproof
from onnxproof.errors import OnnxproofError, TrustError
from onnxproof.pipeline import Bundle
from onnxproof.runtime.session import open_session
from onnxproof.wrappers.flat import take_apart

ROW = "float32[batch, 8] in -1..1"
EXPORTERS = pytest.mark.parametrize("exporter", ["torch.export", "torchscript"])
EITHER_EXPORTER = pytest.mark.parametrize(
    "exporter", [pytest.param("torch.export", marks=pytest.mark.slow), "torchscript"]
)
"""For what both exporters are given alike; torchscript takes a third of the time."""


class Net(nn.Module):
    """A layer, and a function that answers with it."""

    def __init__(self, run: Callable[["Net", Tensor], Any]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Linear(8, 8)
        self.scale = nn.Parameter(torch.rand(3))
        self.register_buffer("table", torch.arange(6.0).reshape(2, 3))
        self.run = run

    def forward(self, x: Tensor) -> Any:
        return self.run(self, x)


def exported(module: nn.Module, folder: Path, exporter: str, **given: Any) -> Bundle:
    return onnxproof.export_module(
        module.eval(),
        inputs=given.pop("inputs", {"x": ROW}),
        dims=given.pop("dims", {"batch": "1..3"}),
        out=folder / "bundle",
        set=("validate.effort=quick", "validate.threads=1", f"export.exporter={exporter}"),
        **given,
    )


def outputs_of(bundle: Bundle) -> list[str]:
    assert bundle.verdict is not None
    assert bundle.verdict.passed, [check for check in bundle.verdict.checks if check.status != "pass"]
    return [spec.name for spec in bundle.manifest.contract.outputs]


@dataclasses.dataclass
class Inner:
    box: Tensor
    kind: str = "xyxy"


@dataclasses.dataclass
class Outer:
    logits: Tensor
    inner: Inner
    states: tuple[Tensor, ...]
    loss: Tensor | None = None


class Slotted:
    __slots__ = ("_cache", "boxes")

    def __init__(self, boxes: Tensor) -> None:
        self.boxes = boxes
        self._cache = boxes


def many(net: Net, x: Tensor) -> Any:
    """Ways to return one tensor, an input, a parameter, a constant, a part of it and nothing."""
    y = net.layer(x)
    return {
        "y": y,
        "again": y,
        "part": y[:, :4],
        "turned": y.t(),
        "input": x,
        "slice": x[:, ::2],
        "parameter": net.scale,
        "buffer": net.table,
        "constant": torch.tensor([1.0, 2.0]),
        "sum": y.sum(),
        "size": torch.tensor(x.shape[0]),
        "class": y.argmax(1),
        "sign": y > 0,
        "short": (y * 100).to(torch.int16),
        "empty": y[:, :0],
        "x": x + 1,
        "a_b": x + 2,
        "a": {"b": x + 3},
        "left/right": x + 4,
        "n": x.shape[0],
        "name": "row",
        "none": None,
    }


@EXPORTERS
def test_whatever_a_module_returns_is_in_the_file(exporter: str, tmp_path: Path) -> None:
    net = Net(many)
    bundle = exported(net, tmp_path, exporter)
    assert outputs_of(bundle) == [
        *("y", "again", "part", "turned", "input", "slice", "parameter", "buffer", "constant", "sum", "size"),
        *("class", "sign", "short", "empty", "output_x", "a_b", "a_b_2", "left_right"),
    ]
    (note,) = [note for note in bundle.notes if "no tensors" in note]
    assert note.endswith("n (int), name (str), none (None)")
    assert bundle.verdict is not None
    assert note in bundle.verdict.notes
    x = torch.rand(2, 8)
    found = open_session(bundle.path / "model.onnx").run(None, {"x": x.numpy()})
    wanted = [tensor for _, tensor in take_apart(net(x)).tensors]
    for one, other in zip(found, wanted, strict=True):
        np.testing.assert_allclose(one, other.detach().numpy(), atol=1e-5)


CONTAINERS: Mapping[str, tuple[Callable[[Tensor], Any], str]] = {
    "nested": (lambda t: Outer(t, Inner(t), (t, t)), "logits inner_box states_0 states_1"),
    "a-mapping-that-is-no-dict": (lambda t: UserDict({"a": t}), "a"),
    "an-object": (lambda t: SimpleNamespace(boxes=t, mode="s", _t=t), "boxes"),
    "an-object-with-slots": (Slotted, "boxes"),
    "a-generator": (lambda t: (x for x in (t, t)), "output_0 output_1"),
    "keys-that-are-numbers": (lambda t: {0: t, 1: t}, "output_0 output_1"),
    "keys-and-values": (
        lambda t: (t, ((t, t), (t, t))),
        "output_0 output_1_0_0 output_1_0_1 output_1_1_0 output_1_1_1",
    ),
}
"""What a module returns, and the names of the outputs."""

OF_BOTH = ("nested", "an-object")
"""What CI captures by both exporters. Containers are taken apart before either begins."""


@pytest.mark.first_case
@pytest.mark.parametrize(
    ("exporter", "container"),
    [
        pytest.param(
            exporter,
            container,
            marks=() if exporter == "torchscript" or container in OF_BOTH else pytest.mark.long,
        )
        for exporter in ("torch.export", "torchscript")
        for container in CONTAINERS
    ],
)
def test_containers_are_taken_apart(exporter: str, container: str, tmp_path: Path) -> None:
    value, places = CONTAINERS[container]
    bundle = exported(Net(lambda net, x: value(net.layer(x))), tmp_path, exporter)
    assert outputs_of(bundle) == places.split()


def test_a_cache_and_a_model_output_of_transformers_are_taken_apart(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    outputs = pytest.importorskip("transformers.modeling_outputs")

    def run(net: Net, x: Tensor) -> Any:
        y = net.layer(x)
        layers = [(y[:, None, None], y[:, None, None] + 1), (y[:, None, None] + 2, y[:, None, None] + 3)]
        return outputs.CausalLMOutputWithPast(logits=y, past_key_values=transformers.DynamicCache(layers))

    bundle = exported(Net(run), tmp_path, "torchscript")
    prefix = "past_key_values_layers"
    assert outputs_of(bundle) == [
        "logits",
        *(f"{prefix}_{at}_{part}" for at in (0, 1) for part in ("keys", "values")),
    ]


def test_what_is_in_itself_is_taken_apart_once() -> None:
    loop: dict[str, Any] = {"t": torch.zeros(1)}
    loop["self"] = loop
    assert [place for place, _ in take_apart(loop).tensors] == [("t",)]


@EXPORTERS
def test_an_input_that_the_module_writes_into_stays_as_it_was(exporter: str, tmp_path: Path) -> None:
    bundle = exported(Net(lambda net, x: (net.layer(x), x.mul_(2).add_(1))), tmp_path, exporter)
    outputs_of(bundle)


@pytest.mark.parametrize(
    ("run", "words"),
    [
        pytest.param(
            lambda net, x: torch.fft.rfft(net.layer(x)), ["output is complex64", "view_as_real"], id="complex"
        ),
        pytest.param(
            lambda net, x: net.layer(x).to_sparse(), ["output is sparse_coo", ".to_dense()"], id="sparse"
        ),
        pytest.param(lambda net, x: {"a", "b"}, ["no tensor (set)", "return one"], id="nothing"),
        pytest.param(
            lambda net, x: list(net.layer(x)),
            ["1 tensors", "stack them"],
            id="a-list-of-the-batch",
        ),
        pytest.param(
            lambda net, x: {f"n{x.shape[0]}": x},
            ["returns n1 at the smallest", "n2 at larger"],
            id="a-name-of-the-batch",
        ),
    ],
)
def test_what_no_file_can_return_is_refused_by_name(run: Any, words: list[str], tmp_path: Path) -> None:
    with pytest.raises(OnnxproofError) as caught:
        exported(Net(run), tmp_path, "auto")
    for word in words:
        assert word in str(caught.value)


class Takes(nn.Module):
    """Tensors in a list, a tuple, a dict and a dataclass, by name only, optional, and plain values."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Linear(8, 8)

    def forward(
        self,
        levels: list[Tensor],
        pair: tuple[Tensor, Tensor],
        batch: dict[str, Any],
        inner: Inner,
        *more: Tensor,
        scale: Tensor,
        mask: Tensor | None = None,
        unused: Tensor | None = None,
        times: int = 1,
        mode: str = "add",
    ) -> Tensor:
        assert isinstance(levels, list)
        assert isinstance(pair, tuple)
        answer = self.layer(levels[0]) + levels[1].mean() + pair[0] - pair[1]
        answer = answer + batch["image"] * batch["inner"]["weights"][0] + inner.box
        for _ in range(times):
            answer = answer * scale
        if mask is not None:
            answer = answer.masked_fill(mask, 0.0)
        assert unused is None
        total: Tensor = answer + more[0] if mode == "more" else answer
        return total


TAKES = {
    "levels": [ROW, "float32[batch, 2, frames, 3, 3] in -1..1"],
    "pair": [ROW, ROW],
    "batch": {"image": ROW, "inner": {"weights": [ROW]}},
    "inner.box": ROW,
    "anything": ROW,
    "scale": "float32[] in 0.5..1.5",
    "mask": "bool[batch, 8]",
}


@EITHER_EXPORTER
def test_whatever_a_module_takes_becomes_an_input(exporter: str, tmp_path: Path) -> None:
    given = {
        "inputs": TAKES,
        "arguments": {"times": 2, "mode": "more", "inner": {"kind": "cxcywh"}},
        "dims": {"batch": "1..3", "frames": "2..4"},
    }
    bundle = exported(Takes(), tmp_path, exporter, **given)
    assert outputs_of(bundle) == ["output"]
    assert [spec.name for spec in bundle.manifest.contract.inputs] == [
        *("levels_0", "levels_1", "pair_0", "pair_1", "batch_image", "batch_inner_weights_0", "inner_box"),
        *("anything", "scale", "mask"),
    ]


def test_a_bundle_gives_texts_to_a_module_only_if_it_is_trusted(tmp_path: Path) -> None:
    module = Mode()
    bundle = exported(module, tmp_path, "torchscript", arguments={"mode": "twice"})
    with pytest.raises(TrustError, match=r"forward\(mode='twice'\)"):
        onnxproof.validate(bundle.path, model=module)
    assert onnxproof.validate(bundle.path, model=module, trust=True).passed


class Mode(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Linear(8, 8)

    def forward(self, x: Tensor, mode: str = "once") -> Tensor:
        y: Tensor = self.layer(x)
        return y * 2 if mode == "twice" else y


def test_a_plain_value_is_part_of_what_the_file_states(tmp_path: Path) -> None:
    bundle = exported(Mode(), tmp_path, "torchscript", arguments={"mode": "twice"})
    outputs_of(bundle)
    assert not onnxproof.validate(bundle.path, model=Mode(), trust=True, set=["arguments.mode=once"]).passed


class Counts(nn.Module):
    """Answers with a number that it computes of a number."""

    def forward(self, x: Tensor, count: Tensor) -> tuple[Tensor, Tensor]:
        return x * 2, count + 1


@EITHER_EXPORTER
@pytest.mark.parametrize("kind", ["int64[] in 1..3", "float32[] in 0..1"], ids=["whole", "float"])
def test_a_number_stays_without_axes(kind: str, exporter: str, tmp_path: Path) -> None:
    bundle = exported(Counts(), tmp_path, exporter, inputs={"x": ROW, "count": kind})
    assert bundle.verdict is not None
    assert bundle.verdict.passed, [check for check in bundle.verdict.checks if check.status != "pass"]
