"""Which pixels a Resize with mode nearest picks: ONNX Runtime's arithmetic, and PyTorch's.

ONNX Runtime divides by the scale and PyTorch multiplies by its inverse, both in float32. Where the quotient
is a whole number the two may round to different pixels (microsoft/onnxruntime#12098).
"""

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto, helper

from onnxproof.runtime.session import SessionSettings, open_bytes

TORCH_WAYS = {
    ("asymmetric", "floor"): 0.0,
    ("half_pixel", "round_prefer_ceil"): 0.5,
    ("half_pixel", "round_prefer_floor"): 0.5,
}
"""How a file writes PyTorch's modes nearest and nearest-exact, and what these add to a pixel's number before
they scale it (aten/src/ATen/native/UpSample.h)."""

OPSET = 18
"""The operator set of the Resize that is run alone; the arithmetic is the same since 11."""

Way = tuple[str, str]
"""A Resize's coordinate_transformation_mode and nearest_mode."""

PLAIN: Way = ("asymmetric", "floor")
"""The way in which lengths are looked at where no pixel is picked; they are the same in each."""

Picks = NDArray[np.int64]
"""The pixel that each output pixel is taken from."""


@dataclass(frozen=True, slots=True)
class Step:
    """A Resize along one axis. ``scale`` is None if the node is given sizes and not scales.

    ``way`` is None if no pixel is picked, because the mode mixes several: then the length alone is compared.
    """

    way: Way | None
    source: int
    target: int
    scale: float | None

    @property
    def trivial(self) -> bool:
        """Whether every arithmetic picks the same: the size stays, or the scale is a power of two."""
        return self.source == self.target or (self.scale is not None and np.frexp(self.scale)[0] == 0.5)


@cache
def alike(step: Step) -> bool:
    """Whether ONNX Runtime picks the pixels that PyTorch picks."""
    picks, wanted = runtimes_picks(step), pytorchs_picks(step)
    if picks is None or len(picks) != len(wanted):
        return False
    return step.way is None or np.array_equal(picks, wanted)


def pytorchs_picks(step: Step) -> Picks:
    """The pixels that PyTorch's CPU kernel picks.

    A file has a scale factor in float32. PyTorch is taken to have been given the shortest decimal number that
    is this float32.
    """
    if step.scale is None:
        pace, length = np.float32(step.source) / np.float32(step.target), step.target
    else:
        factor = float(str(np.float32(step.scale)))
        pace, length = np.float32(1 / factor), int(step.source * factor)
    places = (np.arange(length, dtype=np.float32) + np.float32(TORCH_WAYS[step.way or PLAIN])) * pace
    picks: Picks = np.minimum(places.astype(np.int64), step.source - 1)
    return picks


def runtimes_picks(step: Step) -> Picks | None:
    """The pixels that ONNX Runtime picks. None if it refuses."""
    row = np.arange(step.source, dtype=np.float32)[None, None, None]
    if step.scale is None:
        parameter = np.array([1, 1, 1, step.target], np.int64)
    else:
        parameter = np.array([1, 1, 1, step.scale], np.float32)
    try:
        (picked,) = _session(step.way or PLAIN, step.scale is not None).run(
            None, {"row": row, "parameter": parameter}
        )
    except Exception:  # noqa: BLE001
        # ONNX Runtime's exceptions have no common public base below Exception.
        return None
    picks: Picks = picked[0, 0, 0].astype(np.int64)
    return picks


@cache
def _session(way: Way, by_scale: bool) -> Any:
    """A Resize alone, of a row of numbered pixels [1, 1, 1, n]."""
    row = helper.make_tensor_value_info("row", TensorProto.FLOAT, [1, 1, 1, "n"])
    kind = TensorProto.FLOAT if by_scale else TensorProto.INT64
    parameter = helper.make_tensor_value_info("parameter", kind, [4])
    picked = helper.make_tensor_value_info("picked", TensorProto.FLOAT, [1, 1, 1, "m"])
    inputs = ["row", "", "parameter"] if by_scale else ["row", "", "", "parameter"]
    node = helper.make_node(
        "Resize",
        inputs,
        ["picked"],
        mode="nearest",
        coordinate_transformation_mode=way[0],
        nearest_mode=way[1],
    )
    graph = helper.make_graph([node], "resize", [row, parameter], [picked])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=9)
    return open_bytes(model.SerializeToString(), "a Resize alone", SessionSettings(threads=1))
