"""Checkpoints of Ultralytics' networks as its trainer writes them, seeded and calibrated."""

from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from ultralytics.nn import tasks

from onnxproof.wrappers.ultralytics.networks import KINDS, quiet

NAMES = ("cat", "dog", "bird")
SCENE = Path(__file__).parents[2] / "examples/digits/images/scene-01.png"


def network_of(kind: str, variant: str, classes: int = len(NAMES), **changes: Any) -> Any:
    """A seeded network whose normalisations are those of real pictures, and which finds something."""
    torch.manual_seed(0)
    with quiet():
        load: Any = tasks.yaml_model_load
        config = {**load(f"{variant}.yaml"), **changes}
        network = getattr(tasks, KINDS[kind].network)(config, ch=3, nc=classes, verbose=False)
    calibrate(network, pictures())
    head = network.model[-1]
    random = torch.Generator().manual_seed(1)
    for name in ("cv3", "one2one_cv3"):
        for level in getattr(head, name, ()):
            nn.init.normal_(level[-1].weight, std=0.4, generator=random)
            nn.init.constant_(level[-1].bias, -3.0)
    if kind == "rtdetr":
        for layer in (head.enc_score_head, *head.dec_score_head):
            nn.init.normal_(layer.weight, std=0.2, generator=random)
            nn.init.constant_(layer.bias, -2.0)
    network.names = dict(enumerate(NAMES[:classes]))
    return network.eval()


def pictures(size: int = 128) -> Tensor:
    """Four crops of a real scene [4, 3, size, size] in [0, 1]."""
    pixels = np.asarray(Image.open(SCENE).convert("RGB").resize((2 * size, 2 * size)))
    tensor = torch.from_numpy(pixels.copy()).permute(2, 0, 1) / 255
    return torch.stack([tensor[:, y : y + size, x : x + size] for y in (0, size) for x in (0, size)])


def calibrate(network: nn.Module, inputs: Tensor) -> None:
    """Let every batch norm know the statistics of its inputs."""
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = None
        norm.reset_running_stats()
        norm.train()
    network.eval()
    for norm in norms:
        norm.train()
    with torch.no_grad():
        network(inputs)
    for norm in norms:
        norm.momentum = 0.03


def save_best(folder: Path, network: Any, kind: str, size: int = 96) -> Path:
    """``best.pt`` as the trainer writes it: the averaged module in half precision, its settings beside it."""
    file = folder / "best.pt"
    torch.save(
        {
            "epoch": -1,
            "best_fitness": np.float64(0.5),
            "model": None,
            "ema": deepcopy(network).half(),
            "updates": 12,
            "optimizer": None,
            "train_args": {"task": "detect" if kind == "rtdetr" else kind, "imgsz": size, "lr0": 0.01},
            "train_metrics": {"fitness": 0.5},
            "date": "2026-01-01T00:00:00",
            "version": "8.4.0",
        },
        file,
    )
    return file


def job_of(file: Path, *lines: str) -> Path:
    """A job beside the checkpoint; ``lines`` are added."""
    job = file.parent / "job.toml"
    text = ['name = "yolo"', "[model]", 'family = "ultralytics"', f'checkpoint = "{file.name}"', *lines]
    job.write_text("\n".join(text), encoding="utf-8")
    return job


def settings(*more: str) -> Sequence[str]:
    """Overrides for a quick run on a real picture."""
    return (f"validate.images={SCENE}", "validate.effort=quick", "validate.threads=1", *more)
