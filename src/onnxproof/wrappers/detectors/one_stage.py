"""The inference wrappers of torchvision's RetinaNet, FCOS and SSD: with NMS in the graph, or raw heads."""

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
"""The name of each kind of head in a reading (runtime/readings/anchors.py)."""

HEAD_OUTPUTS = ("cls_logits", "bbox_regression", "bbox_ctrness")
"""torchvision's names for a head's outputs, in the order in which the wrapper returns them. Only FCOS has the
last one."""

PROBE_SIDE = 1024
"""Side in px of the square picture from which each level's reduction is read. Every reduction divides it."""

CHECK_SIDES = (96, 224, 800)
"""Sides in px of the pictures on which the reductions are tried. None is a multiple of all reductions."""


class RawHeads(nn.Module):
    """The backbone and the head of a RetinaNet, an FCOS or an SSD, with the input stage in front.

    No shape in the graph depends on the picture's content, and the graph makes no anchors.
    """

    def __init__(self, network: Any, stage: PictureInput) -> None:
        super().__init__()
        self.stage = stage
        self.backbone: nn.Module = network.backbone
        self.head: nn.Module = network.head

    def forward(self, input: Tensor) -> Outputs:
        """Turn pictures into logits [b, n, C], deltas [b, n, 4] and, for FCOS, centerness [b, n, 1]."""
        return self.found(self.maps(input))

    def maps(self, input: Tensor) -> list[Tensor]:
        """The feature maps of pictures, one for each level."""
        return _feature_maps(self.backbone(self.stage(input)))

    def found(self, maps: list[Tensor]) -> Outputs:
        """The head's outputs for some of the levels, as ``forward`` returns them for all."""
        found = self.head(maps)
        return tuple(found[name] for name in HEAD_OUTPUTS if name in found)


class OneStageInference(nn.Module):
    """A RetinaNet, an FCOS or an SSD, NMS included, with its input stage in front. It takes one picture.

    Returns ``boxes`` [n, 4] (x0, y0, x1, y1, input pixels), ``labels`` int64 [n] and ``scores`` [n], sorted
    by score, the highest first.
    """

    def __init__(self, network: Any, stage: PictureInput) -> None:
        super().__init__()
        self.stage = stage
        self.network = network
        network.transform = SteadyTransform.of(network.transform)

    def forward(self, input: Tensor) -> Outputs:
        """Detect the objects in one picture."""
        (found,) = self.network([self.stage(input)[0]])
        return found["boxes"], found["labels"], found["scores"]

    def forward_with_margins(self, input: Tensor) -> tuple[Outputs, Mapping[str, Tensor]]:
        """Return what ``forward`` returns, and the candidates: the pairs of an anchor and a class before the
        top-k cut and NMS.

        Pairs that score less than half of the threshold are left out. The others have

        - ``candidate_boxes`` [m, 4], in input pixels, and ``candidate_scores`` [m];
        - ``candidate_labels`` int64 [m], the class;
        - ``candidate_groups`` int64 [m], the group in which the top-k cut takes place: the level, or for SSD
          the class;
        - ``candidate_ids`` int64 [m], the number of the pair.
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
    """The settings with which a RetinaNet, FCOS or SSD turns its outputs into detections.

    Raises RequestError as ``anchors_of`` does.
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
    """The anchors of a RetinaNet, FCOS or SSD, and how its outputs are decoded into boxes.

    Raises RequestError for another network, or if the number of a level's cells is not the picture's size
    over one number, rounded up.
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
    """The rows of each level's tensor [n, k], as plain numbers."""
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
    """A backbone's feature maps, one for each level. A backbone with one level may return it bare."""
    return [features] if isinstance(features, Tensor) else list(features.values())


def _grids(network: Any, height: int, width: int) -> list[tuple[int, int]]:
    """Rows and columns of each level's feature map. They are found on the meta device, without computing."""
    backbone = network.backbone
    tensors = {**dict(backbone.named_parameters()), **dict(backbone.named_buffers())}
    shapes = {name: tensor.to("meta") for name, tensor in tensors.items()}
    dtype = next(backbone.parameters()).dtype
    picture = torch.empty(2, 3, height, width, dtype=dtype, device="meta")
    with torch.no_grad():
        features = torch.func.functional_call(backbone, shapes, (picture,))
    return [(maps.shape[-2], maps.shape[-1]) for maps in _feature_maps(features)]


def _reductions(network: Any) -> list[int]:
    """The reduction of each level: the number k by which a side of s px has ceil(s / k) cells.

    Raises RequestError if a level has none.
    """
    reductions = [PROBE_SIDE // rows for rows, _ in _grids(network, PROBE_SIDE, PROBE_SIDE)]
    for side in CHECK_SIDES:
        grids = _grids(network, side, PROBE_SIDE)
        wanted = [(-(-side // k), PROBE_SIDE // k) for k in reductions]
        if grids != wanted:
            raise RequestError(
                f"at {side}x{PROBE_SIDE} px the feature maps are {grids}, expected {wanted} (each side over "
                "the level's reduction, rounded up), so anchors cannot be placed outside of the graph: "
                'set wrapper.decode = "nms" for this network'
            )
    return reductions


def _candidates(
    network: Any, head_outputs: Mapping[str, Any], anchors: list[Any], size: tuple[int, int]
) -> tuple[Tensor, ...]:
    """The boxes, scores, labels, groups and numbers of the pairs of an anchor and a class.

    The first arguments are those of ``postprocess_detections``; ``size`` is the picture's (height, width).
    Pairs that score less than half of the network's threshold are left out.
    """
    by_class = _kind(network) == "ssd"
    first_label = 1 if by_class else 0  # The first class of an SSD is the background.
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
    """A head's output for one picture: a tensor [n, ...] for each level, for SSD one for all levels."""
    return [maps[0] for maps in ([output] if isinstance(output, Tensor) else output)]
