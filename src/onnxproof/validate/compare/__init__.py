"""How the decisions of each task are compared: one file for each task, which has the task's name."""

import importlib
import pkgutil
import sys

from onnxproof.validate.compare.comparer import Comparer, Comparison, Finding

__all__ = ["Comparer", "Comparison", "Finding", "get_comparer"]


def get_comparer(task: str) -> Comparer | None:
    """The comparer of a task. Returns None if the task has none: then only tensors are compared."""
    name = f"{__name__}.{task}"
    # Asked at each case: the files are listed for the first.
    if name not in sys.modules and task not in {module.name for module in pkgutil.iter_modules(__path__)}:
        return None
    comparer: Comparer | None = getattr(importlib.import_module(name), "COMPARER", None)
    return comparer
