"""Names of places in nested lists and dicts: ``batch.image`` and ``images[0]``.

A module may take its tensors in lists, tuples and dicts, and return them so. A place says where one tensor
is. The names of a file's inputs and outputs follow from it: ``batch_image``, ``images_0``.
"""

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

from onnxproof.errors import RequestError

Step = str | int
"""A key of a dict or the name of a field; or a position in a list or tuple."""

Place = tuple[Step, ...]
"""The steps that lead to a tensor, the outermost first."""

_KEY = re.compile(r"[^.\[\]]+")
_STEP = re.compile(r"\.([^.\[\]]+)|\[(\d+)\]")
_UNUSUAL = re.compile(r"\W+")


def parse_place(text: str) -> Place:
    """Read ``"image"``, ``"batch.image"`` or ``"images[0].left"``. Raises RequestError for any other text."""
    place: list[Step] = []
    rest = f".{text}"
    while rest:
        found = _STEP.match(rest)
        if found is None:
            raise RequestError(
                f'"{text}" is no place of a tensor: expected a name, keys after dots and positions in square '
                'brackets, for example "image", "batch.image" or "images[0]"'
            )
        key, position = found.groups()
        place.append(key if position is None else int(position))
        rest = rest[found.end() :]
    return tuple(place)


def place_text(place: Place) -> str:
    """The inverse of ``parse_place``."""
    steps = (f"[{step}]" if isinstance(step, int) else f".{step}" for step in place)
    return "".join(steps).removeprefix(".")


def leaves(value: Any, place: Place) -> Iterator[tuple[Place, Any]]:
    """The values in nested dicts, lists and tuples that are none of these, each with its place.

    Raises RequestError if one of them is empty, or if a key is no text or holds a dot or a bracket.
    """
    if not isinstance(value, Mapping | list | tuple):
        yield place, value
        return
    if not value:
        raise RequestError(f"{place_text(place)} is empty: leave it out, or name the tensors in it")
    for step, item in value.items() if isinstance(value, Mapping) else enumerate(value):
        if isinstance(value, Mapping) and not (isinstance(step, str) and _KEY.fullmatch(step)):
            raise RequestError(f"{place_text(place)} has the key {step!r}; expected a text without . [ ]")
        yield from leaves(item, (*place, step))


def tree_of(entries: Iterable[tuple[Place, Any]]) -> dict[str, Any]:
    """Nested dicts and lists with each value at its place. The first step of every place is a name.

    Raises RequestError if two values do not go together, or if a list has a gap.
    """
    tree: dict[Step, Any] = {}
    for place, value in entries:
        inner: Any = tree
        for depth, step in enumerate(place[:-1]):
            inner = inner.setdefault(step, {})
            if type(inner) is not dict:
                raise RequestError(
                    f"{place_text(place)} is given, and so is {place_text(place[: depth + 1])}"
                )
        if place[-1] in inner:
            raise RequestError(f"{place_text(place)} is given twice, or with parts of it")
        inner[place[-1]] = value
    return {str(name): _with_lists(item, (name,)) for name, item in tree.items()}


def _with_lists(value: Any, place: Place) -> Any:
    """Dicts of which the keys are positions, as lists."""
    if type(value) is not dict:
        return value
    made = {step: _with_lists(item, (*place, step)) for step, item in value.items()}
    if not any(isinstance(step, int) for step in made):
        return made
    if made.keys() != set(range(len(made))):
        listed = ", ".join(place_text((*place, step)) for step in made)
        raise RequestError(f"{place_text(place)} has {listed}: a list has the positions 0, 1, 2 and so on")
    return [made[at] for at in range(len(made))]


def name_of(place: Place) -> str:
    """The name of a file's input or output at a place: the steps joined by "_".

    What is no letter, digit or underscore becomes an underscore. Exporters refuse a name that starts with a
    digit, so a number in front is preceded by "output".
    """
    name = "_".join(_UNUSUAL.sub("_", str(step)).strip("_") or "_" for step in place)
    return f"output_{name}" if name[:1].isdigit() else name or "output"


def apart(names: Iterable[str], taken: Collection[str] = ()) -> tuple[str, ...]:
    """The names, of which each is changed that comes twice or is among ``taken``.

    A name among ``taken`` gets "output_" in front, the second of two equal ones "_2" behind it.
    """
    given = [f"output_{name}" if name in taken else name for name in names]
    used = {*taken}
    found: list[str] = []
    for at, name in enumerate(given):
        chosen, number = name, 2
        while chosen in used or (chosen != name and chosen in given[at:]):
            chosen, number = f"{name}_{number}", number + 1
        used.add(chosen)
        found.append(chosen)
    return tuple(found)
