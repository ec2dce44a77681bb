"""A runtime is one file in validate/legs/: here one that returns what a device answered, and was recorded."""

import importlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from contracts import contract
from new_files import add_file

from onnxproof.runtime.port import Port
from onnxproof.tensors import Dim, Field, TensorSpec
from onnxproof.validate import legs
from onnxproof.validate.cases import Case, materialise
from onnxproof.validate.judge import judge
from onnxproof.validate.legs.leg import Answer, Arrays, Ports, Truth
from onnxproof.validate.sweep import sweep
from onnxproof.validate.trial import Trial

LEG = '''
"""Outputs that were recorded: a file for each set of inputs, named after what was fed."""
import hashlib
import numpy as np
from onnxproof.validate.legs.leg import Answer

class RecordedLeg:
    def __init__(self, folder, ports):
        self.name, self.folder, self.ports = "recorded", folder, ports

    def run(self, inputs):
        with np.load(self.folder / f"{called(inputs)}.npz") as arrays:
            return Answer(dict(arrays), {})

def called(inputs):
    return hashlib.sha256(b"".join(array.tobytes() for array in inputs.values())).hexdigest()
'''

SPEC = TensorSpec("x", "float32", ("batch", 64), (0, 1))
OUT = TensorSpec("y", "float32", ("batch", 64))
PORTS = Ports(*((Port(spec.name, spec.dtype, spec.shape),) for spec in (SPEC, OUT)))
CASES = tuple(Case(f"{batch}-noise", {"batch": batch}, "noise", batch) for batch in (1, 2, 4))
CONTRACT = contract(inputs=(SPEC,), outputs=(OUT,), dims=(Dim("batch", 1, 4),), fields=(Field("y", "y", ""),))


class Squares:
    """A leg that computes in a dtype."""

    ports = PORTS

    def __init__(self, dtype: type[np.floating[Any]]) -> None:
        self.name, self.dtype = dtype.__name__, dtype

    def run(self, inputs: Arrays) -> Answer:
        x = inputs["x"].astype(self.dtype)
        return Answer({"y": x * x + self.dtype(0.1)}, {})


@pytest.mark.parametrize(
    ("scale", "status"),
    [pytest.param(1.0, "pass", id="as-it-should"), pytest.param(1.001, "fail", id="a-thousandth-too-large")],
)
def test_a_leg_of_recorded_outputs_is_one_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scale: float, status: str
) -> None:
    add_file(monkeypatch, legs, tmp_path, "device_files", LEG)
    recorded = importlib.import_module("onnxproof.validate.legs.device_files")
    device = Squares(np.float32)
    for case in CASES:
        inputs = materialise(case, CONTRACT.inputs, None)
        y = device.run(inputs).outputs["y"] * np.float32(scale)
        np.savez(tmp_path / f"{recorded.called(inputs)}.npz", y=y)
    truth = Truth(Squares(np.float64), Squares(np.float32))
    (found,) = sweep(Trial(CONTRACT, truth, (recorded.RecordedLeg(tmp_path, PORTS),), CASES))
    checks = {check.name: check for check in judge(found, {})}
    assert (checks["ratio_rms"].status, checks["ratio_rms"].leg) == (status, "recorded")
    assert checks["runs"].status == "pass"
    assert found.cases == len(CASES)


def test_inputs_that_were_not_recorded_are_cases_that_do_not_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_file(monkeypatch, legs, tmp_path, "device_files", LEG)
    recorded = importlib.import_module("onnxproof.validate.legs.device_files")
    truth = Truth(Squares(np.float64), Squares(np.float32))
    (found,) = sweep(Trial(CONTRACT, truth, (recorded.RecordedLeg(tmp_path, PORTS),), CASES))
    checks = {check.name: check.status for check in judge(found, {})}
    assert checks["runs"] == "fail"
