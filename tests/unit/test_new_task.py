"""A task is two files and nothing else: one that decides, one that compares."""

import sys
from pathlib import Path

import numpy as np
import pytest
from contracts import contract

from onnxproof.runtime import tasks
from onnxproof.runtime.port import Port
from onnxproof.runtime.tasks import get_task, task_names
from onnxproof.tensors import Dim, Field, TensorSpec
from onnxproof.validate import compare
from onnxproof.validate.cases import Case
from onnxproof.validate.compare import get_comparer
from onnxproof.validate.facts import Facts
from onnxproof.validate.judge import judge
from onnxproof.validate.legs.leg import Answer, Arrays, Ports, Truth
from onnxproof.validate.sweep import sweep
from onnxproof.validate.trial import Trial

TASK = '''
"""Points: those that score above a threshold."""
from dataclasses import dataclass
from onnxproof.runtime.readings.adjustable import Adjustable, output_names, setting

@dataclass(frozen=True, slots=True)
class Points(Adjustable):
    score_threshold: float

    def to_json(self):
        return {"outputs": list(self.outputs), "score_threshold": self.score_threshold}

class _Points:
    name = "points"
    summary = "Points: those that score above a threshold."
    decides = True

    def reading(self, entry):
        keys = entry.table(("outputs", "score_threshold"))
        return Points(output_names(keys, 1), setting(keys, "score_threshold"))

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

SPEC = TensorSpec("x", "float32", ("batch", 4), (0, 1))
OUT = TensorSpec("y", "float32", ("batch", 4))


class Scores:
    """A leg that returns its input, with the first score of each row moved."""

    def __init__(self, name: str, moved: float = 0.0) -> None:
        self.name, self.moved = name, moved

    @property
    def ports(self) -> Ports:
        inputs, outputs = (Port(spec.name, spec.dtype, spec.shape) for spec in (SPEC, OUT))
        return Ports((inputs,), (outputs,))

    def run(self, inputs: Arrays) -> Answer:
        noise = np.random.default_rng(0).normal(size=inputs["x"].shape) * 1e-6 * (self.name != "oracle")
        scores = inputs["x"].astype(np.float64) + noise
        scores[:, 0] += self.moved
        return Answer({"y": scores}, {})


@pytest.fixture
def points(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for package, source in ((tasks, TASK), (compare, COMPARER)):
        folder = tmp_path / package.__name__
        folder.mkdir()
        (folder / "points.py").write_text(source, encoding="utf-8")
        monkeypatch.setattr(package, "__path__", [*package.__path__, str(folder)])
        monkeypatch.setitem(sys.modules, f"{package.__name__}.points", None)  # restored after the test …
        del sys.modules[f"{package.__name__}.points"]  # … and not yet imported in it


def facts(candidate: Scores) -> Facts:
    told = contract(
        task="points",
        inputs=(SPEC,),
        outputs=(OUT,),
        dims=(Dim("batch", 1, 4),),
        fields=(Field("y", "score", ""),),
        postprocess={"outputs": ["y"], "score_threshold": 0.5},
    )
    cases = tuple(Case(f"{batch}-noise", {"batch": batch}, "noise", batch) for batch in (1, 2, 4))
    truth = Truth(Scores("oracle"), Scores("reference"))
    (found,) = sweep(Trial(told, truth, (candidate,), cases))
    return found


@pytest.mark.usefixtures("points")
def test_a_task_of_two_files_is_found_read_decided_and_compared() -> None:
    assert "points" in task_names()
    assert get_task("points").decides
    assert get_comparer("points") is not None
    found = facts(Scores("candidate"))
    assert found.decisions is not None
    assert found.decisions.matched > 0
    checks = {check.name: check.status for check in judge(found, {})}
    assert checks["decisions"] == "pass"


@pytest.mark.usefixtures("points")
def test_a_wrong_decision_of_a_new_task_fails() -> None:
    checks = {check.name: check.status for check in judge(facts(Scores("candidate", moved=1.0)), {})}
    assert checks["decisions"] == "fail"


def test_a_task_without_a_comparer_is_compared_by_its_tensors_alone() -> None:
    assert get_comparer("raw") is None
    assert get_comparer("margins") is None
