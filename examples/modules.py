"""Modules that were not written for onnxproof, each made by a call: what ``model.builder`` in a job names.

Their weights are seeded, not trained: put a state dict at ``model.checkpoint`` for real ones.
"""

import importlib
from typing import Any

import torch
from torch import Tensor, nn


def bert(hidden_size: int = 64, layers: int = 2, vocabulary: int = 1000) -> nn.Module:
    """A BERT encoder of Hugging Face's transformers: ``input_ids`` and ``attention_mask`` int64 [b, t] to
    ``last_hidden_state`` [b, t, hidden_size] and ``pooler_output`` [b, hidden_size]."""
    from transformers import BertConfig, BertModel  # noqa: PLC0415

    torch.manual_seed(0)
    config = BertConfig(
        hidden_size=hidden_size,
        num_hidden_layers=layers,
        num_attention_heads=4,
        intermediate_size=2 * hidden_size,
        vocab_size=vocabulary,
    )
    return BertModel(config)


def deeplabv3(num_classes: int = 4) -> nn.Module:
    """torchvision's DeepLabv3 on a ResNet-50: pictures [b, 3, h, w] to a dict of ``out`` and ``aux``, class
    logits [b, C, h, w]."""
    from torchvision.models.segmentation import deeplabv3_resnet50  # noqa: PLC0415

    torch.manual_seed(0)
    network: nn.Module = deeplabv3_resnet50(
        weights=None, weights_backbone=None, num_classes=num_classes, aux_loss=True
    )
    return network


class UltralyticsDetector(nn.Module):
    """A detection model of Ultralytics with its rows of centre, size and class scores [b, 4 + C, n] told
    apart: ``boxes`` [b, n, 4] (x0, y0, x1, y1, pixels) and ``scores`` [b, n, C], as the task detection takes
    them."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Pictures float [b, 3, h, w] in [0, 1], sides in steps of 32."""
        rows = self.network(images)[0].transpose(1, 2)
        centres, sizes = rows[..., :2], rows[..., 2:4]
        boxes = torch.cat((centres - sizes / 2, centres + sizes / 2), dim=-1)
        return {"boxes": boxes, "scores": rows[..., 4:]}


def ultralytics(yaml: str = "yolov8n.yaml", num_classes: int = 80) -> nn.Module:
    """A detection model of Ultralytics, built from its yaml."""
    tasks: Any = importlib.import_module("ultralytics.nn.tasks")
    torch.manual_seed(0)
    network = tasks.DetectionModel(yaml, nc=num_classes, verbose=False)
    network.model[-1].dynamic = True  # anchors follow the picture's size
    return UltralyticsDetector(network)
