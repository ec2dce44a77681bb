"""Boxes that the graph decodes: in one packed output, or as an output of boxes and one of class scores."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from onnxproof.document import Entry
from onnxproof.runtime.nms import nms
from onnxproof.runtime.readings.adjustable import (
    Adjustable,
    Array,
    output_names,
    require_form,
    require_scored_boxes,
    setting,
)
from onnxproof.tensors import TensorSpec

Suppress = Callable[[Array, Array, float, NDArray[np.int64] | None], NDArray[np.int64]]
"""NMS: boxes, scores, the threshold and the classes (None compares all) to the indices that stay."""

LARGEST_LABEL = 2**31
"""Labels below it are whole numbers of classes; a label that is no such number is -1."""

THRESHOLDS = ("score_threshold", "iou_threshold", "class_agnostic")


@dataclass(frozen=True, slots=True)
class Cuts:
    """The limits by which scored boxes become detections.

    A box counts if its score is above ``score_threshold``. NMS suppresses a box if its IoU with a better one
    is above ``iou_threshold``; the two may be of different classes if ``class_agnostic``. At most
    ``top_candidates`` of each group enter NMS, the best ones. At most ``max_detections`` in all are kept
    after it. None means no limit; without an ``iou_threshold`` there is no NMS.
    """

    score_threshold: float
    iou_threshold: float | None
    class_agnostic: bool = False
    top_candidates: int | None = None
    max_detections: int | None = None


@dataclass(frozen=True, slots=True)
class Candidates:
    """All boxes of one picture before the threshold and NMS.

    ``boxes`` float [n, 4] (x0, y0, x1, y1, input pixels), ``scores`` float [n] in [0, 1], ``labels``
    int64 [n].

    ``gaps`` float [n] is the score's lead over the next class: infinite if there is only one class, None if
    the layout does not have it. ``groups`` int64 [n] is the group, such as a level of the feature pyramid,
    whose best candidates enter NMS; None if all enter it.
    """

    boxes: Array
    scores: Array
    labels: NDArray[np.int64]
    gaps: Array | None
    groups: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(self.scores)

    def take(self, indices: Array) -> "Candidates":
        """The candidates at the given indices (or under a mask)."""
        gaps, groups = (None if of is None else of[indices] for of in (self.gaps, self.groups))
        return Candidates(self.boxes[indices], self.scores[indices], self.labels[indices], gaps, groups)

    def decide(self, cuts: Cuts) -> "Detections":
        """The detections; see the function ``decide``."""
        return decide(self, cuts)


@dataclass(frozen=True, slots=True)
class Detections:
    """The candidates that are kept after the threshold and NMS, the best score first.

    ``boxes`` float [n, 4] (x0, y0, x1, y1, pixels), ``scores`` float [n], ``labels`` int64 [n],
    ``indices`` int64 [n] into the candidates.
    """

    boxes: Array
    scores: Array
    labels: NDArray[np.int64]
    indices: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.scores)


def decide(candidates: Candidates, cuts: Cuts, suppress: Suppress = nms) -> Detections:
    """The detections: the candidates that are kept under ``cuts``. ``suppress`` is the kind of NMS."""
    above = np.flatnonzero(candidates.scores > cuts.score_threshold)
    if candidates.groups is not None and cuts.top_candidates is not None:
        above = _best_of_groups(candidates, above, cuts.top_candidates)
    scores = candidates.scores[above]
    if cuts.iou_threshold is None:
        kept = above[np.argsort(-scores, kind="stable")]
    else:
        classes = None if cuts.class_agnostic else candidates.labels[above]
        kept = above[suppress(candidates.boxes[above], scores, cuts.iou_threshold, classes)]
    kept = kept[: cuts.max_detections]
    return Detections(candidates.boxes[kept], candidates.scores[kept], candidates.labels[kept], kept)


def _best_of_groups(candidates: Candidates, indices: Array, count: int) -> Array:
    """The ``count`` best of each group among ``indices``, in the order of ``indices``."""
    assert candidates.groups is not None
    groups = candidates.groups[indices]
    order = np.lexsort((-candidates.scores[indices], groups))
    starts = np.flatnonzero(np.diff(groups[order], prepend=-1))
    ranks = np.arange(len(order)) - np.repeat(starts, np.diff(starts, append=len(order)))
    return indices[np.sort(order[ranks < count])]


@dataclass(frozen=True, slots=True)
class CuttingReading(Adjustable):
    """A reading that has the limits of its ``Cuts`` as fields of the same names."""

    @property
    def cuts(self) -> Cuts:
        """The limits by which candidates become detections."""
        names = {entry.name for entry in fields(self)} & {entry.name for entry in fields(Cuts)}
        return Cuts(**{name: getattr(self, name) for name in names})


@dataclass(frozen=True, slots=True)
class BoxReading(CuttingReading):
    """A reading of boxes that still need NMS, which NumPy does.

    ``decode`` is the layout's name. ``strides`` are those of the network's cells, px, or None if they are not
    known. ``max_detections`` is how many of a picture are kept, the best ones; None means all.
    """

    decode: ClassVar[str]
    score_threshold: float
    iou_threshold: float
    class_agnostic: bool = False
    strides: tuple[int, ...] | None = None
    max_detections: int | None = None

    def to_json(self) -> dict[str, Any]:
        """A JSON object."""
        strides = {} if self.strides is None else {"strides": list(self.strides)}
        return {
            "decode": self.decode,
            "outputs": list(self.outputs),
            **strides,
            **{name: getattr(self, name) for name in THRESHOLDS},
            **({} if self.max_detections is None else {"max_detections": self.max_detections}),
        }

    @classmethod
    def read(cls, entry: Entry) -> Self:
        """The inverse of ``to_json``; ModelFileError for any other object."""
        keys = entry.table(("decode", "outputs", *THRESHOLDS), ("strides", "max_detections"))
        strides = None
        if "strides" in keys:
            strides = tuple(stride.whole(1) for stride in keys["strides"].entries())
        most = keys["max_detections"].whole(1) if "max_detections" in keys else None
        thresholds = {name: setting(keys, name) for name in THRESHOLDS}
        return cls(cls.names(keys), **thresholds, strides=strides, max_detections=most)

    @classmethod
    def names(cls, keys: Mapping[str, Entry]) -> tuple[str, ...]:
        """The names of the outputs, as many as the layout has."""
        return output_names(keys, 1)


@dataclass(frozen=True, slots=True)
class PackedBoxes(BoxReading):
    """One output [b, n, 6]: x0, y0, width, height in pixels, label, score."""

    decode: ClassVar[str] = "packed"

    def require(self, outputs: Mapping[str, TensorSpec]) -> None:
        """See ``Reading``."""
        require_form(outputs[self.outputs[0]], "float", None, None, 6)

    def evidence(
        self, outputs: Mapping[str, Array], sizes: Mapping[str, int], margins: Mapping[str, Array]
    ) -> tuple[Candidates, ...]:
        """The candidates of each picture of a batch.

        In a PyTorch leg ``margins["label"]`` float [b, n] is the scores' lead over the next class.
        """
        packed, gaps = outputs[self.outputs[0]], margins.get("label")
        corners, extents = packed[..., :2], packed[..., 2:4]
        with np.errstate(invalid="ignore", over="ignore"):  # a damaged file answers with any numbers
            boxes = np.concatenate((corners, corners + extents), axis=-1)
            told = packed[..., 4]
            labels = np.where(np.abs(told) < LARGEST_LABEL, told, -1).astype(np.int64)
        return tuple(
            Candidates(boxes[i], packed[i, :, 5], labels[i], None if gaps is None else gaps[i])
            for i in range(len(packed))
        )


@dataclass(frozen=True, slots=True)
class SplitBoxes(BoxReading):
    """Two outputs: boxes [b, n, 4] (x0, y0, x1, y1 in pixels) and scores [b, n, C]."""

    decode: ClassVar[str] = "split"

    def require(self, outputs: Mapping[str, TensorSpec]) -> None:
        """See ``Reading``."""
        boxes, scores = (outputs[name] for name in self.outputs)
        require_scored_boxes(boxes, scores)

    def evidence(
        self, outputs: Mapping[str, Array], sizes: Mapping[str, int], margins: Mapping[str, Array]
    ) -> tuple[Candidates, ...]:
        """The candidates of each picture of a batch."""
        boxes, scores = (outputs[name] for name in self.outputs)
        return from_class_scores(boxes, scores)

    @classmethod
    def names(cls, keys: Mapping[str, Entry]) -> tuple[str, ...]:
        """The names of the two outputs."""
        return output_names(keys, 2)


@dataclass(frozen=True, slots=True)
class ChannelBoxes(BoxReading):
    """One output [b, 4 + C, n], as Ultralytics exports it: centre x, centre y, width, height in pixels, then
    the class scores."""

    decode: ClassVar[str] = "channels"

    def require(self, outputs: Mapping[str, TensorSpec]) -> None:
        """See ``Reading``."""
        require_form(outputs[self.outputs[0]], "float", None, None, None)

    def evidence(
        self, outputs: Mapping[str, Array], sizes: Mapping[str, int], margins: Mapping[str, Array]
    ) -> tuple[Candidates, ...]:
        """The candidates of each picture of a batch."""
        rows = outputs[self.outputs[0]].transpose(0, 2, 1)
        centres, halves = rows[..., :2], rows[..., 2:4] / 2
        with np.errstate(invalid="ignore"):  # a size that overflowed is infinite, its corner minus infinity
            boxes = np.concatenate((centres - halves, centres + halves), axis=-1)
        return from_class_scores(boxes, rows[..., 4:])


def from_class_scores(boxes: Array, scores: Array) -> tuple[Candidates, ...]:
    """The candidates of each picture, from boxes [b, n, 4] (x0, y0, x1, y1) and class scores [b, n, C]."""
    labels = scores.argmax(axis=-1)
    best = np.take_along_axis(scores, labels[..., None], axis=-1)[..., 0]
    if scores.shape[-1] == 1:
        gaps = np.full_like(best, np.inf)
    else:
        gaps = best - np.partition(scores, -2, axis=-1)[..., -2]
    return tuple(Candidates(boxes[i], best[i], labels[i], gaps[i]) for i in range(len(boxes)))


BOXES: Mapping[str, type[PackedBoxes | SplitBoxes | ChannelBoxes]] = {
    "packed": PackedBoxes,
    "split": SplitBoxes,
    "channels": ChannelBoxes,
}
"""The layout of boxes and scores, one row a candidate, for each value of "decode"."""
