"""JSON documents, read strictly: every value is checked when it is read, and an error names its key.

``Entry`` is one value of a document and the key that leads to it. Its methods return the value as the type
that the caller expects, or raise ModelFileError, which says what was got and what was expected.
"""

import json
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from onnxproof.errors import ModelFileError, RequestError
from onnxproof.system.parsed import UnreadableError, parse_json

LARGEST_WHOLE = 2**31 - 1
"""The largest whole number that our documents need: sizes, counts and indices all lie below it."""

LARGEST_NUMBER = 3.4028235e38
"""The largest magnitude of a number: float32's, since the numbers are used in float32."""

SHOWN = 40
"""How many characters of a value an error shows."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A value of a JSON document, and the ``key`` that leads to it, such as ``inputs[0].shape[2]``."""

    value: Any
    key: str = "the document"

    def refused(self, expected: str) -> ModelFileError:
        """The error for a value that is not what is ``expected``."""
        return ModelFileError(f"{self.key} is {_shown(self.value)}, expected {expected}")

    def text(self, choices: Sequence[str] = ()) -> str:
        """A text that is not empty. If there are ``choices``, it is one of them."""
        value = self.value
        if isinstance(value, str) and not _encodes(value):
            raise self.refused("a text without halves of surrogate pairs")
        if not isinstance(value, str) or not value:
            raise self.refused(f"one of {', '.join(choices)}" if choices else "a text that is not empty")
        if choices and value not in choices:
            raise self.refused(f"one of {', '.join(choices)}")
        return value

    def words(self) -> str:
        """A text that may be empty."""
        return "" if self.value == "" and isinstance(self.value, str) else self.text()

    def whole(self, least: int = 0, most: int = LARGEST_WHOLE) -> int:
        """A whole number from ``least`` to ``most``. True and false are refused."""
        value = self.value
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            raise self.refused(
                f"a whole number from {least} {f'to {most}' if most < LARGEST_WHOLE else 'up'}"
            )
        if value > most:
            raise self.refused(f"a whole number from {least} to {most}")
        return value

    def number(self, least: float = -LARGEST_NUMBER, most: float = LARGEST_NUMBER) -> float:
        """A number from ``least`` to ``most``, as an int if it was written as one. NaN is refused."""
        value = self.value
        if not isinstance(value, int | float) or isinstance(value, bool) or not least <= value <= most:
            raise self.refused(f"a number from {least:g} to {most:g}")
        return value

    def flag(self) -> bool:
        """True or false."""
        if not isinstance(self.value, bool):
            raise self.refused("true or false")
        return self.value

    def entries(self, count: int | None = None) -> tuple["Entry", ...]:
        """The entries of a list. If ``count`` is given, there must be as many."""
        if not isinstance(self.value, list) or (count is not None and len(self.value) != count):
            raise self.refused("a list" if count is None else f"a list of {count}")
        return tuple(Entry(value, f"{self.key}[{index}]") for index, value in enumerate(self.value))

    def table(self, required: Sequence[str], optional: Sequence[str] = ()) -> dict[str, "Entry"]:
        """The entries of an object by key. It must have all ``required`` keys, may have the ``optional``
        ones, and must have no others."""
        if not isinstance(self.value, dict):
            raise self.refused(f"an object with the keys {', '.join(required) or ', '.join(optional)}")
        found = self.free_table()
        missing = [key for key in required if key not in found]
        if missing:
            raise ModelFileError(f"{self.key} lacks the key '{missing[0]}'")
        unknown = [key for key in found if key not in required and key not in optional]
        if unknown:
            known = ", ".join((*required, *optional)) or "none"
            raise ModelFileError(f"{self.key} has the unknown key {_shown(unknown[0])}, expected: {known}")
        return found

    def free_table(self) -> dict[str, "Entry"]:
        """The entries of an object by key, whatever its keys are."""
        if not isinstance(self.value, dict):
            raise self.refused("an object")
        return {key: Entry(value, self._under(key)) for key, value in self.value.items()}

    def require_format(self, expected: int) -> None:
        """Refuse an object whose key "format" is another number than expected."""
        found = self.free_table().get("format", Entry(None)).value
        if found != expected or isinstance(found, bool):
            raise ModelFileError(
                f"its format is {found!a:.40}, expected {expected}: read it with the onnxproof that wrote it"
            )

    def require_json(self) -> None:
        """Refuse a number that is not finite or a text that does not encode, at any depth."""
        value = self.value
        if isinstance(value, dict):
            for key, entry in self.free_table().items():
                Entry(key, entry.key).words()
                entry.require_json()
        elif isinstance(value, list):
            for entry in self.entries():
                entry.require_json()
        elif isinstance(value, str):
            self.words()
        elif isinstance(value, float) and not math.isfinite(value):
            raise self.refused("a finite number")

    @contextmanager
    def naming(self) -> Iterator[None]:
        """Turn a RequestError of a value's constructor into a ModelFileError that names the key."""
        try:
            yield
        except ModelFileError:
            raise
        except RequestError as error:
            raise ModelFileError(f"{self.key} is {_shown(self.value)}: {error}") from error

    def _under(self, key: str) -> str:
        shown = key if _encodes(key) else repr(key)
        return shown if self.key == Entry.__dataclass_fields__["key"].default else f"{self.key}.{shown}"


def read_json(text: str) -> Entry:
    """The document that ``text`` holds. Raises ModelFileError if it is no JSON, is nested too
    deeply, or holds a number that is too long."""
    try:
        return Entry(parse_json(text))
    except UnreadableError as error:
        raise ModelFileError(str(error)) from error
    except ValueError as error:
        raise ModelFileError(f"it is no JSON ({error})") from error


def _encodes(text: str) -> bool:
    """Whether the text can be written as UTF-8. Text with half of a surrogate pair cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _shown(value: Any) -> str:
    """The value as an error shows it, cut short."""
    if isinstance(value, dict | list):
        return f"{'an object' if isinstance(value, dict) else 'a list'} of {len(value)}"
    try:
        text = json.dumps(value)
    except (TypeError, ValueError):  # not a JSON value, or an int with too many digits to print
        text = type(value).__name__
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"
