"""RetinaNet, FCOS and SSD of torchvision in their inference wrappers: with NMS in the graph, or raw heads."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.models.detection import FCOS, RetinaNet
from torchvision.models.detection.ssd import SSD
from torchvision.ops import clip_boxes_to_image

from onnxproof.errors import RequestError
from onnxproof.runtime.readings.anchors import Anchors, DefaultBoxes, Deltas, Distances, HeadName, Pyramid
from onnxproof.runtime.readings.graph_nms import GraphNms
from onnxproof.wrappers.detectors.steady import SteadyTransform, recorded_calls
from onnxproof.wrappers.family import Outputs
from onnxproof.wrappers.input import PictureInput

HEADS: Mapping[type[nn.Module], HeadName] = {RetinaNet: "retinanet", FCOS: "fcos", SSD: "ssd"}
"""What the task calls each kind of head (runtime/readings/anchors.py)."""

HEAD_OUTPUTS = ("cls_logits", "bbox_regression", "bbox_ctrness")
"""torchvision's names of what a head returns, in the order in which the wrapper does; FCOS alone has the
last."""

PROBE_SIDE = 1024
"""Pixels of the square picture at which each level's reduction is read: a multiple of all of them."""

CHECK_SIDES = (96, 224, 800)
"""Pixels of the pictures that the reductions are tried on: neither is a multiple of them all."""


class RawHeads(nn.Module):
    """Backbone and head of a RetinaNet, an FCOS or an SSD with the input stage in front.

    No shape depends on the data, and no anchor is in the graph.
    """

    def __init__(self, network: Any, stage: PictureInput) -> None:
        super().__init__()
        self.stage = stage
        self.backbone: nn.Module = network.backbone
        self.head: nn.Module = network.head

    def forward(self, input: Tensor) -> Outputs:
        """Pictures to logits [b, n, C], deltas [b, n, 4] and, of an FCOS, centerness [b, n, 1]."""
        found = self.head(_feature_maps(self.backbone(self.stage(input))))
        return tuple(found[name] for name in HEAD_OUTPUTS if name in found)


class OneStageInference(nn.Module):
    """A RetinaNet, an FCOS or an SSD with its input stage in front, for one picture, NMS included.

    Returns ``boxes`` [n, 4] (x0, y0, x1, y1, input pixels), ``labels`` int64 [n] and ``scores`` [n], in the
    order of the scores.
    """

    def __init__(self, network: Any, stage: PictureInput) -> None:
        super().__init__()
        self.stage = stage
        self.network = network
        network.transform = SteadyTransform.of(network.transform)

    def forward(self, input: Tensor) -> Outputs:
        """One picture to what is detected in it."""
        (found,) = self.network([self.stage(input)[0]])
        return found["boxes"], found["labels"], found["scores"]

    def forward_with_margins(self, input: Tensor) -> tuple[Outputs, Mapping[str, Tensor]]:
        """As ``forward``, and the candidates: pairs of an anchor and a class before the top-k cut and NMS.

        Pairs that score less than half of the threshold are left out. For each other pair there are
        ``candidate_boxes`` [m, 4] (input pixels), ``candidate_scores`` [m], ``candidate_labels`` int64 [m],
        ``candidate_groups`` int64 [m] (the level, of an SSD the class, in which the top-k cut takes place)
        and ``candidate_ids`` int64 [m] (the number of the pair).
        """
        with recorded_calls(self.network, "postprocess_detections") as calls:
            outputs = self(input)
        ((head_outputs, anchors, sizes), _) = calls[0]
        boxes, scores, labels, groups, ids = _candidates(self.network, head_outputs, anchors, sizes[0])
        size = input.shape[1:3] if self.stage.channels_last else input.shape[2:]
        transform: Any = self.network.transform
        (scaled,) = transform.postprocess([{"boxes": boxes}], sizes, [tuple(size)])
        return outputs, {
            "candidate_boxes": scaled["boxes"],
            "candidate_scores": scores,
            "candidate_labels": labels,
            "candidate_groups": groups,
            "candidate_ids": ids,
        }


def settings_of(network: Any) -> GraphNms:
    """How ``network``, a RetinaNet, FCOS or SSD, makes detections of its outputs.

    Raises RequestError as ``anchors_of``.
    """
    anchors = anchors_of(network)
    return GraphNms(
        score_threshold=network.score_thresh,
        iou_threshold=network.nms_thresh,
        max_detections=network.detections_per_img,
        top_candidates=network.topk_candidates,
        anchors=anchors,
    )


