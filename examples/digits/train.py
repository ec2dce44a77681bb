"""Train the demo's YOLOX-nano on scenes of handwritten digits, on one CPU thread.

python examples/digits/train.py --out examples/digits/yolox
"""

import argparse
import copy
import json
import math
import time
from pathlib import Path

import numpy as np
import torch
from objective import Targets, decode, loss
from scenes import MAX_DIGITS, Scene, compose, load_backgrounds, load_scans
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from onnxproof.wrappers.families.yolox import build_network

CHECKPOINT = "yolox_nano.pth"
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of R, G, B in 0..1: the usual ImageNet figures."""

SIZES = (160, 192, 224)
"""Heights and widths of training batches in pixels, multiples of the coarsest stride."""

PADDED_SHARE = 0.25
"""Share of training pictures that fill only a part of the frame, as pictures of any size do in use."""

PADDING = (0, 114)
"""Grey levels, of 255, around such pictures."""

OBJECT_PRIOR = 0.01
"""Share of cells that an untrained network calls a digit: it keeps the first steps calm."""

WARM_UP_STEPS = 300
EMA_DECAY = 0.9985
GRADIENT_LIMIT = 10.0
SAVE_EVERY = 250

COLOURS = (
    (0.90, 0.10, 0.12),
    (0.24, 0.71, 0.29),
    (0.26, 0.39, 0.85),
    (0.96, 0.51, 0.19),
    (0.57, 0.12, 0.71),
    (0.27, 0.94, 0.94),
    (0.94, 0.20, 0.90),
    (0.75, 0.94, 0.27),
    (0.60, 0.39, 0.14),
    (1.00, 0.88, 0.10),
)
"""R, G, B in 0..1 for the digits 0 to 9."""


class SceneBatches(Dataset[tuple[Tensor, Targets]]):
    """Batch number i is a function of the seed and i alone, whichever worker makes it."""

    def __init__(self, seed: int, steps: int, batch: int, sizes: tuple[int, ...] = SIZES) -> None:
        self.seed, self.steps, self.batch, self.sizes = seed, steps, batch, sizes
        self.scans, self.photos = load_scans("train"), load_backgrounds("train")

    def __len__(self) -> int:
        return self.steps

    def __getitem__(self, step: int) -> tuple[Tensor, Targets]:
        """Pictures, uint8 [B, 3, H, W], and what they show."""
        rng = np.random.default_rng((self.seed, step))
        height, width = (int(side) for side in rng.choice(self.sizes, 2))
        scenes = [self.scene(rng, height, width) for _ in range(self.batch)]
        frames = np.full((self.batch, height, width, 3), rng.choice(PADDING), dtype=np.uint8)
        for frame, scene in zip(frames, scenes, strict=True):
            frame[: scene.image.height, : scene.image.width] = np.asarray(scene.image)
        return torch.from_numpy(frames).permute(0, 3, 1, 2), gather(scenes)

    def scene(self, rng: np.random.Generator, height: int, width: int) -> Scene:
        """One scene that fills the frame, or most of it."""
        if rng.random() < PADDED_SHARE:
            height, width = height - int(rng.integers(0, 64)), width - int(rng.integers(0, 64))
        return compose(rng, self.scans, self.photos, height, width)


def gather(scenes: list[Scene]) -> Targets:
    """The scenes' digits, filled up with boxes far outside the picture."""
    boxes = torch.full((len(scenes), MAX_DIGITS, 4), -1e4)
    labels = torch.zeros(len(scenes), MAX_DIGITS, dtype=torch.int64)
    real = torch.zeros(len(scenes), MAX_DIGITS, dtype=torch.bool)
    for row, scene in enumerate(scenes):
        n = len(scene.labels)
        boxes[row, :n] = torch.from_numpy(scene.boxes)
        labels[row, :n] = torch.from_numpy(scene.labels)
        real[row, :n] = True
    return Targets(boxes, labels, real)


def normalise(pictures: Tensor) -> Tensor:
    """uint8 [B, 3, H, W] to the network's input, float32 of the same shape."""
    return (pictures / 255.0 - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None]


