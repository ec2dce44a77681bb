"""How long the stages of the work take."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from onnxproof.progress import Progress


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