def anchors_of(network: Any) -> Anchors:
    """Where the anchors of ``network``, a RetinaNet, FCOS or SSD, stand, and how its outputs become boxes.

    Raises RequestError if the network is none of them, or if the number of a level's cells does not follow
    from the picture's size.
    """
    head = _kind(network)
    generator, coder = network.anchor_generator, network.box_coder
    places: Pyramid | DefaultBoxes
    if head == "ssd":
        width, height = network.transform.fixed_size
        sizes = [pairs.clamp(0, 1) if generator.clip else pairs for pairs in generator._wh_pairs]
        steps = None if generator.steps is None else tuple(generator.steps)
        places = DefaultBoxes(tuple(_grids(network, height, width)), _boxes_of(sizes), steps)
    else:
        places = Pyramid(tuple(_reductions(network)), _boxes_of(generator.cell_anchors))
    if head == "fcos":
        return Anchors(head, places, Distances(coder.normalize_by_size))
    return Anchors(head, places, Deltas(tuple(coder.weights), coder.bbox_xform_clip))


def _boxes_of(levels: Sequence[Tensor]) -> tuple[tuple[tuple[float, ...], ...], ...]:
    """Of each level the rows of a tensor [n, k] as plain numbers."""
    return tuple(tuple(tuple(row) for row in level.tolist()) for level in levels)


def _kind(network: nn.Module) -> HeadName:
    for kind, name in HEADS.items():
        if isinstance(network, kind):
            return name
    raise RequestError(
        f"the network is a {type(network).__name__}, expected one of torchvision's one-stage detectors: "
        f"{', '.join(kind.__name__ for kind in HEADS)}"
    )


def _feature_maps(features: Tensor | Mapping[str, Tensor]) -> list[Tensor]:
    """What a backbone returns as a list by level; one level alone may come bare."""
    return [features] if isinstance(features, Tensor) else list(features.values())


def _grids(network: Any, height: int, width: int) -> list[tuple[int, int]]:
    """Rows and columns of each level's feature map, from shapes alone: nothing is computed."""
    backbone = network.backbone
    tensors = {**dict(backbone.named_parameters()), **dict(backbone.named_buffers())}
    shapes = {name: tensor.to("meta") for name, tensor in tensors.items()}
    dtype = next(backbone.parameters()).dtype
    picture = torch.empty(2, 3, height, width, dtype=dtype, device="meta")
    with torch.no_grad():
        features = torch.func.functional_call(backbone, shapes, (picture,))
    return [(maps.shape[-2], maps.shape[-1]) for maps in _feature_maps(features)]


def _reductions(network: Any) -> list[int]:
    """For each level the number k such that a side of s pixels has ceil(s / k) cells."""
    reductions = [PROBE_SIDE // rows for rows, _ in _grids(network, PROBE_SIDE, PROBE_SIDE)]
    for side in CHECK_SIDES:
        grids = _grids(network, side, PROBE_SIDE)
        wanted = [(-(-side // k), PROBE_SIDE // k) for k in reductions]
        if grids != wanted:
            raise RequestError(
                f"at {side}x{PROBE_SIDE} pixels the feature maps are {grids}, expected {wanted}: the sides "
                'over one number for each level, rounded up; set wrapper.decode = "nms" for this network'
            )
    return reductions


def _candidates(
    network: Any, head_outputs: Mapping[str, Any], anchors: list[Any], size: tuple[int, int]
) -> tuple[Tensor, ...]:
    """Boxes, scores, labels, groups and numbers of all pairs that score at least half of the network's
    threshold, from the arguments of ``postprocess_detections`` for a picture of ``size`` (height, width)."""
    by_class = _kind(network) == "ssd"
    first_label = 1 if by_class else 0  # an SSD's first class is the background
    logits, deltas, *centerness = (
        _levels(head_outputs[name]) for name in HEAD_OUTPUTS if name in head_outputs
    )
    parts = []
    offset = 0
    for level, level_anchors in enumerate(anchors[:1] if by_class else anchors[0]):
        scores = torch.softmax(logits[level], -1) if by_class else torch.sigmoid(logits[level])
        if centerness:
            scores = torch.sqrt(scores * torch.sigmoid(centerness[0][level]))
        rows, columns = torch.nonzero(scores[:, first_label:] >= network.score_thresh / 2, as_tuple=True)
        labels = columns + first_label
        decode = network.box_coder.decode if centerness else network.box_coder.decode_single
        boxes = clip_boxes_to_image(decode(deltas[level][rows], level_anchors[rows]), size)
        groups = labels if by_class else torch.full_like(labels, level)
        ids = (offset + rows) * scores.shape[1] + labels
        offset += len(scores)
        parts.append((boxes, scores[rows, labels], labels, groups, ids))
    return tuple(torch.cat(part) for part in zip(*parts, strict=True))


def _levels(output: Tensor | list[Tensor]) -> list[Tensor]:
    """A head's output for its one picture, a tensor [n, ...] for each level; SSD's levels are not split."""
    return [maps[0] for maps in ([output] if isinstance(output, Tensor) else output)]
