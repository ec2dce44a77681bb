"""The pictures that predict is given: files, folders, patterns, URLs, and names on standard input."""

import sys
from collections.abc import Sequence
from pathlib import Path

from onnxproof.errors import RequestError
from onnxproof.many import listing
from onnxproof.runtime.remote import Place, RemotePicture, is_url

STANDARD_INPUT = "-"


def pictures_named(given: Sequence[str]) -> tuple[Place, ...]:
    """The pictures that the arguments name, in their order; "-" stands for names on standard input.

    Raises RequestError if one of them names nothing.
    """
    return tuple(
        place
        for one in given
        for place in (_on_standard_input() if one == STANDARD_INPUT else listing.pictures_named([one]))
    )


def several(given: Sequence[str]) -> bool:
    """Whether the arguments may name more than one picture."""
    return STANDARD_INPUT in given or listing.several(given)


def _on_standard_input() -> Sequence[Place]:
    """One picture a line, by path or URL; lines are no patterns."""
    named = [line for line in sys.stdin.read().splitlines() if line.strip()]
    if not named:
        raise RequestError("standard input names no picture: expected one path a line")
    return [RemotePicture(line) if is_url(line) else Path(line) for line in named]
