"""Masks of instances: how torchvision pastes them, and how two legs' masks of one object are compared."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from onnxproof.runtime.readings.adjustable import Array
from onnxproof.runtime.readings.masks import Patch
from onnxproof.runtime.readings.rows import MASK_SIDE
from onnxproof.validate.compare.comparer import Finding, as_compared, error_bound, exact

PADDING = 1
"""The padding that torchvision adds on each side of a mask before it pastes it, px."""

EXPANSION_ROUNDINGS = 4
"""How far rounding alone can move two legs' expanded coordinates apart, in units of relative precision of the
box's largest coordinate. Each leg rounds the sides' difference by half a unit, their sum by half, the half
side's product with the scale by two halves and the last difference by half: 1.8 units in all, rounded up for
two legs."""

CORNERS = ("x0", "y0", "x1", "y1")


@dataclass(frozen=True, slots=True)
class Pasted:
    """Where the masks of n boxes are pasted.

    ``corners`` int64 [n, 4]: the first and the last column and row, both included (x0, y0, x1, y1).
    ``coordinates`` float [n, 4]: the corners before they are truncated, in the boxes' dtype. ``distances``
    float64 [n, 4]: how far each coordinate is from the nearest value at which its corner jumps, px; NaN if
    the coordinate is not finite.
    """

    corners: NDArray[np.int64]
    coordinates: Array
    distances: NDArray[np.float64]


def pasted_corners(boxes: Array, mask_side: int = MASK_SIDE) -> Pasted:
    """Where torchvision pastes the masks of ``boxes`` float [n, 4] (x0, y0, x1, y1, px).

    After ``expand_masks``, ``expand_boxes`` and ``paste_mask_in_image`` in torchvision's
    models/detection/roi_heads.py:

    - a mask of M by M px is padded by PADDING on each side;
    - its box is expanded by s = (M + 2 PADDING) / M about its centre;
    - the coordinates are truncated toward zero, and a side without extent gets one px.

    So a corner jumps when its coordinate crosses an integer other than 0. The coordinate,
    x0 (1 + s) / 2 + x1 (1 - s) / 2, moves by up to s times as far as the box's coordinates do. Every step is
    computed in the boxes' dtype and in torchvision's order.
    """
    scale = boxes.dtype.type(expansion(mask_side))
    half = boxes.dtype.type(0.5)
    with np.errstate(invalid="ignore", over="ignore"):
        halves = (boxes[:, 2:] - boxes[:, :2]) * half * scale
        centres = (boxes[:, 2:] + boxes[:, :2]) * half
        coordinates = np.concatenate((centres - halves, centres + halves), axis=1)
        magnitudes = np.abs(coordinates.astype(np.float64))
        distances = np.abs(magnitudes - np.maximum(np.rint(magnitudes), 1))
    # A coordinate that does not fit int64 has no corner. If it is not finite, its distance is NaN.
    placed = np.where(magnitudes < 2.0**62, coordinates, 0).astype(np.int64)
    placed[:, 2:] = np.maximum(placed[:, 2:], placed[:, :2])
    return Pasted(placed, coordinates, distances)


def expansion(mask_side: int = MASK_SIDE) -> float:
    """The factor by which a box is expanded before its mask is pasted."""
    return (mask_side + 2 * PADDING) / mask_side


def mask_rows_comparable(boxes: Sequence[Array], mask_side: int = MASK_SIDE) -> NDArray[np.bool_]:
    """Which rows are pasted at the same corners in all legs, bool [n].

    Only their masks can be compared pixel by pixel. ``boxes`` are the legs' boxes, float [n, 4]
    (x0, y0, x1, y1, px), matched row by row.
    """
    legs = [pasted_corners(rows, mask_side) for rows in boxes]
    alike = [np.isfinite(leg.distances) & (leg.corners == legs[0].corners) for leg in legs]
    same: NDArray[np.bool_] = np.logical_and.reduce(alike).all(axis=1)
    return same


def compare_masks(
    wanted: Array,
    found: Array,
    wanted_box: Array,
    found_box: Array,
    threshold: float,
    bounds: Mapping[str, float],
    mask_side: int = MASK_SIDE,
) -> tuple[bool, Finding] | None:
    """Compare the masks of a matched pair.

    Returns None if no pixel flips, otherwise whether the difference is a tie, and the finding.

    ``wanted`` and ``found`` are probabilities [H, W] of the reference and the candidate, the boxes float [4]
    (x0, y0, x1, y1, px). ``bounds`` gives how far float error alone can have moved a probability ("mask")
    and a box's coordinate ("box", px). The flips are a tie if one of these holds:

    - the legs paste the mask at different corners, and the coordinate of each corner that differs is within
      the bound of the integer at which it jumps;
    - at every pixel that flips, the reference's probability is within the bound of the threshold, and the
      candidate's moved by no more than the bound.

    A pixel that is NaN only in the candidate is a defect.
    """
    flipped = (wanted > threshold) != (found > threshold)
    lost = int((np.isnan(found) & ~np.isnan(wanted)).sum())
    if not flipped.any() and not lost:
        return None
    what = _flips(wanted > threshold, found > threshold)
    if lost:
        return False, Finding(what, f"{lost} probabilit{'y is' if lost == 1 else 'ies are'} NaN")
    jump = _jump(wanted_box, found_box, bounds["box"], mask_side)
    margins = np.abs(wanted[flipped].astype(np.float64) - as_compared(threshold, wanted))
    moves = _apart(wanted[flipped], found[flipped])
    farthest, longest = int(margins.argmax()), int(moves.argmax())
    if jump is not None and jump[0] and np.isfinite(moves[longest]):
        return True, Finding(what, jump[1])
    bound = bounds["mask"]
    most = " at most" if len(margins) > 1 else ""
    cause = (
        f"probability {exact(wanted[flipped][farthest])} against threshold {exact(threshold)}, "
        f"{margins[farthest]:.3g} apart{most}, {error_bound(bound)}"
    )
    if margins[farthest] <= bound and moves[longest] <= bound:
        return True, Finding(what, cause)
    if margins[farthest] <= bound:
        before, after = exact(wanted[flipped][longest]), exact(found[flipped][longest])
        cause = (
            f"the probability moved by {moves[longest]:.3g} from {before} to {after}{most}, "
            f"{error_bound(bound)}"
        )
    return False, Finding(what, cause if jump is None else f"{jump[1]}; {cause}")


def _apart(a: Array, b: Array) -> Array:
    """|a - b| in float64. NaN if it is undefined."""
    with np.errstate(invalid="ignore"):
        return np.abs(np.subtract(a, b, dtype=np.float64))


def _flips(wanted: NDArray[np.bool_], found: NDArray[np.bool_]) -> str:
    count, union = int((wanted != found).sum()), int((wanted | found).sum())
    pixels = "pixel" if count == 1 else "pixels"
    # Rounded down, so that masks that differ never read as an IoU of 1.
    iou = np.floor((1 - count / max(union, 1)) * 1e4) / 1e4
    return f"{count} {pixels} flipped, mask IoU {iou:.4f}"


def _jump(wanted_box: Array, found_box: Array, bound: float, mask_side: int) -> tuple[bool, str] | None:
    """Whether float error alone explains that two boxes' masks are pasted at different corners, and the
    cause. Returns None if the corners are the same."""
    wanted, found = (pasted_corners(box[None], mask_side) for box in (wanted_box, found_box))
    jumps = np.flatnonzero(wanted.corners[0] != found.corners[0])
    if not len(jumps):
        return None
    rounding = EXPANSION_ROUNDINGS * float(np.finfo(wanted_box.dtype).eps) * float(np.abs(wanted_box).max())
    limit = bound * expansion(mask_side) + rounding
    excused = (wanted.distances[0] <= limit) & (_apart(wanted.coordinates, found.coordinates)[0] <= limit)
    if excused[jumps].all():
        k = int(jumps[np.argmax(wanted.distances[0, jumps])])
        off = abs(int(found.corners[0, k] - wanted.corners[0, k]))
        coordinate = float(wanted.coordinates[0, k])
        edge = math.copysign(max(round(abs(coordinate)), 1), coordinate)
        more = "" if len(jumps) == 1 else f" (and {len(jumps) - 1} more)"
        return True, (
            f"pasted {off} px off: corner {CORNERS[k]} {exact(coordinate)} against {edge:g}{more}, "
            f"{error_bound(limit)}"
        )
    k = int(jumps[~excused[jumps]][0])
    return False, (
        f"pasted elsewhere: corner {CORNERS[k]} {exact(wanted.coordinates[0, k])}, now "
        f"{exact(found.coordinates[0, k])}, {error_bound(limit)}"
    )


def overlaid(patches: Sequence[Patch]) -> tuple[Array, ...]:
    """Each patch on the smallest canvas [h, w] that holds all patches, the same for all; zero elsewhere."""
    some = [patch for patch in patches if patch.pixels.size]
    left = min((patch.left for patch in some), default=0)
    top = min((patch.top for patch in some), default=0)
    right = max((patch.left + patch.pixels.shape[1] for patch in some), default=0)
    bottom = max((patch.top + patch.pixels.shape[0] for patch in some), default=0)
    laid = []
    for patch in patches:
        canvas = np.zeros((bottom - top, right - left), patch.pixels.dtype)
        if patch.pixels.size:
            height, width = patch.pixels.shape
            y, x = patch.top - top, patch.left - left
            canvas[y : y + height, x : x + width] = patch.pixels
        laid.append(canvas)
    return tuple(laid)
