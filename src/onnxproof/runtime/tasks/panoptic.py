"""Panoptic segmentation by queries: each pixel belongs to one segment, with a class and a score, or to none.

The model has two outputs: class logits [b, q, C + 1], whose last column is "no object", and mask logits
[b, q, h, w]. The decisions are those of Cheng et al. 2021 (arXiv:2107.06278, section 3.4), as transformers'
``post_process_panoptic_segmentation`` takes them:

1. A query counts if its best class is an object's, and its probability is above ``score_threshold``.
2. A pixel goes to the query with the largest product of its probability and the mask's.
3. A query whose pixels are less than ``overlap_threshold`` of those where that product is above
   ``mask_threshold`` is dropped, and its pixels belong to no segment.
"""

import base64
import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from onnxproof.contract import ClassInfo
from onnxproof.document import Entry
from onnxproof.runtime.drawing import EDGE_SHARE, draw_boxes, draw_masks
from onnxproof.runtime.maps import Places, interpolate, places_across, places_in
from onnxproof.runtime.preprocess import Transform
from onnxproof.runtime.readings.adjustable import Array, setting
from onnxproof.runtime.readings.query_masks import QueryEvidence, QueryReading, read_layout
from onnxproof.runtime.readings.scores import sigmoid
from onnxproof.runtime.tasks.task import as_float, class_color, class_name

NOBODY = -1
"""Takes the place of a query where a pixel belongs to none."""

SHADES = (0.0, -0.4, 0.45, -0.65, 0.7)
"""How far the colours of a class's segments are from its own, towards black (below 0) or white."""

CUTS = ("score_threshold", "mask_threshold", "overlap_threshold")


@dataclass(frozen=True, slots=True)
class QueryMasks(QueryReading):
    """Queries of segments, to one of which each pixel belongs, or to none."""

    mask_threshold: float = 0.5
    overlap_threshold: float = 0.8

    def to_json(self) -> dict[str, Any]:
        """A JSON object."""
        return {**self.layout(), **{name: getattr(self, name) for name in CUTS}}


@dataclass(frozen=True, slots=True)
class Queries(QueryEvidence):
    """One picture's queries of segments."""

    def kept(self, reading: QueryMasks) -> NDArray[np.int64]:
        """The numbers of the queries that count."""
        labels = self.probabilities.argmax(axis=1)
        best = self.probabilities.max(axis=1)
        objects = labels != self.probabilities.shape[1] - 1
        return np.flatnonzero(objects & (best > reading.score_threshold))

    def weighted(self, kept: NDArray[np.int64], reading: QueryMasks, places: Places | None = None) -> Array:
        """The products of the kept queries' probabilities and masks: float [k, H, W].

        Without ``places`` they are at the masks' own pixels, or those of ``between``.
        """
        logits = self.masks[kept]
        if reading.between is not None:
            logits = interpolate(logits, places_across(*reading.between, self.masks.shape[1:]), "linear")
        masks = sigmoid(as_float(logits))
        if places is not None:
            masks = interpolate(masks, places, "linear")
        weighted: Array = masks * self.probabilities[kept].max(axis=1)[:, None, None]
        return weighted


@dataclass(frozen=True, slots=True)
class Segment:
    """A segment: the number of its query, its class, its score and how many pixels it has."""

    query: int
    label: int
    score: float
    area: int


@dataclass(frozen=True, slots=True)
class Panorama:
    """The segments of a picture. ``owners`` int64 [H, W] is the number of each pixel's query, or NOBODY.

    ``queries`` and ``reading`` are what they were decided from; None once they are in the picture's pixels.
    """

    owners: NDArray[np.int64]
    segments: tuple[Segment, ...]
    queries: Queries | None = None
    reading: QueryMasks | None = None


def assign(queries: Queries, reading: QueryMasks, places: Places | None = None) -> Panorama:
    """The segments at the masks' own pixels, or at a picture's ``places``."""
    kept = queries.kept(reading)
    height, width = queries.grid(reading) if places is None else places.seen.shape
    owners = np.full((height, width), NOBODY, np.int64)
    if not len(kept):
        return Panorama(owners, ())
    weighted = queries.weighted(kept, reading, places)
    best = weighted.argmax(axis=0)
    segments = []
    for at, query in enumerate(kept.tolist()):
        won = best == at
        whole = int((weighted[at] >= reading.mask_threshold).sum())
        if not whole or not won.sum() / whole > reading.overlap_threshold:
            continue
        if places is not None:
            won &= places.seen
        owners[won] = query
        row = queries.probabilities[query]
        segments.append(Segment(query, int(row.argmax()), float(row.max()), int(won.sum())))
    return Panorama(owners, tuple(segments))


