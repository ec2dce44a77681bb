"""Small networks of torchvision for the other tasks: masks, video, boxes; and more classifiers."""

from collections.abc import Callable
from functools import partial

from torch import Tensor, nn
from torchvision import models
from torchvision.models import detection, maxvit, regnet, resnet, segmentation, video
from torchvision.models._utils import IntermediateLayerGetter
from torchvision.models.detection import anchor_utils, rpn

from architectures.architecture import BATCH, Architecture, picture
from architectures.of_torchvision import CLASSES, LIBRARY, residual

CLIP = {"clip": "float32[batch, 3, frames, height, width] in -2..2"}
MOVING = {"batch": "1..2", "frames": "4..8 step 4", "height": "32..64 step 16", "width": "32..64 step 16"}
PHOTO = {"image": "float32[3, height, width] in 0..1"}
SIZES = {"height": "64..128 step 32", "width": "64..128 step 32"}


class Boxes(nn.Module):
    """A whole detector, its NMS included, on one picture."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """A picture [3, h, w] to boxes [n, 4], scores [n] and labels [n]."""
        found: dict[str, Tensor] = self.network([image])[0]
        return found


class Small(nn.Module):
    """A ResNet's last two maps, for a detector."""

    def __init__(self) -> None:
        super().__init__()
        self.body = IntermediateLayerGetter(residual(resnet.BasicBlock), {"layer3": "0", "layer4": "1"})
        self.narrow = nn.ModuleDict({"0": nn.Conv2d(256, 32, 1), "1": nn.Conv2d(512, 32, 1)})
        self.out_channels = 32

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """Pictures [b, 3, h, w] to two maps."""
        return {name: self.narrow[name](map_) for name, map_ in self.body(image).items()}


SHOWN = {"min_size": 96, "max_size": 160, "num_classes": CLASSES}


def anchors() -> anchor_utils.AnchorGenerator:
    return anchor_utils.AnchorGenerator(((16, 32), (32, 64)), ((0.5, 1.0),) * 2)


def two_stages(kind: Callable[..., nn.Module], **options: object) -> nn.Module:
    """Faster R-CNN and its kin."""
    network = kind(
        Small(),
        rpn_anchor_generator=anchors(),
        rpn_head=rpn.RPNHead(32, 4),
        rpn_pre_nms_top_n_test=50,
        rpn_post_nms_top_n_test=20,
        box_detections_per_img=8,
        **SHOWN,
        **options,
    )
    return Boxes(network)


def one_stage(kind: Callable[..., nn.Module], **options: object) -> nn.Module:
    """RetinaNet and FCOS."""
    return Boxes(
        kind(Small(), **SHOWN, score_thresh=0.0, topk_candidates=40, detections_per_img=8, **options)
    )


def atrous() -> nn.Module:
    body = IntermediateLayerGetter(residual(resnet.BasicBlock), {"layer4": "out", "layer3": "aux"})
    head = segmentation.deeplabv3.DeepLabHead(512, CLASSES, (2, 4))
    network: nn.Module = segmentation.DeepLabV3(body, head, segmentation.fcn.FCNHead(256, CLASSES))
    return network


def convolved(kind: str) -> nn.Module:
    makers = {"r3d": video.resnet.Conv3DSimple, "r2plus1d": video.resnet.Conv2Plus1D}
    stem = {"r3d": video.resnet.BasicStem, "r2plus1d": video.resnet.R2Plus1dStem}
    network: nn.Module = video.resnet.VideoResNet(
        video.resnet.BasicBlock, [makers[kind]] * 4, [1, 1, 1, 1], stem[kind], CLASSES
    )
    return network


def mazes() -> nn.Module:
    network: nn.Module = maxvit.MaxVit((64, 64), 8, 2, [8, 16], [1, 1], 8, 0.0, num_classes=CLASSES)
    return network


def quantisable() -> nn.Module:
    """A ResNet whose sums are modules, ready to be quantised."""
    block = models.quantization.resnet.QuantizableBasicBlock
    network: nn.Module = models.quantization.resnet.QuantizableResNet(
        block, [1, 1, 1, 1], num_classes=CLASSES
    )
    return network


def designed() -> nn.Module:
    parameters = regnet.BlockParams.from_init_params(
        depth=4, w_0=16, w_a=8.0, w_m=2.0, group_width=8, se_ratio=0.25
    )
    network: nn.Module = regnet.RegNet(parameters, num_classes=CLASSES)
    return network


_of = partial(Architecture, library=LIBRARY)

ARCHITECTURES: tuple[Architecture, ...] = (
    _of("regnet", build=designed),
    _of("mnasnet", build=partial(models.MNASNet, 0.35, CLASSES)),
    _of("googlenet", build=partial(models.GoogLeNet, CLASSES, aux_logits=False, init_weights=False)),
    _of("maxvit", build=mazes, inputs=picture(64), dims=BATCH),
    _of("quantisable-resnet", build=quantisable),
    _of("deeplabv3", build=atrous),
    _of(
        "lraspp",
        build=partial(
            segmentation.lraspp_mobilenet_v3_large, weights=None, weights_backbone=None, num_classes=CLASSES
        ),
    ),
    _of("r3d", build=partial(convolved, "r3d"), inputs=CLIP, dims=MOVING),
    _of("r2plus1d", build=partial(convolved, "r2plus1d"), inputs=CLIP, dims=MOVING),
    _of("faster-rcnn", build=partial(two_stages, detection.FasterRCNN), inputs=PHOTO, dims=SIZES),
    _of("mask-rcnn", build=partial(two_stages, detection.MaskRCNN), inputs=PHOTO, dims=SIZES),
    _of(
        "keypoint-rcnn",
        build=partial(two_stages, detection.KeypointRCNN, num_keypoints=3),
        inputs=PHOTO,
        dims=SIZES,
    ),
    _of(
        "retinanet",
        build=partial(one_stage, detection.RetinaNet, anchor_generator=anchors()),
        inputs=PHOTO,
        dims=SIZES,
    ),
    _of(
        "fcos",
        build=partial(
            one_stage,
            detection.FCOS,
            anchor_generator=anchor_utils.AnchorGenerator(((16,), (32,)), ((1.0,),) * 2),
        ),
        inputs=PHOTO,
        dims=SIZES,
    ),
)
