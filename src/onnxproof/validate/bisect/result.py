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
    """A node of the file: its name, its operator and the names of its outputs.

    If the node has no name, its operator and its outputs take the name's place.
    """

    name: str
    operator: str
    outputs: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """A JSON object."""
        return {"name": self.name, "operator": self.operator, "outputs": list(self.outputs)}


@dataclass(frozen=True, slots=True)
class Leaving:
    """An output of the named node, and how far it is from its likeliest counterpart in PyTorch's module.

    ``module`` is the path of the submodule that computes the counterpart, empty for the wrapper itself.
    ``operation`` is PyTorch's operation there. ``local`` is the output's error when the node gets its true
    inputs, and ``own_rms`` the rms error when it gets the inputs that the file computes. Both are None if the
    node does not run, or if the output has another shape than its counterpart.
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
        """The part of ``own_rms`` that the inputs' error causes, if that is independent of the node's error.

        Returns None if one of the two is not known.
        """
        if self.own_rms is None or self.local is None:
            return None
        return math.sqrt(max(self.own_rms**2 - self.local.rms**2, 0.0))

    def to_json(self) -> dict[str, Any]:
        """A JSON object. Values that are not known are null."""
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

    ``status`` is "node" if a node introduces more error than the limits allow. Otherwise it is "nothing", and
    ``nodes`` is empty. ``graph`` says where the node is: in the file itself, or, if the file is right, in the
    graph that ONNX Runtime's optimizer made of it. ``leaving`` compares the node's outputs with their
    counterparts. ``failing`` says whether the verdict on the case is fail. ``tied`` of the ``nodes_walked``
    nodes have a counterpart. ``notes`` are the model's and those on how the checkpoint was found.
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
