"""Reasons as a table can show them."""

import re

COLOURS = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
FOLDERS = (
    re.compile(r"/\S*/(?:site-packages/|(?=benchmarks/))"),
    re.compile(r"(?<![\w.])/\S*/(?=[\w.-]+\.(?:onnx|py)\b)"),
)
"""Where a machine keeps its packages, and its files."""

LONGEST = 600
"""Characters of a reason that are kept."""


def plain(text: str, longest: int = LONGEST) -> str:
    """A text on one line, without colours and a machine's folders, not longer than ``longest``."""
    text = COLOURS.sub("", text)
    for folder in FOLDERS:
        text = folder.sub("", text)
    text = " ".join(text.split())
    return text if len(text) <= longest else f"{text[:longest].rpartition(' ')[0]} …"


def cause(error: BaseException) -> str:
    """The class and the first paragraph of what an exporter's error goes back to."""
    while error.__cause__ is not None:
        error = error.__cause__
    return f"{type(error).__name__}: {str(error).strip().partition(chr(10) * 2)[0]}"
