"""Detectors without NMS: each candidate stands for itself, and only its score decides.

They are trained to answer with one box for each object (Carion et al. 2020, arXiv:2005.12872, section 3.1).
A candidate is a row and a class. It is a detection if its score is above the threshold and, where the network
has such a cut, among the best ``max_detections`` of the picture.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray

from onnxproof.document import Entry
from onnxproof.errors import RequestError
from onnxproof.runtime.readings.adjustable import (
    Adjustable,
    Array,
    output_names,
    require_form,
    require_scored_boxes,
    setting,
)
from onnxproof.runtime.readings.boxes import Candidates, Cuts, from_class_scores
from onnxproof.runtime.readings.scored_anchors import ScoredAnchors
from onnxproof.runtime.readings.scores import sigmoid, softmax
from onnxproof.tensors import TensorSpec

Activation = Literal["softmax", "sigmoid", "none"]
ACTIVATIONS = ("softmax", "sigmoid", "none")

SCORE = 4
"""The column of the score in rows of six numbers."""

Axis = int | str
"""An axis of the input: its size if it is fixed, otherwise its name."""


@dataclass(frozen=True, slots=True)
class SetReading(Adjustable):
    """A reading of boxes that need no NMS. ``decode`` is the layout's name.

    ``max_detections`` is how many of the best candidates of a picture count; None means all.
    """

    decode: ClassVar[str]
    any_order: ClassVar[bool] = True
    """Whether the rows may come in any order, as where a top-k chose them. Otherwise each has its place."""

    score_threshold: float
    max_detections: int | None = None

    def __post_init__(self) -> None:
        if self.max_detections is not None and self.max_detections < 1:
            raise RequestError(f"max_detections is {self.max_detections}, expected 1 or more")

    @property
    def cuts(self) -> Cuts:
        """The limits by which candidates become detections."""
        return Cuts(self.score_threshold, None, max_detections=self.max_detections)

    @property
    def row_outputs(self) -> tuple[str, ...]:
        """The outputs that have the rows. Others are what all rows of a picture share."""
        return self.outputs

    def row_keys(self, outputs: Mapping[str, Array]) -> Array:
        """What tells rows apart, float [b, n, k]: the box, the best score and, of ``RowSet``, the label."""
        raise NotImplementedError

    def to_json(self) -> dict[str, Any]:
        """A JSON object."""
        most = {} if self.max_detections is None else {"max_detections": self.max_detections}
        return {
            "decode": self.decode,
            "nms": "none",
            "outputs": list(self.outputs),
            "score_threshold": self.score_threshold,
            **most,
        }

    @classmethod
    def read(cls, entry: Entry) -> Self:
        """The inverse of ``to_json``; ModelFileError for any other object."""
        keys = entry.table(("decode", "nms", "outputs", "score_threshold"), ("max_detections",))
        return cls(output_names(keys, *cls.counts()), **common_settings(keys))

    @classmethod
    def counts(cls) -> tuple[int, int]:
        """The least and the largest number of outputs."""
        return 2, 2


@dataclass(frozen=True, slots=True)
class SplitSet(SetReading):
    """Two outputs: boxes [b, n, 4] (x0, y0, x1, y1 in pixels) and scores [b, n, C] in [0, 1].

    Each row has its place, such as a cell. Each class of a row is a candidate.
    """

    decode: ClassVar[str] = "split"
    any_order: ClassVar[bool] = False

    def require(self, outputs: Mapping[str, TensorSpec]) -> None:
        """See ``Reading``."""
        boxes, scores = (outputs[name] for name in self.outputs)
        require_scored_boxes(boxes, scores)

    def evidence(
        self, outputs: Mapping[str, Array], sizes: Mapping[str, int], margins: Mapping[str, Array]
    ) -> tuple[ScoredAnchors, ...]:
        """The scored rows of each picture of a batch."""
        boxes, scores = (outputs[name] for name in self.outputs)
        return _scored(boxes, scores)

    def row_keys(self, outputs: Mapping[str, Array]) -> Array:
        """See ``SetReading``."""
        boxes, scores = (outputs[name] for name in self.outputs)
        return _keys(boxes, scores)


@dataclass(frozen=True, slots=True)
class QuerySet(SetReading):
    """Two outputs of a network with queries: class logits [b, q, C], and boxes [b, q, 4].

    The boxes are centre x, centre y, width, height in shares of the input's size. ``height`` and ``width``
    are the input's axes. ``activation`` makes scores of the logits:

    - "softmax": over the classes and "no object", which is the last column; each query has one class, its
      best (DETR, conditional DETR, YOLOS);
    - "sigmoid": each class of a query is a candidate (deformable DETR, RT-DETR, D-FINE);
    - "none": as "sigmoid", but the output holds the scores themselves.

    ``selects`` says that a top-k inside the network chose the queries among the places of the picture. On a
    picture of one value all places score alike, so nothing decides which of them it keeps.
    """

    decode: ClassVar[str] = "queries"
    activation: Activation = "softmax"
    height: Axis = "height"
    width: Axis = "width"
    selects: bool = False

    def require(self, outputs: Mapping[str, TensorSpec]) -> None:
        """See ``Reading``."""
        logits, boxes = (outputs[name] for name in self.outputs)
        require_form(logits, "float", None, None, None)
        require_form(boxes, "float", None, None, 4)

    def evidence(
        self, outputs: Mapping[str, Array], sizes: Mapping[str, int], margins: Mapping[str, Array]
    ) -> tuple[Candidates | ScoredAnchors, ...]:
        """The candidates of each picture of a batch. ``sizes`` are those of the input's named axes, px."""
        logits, shares = (outputs[name] for name in self.outputs)
        height, width = (axis if isinstance(axis, int) else sizes[axis] for axis in (self.height, self.width))
        centres, halves = shares[..., :2], shares[..., 2:] / 2
        boxes = np.concatenate((centres - halves, centres + halves), axis=-1)
        boxes = boxes * np.array([width, height, width, height], boxes.dtype)
        if self.activation == "softmax":
            return from_class_scores(boxes, softmax(logits)[..., :-1])
        return _scored(boxes, logits if self.activation == "none" else sigmoid(logits))

    def row_keys(self, outputs: Mapping[str, Array]) -> Array:
        """See ``SetReading``."""
        logits, boxes = (outputs[name] for name in self.outputs)
        return _keys(boxes, logits)

    def to_json(self) -> dict[str, Any]:
        """A JSON object."""
        return {
            **SetReading.to_json(self),
            "activation": self.activation,
            "picture": [self.height, self.width],
            **({"selects": True} if self.selects else {}),
        }

    @classmethod
    def read(cls, entry: Entry) -> Self:
        """The inverse of ``to_json``; ModelFileError for any other object."""
        keys = entry.table(
            ("decode", "nms", "outputs", "score_threshold", "activation", "picture"),
            ("max_detections", "selects"),
        )
        height, width = (
            axis.whole(1) if isinstance(axis.value, int) else axis.text()
            for axis in keys["picture"].entries(2)
        )
        activation: Any = keys["activation"].text(ACTIVATIONS)
        selects = keys["selects"].flag() if "selects" in keys else False
        return cls(
            output_names(keys, 2),
            **common_settings(keys),
            activation=activation,
            height=height,
            width=width,
            selects=selects,
        )


