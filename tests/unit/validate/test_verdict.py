"""A verdict's document loses nothing, older documents can be read, and what is no verdict is refused."""

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from onnxproof.errors import RequestError
from onnxproof.validate.cases import Case
from onnxproof.validate.compare import Finding
from onnxproof.validate.dataset.figures import DatasetFigures, Figure
from onnxproof.validate.facts import SHOWN_FINDINGS, Decisions, Facts, Failure, Located, Outcome
from onnxproof.validate.measure import LabelMeasurement, Measurement
from onnxproof.validate.policy import FLOAT_FLOOR, FixedTolerance
from onnxproof.validate.runtimes.row import RuntimeRow
from onnxproof.validate.verdict import Check, Pairing, Verdict

MEASURED = Measurement("score", "probability", 9, 1e-6, 2e-6, 3e-6, 4e-6, 1.0, "a", 0, "", ("a", "b"))
FOUND = Located("a", 1, Finding("missing: class 0", "IoU 0.45 against threshold 0.45"))
OUTCOME = Outcome(3, 5, 4, (FOUND,), (FOUND,) * (SHOWN_FINDINGS + 7))
FACTS = Facts(
    leg="ort-cpu",
    interface=("input x is float16; expected float32",),
    cases=2,
    pictures_named=True,
    not_run=(Failure("a", "out of memory"),),
    misshapen=(Failure("b", "NaN"),),
    fields=(MEASURED, replace(MEASURED, name="box", max_candidate=math.inf, rms_candidate=math.inf)),
    labels=(LabelMeasurement("label", 9, 0, math.nan, ""),),
    decisions=Decisions.of(OUTCOME),
    oracle_missing={},
    held_back=2,
    rows=30,
    repeated=("a",),
    all_rows=Decisions.of(replace(OUTCOME, matched=200)),
    constant_fields=(replace(MEASURED, worst_case="b"),),
)
VERDICT = Verdict(
    status="fail",
    checks=(Check("ratio_max", "fail", "NaN", math.inf, math.nan, "ort-cpu", "box"), Check("x", "pass", "")),
    facts=(
        FACTS,
        replace(FACTS, leg="ort-cpu-none", decisions=None, all_rows=None, oracle_missing={"score": "no"}),
    ),
    cases=(
        Case("a", {"batch": 2}, "picture", 3, Path("pictures/a.png"), native=True),
        Case("b", {"batch": 1}, "noise", 4),
    ),
    notes=("a note",),
    model_sha256="beef",
    environment={"cpus": 2, "versions": {"torch": "2"}},
    dataset=(
        DatasetFigures(
            "ort-cpu", 3, 9, 2, 0.01, (Figure("mAP", 0.5, math.nan, math.nan),), Decisions.of(OUTCOME), None
        ),
    ),
    policy=FLOAT_FLOOR.to_json(),
    runtimes=(
        RuntimeRow("ort-cpu", "ONNX Runtime", "1.0", "CPUExecutionProvider", "all", note="a note"),
        RuntimeRow("openvino-cpu", "OpenVINO", absent="install it"),
    ),
)


def read(document: Any) -> Verdict:
    """What a reader makes of the document as it stands in a file; NaN is refused by a strict parser."""

    def refuse(word: str) -> Any:
        raise ValueError(f"{word} is no JSON")

    return Verdict.from_json(json.loads(json.dumps(document), parse_constant=refuse))


@pytest.mark.parametrize(
    "verdict",
    [
        pytest.param(VERDICT, id="everything-at-once"),
        pytest.param(replace(VERDICT, facts=(), dataset=(), policy=None), id="nothing-compared"),
        pytest.param(
            replace(VERDICT, pairing=Pairing("oracle", "by PyTorch", "cafe", VERDICT)), id="two-files"
        ),
        pytest.param(replace(VERDICT, pairing=Pairing("two-runs", "by A", "cafe", None)), id="by-a-alone"),
        pytest.param(replace(VERDICT, policy=FixedTolerance(1e-3).to_json()), id="another-policy"),
    ],
)
def test_nothing_is_lost(verdict: Verdict) -> None:
    back = read(verdict.to_json())
    # NaN does not equal itself; its text does.
    assert repr(back) == repr(verdict)
    assert json.dumps(back.to_json()) == json.dumps(verdict.to_json())


def test_all_findings_are_counted_and_the_first_are_told() -> None:
    document = VERDICT.to_json()
    assert document["decisions"] == {"matched": 4, "ties": 1, "defects": SHOWN_FINDINGS + 7}
    assert len(document["findings"]["defects"]) == SHOWN_FINDINGS
    back = read(document).facts[0].decisions
    assert back is not None
    assert (back.tie_count, back.defect_count) == (1, SHOWN_FINDINGS + 7)


def test_a_document_of_the_first_format_is_read() -> None:
    new = VERDICT.to_json()
    old = {key: new[key] for key in new if key not in ("legs", "policy")}
    old |= {"format": 1, "dataset": None}
    for case in old["cases"]:
        del case["native"]
    back = read(old)
    assert (back.status, back.model_sha256, back.notes) == ("fail", "beef", ("a note",))
    assert [facts.leg for facts in back.facts] == ["ort-cpu", "ort-cpu-none"]
    assert repr(back.facts[0].fields) == repr(FACTS.fields)
    assert repr(back.checks) == repr(VERDICT.checks)


def test_a_document_with_one_reason_for_all_fields_is_read() -> None:
    old = VERDICT.to_json()
    old["legs"][0]["oracle_missing"] = "TypeError: no float64"
    found = read(old).facts[0].oracle_missing
    assert found == dict.fromkeys(("score", "box", "label"), "TypeError: no float64")


@pytest.mark.parametrize(
    ("document", "words"),
    [
        pytest.param({}, "the format of the verdict is None", id="no-format"),
        pytest.param([], "the format of the verdict is None", id="no-object"),
        pytest.param({"format": 99}, "is 99; expected one of 1, 2", id="a-newer-one"),
        pytest.param({"format": 2}, "KeyError: .*: run validate again", id="a-key-less"),
        pytest.param({**VERDICT.to_json(), "cases": 7}, "no verdict that onnxproof wrote", id="another-type"),
    ],
)
def test_what_is_no_verdict_is_refused(document: Any, words: str) -> None:
    with pytest.raises(RequestError, match=words):
        read(document)


def test_print_tells_the_notes_before_the_verdict_each_once() -> None:
    noted = replace(VERDICT, notes=("conv.weight is new", "one\x1b[31m note", "conv.weight is new"))
    *_, first, second, last = str(noted).splitlines()
    assert (first, second) == ("note: conv.weight is new (2 times)", r"note: one\x1b[31m note")
    assert last.startswith("verdict: fail")


def test_outputs_that_share_a_reason_are_told_in_one_line() -> None:
    why = "no oracle: its numbers went through NumPy in float32"
    skipped = [
        Check("function", "skipped", why, leg="onnx-float64", field=name) for name in ("boxes", "scores")
    ]
    other = Check("function", "skipped", "no Magic of opset 20", leg="onnx-float64", field="masks")
    told = [Check("ratio_max", "fail", "far", 9.0, 5.0, "ort-cpu", name) for name in ("boxes", "scores")]
    lines = str(replace(VERDICT, checks=(*skipped, other, *told), notes=(), facts=())).splitlines()
    assert lines[-5:-1] == [
        "fail: ratio_max boxes 9 (limit 5): far",
        "fail: ratio_max scores 9 (limit 5): far",
        f"skipped: function boxes, scores: {why}",
        "skipped: function masks: no Magic of opset 20",
    ]
