"""Train a network that reads strips of handwritten digits, on one CPU thread, and measure it.

python examples/digits/train_reader.py --out examples/digits/reader
python examples/digits/train_reader.py --out examples/digits/reader --evaluate-only
"""

import argparse
import copy
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from reader import BLANK, DIGITS, HEIGHT, EncoderReader, RecurrentReader, build, build_encoder
from scenes import DigitScans, load_scans
from torch import Tensor, nn
from torch.nn import functional
from train import GRADIENT_LIMIT, average, learning_rate_factor, make_optimizer

Reader = RecurrentReader | EncoderReader

BUILDERS: dict[str, Callable[[], Reader]] = {"recurrent": build, "encoder": build_encoder}
CHECKPOINT = "reader.pth"
CLASSES = (*(str(digit) for digit in range(DIGITS)), "blank")

MAX_TIME = 128
MAX_COUNT = 10
WIDTHS = (8, 16, 24, 32, 48, 64, 96, 128)
"""Widths of training batches in columns; all strips of a batch have room for as many."""

GAPS = (-2, 5)
"""Least columns between two scans, and one more than the most; where negative, the scans overlap."""

INK = (0.35, 1.0)
NOISE = 0.08
"""Contrast of ink, of 1, and the largest standard deviation of what is added to every pixel."""

EVALUATION_BATCH = 100

SHOWN = (128, 128, 112, 96, 96, 80, 72, 64, 48, 32, 24, 16)
"""Widths in columns of the held-out strips that stand in the checkpoint's folder."""


def compose_strip(
    rng: np.random.Generator, scans: DigitScans, width: int, count: int
) -> tuple[NDArray[np.float32], list[int]]:
    """A strip float32 [width, 8] in 0..1 with `count` scans, or fewer where there is no room, and its digits.

    Each row is one column of the picture, from its top to its bottom.
    """
    chosen = rng.integers(len(scans.labels), size=count)
    starts = np.cumsum([0, *(HEIGHT + rng.integers(*GAPS, size=max(count - 1, 0)))])[:count]
    while len(starts) and starts[-1] + HEIGHT > width:
        starts = starts[:-1]
    used = int(starts[-1]) + HEIGHT if len(starts) else 0
    left = int(rng.integers(width - used + 1))
    ink = np.zeros((width, HEIGHT), np.float32)
    for start, index in zip(starts + left, chosen, strict=False):
        columns = ink[start : start + HEIGHT]
        np.maximum(columns, scans.images[index].T, out=columns)
    contrast = rng.uniform(*INK)
    paper = rng.uniform(0.0, 1.0 - contrast)
    strip = paper + contrast * ink + rng.normal(0.0, rng.uniform(0.0, NOISE), ink.shape)
    digits = [int(scans.labels[index]) for index in chosen[: len(starts)]]
    return np.clip(strip, 0.0, 1.0).astype(np.float32), digits


