"""Detectors whose graph ends in NMS: one row for each detection.

The rows are those of one picture, or of a batch: then one more output says which picture each row is of.

The file returns only the rows. The margins of a PyTorch leg also hold the candidates that the rows were
chosen from, before the threshold and NMS:

- ``candidate_boxes`` [m, 4], in input pixels, or oriented ones [m, 5];
- ``candidate_scores``, ``candidate_labels`` and, if they compete in groups, ``candidate_groups`` [m];
- ``candidate_ids`` [m]: the same candidate has the same id in every leg;
- ``candidate_gaps`` [m], if a candidate's class is the best of several: the score's lead over the next class;
- ``candidate_pictures`` [m], if the rows are those of a batch: the picture of each.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Self

import numpy as np

from onnxproof.document import Entry
from onnxproof.errors import RequestError
from onnxproof.runtime.nms import pairwise_iou
from onnxproof.runtime.readings.adjustable import Adjustable, Array, output_names, require_form, setting
from onnxproof.runtime.readings.boxes import Candidates, Cuts, Detections
from onnxproof.runtime.readings.graph_nms import GraphNms
from onnxproof.tensors import TensorSpec

MASK_SIDE = 28
"""The side of the masks that torchvision's Mask R-CNN predicts, px: 14 from its MaskRoIAlign, doubled by
its predictor's transposed convolution."""

PROPOSAL_IOU = 0.3
"""The IoU below which a proposal does not belong to an object (Ren et al. 2015, arXiv:1506.01497, section
3.1.2). Below it, a detection is taken not to come from a proposal."""

ROW_KEYS = ("decode", "graph", "score_threshold", "outputs", "first_label")
"""The keys of every reading of rows."""

OPEN_CLASS = 1e-3
"""Two classes of a candidate whose scores are no further apart than this may change places in another leg, so
a row of either may be this candidate's. It decides what is measured against what; it excuses nothing."""


@dataclass(frozen=True, slots=True)
class OpenRegions:
    """The boxes of open decisions that the rows do not show, such as the choice of proposals.

    ``boxes`` float [k, 4] (x0, y0, x1, y1, input pixels). ``causes[i]`` says why the decision on ``boxes[i]``
    is open.
    """

    boxes: Array
    causes: tuple[str, ...]

    def over(self, box: Array) -> str | None:
        """The cause of the region that overlaps ``box`` most. Returns None if no IoU is PROPOSAL_IOU or
        more."""
        if not self.causes:
            return None
        ious = pairwise_iou(box[None].astype(np.float64), self.boxes.astype(np.float64))[0]
        best = int(ious.argmax())
        return self.causes[best] if ious[best] >= PROPOSAL_IOU else None


NOWHERE = OpenRegions(np.empty((0, 4)), ())


@dataclass(frozen=True, slots=True)
class Rows:
    """One picture's rows.

    ``candidates`` are what the rows were chosen from, or None for a file. ``open_regions`` are the places
    where that choice depends on an earlier choice that is open.
    """

    detections: Detections
    candidates: Candidates | None
    open_regions: OpenRegions = NOWHERE

    def decide(self, cuts: Cuts) -> Detections:
        """The rows above the threshold."""
        rows = above(self.detections, cuts.score_threshold)
        return replace(rows, indices=np.arange(len(rows)))


