"""Train the demo's two picture classifiers on one CPU thread, and measure them on held-out scans.

python examples/digits/train_classifier.py classifier --out CLASSIFIER
python examples/digits/train_classifier.py multilabel --out MULTILABEL --start CLASSIFIER
python examples/digits/train_classifier.py multilabel --out MULTILABEL --evaluate-only
"""

import argparse
import copy
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from scenes import DigitScans, Split, compose, load_backgrounds, load_scans
from sklearn.metrics import average_precision_score, f1_score
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset
from torchvision.models import get_model
from train import COLOURS, GRADIENT_LIMIT, MEAN, STD, average, learning_rate_factor, make_optimizer, normalise

VARIANT = "mobilenet_v2"
KWARGS = {
    "inverted_residual_setting": [[1, 16, 1, 1], [4, 24, 2, 2], [4, 40, 2, 2], [4, 80, 2, 2], [4, 96, 1, 1]]
}
"""Expansion, channels, blocks and stride of each stage: half the usual depth, and a sixteenth of the
picture's resolution is left in the end instead of a thirty-second, for digits are small."""

CLASSES = tuple(str(digit) for digit in range(10))
THRESHOLD = 0.5
EVALUATION_BATCH = 100


@dataclass(frozen=True, slots=True)
class Kind:
    """One of the two classifiers. `size`: side of its input in pixels; `sides`: least side of a scene and
    one more than the greatest; `counts`: the same of its digits; `margins`: least and greatest side of a
    crop around the digit, as a multiple of the digit's, none where the whole scene is seen."""

    size: int
    sides: tuple[int, int]
    counts: tuple[int, int]
    margins: tuple[float, float] | None
    steps: int
    batch: int


KINDS = {
    "classifier": Kind(64, sides=(96, 161), counts=(1, 2), margins=(1.1, 2.4), steps=1800, batch=48),
    "multilabel": Kind(96, sides=(96, 129), counts=(0, 4), margins=None, steps=1400, batch=32),
}
SHOWN = 12
"""How many held-out pictures of each kind are written as examples."""


def draw_picture(
    rng: np.random.Generator, kind: Kind, scans: DigitScans, photos: tuple[Image.Image, ...]
) -> tuple[Image.Image, list[int]]:
    """A square picture, and the digits in it."""
    side = int(rng.integers(*kind.sides))
    scene = compose(rng, scans, photos, side, side, int(rng.integers(*kind.counts)))
    picture = scene.image
    if kind.margins is not None:
        picture = picture.crop(frame_around(rng, scene.boxes[0], side, kind.margins))
    return picture, scene.labels.tolist()


def frame_around(
    rng: np.random.Generator, box: NDArray[np.float32], limit: int, margins: tuple[float, float]
) -> tuple[int, int, int, int]:
    """A square (x0, y0, x1, y1 in pixels) that holds `box` somewhere, in a picture of `limit` x `limit`."""
    x0, y0, x1, y1 = (int(edge) for edge in box)
    side = min(round(max(x1 - x0, y1 - y0) * rng.uniform(*margins)), limit)
    left = int(rng.integers(max(x1 - side, 0), min(x0, limit - side) + 1))
    top = int(rng.integers(max(y1 - side, 0), min(y0, limit - side) + 1))
    return left, top, left + side, top + side


class Pictures(Dataset[tuple[Tensor, Tensor]]):
    """Batches of scenes; batch number i is a function of the seed and i alone, whichever worker makes it."""

    def __init__(self, kind: Kind, seed: int, steps: int, batch: int, *, held_out: bool = False) -> None:
        self.kind, self.seed, self.steps, self.batch = kind, seed, steps, batch
        split: Split = "held-out" if held_out else "train"
        self.scans, self.photos = load_scans(split), load_backgrounds(split)

    def __len__(self) -> int:
        return self.steps

    def __getitem__(self, step: int) -> tuple[Tensor, Tensor]:
        """Pictures, uint8 [B, 3, size, size], and which digits they show, float32 [B, 10] of 0 and 1."""
        rng = np.random.default_rng((self.seed, step))
        size = self.kind.size
        frames = np.empty((self.batch, size, size, 3), np.uint8)
        shown = torch.zeros(self.batch, len(CLASSES))
        for index in range(self.batch):
            picture, labels = draw_picture(rng, self.kind, self.scans, self.photos)
            frames[index] = np.asarray(picture.resize((size, size)))
            shown[index, labels] = 1.0
        return torch.from_numpy(frames).permute(0, 3, 1, 2), shown


def new_network() -> nn.Module:
    """The untrained network: pictures [B, 3, H, W] to logits [B, 10]."""
    network: nn.Module = get_model(VARIANT, weights=None, num_classes=len(CLASSES), **KWARGS)
    return network


def save(network: nn.Module, out: Path, *, colours: bool) -> None:
    """Write the checkpoint folder: weights, class names (with colours or without) and normalisation."""
    out.mkdir(parents=True, exist_ok=True)
    plain = torch.contiguous_format
    state = {name: value.clone(memory_format=plain) for name, value in network.state_dict().items()}
    torch.save(state, out / f"{VARIANT}.pth")
    if colours:
        items = [
            {"label": name, "color": list(colour)} for name, colour in zip(CLASSES, COLOURS, strict=True)
        ]
        write_json(out / "digits-colormap.json", {"items": items})
    else:
        write_json(out / "digits-classes.json", list(CLASSES))
    write_json(out / "norm_stats.json", {"mean": list(MEAN), "std_dev": list(STD)})


def write_json(file: Path, document: object) -> None:
    """Write a document, a line for each value."""
    file.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


