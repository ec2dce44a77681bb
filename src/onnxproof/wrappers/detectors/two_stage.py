"""The inference wrapper of torchvision's Faster and Mask R-CNN. NMS and pasting of masks are in the graph."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.models.detection.transform import resize_boxes
from torchvision.ops import clip_boxes_to_image

from onnxproof.runtime.readings.graph_nms import GraphNms, Proposals
from onnxproof.wrappers.detectors.steady import SteadyTransform, recorded_calls
from onnxproof.wrappers.family import Outputs
from onnxproof.wrappers.input import PictureInput

SETTLING_SIDE = 128
"""Side in px of the picture from which the feature maps' strides are read. Every stride divides it."""


class TwoStageInference(nn.Module):
    """A FasterRCNN or a MaskRCNN with its input stage in front. It takes one picture.

    Returns ``boxes`` [n, 4] (x0, y0, x1, y1, input pixels), ``labels`` int64 [n], ``scores`` [n] and, for
    MaskRCNN, ``masks`` [n, 1, H, W] (probabilities), sorted by score, the highest first.
    """

    def __init__(self, network: Any, stage: PictureInput) -> None:
        super().__init__()
        self.stage = stage
        self.network = network
        network.transform = SteadyTransform.of(network.transform)
        self.has_masks = network.roi_heads.has_mask()
        _settle_scales(network)

    def forward(self, input: Tensor) -> Outputs:
        """Detect the objects in one picture."""
        (found,) = self.network([self.stage(input)[0]])
        outputs = found["boxes"], found["labels"], found["scores"]
        return (*outputs, found["masks"]) if self.has_masks else outputs

    def forward_with_margins(self, input: Tensor) -> tuple[Outputs, Mapping[str, Tensor]]:
        """Return what ``forward`` returns, and the candidates from which each stage chose.

        runtime/readings/rows.py describes them.
        """
        network: Any = self.network
        rpn, heads = network.rpn, network.roi_heads
        with (
            recorded_calls(rpn, "filter_proposals") as first,
            recorded_calls(heads, "postprocess_detections") as second,
        ):
            outputs = self(input)
        proposals = _proposals(*first[0][0])
        size = input_size(self.stage, input)
        return outputs, {**proposals, **_candidates(heads, second[0][0], size, proposals["proposal_boxes"])}


def input_size(stage: PictureInput, pictures: Tensor) -> tuple[int, int]:
    """Height and width of a batch of pictures in the stage's layout."""
    height, width = pictures.shape[1:3] if stage.channels_last else pictures.shape[2:]
    return height, width


def _proposals(
    boxes: Tensor, objectness: Tensor, sizes: list[tuple[int, int]], per_level: list[int]
) -> dict[str, Tensor]:
    """The boxes, probabilities and levels of all anchors before the first stage's NMS.

    Boxes are in px of the resized picture.
    """
    levels = torch.cat([torch.full((count,), level) for level, count in enumerate(per_level)])
    return {
        "proposal_boxes": clip_boxes_to_image(boxes[0], sizes[0]),
        "proposal_scores": torch.sigmoid(objectness.reshape(-1)),
        "proposal_levels": levels,
    }


def _candidates(
    heads: Any, arguments: tuple[Any, ...], size: tuple[int, int], anchor_boxes: Tensor
) -> dict[str, Tensor]:
    """The pairs of a proposal and a class before the second stage's threshold and NMS.

    Boxes are in px of the input. Pairs that score no more than half of the threshold are left out.
    ``arguments`` are those of ``postprocess_detections``. The first stage chose the proposals from
    ``anchor_boxes`` [m, 4]. The number of a pair combines the number of its anchor and its class.
    """
    logits, deltas, proposals, sizes = arguments
    boxes = clip_boxes_to_image(heads.box_coder.decode(deltas, proposals), sizes[0])
    scores = functional.softmax(logits, -1)
    labels = torch.arange(scores.shape[1]).expand_as(scores)
    ids = _rows_in(proposals[0], anchor_boxes)[:, None] * scores.shape[1] + labels
    chosen = scores[:, 1:] > heads.score_thresh / 2
    return {
        "candidate_boxes": resize_boxes(boxes[:, 1:][chosen], sizes[0], size),
        "candidate_scores": scores[:, 1:][chosen],
        "candidate_labels": labels[:, 1:][chosen],
        "candidate_ids": ids[:, 1:][chosen],
        "resized": torch.tensor([sizes[0][1] / size[1], sizes[0][0] / size[0]], dtype=torch.float64),
    }


def _rows_in(rows: Tensor, table: Tensor) -> Tensor:
    """The index in ``table`` [m, 4] of each of ``rows`` [n, 4], int64 [n].

    Every row must be in the table with the same bits.
    """
    places = {row.tobytes(): place for place, row in enumerate(table.numpy())}
    return torch.tensor([places[row.tobytes()] for row in rows.numpy()], dtype=torch.int64)


def settings_of(network: Any) -> GraphNms:
    """The settings of the graph's decisions: the second stage's and, in ``proposals``, the first stage's."""
    rpn, heads = network.rpn, network.roi_heads
    mapper = heads.box_roi_pool.map_levels
    return GraphNms(
        score_threshold=heads.score_thresh,
        iou_threshold=heads.nms_thresh,
        max_detections=heads.detections_per_img,
        proposals=Proposals(
            iou_threshold=rpn.nms_thresh,
            top_candidates=rpn.pre_nms_top_n(),
            max_detections=rpn.post_nms_top_n(),
            levels=(mapper.k_min, mapper.k_max, mapper.lvl0, mapper.s0),
        ),
    )


def mask_side(network: Any) -> int:
    """The side in px of the masks before they are pasted. The predictor doubles the pooled window."""
    return 2 * int(network.roi_heads.mask_roi_pool.output_size[0])


def _settle_scales(network: Any) -> None:
    """Let the poolers find the strides of the feature maps on a picture whose sides every stride divides.

    A pooler finds the strides on the first picture that it sees, and keeps them. A trace would turn those of
    its example picture into constants, and each leg of a comparison could have others.
    """
    picture = torch.zeros(1, 3, SETTLING_SIDE, SETTLING_SIDE)
    box = torch.tensor([[0.0, 0.0, SETTLING_SIDE / 2, SETTLING_SIDE / 2]])
    network.eval()
    with torch.no_grad():
        features = network.backbone(picture)
        for pool in (network.roi_heads.box_roi_pool, network.roi_heads.mask_roi_pool):
            if pool is not None:
                pool(features, [box], [(SETTLING_SIDE, SETTLING_SIDE)])
