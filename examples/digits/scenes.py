"""Scenes made of real handwritten digits, for training and showing a small detector.

The digits are scikit-learn's copy of the UCI set "Optical Recognition of Handwritten Digits". The backgrounds
are crops of scikit-learn's two sample photographs, and plain, graded and speckled fields. Everything follows
from a seed.

    python examples/digits/scenes.py --out examples/digits/images
"""

import argparse
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pycocotools.mask import encode
from sklearn.datasets import load_digits, load_sample_images
from sklearn.model_selection import train_test_split

Split = Literal["train", "held-out"]

SPLIT_SEED = 20
HELD_OUT_SHARE = 0.2
PHOTO_TRAIN_SHARE = 0.6
"""The left part of each photograph serves training, the rest the held-out scenes."""

MAX_DIGITS = 8
DIGIT_HEIGHT = (18.0, 90.0)
"""Height of a digit before it is turned, in pixels."""

INK_LEVEL = 0.4
"""Opacity from which a pixel counts as ink, for masks and boxes."""

MIN_VISIBLE = 0.75
"""Share of a digit's ink that later digits must leave uncovered."""

MIN_CONTRAST = 0.25
"""Least difference in luminance, of 1, between a digit and the mean of what lies under it."""

LUMINANCE = np.array((0.299, 0.587, 0.114), dtype=np.float32)
"""Rec. ITU-R BT.601 weights of R, G, B."""


@dataclass(frozen=True, slots=True)
class DigitScans:
    """Scans `images`: float32 [n, 8, 8] in 0..1, 1 is ink; what they show, `labels`: int64 [n] in 0..9."""

    images: NDArray[np.float32]
    labels: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Scene:
    """A picture and the truth about it.

    `image`: RGB. `boxes`: float32 [n, 4], x0 y0 x1 y1 in pixels, tight around the visible ink, x1 and y1 one
    past the last pixel. `labels`: int64 [n] in 0..9. `masks`: bool [n, H, W], the visible ink of each digit.
    """

    image: Image.Image
    boxes: NDArray[np.float32]
    labels: NDArray[np.int64]
    masks: NDArray[np.bool_]

    def __post_init__(self) -> None:
        n = len(self.labels)
        width, height = self.image.size
        if self.boxes.shape != (n, 4) or self.masks.shape != (n, height, width):
            raise ValueError(
                f"{n} labels need boxes [{n}, 4] and masks [{n}, {height}, {width}]: "
                f"got boxes {self.boxes.shape} and masks {self.masks.shape}"
            )


def load_scans(split: Split) -> DigitScans:
    """The scans of one split: about 80 % of each digit for training, the rest held out."""
    data = load_digits()
    train, held_out = train_test_split(
        np.arange(len(data.target)), test_size=HELD_OUT_SHARE, random_state=SPLIT_SEED, stratify=data.target
    )
    chosen = np.sort(train if split == "train" else held_out)
    images = (data.images[chosen] / 16.0).astype(np.float32)
    return DigitScans(images, data.target[chosen].astype(np.int64))


def load_backgrounds(split: Split) -> tuple[Image.Image, ...]:
    """The part of scikit-learn's sample photographs that belongs to one split."""
    parts = []
    for photo in load_sample_images().images:
        cut = round(photo.shape[1] * PHOTO_TRAIN_SHARE)
        parts.append(Image.fromarray(photo[:, :cut] if split == "train" else photo[:, cut:]))
    return tuple(parts)


def compose(
    rng: np.random.Generator,
    digits: DigitScans,
    backgrounds: Sequence[Image.Image],
    height: int,
    width: int,
    count: int | Literal["any"] = "any",
) -> Scene:
    """A scene of `height` x `width` pixels with `count` digits, or fewer where no room is left for more."""
    canvas = draw_background(rng, backgrounds, height, width)
    wanted = int(rng.integers(0, MAX_DIGITS + 1)) if count == "any" else count
    inks: list[NDArray[np.bool_]] = []
    labels: list[int] = []
    for _ in range(wanted):
        index = int(rng.integers(len(digits.labels)))
        opacity = draw_digit(rng, digits.images[index], limit=0.7 * min(height, width))
        corner = find_room(rng, opacity >= INK_LEVEL, inks, height, width)
        if corner is None:
            continue
        inks.append(paint(rng, canvas, opacity, corner))
        labels.append(int(digits.labels[index]))
    masks = hide_covered(inks, height, width)
    boxes = np.array([tight_box(mask) for mask in masks], dtype=np.float32).reshape(-1, 4)
    pixels = canvas + rng.normal(0.0, rng.uniform(0.0, 0.015), canvas.shape).astype(np.float32)
    image = Image.fromarray((np.clip(pixels, 0.0, 1.0) * 255.0).round().astype(np.uint8))
    return Scene(image, boxes, np.array(labels, dtype=np.int64), masks)


