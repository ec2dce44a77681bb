"""The heads. Each is one file, named after its task, and is found by that name."""

import importlib
import pkgutil

from onnxproof.errors import JobError
from onnxproof.wrappers.head import Head

__all__ = ["get_head", "head_names"]


def head_names() -> tuple[str, ...]:
    """The names of all tasks that have a head, sorted."""
    return tuple(sorted(module.name for module in pkgutil.iter_modules(__path__)))


def get_head(task: str) -> Head:
    """The head of that task. Raises JobError if the task has none."""
    if task not in head_names():
        raise JobError(f'model.task = "{task}" has no head; these tasks do: {", ".join(head_names())}')
    head: Head = importlib.import_module(f"{__name__}.{task}").HEAD
    return head
