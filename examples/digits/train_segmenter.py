"""Train the network that marks the digits asked for, on one CPU thread, and measure it on held-out scenes.

python examples/digits/train_segmenter.py --out examples/digits/segmenter
python examples/digits/train_segmenter.py --out examples/digits/segmenter --evaluate-only
"""

import argparse
import copy
import json
import time
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scenes import Scene, Split, compose, load_backgrounds, load_scans
from segmenter import CLASSES, DIGITS, Segmenter, build
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset
from train import GRADIENT_LIMIT, average, learning_rate_factor, make_optimizer

CHECKPOINT = "segmenter.pth"
COLOURS = ((0.25, 0.25, 0.25), (0.15, 0.85, 0.3), (0.9, 0.3, 0.2))
"""R, G, B in 0..1 of the classes."""

BACKGROUND, ASKED_FOR, OTHER = range(len(CLASSES))

SIZES = (64, 80, 96, 128)
"""Heights and widths of training batches in pixels."""

SHOWN_QUERY = (0, 2, 4, 6, 8)
EVALUATION_SIZES = (96, 128, 160)
INK_WEIGHT, DIGIT_WEIGHT = 0.5, 0.5
"""Weights, beside the loss over all pixels, of that over the digits' pixels and of the second head's."""


class Scenes(Dataset[tuple[Tensor, Tensor, Tensor]]):
    """Batches of scenes; batch number i is a function of the seed and i alone, whichever worker makes it."""

    def __init__(
        self, seed: int, steps: int, batch: int, sizes: tuple[int, ...], *, held_out: bool = False
    ) -> None:
        self.seed, self.steps, self.batch, self.sizes = seed, steps, batch, sizes
        split: Split = "held-out" if held_out else "train"
        self.scans, self.photos = load_scans(split), load_backgrounds(split)

    def __len__(self) -> int:
        return self.steps

    def __getitem__(self, step: int) -> tuple[Tensor, Tensor, Tensor]:
        """Pictures float32 [B, 3, H, W] in 0..1, the digit that each pixel shows, int64 [B, H, W], 10 where
        none, and the digits asked for, float32 [B, 10]."""
        rng = np.random.default_rng((self.seed, step))
        height, width = (int(side) for side in rng.choice(self.sizes, 2))
        frames = np.empty((self.batch, height, width, 3), np.uint8)
        shown = np.empty((self.batch, height, width), np.int64)
        asked = np.empty((self.batch, DIGITS), np.float32)
        for index in range(self.batch):
            scene = compose(rng, self.scans, self.photos, height, width)
            frames[index], shown[index] = np.asarray(scene.image), digits_of(scene)
            asked[index] = rng.random(DIGITS) < rng.uniform(0.1, 0.9)
        pictures = torch.from_numpy(frames).permute(0, 3, 1, 2) / 255.0
        return pictures, torch.from_numpy(shown), torch.from_numpy(asked)


def digits_of(scene: Scene) -> NDArray[np.int64]:
    """The digit that each pixel of a scene shows, int64 [H, W]; 10 where it shows none."""
    shown = np.full(scene.masks.shape[1:], DIGITS, np.int64)
    for mask, label in zip(scene.masks, scene.labels, strict=True):
        shown[mask] = label
    return shown


def truth_of(shown: Tensor, asked: Tensor) -> Tensor:
    """The class of each pixel, int64 [B, H, W], from the digits shown and those asked for."""
    meant = torch.cat((asked, asked.new_zeros(len(asked), 1)), dim=1) > 0
    found = torch.gather(meant, 1, shown.flatten(1)).view_as(shown)
    return torch.where(shown == DIGITS, BACKGROUND, torch.where(found, ASKED_FOR, OTHER))


def objective(network: Segmenter, head: nn.Module, batch: tuple[Tensor, Tensor, Tensor]) -> Tensor:
    """The loss of the masks, and of a second head that tells at 1/4 of the size which digit the ink is.

    The second head is for training alone: it makes the features worth asking about.
    """
    pictures, shown, asked = batch
    levels = network.encode(pictures.contiguous(memory_format=torch.channels_last), asked)
    each = functional.cross_entropy(network.decode(levels, asked), truth_of(shown, asked), reduction="none")
    ink = shown < DIGITS
    deepest = functional.interpolate(levels[3], scale_factor=4.0, mode="nearest")
    middle = functional.interpolate(levels[2], scale_factor=2.0, mode="nearest")
    digits = head(torch.cat((levels[1], middle, deepest), dim=1))
    coarse = shown[:, 2::4, 2::4]
    told = functional.cross_entropy(digits, coarse, ignore_index=DIGITS, reduction="sum")
    return (
        each.mean()
        + INK_WEIGHT * each[ink].sum() / ink.sum().clamp(min=1)
        + DIGIT_WEIGHT * told / (coarse < DIGITS).sum().clamp(min=1)
    )


