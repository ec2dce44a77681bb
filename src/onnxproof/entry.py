"""What the package's functions share: keywords by their old names, and modules that keep their mode."""

import functools
import inspect
import warnings
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")

OLD_NAMES: Mapping[str, str] = MappingProxyType({"overrides": "set", "onnx_file": "onnx"})
"""Keywords that functions had before they were called as on the command line."""


def takes_old_names(function: Callable[P, R]) -> Callable[P, R]:
    """The function, which takes a keyword by its old name, too, with a DeprecationWarning."""
    parameters = inspect.signature(function).parameters
    known = {old: new for old, new in OLD_NAMES.items() if new in parameters}

    @functools.wraps(function)
    def called(*args: P.args, **kwargs: P.kwargs) -> R:
        for old, new in known.items():
            if old in kwargs and new not in kwargs:
                message = f"{function.__name__}({old}=…) is {function.__name__}({new}=…) now"
                warnings.warn(message, DeprecationWarning, stacklevel=2)
                kwargs[new] = kwargs.pop(old)
        return function(*args, **kwargs)

    return called


def keeps_mode(function: Callable[P, R]) -> Callable[P, R]:
    """The function, after which its argument ``module`` or ``model`` and all parts of it are in the mode that
    they were in before: it is the user's. Inside, an export puts them into evaluation mode."""
    names = list(inspect.signature(function).parameters)
    (name,) = {"module", "model"}.intersection(names)
    at = names.index(name)

    @functools.wraps(function)
    def called(*args: P.args, **kwargs: P.kwargs) -> R:
        module: Any = args[at] if at < len(args) else kwargs.get(name)
        if isinstance(module, type) or not hasattr(module, "modules"):
            return function(*args, **kwargs)
        before = [(part, part.training) for part in module.modules()]
        try:
            return function(*args, **kwargs)
        finally:
            for part, training in before:
                part.training = training

    return called
