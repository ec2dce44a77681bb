"""Every form in which frameworks save a checkpoint is read, and the weights are those they would deploy."""

import copy
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from checkpoint_forms import FORMS, Form, Network, Trained, seeded, under
from torch import nn
from torchvision import models

from onnxproof.errors import CheckpointError
from onnxproof.export import pickled
from onnxproof.export.checkpoint import load_checkpoint
from onnxproof.wrappers.weights import load_weights, notes_on

DOCS = Path(__file__).parents[2] / "docs" / "checkpoints.md"
ADVICE = "is it right?"


@pytest.fixture
def trained(tmp_path: Path) -> Trained:
    return Trained(seeded(0), seeded(1), tmp_path)


def alike(a: nn.Module, b: nn.Module, within: float = 0.0) -> bool:
    states = a.state_dict(), b.state_dict()
    assert states[0].keys() == states[1].keys()
    return all(torch.allclose(states[0][name], states[1][name], rtol=0, atol=within) for name in states[0])


def read(path: Path, weights: str = "auto") -> tuple[Network, list[str]]:
    checkpoint = load_checkpoint(path, weights=weights)
    network = load_weights(seeded(2), checkpoint, "the network", ADVICE)
    assert isinstance(network, Network)
    return network, [*checkpoint.notes, *notes_on(checkpoint.state_dict)]


@pytest.mark.filterwarnings("ignore:.torch.jit.*is deprecated")
@pytest.mark.parametrize("form", FORMS, ids=[f"{form.framework}: {form.what}" for form in FORMS])
def test_a_form_is_read(form: Form, trained: Trained) -> None:
    network, notes = read(form.write(trained))
    assert alike(network, trained.net, 1e-3 if "half" in form.what else 0)
    assert not alike(network, trained.other, 1e-3)
    said = "; ".join(notes)
    assert form.note in said
    assert bool(form.note) == bool(said), said


def test_the_page_has_a_row_for_each() -> None:
    page = DOCS.read_text(encoding="utf-8")
    for form in FORMS:
        assert f"| {form.framework} | {form.what} | {form.note.replace('|', '/')} |" in page


@pytest.mark.parametrize(
    ("content", "weights"),
    [
        pytest.param(lambda of: {"model": of.state, "ema": {"module": of.others}}, "raw", id="raw"),
        pytest.param(lambda of: {"model": of.others, "ema": {"module": of.state}}, "ema", id="ema"),
        pytest.param(lambda of: {"model": of.state, "ema": of.others}, "model", id="the-key"),
        pytest.param(lambda of: {"a": of.others, "b": {"c": of.state}}, "b.c", id="keys"),
        pytest.param(
            lambda of: under("teacher.", of.others) | under("student.", of.state), "student", id="the-prefix"
        ),
        pytest.param(
            lambda of: under("teacher.", of.others) | under("student.", of.state), "raw", id="raw-by-prefix"
        ),
    ],
)
def test_the_job_chooses(content: object, weights: str, trained: Trained) -> None:
    assert callable(content)
    network, _ = read(trained.save("net.pth", content(trained)), weights)
    assert alike(network, trained.net)


@pytest.mark.parametrize("weights", ["raw", "ema", "c"])
def test_a_choice_that_is_not_there_is_refused(weights: str, trained: Trained) -> None:
    file = trained.save("net.pth", {"a": trained.state, "b": trained.others})
    says = r'2 sets of weights \("a", "b"\), and model.weights = .* with --set model.weights=NAME'
    with pytest.raises(CheckpointError, match=says):
        load_checkpoint(file, weights=weights)


@pytest.mark.parametrize(
    ("content", "weights", "says"),
    [
        pytest.param(lambda of: of.state, "ema", 'once, and model.weights = "ema" chooses none', id="ema"),
        pytest.param(lambda of: {"model": of.state}, "ema", "once, .*: leave it out", id="ema-of-a-key"),
        pytest.param(lambda of: of.state, "netG", 'weights = "netG" chooses none of them: leave', id="a-key"),
        pytest.param(
            lambda of: under("ema.", of.state), "raw", 'once, under the prefix "ema."', id="raw-of-an-average"
        ),
        pytest.param(
            lambda of: under("a.", of.state) | under("b.", of.others), "auto", "is not in the model", id="two"
        ),
        pytest.param(
            lambda of: under("net.", of.state) | under("network.", of.others),
            "auto",
            r'2 times, under the prefixes "net.", "network.", .* chooses 2',
            id="two-wrappers",
        ),
    ],
)
def test_one_set_is_not_taken_for_another(content: object, weights: str, says: str, trained: Trained) -> None:
    assert callable(content)
    file = trained.save("net.pth", content(trained))
    with pytest.raises(CheckpointError, match=says):
        read(file, weights)


@pytest.mark.parametrize("weights", ["raw", "model"])
def test_the_only_set_may_be_named(weights: str, trained: Trained) -> None:
    assert alike(read(trained.save("net.pth", {"model": trained.state}), weights)[0], trained.net)


