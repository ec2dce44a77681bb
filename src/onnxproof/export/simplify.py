"""Simplify a graph with onnxsim, under contract: what the outside sees must not change."""

from dataclasses import dataclass

import onnx
import onnxsim

from onnxproof.export.graph import interface_of


@dataclass(frozen=True, slots=True, eq=False)
class Simplified:
    """The graph to go on with, and why it is not the simplified one (None where it is)."""

    proto: onnx.ModelProto
    refusal: str | None


def simplify(proto: onnx.ModelProto) -> Simplified:
    """Run onnxsim; keep the given graph where it fails or where the interface changes.

    onnxsim's own comparison is left off: validate does the same job on more inputs and a sharper rule.
    """
    try:
        simplified, _ = onnxsim.simplify(proto, check_n=0)
    except Exception as error:  # noqa: BLE001
        # onnxsim is a C++ extension that raises RuntimeError and subclasses of its own.
        return Simplified(proto, f"onnxsim failed: {str(error).strip().partition(chr(10))[0]}")
    before, after = interface_of(proto), interface_of(simplified)
    if before != after:
        changed = next(
            (f"{old} became {new}" for old, new in zip(before, after, strict=False) if old != new),
            f"{len(before)} inputs and outputs became {len(after)}",
        )
        return Simplified(proto, f"onnxsim changed the interface: {changed}")
    return Simplified(simplified, None)
