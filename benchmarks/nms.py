"""How long suppression takes: ours, torchvision's, OpenCV's and the N x N matrix that tutorials teach.

One process, one thread, the same boxes for all, in turn and in changing order. Every round draws new boxes:
given the same ones again, a CPU remembers the branches of a scalar loop, and no deployment enjoys that. A
ratio is the median over rounds of our time by theirs, so that what slows the machine slows both sides of it.

The boxes are float32 and x1, y1, x2, y2: about 50 around each object, and a tenth of them strays, on 1280 x
1280 pixels. Scores are distinct, so there is one right answer; every round compares the peers' with ours.
What a peer wants its input to be (a tensor; x, y, width, height) is made before its time is taken.

    python benchmarks/nms.py [--rounds N]
"""

import argparse
import statistics
import time
import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import torch
import torchvision
from numpy.typing import NDArray

from onnxproof.runtime.nms import nms

SIZES = (100, 1_000, 8_400, 30_000)
IOU_THRESHOLD = 0.5
CLASSES = 80
BOXES_PER_OBJECT = 50
PICTURE_SIDE = 1280  # pixels
# The matrix needs about five N x N arrays of float32 at once.
MATRIX_BYTES_PER_PAIR = 5 * 4
MATRIX_LIMIT = 8e9  # bytes
# From this many boxes on, the matrix takes seconds a call and gets few rounds.
MATRIX_SLOW_FROM = 8_400
MATRIX_SLOW_ROUNDS = 3

Run = Callable[[], object]


@dataclass(frozen=True)
class Scene:
    """Boxes ``[N, 4]`` float32, scores ``[N]`` float32, classes ``[N]`` int64."""

    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    classes: NDArray[np.int64]


