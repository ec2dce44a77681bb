"""Binary masks as polygons along the edges of their pixels.

Needs shapely, of the extra ``polygons``.
"""

import importlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxproof.system.extras import missing


def polygons_of(mask: NDArray[np.bool_]) -> tuple[NDArray[np.int64], ...]:
    """The outlines of a mask [H, W]: vertices [k, 2] (x, y) on the pixels' edges, in pixels.

    A pixel covers the square from (x, y) to (x + 1, y + 1). The polygons do not overlap. Together they cover
    the mask's pixels and no others. Pixels that touch only at a corner are in two polygons. A list of
    polygons has no holes, so a part with holes is cut through them along horizontal lines, into pieces
    without holes.

    Each polygon starts at its highest vertex (the leftmost of several) and goes clockwise on the screen. Its
    first vertex is not repeated, and no vertex lies on a straight line between its neighbours. The polygons
    are in the order of their first vertices, row by row.

    Raises MissingPackageError if shapely is not installed.
    """
    shapely = _shapely()
    if not mask.any():
        return ()
    whole = [piece for part in _parts(mask, shapely) for piece in _without_holes(part, shapely)]
    outlines = [_outline(ring) for ring in _rings(shapely.get_exterior_ring(whole), shapely)]
    return tuple(sorted(outlines, key=lambda outline: (int(outline[0, 1]), int(outline[0, 0]))))


def _shapely() -> Any:
    # Imported here, because the runtime needs it only for polygons.
    try:
        return importlib.import_module("shapely")
    except ImportError as error:
        raise missing("shapely", "a mask that is written as polygons") from error


def _parts(mask: NDArray[np.bool_], shapely: Any) -> list[Any]:
    """The parts of a mask as shapely's polygons, with their holes.

    The lines between pixels that differ divide the plane into faces. Each face is either in the mask or out
    of it. The pixel at a face's highest, then leftmost vertex is in the face, so the mask's value there says
    which.
    """
    rows, starts, ends = _runs(mask)
    across = np.stack((starts, rows, ends, rows), axis=-1)
    columns, starts, ends = _runs(mask.T)
    down = np.stack((columns, starts, columns, ends), axis=-1)
    lines = shapely.linestrings(np.concatenate((across, down)).reshape(-1, 2, 2).astype(np.float64))
    faces = shapely.get_parts(shapely.polygonize(lines))
    firsts = [
        min(ring.tolist(), key=_row_by_row) for ring in _rings(shapely.get_exterior_ring(faces), shapely)
    ]
    return [face for face, (x, y) in zip(faces, firsts, strict=True) if mask[int(y), int(x)]]


def _runs(mask: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """The straight lines along rows between pixels that differ: row, first and last column, each [k].

    A line ends at the column at which the mask changes from one of its sides to the other, because a line
    along a column crosses there.
    """
    sides = np.pad(np.diff(np.pad(mask.astype(np.int8), ((1, 1), (0, 0))), axis=0), ((0, 0), (1, 1)))
    turns = sides[:, 1:] != sides[:, :-1]
    rows, starts = np.nonzero(turns & (sides[:, 1:] != 0))
    _, ends = np.nonzero(turns & (sides[:, :-1] != 0))
    return rows, starts, ends


def _without_holes(part: Any, shapely: Any) -> list[Any]:
    """A polygon in pieces without holes. A piece with holes is cut along a row through the middle one."""
    pieces, todo = [], [part]
    while todo:
        polygon = todo.pop()
        holes = shapely.bounds(shapely.get_rings(polygon)[1:])
        if not len(holes):
            pieces.append(polygon)
            continue
        cut = np.sort((holes[:, 1] + holes[:, 3]) // 2)[len(holes) // 2]
        x0, y0, x1, y1 = shapely.bounds(polygon)
        halves = shapely.intersection(polygon, shapely.box(x0, [y0, cut], x1, [cut, y1]))
        touching = shapely.get_parts(halves)  # points and lines among them, if an edge is on the cut
        todo += touching[shapely.area(touching) > 0].tolist()
    return pieces


def _rings(rings: Any, shapely: Any) -> list[NDArray[np.float64]]:
    """The vertices of closed rings, each [k, 2] with the first one not repeated."""
    points, owners = shapely.get_coordinates(rings, return_index=True)
    return [ring[:-1] for ring in np.split(points, np.flatnonzero(np.diff(owners)) + 1)]


def _row_by_row(point: list[float]) -> tuple[float, float]:
    return point[1], point[0]


def _outline(ring: NDArray[np.float64]) -> NDArray[np.int64]:
    """A ring's corners [k, 2], clockwise on the screen from the highest, then leftmost one."""
    points = np.rint(ring).astype(np.int64)
    before, after = points - np.roll(points, 1, axis=0), np.roll(points, -1, axis=0) - points
    points = points[before[:, 0] * after[:, 1] != before[:, 1] * after[:, 0]]
    x, y = points.T
    # Twice the signed area (the shoelace formula): positive if x to y is clockwise, with y downward.
    if np.dot(x, np.roll(y, -1)) < np.dot(np.roll(x, -1), y):
        points = points[::-1]
    return np.roll(points, -int(np.lexsort(points.T)[0]), axis=0)
