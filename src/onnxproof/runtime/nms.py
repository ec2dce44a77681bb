"""Greedy non-maximum suppression and box overlap in NumPy.

Boxes are ``x1, y1, x2, y2`` throughout. The arithmetic, its order and its dtype are those of torchvision's
CPU kernel, so that the lists of kept boxes are equal, and not only similar.
"""

from itertools import pairwise
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from onnxproof.errors import RequestError
from onnxproof.runtime.overlaps import Floats, Tile, columns_of
from onnxproof.system.signatures import argument

Integers: TypeAlias = NDArray[np.integer[Any]]
Indices: TypeAlias = NDArray[np.int64]

_FLOATS = (np.dtype(np.float32), np.dtype(np.float64))

# The work is cut into pieces of these sizes, in boxes and in pairs of boxes, as timed at 100 to 30,000 boxes.
# With smaller ones, calls of NumPy take most of the time; with larger ones, the scratch leaves a 1 MiB cache.
_SMALL_BOXES = 128
_BLOCK_BOXES = 64
_SWEEP_BOXES = 1024
_SHARED_BOXES = 256
_TILE_PAIRS = 1 << 16
_TILE_WIDTH = 2048

_PEELS = 2
"""How often the best box of each class is kept ahead of the search. Twice leaves a third of the boxes."""

_INFINITY = 0x7F800000
"""The bits of float32's infinity. Those of a number from 0 up, as an integer, grow with it."""