@dataclass(frozen=True, slots=True)
class RowSet(SetReading):
    """Rows that the graph has chosen already, the best by its own top-k, padded to a fixed number.

    Either one output [b, n, 6]: x0, y0, x1, y1 in pixels, score, label (YOLOv10, YOLO26); or three: boxes
    [b, n, 4], labels int [b, n], scores [b, n].
    """

    decode: ClassVar[str] = "rows"

    def require(self, outputs: Mapping[str, TensorSpec]) -> None:
        """See ``Reading``."""
        if len(self.outputs) == 1:
            require_form(outputs[self.outputs[0]], "float", None, None, 6)
            return
        boxes, labels, scores = (outputs[name] for name in self.outputs)
        require_form(boxes, "float", None, None, 4)
        require_form(labels, "int", None, None)
        require_form(scores, "float", None, None)

    def evidence(
        self, outputs: Mapping[str, Array], sizes: Mapping[str, int], margins: Mapping[str, Array]
    ) -> tuple[Candidates, ...]:
        """The candidates of each picture of a batch."""
        boxes, labels, scores = self._parts(outputs)
        numbers = np.nan_to_num(labels, nan=-1).astype(np.int64)
        return tuple(Candidates(boxes[i], scores[i], numbers[i], None) for i in range(len(boxes)))

    def row_keys(self, outputs: Mapping[str, Array]) -> Array:
        """See ``SetReading``."""
        boxes, labels, scores = self._parts(outputs)
        return np.concatenate((boxes, labels[..., None], scores[..., None]), axis=-1)

    def scores(self, outputs: Mapping[str, Array]) -> Array:
        """The scores [b, n]."""
        return self._parts(outputs)[2]

    def spread_over(self, rows: NDArray[np.bool_], outputs: Mapping[str, Array]) -> dict[str, Array]:
        """A flag [b, n] for each row, at all numbers of the row but its score, which is True.

        The arrays have the shapes of the outputs, by name.
        """
        if len(self.row_outputs) == 1:
            (name,) = self.row_outputs
            flags = np.repeat(rows[..., None], outputs[name].shape[-1], axis=-1)
            flags[..., SCORE] = True
            return {name: flags}
        boxes, labels, _ = self.outputs
        return {boxes: np.repeat(rows[..., None], 4, axis=-1), labels: rows}

    def _parts(self, outputs: Mapping[str, Array]) -> tuple[Array, Array, Array]:
        """Boxes [b, n, 4], labels [b, n] and scores [b, n]."""
        if len(self.outputs) == 1:
            rows = outputs[self.outputs[0]]
            return rows[..., :4], rows[..., 5], rows[..., SCORE]
        boxes, labels, scores = (outputs[name] for name in self.outputs)
        return boxes, labels, scores

    @classmethod
    def counts(cls) -> tuple[int, int]:
        """One output, or three."""
        return 1, 3


SETS: Mapping[str, type[SplitSet | QuerySet | RowSet]] = {
    kind.decode: kind for kind in (SplitSet, QuerySet, RowSet)
}
"""The reading without NMS for each value of "decode"."""


def common_settings(keys: Mapping[str, Entry]) -> dict[str, Any]:
    """The settings of every reading without NMS."""
    keys["nms"].text(("none",))
    most = keys["max_detections"].whole(1) if "max_detections" in keys else None
    return {"score_threshold": setting(keys, "score_threshold"), "max_detections": most}


def _scored(boxes: Array, scores: Array) -> tuple[ScoredAnchors, ...]:
    """The rows of each picture. No group limits how many of them count."""
    groups = np.broadcast_to(np.zeros((), np.int64), scores.shape[1:])
    return tuple(ScoredAnchors(boxes[i], scores[i], groups, 0) for i in range(len(boxes)))


def _keys(boxes: Array, scores: Array) -> Array:
    return np.concatenate((boxes, scores.max(axis=-1, keepdims=True)), axis=-1)
