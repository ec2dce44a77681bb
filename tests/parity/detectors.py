"""Seeded detectors of torchvision that find something: untrained, but with every number that training would
have spread taken from pictures.

Untrained, torchvision's heads say the same of every anchor. Here the backbone's normalisation has seen the
demo's pictures, and the head's last layers are scaled so that over those pictures their outputs vary as a
trained head's do: most scores near 0, some near 1, and boxes of many sizes.

``plain_*`` build the same networks as they come, for jobs whose checkpoint brings the numbers.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torchvision.models import detection, resnet18
from torchvision.models.detection.anchor_utils import DefaultBoxGenerator
from torchvision.models.detection.backbone_utils import BackboneWithFPN
from torchvision.models.detection.ssd import SSD, SSDFeatureExtractorVGG
from torchvision.models.vgg import make_layers
from torchvision.ops.feature_pyramid_network import LastLevelP6P7

PICTURES = Path(__file__).parents[2] / "examples" / "digits" / "images"

CHANNELS = 64
"""Of each level of a feature pyramid."""

SSD_OUTPUTS: dict[str, Any] = {
    "logits": (0, 1.8),
    "deltas": (0, 1),
    "size": (300, 300),
    "background": 7,
    "count": 4,
}
"""How the outputs of the SSDs of VGG-16 are to vary."""


def pictures(height: int, width: int, count: int) -> Tensor:
    """The first of the demo's pictures, resized: float32 [count, 3, height, width] in [0, 1]."""
    files = sorted(PICTURES.glob("*.png"))[:count]
    images = [Image.open(file).convert("RGB").resize((width, height)) for file in files]
    planes = np.stack([np.asarray(image, np.float32) / 255 for image in images]).transpose(0, 3, 1, 2)
    return torch.from_numpy(np.ascontiguousarray(planes))


def plain_retinanet() -> Any:
    """A RetinaNet on a ResNet-18, 5 labels, that resizes to 160 pixels, at most 256."""
    return detection.RetinaNet(_backbone(), num_classes=5, min_size=160, max_size=256)


def plain_fcos() -> Any:
    """An FCOS on a ResNet-18, 5 labels, that resizes to 160 pixels, at most 256."""
    return detection.FCOS(_backbone(), num_classes=5, min_size=160, max_size=256)


def plain_ssdlite() -> Any:
    """``ssdlite320_mobilenet_v3_large`` with 6 labels, the background among them, at 320x320."""
    return detection.ssdlite320_mobilenet_v3_large(
        weights=None, weights_backbone=None, num_classes=6, score_thresh=0.05
    )


def plain_ssd() -> Any:
    """``plain_ssd300`` with a VGG-16 that has few channels where its form does not fix them: about a tenth of
    the work."""
    backbone = make_layers([8, 8, "M", 16, 16, "M", 32, 32, 32, "M", 64, 64, 512, "M", 64, 64, 512, "M"])
    for layer in backbone:
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
    return SSD(
        SSDFeatureExtractorVGG(backbone, highres=False),
        DefaultBoxGenerator(
            [[2], [2, 3], [2, 3], [2, 3], [2], [2]],
            scales=[0.07, 0.15, 0.33, 0.51, 0.69, 0.87, 1.05],
            steps=[8, 16, 32, 64, 100, 300],
        ),
        (300, 300),
        num_classes=4,
        score_thresh=0.05,
        image_mean=[0.48235, 0.45882, 0.40784],
        image_std=[1 / 255] * 3,
    )


def plain_ssd300() -> Any:
    """``ssd300_vgg16`` with 4 labels, the background among them, at 300x300."""
    return detection.ssd300_vgg16(weights=None, weights_backbone=None, num_classes=4, score_thresh=0.05)


def retinanet() -> Any:
    """``plain_retinanet``, calibrated."""
    torch.manual_seed(0)
    network = plain_retinanet()
    _spread_towers(network.head)
    return _calibrated(network, logits=(-6, 2), deltas=(0, 0.4), size=(192, 256))


def fcos() -> Any:
    """``plain_fcos``, calibrated."""
    torch.manual_seed(1)
    network = plain_fcos()
    _spread_towers(network.head)
    return _calibrated(network, logits=(-5, 2), deltas=(2, 1), size=(192, 256))


