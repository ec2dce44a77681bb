"""Faults that others met: reported converter, simplifier and runtime faults, rebuilt from their reports.

Each is a small network and two files of it, healthy and damaged. ``fault.py`` says how a damaged file comes
about; the other modules hold the faults by kind. ``python benchmarks/reported.py`` puts them before the
verdict and before the tools in use.
"""

from soundness.reported import activations, conversion, graphs, indexing, norms, numbers, sequences, space
from soundness.reported.fault import Reported

FAULTS: tuple[Reported, ...] = (
    *numbers.FAULTS,
    *activations.FAULTS,
    *norms.FAULTS,
    *space.FAULTS,
    *sequences.FAULTS,
    *indexing.FAULTS,
    *graphs.FAULTS,
    *conversion.FAULTS,
)
