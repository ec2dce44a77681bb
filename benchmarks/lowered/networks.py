"""The networks of the precision table, trained for some minutes on handwritten digits, on one CPU thread.

No weights are downloaded. Such networks are no good detectors and classifiers of anything else; their
decisions have margins, which is what the table needs. Training is kept every 25 steps and goes on where it
was stopped.
"""

import copy
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
import train as detectors
from objective import decode, loss
from scenes import load_scans
from torch import Tensor, nn
from torch.nn import functional
from torchvision.models import get_model

from lowered.pictures import draw_digit

SEED, HELD_OUT_SEED = 1, 9
SAVE_EVERY = 25
DECAY = 0.02
NORM_BATCHES = 8
"""From how many batches batch norms take their statistics in the end."""
HELD_OUT = 16
"""On how many batches of held-out pictures a classifier is tried."""
POSITIONS = 0.5
"""Standard deviation of a ViT's first position embeddings. With timm's own, 0.02, hundreds of steps pass
before it tells positions apart."""

Step = Callable[[nn.Module, int], Tensor]
"""What a network costs on the batch of a number."""


@dataclass(frozen=True, slots=True)
class Course:
    """How a network is trained: steps, pictures a step, their side in pixels, AdamW's peak learning rate.

    ``narrow`` is whether operators are computed in bfloat16 where autocast does that. It is quicker for dense
    convolutions and slower for depthwise ones.
    """

    steps: int
    batch: int
    side: int
    rate: float
    narrow: bool = True


COURSES: Mapping[str, Course] = {
    "tiny": Course(1000, 16, 128, 2e-3),
    "resnet50": Course(150, 32, 64, 1e-3),
    "mobilenet": Course(200, 64, 64, 2e-3, narrow=False),
    "vit": Course(700, 64, 64, 1e-3),
}


def new_network(short: str, variant: str, kwargs: Mapping[str, Any]) -> nn.Module:
    """An untrained network with ten classes."""
    if short == "tiny":
        return detectors.new_network(variant)
    network: Any
    if short != "vit":
        network = get_model(variant, weights=None, num_classes=10)
    else:
        network = timm.create_model(variant, num_classes=10, **kwargs)
        nn.init.normal_(network.pos_embed, std=POSITIONS)
    made: nn.Module = network
    return made


def trained(short: str, variant: str, kwargs: Mapping[str, Any], folder: Path) -> Path:
    """The folder of a checkpoint, ``folder``/SHORT. Trains what is left to train."""
    place, course = folder / short, COURSES[short]
    file = place / f"{'yolox_tiny' if short == 'tiny' else variant}.pth"
    if file.exists():
        return place
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(SEED)
    network = new_network(short, variant, kwargs).to(memory_format=torch.channels_last).train()
    step = _detector(course) if short == "tiny" else _classifier(course)
    averaged = _optimise(short, network, step, course, folder / f"{short}.state")
    if short != "tiny":
        _measure_norms(averaged, course)
        print(f"{short}: top 1 on held-out pictures {_top_1(averaged, course):.4f}", flush=True)
    detectors.save(averaged, place)
    (place / detectors.CHECKPOINT).rename(file)
    return place


def _detector(course: Course) -> Step:
    batches = detectors.SceneBatches(SEED, course.steps, course.batch, (course.side,))

    def cost(network: nn.Module, number: int) -> Tensor:
        pictures, wanted = batches[number]
        found = network(_inputs(pictures))
        levels = tuple([level.float() for level in part] for part in found)
        return torch.stack(list(loss(decode(levels), wanted).values())).sum()  # type: ignore[arg-type]

    return cost


class Digits:
    """Batches of pictures and their labels. A batch follows from the seed and its number alone."""

    def __init__(self, course: Course, seed: int, *, held_out: bool = False) -> None:
        self.course, self.seed, self.scans = course, seed, load_scans("held-out" if held_out else "train")

    def __getitem__(self, number: int) -> tuple[Tensor, Tensor]:
        """A network's inputs, float32 [B, 3, side, side], and digits, int64 [B]."""
        random = np.random.default_rng((self.seed, number))
        drawn = [draw_digit(random, self.scans, self.course.side) for _ in range(self.course.batch)]
        pictures = np.stack([np.asarray(picture) for picture, _ in drawn])
        labels = torch.tensor([label for _, label in drawn])
        return _inputs(torch.from_numpy(pictures).permute(0, 3, 1, 2)), labels


def _inputs(pictures: Tensor) -> Tensor:
    return detectors.normalise(pictures).contiguous(memory_format=torch.channels_last)


def _classifier(course: Course) -> Step:
    batches = Digits(course, SEED)

    def cost(network: nn.Module, number: int) -> Tensor:
        inputs, wanted = batches[number]
        return functional.cross_entropy(network(inputs).float(), wanted)

    return cost


def _optimise(short: str, network: nn.Module, cost_of: Step, course: Course, kept: Path) -> nn.Module:
    """Train a network. Returns the average of its weights over the last steps."""
    averaged = copy.deepcopy(network).eval()
    optimizer = detectors.make_optimizer(network, course.rate, DECAY)
    parts: dict[str, Any] = {"network": network, "averaged": averaged, "optimizer": optimizer}
    first = 0
    if kept.exists():
        state = torch.load(kept, weights_only=True)
        for name, part in parts.items():
            part.load_state_dict(state[name])
        first = state["step"]
    start = time.process_time()
    for number in range(first, course.steps):
        for group in optimizer.param_groups:
            group["lr"] = course.rate * detectors.learning_rate_factor(number, course.steps)
        with torch.autocast("cpu", torch.bfloat16, enabled=course.narrow):
            cost = cost_of(network, number)
        optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(cost)
        nn.utils.clip_grad_norm_(network.parameters(), detectors.GRADIENT_LIMIT)
        optimizer.step()
        step = number + 1
        detectors.average(averaged, network, step)
        if step % SAVE_EVERY == 0 or step == course.steps:
            partial = kept.with_suffix(".partial")
            torch.save({name: part.state_dict() for name, part in parts.items()} | {"step": step}, partial)
            partial.replace(kept)
            told = f"loss {cost.item():.3f}, {time.process_time() - start:.0f} s of the processor"
            print(f"{short}: step {step} of {course.steps}, {told}", flush=True)
    return averaged


@torch.no_grad()
def _measure_norms(network: nn.Module, course: Course) -> None:
    """Give batch norms the statistics of training pictures, which the averaged weights have changed."""
    norms = [inner for inner in network.modules() if isinstance(inner, nn.BatchNorm2d)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
        norm.train()
    batches = Digits(course, SEED)
    for number in range(NORM_BATCHES if norms else 0):
        network(batches[number][0])
    network.eval()


@torch.no_grad()
def _top_1(network: nn.Module, course: Course) -> float:
    """The share of held-out pictures that a classifier gets right."""
    batches = Digits(course, HELD_OUT_SEED, held_out=True)
    pairs = [batches[number] for number in range(HELD_OUT)]
    right = sum(int((network(inputs).argmax(1) == labels).sum()) for inputs, labels in pairs)
    return right / (HELD_OUT * course.batch)