def load(folder: Path) -> nn.Module:
    """The network with a checkpoint folder's weights."""
    network = new_network()
    network.load_state_dict(torch.load(folder / f"{VARIANT}.pth", weights_only=True))
    return network


def train(
    name: str, seed: int, steps: int, batch: int, rate: float, start_from: Path | None, out: Path
) -> None:
    """Train and save."""
    kind = KINDS[name]
    torch.manual_seed(seed)
    network = new_network() if start_from is None else load(start_from)
    network = network.to(memory_format=torch.channels_last).train()
    averaged = copy.deepcopy(network).eval()
    optimizer = make_optimizer(network, rate, decay=0.02)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: learning_rate_factor(step, steps))
    data = Pictures(kind, seed, steps, batch)
    loader = DataLoader(data, batch_size=None, num_workers=1, prefetch_factor=8)
    start, total = time.monotonic(), 0.0
    for step, (pictures, shown) in enumerate(loader, start=1):
        logits = network(normalise(pictures).contiguous(memory_format=torch.channels_last))
        if name == "classifier":
            loss = functional.cross_entropy(logits, shown.argmax(dim=1))
        else:
            loss = functional.binary_cross_entropy_with_logits(logits, shown) * len(CLASSES)
        optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(network.parameters(), GRADIENT_LIMIT, error_if_nonfinite=True)
        optimizer.step()
        schedule.step()
        average(averaged, network, step)
        total += loss.item()
        if step % 100 == 0:
            print(
                f"step {step}/{steps}  loss {total / 100:.3f}  {time.monotonic() - start:.0f} s", flush=True
            )
            total = 0.0
    save(averaged, out, colours=name == "classifier")


@torch.no_grad()
def evaluate(name: str, seed: int, count: int, folder: Path) -> None:
    """Print how well the checkpoint does on pictures made of held-out scans and backgrounds."""
    network = load(folder).eval()
    batches = Pictures(KINDS[name], seed, -(-count // EVALUATION_BATCH), EVALUATION_BATCH, held_out=True)
    logits, truth = [], []
    for step in range(len(batches)):
        pictures, shown = batches[step]
        logits.append(network(normalise(pictures)).numpy())
        truth.append(shown.numpy())
    scores, wanted = np.concatenate(logits), np.concatenate(truth).astype(bool)
    print(f"{len(scores)} held-out pictures, {int(wanted.sum())} labels")
    if name == "classifier":
        best = np.argsort(-scores, axis=1, kind="stable")
        print(f"top-1 {np.mean(wanted[np.arange(len(best)), best[:, 0]]):.4f}")
        print(f"top-3 {np.mean(np.take_along_axis(wanted, best[:, :3], axis=1).any(axis=1)):.4f}")
        return
    found = 1 / (1 + np.exp(-scores)) > THRESHOLD
    print(f"mean average precision {average_precision_score(wanted, scores, average='macro'):.4f}")
    print(f"F1 at {THRESHOLD} (micro)      {f1_score(wanted, found, average='micro'):.4f}")
    print(f"sets that are exact    {np.mean((wanted == found).all(axis=1)):.4f}")


def write_pictures(name: str, seed: int, folder: Path) -> None:
    """Write a few held-out pictures; each one's name tells what it shows, and so does labels.json."""
    rng = np.random.default_rng(seed)
    scans, photos = load_scans("held-out"), load_backgrounds("held-out")
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(1, SHOWN + 1):
        picture, labels = draw_picture(rng, KINDS[name], scans, photos)
        digits = "".join(str(label) for label in sorted(labels)) or "none"
        picture.save(folder / f"{number:02d}-shows-{digits}.png", optimize=True)
    text = json.dumps(coco_labels(sorted(folder.glob("*-shows-*.png"))), indent=1)
    (folder / "labels.json").write_text(text + "\n", encoding="utf-8")


def coco_labels(files: Sequence[Path]) -> dict[str, list[dict[str, object]]]:
    """What pictures show, as their names tell it, in COCO's layout: an annotation without a box for each
    digit."""
    images: list[dict[str, object]] = []
    annotations: list[dict[str, object]] = []
    for number, file in enumerate(files, start=1):
        with Image.open(file) as picture:
            width, height = picture.size
        images.append({"id": number, "file_name": file.name, "width": width, "height": height})
        shown = file.stem.rpartition("-")[2]
        for digit in sorted(set(shown)) if shown.isdigit() else ():
            identity = len(annotations) + 1
            annotations.append({"id": identity, "image_id": number, "category_id": int(digit)})
    categories: list[dict[str, object]] = [{"id": digit, "name": str(digit)} for digit in range(10)]
    return {"images": images, "annotations": annotations, "categories": categories}


def main() -> None:
    """Parse; train unless told not to; measure."""
    parser = argparse.ArgumentParser(description="Train or measure one of the demo's classifiers.")
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("--out", type=Path, required=True, help="checkpoint folder to write or measure")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--steps", type=int, help="the kind's own by default")
    parser.add_argument("--batch", type=int, help="pictures a step; the kind's own by default")
    parser.add_argument("--start", type=Path, help="checkpoint folder to start from; none by default")
    parser.add_argument("--rate", type=float, default=3e-3, help="peak learning rate of AdamW")
    parser.add_argument("--pictures", type=int, default=2000, help="how many to measure on")
    parser.add_argument("--evaluate-only", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    kind = KINDS[options.kind]
    if not options.evaluate_only:
        steps, batch = options.steps or kind.steps, options.batch or kind.batch
        train(options.kind, options.seed, steps, batch, options.rate, options.start, options.out)
        write_pictures(options.kind, options.seed + 100, options.out / "images")
    evaluate(options.kind, options.seed + 200, options.pictures, options.out)


if __name__ == "__main__":
    main()
