"""``pytest --onnxproof``: what is collected of a job, and what fails. The exports are stand-ins."""

import importlib.metadata
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

import onnxproof
import onnxproof.testing.collected
import onnxproof.testing.outcome
from onnxproof.system.extras import is_there
from onnxproof.testing.told import lines_of, message_of
from onnxproof.validate.facts import Facts, Failure
from onnxproof.validate.verdict import Check, Verdict

pytest_plugins = ("pytester",)
pytestmark = pytest.mark.skipif(
    not is_there("torch"), reason="without torch, what exports says at once which extra brings it"
)

INSTALLED = any(
    entry.value == "onnxproof.testing.plugin" for entry in importlib.metadata.entry_points(group="pytest11")
)
LOAD = () if INSTALLED else ("-p", "onnxproof.testing.plugin")

JOB = """
name = "{name}"
[model]
family = "yolox"
checkpoint = "weights"
[dims]
batch = "1..2"
"""

STAND_INS = """
import pathlib
import types

import onnxproof.testing.outcome as outcome
from onnxproof.errors import CheckpointError
from onnxproof.job import Job
from onnxproof.validate.verdict import Check, Verdict, conclude

WORST = "largest error 0.0031 px in 1x96x96-noise"


def export(job, *, out, set, baseline):
    job = pathlib.Path(f"{job.name}.toml") if isinstance(job, Job) else job
    with open(pathlib.Path(__file__).with_name("exports.log"), "a") as log:
        held = "" if baseline is None else f" {baseline.name}"
        log.write(f"{job.stem} {list(set)}{held}\\n")
    if job.stem == "gone":
        raise CheckpointError("checkpoint weights does not exist: give a file")
    if job.stem == "broken":
        raise KeyError("nobody foresaw this")
    bad = job.stem == "bad"
    checks = (
        Check("interface", "pass", "", 0.0, 0.0, "ort-cpu"),
        Check("function", "pass", "", 1e-9, 1e-3, "onnx-float64", "score"),
        Check("ratio_rms", "fail" if bad else "pass", WORST, 3.21 if bad else 0.9, 2.7, "ort-cpu", "box_xy"),
        Check("ratio_rms", "fail" if bad else "pass", WORST, 4.5 if bad else 0.9, 2.7, "ort-cpu", "score"),
        Check("rows", "fail" if bad else "pass", "1 defects", 1.0 if bad else 0.0, 0.0, "ort-cpu"),
        Check("decisions", "skipped", "no pictures are named", leg="ort-cpu"),
    )
    return types.SimpleNamespace(verdict=Verdict(conclude(checks), checks, (), (), (), "", {}))


outcome.onnxproof = types.SimpleNamespace(export=export)
"""