def draw(count: int, seed: int) -> Scene:
    """What a detector gives: better scores nearer to the object, one class for most boxes of it."""
    rng = np.random.default_rng([count, seed])
    objects = max(1, count // BOXES_PER_OBJECT)
    owner = rng.integers(0, objects, count)
    size = np.exp(rng.uniform(np.log(16), np.log(256), (objects, 2)))[owner]
    offset, stretch = rng.normal(size=(2, count, 2))
    centre = rng.uniform(0, PICTURE_SIDE, (objects, 2))[owner] + offset * 0.08 * size
    size *= np.exp(0.12 * stretch)
    quality = rng.beta(5, 2, objects)[owner] * np.exp(-0.3 * np.abs(np.hstack((offset, stretch))).sum(axis=1))
    right = rng.random(count) < 0.9
    classes = np.where(right, rng.integers(0, CLASSES, objects)[owner], rng.integers(0, CLASSES, count))

    strays = np.flatnonzero(rng.random(count) < 0.1)
    centre[strays] = rng.uniform(0, PICTURE_SIDE, (len(strays), 2))
    size[strays] = np.exp(rng.uniform(np.log(8), np.log(128), (len(strays), 2)))
    quality[strays] *= 0.3

    boxes = np.hstack((centre - size / 2, centre + size / 2)).astype(np.float32)
    # Only ranks matter to suppression, and ranks are distinct where float32 scores may not be.
    scores = ((quality.argsort().argsort() + 1) / count).astype(np.float32)
    return Scene(boxes, scores, classes)


def matrix_nms(boxes: NDArray[np.float32], scores: NDArray[np.float32], threshold: float) -> list[int]:
    """Suppression as tutorials teach it: overlaps of all pairs, then row by row from the best score down."""
    x1, y1, x2, y2 = boxes.T
    area = (x2 - x1) * (y2 - y1)
    width = np.clip(np.minimum(x2[:, None], x2) - np.maximum(x1[:, None], x1), 0, None)
    height = np.clip(np.minimum(y2[:, None], y2) - np.maximum(y1[:, None], y1), 0, None)
    inter = width * height
    iou = inter / (area[:, None] + area - inter)
    suppressed = np.zeros(len(boxes), dtype=bool)
    kept = []
    for i in scores.argsort()[::-1]:
        if not suppressed[i]:
            kept.append(int(i))
            suppressed |= iou[i] > threshold
    return kept


def matrix_fits(count: int) -> bool:
    return MATRIX_BYTES_PER_PAIR * count**2 <= MATRIX_LIMIT


def any_class_runs(scene: Scene, with_matrix: bool) -> dict[str, Run]:
    """Ours first, then every peer; each gives indices, best score first."""
    boxes, scores = torch.from_numpy(scene.boxes), torch.from_numpy(scene.scores)
    # OpenCV takes arrays, though its stubs ask for sequences.
    xywh: Any = np.hstack((scene.boxes[:, :2], scene.boxes[:, 2:] - scene.boxes[:, :2])).astype(np.float64)
    cv_scores: Any = scene.scores
    runs: dict[str, Run] = {
        "ours": lambda: nms(scene.boxes, scene.scores, IOU_THRESHOLD),
        "torchvision": lambda: torchvision.ops.nms(boxes, scores, IOU_THRESHOLD),
        "OpenCV": lambda: cv2.dnn.NMSBoxes(xywh, cv_scores, 0.0, IOU_THRESHOLD),
    }
    if with_matrix:
        runs["matrix"] = lambda: matrix_nms(scene.boxes, scene.scores, IOU_THRESHOLD)
    return runs


def by_class_runs(scene: Scene) -> dict[str, Run]:
    """Ours first, then torchvision's."""
    boxes, scores = torch.from_numpy(scene.boxes), torch.from_numpy(scene.scores)
    classes = torch.from_numpy(scene.classes)
    return {
        "ours": lambda: nms(scene.boxes, scene.scores, IOU_THRESHOLD, scene.classes),
        "torchvision": lambda: torchvision.ops.batched_nms(boxes, scores, classes, IOU_THRESHOLD),
    }


@dataclass(frozen=True)
class Result:
    """Milliseconds of each round, boxes kept in each, and in how many a peer kept others than ours."""

    times: dict[str, list[float]]
    kept: list[int]
    disagreements: dict[str, int]

    def median(self, name: str) -> str:
        return f"{statistics.median(self.times[name]):.3g}" if name in self.times else "-"

    def ratio(self, name: str) -> str:
        """Our time by theirs. A peer that takes part in some rounds only takes part in the first ones."""
        if name not in self.times:
            return "-"
        theirs = self.times[name]
        ours = self.times["ours"][: len(theirs)]
        return f"{statistics.median(a / b for a, b in zip(ours, theirs, strict=True)):.2f}"


def compete(rounds: int, runs_of_round: Callable[[int], dict[str, Run]]) -> Result:
    """Time what each round offers, ``ours`` among it, after one round that only warms up."""
    times: dict[str, list[float]] = {}
    kept = []
    disagreements: dict[str, int] = {}
    for index in range(-1, rounds):
        runs = runs_of_round(index)
        answers = {}
        # Whoever runs second finds the boxes in the cache, so the turns rotate.
        first = index % len(runs)
        for name in [*runs][first:] + [*runs][:first]:
            start = time.perf_counter()
            answer = runs[name]()
            elapsed = time.perf_counter() - start
            answers[name] = np.asarray(answer).tolist()
            if index >= 0:
                times.setdefault(name, []).append(elapsed * 1e3)
        if index >= 0:
            kept.append(len(answers["ours"]))
            for name, answer in answers.items():
                disagreements[name] = disagreements.get(name, 0) + (answer != answers["ours"])
    return Result(times, kept, disagreements)


def peak_megabytes(run: Run) -> str:
    """Peak of what NumPy allocates during one call. tracemalloc cannot see what C++ allocates."""
    tracemalloc.start()
    try:
        run()
        return f"{tracemalloc.get_traced_memory()[1] / 1e6:.3g}"
    finally:
        tracemalloc.stop()


def any_class_row(count: int, rounds: int) -> tuple[str, Result]:
    matrix_rounds = rounds if count < MATRIX_SLOW_FROM else MATRIX_SLOW_ROUNDS

    def runs_of_round(index: int) -> dict[str, Run]:
        return any_class_runs(
            draw(count, index + 1), with_matrix=matrix_fits(count) and index < matrix_rounds
        )

    result = compete(rounds, runs_of_round)
    runs = runs_of_round(0)
    memory = [peak_megabytes(runs[name]) if name in runs else "-" for name in ("ours", "matrix")]
    peers = ("torchvision", "OpenCV", "matrix")
    cells = [
        f"{count:,}",
        f"{statistics.median(result.kept):.0f}",
        result.median("ours"),
        *map(result.median, peers),
        *map(result.ratio, peers),
        *memory,
    ]
    return f"| {' | '.join(cells)} |", result


def by_class_row(count: int, rounds: int) -> tuple[str, Result]:
    result = compete(rounds, lambda index: by_class_runs(draw(count, index + 1)))
    memory = peak_megabytes(by_class_runs(draw(count, 1))["ours"])
    cells = [
        f"{count:,}",
        f"{statistics.median(result.kept):.0f}",
        result.median("ours"),
        result.median("torchvision"),
        result.ratio("torchvision"),
        memory,
    ]
    return f"| {' | '.join(cells)} |", result


def print_header(*names: str) -> None:
    print(f"| {' | '.join(names)} |")
    print("| --: " * len(names) + "|")


def print_disagreements(count: int, result: Result) -> None:
    for name, rounds in result.disagreements.items():
        if rounds:
            print(f"{count:,} boxes: {name} kept others than ours in {rounds} of {len(result.kept)} rounds")


def main() -> None:
    parser = argparse.ArgumentParser(description="Time suppression side by side; print Markdown tables.")
    parser.add_argument("--rounds", type=int, default=21, metavar="N", help="timed rounds of each size (21)")
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    cv2.setNumThreads(1)

    versions = {"numpy": np, "torch": torch, "torchvision": torchvision, "cv2": cv2}
    print(", ".join(f"{name} {module.__version__}" for name, module in versions.items()))
    print(f"{rounds} rounds, IoU threshold {IOU_THRESHOLD}; ms, MB, and ratios of our time by theirs\n")

    print("Any class suppresses any:\n")
    columns = ("boxes", "kept", "ours", "torchvision", "OpenCV", "matrix")
    print_header(*columns, "/ torchvision", "/ OpenCV", "/ matrix", "our MB", "matrix MB")
    results = []
    for count in SIZES:
        row, result = any_class_row(count, rounds)
        print(row, flush=True)
        results.append((count, result))
    for count in SIZES:
        if not matrix_fits(count):
            needed = MATRIX_BYTES_PER_PAIR * count**2 / 1e9
            print(f"\nThe matrix of {count:,} boxes was left out: it would need about {needed:.0f} GB.")
        elif count >= MATRIX_SLOW_FROM:
            print(f"\nThe matrix of {count:,} boxes took part in the first {MATRIX_SLOW_ROUNDS} rounds.")

    print(f"\nBoxes suppress their own class only ({CLASSES} classes, torchvision.ops.batched_nms):\n")
    print_header("boxes", "kept", "ours", "torchvision", "/ torchvision", "our MB")
    for count in SIZES:
        row, result = by_class_row(count, rounds)
        print(row, flush=True)
        results.append((count, result))
    print()
    for count, result in results:
        print_disagreements(count, result)


if __name__ == "__main__":
    main()
