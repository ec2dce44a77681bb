"""What a YOLOX network predicts, in pixels, and the loss that trains it.

The loss follows Ge et al., "YOLOX: Exceeding YOLO Series in 2021" (https://arxiv.org/abs/2107.08430).
A digit is given the few grid cells that fit it best at the moment ("SimOTA"). Those cells learn the box, the
objectness and the class. The assignment uses plain IoU: it is never negative, so its logarithm is defined.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional
from torchvision.ops import generalized_box_iou_loss

STRIDES = (8, 16, 32)
"""Pixels a cell of each level, finest level first."""

LARGEST_LOG_SIZE = 5.0
"""Cap on log(size / stride): exp of an untrained network's output must not overflow."""

CENTRE_RADIUS = 2.0
"""A cell may serve a digit whose centre is at most this many strides away."""

CANDIDATES = 10
"""A digit gets as many cells as its best 10 IoUs sum to, at least one."""

IOU_COST, OUTSIDE_COST = 3.0, 1e5
BOX_WEIGHT, SIZE_WEIGHT = 5.0, 0.5
EPSILON = 1e-8

Levels = tuple[list[Tensor], list[Tensor], list[Tensor]]
"""The network's output: class logits, boxes, objectness logits; one float32 [B, 10 | 4 | 1, h, w] a level."""


@dataclass(frozen=True, slots=True)
class Predictions:
    """What the network says about its N cells, finest level first, in rows.

    `classes`: logits [B, N, 10]. `objectness`: logits [B, N]. `boxes`: [B, N, 4], x0 y0 x1 y1 in pixels.
    `centres`: [N, 2], x y of the cells' centres in pixels. `strides`: [N] in pixels. All float32.
    """

    classes: Tensor
    objectness: Tensor
    boxes: Tensor
    centres: Tensor
    strides: Tensor


@dataclass(frozen=True, slots=True)
class Targets:
    """The digits of B pictures, filled up to G rows.

    `boxes`: float32 [B, G, 4], x0 y0 x1 y1 in pixels. `labels`: int64 [B, G].
    `real`: bool [B, G], false for filling.
    """

    boxes: Tensor
    labels: Tensor
    real: Tensor


def decode(levels: Levels) -> Predictions:
    """Lay out the levels as one row of cells and turn offsets into boxes in pixels."""
    classes, offsets, objectness = (
        torch.cat([level.flatten(2).transpose(1, 2) for level in part], dim=1) for part in levels
    )
    grids = [
        cells(level.shape[2], level.shape[3], stride)
        for level, stride in zip(levels[0], STRIDES, strict=True)
    ]
    corner, stride = (torch.cat(part) for part in zip(*grids, strict=True))
    middle = offsets[..., :2] * stride[:, None] + corner
    half = offsets[..., 2:].clamp(max=LARGEST_LOG_SIZE).exp() * stride[:, None] / 2
    boxes = torch.cat((middle - half, middle + half), dim=-1)
    return Predictions(classes, objectness[..., 0], boxes, corner + stride[:, None] / 2, stride)


def cells(height: int, width: int, stride: int) -> tuple[Tensor, Tensor]:
    """A level's cells in rows: top left corners, float32 [n, 2], x y in pixels, and strides, float32 [n]."""
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    corners = torch.stack((columns, rows), dim=-1).reshape(-1, 2).float() * stride
    return corners, torch.full((height * width,), float(stride))


def pairwise_iou(first: Tensor, second: Tensor) -> Tensor:
    """IoU of every box of `first` [B, N, 4] with every box of `second` [B, G, 4]: float32 [B, N, G]."""
    low = torch.maximum(first[:, :, None, :2], second[:, None, :, :2])
    high = torch.minimum(first[:, :, None, 2:], second[:, None, :, 2:])
    shared = (high - low).clamp(min=0).prod(-1)
    areas = [(boxes[..., 2:] - boxes[..., :2]).clamp(min=0).prod(-1) for boxes in (first, second)]
    return shared / (areas[0][:, :, None] + areas[1][:, None, :] - shared + EPSILON)


