"""Rows of a graph that ends in NMS, padded to one number for each picture of a batch, with their counts."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from onnxproof.errors import RequestError
from onnxproof.runtime.readings.adjustable import Array, require_form
from onnxproof.runtime.readings.rows import RowReading, margins_of_picture
from onnxproof.tensors import TensorSpec


@dataclass(frozen=True, slots=True)
class PaddedReading(RowReading):
    """Boxes float [b, m, 4] (x0, y0, x1, y1, px), labels int64 [b, m], scores float [b, m], and how many rows
    of each picture count, int64 [b]. What is behind them means nothing.

    ``graph.max_detections`` is m.
    """

    decode: ClassVar[str] = "nms-padded"

    def __post_init__(self) -> None:
        if self.batch is None or self.graph.max_detections is None:
            raise RequestError("padded rows need the batch's axis and max_detections, their number")

    def require(self, outputs: Mapping[str, TensorSpec]) -> None:
        """See ``Reading``."""
        boxes, labels, scores = (outputs[name] for name in self.outputs[:3])
        counts = outputs[self.outputs[-1]]
        most = self.graph.max_detections
        require_form(boxes, "float", None, most, self.numbers)
        require_form(labels, "int", None, most)
        require_form(scores, "float", None, most)
        require_form(counts, "int", None)

    def refuse(self, outputs: Mapping[str, Array], sizes: Mapping[str, int]) -> str | None:
        """See ``RowReading``."""
        counts, most = outputs[self.outputs[-1]], self.graph.max_detections
        wrong = counts[(counts < 0) | (counts > most)]
        return f"{wrong[0]} rows of a picture; it has room for {most}" if len(wrong) else None

    def by_picture(
        self, outputs: Mapping[str, Array], sizes: Mapping[str, int], margins: Mapping[str, Array]
    ) -> Iterator[tuple[dict[str, Array], dict[str, Array]]]:
        """The outputs and the margins of each picture, without the padding."""
        *listed, counts = self.outputs
        for picture, count in enumerate(np.maximum(outputs[counts], 0).tolist()):
            own = {name: outputs[name][picture, :count] for name in listed}
            yield own, margins_of_picture(margins, picture)
