"""Dense heads over cells, as YOLOX has them.

The decoding is Ge et al. 2021's (arXiv:2107.08430): centre = (offset + cell) * stride, size = exp(log size) *
stride, score = objectness * class probability.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from onnxproof.errors import ModelFileError, RequestError
from onnxproof.runtime.readings.adjustable import Array, require_form
from onnxproof.runtime.readings.boxes import BoxReading, Candidates, from_class_scores
from onnxproof.tensors import TensorSpec

CHANNELS_BEFORE_CLASSES = 5
"""The channels of a cell before its class probabilities: centre (2), log of the size (2), objectness (1)."""


@dataclass(frozen=True, slots=True)
class CellBoxes(BoxReading):
    """One output [b, n, 5 + C], with these channels for each of the n cells:

    - the centre's x and y, in cells from the cell's corner;
    - the logs of the width and of the height, in strides;
    - the objectness;
    - the class probabilities.

    The strides follow each other in order, the cells of each row by row.
    """

    decode: ClassVar[str] = "none"

    def __post_init__(self) -> None:
        if not self.strides:
            raise RequestError("a head over cells lacks its strides")

    def require(self, outputs: Mapping[str, TensorSpec]) -> None:
        """See ``Reading``."""
        spec = outputs[self.outputs[0]]
        require_form(spec, "float", None, None, None)
        last = spec.shape[-1]
        if isinstance(last, int) and last <= CHANNELS_BEFORE_CLASSES:
            raise RequestError(f"the output {spec.name} is {spec}, expected more than 5 channels")

    def evidence(
        self, outputs: Mapping[str, Array], sizes: Mapping[str, int], margins: Mapping[str, Array]
    ) -> tuple[Candidates, ...]:
        """The candidates of each picture of a batch. ``sizes`` has the input's "height" and "width", px."""
        assert self.strides is not None
        raw = outputs[self.outputs[0]]
        return from_class_scores(*decode_raw(raw, sizes["height"], sizes["width"], self.strides))


def decode_raw(raw: Array, height: int, width: int, strides: tuple[int, ...]) -> tuple[Array, Array]:
    """Decode raw outputs into boxes [b, n, 4] (x0, y0, x1, y1, pixels) and class scores [b, n, C].

    ``raw`` is float [b, n, 5 + C] for an input of ``height`` by ``width`` pixels.

    Raises ModelFileError if an input of that size does not have n cells.
    """
    grid = cells(height, width, strides).astype(raw.dtype)
    if len(grid) != raw.shape[1]:
        raise ModelFileError(
            f"the output has {raw.shape[1]} cells, but an input of {height}x{width} with strides "
            f"{list(strides)} has {len(grid)}: is the file's height or width frozen?"
        )
    # A size that overflows becomes infinite, as in PyTorch and ONNX Runtime. That needs no warning.
    with np.errstate(over="ignore", invalid="ignore"):
        centres = (raw[..., :2] + grid[:, :2]) * grid[:, 2:]
        halves = np.exp(raw[..., 2:4]) * grid[:, 2:] / 2
        boxes = np.concatenate((centres - halves, centres + halves), axis=-1)
        return boxes, raw[..., 4:5] * raw[..., 5:]


def cells(height: int, width: int, strides: tuple[int, ...]) -> NDArray[np.int64]:
    """Column, row and stride of each cell, int64 [n, 3]. Strides come in order, the cells of each row by
    row."""
    grids = []
    for stride in strides:
        rows, columns = np.indices((height // stride, width // stride)).reshape(2, -1)
        grids.append(np.stack((columns, rows, np.full_like(rows, stride)), axis=-1))
    return np.concatenate(grids).astype(np.int64)
