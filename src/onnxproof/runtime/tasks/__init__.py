"""The tasks, one file each; a task is found by the name of its file."""

import importlib
import pkgutil

from onnxproof.errors import RequestError
from onnxproof.runtime.tasks.task import Task
from onnxproof.text import meant

__all__ = ["Task", "get_task", "task_names"]


def task_names() -> tuple[str, ...]:
    """The names of all tasks, sorted."""
    return tuple(sorted(module.name for module in pkgutil.iter_modules(__path__) if module.name != "task"))


def get_task(name: str) -> Task:
    """The task of that name. Raises RequestError if there is none."""
    if name not in task_names():
        raise RequestError(
            f'task "{name}" is not known; there are: {", ".join(task_names())}{meant(name, task_names())}'
        )
    task: Task = importlib.import_module(f"{__name__}.{name}").TASK
    return task
