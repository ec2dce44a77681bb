"""Small networks of torchvision's architectures."""

from functools import partial

from torch import Tensor, nn
from torchvision import models, ops
from torchvision.models import convnext, detection, resnet, segmentation, swin_transformer, video
from torchvision.models._utils import IntermediateLayerGetter

from architectures.architecture import BATCH, Architecture, picture

CLASSES = 10
LIBRARY = "torchvision"


def residual(block: type[nn.Module], *, width: int = 64, groups: int = 1) -> nn.Module:
    """A ResNet of one block a stage."""
    network: nn.Module = resnet.ResNet(
        block,
        [1, 1, 1, 1],
        num_classes=CLASSES,
        groups=groups,
        width_per_group=width,
    )
    return network


class Pyramid(nn.Module):
    """A ResNet with a feature pyramid, and a dense detector's head behind it: logits and offsets."""

    def __init__(self, head: nn.Module) -> None:
        super().__init__()
        body = residual(resnet.BasicBlock)
        self.body = IntermediateLayerGetter(body, {"layer2": "0", "layer3": "1", "layer4": "2"})
        self.pyramid = ops.FeaturePyramidNetwork([128, 256, 512], 32)
        self.head = head

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        answers: dict[str, Tensor] = self.head(list(self.pyramid(self.body(image)).values()))
        return answers


class Flow(nn.Module):
    """RAFT with two updates; the last flow alone."""

    def __init__(self) -> None:
        super().__init__()
        self.network = models.optical_flow.raft_small(weights=None)

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        flow: Tensor = self.network(first, second, num_flow_updates=2)[-1]
        return flow


def fully_convolutional() -> nn.Module:
    body = IntermediateLayerGetter(residual(resnet.BasicBlock), {"layer4": "out"})
    network: nn.Module = segmentation.FCN(body, segmentation.fcn.FCNHead(512, CLASSES))
    return network


def single_shot() -> nn.Module:
    return Pyramid(detection.ssd.SSDHead([32] * 3, [4] * 3, CLASSES))


def anchor_free() -> nn.Module:
    return Pyramid(detection.fcos.FCOSHead(32, 1, CLASSES, num_convs=1))


def shifted_windows(version: int) -> nn.Module:
    second = version == 2
    network: nn.Module = swin_transformer.SwinTransformer(
        patch_size=[4, 4],
        depths=[2, 2],
        window_size=[4, 4],
        block=swin_transformer.SwinTransformerBlockV2 if second else swin_transformer.SwinTransformerBlock,
        downsample_layer=swin_transformer.PatchMergingV2 if second else swin_transformer.PatchMerging,
        **SMALL_SWIN,
    )
    return network


def multiscale() -> nn.Module:
    settings = [
        video.mvit.MSBlockConfig(
            num_heads=heads,
            input_channels=inputs,
            output_channels=outputs,
            kernel_q=[3, 3, 3],
            kernel_kv=[3, 3, 3],
            stride_q=stride,
            stride_kv=[1, 2, 2],
        )
        for heads, inputs, outputs, stride in ((1, 16, 16, [1, 1, 1]), (2, 16, 32, [1, 2, 2]))
    ]
    network: nn.Module = video.mvit.MViT(
        spatial_size=(32, 32),
        temporal_size=4,
        block_setting=settings,
        residual_pool=True,
        residual_with_cls_embed=False,
        rel_pos_embed=True,
        proj_after_attn=True,
        num_classes=CLASSES,
    )
    return network


CLIP = {"clip": "float32[batch, 3, 4, 32, 32] in -2..2"}
PAIR = {"first": "float32[1, 3, 128, 128] in -1..1", "second": "float32[1, 3, 128, 128] in -1..1"}

SMALL_SWIN = {"embed_dim": 16, "num_heads": [2, 4], "num_classes": CLASSES}
"""What the Swin transformers have in common."""

BLOCKS = [convnext.CNBlockConfig(16, 32, 1), convnext.CNBlockConfig(32, None, 1)]

_of = partial(Architecture, library=LIBRARY)

ARCHITECTURES: tuple[Architecture, ...] = (
    _of("resnet", build=partial(residual, resnet.BasicBlock)),
    _of("resnext", build=partial(residual, resnet.Bottleneck, width=4, groups=4)),
    _of("densenet", build=partial(models.DenseNet, 8, (2, 2, 2, 2), 16, num_classes=CLASSES)),
    _of("squeezenet", build=partial(models.squeezenet1_1, weights=None, num_classes=CLASSES)),
    _of("mobilenet-v2", build=partial(models.mobilenet_v2, weights=None, width_mult=0.25)),
    _of("mobilenet-v3", build=partial(models.mobilenet_v3_small, weights=None, num_classes=CLASSES)),
    _of("shufflenet", build=partial(models.shufflenet_v2_x0_5, weights=None, num_classes=CLASSES)),
    _of("convnext", build=partial(convnext.ConvNeXt, BLOCKS, num_classes=CLASSES)),
    _of("swin", build=partial(shifted_windows, 1), inputs=picture(64), dims=BATCH),
    _of("swin-v2", build=partial(shifted_windows, 2), inputs=picture(64), dims=BATCH),
    _of(
        "vit",
        build=partial(models.VisionTransformer, 32, 8, 2, 2, 32, 64, num_classes=CLASSES),
        inputs=picture(32),
        dims=BATCH,
    ),
    _of("fcn", build=fully_convolutional),
    _of("ssd-head", build=single_shot),
    _of("fcos-head", build=anchor_free),
    _of(
        "swin3d",
        build=partial(
            video.swin_transformer.SwinTransformer3d,
            [2, 4, 4],
            depths=[1, 1],
            window_size=[2, 4, 4],
            **SMALL_SWIN,
        ),
        inputs=CLIP,
        dims=BATCH,
    ),
    _of("mvit", build=multiscale, inputs=CLIP, dims=BATCH),
    _of("raft", build=Flow, inputs=PAIR, dims={}),
)