@dataclass(frozen=True, slots=True)
class RowReading(Adjustable):
    """Rows: boxes float [n, 4] (x0, y0, x1, y1, px), labels int64 [n], scores float [n].

    ``first_label`` is the label of the first class. ``score_threshold`` is what ``predict`` applies.
    ``graph`` has the settings by which the graph itself decided.

    ``batch`` is None if the rows are those of one picture. Otherwise it is the name of the inputs' axis that
    counts the pictures, or their number, and the last output is the picture of each row, int64 [n].
    """

    decode: ClassVar[str] = "nms"
    numbers: ClassVar[int] = 4
    """How many numbers a box has."""

    score_threshold: float
    first_label: int
    graph: GraphNms
    batch: str | int | None = field(default=None, kw_only=True)

    def require(self, outputs: Mapping[str, TensorSpec]) -> None:
        """See ``Reading``."""
        boxes, labels, scores = (outputs[name] for name in self.outputs[:3])
        require_form(boxes, "float", None, self.numbers)
        require_form(labels, "int", None)
        require_form(scores, "float", None)
        if self.batch is not None:
            require_form(outputs[self.outputs[-1]], "int", None)

    def pictures(self, sizes: Mapping[str, int]) -> int:
        """How many pictures the rows are of. ``sizes`` are the sizes of the inputs' named axes."""
        if self.batch is None:
            return 1
        return self.batch if isinstance(self.batch, int) else sizes[self.batch]

    def refuse(self, outputs: Mapping[str, Array], sizes: Mapping[str, int]) -> str | None:
        """What is wrong with how rows are told apart. Returns None if each row is of one of the pictures."""
        if self.batch is None:
            return None
        named, count = outputs[self.outputs[-1]], self.pictures(sizes)
        strangers = named[(named < 0) | (named >= count)]
        if not len(strangers):
            return None
        return f"a row of picture {strangers.min()}; the batch has the pictures 0 to {count - 1}"

    def by_picture(
        self, outputs: Mapping[str, Array], sizes: Mapping[str, int], margins: Mapping[str, Array]
    ) -> Iterator[tuple[dict[str, Array], dict[str, Array]]]:
        """The outputs and the margins of each picture. The rows keep their order."""
        if self.batch is None:
            yield dict(outputs), dict(margins)
            return
        of_rows = outputs[self.outputs[-1]]
        for picture in range(self.pictures(sizes)):
            rows = of_rows == picture
            own = {name: array[rows] for name, array in outputs.items()}
            yield own, margins_of_picture(margins, picture)

    @property
    def cuts(self) -> Cuts:
        """The graph's limits, with the score threshold that ``predict`` applies."""
        return self.graph.cuts(self.score_threshold)

    def evidence(
        self, outputs: Mapping[str, Array], sizes: Mapping[str, int], margins: Mapping[str, Array]
    ) -> tuple["Rows", ...]:
        """The rows of each picture."""
        parts = self.by_picture(outputs, sizes, margins)
        return tuple(rows_from(own, self, told) for own, told in parts)

    def to_json(self) -> dict[str, Any]:
        """A JSON object."""
        return {
            "decode": self.decode,
            "graph": self.graph.to_json(),
            "score_threshold": self.score_threshold,
            "outputs": list(self.outputs),
            "first_label": self.first_label,
            **({} if self.batch is None else {"batch": self.batch}),
        }

    @classmethod
    def read(cls, entry: Entry) -> Self:
        """The inverse of ``to_json``; ModelFileError for any other object."""
        keys = entry.table(ROW_KEYS, ("batch",))
        return cls.of(keys, 3 if "batch" not in keys else 4)

    @classmethod
    def of(cls, keys: Mapping[str, Entry], outputs: int, **more: Any) -> Self:
        """The reading of the entries ``ROW_KEYS`` and "batch", with so many outputs and ``more`` fields."""
        batch = None
        if "batch" in keys:
            told = keys["batch"]
            batch = told.whole(1) if isinstance(told.value, int) else told.text()
        return cls(
            output_names(keys, outputs),
            setting(keys, "score_threshold"),
            keys["first_label"].whole(),
            GraphNms.read(keys["graph"]),
            batch=batch,
            **more,
        )


@dataclass(frozen=True, slots=True)
class MaskReading(RowReading):
    """Rows with a fourth output: masks float [n, 1, H, W], probabilities, pasted into the input's picture.

    A pixel belongs to the object if its probability is above ``mask_threshold``. ``mask_side`` is the side of
    a mask before it is pasted, px.
    """

    mask_threshold: float
    mask_side: int = MASK_SIDE

    def __post_init__(self) -> None:
        if not self.mask_side >= 1:
            raise RequestError(f"a mask's side is {self.mask_side} px, expected 1 px or more")

    def require(self, outputs: Mapping[str, TensorSpec]) -> None:
        """See ``Reading``."""
        RowReading.require(self, outputs)
        require_form(outputs[self.outputs[3]], "float", None, 1, None, None)

    def to_json(self) -> dict[str, Any]:
        """A JSON object."""
        document = RowReading.to_json(self)
        masks = {"mask_threshold": self.mask_threshold, "mask_side": self.mask_side}
        return {"decode": document.pop("decode"), **masks, **document}

    @classmethod
    def read(cls, entry: Entry) -> Self:
        """The inverse of ``to_json``; ModelFileError for any other object."""
        keys = entry.table((*ROW_KEYS, "mask_threshold"), ("mask_side",))
        side = keys["mask_side"].whole(1) if "mask_side" in keys else MASK_SIDE
        return cls.of(keys, 4, mask_threshold=setting(keys, "mask_threshold"), mask_side=side)


