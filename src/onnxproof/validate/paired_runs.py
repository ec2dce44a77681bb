"""Runs of a file from elsewhere and of a model, on the same pictures."""

from collections.abc import Collection
from typing import Any

from onnxproof.errors import OnnxproofError
from onnxproof.validate.legs.leg import Leg
from onnxproof.validate.likeness import Arrays
from onnxproof.validate.views import View


class PairedRuns:
    """Runs of the file and of the model, each input once. ``without`` are outputs of the model that the file
    need not return."""

    def __init__(self, leg: Leg, reference: Leg, without: Collection[str] = ()) -> None:
        self.leg, self.reference, self.without = leg, reference, without
        self.theirs: dict[Any, Arrays | None] = {}
        self.ours: dict[Any, Arrays] = {}

    def of(self, key: tuple[int, View | None], fed: Arrays, meant: Arrays) -> tuple[Arrays | None, Arrays]:
        """What the file returns, None if it does not run on this, and what the model returns."""
        number, view = key
        there = (number, None if view is None else view.feeds)
        here = (number, None if view is None else view.inner_gets)
        if there not in self.theirs:
            self.theirs[there] = self._run(fed)
        if here not in self.ours:
            outputs = self.reference.run(meant).outputs
            self.ours[here] = {name: one for name, one in outputs.items() if name not in self.without}
        return self.theirs[there], self.ours[here]

    def _run(self, inputs: Arrays) -> Arrays | None:
        try:
            return {name: one for name, one in self.leg.run(inputs).outputs.items() if hasattr(one, "ndim")}
        except OnnxproofError:
            raise
        except Exception:  # noqa: BLE001 - ONNX Runtime raises many types
            return None
