"""Measure a checkpoint folder on held-out scenes: scans and parts of photographs that training never saw.

python examples/digits/evaluate.py examples/digits/yolox
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from objective import decode
from PIL import Image
from scenes import Scene, compose, load_backgrounds, load_scans
from torch import Tensor, nn
from torch.nn import functional
from torchmetrics.detection import MeanAveragePrecision
from torchvision.ops import batched_nms
from train import CHECKPOINT, PADDING, normalise

from onnxproof.wrappers.families.yolox import build_network

COARSEST_STRIDE = 32
SCORE_THRESHOLD = 0.01
IOU_THRESHOLD = 0.5
SIDES = (160, 321)
"""Least height and width in pixels, and one more than the greatest."""


def held_out_scenes(seed: int, count: int) -> list[Scene]:
    """`count` scenes of random height and width, made of held-out parts."""
    rng = np.random.default_rng(seed)
    scans, photos = load_scans("held-out"), load_backgrounds("held-out")
    sizes = rng.integers(*SIDES, size=(count, 2))
    return [compose(rng, scans, photos, int(height), int(width)) for height, width in sizes]


def load_network(folder: Path) -> nn.Module:
    """The trained network, ready to run."""
    network: nn.Module = build_network("nano", 10)
    network.load_state_dict(torch.load(folder / CHECKPOINT, weights_only=True))
    return network.eval()


@torch.no_grad()
def detect(network: nn.Module, image: Image.Image) -> dict[str, Tensor]:
    """What the network finds, best first.

    `boxes`: float32 [n, 4], x0 y0 x1 y1 in pixels. `scores`: float32 [n] in 0..1. `labels`: int64 [n].
    """
    pixels = torch.from_numpy(np.asarray(image).copy()).permute(2, 0, 1)[None]
    right, below = -image.width % COARSEST_STRIDE, -image.height % COARSEST_STRIDE
    padded = functional.pad(pixels, (0, right, 0, below), value=PADDING[-1])
    predictions = decode(network(normalise(padded)))
    scores = predictions.classes[0].sigmoid() * predictions.objectness[0].sigmoid()[:, None]
    cell, label = torch.nonzero(scores > SCORE_THRESHOLD, as_tuple=True)
    boxes, score = predictions.boxes[0, cell], scores[cell, label]
    kept = batched_nms(boxes, score, label, IOU_THRESHOLD)
    return {"boxes": boxes[kept], "scores": score[kept], "labels": label[kept]}


def main() -> None:
    """Print the mean average precision."""
    parser = argparse.ArgumentParser(description="Measure a digits checkpoint on held-out scenes.")
    parser.add_argument("folder", type=Path, help="checkpoint folder, as train.py writes it")
    parser.add_argument("--seed", type=int, default=200)
    parser.add_argument("--scenes", type=int, default=200)
    options = parser.parse_args()
    torch.set_num_threads(1)
    network = load_network(options.folder)
    metric = MeanAveragePrecision(box_format="xyxy", iou_type="bbox")
    # As in COCO the best 100 of a picture count. A low score threshold leaves more, by intent.
    metric.warn_on_many_detections = False
    digits = 0
    for scene in held_out_scenes(options.seed, options.scenes):
        truth = {"boxes": torch.from_numpy(scene.boxes), "labels": torch.from_numpy(scene.labels)}
        metric.update([detect(network, scene.image)], [truth])
        digits += len(scene.labels)
    figures = metric.compute()
    print(f"{options.scenes} held-out scenes, {digits} digits")
    print(f"mAP@0.5      {figures['map_50'].item():.4f}")
    print(f"mAP@0.5:0.95 {figures['map'].item():.4f}")


if __name__ == "__main__":
    main()
