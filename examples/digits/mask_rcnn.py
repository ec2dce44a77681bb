"""The demo's Mask R-CNN, made of torchvision's own parts at a fraction of their usual width.

As a user with a fine-tuned detector has it: a builder of the bare network, beside a state dict.
"""

from torch import nn
from torchvision.models import get_model
from torchvision.models.detection import MaskRCNN
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.backbone_utils import BackboneWithFPN
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor
from torchvision.ops import MultiScaleRoIAlign

STAGES = [[1, 16, 1, 1], [4, 24, 2, 2], [4, 40, 2, 2], [4, 80, 2, 2], [4, 96, 1, 1]]
"""Expansion, channels, blocks and stride of the MobileNetV2's stages: those of the demo's classifiers."""

LEVELS = {"3": "0", "5": "1", "8": "2"}
"""Blocks of the MobileNetV2 that the pyramid reads, at strides 4, 8 and 16, and its own names for them."""

LEVEL_CHANNELS = [24, 40, 96]
PYRAMID_CHANNELS = 64

ANCHOR_SIZES = ((12, 17), (24, 34), (48, 68), (96, 136))
"""Square roots of the anchors' areas in pixels of the resized picture, at strides 4, 8, 16 and 32."""

ANCHOR_ASPECTS = (1.0, 1.7)
"""Height over width; a written digit is taller than wide."""

BOX_UNITS = 192
BOX_CELLS = 7
MASK_CHANNELS = 40
MASK_CELLS = 14
"""Side of the window that the mask head sees; the masks that it draws are twice as fine."""

SHORT_SIDE, LONG_SIDE = 256, 384
"""A picture's shorter side becomes 256 pixels, unless the longer one then exceeds 384."""

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of R, G, B in 0..1: the usual ImageNet figures."""


def build(num_classes: int = 11) -> MaskRCNN:
    """The network with random weights; class 0 is the background, class d + 1 the digit d.

    In evaluation it takes a list of pictures, float [3, H, W] in 0..1 of any size, and gives for each one
    `boxes` [n, 4] (x0 y0 x1 y1 in pixels), `labels` int64 [n], `scores` [n] in 0..1 and `masks`
    [n, 1, H, W] in 0..1, best first.
    """
    # IntermediateLayerGetter drops the blocks behind the last level, the classifier's wide one among them.
    features = get_model("mobilenet_v2", weights=None, inverted_residual_setting=STAGES).features
    backbone = BackboneWithFPN(features, LEVELS, LEVEL_CHANNELS, PYRAMID_CHANNELS, norm_layer=nn.BatchNorm2d)
    pooled = list(LEVELS.values())
    return MaskRCNN(
        backbone,
        min_size=SHORT_SIDE,
        max_size=LONG_SIDE,
        image_mean=list(MEAN),
        image_std=list(STD),
        rpn_anchor_generator=AnchorGenerator(ANCHOR_SIZES, (ANCHOR_ASPECTS,) * len(ANCHOR_SIZES)),
        rpn_pre_nms_top_n_train=300,
        rpn_pre_nms_top_n_test=300,
        rpn_post_nms_top_n_train=200,
        rpn_post_nms_top_n_test=150,
        rpn_fg_iou_thresh=0.6,
        rpn_batch_size_per_image=128,
        box_roi_pool=MultiScaleRoIAlign(pooled, output_size=BOX_CELLS, sampling_ratio=2),
        box_head=TwoMLPHead(PYRAMID_CHANNELS * BOX_CELLS**2, BOX_UNITS),
        box_predictor=FastRCNNPredictor(BOX_UNITS, num_classes),
        box_score_thresh=0.05,
        box_nms_thresh=0.5,
        box_detections_per_img=60,
        box_batch_size_per_image=32,
        box_positive_fraction=0.5,
        mask_roi_pool=MultiScaleRoIAlign(pooled, output_size=MASK_CELLS, sampling_ratio=2),
        mask_head=MaskRCNNHeads(PYRAMID_CHANNELS, (MASK_CHANNELS,) * 3, dilation=1),
        mask_predictor=MaskRCNNPredictor(MASK_CHANNELS, MASK_CHANNELS, num_classes),
    )
