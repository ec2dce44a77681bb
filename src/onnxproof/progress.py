"""How slow work reports its progress."""

from collections.abc import Callable

Progress = Callable[[str, int, int], None]
"""Called with a stage's name, how much of it is done, and how much there is in all (0 if not known)."""

PERCENT = 100
"""How much there is in all of a stage that tells its share of the work."""


def silent(stage: str, done: int, total: int) -> None:
    """A Progress that shows nothing."""
