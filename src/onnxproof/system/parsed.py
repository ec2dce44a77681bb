"""JSON and TOML that may be anything: whatever is wrong with a text is a ValueError.

Python's own readers also raise RecursionError, for what is nested too deeply, and return what is nested so
deeply that another function raises it later.
"""

import json
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from onnxproof.system.foreign import MOST_READ, read_foreign

DEEPEST = 100
"""The deepest nesting that is read: about ten times that of any document of ours."""


class UnreadableError(ValueError):
    """A text is not refused for its grammar, but for its nesting, or for a number that is too long."""


def parse_json(text: str | bytes) -> Any:
    """As ``json.loads``. Raises ValueError, whatever is wrong."""
    return _guarded(json.loads, text)


def parse_toml(text: str) -> dict[str, Any]:
    """As ``tomllib.loads``. Raises ValueError, whatever is wrong."""
    found: dict[str, Any] = _guarded(tomllib.loads, text)
    return found


def json_in(file: Path, most: int = MOST_READ) -> Any:
    """What a JSON file holds. Raises OSError as ``read_foreign`` does, and ValueError, whatever is wrong."""
    return parse_json(read_foreign(file, most))


def toml_in(file: Path, most: int = MOST_READ) -> dict[str, Any]:
    """What a TOML file holds. Raises OSError as ``read_foreign`` does, and ValueError, whatever is wrong."""
    return parse_toml(read_foreign(file, most).decode("utf-8-sig"))  # some editors write a mark


def require_shallow(value: Any) -> None:
    """Raise UnreadableError if lists and tables are nested deeper than ``DEEPEST``."""
    level = [value]
    for _ in range(DEEPEST + 1):
        level = [
            part
            for one in level
            for part in (one.values() if isinstance(one, dict) else one)
            if isinstance(part, dict | list)
        ]
        if not level:
            return
    raise UnreadableError(f"it is nested too deeply to be read, over {DEEPEST} levels")


def _guarded(parse: Callable[[Any], Any], text: Any) -> Any:
    try:
        found = parse(text)
    except RecursionError as error:
        raise UnreadableError(f"it is nested too deeply to be read, over {DEEPEST} levels") from error
    except (json.JSONDecodeError, tomllib.TOMLDecodeError, UnicodeDecodeError):
        raise
    except ValueError as error:  # Python's limit, which its message tells how to raise
        digits = sys.get_int_max_str_digits()
        raise UnreadableError(f"it holds a number of more than {digits:,} digits") from error
    if isinstance(found, dict | list):
        require_shallow(found)
    return found
