"""Hold the arguments of a public function to the types that its signature states, in words.

Python does not check them. A text is a sequence of its letters, so ``set="export.opset=18"`` would be read
letter by letter, and a number in a path's place would raise a TypeError somewhere inside.
"""

import functools
import inspect
from collections.abc import Callable, Iterable, Mapping
from collections.abc import Sequence as Listed
from numbers import Integral, Real
from os import PathLike, fspath
from types import NoneType, UnionType
from typing import Any, Literal, ParamSpec, TypeVar, Union, get_args, get_origin

from onnxproof.errors import RequestError
from onnxproof.text import meant

P = ParamSpec("P")
R = TypeVar("R")

OWN = "onnxproof"
"""The package whose classes are told apart. Values of others may stand for each other, as arrays do."""

WORDS: Mapping[Any, str] = {
    str: "a text",
    int: "a whole number",
    float: "a number",
    bool: "True or False",
    bytes: "bytes",
    PathLike: "a path",
    Mapping: "a mapping",
    Callable: "a function",
    NoneType: "None",
}
"""What is expected, by the type that a signature states."""
MANY = {"a text": "texts", "a whole number": "whole numbers", "a path": "paths", "a mapping": "mappings"}

SHOWN = 60
"""Characters of a value that a message shows."""


class _OtherError(Exception):
    """A value is not of the type."""


def checks_arguments(function: Callable[P, R]) -> Callable[P, R]:
    """The function, whose arguments are held to the types in its signature before it runs.

    One text or path in place of several is one entry. A path in place of a text is its text. Another value
    that the signature does not allow is a RequestError. Keywords that the function does not have stay
    Python's own TypeError.
    """
    signature = inspect.signature(function)

    @functools.wraps(function)
    def called(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            bound = signature.bind(*args, **kwargs)
        except TypeError:
            return function(*args, **kwargs)
        for name, value in bound.arguments.items():
            bound.arguments[name] = argument(name, value, signature.parameters[name].annotation)
        return function(*bound.args, **bound.kwargs)

    called.__dict__["checks_arguments"] = True
    return called


def argument(name: str, value: Any, stated: Any) -> Any:
    """A value for the argument ``name`` of the type ``stated``. Raises RequestError if it is of another."""
    try:
        held = _held(value, stated)
    except _OtherError as other:
        (told,) = other.args
        near = meant(told, _choices(stated)) if isinstance(told, str) else ""
        said = "is" if told is value else "holds"
        raise RequestError(f"{name} {said} {_shown(told)}, expected {_words(stated)}{near}") from None
    if isinstance(held, str | PathLike) and "\0" in str(held):
        raise RequestError(f"{name} holds a null character: mend it")
    return held


def _held(value: Any, stated: Any) -> Any:
    origin = get_origin(stated)
    if origin in (Union, UnionType):
        return _of_any(value, stated)
    if origin is Literal:
        return _if(isinstance(value, str) and value in get_args(stated), value)
    if origin in (Listed, Iterable):
        return _several(value, get_args(stated)[0])
    if origin is Mapping:
        return _if(isinstance(value, Mapping), value)
    if origin is Callable:
        return _if(callable(value), value)
    if origin is PathLike:
        return _if(isinstance(value, PathLike), value)
    if stated is str and isinstance(value, PathLike):
        return fspath(value)
    if stated in (int, float):
        kind = Integral if stated is int else Real
        return _if(isinstance(value, kind) and not isinstance(value, bool), value)
    if stated is bool:
        return _if(type(value).__name__ in ("bool", "bool_"), value)
    return _if(not _is_told_apart(stated) or isinstance(value, stated), value)


def _of_any(value: Any, stated: Any) -> Any:
    """A value of one of several types, the first that it fits."""
    inner: _OtherError | None = None
    # A path that fits as it is stays one, and a text that does is no entry of a list.
    for kind in sorted(get_args(stated), key=_order):
        try:
            return _held(value, kind)
        except _OtherError as other:
            inner = inner if other.args[0] is value else other
    raise _OtherError(value if inner is None else inner.args[0])


def _order(kind: Any) -> int:
    return 2 if get_origin(kind) in (Listed, Iterable) else int(kind is str)


def _several(value: Any, kind: Any) -> Any:
    """The entries of a sequence. One text or path is one entry; other iterables are taken as they are."""
    if isinstance(value, str | PathLike):
        return (_held(value, kind),)
    if isinstance(value, bytes | bytearray | Mapping) or not isinstance(value, Iterable):
        raise _OtherError(value)
    return tuple(_held(one, kind) for one in value)


def _if(fits: bool, value: Any) -> Any:
    if not fits:
        raise _OtherError(value)
    return value


def _is_told_apart(stated: Any) -> bool:
    return stated in (str, bytes, NoneType) or (
        isinstance(stated, type)
        and stated.__module__.partition(".")[0] == OWN
        and not getattr(stated, "_is_protocol", False)
    )


def _choices(stated: Any) -> tuple[str, ...]:
    """The texts that a type allows, if it names them."""
    if get_origin(stated) is Literal:
        return get_args(stated)
    kinds = get_args(stated) if get_origin(stated) in (Union, UnionType) else ()
    return tuple(choice for kind in kinds for choice in _choices(kind))


def _words(stated: Any) -> str:
    """A type as a message names it."""
    origin = get_origin(stated)
    if origin in (Union, UnionType):
        words = list(dict.fromkeys(_words(kind) for kind in get_args(stated)))
        if "a path" in words and "a text" in words:
            words.remove("a text")  # a path may be given as either
        return " or ".join(filter(None, (", ".join(words[:-1]), words[-1])))
    if origin is Literal:
        choices = get_args(stated)
        return f"one of {', '.join(choices)}" if len(choices) > 1 else f'"{choices[0]}"'
    if origin in (Listed, Iterable):
        each = _words(get_args(stated)[0])
        return f"a list of {MANY.get(each, each)}"
    return WORDS.get(origin or stated) or f"a {getattr(stated, '__name__', stated)}"


def _shown(value: Any) -> str:
    """A value as a message shows it: short ones as they are, others by their type."""
    if isinstance(value, str):
        return f'"{value[:SHOWN]}"'
    if value is None or isinstance(value, bool | int | float):
        return str(value)
    if isinstance(value, list | tuple | dict) and len(told := str(value)) <= SHOWN:
        return told
    return f"a {type(value).__name__}"
