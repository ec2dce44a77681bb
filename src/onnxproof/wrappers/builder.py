"""The user's callable that makes a module: ``package.module:callable`` or ``file.py:callable``."""

import importlib
import importlib.util
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from onnxproof.errors import JobError
from onnxproof.usercode import user_code, users_place


def build_with(reference: str, folder: Path, kwargs: Mapping[str, Any]) -> Any:
    """What the builder of that name makes. Raises JobError as ``load_builder``, UserCodeError if the
    builder raises."""
    builder = load_builder(reference, folder)
    with user_code(f'model.builder = "{reference}"'):
        return builder(**kwargs)


def load_builder(reference: str, folder: Path) -> Any:
    """The callable that ``package.module:callable`` or ``file.py:callable`` names.

    A file is relative to ``folder``. Raises JobError if there is none, UserCodeError if importing it
    raises.
    """
    place, colon, attribute = reference.partition(":")
    if not colon or not place or not attribute:
        raise JobError(
            f'model.builder = "{reference}": expected "package.module:callable" or "file.py:callable"'
        )
    with user_code(f'model.builder = "{reference}"'):
        try:
            source = _import_file(folder / place) if place.endswith(".py") else importlib.import_module(place)
        except (ImportError, OSError) as error:
            if users_place(error) is not None:
                raise  # not the builder itself is missing, but something that it needs
            raise JobError(f'model.builder = "{reference}" cannot be imported: {error}') from error
        try:
            found: Any = source
            for part in attribute.split("."):
                found = getattr(found, part)
        except AttributeError as error:
            raise JobError(f'model.builder = "{reference}": {place} has no {attribute}') from error
    if not callable(found):
        raise JobError(f'model.builder = "{reference}" is a {type(found).__name__}, not a callable')
    return found


def _import_file(file: Path) -> Any:
    if not file.is_file():
        raise FileNotFoundError(f"{file} does not exist")
    name = f"onnxproof_builder_{file.stem}"
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # Dataclasses and pickles look their module up by name.
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module