@torch.no_grad()
def assign(predictions: Predictions, targets: Targets) -> tuple[Tensor, Tensor]:
    """Which digit each cell learns, and how well its box fits now.

    Returns the digit's index, -1 for none (int64 [B, N]), and the IoU with it, 0 for none (float32 [B, N]).
    """
    iou = pairwise_iou(predictions.boxes, targets.boxes)
    low, high = targets.boxes[:, None, :, :2], targets.boxes[:, None, :, 2:]
    points = predictions.centres[None, :, None]
    inside = ((points > low) & (points < high)).all(-1)
    reach = CENTRE_RADIUS * predictions.strides[None, :, None]
    near = ((points - (low + high) / 2).abs().amax(-1)) < reach
    score = (predictions.classes.sigmoid() * predictions.objectness.sigmoid()[..., None]).sqrt()
    own = score.gather(2, targets.labels[:, None].expand(-1, score.shape[1], -1)).clamp(EPSILON, 1 - 1e-6)
    # Cross-entropy with the one-hot label: each class absent but the own one, which is there.
    absent = -torch.log1p(-score.clamp(max=1 - 1e-6))
    class_cost = absent.sum(-1, keepdim=True) + torch.log1p(-own) - own.log()
    cost = class_cost - IOU_COST * (iou + EPSILON).log() + OUTSIDE_COST * ~(inside & near)
    cost = cost + 10 * OUTSIDE_COST * ~(near | inside)

    many = min(CANDIDATES, iou.shape[1])
    wanted = iou.where(near | inside, iou.new_zeros(())).topk(many, dim=1).values.sum(1).int().clamp(min=1)
    best = cost.topk(many, dim=1, largest=False).indices
    ranks = torch.arange(many)[None, :, None]
    taken = (ranks < wanted[:, None]) & targets.real[:, None]
    chosen = torch.zeros_like(iou, dtype=torch.bool).scatter(1, best, taken)
    # A cell that several digits want learns the one that it costs least.
    digit = cost.where(chosen, cost.new_full((), torch.inf)).argmin(-1)
    found = chosen.any(-1)
    fit = iou.gather(2, digit[..., None])[..., 0]
    return digit.where(found, digit.new_full((), -1)), fit.where(found, fit.new_zeros(()))


def loss(predictions: Predictions, targets: Targets) -> dict[str, Tensor]:
    """The weighted terms `box`, `size`, `object` and `class` an assigned cell: scalars, to be summed."""
    digit, fit = assign(predictions, targets)
    picture, cell = torch.nonzero(digit >= 0, as_tuple=True)
    chosen = digit[picture, cell]
    count = max(len(cell), 1)
    boxes, truth = predictions.boxes[picture, cell], targets.boxes[picture, chosen]
    stride = predictions.strides[cell, None]
    sizes = torch.stack((boxes[:, 2:] - boxes[:, :2], truth[:, 2:] - truth[:, :2])).clamp(min=1e-3)
    shift = ((boxes[:, :2] + boxes[:, 2:]) - (truth[:, :2] + truth[:, 2:])) / (2 * stride)
    label = functional.one_hot(targets.labels[picture, chosen], predictions.classes.shape[-1])
    return {
        "box": BOX_WEIGHT * generalized_box_iou_loss(boxes, truth, reduction="sum") / count,
        "size": SIZE_WEIGHT * (shift.abs().sum() + (sizes[0].log() - sizes[1].log()).abs().sum()) / count,
        "object": functional.binary_cross_entropy_with_logits(
            predictions.objectness, (digit >= 0).float(), reduction="sum"
        )
        / count,
        "class": functional.binary_cross_entropy_with_logits(
            predictions.classes[picture, cell], label * fit[picture, cell, None], reduction="sum"
        )
        / count,
    }
