"""Instances by queries: each query has class scores and a mask, and its box is its mask's.

The decisions are those of transformers' ``post_process_instance_segmentation`` for Mask2Former and
MaskFormer:

1. A candidate is a query and a class. As many of the most probable ones count as there are queries.
2. A pixel belongs to a candidate if its mask's logit is above 0.
3. A candidate's score is its probability times the mean probability of its pixels.
4. It is an instance if it has a pixel, and a score of at least ``score_threshold``. Nothing is suppressed:
   instances may overlap.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from onnxproof.document import Entry
from onnxproof.runtime.maps import Places, interpolate, places_across, places_in
from onnxproof.runtime.preprocess import Transform
from onnxproof.runtime.readings.adjustable import Adjustable, Array, output_names, require_form, setting
from onnxproof.runtime.readings.boxes import Detections
from onnxproof.runtime.readings.masks import Instances, Patch, crop
from onnxproof.runtime.readings.scores import sigmoid, softmax
from onnxproof.runtime.readings.sets import Axis
from onnxproof.tensors import TensorSpec

EPSILON = 1e-6
"""Added to a number of pixels that a sum is divided by, as transformers does."""

INSIDE = 0.5
"""Above which a mask's values, True and False, are inside."""


@dataclass(frozen=True, slots=True)
class QueryReading(Adjustable):
    """Class logits [b, q, C + 1], whose last column is "no object", and mask logits [b, q, h, w].

    ``picture`` is the input's height and width (sizes that are fixed, or the names of the axes). ``between``
    is a size, height and width, that the mask logits are brought to first; None if it is their own.
    """

    picture: tuple[Axis, Axis]
    between: tuple[int, int] | None = None
    score_threshold: float = 0.5

    def require(self, outputs: Mapping[str, TensorSpec]) -> None:
        """See ``Reading``."""
        classes, masks = (outputs[name] for name in self.outputs)
        require_form(classes, "float", None, None, None)
        require_form(masks, "float", None, None, None, None)

    def layout(self) -> dict[str, Any]:
        """What ``read_layout`` reads, as JSON."""
        return {
            "outputs": list(self.outputs),
            "picture": list(self.picture),
            "between": None if self.between is None else list(self.between),
        }


def read_layout(
    keys: Mapping[str, Entry],
) -> tuple[tuple[str, ...], tuple[Axis, Axis], tuple[int, int] | None]:
    """The outputs and the sizes "picture" and "between" of a reading's JSON."""
    height, width = (
        axis.whole(1) if isinstance(axis.value, int) else axis.text() for axis in keys["picture"].entries(2)
    )
    between = None
    if keys["between"].value is not None:
        rows, columns = (side.whole(1) for side in keys["between"].entries(2))
        between = rows, columns
    return output_names(keys, 2), (height, width), between


@dataclass(frozen=True, slots=True)
class QueryEvidence:
    """One picture's queries.

    ``probabilities`` float [q, C + 1] are those of the classes and of "no object". ``masks`` float [q, h, w]
    are the mask logits. ``height`` and ``width`` are the input's, px.
    """

    probabilities: Array
    masks: Array
    height: int
    width: int

    @classmethod
    def of(
        cls, outputs: Mapping[str, Array], sizes: Mapping[str, int], reading: QueryReading
    ) -> tuple[Self, ...]:
        """The evidence of each picture of a batch. ``sizes`` are those of the input's named axes, px."""
        classes, masks = (outputs[name] for name in reading.outputs)
        height, width = (axis if isinstance(axis, int) else sizes[axis] for axis in reading.picture)
        return tuple(
            cls(softmax(logits), own, height, width) for logits, own in zip(classes, masks, strict=True)
        )

    def grid(self, reading: QueryReading) -> tuple[int, int]:
        """The height and width of the masks that are decided."""
        return reading.between or (self.masks.shape[1], self.masks.shape[2])


@dataclass(frozen=True, slots=True)
class QueryMaskReading(QueryReading):
    """Queries of instances, whose masks may overlap."""

    decode: ClassVar[str] = "queries"

    def to_json(self) -> dict[str, Any]:
        """A JSON object."""
        return {"decode": self.decode, **self.layout(), "score_threshold": self.score_threshold}

    @classmethod
    def read(cls, entry: Entry) -> Self:
        """The inverse of ``to_json``; ModelFileError for any other object."""
        keys = entry.table(("decode", "outputs", "picture", "between", "score_threshold"))
        return cls(*read_layout(keys), setting(keys, "score_threshold"))


