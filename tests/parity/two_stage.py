"""Seeded two-stage detectors of torchvision that find dozens of things that lie apart.

Untrained heads say the same of every proposal. Here the backbone's normalisation has seen the demo's
pictures, and the last layers are scaled so that over those pictures their outputs vary as a trained network's
do. Few proposals that hardly overlap are looked at, so that the detections lie apart.
"""

from collections.abc import Callable
from typing import Any

import torch
from detectors import pictures
from torch import Tensor, nn
from torchvision.models.detection import FasterRCNN, MaskRCNN
from torchvision.models.detection.backbone_utils import resnet_fpn_backbone
from torchvision.models.resnet import BasicBlock, Bottleneck

CLASSES = 5
"""The background among them."""

SETTINGS = {
    "min_size": 96,
    "max_size": 160,
    "rpn_nms_thresh": 0.3,
    "rpn_post_nms_top_n_test": 30,
    "rpn_pre_nms_top_n_test": 200,
    "box_nms_thresh": 0.3,
    "box_detections_per_img": 20,
}
BACKGROUND = 3.0
"""By how much the logit of the background is raised, so that about half of the proposals show nothing."""

RESIDUAL = 0.25
"""The weight of what each block adds. With 1, a hundred untrained blocks amplify every rounding error."""

SEEN = (192, 256, 4)
"""Height, width and number of the pictures that the layers are scaled on."""


def faster_rcnn(backbone: str = "resnet18", **settings: Any) -> Any:
    """A Faster R-CNN on a ResNet."""
    return _calibrated(FasterRCNN, backbone, {**SETTINGS, **settings})


def mask_rcnn(backbone: str = "resnet18", **settings: Any) -> Any:
    """A Mask R-CNN on a ResNet."""
    return _calibrated(MaskRCNN, backbone, {**SETTINGS, **settings})


def _calibrated(kind: Callable[..., Any], backbone: str, settings: dict[str, Any]) -> Any:
    torch.manual_seed(7)
    body = resnet_fpn_backbone(
        backbone_name=backbone, weights=None, norm_layer=nn.BatchNorm2d, trainable_layers=5
    )
    network = kind(body, num_classes=CLASSES, **settings).eval()
    # Noise is among them, so that it does not drive the scores to where float32 tells none apart.
    batch = [*pictures(*SEEN), torch.rand(3, *SEEN[:2])]
    with torch.no_grad():
        images, _ = network.transform(batch)
        _settle_norms(network.backbone, images.tensors)
        heads = network.roi_heads
        for layer, mean, std in (
            (network.rpn.head.cls_logits, -1.0, 1.0),
            (network.rpn.head.bbox_pred, 0.0, 0.3),
            (heads.box_predictor.cls_score, 0.0, 3.0),
            (heads.box_predictor.bbox_pred, 0.0, 0.5),
        ):
            _scale(layer, _seen(layer, lambda: network(batch)), mean, std)
        heads.box_predictor.cls_score.bias[0] += BACKGROUND
        if heads.has_mask():
            layer = heads.mask_predictor.mask_fcn_logits
            _scale(layer, _seen(layer, lambda: network(batch)), 0.0, 4.0)
    return network


def _settle_norms(backbone: nn.Module, batch: Tensor) -> None:
    """Set the running statistics of every batch normalisation to those of the batch."""
    norms = [layer for layer in backbone.modules() if isinstance(layer, nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = 1.0
    for block in backbone.modules():
        if isinstance(block, Bottleneck | BasicBlock):
            nn.init.constant_((block.bn3 if isinstance(block, Bottleneck) else block.bn2).weight, RESIDUAL)
    backbone.train()
    backbone(batch)
    backbone.eval()
    for norm in norms:
        norm.momentum = 0.1


def _seen(layer: nn.Module, run: Callable[[], Any]) -> Tensor:
    """What a layer returns while something runs, [channels, values]."""
    outputs: list[Tensor] = []
    handle = layer.register_forward_hook(
        lambda _module, _args, output: outputs.append(output.transpose(0, 1).flatten(1))
    )
    run()
    handle.remove()
    return torch.cat(outputs, dim=1)


def _scale(layer: Any, values: Tensor, mean: float, std: float) -> None:
    """Scale a layer so that each channel's values have the given mean and standard deviation."""
    factors = std / values.std(dim=1).clamp(min=1e-6)
    layer.weight.mul_(factors.view(-1, *[1] * (layer.weight.ndim - 1)))
    layer.bias.copy_((layer.bias - values.mean(dim=1)) * factors + mean)
