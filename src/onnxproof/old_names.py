"""Keywords that functions of the package had before they were called as on the command line."""

import functools
import inspect
import warnings
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")

OLD_NAMES: Mapping[str, str] = MappingProxyType({"overrides": "set", "onnx_file": "onnx"})


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
