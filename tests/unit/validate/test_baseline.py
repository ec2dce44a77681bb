"""A verdict against an older one: what is worse, and what is noise."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from onnxproof.errors import RequestError
from onnxproof.validate.baseline import held_to, read_baseline, side_by_side
from onnxproof.validate.cases import Case
from onnxproof.validate.verdict import Check, Pairing, Verdict, conclude

RMS = Check("ratio_rms", "pass", "largest error 1e-5 px in 2x96x96-noise", 1.1, 2.7, "ort-cpu", "box_xy")
LARGEST = Check("ratio_max", "pass", "", 1.4, 5.0, "ort-cpu", "box_xy")
FUNCTION = Check("function", "pass", "", 3e-9, 1e-3, "onnx-float64", "box_xy")
DECISIONS = Check("decisions", "pass", "20 matched, 0 ties, 0 defects", 0.0, 0.0, "ort-cpu")
OPSET = Check("opset", "pass", "", 20, 20)
CASES = tuple(Case(f"{batch}x96-noise", {"batch": batch}, "noise", batch) for batch in (1, 2))
OLD = (RMS, LARGEST, FUNCTION, DECISIONS, OPSET)


def verdict(checks: tuple[Check, ...] = OLD, cases: tuple[Case, ...] = CASES, **more: Any) -> Verdict:
    given = {"environment": {"threads": 2, "versions": {"onnxruntime": "1.30"}}, **more}
    return Verdict(conclude(checks), checks, (), cases, (), "0" * 64, **given)


def changed(check: Check, **changes: Any) -> Verdict:
    """The verdict with one of its checks changed."""
    return verdict(tuple(replace(one, **changes) if one is check else one for one in OLD))


def test_the_same_figures_are_no_worse() -> None:
    held = held_to(verdict(), verdict())
    assert held.passed
    assert held.checks == OLD
    assert held.notes == (f"held to a baseline (file {'0' * 12}): of 5 checks none got worse",)


@pytest.mark.parametrize(
    ("check", "value"),
    [(RMS, 1.6), (RMS, 0.2), (LARGEST, 2.7), (FUNCTION, 9e-6), (OPSET, 20)],
    ids=["rms within 1.5 times", "better", "max within twice", "far below the limit", "no figure of noise"],
)
def test_noise_is_no_worse(check: Check, value: float) -> None:
    assert held_to(changed(check, value=value), verdict()).passed


@pytest.mark.parametrize(
    ("check", "value", "allowed"),
    [(RMS, 1.7, 1.65), (LARGEST, 2.9, 2.8), (FUNCTION, 5e-5, 1e-5)],
    ids=["rms", "max", "function"],
)
def test_beyond_noise_fails_within_the_limit(check: Check, value: float, allowed: float) -> None:
    now = changed(check, value=value)
    assert now.passed
    held = held_to(now, verdict())
    assert not held.passed
    (failed,) = [one for one in held.checks if one.status == "fail"]
    assert (failed.name, failed.field, failed.value) == (check.name, check.field, value)
    assert failed.limit == pytest.approx(allowed)
    assert failed.reason.startswith(f"it was {check.value:.3g} in the baseline, and noise explains up to")
    assert failed.link == check.link


def test_nan_is_worse() -> None:
    assert not held_to(changed(RMS, value=float("nan")), verdict()).passed


def test_a_check_that_is_not_made_any_more_fails() -> None:
    held = held_to(verdict((RMS, LARGEST, DECISIONS, OPSET)), verdict())
    (failed,) = [check for check in held.checks if check.status == "fail"]
    assert (failed.name, failed.leg, failed.field) == ("function", "onnx-float64", "box_xy")
    assert failed.reason == "it passed in the baseline, and is not made any more"
    assert [link.status for link in held.links if link.link == "function"] == ["fail"]


def test_a_check_that_is_skipped_now_fails() -> None:
    held = held_to(changed(FUNCTION, status="skipped", value=None, reason="unknown operator"), verdict())
    (failed,) = [check for check in held.checks if check.status == "fail"]
    assert failed.reason == "it passed in the baseline, and is skipped now; unknown operator"


def test_a_case_that_is_not_tried_any_more_fails() -> None:
    held = held_to(verdict(cases=CASES[:1]), verdict())
    (failed,) = [check for check in held.checks if check.status == "fail"]
    assert (failed.name, failed.value, failed.limit) == ("runs", 1.0, 0.0)
    assert failed.reason == "cases of the baseline were not tried, first 2x96-noise"
    assert side_by_side(held, verdict()).lost == ("2x96-noise",)


def test_checks_that_are_made_in_doubt_may_go_and_come() -> None:
    kernels = Check("kernels", "pass", "", 0.2, 1.0, "ort-cpu")
    assert held_to(verdict(), verdict((*OLD, kernels))).passed
    assert held_to(verdict((*OLD, kernels)), verdict()).passed


def test_a_verdict_of_validate_may_be_held_to_one_of_export() -> None:
    folding, checksum = Check("folding", "pass", "", 0, 0), Check("checksum", "pass", "", 0, 0)
    of_export, of_validate = verdict((folding, *OLD)), verdict((checksum, *OLD))
    assert held_to(of_validate, of_export).passed
    assert held_to(of_export, of_validate).passed


def test_what_fails_by_itself_keeps_its_own_reason() -> None:
    now = changed(RMS, value=9.0, status="fail")
    held = held_to(now, verdict())
    assert held.checks == now.checks
    assert [change.name for change in side_by_side(held, verdict()).worse] == ["ratio_rms"]


def test_both_are_shown_side_by_side() -> None:
    environment = {"threads": 2, "versions": {"onnxruntime": "1.31"}}
    now = replace(changed(RMS, value=2.0), environment=environment)
    document = side_by_side(held_to(now, verdict()), verdict()).to_json()
    assert document["worse"] == 1
    assert document["environment"] == [{"name": "onnxruntime", "before": "1.30", "now": "1.31"}]
    first = document["checks"][0]
    assert (first["name"], first["before"], first["now"]) == ("ratio_rms", 1.1, 2.0)
    assert (first["status_before"], first["status_now"], first["moved"]) == ("pass", "fail", "worse")
    assert first["allowed"] == pytest.approx(1.65)
    assert [entry["moved"] for entry in document["checks"][1:]] == ["same"] * 4


def test_another_models_verdict_is_refused() -> None:
    other = verdict((replace(RMS, field="logits"),))
    with pytest.raises(RequestError, match=r"of another model: its fields are logits, those of .* box_xy"):
        held_to(verdict(), other)


def test_a_baseline_is_read_from_a_file_or_a_bundle(tmp_path: Path) -> None:
    (tmp_path / "parity.json").write_text(json.dumps(verdict().to_json()), encoding="utf-8")
    assert read_baseline(tmp_path).checks == OLD
    assert read_baseline(tmp_path / "parity.json").checks == OLD


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "does not exist: expected the parity.json of an earlier export"),
        ("[" * 100_000, "is nested too deeply to be read"),
        ("[1, 2", "is no JSON: expected the parity.json"),
        ("[1, 2]", "is no verdict: expected the parity.json"),
        ('{"format": 1, "preprocess": null}', "is a manifest: expected the parity.json"),
        ('{"format": 9, "verdict": "pass", "checks": []}', "the format of the verdict is 9"),
        ('{"format": 2, "verdict": "pass", "checks": []}', "this is no verdict that onnxproof wrote"),
        (
            json.dumps(replace(verdict(), pairing=Pairing("graphs", "", "0", None)).to_json()),
            "is a comparison of two files: expected the parity.json",
        ),
    ],
    ids=["missing", "nested", "no-json", "a-list", "a-manifest", "newer", "broken", "of-compare"],
)
def test_a_foreign_file_is_refused(tmp_path: Path, content: str | None, says: str) -> None:
    file = tmp_path / "parity.json"
    if content is not None:
        file.write_text(content, encoding="utf-8")
    with pytest.raises(RequestError) as refused:
        read_baseline(file)
    assert says in str(refused.value)
    assert str(file) in str(refused.value)
