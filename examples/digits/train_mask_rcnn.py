"""Train the demo's Mask R-CNN on one CPU thread, and measure it on held-out scenes.

python examples/digits/train_mask_rcnn.py --out MASKRCNN --start CLASSIFIER
python examples/digits/train_mask_rcnn.py --out MASKRCNN --evaluate-only
"""

import argparse
import copy
import json
import time
from pathlib import Path

import numpy as np
import torch
from evaluate import held_out_scenes
from mask_rcnn import MEAN, STD, build
from scenes import compose, load_backgrounds, load_scans
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchmetrics.detection import MeanAveragePrecision
from torchvision.models.detection import MaskRCNN
from train import COLOURS, GRADIENT_LIMIT, average, learning_rate_factor, make_optimizer

CHECKPOINT = "maskrcnn.pth"
CLASSIFIER_CHECKPOINT = "mobilenet_v2.pth"

SIDES = (112, 193)
"""Least height and width of a training scene in pixels, and one more than the greatest."""

SHORT_SIDES = (128, 209)
"""Least shorter side in pixels that the network resizes a training batch to, and one more than the greatest.
Digits are then as large as in evaluation; the pictures around them are smaller, which is faster."""

FROZEN = ("0", "1")
"""Blocks of a backbone taken from a classifier that stay as they are: at half the picture's resolution they
are the costliest to train, and what they look for serves a detector too."""

MASK_THRESHOLD = 0.5
SAVE_EVERY = 250

Truth = dict[str, Tensor]


class SceneBatches(Dataset[tuple[Tensor, list[Truth], int]]):
    """Batch number i is a function of the seed and i alone, whichever worker makes it."""

    def __init__(self, seed: int, steps: int, batch: int) -> None:
        self.seed, self.steps, self.batch = seed, steps, batch
        self.scans, self.photos = load_scans("train"), load_backgrounds("train")

    def __len__(self) -> int:
        return self.steps

    def __getitem__(self, step: int) -> tuple[Tensor, list[Truth], int]:
        """Pictures, uint8 [B, 3, H, W]; what each shows, as torchvision's detectors read it; and the shorter
        side in pixels that the network is to resize them to."""
        rng = np.random.default_rng((self.seed, step))
        height, width = (int(side) for side in rng.integers(*SIDES, size=2))
        scenes = [compose(rng, self.scans, self.photos, height, width) for _ in range(self.batch)]
        pictures = torch.from_numpy(np.stack([np.asarray(scene.image) for scene in scenes]))
        truths = [
            {
                "boxes": torch.from_numpy(scene.boxes),
                "labels": torch.from_numpy(scene.labels) + 1,
                "masks": torch.from_numpy(scene.masks).to(torch.uint8),
            }
            for scene in scenes
        ]
        return pictures.permute(0, 3, 1, 2), truths, int(rng.integers(*SHORT_SIDES))


def new_network(start_from: Path | None) -> MaskRCNN:
    """The untrained network; its backbone is a classifier's, from a checkpoint folder, where one is given."""
    network = build()
    if start_from is not None:
        trained = torch.load(start_from / CLASSIFIER_CHECKPOINT, weights_only=True)
        body = network.backbone.body
        body.load_state_dict({name: trained[f"features.{name}"] for name in body.state_dict()})
        for name in FROZEN:
            body.get_submodule(name).requires_grad_(False)
    return network


def save(network: nn.Module, out: Path) -> None:
    """Write the checkpoint folder: weights, colour map (without the background) and normalisation."""
    out.mkdir(parents=True, exist_ok=True)
    # Weights trained channels-last keep those strides in the file unless they are laid out anew.
    plain = torch.contiguous_format
    state = {name: value.clone(memory_format=plain) for name, value in network.state_dict().items()}
    partial = out / f"{CHECKPOINT}.partial"
    torch.save(state, partial)
    partial.replace(out / CHECKPOINT)
    items = [{"label": str(digit), "color": list(colour)} for digit, colour in enumerate(COLOURS)]
    write_json(out / "digits-colormap.json", {"items": items})
    write_json(out / "norm_stats.json", {"mean": list(MEAN), "std_dev": list(STD)})


def write_json(file: Path, document: object) -> None:
    """Write a document, a line for each value."""
    file.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


def load(folder: Path) -> MaskRCNN:
    """The network with a checkpoint folder's weights, ready to run."""
    network = build()
    network.load_state_dict(torch.load(folder / CHECKPOINT, weights_only=True))
    return network.eval()


def train(seed: int, steps: int, batch: int, rate: float, start_from: Path | None, out: Path) -> None:
    """Train and save; a checkpoint is written every few hundred steps."""
    torch.manual_seed(seed)
    network = new_network(start_from).to(memory_format=torch.channels_last).train()
    averaged = copy.deepcopy(network).eval()
    optimizer = make_optimizer(network, rate, decay=0.02)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: learning_rate_factor(step, steps))
    loader = DataLoader(SceneBatches(seed, steps, batch), batch_size=None, num_workers=1, prefetch_factor=8)
    sums: dict[str, float] = {}
    start = time.monotonic()
    for step, (pictures, truths, short_side) in enumerate(loader, start=1):
        network.transform.min_size = (short_side,)
        terms: dict[str, Tensor] = network(list(pictures / 255.0), truths)
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


@torch.no_grad()
def evaluate(seed: int, count: int, folder: Path) -> None:
    """Print the mean average precision of masks and boxes on scenes that training never saw."""
    network = load(folder)
    metrics = {kind: MeanAveragePrecision(iou_type=kind) for kind in ("segm", "bbox")}
    digits = 0
    for scene in held_out_scenes(seed, count):
        pixels = torch.from_numpy(np.asarray(scene.image).copy()).permute(2, 0, 1)
        found: Truth = network([pixels / 255.0])[0]
        found["masks"] = found["masks"][:, 0] > MASK_THRESHOLD
        truth = {
            "boxes": torch.from_numpy(scene.boxes),
            "labels": torch.from_numpy(scene.labels) + 1,
            "masks": torch.from_numpy(scene.masks),
        }
        for metric in metrics.values():
            metric.update([found], [truth])
        digits += len(scene.labels)
    print(f"{count} held-out scenes, {digits} digits")
    for kind, metric in metrics.items():
        figures = metric.compute()
        print(f"{kind} mAP@0.5      {figures['map_50'].item():.4f}")
        print(f"{kind} mAP@0.5:0.95 {figures['map'].item():.4f}")


def main() -> None:
    """Parse; train unless told not to; measure."""
    parser = argparse.ArgumentParser(description="Train or measure the demo's Mask R-CNN.")
    parser.add_argument("--out", type=Path, required=True, help="checkpoint folder to write or measure")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--batch", type=int, default=8, help="pictures a step")
    parser.add_argument(
        "--start", type=Path, help="classifier's folder to take the backbone from; none by default"
    )
    parser.add_argument("--rate", type=float, default=2e-3, help="peak learning rate of AdamW")
    parser.add_argument("--scenes", type=int, default=200, help="how many to measure on")
    parser.add_argument("--evaluate-only", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if not options.evaluate_only:
        train(options.seed, options.steps, options.batch, options.rate, options.start, options.out)
    evaluate(options.seed + 199, options.scenes, options.out)


if __name__ == "__main__":
    main()
