"""Fits a file's inputs, and plain values, into the arguments of a module's ``forward``."""

import contextlib
import inspect
import types
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, Union

from onnxproof.errors import JobError, RequestError
from onnxproof.structure import Place, parse_place, tree_of

Kind = inspect.Parameter

NAMED = (Kind.POSITIONAL_OR_KEYWORD, Kind.KEYWORD_ONLY)
FIELD_MARKS = ("__dataclass_fields__", "_fields", "__attrs_attrs__", "model_fields")
"""What a dataclass, a named tuple and the classes of attrs and pydantic have."""

IN_ORDER = (Kind.POSITIONAL_ONLY, Kind.POSITIONAL_OR_KEYWORD)


@dataclass(frozen=True, slots=True)
class _Input:
    """Stands in the arguments for the input of this number."""

    number: int


@dataclass(frozen=True, slots=True)
class _Constant:
    """Stands in the arguments for a plain value."""

    value: Any


@dataclass(frozen=True, slots=True)
class _Slot:
    """Where one argument goes: by position if ``keyword`` is None. ``hint`` is the parameter's annotation."""

    keyword: str | None
    hint: Any
    tree: Any


@dataclass(frozen=True, slots=True)
class Arguments:
    """How the inputs become the arguments of ``forward``."""

    slots: tuple[_Slot, ...]

    def fill(self, values: Sequence[Any]) -> tuple[list[Any], dict[str, Any]]:
        """The positional arguments, and those by name. ``values`` are in the order of the inputs."""
        made = [(slot.keyword, _made(slot.tree, slot.hint, values)) for slot in self.slots]
        plain = [value for keyword, value in made if keyword is None]
        return plain, {keyword: value for keyword, value in made if keyword is not None}


def fit_arguments(
    forward: Callable[..., Any], places: Sequence[str], constants: Mapping[str, Any]
) -> Arguments:
    """Find for each input its place in the arguments of ``forward``.

    ``places`` are as in "image", "batch.image" and "images[0]". ``constants`` are plain values by the same
    kind of place. An argument with the name of a parameter is passed by that name. Another input is passed by
    position while there is one left, else by its own name, if ``forward`` has a ``**kwargs``.

    Raises JobError if ``forward`` has no parameter for an argument, or needs one that is not given.
    """
    entries = [(parse_place(text), _Input(number)) for number, text in enumerate(places)]
    try:
        tree = tree_of([*entries, *_constants(constants)])
    except RequestError as error:
        raise JobError(f"[inputs] and [arguments]: {error}") from error
    inputs = {place[0] for place, _ in entries}
    parameters, hints = _parameters(forward)
    if parameters is None:  # a function of C or of TorchScript does not tell its parameters
        return Arguments(tuple(_Slot(None, None, tree[name]) for name in tree))
    named = {name for name in tree if name in parameters and parameters[name].kind in NAMED}
    free = [one for one in parameters.values() if one.kind in IN_ORDER and one.name not in named]
    rest = next((one.name for one in parameters.values() if one.kind is Kind.VAR_POSITIONAL), None)
    open_names = any(one.kind is Kind.VAR_KEYWORD for one in parameters.values())
    slots: list[_Slot] = []
    for name, value in tree.items():
        if name in named:
            slots.append(_Slot(name, hints.get(name), value))
        elif free and name in inputs:
            slot = free.pop(0)
            keyword = None if slot.kind is Kind.POSITIONAL_ONLY else slot.name
            slots.append(_Slot(keyword, hints.get(slot.name), value))
        elif rest is not None and name in inputs:
            items = value if name == rest and isinstance(value, list) else [value]
            slots += (_Slot(None, hints.get(rest), item) for item in items)
        elif open_names:
            slots.append(_Slot(name, None, value))
        else:
            where = "inputs" if name in inputs else "arguments"
            raise JobError(f"{where}.{name}: the module's forward takes {_told(parameters)}")
    needed = [one.name for one in free if one.default is Kind.empty]
    needed += [
        one.name
        for one in parameters.values()
        if one.kind is Kind.KEYWORD_ONLY and one.default is Kind.empty and one.name not in named
    ]
    if needed:
        raise JobError(
            f"the module's forward needs {needed[0]}: give it in [inputs] if it is a tensor, in [arguments] "
            f"if it is a plain value (forward takes {_told(parameters)})"
        )
    if rest is not None:
        slots = _in_order(slots, parameters)
    return Arguments(tuple(slots))


