"""Dense heads over cells, as YOLOX has them (Ge et al. 2021, arXiv:2107.08430)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from onnxproof.errors import RequestError
from onnxproof.runtime.readings.adjustable import require_form
from onnxproof.runtime.readings.boxes import BoxReading
from onnxproof.tensors import TensorSpec

CHANNELS_BEFORE_CLASSES = 5
"""Centre, log of the size and objectness stand before the class probabilities."""


@dataclass(frozen=True, slots=True)
class CellBoxes(BoxReading):
    """One output [b, n, 5 + C]: centre x, centre y in cells from the cell's corner, log of width and height
    in strides, objectness, class probabilities; cells row by row, strides in order."""

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

    def to_json(self) -> dict[str, Any]:
        """A JSON object."""
        return self.document("none")
