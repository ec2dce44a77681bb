"""torch's side of a model: the families that build it, and what is put around it."""

import ast
import importlib
import pkgutil
from pathlib import Path
from typing import TYPE_CHECKING

from onnxproof.errors import JobError
from onnxproof.wrappers import families

if TYPE_CHECKING:
    from onnxproof.wrappers.family import Family

__all__ = ["family_names", "family_summary", "get_family"]


def family_names() -> tuple[str, ...]:
    """The names of all families, sorted."""
    return tuple(sorted(module.name for module in pkgutil.iter_modules(families.__path__)))


def get_family(name: str) -> "Family":
    """The family of that name; JobError where there is none."""
    if name not in family_names():
        raise JobError(f'model.family = "{name}" is not known; there are: {", ".join(family_names())}')
    family: Family = importlib.import_module(f"{families.__name__}.{name}").FAMILY
    return family


def family_summary(name: str) -> str:
    """The first line of a family's documentation, read without importing it (or torch)."""
    source = (Path(families.__path__[0]) / f"{name}.py").read_text(encoding="utf-8")
    return (ast.get_docstring(ast.parse(source)) or "").partition("\n")[0]
