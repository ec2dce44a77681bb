"""How long the stages of a prediction took."""

import threading
from dataclasses import dataclass, field


@dataclass(slots=True)
class Timings:
    """Seconds that each stage took, summed over pictures and threads. ``Predictor.stream`` adds to it.

    ``decode`` is from a file to pixels, ``prepare`` from pixels to the model's input, ``run`` is ONNX
    Runtime, and ``decide`` is from its outputs to decisions. Stages that overlap count both.
    """

    decode: float = 0.0
    prepare: float = 0.0
    run: float = 0.0
    decide: float = 0.0
    pictures: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def add(
        self,
        *,
        decode: float = 0.0,
        prepare: float = 0.0,
        run: float = 0.0,
        decide: float = 0.0,
        pictures: int = 0,
    ) -> None:
        """Add seconds, and pictures. Safe to call from several threads."""
        with self._lock:
            self.decode += decode
            self.prepare += prepare
            self.run += run
            self.decide += decide
            self.pictures += pictures
