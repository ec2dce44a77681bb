"""A file more in a package of ours, and the three files of a made-up task: points above a threshold."""

import sys
from pathlib import Path
from types import ModuleType

import pytest

TASK = '''
"""Points: those that score above a threshold."""
from dataclasses import dataclass
from onnxproof.runtime.readings.adjustable import Adjustable, output_names, setting

@dataclass(frozen=True, slots=True)
class Points(Adjustable):
    decode: str
    score_threshold: float

    def to_json(self):
        names = list(self.outputs)
        return {"decode": self.decode, "outputs": names, "score_threshold": self.score_threshold}

class _Points:
    name = "points"
    summary = "Points: those that score above a threshold."
    decides = True
    needs_all = True

    def reading(self, entry):
        keys = entry.table(("decode", "outputs", "score_threshold"))
        return Points(output_names(keys, 1), keys["decode"].text(), setting(keys, "score_threshold"))

    def evidence(self, outputs, sizes, reading, margins):
        return tuple(outputs[reading.outputs[0]])

    def decide(self, evidence, reading):
        return (evidence > reading.score_threshold).nonzero()[0].tolist()

TASK = _Points()
'''

COMPARER = '''
"""Points, compared as sets."""
from onnxproof.validate.compare.comparer import Comparison, Finding

class _Points:
    def quantities(self, evidence):
        return {"score": evidence}

    def thin(self, reference, candidate, reading):
        return reference, candidate

    def differ(self, reference, candidate):
        return reference != candidate

    def compare(self, reference, candidate, reading, bounds):
        above = [leg > reading.score_threshold for leg in (reference, candidate)]
        wanted, found = (set(mask.nonzero()[0].tolist()) for mask in above)
        ties, defects = [], []
        for point in sorted(wanted ^ found):
            near = abs(reference[point] - reading.score_threshold) <= bounds["score"]
            (ties if near else defects).append(Finding(f"point {point}", "its score"))
        return Comparison(len(wanted & found), tuple(ties), tuple(defects))

    def margins(self, evidence, decisions, reading):
        return {"score": abs(evidence - reading.score_threshold)}

    def count(self, decisions):
        return len(decisions)

COMPARER = _Points()
'''

HEAD = '''
"""Points, behind a module that returns their scores."""
from onnxproof.runtime.tasks.points import Points
from onnxproof.tensors import Field, TensorSpec
from onnxproof.wrappers.head import Headed

class _Points:
    name = "points"
    decodes = ("peaks", "heatmaps")

    def attach(self, bare, decode, validation):
        (found,) = bare.outputs
        spec = TensorSpec("points", "float32", found.shape)
        reading = Points(("points",), decode, validation.score_threshold or 0.0)
        return Headed(bare.module, (spec,), (Field("points", "score", ""),), reading)

HEAD = _Points()
'''


def add_file(
    monkeypatch: pytest.MonkeyPatch, package: ModuleType, folder: Path, name: str, text: str
) -> None:
    """Let a package have a file more, as if it lay in its folder."""
    own = folder / package.__name__
    own.mkdir(exist_ok=True)
    (own / f"{name}.py").write_text(text, encoding="utf-8")
    monkeypatch.setattr(package, "__path__", [*package.__path__, str(own)])
    monkeypatch.setitem(sys.modules, f"{package.__name__}.{name}", None)  # restored after the test …
    del sys.modules[f"{package.__name__}.{name}"]  # … and not yet imported in it