def ssdlite() -> Any:
    """``plain_ssdlite``, calibrated."""
    torch.manual_seed(2)
    return _calibrated(plain_ssdlite(), logits=(0, 1.8), deltas=(0, 1.5), size=(320, 320), background=7)


def ssd() -> Any:
    """``plain_ssd``, calibrated."""
    torch.manual_seed(3)
    return _calibrated(plain_ssd(), **SSD_OUTPUTS)


def ssd300() -> Any:
    """``plain_ssd300``, calibrated."""
    torch.manual_seed(3)
    return _calibrated(plain_ssd300(), **SSD_OUTPUTS)


def _backbone() -> nn.Module:
    """``resnet_fpn_backbone`` with 64 channels for 256: the heads are a sixteenth of the work."""
    stages = {"layer2": "0", "layer3": "1", "layer4": "2"}
    backbone: nn.Module = BackboneWithFPN(
        resnet18(weights=None, norm_layer=nn.BatchNorm2d),
        stages,
        [128, 256, 512],
        CHANNELS,
        LastLevelP6P7(CHANNELS, CHANNELS),
    )
    return backbone


def _spread_towers(head: nn.Module) -> None:
    """Give the convolutions that all levels share weights that keep their input's variance."""
    for layer in head.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")


def _calibrated(
    network: Any,
    logits: tuple[float, float],
    deltas: tuple[float, float],
    size: tuple[int, int],
    background: float = 0,
    count: int = 8,
) -> Any:
    """``network`` in evaluation mode, with the mean and standard deviation of its logits and deltas those
    given (centerness: 1 and 2), channel by channel, and the logits of class 0 raised by ``background``."""
    mean, std = (
        torch.tensor(values).view(1, 3, 1, 1)
        for values in (network.transform.image_mean, network.transform.image_std)
    )
    batch = (pictures(*size, count) - mean) / std
    with torch.no_grad():
        _settle_norms(network, batch)
        features = list(network.backbone(batch).values())
        head = network.head
        for part, name, wanted in (
            (head.classification_head, "cls_logits", logits),
            (head.regression_head, "bbox_reg", deltas),
            (head.regression_head, "bbox_ctrness", (1.0, 2.0)),
        ):
            for layer in _last_layers(part, name):
                _scale(layer, _seen(layer, head, features), *wanted)
        if background:
            for layer in _last_layers(head.classification_head, "cls_logits"):
                layer.bias.view(-1, head.classification_head.num_columns)[:, 0] += background
    return network


def _settle_norms(network: nn.Module, batch: Tensor) -> None:
    """Set the running statistics of every batch normalisation to those of the batch, layer after layer."""
    norms = [layer for layer in network.modules() if isinstance(layer, nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    network.train()
    for norm in norms:
        norm.momentum = 1.0
    network.head(list(network.backbone(batch).values()))  # type: ignore[operator]
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    network.eval()


def _last_layers(part: Any, name: str) -> Iterator[Any]:
    """The convolutions that a part of the head ends in: SSD has one for each level, others share one."""
    if hasattr(part, "module_list"):
        if name != "bbox_ctrness":
            yield from (
                level[-1] if isinstance(level, nn.Sequential) else level for level in part.module_list
            )
    elif hasattr(part, name):
        yield getattr(part, name)


def _seen(layer: nn.Module, head: nn.Module, features: Sequence[Tensor]) -> Tensor:
    """What the layer returns while the head runs, [channels, values] over all levels."""
    outputs: list[Tensor] = []
    handle = layer.register_forward_hook(lambda _module, _args, output: outputs.append(output))
    head(features)
    handle.remove()
    return torch.cat([output.transpose(0, 1).flatten(1) for output in outputs], dim=1)


def _scale(layer: Any, values: Tensor, mean: float, std: float) -> None:
    factors = std / values.std(dim=1).clamp(min=1e-6)
    layer.weight.mul_(factors.view(-1, 1, 1, 1))
    layer.bias.copy_((layer.bias - values.mean(dim=1)) * factors + mean)
