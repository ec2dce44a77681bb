"""Every fault of the benchmark. A module here is a group of kinds; its ``FAULTS`` are joined below."""

from soundness.fault import Fault
from soundness.faults import (
    activations,
    conditions,
    decisions,
    interface,
    metadata,
    norms,
    picture,
    sequences,
    shapes,
    space,
    weights,
)

FAULTS: tuple[Fault, ...] = (
    *weights.FAULTS,
    *norms.FAULTS,
    *picture.FAULTS,
    *activations.FAULTS,
    *space.FAULTS,
    *decisions.FAULTS,
    *shapes.FAULTS,
    *interface.FAULTS,
    *conditions.FAULTS,
    *sequences.FAULTS,
    *metadata.FAULTS,
)
"""All of them; no two have the same kind, severity and subject."""