@dataclass(frozen=True, slots=True)
class MaskedQueries(QueryEvidence):
    """One picture's queries of instances."""

    def best(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The queries and the classes of the candidates that count, the most probable first.

        Of equal probabilities the lower query comes first, then the lower class.
        """
        classes = self.probabilities[:, :-1]
        order = np.argsort(-classes.reshape(-1), kind="stable")[: len(classes)]
        queries, labels = np.divmod(order, max(classes.shape[1], 1))
        return queries.astype(np.int64), labels.astype(np.int64)

    def logits(self, query: int, reading: QueryMaskReading) -> Array:
        """A query's mask logits [h, w], at its own pixels or those of ``between``."""
        own: Array = self.masks[query]
        if reading.between is None:
            return own
        brought: Array = interpolate(own[None], places_across(*reading.between, own.shape), "linear")[0]
        return brought


@dataclass(frozen=True, slots=True)
class GridInstances(Instances):
    """Instances whose masks lie on a grid across the input; ``height`` and ``width`` are the grid's.

    ``of_input`` is the height and width of the input, px. The boxes are in the input's pixels.
    """

    of_input: tuple[int, int]


def mask_score(logits: Array) -> float:
    """The mean probability of a mask's pixels; 0 if it has none."""
    inside = logits > 0
    probabilities = sigmoid(logits[inside])
    return float(probabilities.sum() / (inside.sum() + EPSILON))


def decide_queries(evidence: MaskedQueries, reading: QueryMaskReading) -> GridInstances:
    """The instances, the best score first. ``indices`` of the detections are the queries' numbers."""
    found: list[tuple[float, int, int, Patch]] = []
    seen: dict[int, tuple[float, Patch]] = {}
    for query, label in zip(*(part.tolist() for part in evidence.best()), strict=True):
        probability = float(evidence.probabilities[query, label])
        if not probability >= reading.score_threshold:
            continue  # a mask's mean is at most 1
        if query not in seen:
            logits = evidence.logits(query, reading)
            seen[query] = mask_score(logits), crop(logits > 0)
        mean, mask = seen[query]
        score = probability * mean
        if mask.pixels.size and score >= reading.score_threshold:
            found.append((score, label, query, mask))
    found.sort(key=lambda one: -one[0])
    grid, of_input = evidence.grid(reading), (evidence.height, evidence.width)
    shares = np.array([of_input[1] / grid[1], of_input[0] / grid[0]] * 2, np.float32)
    boxes = np.array([box_of(mask) for *_, mask in found], np.float32).reshape(-1, 4) * shares
    detections = Detections(
        boxes,
        np.array([score for score, *_ in found], np.float32),
        np.array([label for _, label, *_ in found], np.int64),
        np.array([query for *_, query, _ in found], np.int64),
    )
    return GridInstances(detections, tuple(mask for *_, mask in found), INSIDE, *grid, of_input)


def restore_queries(decisions: GridInstances, transform: Transform) -> Instances:
    """The instances in the picture's pixels: each takes the grid's pixel that its upper left corner lies in,
    as PyTorch's interpolation "nearest" does. One without a pixel is dropped."""
    grid = (decisions.height, decisions.width)
    centres = places_in(transform, decisions.of_input, grid)
    half_row, half_column = (
        0.5 * scale * of_grid / of_input
        for scale, of_grid, of_input in zip(
            (transform.scale_y, transform.scale_x), grid, decisions.of_input, strict=True
        )
    )
    corners = Places(
        centres.rows - half_row, centres.columns - half_column, centres.seen_rows, centres.seen_columns
    )
    masks = []
    for mask in decisions.masks:
        whole = np.zeros((1, *grid), np.float32)
        height, width = mask.pixels.shape
        whole[0, mask.top : mask.top + height, mask.left : mask.left + width] = mask.pixels
        own = crop((interpolate(whole, corners, "nearest")[0] > INSIDE) & corners.seen)
        masks.append(Patch(own.left, own.top, own.pixels.copy()))
    some = [at for at, mask in enumerate(masks) if mask.pixels.size]
    found, kept = decisions.detections, tuple(masks[at] for at in some)
    boxes = np.array([box_of(mask) for mask in kept], np.float32).reshape(-1, 4)
    return Instances(
        Detections(boxes, found.scores[some], found.labels[some], found.indices[some]),
        kept,
        INSIDE,
        transform.picture_height,
        transform.picture_width,
    )


def box_of(mask: Patch) -> tuple[int, int, int, int]:
    """The left, top, right and bottom of a cropped mask, px."""
    height, width = mask.pixels.shape
    return mask.left, mask.top, mask.left + width, mask.top + height
