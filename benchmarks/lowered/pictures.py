"""The pictures that train, calibrate and judge: one handwritten digit on each, or scenes of many."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image
from scenes import DigitScans, Split, coco_document, compose, load_backgrounds, load_scans

Kind = Literal["digits", "scenes"]

LABELS = "labels.json"
SPLITS: tuple[tuple[str, Split, int], ...] = (("calibration", "train", 5), ("judged", "held-out", 7))
"""Folder, split and seed of the pictures that calibrate and of those that judge."""

DIGIT_SHARE = 0.75, 1.0
"""Side of a digit's scan, as a share of the picture's."""
PAPER, INK = 0.4, 0.6
"""Greatest value of the paper's colour and least of the ink's, in 0..1."""
NOISE = 0.02

Drawn = tuple[list[Image.Image], Mapping[str, Any]]
"""Pictures, and their truth in COCO's layout."""


def write_pictures(folder: Path, kind: Kind, side: int, counts: tuple[int, int]) -> None:
    """Write as many square pictures as are asked for to calibrate and to judge, unless they are there."""
    draw: Callable[[np.random.Generator, Split, int, int], Drawn] = {"digits": _digits, "scenes": _scenes}[
        kind
    ]
    for (name, split, seed), count in zip(SPLITS, counts, strict=True):
        place = folder / name
        if (place / LABELS).exists():
            continue
        place.mkdir(parents=True, exist_ok=True)
        images, document = draw(np.random.default_rng(seed), split, side, count)
        for image, told in zip(images, document["images"], strict=True):
            image.save(place / told["file_name"])
        (place / LABELS).write_text(json.dumps(document), encoding="utf-8")


def draw_digit(random: np.random.Generator, scans: DigitScans, side: int) -> tuple[Image.Image, int]:
    """A scan in light ink on dark paper, with noise: an RGB picture, and the digit that it shows."""
    number = int(random.integers(len(scans.labels)))
    size = round(side * random.uniform(*DIGIT_SHARE))
    scan = Image.fromarray((scans.images[number] * 255).astype(np.uint8))
    opacity = np.asarray(scan.resize((size, size), Image.Resampling.BICUBIC), np.float32)[..., None] / 255
    paper, ink = random.uniform(0.0, PAPER, 3), random.uniform(INK, 1.0, 3)
    canvas = np.broadcast_to(paper.astype(np.float32), (side, side, 3)).copy()
    top, left = random.integers(side - size + 1, size=2)
    frame = canvas[top : top + size, left : left + size]
    frame += (ink.astype(np.float32) - frame) * opacity
    canvas += random.normal(0.0, NOISE, canvas.shape).astype(np.float32)
    return Image.fromarray((canvas.clip(0, 1) * 255).round().astype(np.uint8)), int(scans.labels[number])


def _digits(random: np.random.Generator, split: Split, side: int, count: int) -> Drawn:
    scans = load_scans(split)
    drawn = [draw_digit(random, scans, side) for _ in range(count)]
    numbered = list(enumerate(drawn, start=1))
    document = {
        "images": [
            {"id": number, "file_name": f"digit-{number:04d}.png", "width": side, "height": side}
            for number, _ in numbered
        ],
        "annotations": [
            {"id": number, "image_id": number, "category_id": label} for number, (_, label) in numbered
        ],
        "categories": [{"id": digit, "name": str(digit)} for digit in range(10)],
    }
    return [image for image, _ in drawn], document


def _scenes(random: np.random.Generator, split: Split, side: int, count: int) -> Drawn:
    scans, photos = load_scans(split), load_backgrounds(split)
    made = [compose(random, scans, photos, side, side) for _ in range(count)]
    return [scene.image for scene in made], coco_document(made)
