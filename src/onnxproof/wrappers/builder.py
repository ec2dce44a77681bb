"""Finds and calls the user's function that makes a module: ``package.module:callable`` or
``file.py:callable``."""

import importlib
import importlib.util
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from onnxproof.errors import JobError
from onnxproof.usercode import user_code, users_place


def build_with(reference: str, folder: Path, kwargs: Mapping[str, Any]) -> Any:
    """Call the builder of that name with ``kwargs`` and return what it makes.

    Raises JobError as ``load_builder`` does, UserCodeError if the builder raises.
    """
    builder = load_builder(reference, folder)
    with user_code(f'model.builder = "{reference}"'):
        return builder(**kwargs)


def load_builder(reference: str, folder: Path) -> Any:
    """Return the callable that ``package.module:callable`` or ``file.py:callable`` names.

    A file's path is relative to ``folder``. Raises JobError if the module, the file or the attribute does
    not exist, or if the attribute is no callable; UserCodeError if importing raises.
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
                raise  # The builder was found, but something that it imports was not.
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
    # Dataclasses and pickle find a class's module by its name in sys.modules.
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module
