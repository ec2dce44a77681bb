"""Notes and reasons as people read them. parity.json keeps them as they are."""

import re
from collections import Counter
from collections.abc import Iterable

HEADS = re.compile(r"(?<![\w./\\-])(?:module\.)+(?=\w+\.\w)(?!(?:py|onnx|pt|pth|safetensors)\b)")
"""The path of the user's module inside the wrappers, in front of a path of the module's own."""


def bare(path: str) -> str:
    """A module's path as the user's own module has it, from its path in the wrapped module."""
    while path.startswith("module."):
        path = path.removeprefix("module.")
    return path


def for_people(text: str) -> str:
    """The text with module paths as the user's own module has them: ``head.conv`` for
    ``module.module.head.conv``."""
    return HEADS.sub("", text)


def folded(texts: Iterable[str]) -> tuple[str, ...]:
    """Each text once, in the order in which they first come, with a count where it comes more often."""
    counts = Counter(map(for_people, texts))
    return tuple(f"{text} ({count} times)" if count > 1 else text for text, count in counts.items())
