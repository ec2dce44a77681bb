"""A small FCOS of torchvision with seeded weights, for the soundness benchmark."""

from collections.abc import Mapping

import torch
from soundness.modules import calibrate, pictures, spread
from torch import Tensor, nn
from torchvision.models.detection import FCOS
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.backbone_utils import BackboneWithFPN


class Pyramid(nn.Module):
    """Three levels of features at strides 8, 16 and 32 for ``BackboneWithFPN``."""

    def __init__(self) -> None:
        super().__init__()

        def stage(inputs: int, channels: int) -> nn.Module:
            return nn.Sequential(
                nn.Conv2d(inputs, channels, 3, 2, 1, bias=False), nn.BatchNorm2d(channels), nn.ReLU()
            )

        self.stem = nn.Sequential(stage(3, 12), stage(12, 16))
        self.finest, self.middle, self.coarsest = stage(16, 24), stage(24, 32), stage(32, 48)

    def forward(self, image: Tensor) -> Tensor:
        """Pictures [b, 3, h, w] to the coarsest level's features."""
        answer: Tensor = self.coarsest(self.middle(self.finest(self.stem(image))))
        return answer


FCOS_SIDES = (96, 160)
"""The short side that the seeded FCOS resizes to, and the most that the long side becomes, in pixels."""

CANDIDATES = 8
"""How many of a level's candidates the seeded FCOS keeps before NMS."""


def plain_fcos() -> FCOS:
    """A small FCOS of torchvision with four labels, as it comes: NMS in its forward."""
    levels = {"finest": "0", "middle": "1", "coarsest": "2"}
    backbone = BackboneWithFPN(Pyramid(), levels, [24, 32, 48], 32)
    sizes = tuple((size,) for size in (8, 16, 32, 64))
    return FCOS(
        backbone,
        num_classes=4,
        min_size=FCOS_SIDES[0],
        max_size=FCOS_SIDES[1],
        anchor_generator=AnchorGenerator(sizes, ((1.0,),) * len(sizes)),
        score_thresh=0.41,
        nms_thresh=0.5,
        topk_candidates=CANDIDATES,
        detections_per_img=6,
    )


def fcos_weights() -> Mapping[str, Tensor]:
    """A state dict for ``plain_fcos`` under which scores and boxes are spread."""
    torch.manual_seed(6)
    network = plain_fcos()
    for layer in network.head.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    samples = (pictures(8, 96, 128, seed=6) - 0.45) / 0.225
    calibrate(network.backbone, samples)
    network.eval()
    with torch.no_grad():
        features = list(network.backbone(samples).values())
        classes, places = network.head.classification_head, network.head.regression_head
        for layer, mean, std in (
            (classes.cls_logits, -6.2, 1.6),
            (places.bbox_reg, 1.0, 1.0),
            (places.bbox_ctrness, 1.0, 1.5),
        ):
            spread(layer, _Heads(network.head, features), samples, std=std)
            layer.bias.add_(mean)
    weights: Mapping[str, Tensor] = network.state_dict()
    return weights


class _Heads(nn.Module):
    """A head on features that are given, whatever the picture."""

    def __init__(self, head: nn.Module, features: list[Tensor]) -> None:
        super().__init__()
        self.head = head
        self.features = features

    def forward(self, _: Tensor) -> dict[str, Tensor]:
        answer: dict[str, Tensor] = self.head(self.features)
        return answer
