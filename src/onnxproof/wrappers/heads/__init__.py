"""The heads, one file a task; a head is found by the name of its file, which is the task's."""

import importlib
import pkgutil

from onnxproof.errors import JobError
from onnxproof.wrappers.head import Head

__all__ = ["get_head", "head_names"]


def head_names() -> tuple[str, ...]:
    """The names of all tasks that have a head, sorted."""
    return tuple(sorted(module.name for module in pkgutil.iter_modules(__path__)))


def get_head(task: str) -> Head:
    """The head of that task. Raises JobError if there is none."""
    if task not in head_names():
        raise JobError(f'model.task = "{task}" has no head; there are: {", ".join(head_names())}')
    head: Head = importlib.import_module(f"{__name__}.{task}").HEAD
    return head