def nms(
    boxes_xyxy: ArrayLike,
    scores: ArrayLike,
    iou_threshold: float,
    classes: ArrayLike | None = None,
) -> Indices:
    """Keep the best of the boxes that overlap: greedy non-maximum suppression.

    From the best score down, a box is kept unless a box that is already kept overlaps it by more than
    ``iou_threshold``.
    Memory is O(N), time O(N x kept).

    Args:
        boxes_xyxy: ``[N, 4]``, float32 or float64, ``x1, y1, x2, y2`` in any one unit. Lists are taken
            as by ``numpy.asarray``, integers as float64. Overlaps are computed in this dtype and compared
            with the threshold as given, not rounded to this dtype.
        scores: ``[N]``, float32 or float64. They only rank the boxes.
        iou_threshold: in [0, 1]. A box is suppressed if ``iou > iou_threshold``; a box exactly at it stays.
        classes: ``[N]``, any integer dtype. Boxes of different classes never suppress each other. No box is
            shifted for that, so overlaps are those of the boxes as given. None: any box may suppress any.

    Returns:
        ``[kept]``, int64: indices into the input, best score first. Equal scores keep the order of the input.

    Raises:
        RequestError: a shape, a dtype or a length does not fit, or the threshold is no number in [0, 1].

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
    boxes = _as_array("boxes_xyxy", boxes_xyxy, (0, 4))
    _require_boxes("boxes_xyxy", boxes)
    count = len(boxes)
    ranked = _as_array("scores", scores, (0,))
    _require_vector("scores", ranked, count)
    _require_float("scores", ranked)
    groups = None if classes is None else _as_array("classes", classes, (0,), np.dtype(np.int64))
    if groups is not None:
        _require_vector("classes", groups, count)
        if not np.issubdtype(groups.dtype, np.integer):
            raise RequestError(f"classes is {groups.dtype}, expected integers: use .astype(np.int64)")
    argument("iou_threshold", iou_threshold, float)
    if not 0 <= iou_threshold <= 1:
        raise RequestError(f"iou_threshold is {iou_threshold}, expected a number from 0 to 1")
    if count == 0:
        return np.empty(0, dtype=np.int64)

    order = _descending(ranked)
    suppression = _Suppression(boxes.dtype, count, float(iou_threshold))
    # The results of overflow and 0/0 are defined above, so a warning would not help.
    with np.errstate(all="ignore"):
        columns = columns_of(boxes.take(order, axis=0))
        labels = None if groups is None else _labels(groups.take(order))
        if count <= _SMALL_BOXES:
            ranks = _greedy(suppression.exceeds(columns, columns, labels, labels))
        elif labels is None:
            ranks = suppression.keep(_Boxes(columns, np.arange(count), None))
        else:
            ranks = _keep_by_class(suppression, _Boxes(columns, np.arange(count), labels))
    return order.take(ranks)


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
    tile = Tile(first.dtype, len(first) * len(second))
    with np.errstate(all="ignore"):
        return tile.outer(columns_of(first), columns_of(second))


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


def _as_array(
    name: str, values: ArrayLike, empty: tuple[int, ...], kind: np.dtype[Any] = _FLOATS[1]
) -> NDArray[Any]:
    """Values as an array. ``empty`` is the shape of an empty list; it and lists of integers get ``kind``."""
    if isinstance(values, np.ndarray):
        return values
    try:
        array = np.asarray(values)
    except (ValueError, TypeError, RuntimeError) as error:  # ragged lists, and tensors that NumPy cannot read
        raise RequestError(f"{name} is no array ({error}): give a NumPy array, or a list of one") from error
    if isinstance(values, list | tuple):
        if not values:
            return np.empty(empty, kind)
        if np.issubdtype(array.dtype, np.integer):
            return array.astype(kind)
    return array


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
    if scores.dtype == np.float32 and len(scores) > _SMALL_BOXES:
        bits = scores.view(np.int32)
        if bits.min() >= 0 and bits.max() <= _INFINITY:
            return _ascending(_INFINITY - bits)
    backwards: Indices = np.argsort(scores[::-1], kind="stable")[::-1]
    return len(scores) - 1 - backwards


def _ascending(numbers: NDArray[np.int32]) -> Indices:
    """Indices that sort numbers from 0 up, stable.

    NumPy's stable sort of 16-bit integers is a radix sort. Two of them, by the lower half and then by the
    upper, take a third of the time of a sort of the numbers, and do not depend on what a CPU predicts.
    """
    order: Indices = numbers.astype(np.uint16).argsort(kind="stable")
    upper = (numbers >> 16).astype(np.uint16)
    return order.take(upper.take(order).argsort(kind="stable"))


def _labels(classes: Integers) -> Integers:
    """Classes as 16-bit integers if they fit, which NumPy sorts by radix, and the fastest."""
    if classes.min() >= 0 and classes.max() <= np.iinfo(np.uint16).max:
        return classes.astype(np.uint16)
    return classes


class _Boxes(NamedTuple):
    """Boxes that come best first: columns ``[5, N]``, positions ``[N]`` in the input of the whole search, and
    labels ``[N]`` if only boxes of one label suppress each other."""

    columns: Floats
    positions: Indices
    labels: Integers | None

    def part(self, start: int, end: int | None) -> "_Boxes":
        """Views of the boxes from ``start`` to ``end``."""
        labels = None if self.labels is None else self.labels[start:end]
        return _Boxes(self.columns[:, start:end], self.positions[start:end], labels)

    def take(self, rows: Indices) -> "_Boxes":
        """Copies of some of the boxes."""
        labels = None if self.labels is None else self.labels.take(rows)
        return _Boxes(self.columns.take(rows, axis=1), self.positions.take(rows), labels)


class _Suppression:
    """Greedy suppression with scratch of a fixed size.

    Up to ``_SWEEP_BOXES`` boxes are swept in blocks: the best block is solved, and the boxes that it
    suppresses are dropped from the rest. Of more boxes, the better half is solved first, then what it leaves
    of the other half. So NumPy gets large tiles, most boxes are gone after few comparisons, and no N x N
    matrix is made.
    """

    def __init__(self, dtype: np.dtype[Any], count: int, threshold: float) -> None:
        self.pairs = min(count * count, _TILE_PAIRS)
        self._tile = Tile(dtype, self.pairs)
        self._over = np.empty(self.pairs, dtype=bool)
        self._limit = rounded_down(threshold, dtype)

    def keep(self, boxes: _Boxes) -> Indices:
        """Positions of the boxes that are kept, in their order."""
        return np.concatenate([kept.positions for kept in self._solve(boxes)])

    def _solve(self, boxes: _Boxes) -> list[_Boxes]:
        """The boxes that are kept, in parts."""
        count = len(boxes.positions)
        if count <= _SWEEP_BOXES:
            return self._sweep(boxes)
        kept = self._solve(boxes.part(0, count // 2))
        return kept + self._solve(self._unsuppressed(boxes.part(count // 2, None), kept))

    def _sweep(self, boxes: _Boxes) -> list[_Boxes]:
        kept = []
        while len(boxes.positions) > _SMALL_BOXES:
            block = boxes.part(0, _BLOCK_BOXES)
            best = block.take(_greedy(self._exceeds(block, block)))
            kept.append(best)
            boxes = self._unsuppressed(boxes.part(_BLOCK_BOXES, None), [best])
        return [*kept, boxes.take(_greedy(self._exceeds(boxes, boxes)))]

    def peel(self, boxes: _Boxes) -> tuple[Indices, _Boxes]:
        """Positions of the best box of each label, and the boxes that they leave. The labels are sorted."""
        columns, positions, labels = boxes
        assert labels is not None
        count = len(labels)
        first = np.empty(count, dtype=bool)
        first[0] = True
        np.not_equal(labels[1:], labels[:-1], out=first[1:])
        starts = np.flatnonzero(first)
        best = columns.take(starts.take(np.cumsum(first) - 1), axis=1)
        over = np.greater(self._tile.iou(best, columns, (count,)), self._limit)
        return positions.take(starts), boxes.take(np.flatnonzero(~(over | first)))

    def _unsuppressed(self, boxes: _Boxes, kept: list[_Boxes]) -> _Boxes:
        """The boxes that no box of ``kept`` suppresses."""
        parts = []
        for start in range(0, max(1, len(boxes.positions)), _TILE_WIDTH):
            part = boxes.part(start, start + _TILE_WIDTH)
            for better in kept:
                done = 0
                while done < len(better.positions) and len(part.positions) > 0:
                    step = self.pairs // len(part.positions)
                    over = self._exceeds(better.part(done, done + step), part)
                    part = part.take(np.flatnonzero(~np.logical_or.reduce(over, axis=0)))
                    done += step
            parts.append(part)
        return parts[0] if len(parts) == 1 else _joined(parts)

    def exceeds(
        self, first: Floats, second: Floats, labels: Integers | None, others: Integers | None
    ) -> NDArray[np.bool_]:
        """``[K, M]``: does the overlap exceed the threshold, of boxes that have one label?

        ``labels`` ``[K]`` are those of the first columns, ``others`` ``[M]`` those of the second. A view that
        lasts until the next call.
        """
        iou = self._tile.outer(first, second)
        over: NDArray[np.bool_] = self._over[: iou.size].reshape(iou.shape)
        np.greater(iou, self._limit, out=over)
        if labels is not None:
            over &= labels[:, np.newaxis] == others
        return over

    def _exceeds(self, first: _Boxes, second: _Boxes) -> NDArray[np.bool_]:
        return self.exceeds(first.columns, second.columns, first.labels, second.labels)


def _joined(parts: list[_Boxes]) -> _Boxes:
    labels = [part.labels for part in parts if part.labels is not None]
    return _Boxes(
        np.concatenate([part.columns for part in parts], axis=1),
        np.concatenate([part.positions for part in parts]),
        np.concatenate(labels) if labels else None,
    )


def _greedy(over: NDArray[np.bool_]) -> Indices:
    """Rows that are kept of a square ``[N, N]``, where ``over[i, j]`` says that row ``i`` suppresses ``j``.

    A row suppresses only rows that come after it. The rows are bits of one integer, so the loop has a turn
    for each row that is kept, and not for each row.
    """
    rows = np.packbits(over, axis=1, bitorder="little")
    width, content = rows.shape[1], rows.tobytes()
    left = (1 << len(over)) - 1
    kept = []
    while left:
        lowest = left & -left
        row = lowest.bit_length() - 1
        kept.append(row)
        suppressed = int.from_bytes(content[row * width : (row + 1) * width], "little")
        left &= ~(suppressed | lowest)
    return np.array(kept, dtype=np.int64)


def _keep_by_class(suppression: _Suppression, boxes: _Boxes) -> Indices:
    """Positions of the boxes that are kept within their class, ascending."""
    assert boxes.labels is not None
    boxes = boxes.take(np.argsort(boxes.labels, kind="stable"))
    kept = []
    for _ in range(_PEELS):
        if 0 < len(boxes.positions) <= suppression.pairs:
            best, boxes = suppression.peel(boxes)
            kept.append(best)
    if len(boxes.positions) <= _SWEEP_BOXES:
        kept.append(suppression.keep(boxes))
    else:
        assert boxes.labels is not None
        for start, end in _runs(boxes.labels):
            run = boxes.part(start, end)
            kept.append(suppression.keep(run if end - start <= _SHARED_BOXES else run._replace(labels=None)))
    return np.sort(np.concatenate(kept))


def _runs(labels: Integers) -> list[tuple[int, int]]:
    """Start and end of runs of sorted labels: one large class, or as many small ones as share a sweep.

    Small classes share one, because a call for each would take longer than comparing across classes.
    """
    ends = [*(np.flatnonzero(labels[1:] != labels[:-1]) + 1).tolist(), len(labels)]
    runs = []
    start = 0
    for end, next_end in pairwise([*ends, len(labels) + _SHARED_BOXES]):
        if next_end - start > _SHARED_BOXES:
            runs.append((start, end))
            start = end
    return runs
