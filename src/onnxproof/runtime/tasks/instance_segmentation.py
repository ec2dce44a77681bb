"""Instance segmentation: boxes, classes, scores and a mask each.

Either the outputs (``reading.outputs``) are those of torchvision's Mask R-CNN, with NMS in the graph, for a
batch of one picture:

- boxes float [n, 4] (x0, y0, x1, y1, in the input's pixels);
- labels int64 [n];
- scores float [n];
- masks float [n, 1, H, W]: probabilities, pasted into the input's picture.

Or they are boxes, scores, and what masks are summed from (runtime/readings/prototypes.py), also with NMS in
the graph (runtime/readings/carried.py) or chosen by a head without NMS (runtime/readings/chosen_rows.py); or
the classes and the masks of queries
(runtime/readings/query_masks.py).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from onnxproof.contract import ClassInfo
from onnxproof.document import Entry
from onnxproof.runtime.drawing import EDGE_SHARE, draw_boxes, draw_masks
from onnxproof.runtime.polygons import polygons_of
from onnxproof.runtime.preprocess import Transform
from onnxproof.runtime.readings.adjustable import Array
from onnxproof.runtime.readings.boxes import Detections
from onnxproof.runtime.readings.carried import PaddedMasks, PrototypeRows, prototype_rows
from onnxproof.runtime.readings.chosen_rows import MaskRows, above
from onnxproof.runtime.readings.instances import DECODE as SUMMED
from onnxproof.runtime.readings.masks import Instances, Patch, crop, restore_mask
from onnxproof.runtime.readings.prototypes import (
    MaskedCandidates,
    PrototypeEvidence,
    PrototypeReading,
    chosen_masks,
    decide_masks,
    evidence_of,
)
from onnxproof.runtime.readings.query_masks import (
    GridInstances,
    MaskedQueries,
    QueryMaskReading,
    decide_queries,
    restore_queries,
)
from onnxproof.runtime.readings.rows import MaskReading, Rows, rows_from
from onnxproof.runtime.tasks.detection import box_lines, captions_of
from onnxproof.runtime.tasks.task import class_name


@dataclass(frozen=True, slots=True)
class Evidence:
    """One picture's rows and their masks.

    ``masks`` has one patch for each row: the part of the mask that is not zero, as probabilities. ``height``
    and ``width`` are the input's size, px.
    """

    rows: Rows
    masks: tuple[Patch, ...]
    height: int
    width: int


Reading = MaskReading | PrototypeReading | PaddedMasks | MaskRows | QueryMaskReading

READINGS: Mapping[str, type[Reading]] = {
    "nms": MaskReading,
    SUMMED: PrototypeReading,
    PaddedMasks.decode: PaddedMasks,
    MaskRows.decode: MaskRows,
    QueryMaskReading.decode: QueryMaskReading,
}
"""The layout for each value of "decode"."""

AnyEvidence = Evidence | PrototypeEvidence | PrototypeRows | MaskedCandidates | MaskedQueries


class _InstanceSegmentation:
    name = "instance_segmentation"
    decides = True
    needs_all = False
    summary = "Instance segmentation: boxes, classes and scores as NMS leaves them, a mask each."

    def reading(self, entry: Entry) -> Reading:
        decode = entry.free_table().get("decode", Entry(None, f"{entry.key}.decode"))
        with entry.naming():
            kind = READINGS[decode.text(tuple(READINGS))]
            return kind.read(entry)

    def evidence(
        self,
        outputs: Mapping[str, Array],
        sizes: Mapping[str, int],
        reading: Reading,
        margins: Mapping[str, Array],
    ) -> tuple[AnyEvidence, ...]:
        if isinstance(reading, QueryMaskReading):
            return MaskedQueries.of(outputs, sizes, reading)
        if isinstance(reading, PrototypeReading):
            return evidence_of(outputs, reading)
        if isinstance(reading, PaddedMasks):
            return prototype_rows(outputs, sizes, reading, margins)
        if isinstance(reading, MaskRows):
            return reading.masked(outputs)
        masks = outputs[reading.outputs[3]]
        height, width = masks.shape[2:]
        rows = rows_from(outputs, reading, margins)
        return (Evidence(rows, tuple(crop(mask[0]) for mask in masks), height, width),)

    def decide(self, evidence: AnyEvidence, reading: Reading) -> Instances:
        """The rows whose score is above the threshold, in the network's order; or what NMS leaves; or the
        queries that count."""
        if isinstance(evidence, MaskedQueries):
            assert isinstance(reading, QueryMaskReading)
            return decide_queries(evidence, reading)
        if isinstance(evidence, PrototypeEvidence):
            assert isinstance(reading, PrototypeReading)
            return decide_masks(chosen_masks(evidence, reading), reading)
        if isinstance(evidence, PrototypeRows):
            assert isinstance(reading, PaddedMasks)
            return evidence.decide(reading)
        if isinstance(evidence, MaskedCandidates):
            assert isinstance(reading, MaskRows)
            return decide_masks(above(evidence, reading.score_threshold / 2), reading)
        assert isinstance(reading, MaskReading)
        masks = masks_above(evidence, reading.score_threshold)
        detections = evidence.rows.decide(reading.cuts)
        return Instances(detections, masks, reading.mask_threshold, evidence.height, evidence.width)

    def restore(self, decisions: Instances, transform: Transform) -> Instances:
        """Boxes are restored as in ``detection``. Masks become bool, in the picture's pixels, and are cropped
        to their pixels that are True. Of queries the boxes are those of the masks."""
        if isinstance(decisions, GridInstances):
            return restore_queries(decisions, transform)
        found = decisions.detections
        boxes = transform.restore(found.boxes)
        size = (decisions.height, decisions.width)
        return Instances(
            Detections(boxes, found.scores, found.labels, found.indices),
            tuple(restore_mask(mask, decisions.threshold, transform, size) for mask in decisions.masks),
            decisions.threshold,
            transform.picture_height,
            transform.picture_width,
        )

    def to_json(
        self, decisions: Instances, classes: tuple[ClassInfo, ...], width: int, height: int
    ) -> dict[str, Any]:
        """Boxes and polygons in [0, 1] of the picture's size, as Azure AutoML's instance segmentation answers
        them (Microsoft, "Data schemas to train computer vision models with automated machine learning").

        Raises MissingPackageError if shapely is not installed: it makes the polygons.
        """
        found = decisions.detections
        boxes = []
        for box, score, label, region in zip(
            found.boxes.tolist(),
            found.scores.tolist(),
            found.labels.tolist(),
            decisions.regions(),
            strict=True,
        ):
            x0, y0, x1, y1 = box
            boxes.append(
                {
                    "box": {
                        "topX": x0 / width,
                        "topY": y0 / height,
                        "bottomX": x1 / width,
                        "bottomY": y1 / height,
                    },
                    "box_xyxy": box,
                    "label": class_name(label, classes),
                    "score": score,
                    "polygon": [
                        (np.add(outline, (region.left, region.top)) / (width, height)).ravel().tolist()
                        for outline in polygons_of(region.pixels)
                    ],
                }
            )
        return {"boxes": boxes}

    def lines(self, decisions: Instances, classes: tuple[ClassInfo, ...]) -> tuple[str, ...]:
        found = decisions.detections
        rows = [
            f"{line}  {int(region.pixels.sum())} px"
            for line, region in zip(box_lines(found, classes), decisions.regions(), strict=True)
        ]
        return (f"{len(rows)} instance{'' if len(rows) == 1 else 's'}", *rows)

    def draw(self, picture: Image.Image, decisions: Instances, classes: tuple[ClassInfo, ...]) -> Image.Image:
        found = decisions.detections
        captions, colors = captions_of(found, classes)
        regions = [(region.left, region.top, region.pixels) for region in decisions.regions()]
        return draw_boxes(draw_masks(picture, regions, colors), found.boxes, captions, colors, EDGE_SHARE)


TASK = _InstanceSegmentation()


def masks_above(evidence: Evidence, threshold: float) -> tuple[Patch, ...]:
    """The masks of the rows whose score is above a threshold."""
    scores = evidence.rows.detections.scores
    return tuple(evidence.masks[i] for i in np.flatnonzero(scores > threshold).tolist())