class _Panoptic:
    name = "panoptic"
    decides = True
    needs_all = False
    summary = "Panoptic segmentation by queries: segments with classes and scores, one for each pixel."

    def reading(self, entry: Entry) -> QueryMasks:
        keys = entry.table(("outputs", "picture", "between", *CUTS))
        cuts = {name: setting(keys, name) for name in CUTS}
        return QueryMasks(*read_layout(keys), **cuts)

    def evidence(
        self,
        outputs: Mapping[str, Array],
        sizes: Mapping[str, int],
        reading: QueryMasks,
        margins: Mapping[str, Array],
    ) -> tuple[Queries, ...]:
        return Queries.of(outputs, sizes, reading)

    def decide(self, evidence: Queries, reading: QueryMasks) -> Panorama:
        found = assign(evidence, reading)
        return Panorama(found.owners, found.segments, evidence, reading)

    def restore(self, decisions: Panorama, transform: Transform) -> Panorama:
        """The segments are decided anew at the picture's own pixels, as transformers does. A pixel that the
        model did not see belongs to none."""
        queries, reading = decisions.queries, decisions.reading
        assert queries is not None
        assert reading is not None
        places = places_in(transform, (queries.height, queries.width), queries.grid(reading))
        return assign(queries, reading, places)

    def to_json(
        self, decisions: Panorama, classes: tuple[ClassInfo, ...], width: int | None, height: int | None
    ) -> dict[str, Any]:
        """{"segments_info", "png"}, as COCO's panoptic annotations have them: ids from 1, the areas and boxes
        (x, y, width, height) in pixels, and a base64 PNG whose RGB is the id, R + 256 G + 65536 B. 0 is no
        segment."""
        ids = np.zeros(decisions.owners.shape, np.uint32)
        told = []
        for number, segment in enumerate(decisions.segments, start=1):
            own = decisions.owners == segment.query
            ids[own] = number
            left, top, right, bottom = _box(own)
            told.append(
                {
                    "id": number,
                    "category_id": segment.label,
                    "category": class_name(segment.label, classes),
                    "score": segment.score,
                    "area": segment.area,
                    "bbox": [left, top, right - left, bottom - top],
                    "iscrowd": 0,
                }
            )
        stream = io.BytesIO()
        channels = np.stack([(ids >> shift & 255).astype(np.uint8) for shift in (0, 8, 16)], axis=-1)
        Image.fromarray(channels).save(stream, format="PNG")
        return {"segments_info": told, "png": base64.b64encode(stream.getvalue()).decode("ascii")}

    def lines(self, decisions: Panorama, classes: tuple[ClassInfo, ...]) -> tuple[str, ...]:
        count = len(decisions.segments)
        total = max(decisions.owners.size, 1)
        rows = (
            f"{class_name(segment.label, classes):<16} {segment.score:.3f}  {segment.area / total:.1%}"
            for segment in decisions.segments
        )
        return (f"{count} segment{'' if count == 1 else 's'}", *rows)

    def draw(self, picture: Image.Image, decisions: Panorama, classes: tuple[ClassInfo, ...]) -> Image.Image:
        """The segments' classes laid over the picture, with an edge and a caption each. Segments of one class
        have shades of its colour."""
        shown = [segment for segment in decisions.segments if segment.area]
        labels = [segment.label for segment in shown]
        colors = [
            shade(class_color(label, classes), labels[:number].count(label))
            for number, label in enumerate(labels)
        ]
        masks, boxes = [], []
        for segment in shown:
            own = decisions.owners == segment.query
            left, top, right, bottom = _box(own)
            boxes.append((left, top, right, bottom))
            masks.append((left, top, own[top:bottom, left:right]))
        captions = [f"{class_name(segment.label, classes)}: {segment.score:.0%}" for segment in shown]
        drawn = draw_masks(picture, masks, colors)
        return draw_boxes(drawn, np.array(boxes, float).reshape(-1, 4), captions, colors, EDGE_SHARE)


TASK = _Panoptic()


def shade(color: tuple[int, int, int], number: int) -> tuple[int, int, int]:
    """The colour of a class's segment of that number: the class's own, then darker and lighter ones."""
    share = SHADES[number % len(SHADES)]
    towards = 0 if share < 0 else 255
    red, green, blue = (round(value + abs(share) * (towards - value)) for value in color)
    return red, green, blue


def _box(own: NDArray[np.bool_]) -> tuple[int, int, int, int]:
    """The left, top, right and bottom of a segment's pixels, px; zeros if it has none."""
    rows, columns = np.flatnonzero(own.any(axis=1)), np.flatnonzero(own.any(axis=0))
    if not len(rows):
        return 0, 0, 0, 0
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1
