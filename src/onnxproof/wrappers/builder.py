"""Finds what a job names of the user's code, ``package.module:name`` or ``file.py:name``, and calls the
function that makes a module."""

import importlib
import importlib.util
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from onnxproof.errors import JobError
from onnxproof.system.usercode import user_code, users_place


def build_with(reference: str, folder: Path, kwargs: Mapping[str, Any]) -> Any:
    """Call the builder of that name with ``kwargs`` and return what it makes.

    Raises JobError as ``load_builder`` does, UserCodeError if the builder raises.
    """
    builder = load_builder(reference, folder)
    with user_code(f'model.builder = "{reference}"'):
        return builder(**kwargs)


def load_builder(reference: str, folder: Path) -> Any:
    """Return the callable that ``package.module:callable`` or ``file.py:callable`` names.

    Raises JobError as ``load_named`` does, or if what is found is no callable; UserCodeError if importing
    raises.
    """
    found = load_named(reference, folder, "model.builder", "callable")
    if not callable(found):
        raise JobError(f'model.builder = "{reference}" is a {type(found).__name__}, not a callable')
    return found


def load_named(reference: str, folder: Path, key: str, kind: str) -> Any:
    """Return the value that ``package.module:name`` or ``file.py:name`` names.

    A file's path is relative to ``folder``. ``key`` is the job's key that has the reference, and ``kind``
    what it should name: both are for messages. Raises JobError if the module, the file or the attribute does
    not exist; UserCodeError if importing raises.
    """
    said = f'{key} = "{reference}"'
    place, colon, attribute = reference.partition(":")
    if not colon or not place or not attribute:
        raise JobError(f'{said}: expected "package.module:{kind}" or "file.py:{kind}"')
    with user_code(said):
        try:
            source = _import_file(folder / place) if place.endswith(".py") else importlib.import_module(place)
        except (ImportError, OSError) as error:
            if users_place(error) is not None:
                raise  # The file or module was found, but something that it imports was not.
            beside = _meant_file(folder, place)
            hint = f'; {beside} lies in the job\'s folder: write "{beside}:{attribute}"' if beside else ""
            raise JobError(f"{said} cannot be imported: {error}{hint}") from error
        try:
            found: Any = source
            for part in attribute.split("."):
                found = getattr(found, part)
        except AttributeError as error:
            raise JobError(f"{said}: {place} has no {attribute}") from error
    return found


def _meant_file(folder: Path, module: str) -> str | None:
    """The file in ``folder`` that is meant by a module which cannot be imported; None if there is none."""
    file = f"{module.replace('.', '/')}.py"
    return file if (folder / file).is_file() else None


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