def _in_order(slots: Sequence[_Slot], parameters: Mapping[str, Kind]) -> list[_Slot]:
    """The slots with those of named parameters by position, where others follow by position."""
    if all(slot.keyword is not None for slot in slots):
        return list(slots)
    by_name = {slot.keyword: slot for slot in slots if slot.keyword is not None}
    in_order = [one.name for one in parameters.values() if one.kind in IN_ORDER and one.name in by_name]
    front = [replace(by_name[name], keyword=None) for name in in_order]
    return [*front, *(slot for slot in slots if slot.keyword not in in_order)]


def _constants(constants: Mapping[str, Any]) -> Iterator[tuple[Place, _Constant]]:
    """Plain values with their places. Those in a dict have places of their own, so that tensors may stand
    beside them."""

    def inside(value: Any, place: Place) -> Iterator[tuple[Place, _Constant]]:
        if isinstance(value, Mapping) and value:
            for key, item in value.items():
                yield from inside(item, (*place, str(key)))
        else:
            yield place, _Constant(value)

    for text, value in constants.items():
        yield from inside(value, parse_place(text))


def _parameters(forward: Callable[..., Any]) -> tuple[Mapping[str, Kind] | None, Mapping[str, Any]]:
    """The parameters of a function, and their annotations. None if it does not tell."""
    try:
        parameters = inspect.signature(forward).parameters
    except (TypeError, ValueError):
        return None, {}
    hints: Mapping[str, Any] = {}
    # Annotations are evaluated, and may name what is not imported, or raise anything else.
    with contextlib.suppress(Exception):
        hints = typing.get_type_hints(forward)
    return parameters, hints


def _told(parameters: Mapping[str, Kind]) -> str:
    stars: dict[Any, str] = {Kind.VAR_POSITIONAL: "*", Kind.VAR_KEYWORD: "**"}
    return f"({', '.join(stars.get(one.kind, '') + one.name for one in parameters.values())})"


def _made(tree: Any, hint: Any, values: Sequence[Any]) -> Any:
    """The argument, with lists and dicts as the annotation wants them."""
    if isinstance(tree, _Input):
        return values[tree.number]
    if isinstance(tree, _Constant):
        return _as_hinted(tree.value, hint)
    if isinstance(tree, dict):
        fields = _fields(_class_for_dict(hint))
        inner = _item_hint(hint)
        return _as_hinted(
            {name: _made(item, fields.get(name, inner), values) for name, item in tree.items()}, hint
        )
    return _as_hinted([_made(item, _item_hint(hint, at), values) for at, item in enumerate(tree)], hint)


def _as_hinted(value: Any, hint: Any) -> Any:
    """A list as a tuple, or a dict as a dataclass, if the annotation says so."""
    if isinstance(value, dict):
        kind = _class_for_dict(hint)
        return value if kind is None else kind(**value)
    if isinstance(value, list):
        for one in _alternatives(hint):
            kind = typing.get_origin(one) or one
            if isinstance(kind, type) and issubclass(kind, tuple):
                return kind(*value) if hasattr(kind, "_fields") else tuple(value)
    return value


def _alternatives(hint: Any) -> tuple[Any, ...]:
    """The types that an annotation allows, without None."""
    origin = typing.get_origin(hint)
    if origin is Annotated:
        return _alternatives(typing.get_args(hint)[0])
    if origin in (Union, types.UnionType):
        return tuple(one for arg in typing.get_args(hint) for one in _alternatives(arg))
    return () if hint is None or hint is type(None) else (hint,)


def _class_for_dict(hint: Any) -> Any:
    """The class that a dict is made into: the first that the annotation names and that has named fields.

    Returns None for a dict.
    """
    for one in _alternatives(hint):
        if isinstance(one, type) and any(hasattr(one, mark) for mark in FIELD_MARKS):
            return one
    return None


def _fields(kind: Any) -> Mapping[str, Any]:
    found: Mapping[str, Any] = {}
    if kind is not None:
        with contextlib.suppress(Exception):  # as in _parameters
            found = typing.get_type_hints(kind)
    return found


def _item_hint(hint: Any, position: int = 0) -> Any:
    """The annotation of the items of a list, tuple or dict."""
    for one in _alternatives(hint):
        arguments = [arg for arg in typing.get_args(one) if arg is not Ellipsis]
        if typing.get_origin(one) is tuple and len(arguments) > 1:
            return arguments[position] if position < len(arguments) else None
        if arguments:
            return arguments[-1]
    return None
