"""What bisect found: which node, how far off, beside which floor."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from onnxproof.validate.bisect.deviation import LIMIT_MAX, LIMIT_RMS, Deviation

Status = Literal["node", "nothing"]
GraphKind = Literal["file", "optimized"]


@dataclass(frozen=True, slots=True)
class NamedNode:
    """A node of the file: its name (or what stands for one), its operator, what it writes."""

    name: str
    operator: str
    outputs: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """A JSON object."""
        return {"name": self.name, "operator": self.operator, "outputs": list(self.outputs)}


@dataclass(frozen=True, slots=True)
class Leaving:
    """An output of the named node, held against its likeliest counterpart in the module.

    ``module`` is the path of the module that computes it (empty for the wrapper itself), ``operation``
    PyTorch's operation. ``local`` is the deviation for true inputs, None if the node does not run or gives
    another shape; ``own_rms`` the rms error for the inputs that the file itself gives them, None likewise.
    """

    output: str
    module: str
    operation: str
    local: Deviation | None
    own_rms: float | None
    shape: tuple[int, ...] | None
    expected_shape: tuple[int, ...]

    @property
    def passed_on_rms(self) -> float | None:
        """The part of ``own_rms`` that came in with the inputs, as if the two were independent."""
        if self.own_rms is None or self.local is None:
            return None
        return math.sqrt(max(self.own_rms**2 - self.local.rms**2, 0.0))

    def to_json(self) -> dict[str, Any]:
        """A JSON object; null for what is not known."""
        return {
            "output": self.output,
            "module": self.module,
            "operation": self.operation,
            "local": None if self.local is None else self.local.to_json(),
            "own_rms": _finite(self.own_rms),
            "passed_on_rms": _finite(self.passed_on_rms),
            "shape": None if self.shape is None else list(self.shape),
            "expected_shape": list(self.expected_shape),
        }


@dataclass(frozen=True, slots=True)
class Bisection:
    """Which node introduces error on one case.

    ``status`` is "node" if one introduces more than the limits let pass, else "nothing"; ``nodes`` is empty
    then. ``graph`` says whose node it is: the file's own, or one that ONNX Runtime's optimizer made, if the
    file itself is right. ``leaving`` are the node's outputs beside their likeliest counterparts.
    ``failing`` says whether the verdict on the case is fail. ``tied`` of ``nodes_walked`` nodes have a
    counterpart. ``notes`` say what about the request bears on the result.
    """

    status: Status
    case: Mapping[str, Any]
    case_number: int
    failing: bool
    graph: GraphKind
    nodes: tuple[NamedNode, ...]
    leaving: tuple[Leaving, ...]
    reason: str
    nodes_walked: int
    tied: int
    peak_bytes: int
    model_sha256: str
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """A JSON document."""
        return {
            "format": 2,
            "status": self.status,
            "case": dict(self.case),
            "case_number": self.case_number,
            "case_fails": self.failing,
            "graph": self.graph,
            "nodes": [node.to_json() for node in self.nodes],
            "leaving": [value.to_json() for value in self.leaving],
            "reason": self.reason,
            "limits": {"ratio": LIMIT_RMS, "ratio_max": LIMIT_MAX},
            "walked": {"nodes": self.nodes_walked, "tied": self.tied, "peak_bytes": self.peak_bytes},
            "model_sha256": self.model_sha256,
            "notes": list(self.notes),
        }


def _finite(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else value
