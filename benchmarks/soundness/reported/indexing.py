"""Reported faults of indexing: repeated indices, frozen ends, boxes at the threshold."""

from typing import Any

import torch
from soundness.reported.fault import CAPTURED, TRACED, Net, Reported, exported, instead
from torch import Tensor, nn
from torchvision.ops import nms

BATCH = {"batch": "1..4"}
TARGETS = (0, 2, 2, 1, 0)
"""Two of them twice."""

BELOW_HALF = 0.4999999
"""A threshold that a box which overlaps by half exceeds."""


def added(_: Any, x: Tensor) -> Tensor:
    """Five columns summed into three."""
    index = torch.tensor(TARGETS).expand(x.shape[0], -1)
    return torch.zeros(x.shape[0], 3).to(x).scatter_add(1, index, x)


def put(_: Any, x: Tensor) -> Tensor:
    """Five rows summed into three."""
    return torch.zeros(3, 4).to(x).index_put((torch.tensor(TARGETS),), x, accumulate=True)


def kept_above(threshold: float) -> Any:
    """The scores of the boxes that are kept, 0 for the others."""

    def run(_: Any, corners: Tensor, sizes: Tensor, scores: Tensor) -> Tensor:
        boxes = torch.cat((corners, corners + sizes), 1).to(scores)
        keep = nms(boxes, scores, threshold)
        return torch.zeros_like(scores).scatter(0, keep, 1.0) * scores

    return run


FAULTS = (
    Reported(
        "scatter_add_overwrites",
        "pytorch/pytorch#32960",
        "scatter_add adds all values of one target",
        "exported for opsets before 16 as ScatterElements, which keeps the last",
        "tool",
        lambda: Net(added),
        {"x": "float32[batch, 5] in -1..1"},
        BATCH,
        exported(*TRACED, "export.opset=15"),
        overrides=CAPTURED,
    ),
    Reported(
        "index_put_overwrites",
        "pytorch/pytorch#61034",
        "index_put with accumulate adds all values of one target",
        "TorchScript's exporter writes a ScatterND that keeps the last",
        "tool",
        lambda: Net(put),
        {"x": "float32[5, 4] in -1..1"},
        {},
        exported(*TRACED),
        overrides=CAPTURED,
    ),
    Reported(
        "negative_end_frozen",
        "pytorch/pytorch#9822",
        "x[:, 1:-1] leaves out the first and the last step of any sequence",
        "the end is written as the number that it was while tracing",
        "emulated",
        lambda: Net(lambda s, x: s.l(x[:, 1:-1]), l=nn.Linear(4, 3)),
        {"x": "float32[batch, time, 4] in -1..1"},
        {"batch": "1..3", "time": "4..10"},
        instead(lambda s, x: s.l(x[:, 1:6])),
    ),
    Reported(
        "nms_at_the_threshold",
        "onnx/onnx#7615",
        "a box that overlaps by the threshold exactly is kept",
        "the comparison includes the threshold, and the box is dropped",
        "emulated",
        lambda: Net(kept_above(0.5)),
        {
            "corners": "int64[count, 2] in 0..2",
            "sizes": "int64[count, 2] in 1..2",
            "scores": "float32[count] in 0..1",
        },
        {"count": "2..12"},
        instead(kept_above(BELOW_HALF)),
    ),
)