def draw_background(
    rng: np.random.Generator, photos: Sequence[Image.Image], height: int, width: int
) -> NDArray[np.float32]:
    """A photograph's crop, or a plain, graded or speckled field: float32 [H, W, 3] in 0..1."""
    kind = rng.random()
    if kind < 0.5:
        return crop_photo(rng, photos[int(rng.integers(len(photos)))], height, width)
    first, second = rng.random((2, 3)).astype(np.float32)
    if kind < 0.65:
        return np.broadcast_to(first, (height, width, 3)).copy()
    angle = rng.uniform(0.0, 2.0 * math.pi)
    rows, columns = np.mgrid[0:height, 0:width]
    along = columns / width * math.cos(angle) + rows / height * math.sin(angle)
    share = ((along - along.min()) / np.ptp(along))[..., None].astype(np.float32)
    field: NDArray[np.float32] = first + (second - first) * share
    if kind < 0.8:
        return field
    grain = int(rng.integers(1, 9))
    coarse = rng.random((-(-height // grain), -(-width // grain), 3)).astype(np.float32)
    speckle = coarse.repeat(grain, axis=0).repeat(grain, axis=1)[:height, :width] - 0.5
    return np.clip(field + speckle * np.float32(rng.uniform(0.1, 0.4)), 0.0, 1.0)


def crop_photo(rng: np.random.Generator, photo: Image.Image, height: int, width: int) -> NDArray[np.float32]:
    """A random crop of the scene's own aspect, resized, perhaps mirrored: float32 [H, W, 3] in 0..1."""
    largest = min(photo.width / width, photo.height / height)
    scale = largest * rng.uniform(0.35, 1.0)
    crop_width, crop_height = scale * width, scale * height
    left = rng.uniform(0.0, photo.width - crop_width)
    top = rng.uniform(0.0, photo.height - crop_height)
    box = (left, top, left + crop_width, top + crop_height)
    resized = photo.resize((width, height), Image.Resampling.BILINEAR, box)
    picture = np.asarray(resized, dtype=np.float32) / np.float32(255.0)
    picture = picture[:, ::-1] if rng.random() < 0.5 else picture
    lit: NDArray[np.float32] = np.clip(picture * np.float32(rng.uniform(0.6, 1.2)), 0.0, 1.0)
    return lit


def draw_digit(rng: np.random.Generator, scan: NDArray[np.float32], limit: float) -> NDArray[np.float32]:
    """One scan, enlarged, slightly turned and sheared: opacity float32 [h, w] in 0..1, cropped to its ink.

    `limit` is the greatest height and width in pixels.
    """
    low, high = np.log(DIGIT_HEIGHT)
    size = min(float(np.exp(rng.uniform(low, high))), limit / 1.3)
    side = round(size * 12 / 8)
    padded = Image.fromarray((np.pad(scan, 2) * 255.0).astype(np.uint8))
    turn, shear = math.radians(rng.uniform(-12.0, 12.0)), rng.uniform(-0.15, 0.15)
    stretch = rng.uniform(0.85, 1.1)
    # PIL maps each output pixel back to the input: output -> centred -> turned, sheared, shrunk -> input.
    inverse = np.array(((math.cos(turn), math.sin(turn)), (-math.sin(turn), math.cos(turn))))
    inverse = np.array(((1.0 / stretch, shear), (0.0, 1.0))) @ inverse * (12 / side)
    offset = 6.0 - inverse @ np.array((side / 2.0, side / 2.0))
    coefficients = (*inverse[0], offset[0], *inverse[1], offset[1])
    drawn = padded.transform((side, side), Image.Transform.AFFINE, coefficients, Image.Resampling.BICUBIC)
    # Enlarged eightfold the scan is a blur: a steeper edge makes it look like a pen's stroke.
    steepness = rng.uniform(1.2, 4.0)
    blur = np.asarray(drawn, dtype=np.float32) / 255.0 - 0.48
    opacity: NDArray[np.float32] = np.clip(blur * np.float32(steepness) + 0.5, 0.0, 1.0)
    x0, y0, x1, y1 = tight_box(opacity >= INK_LEVEL)
    return opacity[y0:y1, x0:x1]


def find_room(
    rng: np.random.Generator,
    ink: NDArray[np.bool_],
    inks: Sequence[NDArray[np.bool_]],
    height: int,
    width: int,
) -> tuple[int, int] | None:
    """A (top, left) where `ink` (bool [h, w]) leaves all earlier digits mostly visible, if one is found.

    `inks` are the digits painted before: bool [H, W] each, whole, in the order of painting.
    """
    h, w = ink.shape
    if h >= height or w >= width:
        return None
    visible = hide_covered(inks, height, width)
    for _ in range(10):
        top, left = int(rng.integers(height - h)), int(rng.integers(width - w))
        frame = (slice(top, top + h), slice(left, left + w))
        left_visible = [
            (np.count_nonzero(seen) - np.count_nonzero(seen[frame] & ink)) / np.count_nonzero(whole)
            for seen, whole in zip(visible, inks, strict=True)
        ]
        crowded = sum(bool((whole[frame] & ink).any()) for whole in inks)
        if crowded <= 1 and min(left_visible, default=1.0) >= MIN_VISIBLE:
            return top, left
    return None


def paint(
    rng: np.random.Generator,
    canvas: NDArray[np.float32],
    opacity: NDArray[np.float32],
    corner: tuple[int, int],
) -> NDArray[np.bool_]:
    """Blend one digit into `canvas` (float32 [H, W, 3], changed in place); return its ink: bool [H, W]."""
    (top, left), (h, w) = corner, opacity.shape
    frame = canvas[top : top + h, left : left + w]
    under = float((frame @ LUMINANCE).mean())
    colour = rng.random(3).astype(np.float32)
    for _ in range(20):
        if abs(float(colour @ LUMINANCE) - under) >= MIN_CONTRAST:
            break
        colour = rng.random(3).astype(np.float32)
    else:
        colour = np.full(3, 0.0 if under > 0.5 else 1.0, dtype=np.float32)
    share = opacity[..., None] * np.float32(rng.uniform(0.85, 1.0))
    frame += (colour - frame) * share
    ink = np.zeros(canvas.shape[:2], dtype=np.bool_)
    ink[top : top + h, left : left + w] = opacity >= INK_LEVEL
    return ink


def hide_covered(inks: Sequence[NDArray[np.bool_]], height: int, width: int) -> NDArray[np.bool_]:
    """What of each digit is visible when they are painted in this order: bool [n, H, W]."""
    visible = np.zeros((len(inks), height, width), dtype=np.bool_)
    above = np.zeros((height, width), dtype=np.bool_)
    for index in reversed(range(len(inks))):
        visible[index] = inks[index] & ~above
        above |= inks[index]
    return visible


def tight_box(mask: NDArray[np.bool_]) -> tuple[int, int, int, int]:
    """x0, y0, x1, y1 around the true pixels of `mask` (bool [H, W]), x1 and y1 one past the last."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if rows.size == 0:
        raise ValueError("the mask has no ink: there is nothing to put a box around")
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


SHOWN: tuple[tuple[int, int, int], ...] = (
    (256, 256, 7),
    (192, 320, 4),
    (320, 192, 4),
    (160, 160, 2),
    (224, 352, 6),
    (352, 224, 5),
    (224, 288, 0),
    (480, 320, 8),
    (300, 451, 14),
    (161, 239, 3),
    (288, 288, 5),
    (243, 187, 1),
)
"""Height, width and number of digits of the pictures that stand in the folder `images`."""


def coco_document(scenes: Sequence[Scene]) -> dict[str, list[dict[str, object]]]:
    """The scenes' truth in COCO's layout: `bbox` is x y width height in pixels, `segmentation` the visible
    ink as a run-length code, `category_id` the digit."""
    images: list[dict[str, object]] = []
    annotations: list[dict[str, object]] = []
    for number, scene in enumerate(scenes, start=1):
        width, height = scene.image.size
        name = f"scene-{number:02d}.png"
        images.append({"id": number, "file_name": name, "width": width, "height": height})
        for box, label, mask in zip(scene.boxes, scene.labels, scene.masks, strict=True):
            x0, y0, x1, y1 = (float(edge) for edge in box)
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": number,
                    "category_id": int(label),
                    "bbox": [x0, y0, x1 - x0, y1 - y0],
                    "segmentation": run_lengths(mask),
                    "area": int(np.count_nonzero(mask)),
                    "iscrowd": 0,
                }
            )
    categories: list[dict[str, object]] = [{"id": digit, "name": str(digit)} for digit in range(10)]
    return {"images": images, "annotations": annotations, "categories": categories}


def run_lengths(mask: NDArray[np.bool_]) -> dict[str, object]:
    """COCO's compressed run-length code of a mask, bool [H, W]."""
    code = encode(np.asfortranarray(mask, np.uint8))
    return {"size": [int(side) for side in code["size"]], "counts": code["counts"].decode("ascii")}


SIDE = 256
"""Height and width of scenes that are asked for by their number, in pixels."""


def main() -> None:
    """Write the shown scenes, or as many as are asked for, and their truth."""
    parser = argparse.ArgumentParser(description="Write the twelve held-out scenes that the examples show.")
    parser.add_argument("--out", type=Path, required=True, help="folder for the pictures and scenes.json")
    parser.add_argument("--seed", type=int, default=21)
    parser.add_argument("--split", choices=("train", "held-out"), default="held-out")
    parser.add_argument(
        "--scenes", type=int, help=f"so many others, of {SIDE} x {SIDE} pixels and up to {MAX_DIGITS} digits"
    )
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(options.seed)
    scans, photos = load_scans(options.split), load_backgrounds(options.split)
    if options.scenes is None:
        scenes = [compose(rng, scans, photos, height, width, count) for height, width, count in SHOWN]
    else:
        scenes = [compose(rng, scans, photos, SIDE, SIDE) for _ in range(options.scenes)]
    for number, scene in enumerate(scenes, start=1):
        scene.image.save(options.out / f"scene-{number:02d}.png", optimize=True)
    text = json.dumps(coco_document(scenes), indent=1)
    (options.out / "scenes.json").write_text(text + "\n", encoding="utf-8")
    print(f"{len(scenes)} scenes with {sum(len(scene.labels) for scene in scenes)} digits in {options.out}")


if __name__ == "__main__":
    main()
