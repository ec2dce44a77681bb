"""Greedy non-maximum suppression and box overlap in NumPy.

Boxes are ``x1, y1, x2, y2`` throughout. The arithmetic, its order and its dtype are those of torchvision's
CPU kernel, so that the lists of kept boxes are equal, and not only similar.
"""

from itertools import pairwise
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from onnxproof.errors import RequestError

Floats: TypeAlias = NDArray[np.floating[Any]]
Integers: TypeAlias = NDArray[np.integer[Any]]
Indices: TypeAlias = NDArray[np.int64]

_FLOATS = (np.dtype(np.float32), np.dtype(np.float64))

# The work is cut into pieces of these sizes, in boxes and in pairs of boxes, as timed at 100 to 30,000 boxes.
# With smaller ones, calls of NumPy take most of the time; with larger ones, the scratch leaves a 1 MiB cache.
_LEAF_BOXES = 128
_TILE_PAIRS = 1 << 16
_TILE_WIDTH = 2048

_EARLIER = np.triu(np.ones((_LEAF_BOXES, _LEAF_BOXES), dtype=bool), 1)


def nms(
    boxes_xyxy: Floats,
    scores: Floats,
    iou_threshold: float,
    classes: Integers | None = None,
) -> Indices:
    """Keep the best of the boxes that overlap: greedy non-maximum suppression.

    From the best score down, a box is kept unless a box that is already kept overlaps it by more than
    ``iou_threshold``.
    Memory is O(N), time O(N x kept).

    Args:
        boxes_xyxy: ``[N, 4]``, float32 or float64, ``x1, y1, x2, y2`` in any one unit. Overlaps are computed
            in this dtype and compared with the threshold as given, not rounded to this dtype.
        scores: ``[N]``, float32 or float64. They only rank the boxes.
        iou_threshold: in [0, 1]. A box is suppressed if ``iou > iou_threshold``; a box exactly at it stays.
        classes: ``[N]``, any integer dtype. Boxes of different classes never suppress each other. No box is
            shifted for that, so overlaps are those of the boxes as given. None: any box may suppress any.

    Returns:
        ``[kept]``, int64: indices into the input, best score first. Equal scores keep the order of the input.

    Raises:
        RequestError: a shape, a dtype or a length does not fit, or the threshold lies outside [0, 1].

    Odd input is no error, and torchvision treats it the same:
        - no boxes: an empty result.
        - a box without area overlaps another by 0, or by 0/0 = NaN if neither has area. NaN exceeds no
          threshold. So it stays and suppresses nothing, not even its duplicates.
        - a box with ``x2 < x1`` or ``y2 < y1`` intersects nothing. So it stays and suppresses nothing.
        - a box with a NaN coordinate or an infinite side overlaps by NaN or 0. So it stays and suppresses
          nothing.
        - a NaN score ranks above every number, +inf included; several NaNs are equal. A score of -inf ranks
          last. No score is too low to be kept: filter by score first.

    torchvision's own order of equal scores is undefined, because its sort is not stable. The order here is
    that of a stable sort.
    """
    _require_boxes("boxes_xyxy", boxes_xyxy)
    count = len(boxes_xyxy)
    _require_vector("scores", scores, count)
    _require_float("scores", scores)
    if classes is not None:
        _require_vector("classes", classes, count)
        if not np.issubdtype(classes.dtype, np.integer):
            raise RequestError(f"classes is {classes.dtype}, expected integers: use .astype(np.int64)")
    if not 0 <= iou_threshold <= 1:
        raise RequestError(f"iou_threshold is {iou_threshold}, expected a number from 0 to 1")
    if count == 0:
        return np.empty(0, dtype=np.int64)

    order = _descending(scores)
    suppression = _Suppression(boxes_xyxy.dtype, count, float(iou_threshold))
    # The results of overflow and 0/0 are defined above, so a warning would not help.
    with np.errstate(all="ignore"):
        if classes is None:
            ranks = suppression.keep(_columns(boxes_xyxy[order]))
        else:
            ranks = _keep_by_class(suppression, boxes_xyxy[order], classes[order])
    return order[ranks]


def iou_one_to_many(box: Floats, boxes: Floats) -> Floats:
    """Intersection over union of one box with each of several, in the arithmetic that ``nms`` uses.

    Args:
        box: ``[4]``, float32 or float64, ``x1, y1, x2, y2``.
        boxes: ``[N, 4]``, the same dtype, format and unit.

    Returns:
        ``[N]``, the same dtype, in [0, 1]: 0 if the boxes do not intersect; NaN if the areas add up to 0, if
        both are infinite, or if a coordinate is NaN.

    Raises:
        RequestError: a shape or a dtype does not fit.
    """
    if box.shape != (4,):
        raise RequestError(f"box has shape {list(box.shape)}, expected [4]: x1, y1, x2, y2")
    result: Floats = pairwise_iou(box[np.newaxis], boxes)[0]
    return result