def test_weights_that_are_averaged_are_not_taken_for_raw(trained: Trained) -> None:
    file = trained.save("net.pth", {"model": trained.state, "ema": trained.others})
    moved = copy.deepcopy(trained.net)
    nn.init.ones_(moved.words.weight)
    assert not alike(read(file)[0], moved)
    assert alike(read(file)[0], trained.other)


def test_a_prefix_of_the_network_is_put_before_the_names(trained: Trained) -> None:
    class Outer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = seeded(2)

    checkpoint = load_checkpoint(trained.save("net.pth", trained.state))
    outer = load_weights(Outer(), checkpoint, "the network", ADVICE)
    assert isinstance(outer, Outer)
    assert alike(outer.model, trained.net)
    assert checkpoint.notes == ['the names in the checkpoint got the prefix "model." of the network']


def test_a_part_of_another_network_is_not_taken_for_it(trained: Trained) -> None:
    """A lone layer fits under the prefix of many networks; only a wrapper may have names beside it."""
    file = trained.save(
        "net.pth", {**trained.state, "first.weight": torch.ones(2, 2), "first.bias": torch.ones(2)}
    )
    with pytest.raises(CheckpointError, match="does not fit a layer: "):
        load_weights(nn.Linear(2, 2), load_checkpoint(file), "a layer", ADVICE)


def test_what_does_not_fit_is_told_by_both_sides(trained: Trained) -> None:
    state = {name: tensor for name, tensor in trained.state.items() if name != "features.0.bias"}
    file = trained.save("net.pth", under("module.", state))
    with pytest.raises(CheckpointError) as refused:
        load_weights(Network(), load_checkpoint(file), "the network", ADVICE)
    said = str(refused.value)
    assert "features.0.bias is missing; " in said
    assert "the checkpoint holds 8 tensors (features.0.weight [4, 3, 3, 3], " in said
    assert "expected 9 tensors (features.0.weight [4, 3, 3, 3], " in said
    assert said.endswith(ADVICE)


@pytest.mark.parametrize(
    ("made", "says"),
    [
        pytest.param(
            lambda: models.resnet18(), "by their names a ResNet of torchvision or timm", id="resnet"
        ),
        pytest.param(lambda: models.mobilenet_v3_small(), "by their names a MobileNet", id="mobilenet"),
        pytest.param(lambda: seeded(1).features, "the checkpoint holds 7 tensors", id="unknown"),
    ],
)
def test_the_likely_architecture_is_told(made: Callable[[], nn.Module], says: str, trained: Trained) -> None:
    file = trained.save("net.pth", made().state_dict())
    with pytest.raises(CheckpointError, match=says):
        load_weights(Network(), load_checkpoint(file), "the network", ADVICE)


def test_a_shard_that_is_missing_is_named(trained: Trained) -> None:
    folder = next(form for form in FORMS if "shards" in form.what).write(trained)
    (folder / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"names model-00002-of-00002\.safetensors, which is not there"):
        load_checkpoint(folder)


def test_an_index_does_not_lead_out_of_its_folder(trained: Trained) -> None:
    index = trained.folder / "model.safetensors.index.json"
    index.write_text('{"weight_map": {"a": "../secret.safetensors"}}', encoding="utf-8")
    with pytest.raises(
        CheckpointError, match=r"names the file \.\./secret\.safetensors, which is not beside it"
    ):
        load_checkpoint(trained.folder)


def test_a_damaged_archive_is_refused(trained: Trained) -> None:
    file = trained.save("net.pth", trained.state)
    weights = trained.state["features.0.weight"].numpy().tobytes()
    content = file.read_bytes()
    assert content.count(weights) == 1
    file.write_bytes(content.replace(weights, bytes([weights[0] ^ 1]) + weights[1:]))
    with pytest.raises(CheckpointError, match=r"is damaged: its part .*data/\d+ is not what was saved"):
        load_checkpoint(file)


def test_an_archive_without_checksums_is_read(trained: Trained) -> None:
    torch.serialization.set_crc32_options(False)
    try:
        file = trained.save("net.pth", trained.state)
    finally:
        torch.serialization.set_crc32_options(True)
    assert alike(read(file)[0], trained.net)


@pytest.mark.parametrize("shared", [lambda held: {"a": held, "b": held}, lambda held: [held, held]])
def test_what_is_held_many_times_is_looked_at_once(shared: Callable[[Any], Any], tmp_path: Path) -> None:
    held: Any = 3
    for _ in range(40):  # 2^40 ways lead to the number
        held = shared(held)
    file = tmp_path / "net.pt"
    torch.save({"weight": torch.ones(2), "beside": held}, file)
    assert list(load_checkpoint(file).state_dict) == ["weight"]


def test_an_archive_that_unpacks_into_far_more_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pickled, "SMALL_UNPACKED", 1000)
    bomb = tmp_path / "bomb.pt"
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/version", "3")
        archive.writestr("archive/data.pkl", bytes(10**6))
    with pytest.raises(CheckpointError, match=r"takes 0\.0 MB and unpacks into 1 MB"):
        load_checkpoint(bomb)
    whole = tmp_path / "whole.pt"
    torch.save({"weight": torch.ones(2000)}, whole)
    assert list(load_checkpoint(whole).state_dict) == ["weight"]
