"""Measure how far one node's output is from the truth, and how far rounding alone would move it."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxproof.validate.cases import FLOAT32_EPSILON

Array = NDArray[Any]

LIMIT_RMS = 12.0
"""The largest allowed ratio of a node's rms error to its floor. Nodes of healthy exports measured up to 5
(docs/bisect.md)."""

LIMIT_MAX = 20.0
"""The largest allowed ratio of a node's largest error to its floor. Healthy exports measured up to 7."""

UNIT_SCALE = frozenset(
    """
    Sigmoid Tanh Softmax LogSoftmax Erf Gelu FastGelu QuickGelu BiasGelu LSTM GRU RNN Exp Sin Cos
    FusedConv Attention MultiHeadAttention
    """.split()
)
"""Operators whose kernels are accurate to a unit in the last place of 1.0, however small the output is."""

ROUND_BITS = 0xFFF
"""The low bits of a float32's mantissa. If they are zero (96, 0.5, a byte), the number counts as exact and is
not moved."""


@dataclass(frozen=True, slots=True)
class Deviation:
    """An output's rms and largest error from the truth, and the floors of both.

    A floor is how far the output moves if every float input moves by a unit in the last place. It is at least
    one rounding.
    """

    rms: float
    maximum: float
    floor_rms: float
    floor_max: float
    scale: float

    @property
    def ratio(self) -> float:
        """The rms error over its floor; infinite if it is NaN."""
        return _over(self.rms, self.floor_rms)

    @property
    def ratio_max(self) -> float:
        """The largest error over its floor; infinite if it is NaN."""
        return _over(self.maximum, self.floor_max)

    def to_json(self) -> dict[str, Any]:
        """A JSON object; numbers that are not finite are None."""
        named = {
            "rms": self.rms,
            "max": self.maximum,
            "floor_rms": self.floor_rms,
            "floor_max": self.floor_max,
            "ratio": self.ratio,
            "ratio_max": self.ratio_max,
            "scale_rms": self.scale,
        }
        return {name: value if math.isfinite(value) else None for name, value in named.items()}


def _over(error: float, floor: float) -> float:
    ratio = error / floor
    return math.inf if math.isnan(ratio) else ratio


def deviation(found: Array, moved: Array, truth: Array, operator: str) -> Deviation:
    """Compare an output with the truth. ``moved`` is the output for moved inputs. All have one shape."""
    with np.errstate(invalid="ignore", over="ignore"):
        wanted = truth.astype(np.float64, copy=False)
        given = found.astype(np.float64)
        error = given - wanted
        shift = moved.astype(np.float64)
        shift -= given
        # Equal infinities, as in attention masks, are no error; a NaN in place of a number is one.
        error[(given == wanted) | (np.isnan(given) & np.isnan(wanted))] = 0.0
        np.nan_to_num(error, copy=False, nan=math.inf, posinf=math.inf, neginf=-math.inf)
        finite = np.abs(wanted[np.isfinite(wanted)])
        largest = float(finite.max(initial=0.0))
        scale = _rms(finite)
        unit = 1.0 if operator.rpartition(".")[2] in UNIT_SCALE else 0.0
        shift = shift[np.isfinite(shift)]
        tiny = math.ulp(0.0)
        floor_rms = max(_rms(shift), FLOAT32_EPSILON * max(scale, unit) / math.sqrt(12), tiny)
        floor_max = max(float(np.abs(shift).max(initial=0.0)), FLOAT32_EPSILON * max(largest, unit), tiny)
        return Deviation(_rms(error), float(np.abs(error).max(initial=0.0)), floor_rms, floor_max, scale)


def _rms(values: Array) -> float:
    return math.sqrt(float(np.vdot(values, values)) / max(values.size, 1))


def move(values: Array, random: np.random.Generator) -> Array:
    """A copy of a float32 array in which each number is moved up or down by one part in 2**23.

    Exact numbers (ROUND_BITS) stay. Arrays of other types are returned as they are.
    """
    if values.dtype != np.float32:
        return values
    steps = np.array((1 - FLOAT32_EPSILON, 1 + FLOAT32_EPSILON), np.float32)
    signs = random.integers(0, 2, values.shape, dtype=np.uint8)
    moved: Array = values * steps[signs]
    bits = np.ascontiguousarray(values).view(np.int32).reshape(values.shape)
    kept: Array = np.where((bits & ROUND_BITS) == 0, values, moved)
    return kept.astype(np.float32, copy=False)
