"""The public API, a line a name. ``python tests/helpers/api.py`` writes the list."""

import importlib
import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from onnxproof.cli import COMMANDS, app

LISTED = Path(__file__).parents[1] / "contract" / "api.txt"
PLACES = ("onnxproof", "onnxproof.runtime", "onnxproof.errors")


def lines() -> list[str]:
    """A line for each function, class, attribute, method, and command with its options.

    Types are left out: mypy holds them, and Python's versions write them differently.
    """
    found: list[str] = []
    for place in PLACES:
        module = importlib.import_module(place)
        names = getattr(module, "__all__", None) or [name for name in vars(module) if name.endswith("Error")]
        for name in sorted(names):
            found += _lines_of(f"{place}.{name}", getattr(module, name))
    return [*found, *_commands()]


def _lines_of(name: str, value: Any) -> Iterator[str]:
    if inspect.isclass(value):
        bases = ", ".join(base.__name__ for base in value.__bases__ if base is not object)
        yield f"class {name}({bases})" if bases else f"class {name}"
        yield from (f"{name}.{member}" for member in sorted(_members(value)))
    elif callable(value):
        yield f"{name}{_signature(value)}"
    elif not inspect.ismodule(value):
        yield name


def _members(kind: type) -> Iterator[str]:
    """The public attributes and methods of a class that it has from this package."""
    own = [base for base in kind.__mro__ if base.__module__.startswith("onnxproof")]
    names = {name for base in own for name in (*vars(base), *inspect.get_annotations(base))}
    for name in names:
        if name.startswith(("_", "model_")):
            continue
        value = inspect.getattr_static(kind, name, None)
        plain = value.__func__ if isinstance(value, classmethod | staticmethod) else value
        yield f"{name}{_signature(plain)}" if inspect.isfunction(plain) else name


def _signature(value: Any) -> str:
    """The parameters with their kinds and the defaults that are plain values."""
    given = inspect.signature(value)
    bare = [
        parameter.replace(annotation=inspect.Parameter.empty, default=_default(parameter.default))
        for parameter in given.parameters.values()
    ]
    return str(given.replace(parameters=bare, return_annotation=inspect.Signature.empty))


class _Some:
    def __repr__(self) -> str:
        return "..."


def _default(value: Any) -> Any:
    plain = value is inspect.Parameter.empty or isinstance(value, bool | int | float | str | None | tuple)
    return value if plain else _Some()


def _commands() -> Iterator[str]:
    context = click.Context(app)
    for name in COMMANDS:
        command = app.get_command(context, name)
        assert command is not None
        for one in sorted(command.params, key=lambda one: (isinstance(one, click.Option), one.opts)):
            flags = "/".join((*one.opts, *one.secondary_opts))
            yield f"onnxproof {name} {flags if isinstance(one, click.Option) else one.human_readable_name}"


if __name__ == "__main__":
    LISTED.write_text("\n".join(lines()) + "\n", encoding="utf-8")