def learning_rate_factor(step: int, steps: int) -> float:
    """Linear warm-up, then half a cosine down to 1 % of the peak."""
    warm_up = min(WARM_UP_STEPS, steps // 5 + 1)
    if step < warm_up:
        return (step + 1) / warm_up
    return 0.01 + 0.99 * 0.5 * (1.0 + math.cos(math.pi * (step - warm_up) / max(steps - warm_up, 1)))


@torch.no_grad()
def average(into: nn.Module, network: nn.Module, step: int) -> None:
    """Move `into` a little towards `network`; faster in the first steps, while it holds nothing of worth."""
    keep = min(EMA_DECAY, (step + 1) / (step + 20))
    current = network.state_dict()
    for name, value in into.state_dict().items():
        if value.is_floating_point():
            value.lerp_(current[name], 1.0 - keep)
        else:
            value.copy_(current[name])


def save(network: nn.Module, out: Path) -> None:
    """Write the checkpoint folder: weights, colour map and normalisation."""
    out.mkdir(parents=True, exist_ok=True)
    # Weights trained channels-last keep those strides in the file unless they are laid out anew.
    plain = torch.contiguous_format
    state = {name: value.clone(memory_format=plain) for name, value in network.state_dict().items()}
    partial = out / f"{CHECKPOINT}.partial"
    torch.save(state, partial)
    partial.replace(out / CHECKPOINT)
    items = [{"label": str(digit), "color": list(colour)} for digit, colour in enumerate(COLOURS)]
    (out / "digits-colormap.json").write_text(json.dumps({"items": items}, indent=1) + "\n", encoding="utf-8")
    stats = {"mean": list(MEAN), "std_dev": list(STD)}
    (out / "norm_stats.json").write_text(json.dumps(stats, indent=1) + "\n", encoding="utf-8")


def new_network(variant: str = "nano") -> nn.Module:
    """An untrained network that calls few cells a digit."""
    network: nn.Module = build_network(variant, 10)
    for name, parameter in network.named_parameters():
        if "multi_level_conv_obj" in name and name.endswith("bias"):
            nn.init.constant_(parameter, -math.log((1.0 - OBJECT_PRIOR) / OBJECT_PRIOR))
    return network


def make_optimizer(network: nn.Module, rate: float, decay: float) -> torch.optim.Optimizer:
    """AdamW; biases and batch-norm's parameters are vectors and are not decayed."""
    matrices = [p for p in network.parameters() if p.ndim > 1]
    vectors = [p for p in network.parameters() if p.ndim <= 1]
    groups = [{"params": matrices, "weight_decay": decay}, {"params": vectors, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=rate)


def train(seed: int, steps: int, batch: int, rate: float, out: Path) -> None:
    """Train and save; a checkpoint is written every few hundred steps."""
    torch.manual_seed(seed)
    network = new_network().to(memory_format=torch.channels_last).train()
    averaged = copy.deepcopy(network).eval()
    optimizer = make_optimizer(network, rate, decay=0.02)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: learning_rate_factor(step, steps))
    loader = DataLoader(SceneBatches(seed, steps, batch), batch_size=None, num_workers=1, prefetch_factor=8)
    sums: dict[str, float] = {}
    start = time.monotonic()
    for step, (pictures, targets) in enumerate(loader, start=1):
        inputs = normalise(pictures).contiguous(memory_format=torch.channels_last)
        terms = loss(decode(network(inputs)), targets)
        optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(torch.stack(list(terms.values())).sum())
        nn.utils.clip_grad_norm_(network.parameters(), GRADIENT_LIMIT, error_if_nonfinite=True)
        optimizer.step()
        schedule.step()
        average(averaged, network, step)
        sums = {name: sums.get(name, 0.0) + term.item() for name, term in terms.items()}
        if step % 50 == 0 or step == steps:
            means = "  ".join(f"{name} {value / (step % 50 or 50):.3f}" for name, value in sums.items())
            print(f"step {step}/{steps}  {means}  {time.monotonic() - start:.0f} s", flush=True)
            sums = {}
        if step % SAVE_EVERY == 0 or step == steps:
            save(averaged, out)


def main() -> None:
    """Parse, train."""
    parser = argparse.ArgumentParser(description="Train the demo's YOLOX-nano on scenes of digits.")
    parser.add_argument("--out", type=Path, required=True, help="checkpoint folder to write")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--steps", type=int, default=5400)
    parser.add_argument("--batch", type=int, default=16, help="pictures a step")
    parser.add_argument("--rate", type=float, default=2e-3, help="peak learning rate of AdamW")
    options = parser.parse_args()
    torch.set_num_threads(1)
    train(options.seed, options.steps, options.batch, options.rate, options.out)


if __name__ == "__main__":
    main()
