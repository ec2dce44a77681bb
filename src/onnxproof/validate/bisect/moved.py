"""A graph's constants and inputs, moved by what rounding may have done to them."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from onnxproof.validate.closer import DOUBLE_UNIT, moved, moved_constant
from onnxproof.validate.exact.block import Watch
from onnxproof.validate.exact.constants import Proven, Unproven
from onnxproof.validate.exact.graph import ExactGraph
from onnxproof.validate.exact.later import Later

Array = NDArray[Any]

UNITS = 4
"""Units in float64's last place: every operation rounds, not only the weights."""

FEW = 8
"""Constants of fewer numbers are not moved: sizes are computed from them."""


RUNS = 4
"""How often a graph runs with constants moved that somebody else may have rounded."""


def is_foreign(entry: Unproven) -> bool:
    """Whether a constant that is not proven is a tensor of the checkpoint that was changed.

    If it were only rounded, it would be proven. One that is like nothing known may be rounded.
    """
    recognised = bool(entry.reordered) or any(near.close for near in entry.near)
    return recognised and not entry.rounded


class Moved:
    """A graph that runs with its constants and inputs moved.

    ``runs`` is how often: once if all constants are proven. Where somebody else may have rounded some, a
    single run may show too little by chance.
    """

    def __init__(self, proto: onnx.ModelProto, folder: Path, graph: ExactGraph, proven: Proven) -> None:
        """``folder`` has the external data of ``proto``, and ``graph`` is the same in float64."""
        self._proto, self._folder, self._graph, self._proven = proto, folder, graph, proven
        self._rounded = {entry.name: entry.rounding for entry in proven.unproven if not is_foreign(entry)}
        self.runs = RUNS if self._rounded else 1

    def run(self, number: int, inputs: Mapping[str, Array], watch: Watch) -> None:
        """Run for the ``number``-th time: constants and float inputs are moved by a few units in float64's
        last place, or by half a unit in float32's if somebody else may have rounded them.

        Raises what ``ExactGraph.run`` raises.
        """
        random = np.random.default_rng(number)
        changed = dict(self._proven.exact)
        for name, value in self._graph.constants.items():
            if isinstance(value, np.ndarray | Later) and value.dtype == np.float64:
                if name in self._rounded:
                    changed[name] = moved_constant(name, value, self._rounded[name], number)
                elif math.prod(value.shape) >= FEW:
                    changed[name] = moved_constant(name, value, UNITS * DOUBLE_UNIT, number)
        proven = self._proven
        graph = ExactGraph(
            self._proto,
            constants=changed,
            attributes=proven.attributes,
            folder=self._folder,
            own=proven.own,
        )
        near = {name: moved(array, UNITS * DOUBLE_UNIT, random) for name, array in inputs.items()}
        graph.run(near, watch=watch)
