"""The user's own table of translations: ``export.custom_ops``."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from onnxproof.errors import JobError
from onnxproof.wrappers.builder import load_named


def custom_ops(reference: str, folder: Path) -> dict[Any, Callable[..., Any]]:
    """The table that ``package.module:TABLE`` or ``file.py:TABLE`` names.

    A file's path is relative to ``folder``. Raises JobError if there is no such table, or if an entry is not
    an operator of torch and a function; UserCodeError if importing raises.
    """
    key = f'export.custom_ops = "{reference}"'
    found = load_named(reference, folder, "export.custom_ops", "TABLE")
    if not isinstance(found, Mapping):
        raise JobError(
            f"{key} is a {type(found).__name__}; expected a dict of torch's operators to functions"
        )
    for operator, translation in found.items():
        if isinstance(operator, torch._ops.OpOverloadPacket):
            names: Any = operator.overloads
            overloads = ", ".join(f"torch.ops.{operator}.{name}" for name in names())
            raise JobError(f"{key}: {operator} is several operators; name one of them: {overloads}")
        if not isinstance(operator, torch._ops.OpOverload):
            raise JobError(
                f"{key}: the key {operator!r} is a {type(operator).__name__}; expected an operator, such as "
                "torch.ops.aten.relu.default"
            )
        if not callable(translation):
            raise JobError(
                f"{key}: the value of {operator} is a {type(translation).__name__}; expected a function that "
                "takes the operator's arguments and returns what onnxscript makes of them"
            )
    return dict(found)
