"""Faults that others met: reported converter, simplifier and runtime faults, rebuilt from their reports.

Each is a small network and two files of it, healthy and damaged. ``fault.py`` says how a damaged file comes
about; the other modules hold the faults by kind. ``python benchmarks/reported.py`` puts them before the
verdict and before the tools in use.
"""

from soundness.reported import activations, conversion, graphs, indexing, norms, numbers, sequences, space
from soundness.reported.fault import Reported

MODULES = (numbers, activations, norms, space, sequences, indexing, graphs, conversion)
FAULTS: tuple[Reported, ...] = tuple(fault for module in MODULES for fault in module.FAULTS)
