"""Suggest a known name in place of a wrong one."""

import difflib
from collections.abc import Iterable


def near(name: str, known: Iterable[str], most: int = 1) -> tuple[str, ...]:
    """Up to ``most`` known names that are like this one, the likest first.

    Neither case nor - in place of _ counts.
    """
    plain: dict[str, str] = {}
    for one in known:
        plain.setdefault(_plain(one), one)
    return tuple(plain[one] for one in difflib.get_close_matches(_plain(name), plain, most))


def meant(name: str, known: Iterable[str]) -> str:
    """The end of a message: the nearest known name as a question. Returns "" if none is near."""
    found = near(name, known)
    return f'; did you mean "{found[0]}"?' if found else ""


def _plain(name: str) -> str:
    return name.casefold().replace("-", "_")
