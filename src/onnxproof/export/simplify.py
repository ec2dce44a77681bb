"""Simplify a graph with onnxsim, and refuse the result if its inputs or outputs changed."""

import contextlib
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass

import onnx
import onnxsim

from onnxproof.export.finish import interface_of


@dataclass(frozen=True, slots=True, eq=False)
class Simplified:
    """The graph to use. ``refusal`` says why it is not the simplified one; it is None if it is."""

    proto: onnx.ModelProto
    refusal: str | None


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep onnxsim's warnings, which its C++ writes past ``sys.stderr``, off the terminal."""
    sys.stderr.flush()
    kept = os.dup(2)
    with open(os.devnull, "wb") as nowhere:  # noqa: PTH123
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def simplify(proto: onnx.ModelProto) -> Simplified:
    """Run onnxsim. Keep the given graph if onnxsim fails or changes the interface.

    onnxsim's own comparison is off: validate compares on more inputs and by a stricter rule.
    """
    try:
        with _quiet():
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