def train(seed: int, steps: int, batch: int, rate: float, out: Path) -> None:
    """Train and save."""
    torch.manual_seed(seed)
    network = build().to(memory_format=torch.channels_last).train()
    head = nn.Conv2d(sum(network.widths[1:]), DIGITS, 1)
    averaged = copy.deepcopy(network).eval()
    optimizer = make_optimizer(nn.ModuleList((network, head)), rate, decay=0.02)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: learning_rate_factor(step, steps))
    data = Scenes(seed, steps, batch, SIZES)
    loader = DataLoader(data, batch_size=None, num_workers=1, prefetch_factor=8)
    start, total = time.monotonic(), 0.0
    for step, drawn in enumerate(loader, start=1):
        loss = objective(network, head, drawn)
        optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(network.parameters(), GRADIENT_LIMIT, error_if_nonfinite=True)
        optimizer.step()
        schedule.step()
        average(averaged, network, step)
        total += loss.item()
        if step % 50 == 0:
            print(f"step {step}/{steps}  loss {total / 50:.3f}  {time.monotonic() - start:.0f} s", flush=True)
            total = 0.0
    save(averaged, out)


def save(network: nn.Module, out: Path) -> None:
    """Write the checkpoint folder: weights, the classes' names and colours, and a query to try it with."""
    out.mkdir(parents=True, exist_ok=True)
    plain = torch.contiguous_format
    state = {name: value.clone(memory_format=plain) for name, value in network.state_dict().items()}
    torch.save(state, out / CHECKPOINT)
    items = [{"label": name, "color": list(colour)} for name, colour in zip(CLASSES, COLOURS, strict=True)]
    text = json.dumps({"items": items}, indent=1)
    (out / "segmenter-colormap.json").write_text(text + "\n", encoding="utf-8")
    write_query(SHOWN_QUERY, out)


def write_query(digits: tuple[int, ...], folder: Path) -> None:
    """Write the query that asks for these digits, float32 [10]; its name tells them."""
    query = np.zeros(DIGITS, np.float32)
    query[list(digits)] = 1.0
    np.save(folder / f"query-{''.join(map(str, digits))}.npy", query)


@torch.no_grad()
def evaluate(seed: int, count: int, folder: Path) -> None:
    """Print the network's mean IoU and pixel accuracy on scenes of held-out scans and backgrounds."""
    network = build().eval()
    network.load_state_dict(torch.load(folder / CHECKPOINT, weights_only=True))
    data = Scenes(seed, count // 10, 10, EVALUATION_SIZES, held_out=True)
    # Rows are the truth, columns what the network says.
    confusion = np.zeros((len(CLASSES), len(CLASSES)), np.int64)
    for step in range(len(data)):
        pictures, shown, asked = data[step]
        found = network(pictures, asked)["logits"].argmax(dim=1)
        pairs = truth_of(shown, asked) * len(CLASSES) + found
        confusion += torch.bincount(pairs.flatten(), minlength=len(CLASSES) ** 2).view(3, 3).numpy()
    common = np.diag(confusion)
    overlaps = common / (confusion.sum(axis=0) + confusion.sum(axis=1) - common)
    print(f"{len(data) * data.batch} held-out scenes, {confusion.sum()} pixels")
    print(f"mean IoU       {overlaps.mean():.4f}")
    for name, overlap in zip(CLASSES, overlaps, strict=True):
        print(f"  {name:<12} {overlap:.4f}")
    print(f"pixel accuracy {common.sum() / confusion.sum():.4f}")


def main() -> None:
    """Parse; train unless told not to; measure."""
    parser = argparse.ArgumentParser(description="Train or measure the demo's segmenter.")
    parser.add_argument("--out", type=Path, required=True, help="checkpoint folder to write or measure")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--batch", type=int, default=24, help="pictures a step")
    parser.add_argument("--rate", type=float, default=4e-3, help="peak learning rate of AdamW")
    parser.add_argument("--scenes", type=int, default=400, help="how many to measure on")
    parser.add_argument("--evaluate-only", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if not options.evaluate_only:
        train(options.seed, options.steps, options.batch, options.rate, options.out)
    evaluate(options.seed + 200, options.scenes, options.out)


if __name__ == "__main__":
    main()
