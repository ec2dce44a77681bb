"""How slow work reports its progress, and how long its stages take."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

Progress = Callable[[str, int, int], None]
"""Called with a stage's name, how much of it is done, and how much there is in all (0 if not known)."""

PERCENT = 100
"""How much there is in all of a stage that tells its share of the work."""


def silent(stage: str, done: int, total: int) -> None:
    """A Progress that shows nothing."""


@dataclass(slots=True)
class Stages:
    """A Progress that takes the time of each stage and passes it on."""

    report: Progress
    clock: Callable[[], float] = time.perf_counter
    seconds: dict[str, float] = field(default_factory=dict)
    now: tuple[str, float] | None = None

    def __call__(self, stage: str, done: int, total: int) -> None:
        if self.now is None or self.now[0] != stage:
            self.end()
            self.now = (stage, self.clock())
        self.report(stage, done, total)

    def end(self) -> None:
        """The present stage is over."""
        if self.now is not None:
            stage, began = self.now
            self.seconds[stage] = self.seconds.get(stage, 0.0) + self.clock() - began
            self.now = None