def rows_from(outputs: Mapping[str, Array], reading: RowReading, margins: Mapping[str, Array]) -> Rows:
    """The rows of a file's or a leg's outputs. The module's docstring describes ``margins``.

    The rows' ``indices`` point into the candidates. If there are no candidates, they number the rows.
    """
    boxes, labels, scores = (outputs[name] for name in reading.outputs[:3])
    labels = labels - reading.first_label
    candidates = candidates_from(margins, reading)
    if candidates is None:
        return Rows(Detections(boxes, scores, labels, np.arange(len(scores))), None)
    nearest, _ = nearest_candidates(candidates, boxes, scores, labels)
    regions = NOWHERE
    if "open_boxes" in margins:
        regions = OpenRegions(margins["open_boxes"], tuple(str(cause) for cause in margins["open_causes"]))
    return Rows(Detections(boxes, scores, labels, nearest), candidates, regions)


def margins_of_picture(margins: Mapping[str, Array], picture: int) -> dict[str, Array]:
    """The margins of one picture of a batch, {} if there are none."""
    if "candidate_pictures" not in margins:
        return {}
    chosen = margins["candidate_pictures"] == picture
    return {name: array[chosen] for name, array in margins.items()}


def candidates_from(margins: Mapping[str, Array], reading: RowReading) -> Candidates | None:
    """The candidates that a PyTorch leg chose its rows from. Returns None if the margins have none."""
    if "candidate_boxes" not in margins:
        return None
    return Candidates(
        margins["candidate_boxes"],
        margins["candidate_scores"],
        margins["candidate_labels"] - reading.first_label,
        margins.get("candidate_gaps"),
        margins.get("candidate_groups"),
    )


def nearest_candidates(
    candidates: Candidates, boxes: Array, scores: Array, labels: Array
) -> tuple[Array, Array]:
    """For each row, the index of the nearest candidate of its class, int64 [n], and its distance, float64
    [n]. A candidate whose class is open (``OPEN_CLASS``) may be of any class.

    The distance is the largest difference of a coordinate, as a share of the candidates' largest coordinate,
    plus the difference of the scores. It is infinite if the class has no candidate.
    """
    indices, distances = np.zeros(len(scores), np.int64), np.full(len(scores), np.inf)
    extent = float(np.nanmax(np.abs(candidates.boxes), initial=1.0))
    gaps = candidates.gaps
    is_open = np.zeros(len(candidates), bool) if gaps is None else gaps <= OPEN_CLASS
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        members = np.flatnonzero((candidates.labels == label) | is_open)
        if not len(members):
            continue
        apart = np.zeros((len(rows), len(members)))
        with np.errstate(invalid="ignore"):
            for k in range(boxes.shape[1]):
                moved = np.abs(
                    np.subtract.outer(boxes[rows, k], candidates.boxes[members, k], dtype=np.float64)
                )
                np.maximum(apart, moved, out=apart)
            apart = apart / extent + np.abs(np.subtract.outer(scores[rows], candidates.scores[members]))
        apart = np.where(np.isnan(apart), np.inf, apart)
        best = apart.argmin(axis=1)
        indices[rows], distances[rows] = members[best], apart[np.arange(len(rows)), best]
    return indices, distances


def above(rows: Detections, threshold: float) -> Detections:
    """The rows whose score is above a threshold."""
    chosen = rows.scores > threshold
    return Detections(rows.boxes[chosen], rows.scores[chosen], rows.labels[chosen], rows.indices[chosen])
