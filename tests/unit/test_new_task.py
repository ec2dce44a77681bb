"""A task is two files and nothing else: one that decides, one that compares."""

from pathlib import Path

import numpy as np
import pytest
from contracts import contract
from new_files import COMPARER, TASK, add_file

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
    add_file(monkeypatch, tasks, tmp_path, "points", TASK)
    add_file(monkeypatch, compare, tmp_path, "points", COMPARER)


def facts(candidate: Scores) -> Facts:
    told = contract(
        task="points",
        inputs=(SPEC,),
        outputs=(OUT,),
        dims=(Dim("batch", 1, 4),),
        fields=(Field("y", "score", ""),),
        postprocess={"decode": "peaks", "outputs": ["y"], "score_threshold": 0.5},
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