def make_batch(
    rng: np.random.Generator, scans: DigitScans, size: int, *, padded: bool
) -> tuple[Tensor, Tensor, list[list[int]]]:
    """Strips float32 [size, time, 8], how long each is, int64 [size], and their digits.

    Strips that are not `padded` fill the batch's width.
    """
    width = int(rng.choice(WIDTHS))
    strips = torch.zeros(size, width, HEIGHT)
    lengths = torch.full((size,), width)
    digits = []
    for row in range(size):
        own = int(rng.integers(max(width // 2, 1), width + 1)) if padded else width
        strip, read = compose_strip(rng, scans, own, int(rng.integers(1, MAX_COUNT + 1)))
        strips[row, :own], lengths[row] = torch.from_numpy(strip), own
        digits.append(read)
    return strips, lengths, digits


def run(network: Reader, strips: Tensor, lengths: Tensor) -> Tensor:
    """The logits of a batch, [batch, time, 11]."""
    if isinstance(network, EncoderReader):
        answer = network(strips, torch.arange(strips.shape[1]) < lengths[:, None])
    else:
        answer = network(strips)
    logits: Tensor = answer["logits"]
    return logits


def read_steps(classes: Sequence[int]) -> list[int]:
    """What a sequence of classes, one a step, says: repeats merged, then blanks dropped."""
    merged = [entry for at, entry in enumerate(classes) if at == 0 or entry != classes[at - 1]]
    return [entry for entry in merged if entry != BLANK]


def edits(wanted: Sequence[int], found: Sequence[int]) -> int:
    """The fewest insertions, deletions and replacements that turn one into the other (Levenshtein, 1966)."""
    row = list(range(len(found) + 1))
    for above, digit in enumerate(wanted, start=1):
        diagonal, row[0] = row[0], above
        for at, other in enumerate(found, start=1):
            diagonal, row[at] = row[at], min(row[at] + 1, row[at - 1] + 1, diagonal + (digit != other))
    return row[-1]


def train(kind: str, seed: int, steps: int, batch: int, rate: float, out: Path) -> None:
    """Train and save."""
    torch.manual_seed(seed)
    network = BUILDERS[kind]().train()
    averaged = copy.deepcopy(network).eval()
    optimizer = make_optimizer(network, rate, decay=0.02)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: learning_rate_factor(step, steps))
    scans = load_scans("train")
    rng = np.random.default_rng(seed)
    start, total = time.monotonic(), 0.0
    for step in range(1, steps + 1):
        strips, lengths, digits = make_batch(rng, scans, batch, padded=kind == "encoder")
        scores = functional.log_softmax(run(network, strips, lengths), dim=-1).transpose(0, 1)
        targets = torch.tensor([digit for row in digits for digit in row], dtype=torch.int64)
        counts = torch.tensor([len(row) for row in digits])
        # Two equal digits need a blank between them: strips too narrow for that count for nothing.
        loss = functional.ctc_loss(scores, targets, lengths, counts, blank=BLANK, zero_infinity=True)
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
    out.mkdir(parents=True, exist_ok=True)
    torch.save(averaged.state_dict(), out / CHECKPOINT)
    (out / "digits-classes.json").write_text(json.dumps(list(CLASSES), indent=1) + "\n", encoding="utf-8")


@torch.no_grad()
def evaluate(kind: str, seed: int, count: int, folder: Path) -> None:
    """Print how well the checkpoint reads strips of one to ten held-out scans."""
    network = BUILDERS[kind]().eval()
    network.load_state_dict(torch.load(folder / CHECKPOINT, weights_only=True))
    scans = load_scans("held-out")
    rng = np.random.default_rng(seed)
    right = wrong_digits = all_digits = done = 0
    while done < count:
        size = min(EVALUATION_BATCH, count - done)
        drawn = [
            compose_strip(rng, scans, MAX_TIME, int(rng.integers(1, MAX_COUNT + 1))) for _ in range(size)
        ]
        strips = torch.from_numpy(np.stack([strip for strip, _ in drawn]))
        logits = run(network, strips, torch.full((size,), MAX_TIME))
        for classes, (_, wanted) in zip(logits.argmax(dim=-1).tolist(), drawn, strict=True):
            errors = edits(wanted, read_steps(classes))
            right += errors == 0
            wrong_digits += errors
            all_digits += len(wanted)
        done += size
    print(f"{done} held-out strips, {all_digits} digits")
    print(f"strings that are right {right / done:.4f}")
    print(f"character error rate   {wrong_digits / all_digits:.4f}")


def write_strips(seed: int, folder: Path) -> None:
    """Write a few held-out strips, float32 [time, 8]; each one's name tells what it reads."""
    rng = np.random.default_rng(seed)
    scans = load_scans("held-out")
    folder.mkdir(parents=True, exist_ok=True)
    for number, width in enumerate(SHOWN, start=1):
        strip, digits = compose_strip(rng, scans, width, int(rng.integers(1, width // 12 + 1)))
        np.save(folder / f"{number:02d}-reads-{''.join(map(str, digits))}.npy", strip)


def main() -> None:
    """Parse; train unless told not to; measure."""
    parser = argparse.ArgumentParser(description="Train or measure the demo's reader of digit strips.")
    parser.add_argument("--out", type=Path, required=True, help="checkpoint folder to write or measure")
    parser.add_argument("--kind", choices=BUILDERS, default="recurrent")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--batch", type=int, default=32, help="strips a step")
    parser.add_argument("--rate", type=float, default=4e-3, help="peak learning rate of AdamW")
    parser.add_argument("--strips", type=int, default=2000, help="how many to measure on")
    parser.add_argument("--evaluate-only", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if not options.evaluate_only:
        train(options.kind, options.seed, options.steps, options.batch, options.rate, options.out)
        write_strips(options.seed + 100, options.out / "strips")
    evaluate(options.kind, options.seed + 200, options.strips, options.out)


if __name__ == "__main__":
    main()
