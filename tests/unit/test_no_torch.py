"""What a deployment runs, and these tests with it, imports no torch."""

import subprocess
import sys
from pathlib import Path

import pytest

UNIT = Path(__file__).parent
HEAVY = ("torch", "torchvision", "onnx", "onnxscript", "onnxsim", "pydantic", "click", "rich")


def run_alone(code: str) -> str:
    """What the code prints in a process of its own, where nothing is imported yet."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.strip().splitlines()[-1]


@pytest.mark.slow
def test_the_unit_tests_import_no_torch() -> None:
    options = ["--collect-only", "-q", "-p", "no:cacheprovider", str(UNIT)]
    code = f"import pytest, sys; assert pytest.main({options!r}) == 0; print('torch' in sys.modules)"
    assert run_alone(code) == "False"


def test_the_runtime_imports_nothing_heavy() -> None:
    modules = "onnxproof, onnxproof.tensors, onnxproof.runtime, onnxproof.runtime.tasks.detection"
    code = (
        f"import sys, {modules}; onnxproof.load; print([name for name in {HEAVY!r} if name in sys.modules])"
    )
    assert run_alone(code) == "[]"


def test_planning_measuring_and_judging_import_no_torch() -> None:
    rooms = ("job", "validate.cases", "validate.measure", "validate.judge", "validate.compare.decisions")
    without = (*rooms, "comparison", "validate.exact.twins")
    modules = ", ".join(f"onnxproof.{room}" for room in without)
    assert run_alone(f"import sys, {modules}; print('torch' in sys.modules)") == "False"
