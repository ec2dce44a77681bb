"""RetinaNet, FCOS and SSD with NMS in the graph for any batch: heads, boxes, the cut before NMS, and NMS.

It decides as runtime/readings/scored_anchors.py does with the raw heads: each picture by itself, at sizes
that the network takes without a resize. Constants that torchvision computes in float32 are in float32 here.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from onnxproof.job import ValidateTable
from onnxproof.runtime.readings.anchors import Anchors, DefaultBoxes, Distances
from onnxproof.runtime.readings.boxes import Cuts
from onnxproof.runtime.readings.scored_anchors import default_boxes
from onnxproof.wrappers.detectors.one_stage import RawHeads, settings_of
from onnxproof.wrappers.detectors.two_stage import input_size
from onnxproof.wrappers.family import Outputs
from onnxproof.wrappers.head import Headed
from onnxproof.wrappers.heads.detection import row_outputs, rows_of_batch, score_threshold
from onnxproof.wrappers.input import PictureInput
from onnxproof.wrappers.suppression import detections, rounded


class BatchedInference(nn.Module):
    """A one-stage detector with its input stage in front and NMS behind it.

    Buffers are the base anchors of each level, or an SSD's ``anchors`` [n, 4], and the ``weights`` of deltas.

    ``classes`` counts the columns of its logits. ``cuts`` are the limits of the decisions; they have
    ``top_candidates``.
    """

    anchors: Tensor
    weights: Tensor

    def __init__(self, network: Any, stage: PictureInput, anchors: Anchors, classes: int, cuts: Cuts) -> None:
        super().__init__()
        self.classes = classes
        self.stage = stage
        self.heads = RawHeads(network, stage)
        self.head, self.coder, self.places = anchors.head, anchors.coder, anchors.places
        self.foreground = 1 if anchors.head == "ssd" else 0
        self.score_threshold, self.iou_threshold = rounded(cuts)
        self.class_agnostic, self.max_detections = cuts.class_agnostic, cuts.max_detections
        assert cuts.top_candidates is not None
        self.top_candidates = cuts.top_candidates
        # Buffers: a tensor that forward makes of numbers would cost torch.onnx a second trace.
        if not isinstance(self.coder, Distances):
            self.register_buffer("weights", torch.tensor(self.coder.weights))
        if isinstance(self.places, DefaultBoxes):
            self.register_buffer("anchors", _default_boxes(network, self.places))
        else:
            for level, bases in enumerate(self.places.base_anchors):
                self.register_buffer(f"anchors_{level}", torch.tensor(bases))

    def forward(self, input: Tensor) -> Outputs:
        """A row for each detection, the first picture's first.

        ``boxes`` [k, 4] in input pixels, ``labels`` int64 [k], ``scores`` [k] and ``pictures`` int64 [k].
        """
        return self._rows(*self._candidates(self._scored(input)))

    def forward_with_margins(self, input: Tensor) -> tuple[Outputs, Mapping[str, Tensor]]:
        """Return what ``forward`` returns, and the pairs of an anchor and a class that score half of the
        threshold or more, before the cut and NMS.

        runtime/readings/rows.py describes them.
        """
        levels = self._scored(input)
        boxes, scores = (torch.cat(part, 1) for part in zip(*levels, strict=True))
        pictures, rows, columns = torch.nonzero(
            scores[..., self.foreground :] >= self.score_threshold / 2, as_tuple=True
        )
        columns = columns + self.foreground
        groups = columns
        if self.head != "ssd":
            counts = torch.tensor([level.shape[1] for level, _ in levels])
            groups = torch.repeat_interleave(torch.arange(len(levels)), counts)[rows]
        count, classes = scores.shape[1:]
        return self._rows(*self._candidates(levels)), {
            "candidate_boxes": boxes[pictures, rows],
            "candidate_scores": scores[pictures, rows, columns],
            "candidate_labels": columns,
            "candidate_groups": groups,
            "candidate_ids": (pictures * count + rows) * classes + columns,
            "candidate_pictures": pictures,
        }

    def _scored(self, pictures: Tensor) -> list[tuple[Tensor, Tensor]]:
        """For each level boxes [b, n, 4] inside the picture and class scores [b, n, C]; for an SSD once for
        all levels."""
        height, width = input_size(self.stage, pictures)
        maps = self.heads.maps(pictures)
        if isinstance(self.places, DefaultBoxes):
            return [self._decoded(self.heads.found(maps), self.anchors, height, width)]
        # Level by level: where one ends and the next begins is then no number of the graph.
        return [
            self._decoded(self.heads.found([level]), self._anchors(at, level, height, width), height, width)
            for at, level in enumerate(maps)
        ]

    def _decoded(
        self, found: Sequence[Tensor], anchors: Tensor, height: int, width: int
    ) -> tuple[Tensor, Tensor]:
        """Boxes [b, n, 4] and scores [b, n, C], from logits, deltas and, for FCOS, centerness."""
        logits, deltas, *rest = found
        if isinstance(self.coder, Distances):
            scores = torch.sqrt(torch.sigmoid(logits) * torch.sigmoid(rest[0]))
            if self.coder.in_sizes:
                deltas = deltas * (anchors[:, 2:] - anchors[:, :2]).repeat(1, 2)
            centres = (anchors[:, :2] + anchors[:, 2:]) / 2
            near, far = centres - deltas[..., :2], centres + deltas[..., 2:]
        else:
            scores = torch.softmax(logits, -1) if self.head == "ssd" else torch.sigmoid(logits)
            scaled = deltas / self.weights
            sizes = anchors[:, 2:] - anchors[:, :2]
            centres = scaled[..., :2] * sizes + (anchors[:, :2] + sizes / 2)
            halves = torch.exp(scaled[..., 2:].clamp(max=self.coder.largest_log_scale)) * sizes / 2
            near, far = centres - halves, centres + halves
        x0, y0, x1, y1 = (side[..., at] for side in (near, far) for at in (0, 1))
        x0, x1 = x0.clamp(0, width), x1.clamp(0, width)
        y0, y1 = y0.clamp(0, height), y1.clamp(0, height)
        return torch.stack((x0, y0, x1, y1), -1), scores

    def _anchors(self, level: int, features: Tensor, height: int, width: int) -> Tensor:
        """The anchors of a level, [n, 4] (x0, y0, x1, y1, px)."""
        rows, columns = features.shape[-2:]
        down = torch.arange(rows, dtype=features.dtype) * (height // rows)
        across = torch.arange(columns, dtype=features.dtype) * (width // columns)
        y, x = torch.meshgrid(down, across, indexing="ij")
        shifts = torch.stack((x, y, x, y), -1).reshape(-1, 1, 4)
        bases: Tensor = getattr(self, f"anchors_{level}")
        return (shifts + bases).reshape(-1, 4)

    def _candidates(self, levels: Sequence[tuple[Tensor, Tensor]]) -> tuple[Tensor, ...]:
        """Boxes [b, m, 4], scores and labels [b, m] of the pairs that enter NMS: the best of each group."""
        if self.head == "ssd":
            ((boxes, scores),) = levels
            ranked = scores[..., 1:].transpose(1, 2)
            best, places = torch.topk(ranked, min(self.top_candidates, ranked.shape[-1]), dim=-1)
            labels = torch.arange(1, self.classes)[None, :, None].expand_as(places).flatten(1)
            return _taken(boxes, places.flatten(1)), best.flatten(1), labels
        parts = [self._best(boxes, scores) for boxes, scores in levels]
        return tuple(torch.cat(part, 1) for part in zip(*parts, strict=True))

    def _best(self, boxes: Tensor, scores: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The ``top_candidates`` best pairs of a level.

        A small level has fewer: it is filled up with scores below every threshold, so that their number is no
        number of the graph.
        """
        pairs = scores.flatten(1)
        filling = torch.full_like(pairs[:, :1], -1.0).expand(-1, self.top_candidates)
        best, places = torch.topk(torch.cat((pairs, filling), 1), self.top_candidates, dim=-1)
        places = torch.where(best < 0, 0, places)
        return _taken(boxes, places // self.classes), best, places % self.classes

    def _rows(self, boxes: Tensor, scores: Tensor, labels: Tensor) -> Outputs:
        classes = 1 if self.class_agnostic else self.classes
        pictures, indices = detections(
            boxes,
            scores,
            labels,
            classes,
            self.score_threshold,
            self.iou_threshold,
            self.max_detections,
        )
        return boxes[pictures, indices], labels[pictures, indices], scores[pictures, indices], pictures


def with_nms(
    network: Any,
    stage: PictureInput,
    classes: int,
    first_label: int,
    batch: str,
    validation: ValidateTable,
) -> Headed:
    """Put a one-stage detector's own decoding and NMS behind its heads, for any batch.

    ``classes`` counts the columns of its logits. Limits that the job lacks are the network's own.
    """
    own = settings_of(network)
    assert own.anchors is not None
    overlap, most = validation.iou_threshold, validation.max_detections
    graph = replace(
        own,
        score_threshold=score_threshold(validation),
        iou_threshold=own.iou_threshold if overlap is None else overlap,
        max_detections=own.max_detections if most is None else most,
        class_agnostic=validation.class_agnostic,
    )
    reading = rows_of_batch(graph, first_label, batch)
    module = BatchedInference(network, stage, own.anchors, classes, reading.cuts)
    return Headed(module, *row_outputs(), reading)


def _default_boxes(network: Any, places: DefaultBoxes) -> Tensor:
    """An SSD's default boxes [n, 4] (x0, y0, x1, y1, px)."""
    width, height = network.transform.fixed_size
    made = default_boxes(height, width, places.grids, places.box_sizes, places.steps, np.dtype(np.float32))
    return torch.from_numpy(np.concatenate(made))


def _taken(boxes: Tensor, places: Tensor) -> Tensor:
    """The boxes [b, m, 4] at ``places`` [b, m] of [b, n, 4]."""
    return boxes.gather(1, places[..., None].expand(-1, -1, 4))
