"""``--baseline``: what is refused, and what is shown side by side."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from onnxproof.cli._terminal import plain_text
from onnxproof.validate.baseline import side_by_side
from onnxproof.validate.report.against import against_table
from onnxproof.validate.verdict import Check, Verdict


@pytest.mark.parametrize("command", ["validate", "export"])
def test_a_foreign_file_is_refused_before_the_work(
    refuse: Callable[..., None], small_job: Path, tmp_path: Path, command: str
) -> None:
    file = tmp_path / "old.json"
    file.write_text('{"boxes": []}', encoding="utf-8")
    expected = "expected the parity.json of an earlier export, or of validate --out"
    refuse(command, small_job, "--baseline", file, says=(str(file), "is no verdict", expected))
    refuse(command, small_job, "--baseline", tmp_path / "no.json", says=("does not exist", expected))


def test_a_baseline_needs_a_verdict(refuse: Callable[..., None], small_job: Path, tmp_path: Path) -> None:
    old = tmp_path / "parity.json"
    old.write_text(json.dumps(Verdict("pass", (), (), (), (), "", {}).to_json()), encoding="utf-8")
    refuse("export", small_job, "--baseline", old, "--no-validate", says=("--baseline with --no-validate",))


def test_the_table_has_both_figures_and_what_is_allowed() -> None:
    old = Check("ratio_rms", "pass", "", 1.1, 2.7, "ort-cpu", "box_xy")
    new = Check("ratio_rms", "pass", "", 2.0, 2.7, "ort-cpu", "box_xy")
    verdicts = [
        Verdict(
            "pass", (check,), (), (), (), sha256 * 64, {"threads": 2, "versions": {"onnxruntime": version}}
        )
        for check, sha256, version in ((old, "0", "1.30"), (new, "1", "1.31"))
    ]
    lines = plain_text(against_table(side_by_side(verdicts[1], verdicts[0]))).splitlines()
    assert lines[0] == "against the baseline (verdict pass, file 000000000000)"
    (row,) = [line.split() for line in lines if line.startswith("ratio_rms")]
    assert row == ["ratio_rms", "box_xy", "ort-cpu", "1.1", "2", "1.65", "worse"]
    assert "onnxruntime 1.30 before, 1.31 now" in lines[-1]


def test_a_line_says_that_nothing_moved() -> None:
    verdict = Verdict("pass", (Check("opset", "pass", "", 20, 20),), (), (), (), "0" * 64, {})
    assert plain_text(against_table(side_by_side(verdict, verdict))) == (
        "against the baseline (verdict pass, file 000000000000): 1 checks are as they were\n"
    )


@pytest.mark.slow
def test_a_check_that_is_gone_fails_and_is_told_in_the_documents(
    run: Callable[..., Any], small_bundle: Path, tmp_path: Path
) -> None:
    first = run("validate", small_bundle, "--out", tmp_path)
    assert first.returncode == 0, first.stdout + first.stderr
    old = tmp_path / "parity.json"
    document = json.loads(old.read_text(encoding="utf-8"))
    (kept,) = [check for check in document["checks"] if check["name"] == "decisions"]
    document["checks"].append({**kept, "leg": "ort-cpu-none"})
    document["cases"].append({**document["cases"][0], "name": "7x96x96-noise"})
    old.write_text(json.dumps(document), encoding="utf-8")
    ran = run("validate", small_bundle, "--baseline", old, "--json")
    assert ran.returncode == 1
    told = json.loads(ran.stdout)
    assert (told["verdict"], told["against"]["worse"]) == ("fail", 2)
    assert told["against"]["lost_cases"] == ["7x96x96-noise"]
    figures = [
        one for one in told["against"]["checks"] if one["before"] is not None and one["now"] is not None
    ]
    assert figures
    assert all(one["before"] == one["now"] for one in figures), (
        "the same file on the same machine does not move"
    )
    assert "decisions ort-cpu-none" in ran.stderr
    refused = run("validate", small_bundle, "--baseline", old, "--out", tmp_path)
    assert refused.returncode == 2
    assert "would be overwritten" in refused.stderr
