"""The forms in which frameworks save a checkpoint, each written here as its framework writes it."""

import argparse
import collections
import datetime
import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from safetensors.torch import save_file, save_model
from torch import Tensor, nn

State = dict[str, Tensor]


UNREAD = "the checkpoint is an archive of TorchScript, whose code was not read"


class Network(nn.Module):
    """A convolution, a norm, and a table of words that is its last layer too."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU())
        self.words = nn.Embedding(5, 4)
        self.scores = nn.Linear(4, 5, bias=False)
        self.scores.weight = self.words.weight

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        """Scores of words, [batch, 5]."""
        found: torch.Tensor = self.scores(self.features(pictures).mean((2, 3)) + self.words.weight[0])
        return found


class Settings(dict[str, Any]):
    """A dict of a class of its own, as Lightning keeps hyperparameters."""


class Options:
    """Settings as attributes."""

    def __init__(self) -> None:
        self.path, self.when = Path("runs/1"), datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)


def seeded(seed: int) -> Network:
    """A network in evaluation mode whose norm has statistics."""
    torch.manual_seed(seed)
    network = Network()
    nn.init.uniform_(network.features[1].get_buffer("running_mean"))
    return network.eval()


def under(prefix: str, state: State) -> State:
    """The tensors with a prefix before their names."""
    return {prefix + name: tensor for name, tensor in state.items()}


def optimizer() -> Any:
    """What an optimizer saves: tensors that are no weights."""
    weight = nn.Parameter(torch.zeros(2))
    made = torch.optim.AdamW([weight])
    weight.grad = torch.ones(2)
    made.step()
    return made.state_dict()


class Trained(NamedTuple):
    """The weights that a framework would deploy, those that it would not, and the folder to save them in."""

    net: Network
    other: Network
    folder: Path

    @property
    def state(self) -> State:
        """The state dict that would be deployed."""
        return dict(self.net.state_dict())

    @property
    def others(self) -> State:
        """The state dict that would not."""
        return dict(self.other.state_dict())

    def save(self, name: str, content: Any, **how: Any) -> Path:
        """Write a file of ``torch.save``."""
        torch.save(content, self.folder / name, **how)
        return self.folder / name


class Form(NamedTuple):
    """``write`` returns the path that a user gives. ``note`` is what onnxproof has to say; "" is nothing."""

    what: str
    framework: str
    write: Callable[[Trained], Path]
    note: str = ""


def sharded(of: Trained) -> Path:
    shards: dict[str, list[str]] = {
        "model-00001-of-00002.safetensors": [],
        "model-00002-of-00002.safetensors": [],
    }
    for at, name in enumerate(name for name in of.state if name != "scores.weight"):
        shards[list(shards)[at % 2]].append(name)
    for file, names in shards.items():
        save_file({name: of.state[name] for name in names}, of.folder / file, {"format": "pt"})
    weight_map = {name: file for file, names in shards.items() for name in names}
    index = {"metadata": {"total_size": 1}, "weight_map": weight_map}
    (of.folder / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")
    (of.folder / "config.json").write_text("{}", encoding="utf-8")
    torch.save(optimizer(), of.folder / "optimizer.pt")
    torch.save(Options(), of.folder / "training_args.bin")
    return of.folder


def tied(of: Trained) -> Path:
    save_model(of.net, str(of.folder / "model.safetensors"))
    return of.folder / "model.safetensors"


def safetensors(of: Trained) -> Path:
    save_file({name: tensor.clone() for name, tensor in of.state.items()}, of.folder / "best.safetensors")
    return of.folder / "best.safetensors"


def scripted(of: Trained) -> Path:
    torch.jit.script(of.net).save(str(of.folder / "net.pt"))  # type: ignore[no-untyped-call]
    return of.folder / "net.pt"


def traced(of: Trained) -> Path:
    made: Any = torch.jit.trace(of.net, torch.zeros(1, 3, 8, 8))  # type: ignore[no-untyped-call]
    made.save(str(of.folder / "net.pt"))
    return of.folder / "net.pt"


def arrays(of: Trained) -> dict[str, Any]:
    return {name: tensor.numpy() for name, tensor in of.state.items()}


def pickled(of: Trained, content: Any) -> Path:
    (of.folder / "model.pkl").write_bytes(pickle.dumps(content, protocol=2))
    return of.folder / "model.pkl"


def archived(of: Trained) -> Path:
    np.savez(of.folder / "net.npz", **arrays(of))
    return of.folder / "net.npz"


FORMS = (
    Form("state dict", "PyTorch", lambda of: of.save("net.pth", of.state)),
    Form(
        "state dict, from before PyTorch 1.6",
        "PyTorch",
        lambda of: of.save("net.pth", of.state, _use_new_zipfile_serialization=False),
    ),
    Form("whole module, `torch.save(model)`", "PyTorch", lambda of: of.save("net.pt", of.net)),
    Form("archive of `torch.jit.save`, scripted", "TorchScript", scripted, UNREAD),
    Form("archive of `torch.jit.save`, traced", "TorchScript", traced, UNREAD),
    Form(
        "`model_state_dict` beside an optimizer",
        "PyTorch's tutorials",
        lambda of: of.save(
            "epoch3.pt",
            {"epoch": 3, "model_state_dict": of.state, "optimizer_state_dict": optimizer(), "loss": 0.5},
        ),
    ),
    Form(
        "`state_dict` in a `.pth.tar`",
        "PyTorch's ImageNet example",
        lambda of: of.save(
            "model_best.pth.tar",
            {"arch": "x", "state_dict": under("module.", of.state), "best_acc1": torch.tensor(70.0)},
        ),
        'the prefix "module." was taken off',
    ),
    Form(
        "names that begin with `module.`",
        "DataParallel, DDP",
        lambda of: of.save("net.pth", under("module.", of.state)),
        'the prefix "module." was taken off',
    ),
    Form(
        "names that begin with `_orig_mod.`",
        "torch.compile",
        lambda of: of.save("net.pth", under("_orig_mod.", of.state)),
        'the prefix "_orig_mod." was taken off',
    ),
    Form(
        "both, one in the other",
        "DDP of torch.compile",
        lambda of: of.save("net.pth", under("module._orig_mod.", of.state)),
        'the prefix "module._orig_mod." was taken off',
    ),
    Form(
        "no `num_batches_tracked`",
        "PyTorch before 0.4.1",
        lambda of: of.save("net.pth", {k: v for k, v in of.state.items() if "num_batches" not in k}),
    ),
    Form("safetensors", "safetensors", safetensors),
    Form("safetensors, tied tensors left out", "safetensors", tied),
    Form("folder with shards and their index", "Hugging Face", sharded, "scores.weight: not stored"),
    Form(
        "`pytorch_model.bin` in a folder",
        "Hugging Face",
        lambda of: of.save("pytorch_model.bin", of.state).parent,
    ),
    Form(
        "`state_dict` of a LightningModule, with a loss of its own",
        "Lightning",
        lambda of: of.save(
            "last.ckpt",
            {
                "state_dict": under("net.", of.state) | {"loss.weight": torch.ones(5)},
                "hyper_parameters": Settings(lr=0.1, options=Options()),
                "pytorch-lightning_version": "2.5.0",
                "optimizer_states": [optimizer()],
                "callbacks": {"checkpoint": {"best": Path("last.ckpt")}},
            },
        ),
        'the prefix "net." was taken off the names in the checkpoint (loss.weight without it are left out)',
    ),
    Form(
        "`state_dict` and `state_dict_ema`",
        "timm",
        lambda of: of.save(
            "model_best.pth.tar",
            {"state_dict": of.others, "state_dict_ema": of.state, "args": argparse.Namespace(lr=1)},
        ),
        'the one under "state_dict_ema" (averaged over the training) is used, not "state_dict"',
    ),
    Form(
        "`model` and `ema.module`",
        "RT-DETR",
        lambda of: of.save("last.pth", {"model": of.others, "ema": {"module": of.state, "updates": 3}}),
        'the one under "ema.module" (averaged over the training) is used, not "model"',
    ),
    Form(
        "`params` and `params_ema`",
        "BasicSR",
        lambda of: of.save("net_g.pth", {"params": of.others, "params_ema": of.state}),
        'the one under "params_ema" (averaged over the training) is used, not "params"',
    ),
    Form(
        "pickled module in half precision",
        "Ultralytics",
        lambda of: of.save(
            "best.pt",
            {
                "epoch": -1,
                "ema": None,
                "model": seeded(0).half(),
                "train_args": {"lr": 0.1},
                "date": Options(),
            },
        ),
        "in half precision",
    ),
    Form(
        "pickled modules, raw and averaged",
        "Ultralytics, while it trains",
        lambda of: of.save("last.pt", {"model": of.other, "ema": of.net, "updates": 7}),
        'the one under "ema" (averaged over the training) is used, not "model"',
    ),
    Form(
        "`state_dict` and `ema_state_dict`, which are swapped",
        "mmengine",
        lambda of: of.save(
            "epoch_12.pth",
            {
                "meta": {"epoch": 12, "time": datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)},
                "state_dict": of.state,
                "ema_state_dict": of.others,
                "message_hub": {"log": Options(), "last": collections.deque([1, 2], 3)},
            },
        ),
        'the one under "state_dict" (averaged over the training) is used, not "ema_state_dict"',
    ),
    Form(
        "`model` beside scores in NumPy",
        "detectron2, YOLOX",
        lambda of: of.save(
            "model_final.pth",
            {"model": of.state, "iteration": 9, "best": np.float64(0.4), "all": np.zeros(3)},
        ),
    ),
    Form(
        "`model`, a pickle of NumPy arrays",
        "Detectron, its model zoo",
        lambda of: pickled(of, {"model": arrays(of), "__author__": "zoo"}),
        "the checkpoint's weights are NumPy arrays",
    ),
    Form("`.npz`", "NumPy", archived, "the checkpoint's weights are NumPy arrays"),
    Form(
        "`module` beside the state of ZeRO",
        "DeepSpeed",
        lambda of: of.save("mp_rank_00_model_states.pt", {"module": of.state, "dp_world_size": 8}),
    ),
    Form(
        "`teacher.` and `student.` in one state dict",
        "self-distillation",
        lambda of: of.save("net.pth", under("teacher.", of.state) | under("student.", of.others)),
        "holds the weights 2 times",
    ),
)
