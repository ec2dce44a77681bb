"""A pickled module that is another network than its tensors look like is refused, by the name of the part."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from onnxproof.errors import CheckpointError
from onnxproof.export.checkpoint import load_checkpoint
from onnxproof.wrappers.weights import load_weights


class Small(nn.Module):
    """A convolution with a norm, a pool and a layer."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, stride=2, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.act: nn.Module = nn.ReLU(inplace=True)
        self.pool: nn.Module = nn.MaxPool2d(2)
        self.drop: nn.Module = nn.Dropout(0.5)
        self.layer = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool(self.act(self.norm(self.conv(x))))
        found: Tensor = self.layer(self.drop(x.mean((2, 3))))
        return found


class Around(nn.Module):
    """Normalises in code of its own."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.net(x / 255 - 0.5)
        return found


Change = Callable[[Small], None]


def given(part: str, value: nn.Module) -> Change:
    return lambda net: setattr(net, part, value)


def told(part: str, **settings: object) -> Change:
    def change(net: Small) -> None:
        for name, value in settings.items():
            setattr(getattr(net, part), name, value)

    return change


WRONG: dict[str, Change] = {
    "act is SiLU, expected ReLU": given("act", nn.SiLU()),
    "pool is Identity, expected MaxPool2d": given("pool", nn.Identity()),
    "pool is AvgPool2d, expected MaxPool2d": given("pool", nn.AvgPool2d(2)),
}
IN_SETTINGS: dict[str, Change] = {
    "norm has eps = 0.001, expected 1e-05": told("norm", eps=1e-3),
    r"conv has stride = \(1, 1\), expected \(2, 2\)": told("conv", stride=(1, 1)),
    r"conv has dilation = .* \(and 1 more\)": told("conv", padding_mode="reflect", dilation=(2, 2)),
}
HARMLESS: dict[str, Change] = {
    "as it is": told("conv"),
    "not in place": given("act", nn.ReLU()),
    "another dropout": given("drop", nn.Identity()),
    "another momentum": told("norm", momentum=0.5),
    "one number for two": told("conv", stride=2),
}


def read(file: Path) -> tuple[str, ...]:
    """The notes on a checkpoint of a ``Small``."""
    checkpoint = load_checkpoint(file)
    load_weights(Small(), checkpoint, "small", "is it?")
    return tuple(checkpoint.notes)


def changed(change: Change) -> Small:
    net = Small().eval()
    change(net)
    return net


@pytest.mark.parametrize("says", WRONG | IN_SETTINGS)
def test_another_network_is_refused(says: str, tmp_path: Path) -> None:
    net = changed((WRONG | IN_SETTINGS)[says])
    for name, held in {"net": net, "under-a-key": {"model": net}, "parallel": nn.DataParallel(net)}.items():
        torch.save(held, tmp_path / name)
        with pytest.raises(CheckpointError, match=f"pickled from another network than small: {says}"):
            read(tmp_path / name)
    torch.save(net.state_dict(), tmp_path / "tensors")
    assert read(tmp_path / "tensors") == ()


@pytest.mark.filterwarnings("ignore:.torch.jit.*is deprecated")
@pytest.mark.parametrize("says", WRONG)
def test_an_archive_of_torchscript_too(says: str, tmp_path: Path) -> None:
    net = changed(WRONG[says])
    made: tuple[Any, ...] = (torch.jit.script(net), torch.jit.trace(net, torch.rand(1, 3, 8, 8)))  # type: ignore[no-untyped-call]
    for one in made:
        one.save(str(tmp_path / "net.pt"))
        with pytest.raises(CheckpointError, match=says):
            read(tmp_path / "net.pt")


@pytest.mark.parametrize("change", HARMLESS)
def test_what_computes_the_same_is_read(change: str, tmp_path: Path) -> None:
    torch.save(changed(HARMLESS[change]), tmp_path / "net.pt")
    assert read(tmp_path / "net.pt") == ()


@pytest.mark.filterwarnings("ignore:.torch.jit.*is deprecated")
def test_code_around_the_network_is_told(tmp_path: Path) -> None:
    around = Around(Small()).eval()
    torch.save(around, tmp_path / "net.pt")
    prefix, note = read(tmp_path / "net.pt")
    assert prefix.startswith('the prefix "net." was taken off')
    assert note == (
        f"the checkpoint names classes whose own code was not run: {__name__}.Around, around the network"
    )
    torch.jit.script(around).save(str(tmp_path / "net.pt"))  # type: ignore[no-untyped-call]
    _, scripted, note = read(tmp_path / "net.pt")
    assert "archive of TorchScript, whose code was not read: the network is small by its classes" in scripted
    assert "Around, around the network" in note


class Own(nn.ReLU):
    """An activation with code of its own."""


def test_a_class_of_its_own_is_told(tmp_path: Path) -> None:
    torch.save(changed(given("act", Own())), tmp_path / "net.pt")
    (note,) = read(tmp_path / "net.pt")
    assert note.endswith(f"{__name__}.Own in place of torch.nn.modules.activation.ReLU (act)")
