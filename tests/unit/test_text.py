"""Text from files as it is shown, and JSON that every parser takes."""

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onnxproof.text import json_text, one_line, printable

ANY_TEXT = st.text(st.characters(codec=None, exclude_categories=()))
ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | ANY_TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(ANY_TEXT, inner, max_size=3),
    max_leaves=8,
)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        pytest.param("plain, é 漢字 🙂", "plain, é 漢字 🙂", id="letters-stay"),
        pytest.param("\x1b[2J\x07", r"\x1b[2J\x07", id="escape-sequences"),
        pytest.param("\x9b1m", r"\x9b1m", id="controls-of-eight-bits"),
        pytest.param("a\u202eb\u2066", r"a\u202eb\u2066", id="directions"),
        pytest.param("\ud800", r"\ud800", id="a-lone-surrogate"),
        pytest.param("a\nb\tc\r", "a\nb\\tc\\r", id="a-line-feed-stays"),
    ],
)
def test_what_steers_a_terminal_is_written_out(text: str, shown: str) -> None:
    assert printable(text) == shown


def test_one_line_has_no_line_feed() -> None:
    assert one_line("a\nb") == r"a\nb"


@given(ANY_TEXT)
def test_all_that_is_shown_is_utf8_without_controls(text: str) -> None:
    shown = one_line(text)
    shown.encode()
    assert not any(ord(letter) < 32 or 127 <= ord(letter) < 160 for letter in shown)


@given(ANY_JSON)
def test_json_is_utf8_and_reads_as_it_was(document: Any) -> None:
    assert json.loads(json_text(document).encode()) == document


def test_numbers_that_json_has_not_are_null() -> None:
    document = {"a": [math.nan, 1.5, (-math.inf,)], "b": math.inf}
    assert json.loads(json_text(document)) == {"a": [None, 1.5, [None]], "b": None}
