"""What a checkpoint file holds beside its tensors: settings, and stand-ins for objects that were pickled.

An object whose class PyTorch's ``weights_only`` does not know is read as an OrderedDict of its items, whose
attributes are the object's attributes. Its class is not imported, and no code of it runs.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any

from torch import Tensor

STANDS_FOR = "onnxproof stands for"
"""The attribute of a stand-in that has the dotted name of the object's class."""


def class_of(value: object) -> str | None:
    """The dotted name of the class that a stand-in stands for. Returns None for any other value."""
    name: str | None = getattr(value, "__dict__", {}).get(STANDS_FOR)
    return name


DEEPEST = 3
"""How many containers a pickled model may lie in."""


def near_surface(held: Any, wanted: Callable[[Any], bool], depth: int = 0) -> Iterator[Any]:
    """What is ``wanted`` of what a file holds, or of the values in its outer containers."""
    if wanted(held):
        yield held
    elif isinstance(held, Mapping) and depth < DEEPEST:
        for value in held.values():
            yield from near_surface(value, wanted, depth + 1)


def tables_in(held: Any, depth: int = 0) -> Iterator[Mapping[Any, Any]]:
    """The mappings in what a file holds, the outer ones first."""
    if isinstance(held, Mapping) and depth <= DEEPEST:
        yield held
        for value in held.values():
            yield from tables_in(value, depth + 1)


KINDS: Mapping[type, str] = MappingProxyType(
    {
        type(None): "None",
        bool: "a truth value",
        str: "a text",
        list: "a list",
        tuple: "a list",
        dict: "a dict",
    }
)


def kind_of(value: object) -> str:
    """What a value is that is no tensor, in words."""
    named = class_of(value)
    if named is not None:
        return f"an object of {named}"
    if isinstance(value, int | float) and not isinstance(value, bool):
        return "a number"
    return KINDS.get(type(value), f"a {type(value).__name__}")


def without_tensors(held: Any) -> Any:
    """A copy of dicts, lists and stand-ins without the tensors in them. Other values are not copied.

    Returns None for a tensor, and where the objects are nested too deeply to follow.
    """
    try:
        return _kept(held, {})
    except RecursionError:
        return None


def _kept(value: Any, made: dict[int, Any]) -> Any:
    if isinstance(value, Tensor):
        return None
    if id(value) in made:
        return made[id(value)]
    if isinstance(value, Mapping):
        copy: Any = OrderedDict() if class_of(value) is not None else {}
        made[id(value)] = copy
        copy |= {key: _kept(one, made) for key, one in value.items() if not isinstance(one, Tensor)}
        if class_of(value) is not None:
            for name, one in vars(value).items():
                setattr(copy, name, _kept(one, made))
        return copy
    if isinstance(value, list | tuple):
        items: list[Any] = []
        made[id(value)] = items
        items += [_kept(one, made) for one in value if not isinstance(one, Tensor)]
        if isinstance(value, tuple):
            made[id(value)] = tuple(items)
        return made[id(value)]
    return value
