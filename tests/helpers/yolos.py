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
    inputs = pictures(160 if kind == "rtdetr" else 96)
    calibrate(network, inputs)
    head = network.model[-1]
    layers = [level[-1] for name in ("cv3", "one2one_cv3") for level in getattr(head, name, ())]
    if kind == "rtdetr":
        layers = [head.enc_score_head, *head.dec_score_head]
    spread_logits(network, layers, inputs)
    shrink_boxes(head)
    network.names = dict(enumerate(NAMES[:classes]))
    return network.eval()


def pictures(size: int = 96) -> Tensor:
    """Crops of a real scene, the whole of it, noise and grey: float [10, 3, size, size] in [0, 1].

    They differ as much as the inputs of a run do; a network calibrated on less answers the others with noise.
    """
    scene = Image.open(SCENE).convert("RGB")
    large, small = (np.asarray(scene.resize((side, side))) / np.float32(255) for side in (2 * size, size))
    crops = [large[y : y + size, x : x + size] for y in (0, size) for x in (0, size)]
    random = np.random.default_rng(0)
    noise = [random.uniform(0, 1, (size, size, 3)).astype(np.float32) for _ in range(3)]
    grey = [np.full((size, size, 3), level, np.float32) for level in (0, 1)]
    return torch.from_numpy(np.stack([*crops, small, *noise, *grey])).permute(0, 3, 1, 2)


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


def spread_logits(network: nn.Module, layers: Sequence[Any], inputs: Tensor) -> None:
    """Let class logits on the scene be about 1.5 around -2, so that scores are seldom equal or saturated."""
    random = torch.Generator().manual_seed(1)
    seen: dict[Any, Tensor] = {}
    hooks = []
    for layer in layers:
        nn.init.normal_(layer.weight, generator=random)
        nn.init.zeros_(layer.bias)
        hooks.append(layer.register_forward_hook(lambda layer, _, logits: seen.update({layer: logits})))
    with torch.no_grad():
        network(inputs)
        for layer, all_logits in seen.items():
            logits = all_logits[:5]  # of the scene
            spread = 1.5 / logits.std()
            layer.weight *= spread
            layer.bias -= 2 + spread * logits.mean((0, 2, 3) if logits.ndim == 4 else (0, 1))
    for hook in hooks:
        hook.remove()


def shrink_boxes(head: Any) -> None:
    """Let boxes be a few cells wide: fresh heads cover the whole picture, and NMS leaves one box."""
    for name in ("cv2", "one2one_cv2"):
        for level in getattr(head, name, None) or ():
            bins = level[-1].bias.numel() // 4
            if bins > 1:  # a distance is the mean of a distribution over so many cells
                level[-1].bias.data = -torch.arange(bins, dtype=torch.float32).repeat(4)


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
