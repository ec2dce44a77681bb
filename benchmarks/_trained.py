"""The networks of the precision table, trained a little on handwritten digits, on one CPU thread.

No weights are downloaded. A few minutes each make networks whose decisions have margins, which is what the
table needs; they are no good detectors and classifiers. Training is kept every 25 steps and goes on where it
was stopped.

    python benchmarks/_trained.py DIR tiny resnet50 mobilenet vit
"""

import argparse
import copy
import json
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "examples" / "digits"))

import train as detectors  # noqa: E402
from objective import decode, loss  # noqa: E402
from scenes import DigitScans, Split, load_scans  # noqa: E402
from timm import create_model  # noqa: E402
from torchvision.models import get_model  # noqa: E402

SAVE_EVERY = 25
SIDE = 224
FEATURE_PICTURES = 640
"""How many pictures of 224 pixels the last layer is fitted to."""


@dataclass(frozen=True, slots=True)
class Course:
    """How a network is trained. ``side`` is that of its pictures, ``narrow`` whether it is in bfloat16 where
    autocast does that, which is quicker for dense convolutions and slower for depthwise ones."""

    steps: int
    batch: int
    side: int
    rate: float
    narrow: bool = True


COURSES = {
    "tiny": Course(1000, 16, 128, 2e-3),
    "resnet50": Course(300, 16, 96, 1e-3),
    "mobilenet": Course(500, 32, 96, 2e-3, narrow=False),
    "vit": Course(160, 16, SIDE, 5e-4),
}
VARIANTS = {"resnet50": "resnet50", "mobilenet": "mobilenet_v3_large", "vit": "vit_tiny_patch16_224"}
POSITIONS = 0.5
"""Standard deviation of the ViT's first position embeddings: as timm draws them, 0.02, hundreds of steps pass
before it tells positions apart."""


def network_of(name: str) -> nn.Module:
    """An untrained network with ten classes."""
    if name == "tiny":
        return detectors.new_network("tiny")
    if name != "vit":
        made: nn.Module = get_model(VARIANTS[name], weights=None, num_classes=10)
        return made
    vit: Any = create_model(VARIANTS[name], num_classes=10, global_pool="avg")
    nn.init.normal_(vit.pos_embed, std=POSITIONS)
    returned: nn.Module = vit
    return returned


def draw(random: np.random.Generator, scans: DigitScans, side: int) -> tuple[Image.Image, int]:
    """A scan on a plain field with noise: an RGB picture, and the digit that it shows."""
    number = int(random.integers(len(scans.labels)))
    size = round(side * random.uniform(0.6, 0.95))
    scan = Image.fromarray((scans.images[number] * 255).astype(np.uint8))
    opacity = np.asarray(scan.resize((size, size), Image.Resampling.BICUBIC), np.float32)[..., None] / 255
    under, ink = random.random((2, 3)).astype(np.float32)
    if abs(float((ink - under).mean())) < 0.25:
        ink = np.float32(under.mean() < 0.5) * np.ones(3, np.float32)
    top, left = random.integers(side - size + 1, size=2)
    canvas = np.broadcast_to(under, (side, side, 3)).copy()
    frame = canvas[top : top + size, left : left + size]
    frame += (ink - frame) * opacity
    canvas += random.normal(0.0, 0.02, canvas.shape).astype(np.float32)
    return Image.fromarray((canvas.clip(0, 1) * 255).round().astype(np.uint8)), int(scans.labels[number])


class Digits(Dataset[tuple[Tensor, Tensor]]):
    """Batches of pictures and their labels; batch i is a function of the seed and i alone."""

    def __init__(self, course: Course, seed: int, split: Split = "train") -> None:
        self.course, self.seed, self.scans = course, seed, load_scans(split)

    def __len__(self) -> int:
        return self.course.steps

    def __getitem__(self, step: int) -> tuple[Tensor, Tensor]:
        """Pictures, uint8 [B, 3, side, side], and digits, int64 [B]."""
        random = np.random.default_rng((self.seed, step))
        drawn = [draw(random, self.scans, self.course.side) for _ in range(self.course.batch)]
        pictures = np.stack([np.asarray(picture) for picture, _ in drawn])
        return torch.from_numpy(pictures).permute(0, 3, 1, 2), torch.tensor([label for _, label in drawn])


class Rest(Dataset[Any]):
    """The batches from ``first`` on."""

    def __init__(self, batches: Any, first: int) -> None:
        self.batches, self.first = batches, first

    def __len__(self) -> int:
        return len(self.batches) - self.first

    def __getitem__(self, step: int) -> Any:
        return self.batches[self.first + step]


def trained(name: str, folder: Path) -> Path:
    """The checkpoint's folder, ``folder``/NAME: trains what is left to train."""
    place, course = folder / name, COURSES[name]
    file = place / ("yolox_tiny.pth" if name == "tiny" else f"{VARIANTS[name]}.pth")
    if file.exists():
        return place
    place.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(1)
    network = network_of(name).to(memory_format=torch.channels_last).train()
    averaged = _optimise(name, network, course, folder / f"{name}.state")
    if name != "tiny":
        fit_last(averaged)
    detectors.save(averaged, place)
    (place / detectors.CHECKPOINT).rename(file)
    return place


