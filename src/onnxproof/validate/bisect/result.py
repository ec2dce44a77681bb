"""What bisect found: which node, in which link, and how far off."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

Status = Literal["node", "nothing"]
Link = Literal["function", "runtime"]
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
class Apart:
    """How far an output of the named node is from what should have come out: its rms and largest error.

    ``limit`` is the largest error that rounding allows, and ``scale`` the rms of what should have come out.
    In the function link both sides are in float64. In the runtime link the node ran in ONNX Runtime, on its
    own inputs, and ``limit`` is the rounding bound of the number that exceeds its own by most; ``maximum`` is
    the error of that number.
    """

    rms: float
    maximum: float
    limit: float
    scale: float

    def to_json(self) -> dict[str, Any]:
        """A JSON object; numbers that are not finite are None."""
        named = {"rms": self.rms, "max": self.maximum, "limit": self.limit, "scale_rms": self.scale}
        return {name: value if math.isfinite(value) else None for name, value in named.items()}


@dataclass(frozen=True, slots=True)
class Leaving:
    """An output of the named node, and what should have come out of it.

    In the function link that is a tensor of PyTorch's module: ``module`` is the path of the submodule that
    computes it, empty for the wrapper itself, and ``operation`` PyTorch's operation there. In the runtime
    link it may be what the node itself gives in float64, and both are empty. ``apart`` is how far the output
    is from that; None if it has another shape.
    """

    output: str
    module: str
    operation: str
    apart: Apart | None
    shape: tuple[int, ...]
    expected_shape: tuple[int, ...]

    def to_json(self) -> dict[str, Any]:
        """A JSON object. Values that are not known are null."""
        return {
            "output": self.output,
            "module": self.module,
            "operation": self.operation,
            "apart": None if self.apart is None else self.apart.to_json(),
            "shape": list(self.shape),
            "expected_shape": list(self.expected_shape),
        }


@dataclass(frozen=True, slots=True)
class Bisection:
    """Which node fails a link of the proof on one case.

    ``status`` is "node" if one is named. Otherwise it is "nothing", and ``nodes`` is empty. ``link`` is
    "function" if the file states something else than the checkpoint there, "runtime" if ONNX Runtime computes
    something else than the file states. ``graph`` says where the node is: in the file itself, or in the graph
    that ONNX Runtime's optimizer made of it. ``leaving`` compares the node's outputs with what should have
    come out. ``constants`` describe the constants that the node reads and that are not the checkpoint's.
    ``failing`` says whether the verdict on the case is fail, judged by what ONNX Runtime computes. ``tied``
    of the ``nodes_walked`` nodes have a counterpart in PyTorch's module. ``notes`` are the model's, those on
    how the checkpoint was found, and what could not be walked.
    """

    status: Status
    case: Mapping[str, Any]
    case_number: int
    failing: bool
    link: Link
    graph: GraphKind
    nodes: tuple[NamedNode, ...]
    leaving: tuple[Leaving, ...]
    constants: tuple[str, ...]
    reason: str
    nodes_walked: int
    tied: int
    peak_bytes: int
    model_sha256: str
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """A JSON document."""
        return {
            "format": 3,
            "status": self.status,
            "case": dict(self.case),
            "case_number": self.case_number,
            "case_fails": self.failing,
            "link": self.link,
            "graph": self.graph,
            "nodes": [node.to_json() for node in self.nodes],
            "leaving": [value.to_json() for value in self.leaving],
            "constants": list(self.constants),
            "reason": self.reason,
            "walked": {"nodes": self.nodes_walked, "tied": self.tied, "peak_bytes": self.peak_bytes},
            "model_sha256": self.model_sha256,
            "notes": list(self.notes),
        }