@pytest.fixture
def jobs(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with jobs whose exports are stand-ins, and a TOML file that is no job."""
    monkeypatch.setattr(onnxproof.testing.outcome, "onnxproof", onnxproof)  # put back after the stand-ins
    pytester.makeini("[pytest]\naddopts = --strict-markers -W error")
    pytester.makeconftest(STAND_INS)
    folder = pytester.mkdir("configs")
    for name in ("good", "bad"):
        (folder / f"{name}.toml").write_text(JOB.format(name=name), encoding="utf-8")
    (folder / "ruff.toml").write_text("[lint]\nline-length = 110\n", encoding="utf-8")
    return folder


def exports(pytester: pytest.Pytester) -> list[str]:
    log = pytester.path / "exports.log"
    return sorted(log.read_text(encoding="utf-8").splitlines()) if log.exists() else []


def test_collecting_exports_nothing(jobs: Path, pytester: pytest.Pytester) -> None:
    found = pytester.runpytest(*LOAD, "--onnxproof", "--collect-only", "-q", jobs)
    names = [line for line in found.outlines if "::" in line]
    assert names[0] == "configs/bad.toml::export"
    assert "configs/good.toml::runtime[ratio_rms]" in names
    assert "configs/good.toml::function[function]" in names
    assert not any("dataset" in name or "checksum" in name or "pipeline" in name for name in names)
    assert not any("ruff" in name for name in names)
    assert exports(pytester) == []


def test_jobs_are_left_alone_unless_the_option_is_given(jobs: Path, pytester: pytest.Pytester) -> None:
    assert pytester.runpytest(*LOAD, jobs).ret == pytest.ExitCode.NO_TESTS_COLLECTED


def test_each_failed_field_is_a_line_with_its_figure_and_limit(jobs: Path, pytester: pytest.Pytester) -> None:
    report = pytester.path / "junit.xml"
    ran = pytester.runpytest(*LOAD, "--onnxproof", f"--junit-xml={report}", "-vv", jobs)
    assert ran.ret == pytest.ExitCode.TESTS_FAILED
    red = [line for line in ran.outlines if line.startswith("FAILED configs")]
    worst = "largest error 0.0031 px in 1x96x96-noise"
    assert red == [
        f"FAILED configs/bad.toml::runtime[ratio_rms] - ratio_rms box_xy 3.21 (limit 2.7): {worst}",
        f"FAILED configs/bad.toml::runtime[ratio_rms] - ratio_rms score 4.5 (limit 2.7): {worst}",
        "FAILED configs/bad.toml::others - rows 1 (limit 0): 1 defects",
    ]
    assert "Traceback" not in ran.stdout.str()
    assert exports(pytester) == ["bad []", "good []"]
    failures = ElementTree.parse(report).getroot().iter("failure")
    assert [failure.get("message") for failure in failures] == [line.partition(" - ")[2] for line in red]


def test_a_job_is_held_to_its_baseline_if_there_is_one(jobs: Path, pytester: pytest.Pytester) -> None:
    older = pytester.mkdir("older") / "good"
    older.mkdir()
    (older / "parity.json").write_text("{}", encoding="utf-8")
    pytester.runpytest(*LOAD, "--onnxproof", "--onnxproof-baseline", "older", jobs)
    assert exports(pytester) == ["bad []", "good [] good"]


MATRIX = """extends = "good.toml"
name = "both"
[matrix]
export.opset = [18, 20]
"""


def test_each_job_of_a_matrix_is_a_node(jobs: Path, pytester: pytest.Pytester) -> None:
    (jobs / "both.toml").write_text(MATRIX, encoding="utf-8")
    found = pytester.runpytest(*LOAD, "--onnxproof", "--collect-only", "-q", jobs)
    assert "configs/both.toml::both-opset_18::export" in found.outlines
    assert "configs/both.toml::both-opset_20::runtime[ratio_rms]" in found.outlines
    ran = pytester.runpytest(*LOAD, "--onnxproof", "-v", "-k", "both-opset_20", jobs)
    assert ran.ret == pytest.ExitCode.OK
    assert exports(pytester) == ["both-opset_20 []"]


@pytest.mark.slow
def test_the_workers_of_xdist_export_each_job_once(jobs: Path, pytester: pytest.Pytester) -> None:
    pytest.importorskip("xdist")
    for mode in ("load", "loadgroup"):
        ran = pytester.runpytest_subprocess(
            *LOAD, "--onnxproof", "-n", "2", "--dist", mode, "--onnxproof-set", "export.opset=18", jobs
        )
        assert ran.parseoutcomes()["failed"] == 3, ran.stdout.str()
        assert exports(pytester) == ["bad ['export.opset=18']", "good ['export.opset=18']"]
        (pytester.path / "exports.log").unlink()


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("gone", JOB.format(name="gone"), "CheckpointError: checkpoint weights does not exist: give a file"),
        ("broken", JOB.format(name="broken"), "KeyError: 'nobody foresaw this'"),
    ],
)
def test_a_job_that_cannot_be_exported_is_one_failure(
    jobs: Path, pytester: pytest.Pytester, name: str, content: str, says: str
) -> None:
    job = jobs / f"{name}.toml"
    job.write_text(content, encoding="utf-8")
    ran = pytester.runpytest(*LOAD, "--onnxproof", "-vv", job)
    assert [line for line in ran.outlines if line.startswith("FAILED")] == [
        f"FAILED configs/{name}.toml::export - {says}"
    ]
    assert ran.parseoutcomes().keys() == {"failed", "skipped"}
    assert "INTERNALERROR" not in ran.stdout.str()
    alone = pytester.runpytest(*LOAD, "--onnxproof", "-k", "ratio_rms", job)
    assert alone.parseoutcomes()["failed"] == 1, "without the test of the export, the check itself must fail"


def test_a_job_with_a_mistake_fails_as_a_test(jobs: Path, pytester: pytest.Pytester) -> None:
    job = jobs / "typo.toml"
    job.write_text(JOB.format(name="typo") + "\n[export]\nopsett = 18\n", encoding="utf-8")
    ran = pytester.runpytest(*LOAD, "--onnxproof", "-vv", job)
    ran.assert_outcomes(failed=1)
    (line,) = [line for line in ran.outlines if line.startswith("FAILED")]
    assert "unknown key export.opsett = 18" in line
    assert exports(pytester) == []


def test_a_plugin_that_is_not_used_imports_nothing(pytester: pytest.Pytester) -> None:
    test = pytester.makepyfile(
        """
        import sys

        def test_nothing_heavy_is_there():
            heavy = "torch numpy onnxruntime onnx pydantic PIL".split()
            assert not [name for name in heavy if name in sys.modules]

        def test_the_fixture_is_there_and_costs_nothing(onnx_parity):
            test_nothing_heavy_is_there()
        """
    )
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *LOAD, str(test)]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, cwd=pytester.path)
    assert "2 passed" in ran.stdout, ran.stdout + ran.stderr


def test_each_size_that_does_not_run_is_a_line() -> None:
    sizes = tuple(Failure(f"{side}x{side}-noise", "Reshape frozen at 64") for side in (96, 128))
    facts = Facts("ort-cpu", (), 5, False, sizes, (), (), (), None, {})
    check = Check("runs", "fail", "2 of 5 cases, first 96x96-noise", 2.0, 0.0, "ort-cpu")
    verdict = Verdict("fail", (check,), (facts,), (), (), "", {})
    assert lines_of(verdict, check) == (
        "runs 96x96-noise: Reshape frozen at 64",
        "runs 128x128-noise: Reshape frozen at 64",
    )
    said = message_of(verdict, "model.onnx")
    assert said.startswith("model.onnx: the verdict is fail\n")
    assert "runs 128x128-noise: Reshape frozen at 64" in said
    assert "onnxproof explain runs" in said


def test_the_leg_is_told_where_several_have_the_check() -> None:
    legs = ("ort-cpu", "ort-cpu-none")
    checks = tuple(Check("ratio_rms", "fail", "", 3.0, 2.7, leg, "score") for leg in legs)
    verdict = Verdict("fail", checks, (), (), (), "", {})
    assert [lines_of(verdict, check)[0] for check in checks] == [
        f"ratio_rms score of {leg} 3 (limit 2.7)" for leg in legs
    ]
