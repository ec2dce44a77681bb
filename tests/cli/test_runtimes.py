"""The table of runtimes of the demo: what selftest and validate print of each."""

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from commands import run_here

import onnxproof

KNOWN = importlib.import_module("onnxproof.validate.runtimes.known")
"""The package's attribute ``validate`` is the function."""

LEG = "onnxproof.validate.legs.openvino_runtime"
"""Imports OpenVINO without its telemetry."""


def test_the_demo_holds_at_each_level_of_onnx_runtime(demo_bundle: Path) -> None:
    ran = run_here(["selftest", str(demo_bundle), "--threads", "1", "--runtime", "ort"])
    assert ran.code == 0, ran.printed
    for level in ("none", "basic", "extended", "all"):
        (row,) = (line for line in ran.printed.splitlines() if f"CPU, {level}" in line)
        assert row.startswith("ONNX Runtime ")
        assert row.endswith("pass")
        assert "0 defects" in row


def test_the_demo_holds_in_openvino(demo_bundle: Path) -> None:
    pytest.importorskip(LEG, reason="openvino is not installed")
    ran = run_here(["selftest", str(demo_bundle), "--runtime", "openvino", "--json", "--quiet"])
    assert ran.code == 0, ran.printed
    verdict = onnxproof.Verdict.from_json(json.loads(ran.printed))
    (row,) = verdict.runtimes
    assert (row.leg, row.level) == ("openvino-cpu", "f32")
    status, links = verdict.of_leg(row.leg)
    assert status == "pass"
    assert {one.link: one.status for one in links} == {"runtime": "pass", "decisions": "pass"}
    (facts,) = verdict.facts
    assert facts.decisions is not None
    assert facts.decisions.matched > 0
    assert "OpenVINO errs " in str(verdict)


def test_openvino_is_imported_without_its_telemetry(tmp_path: Path) -> None:
    pytest.importorskip(LEG, reason="openvino is not installed")
    code = (
        f"import importlib, sys; leg = importlib.import_module({LEG!r}); "
        "print(leg.devices()[0], leg.TELEMETRY in sys.modules)"
    )
    environment = os.environ | {"HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert (done.returncode, done.stdout.split()) == (0, ["CPU", "False"]), done.stderr
    assert not (tmp_path / "intel").exists()


def test_openvino_as_it_chooses_passes_only_where_it_computes_in_float32(demo_bundle: Path) -> None:
    pytest.importorskip(LEG, reason="openvino is not installed")
    verdict = onnxproof.selftest(demo_bundle, runtimes=["openvino-auto"], threads=1)
    (row,) = verdict.runtimes
    assert verdict.passed is not ("bfloat16" in row.note)


def test_selftest_refuses_to_judge_nothing(demo_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(KNOWN, "is_there", lambda name: False)
    ran = run_here(["selftest", str(demo_bundle), "--runtime", "openvino"])
    assert ran.code == 2
    assert "pip install 'onnxproof[openvino]'" in ran.printed


def test_a_provider_that_is_not_there_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    ran = run_here(["selftest", str(tmp_path), "--runtime", "ort", "--provider", "TensorrtExecutionProvider"])
    assert ran.code == 2
    assert 'execution provider "TensorrtExecutionProvider" is not in this ONNX Runtime' in ran.printed


@pytest.mark.slow
def test_validate_tries_the_file_on_all_cases(demo_bundle: Path, demo_job: Path, tmp_path: Path) -> None:
    pytest.importorskip(LEG, reason="openvino is not installed")
    file = str(demo_bundle / "model.onnx")
    ran = run_here(
        ["validate", str(demo_job), "--onnx", file, "--runtime", "ort,openvino", "--out", str(tmp_path)]
    )
    assert ran.code == 0, ran.printed
    verdict = onnxproof.Verdict.from_json(json.loads((tmp_path / "parity.json").read_text(encoding="utf-8")))
    assert [row.leg for row in verdict.runtimes] == [
        "ort-cpu",
        "ort-cpu-none",
        "ort-cpu-basic",
        "ort-cpu-extended",
        "openvino-cpu",
    ]
    assert {facts.cases for facts in verdict.facts} == {len(verdict.cases)}
    assert all(verdict.of_leg(row.leg)[0] == "pass" for row in verdict.runtimes)
    assert "the file in each runtime" in ran.printed


def test_validate_refuses_a_runtime_before_pytorch_is_imported(demo_job: Path) -> None:
    ran = run_here(["validate", str(demo_job), "--runtime", "onnxrt"])
    assert ran.code == 2
    assert "there is no runtime 'onnxrt'" in ran.printed
