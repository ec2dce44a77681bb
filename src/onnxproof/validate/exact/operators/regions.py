"""Sampling at given places: grids, and boxes."""

import numpy as np
from torch.nn import functional

from onnxproof.validate.exact.arrays import Array, to_numpy, to_tensor
from onnxproof.validate.exact.errors import UnsupportedNodeError
from onnxproof.validate.exact.registry import operator

_MODES = {"linear": "bilinear", "cubic": "bicubic"}


@operator("GridSample")
def _grid_sample(
    x: Array, grid: Array, *, mode: str = "linear", padding_mode: str = "zeros", align_corners: int = 0
) -> Array:
    """``x`` [n, c, d1, ...] at the places ``grid`` [n, e1, ..., axes], the last axis of ``x`` first."""
    name = _MODES.get(mode, mode)
    if name == "bicubic" and x.ndim != 4:
        raise UnsupportedNodeError("cubic samples of a volume")
    tensors = to_tensor(x), to_tensor(grid)
    return to_numpy(functional.grid_sample(*tensors, name, padding_mode, bool(align_corners)))


@operator("AffineGrid")
def _affine_grid(theta: Array, size: Array, *, align_corners: int = 0) -> Array:
    """``theta`` [n, axes, axes + 1] times the places of a picture's cells, which lie in -1..1."""
    sizes = [int(cells) for cells in size[2:]]
    lines = [
        np.linspace(-1, 1, cells) if align_corners else (2 * np.arange(cells) + 1) / cells - 1
        for cells in sizes
    ]
    places = np.meshgrid(*lines, indexing="ij")
    homogeneous = np.stack([*reversed(places), np.ones(sizes)], axis=-1)
    return np.asarray(np.einsum("...j,nij->n...i", homogeneous, theta))


@operator("RoiAlign", since=16)
def _roi_align(
    x: Array,
    rois: Array,
    batch_indices: Array,
    *,
    coordinate_transformation_mode: str = "half_pixel",
    mode: str = "avg",
    output_height: int = 1,
    output_width: int = 1,
    sampling_ratio: int = 0,
    spatial_scale: float = 1.0,
) -> Array:
    """``rois`` [n, 4]: x0, y0, x1, y1.

    The samples of a box stand in rows and columns. So the mean over a cell's samples is two products of
    matrices. The maximum is taken over each sample's weighted neighbours, as ONNX's reference does.
    """
    shift = 0.5 if coordinate_transformation_mode == "half_pixel" else 0.0
    result = np.zeros((len(rois), x.shape[1], output_height, output_width))
    for row, (roi, batch) in enumerate(zip(rois * spatial_scale - shift, batch_indices, strict=True)):
        least = 0.0 if shift else 1.0
        down = _samples(roi[1], roi[3], output_height, x.shape[2], sampling_ratio, least)
        across = _samples(roi[0], roi[2], output_width, x.shape[3], sampling_ratio, least)
        if mode == "avg":
            rows, row_weights = _mean_weights(down)
            columns, column_weights = _mean_weights(across)
            result[row] = row_weights @ x[batch, :, rows, columns] @ column_weights.T
        else:
            result[row] = _largest(x[batch], down, across)
    return result


@operator("RoiAlign", since=10)
def _old_roi_align(
    x: Array,
    rois: Array,
    batch_indices: Array,
    *,
    mode: str = "avg",
    output_height: int = 1,
    output_width: int = 1,
    sampling_ratio: int = 0,
    spatial_scale: float = 1.0,
) -> Array:
    """Until opset 15 boxes are not moved by half a pixel."""
    return _roi_align(
        x,
        rois,
        batch_indices,
        coordinate_transformation_mode="output_half_pixel",
        mode=mode,
        output_height=output_height,
        output_width=output_width,
        sampling_ratio=sampling_ratio,
        spatial_scale=spatial_scale,
    )


Samples = tuple[Array, Array]
"""Neighbours [cells, 2 * samples] along one axis of a box, and their weights."""


def _samples(start: float, end: float, cells: int, size: int, ratio: int, least: float) -> Samples:
    """A sample more than a pixel outside of the picture weighs nothing."""
    length = max(end - start, least)
    count = max(ratio if ratio > 0 else int(np.ceil(length / cells)), 0)
    steps = np.arange(cells)[:, None] + (np.arange(count) + 0.5)[None] / max(count, 1)
    places = start + steps * length / cells
    inside = (places >= -1) & (places <= size)
    held = np.clip(places, 0, size - 1)
    low = np.floor(held)
    weights = np.stack([1 - held + low, held - low], axis=-1) * inside[..., None]
    neighbours = np.stack([low, np.minimum(low + 1, size - 1)], axis=-1).astype(np.int64)
    return neighbours.reshape(cells, -1), weights.reshape(cells, -1)


def _mean_weights(samples: Samples) -> tuple[slice, Array]:
    """The part of the picture that a box reaches over, and the weights [cells, part] of each cell's mean."""
    neighbours, weights = samples
    first, last = (neighbours.min(), neighbours.max()) if neighbours.size else (0, 0)
    result = np.zeros((len(neighbours), last - first + 1))
    rows = np.arange(len(neighbours))[:, None]
    np.add.at(result, (rows, neighbours - first), weights / max(neighbours.shape[1] // 2, 1))
    return slice(first, last + 1), result


def _largest(picture: Array, down: Samples, across: Samples) -> Array:
    (rows, row_weights), (columns, column_weights) = down, across
    if not rows.size or not columns.size:
        return np.zeros((len(picture), len(rows), len(columns)))
    taken = picture[:, rows[:, :, None, None], columns[None, None]]
    weighted = taken * row_weights[:, :, None, None] * column_weights[None, None]
    return np.asarray(weighted.max(axis=(2, 4)))
