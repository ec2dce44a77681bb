"""The mode of a user's module, training or evaluation, which onnxproof leaves as it was."""

import functools
import inspect
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


def keeps_mode(function: Callable[P, R]) -> Callable[P, R]:
    """The function, after which its argument ``module`` or ``model`` and all parts of it are in the mode that
    they were in before. Inside, an export puts them into evaluation mode."""
    names = list(inspect.signature(function).parameters)
    (name,) = {"module", "model"}.intersection(names)
    at = names.index(name)

    @functools.wraps(function)
    def called(*args: P.args, **kwargs: P.kwargs) -> R:
        module: Any = args[at] if at < len(args) else kwargs.get(name)
        if not hasattr(module, "modules"):
            return function(*args, **kwargs)
        before = [(part, part.training) for part in module.modules()]
        try:
            return function(*args, **kwargs)
        finally:
            for part, training in before:
                part.training = training

    return called
