"""Selection: NMS, the largest, gathering and scattering."""

import math

import numpy as np

from onnxproof.validate.exact.arrays import Array
from onnxproof.validate.exact.registry import operator


@operator("NonMaxSuppression")
def _non_max_suppression(
    boxes: Array,
    scores: Array,
    most: Array | None = None,
    iou_threshold: Array | None = None,
    score_threshold: Array | None = None,
    *,
    center_point_box: int = 0,
) -> Array:
    """``boxes`` [batch, n, 4], ``scores`` [batch, classes, n]: int64 [kept, 3] of batch, class and box, each
    class's best first, of equal scores the lower index. Both thresholds are exceeded strictly."""
    most_boxes = 0 if most is None else int(most.reshape(-1)[0])
    overlap = 0.0 if iou_threshold is None else float(iou_threshold.reshape(-1)[0])
    lowest = None if score_threshold is None else float(score_threshold.reshape(-1)[0])
    if center_point_box:
        half = boxes[..., 2:] / 2
        corners = np.concatenate([boxes[..., :2] - half, boxes[..., :2] + half], axis=-1)
    else:
        corners = np.concatenate(
            [np.minimum(boxes[..., :2], boxes[..., 2:]), np.maximum(boxes[..., :2], boxes[..., 2:])], axis=-1
        )
    chosen: list[tuple[int, int, int]] = []
    for batch in range(scores.shape[0]):
        for label in range(scores.shape[1]):
            row = scores[batch, label]
            above = np.arange(len(row)) if lowest is None else np.flatnonzero(row > lowest)
            order = above[np.argsort(-row[above], kind="stable")]
            kept = _greedy(corners[batch], order, overlap, most_boxes)
            chosen += [(batch, label, index) for index in kept]
    return np.array(chosen, dtype=np.int64).reshape(-1, 3)


def _greedy(corners: Array, order: Array, overlap: float, most: int) -> list[int]:
    kept: list[int] = []
    areas = np.prod(corners[:, 2:] - corners[:, :2], axis=1)
    while order.size and len(kept) < most:
        best, order = order[0], order[1:]
        kept.append(int(best))
        low = np.maximum(corners[order, :2], corners[best, :2])
        high = np.minimum(corners[order, 2:], corners[best, 2:])
        shared = np.prod(np.maximum(high - low, 0), axis=1)
        union = areas[order] + areas[best] - shared
        # As ONNX Runtime decides: by the quotient, which rounds otherwise than a product.
        with np.errstate(divide="ignore", invalid="ignore"):
            order = order[~((shared > 0) & (shared / union > overlap))]
    return kept


@operator("TopK", since=10)
def _top_k(x: Array, k: Array, *, axis: int = -1, largest: int = 1, sorted: int = 1) -> tuple[Array, Array]:
    """Sorted; of equals the lower index first.

    With ``sorted`` 0 ONNX allows any order. Then it is that of the indices, which no caller can take for the
    order of the values.
    """
    count = int(np.asarray(k).reshape(-1)[0])
    if count > x.shape[axis]:
        raise ValueError(f"TopK: the best {count} of {x.shape[axis]}")
    if largest:
        # Sorted backwards from the back, so that equals keep their order. Unsigned numbers have no negative.
        backwards = np.argsort(np.flip(x, axis), axis=axis, kind="stable")
        order = x.shape[axis] - 1 - np.flip(backwards, axis)
    else:
        order = np.argsort(x, axis=axis, kind="stable")
    first = np.take(order, np.arange(count), axis=axis)
    if not sorted:
        first = np.sort(first, axis=axis)
    return np.take_along_axis(x, first, axis=axis), first


@operator("TopK")
def _top_k_by_attribute(x: Array, *, k: int, axis: int = -1) -> tuple[Array, Array]:
    return _top_k(x, np.array(k), axis=axis)


@operator("GatherND")
def _gather_nd(x: Array, indices: Array, *, batch_dims: int = 0) -> Array:
    batch = x.shape[:batch_dims]
    if batch != indices.shape[:batch_dims]:
        raise ValueError(f"GatherND: batches {batch} and {indices.shape[:batch_dims]} differ")
    # Sizes are stated: of an array without numbers, "-1" says nothing.
    flat = x.reshape(math.prod(batch), *x.shape[batch_dims:])
    places = indices.reshape(len(flat), math.prod(indices.shape[batch_dims:-1]), indices.shape[-1])
    rows = np.broadcast_to(np.arange(flat.shape[0])[:, None], places.shape[:2])
    taken = flat[(rows, *np.moveaxis(places, -1, 0))]
    shape = (*indices.shape[:-1], *x.shape[batch_dims + indices.shape[-1] :])
    return np.reshape(taken, shape)


@operator("GatherElements")
def _gather_elements(x: Array, indices: Array, *, axis: int = 0) -> Array:
    return x[_elements(indices, axis)]


def _elements(indices: Array, axis: int) -> tuple[Array, ...]:
    """The places that ``indices`` name along ``axis``, every other axis at its own place."""
    places: list[Array] = list(np.indices(indices.shape, sparse=True))
    places[axis] = indices
    return tuple(places)


_REDUCTIONS = {"add": np.add, "mul": np.multiply, "max": np.maximum, "min": np.minimum}


@operator("ScatterND")
def _scatter_nd(x: Array, indices: Array, updates: Array, *, reduction: str = "none") -> Array:
    return _scattered(x, tuple(np.moveaxis(indices, -1, 0)), updates, reduction)


@operator("Scatter", "ScatterElements")
def _scatter_elements(
    x: Array, indices: Array, updates: Array, *, axis: int = 0, reduction: str = "none"
) -> Array:
    return _scattered(x, _elements(indices, axis), updates, reduction)


def _scattered(x: Array, places: tuple[Array, ...], updates: Array, reduction: str) -> Array:
    result = x.copy()
    if reduction == "none":
        result[places] = updates
    else:
        _REDUCTIONS[reduction].at(result, places, updates)
    return result
