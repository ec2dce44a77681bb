"""Text for people: made safe to print, JSON documents as text, and a known name in place of a wrong one."""

import difflib
import json
import math
import re
from collections.abc import Iterable
from typing import Any

_UNSAFE = "[\x00-\x09\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
"""Control characters except the line feed, marks that change the direction of text (Unicode TR 36, 3.6),
line separators, and lone surrogates, which UTF-8 cannot encode."""

_UNSAFE_IN_JSON = "[\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
"""Those of them that ``json.dumps`` leaves as they are."""


def printable(text: str) -> str:
    r"""The text with characters that could control a terminal escaped, such as \x1b or \u202e.

    Line feeds stay. For text that must stay on one line there is ``one_line``.
    """
    return re.sub(_UNSAFE, lambda found: repr(found[0])[1:-1], text)


def one_line(text: str) -> str:
    r"""As ``printable``, with line feeds escaped as \n, too."""
    return printable(text).replace("\n", "\\n")


def json_text(document: Any, *, indent: int | None = 2) -> str:
    """A JSON document as text that is safe for every parser and every terminal.

    NaN and infinities, which JSON does not have, become null. Characters that could control a terminal, and
    lone surrogates, get JSON's own escapes, so that a parser reads the same strings.
    """
    try:
        text = json.dumps(document, indent=indent, ensure_ascii=False, allow_nan=False)
    except ValueError:
        text = json.dumps(_finite(document), indent=indent, ensure_ascii=False, allow_nan=False)
    return re.sub(_UNSAFE_IN_JSON, lambda found: f"\\u{ord(found[0]):04x}", text)


def _finite(value: Any) -> Any:
    """The document with null in place of numbers that are not finite."""
    if isinstance(value, dict):
        return {key: _finite(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def near(name: str, known: Iterable[str], most: int = 1) -> tuple[str, ...]:
    """Up to ``most`` known names that are like this one, the likest first.

    Neither case nor - in place of _ counts.
    """
    plain: dict[str, str] = {}
    for one in known:
        plain.setdefault(_folded(one), one)
    return tuple(plain[one] for one in difflib.get_close_matches(_folded(name), plain, most))


def meant(name: str, known: Iterable[str]) -> str:
    """The end of a message: the nearest known name as a question. Returns "" if none is near."""
    found = near(name, known)
    return f'; did you mean "{found[0]}"?' if found else ""


def _folded(name: str) -> str:
    return name.casefold().replace("-", "_")
