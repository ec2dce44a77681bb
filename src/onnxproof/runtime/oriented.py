"""Oriented boxes in NumPy: their corners, how much they overlap, and non-maximum suppression.

A box is [5]: centre x, centre y, width, height, in one unit, and the angle in radians, by which the box is
turned clockwise on the screen (y points down). The same box has several names: turned by pi, or by pi / 2
with width and height exchanged.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxproof.errors import RequestError

Array = NDArray[Any]

EPSILON = 1e-7
"""What is added to denominators, as in Ultralytics' ``batch_probiou``."""

FARTHEST = 100.0
"""The largest Bhattacharyya distance, as there."""


def corners_of(boxes: Array) -> Array:
    """The corners [n, 4, 2] (x, y) of boxes [n, 5], in order around each box."""
    cosine, sine = np.cos(boxes[:, 4]), np.sin(boxes[:, 4])
    along = np.stack((cosine, sine), axis=-1) * boxes[:, 2:3] / 2
    across = np.stack((-sine, cosine), axis=-1) * boxes[:, 3:4] / 2
    centres = boxes[:, :2]
    corners: Array = np.stack(
        (
            centres + along + across,
            centres + along - across,
            centres - along - across,
            centres - along + across,
        ),
        axis=1,
    )
    return corners


def boxes_of(corners: Array) -> Array:
    """The boxes [n, 5] of corners [n, 4, 2] as ``corners_of`` orders them, with angles in [-pi, pi].

    If the corners are no rectangle, as after a resize that changes the aspect, the sides are the means of
    opposite sides, and the angle is that of the first.
    """
    along = (corners[:, 0] - corners[:, 3] + corners[:, 1] - corners[:, 2]) / 2
    across = (corners[:, 0] - corners[:, 1] + corners[:, 3] - corners[:, 2]) / 2
    sides = np.stack((np.hypot(*along.T), np.hypot(*across.T)), axis=-1)
    angles = np.arctan2(along[:, 1], along[:, 0])
    return np.concatenate((corners.mean(axis=1), sides, angles[:, None]), axis=-1)


def pairwise_probiou(first: Array, second: Array) -> Array:
    """The probabilistic IoU of every box [n, 5] with every other [m, 5]: [n, m] in [0, 1].

    Each box stands for a normal distribution with its centre and covariance; the overlap is 1 minus the
    Hellinger distance (Llerena et al. 2021, arXiv:2106.06072), in the arithmetic of Ultralytics'
    ``batch_probiou``.
    """
    x1, y1 = first[:, 0, None], first[:, 1, None]
    x2, y2 = second[:, 0], second[:, 1]
    a1, b1, c1 = (part[:, None] for part in _covariance(first))
    a2, b2, c2 = _covariance(second)
    a, b, c = a1 + a2, b1 + b2, c1 + c2
    with np.errstate(all="ignore"):
        determinant = a * b - c**2
        quarter = (a * (y1 - y2) ** 2 + b * (x1 - x2) ** 2) / (determinant + EPSILON) * 0.25
        half = c * (x2 - x1) * (y1 - y2) / (determinant + EPSILON) * 0.5
        spread = np.maximum(a1 * b1 - c1**2, 0) * np.maximum(a2 * b2 - c2**2, 0)
        shape = np.log(determinant / (4 * np.sqrt(spread) + EPSILON) + EPSILON) * 0.5
        distance = np.clip(quarter + half + shape, EPSILON, FARTHEST)
        overlap: Array = 1 - np.sqrt(1 - np.exp(-distance) + EPSILON)
    return overlap


def _covariance(boxes: Array) -> tuple[Array, Array, Array]:
    """The covariance [[a, c], [c, b]] of the points of each box, taken as spread evenly over it."""
    wide, high = boxes[:, 2] ** 2 / 12, boxes[:, 3] ** 2 / 12
    cosine, sine = np.cos(boxes[:, 4]), np.sin(boxes[:, 4])
    return (
        wide * cosine**2 + high * sine**2,
        wide * sine**2 + high * cosine**2,
        (wide - high) * cosine * sine,
    )


def oriented_nms(
    boxes: Array, scores: Array, threshold: float, classes: NDArray[np.int64] | None = None
) -> NDArray[np.int64]:
    """The indices of the boxes [n, 5] that stay, the best score first; equal scores keep their order.

    A box goes if its probabilistic IoU with any better one is above the threshold, whether or not that one
    stays, as in Ultralytics (fast NMS, Bolya et al. 2019, arXiv:1904.02689, section 4.3). Boxes of different
    ``classes`` never suppress each other; None compares all.

    Raises RequestError if the boxes are not [n, 5].
    """
    if boxes.ndim != 2 or boxes.shape[1] != 5:
        raise RequestError(f"boxes have the shape {list(boxes.shape)}, expected [N, 5]")
    boxes = boxes.astype(np.float64)  # the determinants of long boxes cancel in float32
    order = np.argsort(-scores, kind="stable")
    kept = []
    for place, index in enumerate(order.tolist()):
        ahead = order[:place]
        if classes is not None:
            ahead = ahead[classes[ahead] == classes[index]]
        if not (pairwise_probiou(boxes[index, None], boxes[ahead]) > threshold).any():
            kept.append(index)
    return np.array(kept, np.int64)


def polygon_iou(first: Array, second: Array) -> Array:
    """The exact IoU of every box [n, 5] with every other [m, 5], float64 [n, m]: 0 for boxes without area."""
    here, there = (corners_of(boxes.astype(np.float64)) for boxes in (first, second))
    areas = [np.abs(boxes[:, 2].astype(np.float64) * boxes[:, 3]) for boxes in (first, second)]
    overlaps = np.zeros((len(here), len(there)))
    lows, highs = ([of(corners, axis=1) for corners in (here, there)] for of in (np.min, np.max))
    meets = (lows[0][:, None] < highs[1]).all(axis=2) & (lows[1] < highs[0][:, None]).all(axis=2)
    for i, j in zip(*(axis.tolist() for axis in np.nonzero(meets)), strict=True):
        shared = _area(_clipped(here[i], there[j]))
        union = areas[0][i] + areas[1][j] - shared
        overlaps[i, j] = shared / union if union > 0 else 0.0
    return overlaps


def _clipped(polygon: Array, window: Array) -> Array:
    """The part of a convex polygon [k, 2] that lies in a convex window [m, 2] (Sutherland and Hodgman,
    "Reentrant polygon clipping", 1974)."""
    turn = np.sign(_signed_area(window))
    points = polygon
    for start, end in zip(window, np.roll(window, -1, axis=0), strict=True):
        if not len(points):
            break
        side = end - start
        inside = turn * (side[0] * (points[:, 1] - start[1]) - side[1] * (points[:, 0] - start[0]))
        kept: list[Array] = []
        for k, point in enumerate(points):
            before, d0, d1 = points[k - 1], inside[k - 1], inside[k]
            if (d0 < 0) != (d1 < 0):
                kept.append(before + (point - before) * (d0 / (d0 - d1)))
            if d1 >= 0:
                kept.append(point)
        points = np.array(kept).reshape(-1, 2)
    return points


def _signed_area(polygon: Array) -> float:
    x, y = polygon.T
    return float((x * np.roll(y, -1) - y * np.roll(x, -1)).sum() / 2)


def _area(polygon: Array) -> float:
    return abs(_signed_area(polygon)) if len(polygon) > 2 else 0.0
