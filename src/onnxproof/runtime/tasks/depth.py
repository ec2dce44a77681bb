"""Depth and other maps: one value for each pixel.

The model has one output [b, h, w]. Nothing is decided from it but the values themselves: two files are
compared by them. What a value means is the network's: metres, or the inverse of a distance without a unit.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from onnxproof.contract import ClassInfo
from onnxproof.document import Entry
from onnxproof.runtime.color_scale import paint
from onnxproof.runtime.maps import Interpolation, interpolate, places_in
from onnxproof.runtime.preprocess import Transform
from onnxproof.runtime.readings.adjustable import Adjustable, Array, output_names, require_form
from onnxproof.tensors import TensorSpec

INTERPOLATIONS = ("nearest", "linear", "cubic")

HOW_TO_GET = (
    "the map in the picture's pixels: onnxproof.load(...).predict(picture).decisions.values; "
    "as the network returns it: onnxproof predict ... --out FILE.npz"
)


@dataclass(frozen=True, slots=True)
class MapValues(Adjustable):
    """One output of values [b, h, w].

    ``picture`` is the input's height and width (the names of the axes); None if the map has the input's own
    pixels. ``interpolation`` brings the values to the picture's pixels.
    """

    picture: tuple[str, str] | None = None
    interpolation: Interpolation = "linear"

    def require(self, outputs: Mapping[str, TensorSpec]) -> None:
        """See ``Reading``."""
        require_form(outputs[self.outputs[0]], "float", None, None, None)

    def to_json(self) -> dict[str, Any]:
        """A JSON object."""
        picture = None if self.picture is None else list(self.picture)
        return {"outputs": list(self.outputs), "picture": picture, "interpolation": self.interpolation}


@dataclass(frozen=True, slots=True)
class DepthMap:
    """The values of one picture, float [h, w]: in the picture's pixels once restored, NaN where the model did
    not see it. ``height`` and ``width`` are the input's, px."""

    values: Array
    height: int
    width: int
    interpolation: Interpolation


class _Depth:
    name = "depth"
    decides = True
    needs_all = False
    summary = "Depth and other maps: one value for each pixel."

    def reading(self, entry: Entry) -> MapValues:
        keys = entry.table(("outputs", "picture", "interpolation"))
        picture = None
        if keys["picture"].value is not None:
            height, width = (axis.text() for axis in keys["picture"].entries(2))
            picture = (height, width)
        how: Any = keys["interpolation"].text(INTERPOLATIONS)
        return MapValues(output_names(keys, 1), picture, how)

    def evidence(
        self,
        outputs: Mapping[str, Array],
        sizes: Mapping[str, int],
        reading: MapValues,
        margins: Mapping[str, Array],
    ) -> tuple[DepthMap, ...]:
        maps = outputs[reading.outputs[0]]
        height, width = maps.shape[1:]
        if reading.picture is not None:
            height, width = (sizes[axis] for axis in reading.picture)
        return tuple(DepthMap(one, height, width, reading.interpolation) for one in maps)

    def decide(self, evidence: DepthMap, reading: MapValues) -> DepthMap:
        return evidence

    def restore(self, decisions: DepthMap, transform: Transform) -> DepthMap:
        of_input, values = (decisions.height, decisions.width), decisions.values
        places = places_in(transform, of_input, (values.shape[0], values.shape[1]))
        there = interpolate(values[None], places, decisions.interpolation)[0]
        height, width = there.shape
        return DepthMap(np.where(places.seen, there, np.nan), height, width, decisions.interpolation)

    def to_json(
        self, decisions: DepthMap, classes: tuple[ClassInfo, ...], width: int | None, height: int | None
    ) -> dict[str, Any]:
        """{"shape", "min", "max", "array"}: the map's height and width, its range, and how to get the
        values."""
        low, high = _range(decisions.values)
        return {"shape": list(decisions.values.shape), "min": low, "max": high, "array": HOW_TO_GET}

    def lines(self, decisions: DepthMap, classes: tuple[ClassInfo, ...]) -> tuple[str, ...]:
        low, high = _range(decisions.values)
        height, width = decisions.values.shape
        told = "no finite value" if low is None else f"{low:.6g} to {high:.6g}"
        return (f"{width}x{height} values, {told}",)

    def draw(self, picture: Image.Image, decisions: DepthMap, classes: tuple[ClassInfo, ...]) -> Image.Image:
        """The values in colours in the picture's place, with a bar that tells their range."""
        return paint(picture, decisions.values)


TASK = _Depth()


def _range(values: Array) -> tuple[float | None, float | None]:
    """The least and the largest finite value; None if there is none."""
    finite = values[np.isfinite(values)]
    return (float(finite.min()), float(finite.max())) if finite.size else (None, None)