def pairwise_iou(first: Floats, second: Floats) -> Floats:
    """Intersection over union of every box with every other, in the arithmetic that ``nms`` uses.

    Memory is O(N x M).

    Args:
        first: ``[N, 4]``, float32 or float64, ``x1, y1, x2, y2``.
        second: ``[M, 4]``, the same dtype, format and unit.

    Returns:
        ``[N, M]``, the same dtype; values as those of ``iou_one_to_many``.

    Raises:
        RequestError: a shape or a dtype does not fit.
    """
    _require_boxes("first", first)
    _require_boxes("second", second)
    if first.dtype != second.dtype:
        raise RequestError(f"boxes are {first.dtype} and {second.dtype}, expected one dtype: convert either")
    tile = _Tile(first.dtype, len(first) * len(second))
    with np.errstate(all="ignore"):
        return tile.iou(_columns(first), _columns(second))


def rounded_down(threshold: float, dtype: np.dtype[Any]) -> np.floating[Any]:
    """The greatest number of this dtype that is not above the threshold.

    torchvision compares a float32 overlap with a float64 threshold. An overlap of this dtype exceeds the
    threshold if and only if it exceeds this number, so no tile has to be converted. The nearest number would
    not do: float32 rounds 1/3 up, and an overlap of 1/3, also rounded up, would no longer exceed it.
    """
    rounded: np.floating[Any] = dtype.type(threshold)
    if float(rounded) > threshold:
        rounded = np.nextafter(rounded, dtype.type(-1))
    return rounded


def _require_boxes(name: str, boxes: Floats) -> None:
    if boxes.ndim != 2 or boxes.shape[1] != 4:
        raise RequestError(f"{name} has shape {list(boxes.shape)}, expected [N, 4]: x1, y1, x2, y2 a box")
    _require_float(name, boxes)


def _require_float(name: str, values: Floats) -> None:
    if values.dtype not in _FLOATS:
        raise RequestError(f"{name} is {values.dtype}, expected float32 or float64: use .astype(np.float32)")


def _require_vector(name: str, values: NDArray[Any], count: int) -> None:
    if values.shape != (count,):
        raise RequestError(f"{name} has shape {list(values.shape)}, expected [{count}]: one for each box")


def _descending(scores: Floats) -> Indices:
    """Indices of the scores, highest first. NaN comes before all. Equal scores keep their order.

    Sorting negated scores would put NaN last. So the scores are reversed, sorted, and read backwards.
    """
    backwards: Indices = np.argsort(scores[::-1], kind="stable")[::-1]
    return len(scores) - 1 - backwards


def _columns(boxes: Floats) -> Floats:
    """Boxes ``[N, 4]`` as contiguous rows ``[5, N]``: x1, y1, x2, y2, area."""
    columns = np.empty((5, len(boxes)), dtype=boxes.dtype)
    columns[:4] = boxes.T
    x1, y1, x2, y2, area = columns
    np.multiply(x2 - x1, y2 - y1, out=area)
    return columns


class _Tile:
    """Scratch for the overlaps of up to ``pairs`` pairs of boxes, written in place over and over.

    Each operation is that of torchvision's kernel for the pair, in the same order and dtype. The only
    difference is ``maximum(NaN, 0)``, which is 0 in C++. It needs a box whose area is NaN, and then the IoU
    is NaN in both.
    """

    def __init__(self, dtype: np.dtype[Any], pairs: int) -> None:
        self.pairs = pairs
        self._planes = [np.empty(pairs, dtype=dtype) for _ in range(3)]
        # maximum() of two planes is vectorised; of a plane and one zero it was five times slower.
        self._zeros = np.zeros(pairs, dtype=dtype)

    def iou(self, first: Floats, second: Floats) -> Floats:
        """``[5, K]`` and ``[5, M]`` columns to ``[K, M]`` overlaps: a view that lasts until the next call."""
        shape = (first.shape[1], second.shape[1])
        size = shape[0] * shape[1]
        inter, height, other = (plane[:size].reshape(shape) for plane in self._planes)
        zeros = self._zeros[:size].reshape(shape)
        ax1, ay1, ax2, ay2, a_area = first[:, :, np.newaxis]
        bx1, by1, bx2, by2, b_area = second

        np.minimum(ax2, bx2, out=inter)
        np.maximum(ax1, bx1, out=other)
        inter -= other
        np.maximum(inter, zeros, out=inter)
        np.minimum(ay2, by2, out=height)
        np.maximum(ay1, by1, out=other)
        height -= other
        np.maximum(height, zeros, out=height)
        inter *= height
        np.add(a_area, b_area, out=other)
        other -= inter
        inter /= other
        return inter


