"""Check what the file itself shows: named checks on the graph, each with a why and a remedy.

Nothing is run, and no framework is imported. Each check is a function; related checks share a module. A new
check is added to ``HAZARDS``.
"""

from collections.abc import Iterable

from onnxproof.graph import OnnxGraph
from onnxproof.runtime.session import first_line
from onnxproof.validate.exact.checkpoint import Weights
from onnxproof.validate.hazards._hazard import Found, Hazard, Subject
from onnxproof.validate.hazards.axes import FROZEN_AXES, explain
from onnxproof.validate.hazards.bounds import BOUNDS
from onnxproof.validate.hazards.metadata import METADATA
from onnxproof.validate.hazards.operators import (
    CONTROL_FLOW_HAZARD,
    CUSTOM_DOMAINS,
    OPSET,
    RANDOM_OPERATORS,
    TRAINING,
    UNKNOWN_OPERATORS,
    WIDE_TYPES,
)
from onnxproof.validate.hazards.sizes import SIZES, asks_for_shapes
from onnxproof.validate.hazards.tensors import NONFINITE, STRAY_DATA, WASTE
from onnxproof.validate.hazards.tracing import TRACING
from onnxproof.validate.hazards.weights import CHANGED_WEIGHTS
from onnxproof.validate.inference import begin
from onnxproof.validate.verdict import Check

__all__ = [
    "FROZEN_AXES",
    "HAZARDS",
    "METADATA",
    "RANDOM_OPERATORS",
    "Found",
    "Hazard",
    "OnnxGraph",
    "Subject",
    "Weights",
    "advice",
    "explain",
    "look_for_hazards",
]


def _registered(*hazards: Hazard) -> tuple[Hazard, ...]:
    names = [hazard.name for hazard in hazards]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"the hazard {twice[0]} is registered twice")
    return hazards


HAZARDS = _registered(
    OPSET,
    UNKNOWN_OPERATORS,
    CUSTOM_DOMAINS,
    WIDE_TYPES,
    NONFINITE,
    CHANGED_WEIGHTS,
    BOUNDS,
    METADATA,
    TRACING,
    TRAINING,
    RANDOM_OPERATORS,
    SIZES,
    STRAY_DATA,
    CONTROL_FLOW_HAZARD,
    WASTE,
)
"""The hazards that every verdict looks for, in the order of the report. FROZEN_AXES is on request."""


def look_for_hazards(subject: Subject, *more: Hazard) -> tuple[Found, ...]:
    """Look for each hazard in a file, and for ``more``."""
    if asks_for_shapes(subject) or FROZEN_AXES in more:
        begin()
    return tuple(Found(hazard, _look(hazard, subject)) for hazard in (*HAZARDS, *more))


def _look(hazard: Hazard, subject: Subject) -> Check:
    """The hazard's check. Its status is "error" if the file is so broken that the check raises."""
    try:
        return hazard.look(subject)
    except Exception as error:  # noqa: BLE001 - a broken file raises anything
        said = f"{type(error).__name__}: {first_line(error)}"
        return Check(hazard.name, "error", f"could not be looked for in this file ({said})")


def advice(found: Iterable[Found]) -> tuple[str, ...]:
    """The advice of each hazard that has one, a line each."""
    return tuple(f"{entry.hazard.name}: {entry.advice}" for entry in found if entry.advice is not None)
