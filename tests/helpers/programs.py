"""Files of Python that no package holds: programs of examples/, dev.py, those of release/."""

import importlib.util
from pathlib import Path
from typing import Any


def program(file: Path) -> Any:
    """A file of Python as a module, without the package that it lies in. Each call runs it anew."""
    spec = importlib.util.spec_from_file_location(file.stem, file)
    assert spec is not None
    assert spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made
