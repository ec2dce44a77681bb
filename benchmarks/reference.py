"""Write docs/reference.md from the docstrings of the API and the help of the commands.

python benchmarks/reference.py
"""

import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

import onnxproof
from onnxproof.cli import COMMANDS, app

PAGE = Path(__file__).parents[1] / "docs" / "reference.md"
HEAD = """# Reference

After this page you know how each function and command is called. It is made from the docstrings and from the
commands themselves (`python benchmarks/reference.py` writes it). A flag of a command and the argument of the
function have one name: `--onnx` is `onnx=`, `--map a=b` is `map={"a": "b"}`, and each
`--set section.key=value` is an entry of `set=`.
"""


WIDTH = 100


def page() -> str:
    """The whole page."""
    parts = [HEAD, "## Python", *_python(), "## Commands", *_commands()]
    return "\n\n".join(part.strip() for part in parts) + "\n"


def _python() -> Iterator[str]:
    for name in onnxproof.__all__:
        found = getattr(onnxproof, name)
        if inspect.ismodule(found):
            continue
        yield _entry(f"onnxproof.{name}", found, "###")
        if inspect.isclass(found):
            for method, value in _methods(found):
                yield _entry(f"{name}.{method}", value, "####")


def _methods(kind: type) -> Iterator[tuple[str, Any]]:
    for name, value in vars(kind).items():
        plain = value.__func__ if isinstance(value, classmethod) else value
        written = inspect.isfunction(plain) and bool(plain.__doc__) and not name.startswith(("_", "model_"))
        if written and plain.__module__.startswith("onnxproof"):
            yield name, plain


def _entry(name: str, found: Any, heading: str) -> str:
    text = inspect.cleandoc(found.__doc__ or "").replace("``", "`")
    if inspect.isclass(found):
        return f"{heading} `{name}`\n\n{text}"
    return f"{heading} `{name}`\n\n```python\n{name}{_signature(found)}\n```\n\n{text}"


def _signature(function: Any) -> str:
    """The parameters with their defaults; annotations are in the text where they matter."""
    parameters = inspect.signature(function).parameters.values()
    hidden = ("by_checkpoint", "by_graphs", "self", "cls")
    told = [_parameter(one) for one in parameters if one.name not in hidden]
    first = next(
        (at for at, one in enumerate(told) if _kind(parameters, one) is inspect.Parameter.KEYWORD_ONLY), None
    )
    if first is not None:
        told.insert(first, "*")
    line = f"({', '.join(told)})"
    return line if len(line) < 80 else "(\n    " + ",\n    ".join(told) + ",\n)"


def _kind(parameters: Any, told: str) -> Any:
    name = told.partition("=")[0]
    return next(one.kind for one in parameters if one.name == name)


def _parameter(one: inspect.Parameter) -> str:
    if one.default is inspect.Parameter.empty:
        return one.name
    default = one.default
    if callable(default):
        said = default.__name__
    elif repr(default).startswith(("mappingproxy", "ValidateTable")):
        said = "{}"
    else:
        said = repr(default)
    return f"{one.name}={said}"


def _commands() -> Iterator[str]:
    context = click.Context(app, info_name="onnxproof", **app.context_settings)
    for name in COMMANDS:
        command = app.get_command(context, name)
        assert command is not None
        inner = click.Context(
            command, info_name=name, parent=context, terminal_width=100, max_content_width=100
        )
        text = re.sub(r"[ ]+$", "", command.get_help(inner), flags=re.MULTILINE)
        yield f"### `onnxproof {name}`\n\n```text\n{text}\n```"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