def _optimise(name: str, network: nn.Module, course: Course, kept: Path) -> nn.Module:
    """Train all of a network. Returns the average of its weights over the last steps."""
    averaged = copy.deepcopy(network).eval()
    optimizer = detectors.make_optimizer(network, course.rate, decay=0.02)
    first = 0
    if kept.exists():
        state = torch.load(kept, weights_only=True)
        network.load_state_dict(state["network"])
        averaged.load_state_dict(state["averaged"])
        optimizer.load_state_dict(state["optimizer"])
        first = state["step"]
    batches: Any = (
        detectors.SceneBatches(1, course.steps, course.batch, (course.side,))
        if name == "tiny"
        else Digits(course, 1)
    )
    loader = DataLoader(Rest(batches, first), batch_size=None, num_workers=1, prefetch_factor=4)
    start = time.monotonic()
    for step, (pictures, wanted) in enumerate(loader, start=first + 1):
        for group in optimizer.param_groups:
            group["lr"] = course.rate * detectors.learning_rate_factor(step - 1, course.steps)
        inputs = detectors.normalise(pictures).contiguous(memory_format=torch.channels_last)
        with torch.autocast("cpu", torch.bfloat16, enabled=course.narrow):
            found = network(inputs)
        if name == "tiny":
            levels = tuple([level.float() for level in part] for part in found)
            cost = torch.stack(list(loss(decode(levels), wanted).values())).sum()  # type: ignore[arg-type]
        else:
            cost = functional.cross_entropy(found.float(), wanted)
        optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(cost)
        nn.utils.clip_grad_norm_(network.parameters(), detectors.GRADIENT_LIMIT)
        optimizer.step()
        detectors.average(averaged, network, step)
        if step % SAVE_EVERY == 0 or step == course.steps:
            state = {"network": network, "averaged": averaged, "optimizer": optimizer}
            held = {key: value.state_dict() for key, value in state.items()}
            torch.save({**held, "step": step}, kept.with_suffix(".partial"))
            kept.with_suffix(".partial").replace(kept)
            seconds = time.monotonic() - start
            print(
                f"{name}: step {step} of {course.steps}, loss {cost.item():.3f}, {seconds:.0f} s", flush=True
            )
    return averaged


@torch.no_grad()
def fit_last(network: nn.Module) -> None:
    """Measure the batch norms' statistics at 224 pixels, and fit the last layer there."""
    course = Course(FEATURE_PICTURES // 16, 16, SIDE, 0.0)
    data = Digits(course, 2)
    norms = [inner for inner in network.modules() if isinstance(inner, nn.BatchNorm2d)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
        norm.train()
    if norms:
        for step in range(6):
            network(detectors.normalise(data[step][0]))
    network.eval()
    last = [inner for inner in network.modules() if isinstance(inner, nn.Linear)][-1]
    seen: list[Tensor] = []
    handle = last.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    labels = []
    for step in range(len(data)):
        pictures, wanted = data[step]
        network(detectors.normalise(pictures))
        labels.append(wanted)
    handle.remove()
    _logistic(last, torch.cat(seen), torch.cat(labels))


@torch.enable_grad()
def _logistic(last: nn.Linear, features: Tensor, labels: Tensor) -> None:
    """Fit a linear layer: ``features`` float32 [N, C], ``labels`` int64 [N]."""
    optimizer = torch.optim.LBFGS(last.parameters(), max_iter=200, line_search_fn="strong_wolfe")
    scale = features.square().mean()

    def cost() -> Tensor:
        optimizer.zero_grad()
        made = functional.cross_entropy(last(features), labels) + 1e-3 * scale * last.weight.square().sum()
        torch.autograd.backward(made)
        return made

    optimizer.step(cost)  # type: ignore[no-untyped-call]


def write_pictures(folder: Path, counts: Iterable[tuple[str, Split, int, int]]) -> None:
    """Pictures of 224 pixels with one digit, and labels.json: NAME, split, how many, seed."""
    for name, split, count, seed in counts:
        place = folder / name
        if (place / "labels.json").exists():
            continue
        place.mkdir(parents=True, exist_ok=True)
        random, scans = np.random.default_rng(seed), load_scans(split)
        images, annotations = [], []
        for number in range(1, count + 1):
            picture, label = draw(random, scans, SIDE)
            file = f"digit-{number:03d}.png"
            picture.save(place / file)
            images.append({"id": number, "file_name": file, "width": SIDE, "height": SIDE})
            annotations.append({"id": number, "image_id": number, "category_id": label})
        categories = [{"id": digit, "name": str(digit)} for digit in range(10)]
        document = {"images": images, "annotations": annotations, "categories": categories}
        (place / "labels.json").write_text(json.dumps(document), encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description="Train the networks of the precision table.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("names", nargs="+", choices=COURSES)
    options = parser.parse_args()
    torch.set_num_threads(1)
    for name in options.names:
        print(trained(name, options.folder), flush=True)


if __name__ == "__main__":
    main()