class _Suppression:
    """Greedy suppression of boxes that come best first, as ``[5, N]`` columns, with scratch of a fixed size.

    The better half is solved first. The boxes that it suppresses are dropped from the other half. Then the
    rest of that half is solved. So NumPy gets large tiles, most boxes are gone after few comparisons, and no
    N x N matrix is made.
    """

    def __init__(self, dtype: np.dtype[Any], count: int, threshold: float) -> None:
        self._tile = _Tile(dtype, min(count * count, _TILE_PAIRS))
        self._over = np.empty(self._tile.pairs, dtype=bool)
        self._limit = rounded_down(threshold, dtype)

    def keep(self, columns: Floats) -> Indices:
        """Positions of the boxes that are kept, ascending."""
        return self._solve(columns, np.arange(columns.shape[1]))[1]

    def keep_in_leaf(self, columns: Floats, labels: Integers | None = None) -> Indices:
        """The same for at most ``_LEAF_BOXES`` boxes; with labels, suppression only within a label."""
        count = columns.shape[1]
        over = self._exceeds(columns, columns)
        over &= _EARLIER[:count, :count]
        if labels is not None:
            over &= labels[:, np.newaxis] == labels
        # A box is kept if it exceeds the threshold with no kept box before it. So each round settles at least
        # one more box, in practice most. When a round changes nothing, the answer is the greedy one.
        kept = ~over.any(axis=0)
        while True:
            settled = ~over[kept].any(axis=0)
            if (settled == kept).all():
                return np.flatnonzero(kept)
            kept = settled

    def _solve(self, columns: Floats, positions: Indices) -> tuple[Floats, Indices]:
        """Columns and positions of the boxes that are kept."""
        count = len(positions)
        if count <= _LEAF_BOXES:
            kept = self.keep_in_leaf(columns)
            return columns[:, kept], positions[kept]
        half = count // 2
        better, better_positions = self._solve(columns[:, :half], positions[:half])
        rest, rest_positions = self._unsuppressed(columns[:, half:], positions[half:], better)
        rest, rest_positions = self._solve(rest, rest_positions)
        return np.concatenate((better, rest), axis=1), np.concatenate((better_positions, rest_positions))

    def _unsuppressed(self, columns: Floats, positions: Indices, better: Floats) -> tuple[Floats, Indices]:
        """Columns and positions of the boxes that no box of ``better`` suppresses."""
        parts = []
        for start in range(0, len(positions), _TILE_WIDTH):
            part = columns[:, start : start + _TILE_WIDTH]
            part_positions = positions[start : start + _TILE_WIDTH]
            done = 0
            while done < better.shape[1] and len(part_positions) > 0:
                step = self._tile.pairs // len(part_positions)
                over = self._exceeds(better[:, done : done + step], part)
                alive = np.flatnonzero(~over.any(axis=0))
                part, part_positions = part.take(alive, axis=1), part_positions[alive]
                done += step
            parts.append((part, part_positions))
        return np.concatenate([p for p, _ in parts], axis=1), np.concatenate([p for _, p in parts])

    def _exceeds(self, first: Floats, second: Floats) -> NDArray[np.bool_]:
        """``[K, M]``: does the overlap exceed the threshold? A view that lasts until the next call."""
        iou = self._tile.iou(first, second)
        over: NDArray[np.bool_] = self._over[: iou.size].reshape(iou.shape)
        np.greater(iou, self._limit, out=over)
        return over


def _keep_by_class(suppression: _Suppression, boxes: Floats, classes: Integers) -> Indices:
    """Positions of the boxes that are kept within their class, ascending. ``boxes`` come best first."""
    if classes.min() >= 0 and classes.max() <= np.iinfo(np.uint16).max:
        # NumPy's stable sort of 16-bit integers is a radix sort, twenty times as fast as of wider ones.
        classes = classes.astype(np.uint16)
    grouped = np.argsort(classes, kind="stable")
    columns = _columns(boxes[grouped])
    labels = classes[grouped]
    kept = []
    for start, end in _runs(labels):
        if end - start > _LEAF_BOXES:
            kept.append(start + suppression.keep(columns[:, start:end]))
        else:
            kept.append(start + suppression.keep_in_leaf(columns[:, start:end], labels[start:end]))
    return np.sort(grouped[np.concatenate(kept)])


def _runs(labels: Integers) -> list[tuple[int, int]]:
    """Start and end of runs of sorted labels: one large class, or as many small ones as fit one leaf.

    Small classes share a leaf, because a call for each would take longer than comparing across classes.
    """
    ends = [*(np.flatnonzero(labels[1:] != labels[:-1]) + 1).tolist(), len(labels)]
    runs = []
    start = 0
    for end, next_end in pairwise([*ends, len(labels) + _LEAF_BOXES]):
        if next_end - start > _LEAF_BOXES:
            runs.append((start, end))
            start = end
    return runs
