"""Judging: NaN fails, a limit is passed at equality, and nothing compared is never a pass."""

import json
import math
from dataclasses import replace
from typing import Any

import pytest

from onnxproof.validate.cases import Case
from onnxproof.validate.checks import Status
from onnxproof.validate.compare import Finding
from onnxproof.validate.facts import SHOWN_FINDINGS, Decisions, Facts, Failure, Located, Outcome
from onnxproof.validate.judge import judge, second_looks
from onnxproof.validate.measure import LabelMeasurement, Measurement
from onnxproof.validate.policy import FIXED_TOLERANCE, FLOAT_FLOOR, RATIO_CONSTANT, RATIO_MAX, RATIO_RMS
from onnxproof.validate.verdict import Check, Verdict, conclude

NAN, INF = float("nan"), float("inf")
HEALTHY = Measurement(
    name="score",
    unit="probability",
    count=100,
    rms_reference=1e-6,
    rms_candidate=1e-6,
    max_reference=4e-6,
    max_candidate=4e-6,
    scale_max=1.0,
    worst_case="64x64-noise",
    nonfinite=0,
    nonfinite_case="",
)
DECIDED = Decisions(pictures=3, reference=5, matched=5, ties=(), defects=())
DEFECT = Located("64x64-noise", 1, Finding("missing: class 0", "no margin"))
FACTS = Facts(
    leg="ort-cpu",
    interface=(),
    cases=10,
    pictures_named=True,
    not_run=(),
    misshapen=(),
    fields=(HEALTHY,),
    labels=(),
    decisions=DECIDED,
    oracle_missing={},
)


def check_named(name: str, facts: Facts, ranked: str | None = None) -> Check:
    found = [check for check in judge(facts, {"label": ranked}) if check.name == name]
    assert len(found) == 1, name
    return found[0]


def measured(**changes: Any) -> Facts:
    """FACTS with one field, HEALTHY but for the changes."""
    return replace(FACTS, fields=(replace(HEALTHY, **changes),))


def test_a_healthy_file_passes_every_check() -> None:
    checks = judge(FACTS, {})
    assert {check.name for check in checks} == {
        "interface",
        "runs",
        "shapes",
        "finite",
        "ratio_rms",
        "ratio_max",
        "decisions",
    }
    assert {check.status for check in checks} == {"pass"}
    assert {check.leg for check in checks} == {"ort-cpu"}
    assert conclude(checks) == "pass"


@pytest.mark.parametrize(
    ("name", "changes", "status"),
    [
        pytest.param("ratio_rms", {"rms_candidate": RATIO_RMS * 1e-6}, "pass", id="rms-at-the-limit"),
        pytest.param("ratio_rms", {"rms_candidate": 1.001 * RATIO_RMS * 1e-6}, "fail", id="rms-above-it"),
        pytest.param("ratio_rms", {"rms_candidate": NAN}, "fail", id="rms-nan"),
        pytest.param("ratio_rms", {"rms_candidate": INF}, "fail", id="rms-infinite"),
        pytest.param("ratio_max", {"max_candidate": RATIO_MAX * 4e-6}, "pass", id="max-at-the-limit"),
        pytest.param("ratio_max", {"max_candidate": 1.001 * RATIO_MAX * 4e-6}, "fail", id="max-above-it"),
        pytest.param("ratio_max", {"max_candidate": NAN}, "fail", id="max-nan"),
        pytest.param("finite", {"nonfinite": 0}, "pass", id="everything-finite"),
        pytest.param("finite", {"nonfinite": 1, "nonfinite_case": "x"}, "fail", id="one-nan"),
    ],
)
def test_limits(name: str, changes: dict[str, Any], status: Status) -> None:
    check = check_named(name, measured(**changes))
    assert (check.status, check.field) == (status, "score")
    assert check.limit is not None


def test_limits_are_exact_at_equality() -> None:
    at = measured(rms_reference=1.0, rms_candidate=RATIO_RMS, max_reference=1.0, max_candidate=RATIO_MAX)
    assert {check.status for check in judge(at, {})} == {"pass"}
    above = measured(
        rms_reference=1.0,
        rms_candidate=math.nextafter(RATIO_RMS, INF),
        max_reference=1.0,
        max_candidate=math.nextafter(RATIO_MAX, INF),
    )
    assert check_named("ratio_rms", above).status == "fail"
    assert check_named("ratio_max", above).status == "fail"


@pytest.mark.parametrize(
    ("name", "facts", "words"),
    [
        pytest.param(
            "interface",
            replace(FACTS, interface=("inputs are x; expected y",)),
            ["inputs are x"],
            id="another-interface",
        ),
        pytest.param(
            "runs",
            replace(FACTS, not_run=(Failure("8x8", "out of memory"), Failure("9x9", "too"))),
            ["2 of 10 cases", "8x8", "out of memory"],
            id="a-case-does-not-run",
        ),
        pytest.param(
            "shapes",
            replace(FACTS, misshapen=(Failure("8x8", "one output less"),)),
            ["1 of 10 cases", "one output less"],
            id="a-dropped-output",
        ),
        pytest.param(
            "finite", measured(nonfinite=3, nonfinite_case="8x8"), ["NaN", "8x8"], id="nan-names-its-case"
        ),
        pytest.param(
            "ratio_max",
            measured(max_candidate=1.0),
            ["largest error 1 probability", "64x64-noise"],
            id="error-names-its-unit-and-case",
        ),
        pytest.param(
            "decisions",
            replace(FACTS, decisions=replace(DECIDED, defects=(DEFECT,))),
            ["1 defects", "missing: class 0", "no margin", "64x64-noise"],
            id="one-defect",
        ),
    ],
)
def test_a_failure_says_what_and_where(name: str, facts: Facts, words: list[str]) -> None:
    check = check_named(name, facts)
    assert check.status == "fail"
    for word in words:
        assert word in check.reason
    assert conclude(judge(facts, {})) == "fail"


@pytest.mark.parametrize(
    "facts",
    [
        pytest.param(measured(count=0), id="no-value"),
        pytest.param(replace(FACTS, labels=(LabelMeasurement("label", 0, 0, NAN, ""),)), id="no-label"),
        pytest.param(replace(FACTS, fields=(), decisions=None), id="no-field"),
        pytest.param(replace(FACTS, fields=()), id="decisions-alone"),
    ],
)
def test_nothing_compared_is_an_error(facts: Facts) -> None:
    assert check_named("compared", facts).status == "error"
    assert conclude(judge(facts, {})) == "error"


def test_only_nan_fails_and_is_not_called_uncompared() -> None:
    checks = judge(measured(count=0, nonfinite=9, nonfinite_case="x"), {})
    assert [check.status for check in checks if check.field == "score"] == ["fail"]


class TestWithoutOracle:
    FACTS = replace(FACTS, oracle_missing={"score": "no float64 kernel"})

    @pytest.mark.parametrize(
        ("error", "status"),
        [
            pytest.param(FIXED_TOLERANCE * 8, "pass", id="at-the-tolerance"),
            pytest.param(math.nextafter(FIXED_TOLERANCE * 8, INF), "fail", id="a-trifle-above"),
            pytest.param(NAN, "fail", id="nan"),
        ],
    )
    def test_a_fixed_share_of_the_scale_is_the_limit(self, error: float, status: Status) -> None:
        facts = replace(self.FACTS, fields=(replace(HEALTHY, scale_max=8.0, max_candidate=error),))
        assert check_named("max_error", facts).status == status
        assert not [check for check in judge(facts, {}) if check.name.startswith("ratio")]


class TestLabels:
    BOUND = FLOAT_FLOOR.bound(HEALTHY, has_oracle=True)

    @staticmethod
    def facts(flips: int, margin: float) -> Facts:
        return replace(FACTS, labels=(LabelMeasurement("label", 50, flips, margin, "64x64-noise"),))

    @pytest.mark.parametrize(
        ("flips", "margin", "ranked", "status"),
        [
            pytest.param(0, NAN, "score", "pass", id="no-flip"),
            pytest.param(0, NAN, None, "pass", id="no-flip-and-nothing-ranked"),
            pytest.param(3, 2 * BOUND, "score", "pass", id="leads-within-twice-the-bound"),
            pytest.param(3, 2.001 * BOUND, "score", "fail", id="a-lead-beyond"),
            pytest.param(1, INF, "score", "fail", id="a-lead-not-known"),
            pytest.param(1, NAN, "score", "fail", id="a-lead-of-nan"),
            pytest.param(1, 1e-12, None, "fail", id="nothing-ranked-excuses-nothing"),
            pytest.param(1, 1e-12, "nowhere", "fail", id="a-ranked-field-that-is-not-there"),
        ],
    )
    def test_flips(self, flips: int, margin: float, ranked: str | None, status: Status) -> None:
        assert check_named("flips", self.facts(flips, margin), ranked).status == status


class TestErrorBound:
    def test_adds_both_legs_errors(self) -> None:
        found = FLOAT_FLOOR.bound(replace(HEALTHY, max_reference=3e-6, max_candidate=2e-6), has_oracle=True)
        assert found == pytest.approx(5e-6)

    def test_a_damaged_file_does_not_widen_it(self) -> None:
        limit = FLOAT_FLOOR.bound(replace(HEALTHY, max_candidate=RATIO_MAX * 4e-6), has_oracle=True)
        assert FLOAT_FLOOR.bound(replace(HEALTHY, max_candidate=1.0), has_oracle=True) == pytest.approx(limit)
        assert FLOAT_FLOOR.bound(replace(HEALTHY, max_candidate=NAN), has_oracle=True) == pytest.approx(limit)

    def test_without_an_oracle_it_is_the_fixed_tolerance(self) -> None:
        assert FLOAT_FLOOR.bound(replace(HEALTHY, scale_max=8.0), has_oracle=False) == 8 * FIXED_TOLERANCE


class TestDecisions:
    NONE = replace(DECIDED, reference=0, matched=0)

    @pytest.mark.parametrize(
        ("decisions", "pictures_named", "status"),
        [
            pytest.param(DECIDED, True, "pass", id="all-matched"),
            pytest.param(replace(DECIDED, ties=(DEFECT,)), True, "pass", id="ties-are-no-defects"),
            pytest.param(replace(DECIDED, pictures=0), True, "error", id="no-picture"),
            pytest.param(NONE, True, "error", id="no-decision-on-any-named-picture"),
            pytest.param(NONE, False, "skipped", id="no-pictures-named-and-nothing-decided"),
            pytest.param(DECIDED, False, "pass", id="decisions-on-seeded-inputs-count"),
            pytest.param(replace(NONE, defects=(DEFECT,)), False, "fail", id="something-out-of-nothing"),
        ],
    )
    def test_status(self, decisions: Decisions, status: Status, *, pictures_named: bool) -> None:
        facts = replace(FACTS, decisions=decisions, pictures_named=pictures_named)
        assert check_named("decisions", facts).status == status

    @pytest.mark.parametrize("pictures", [0, 2], ids=["none-compared", "others-compared"])
    def test_a_lost_answer_is_not_told_as_pictures_without_objects(self, pictures: int) -> None:
        lost = (Failure("picture-3", "0.bin is missing"),)
        facts = replace(FACTS, decisions=replace(self.NONE, pictures=pictures), not_run=lost)
        found = check_named("decisions", facts)
        said = "no decision was compared: on 1 of 10 cases there is no answer to compare, first picture-3"
        assert (found.status, found.reason) == ("error", said)

    def test_a_raw_task_has_none(self) -> None:
        assert "decisions" not in {check.name for check in judge(replace(FACTS, decisions=None), {})}

    @pytest.mark.parametrize("unit", ["pictures", "inputs"])
    def test_what_was_decided_on_is_called_what_it_is(self, unit: str) -> None:
        facts = replace(FACTS, decisions=replace(DECIDED, unit=unit))
        assert check_named("decisions", facts).reason.endswith(f"0 defects on 3 {unit}")

    def test_ties_are_counted_in_the_reason(self) -> None:
        facts = replace(FACTS, decisions=replace(DECIDED, ties=(DEFECT, DEFECT)))
        assert "2 ties" in check_named("decisions", facts).reason


@pytest.mark.parametrize(
    ("statuses", "verdict"),
    [
        pytest.param([], "error", id="no-check"),
        pytest.param(["pass"], "pass", id="one-pass"),
        pytest.param(["pass", "pass"], "pass", id="all-pass"),
        pytest.param(["fail"], "fail", id="one-fail"),
        pytest.param(["error"], "error", id="one-error"),
        pytest.param(["skipped"], "error", id="skipped-is-never-a-pass"),
        pytest.param(["skipped", "skipped"], "error", id="all-skipped"),
        pytest.param(["pass", "skipped"], "pass", id="a-pass-beside-a-skipped"),
        pytest.param(["pass", "fail"], "fail", id="a-fail-beside-a-pass"),
        pytest.param(["pass", "error"], "error", id="an-error-beside-a-pass"),
        pytest.param(["fail", "error"], "fail", id="a-fail-outweighs-an-error"),
        pytest.param(["error", "skipped"], "error", id="an-error-beside-a-skipped"),
        pytest.param(["fail", "skipped"], "fail", id="a-fail-beside-a-skipped"),
        pytest.param(["skipped", "error", "pass", "fail"], "fail", id="one-of-each"),
    ],
)
def test_conclude(statuses: list[Status], verdict: str) -> None:
    assert conclude(Check("x", status, "") for status in statuses) == verdict


def verdict_of(facts: Facts) -> Verdict:
    checks = judge(facts, {})
    case = Case("64x64-noise", {"batch": 1}, "noise", 0)
    return Verdict(conclude(checks), checks, (facts,), (case,), ("a note",), "beef", {"cpus": 2})


def test_parity_document() -> None:
    many = (DEFECT,) * (SHOWN_FINDINGS + 5)
    outcome = Outcome(pictures=3, reference=5, matched=5, ties=(DEFECT,), defects=many)
    verdict = verdict_of(replace(FACTS, decisions=Decisions.of(outcome)))
    document = json.loads(json.dumps(verdict.to_json()))
    assert (document["format"], document["verdict"], document["model_sha256"]) == (2, "fail", "beef")
    assert document["decisions"] == {"matched": 5, "ties": 1, "defects": SHOWN_FINDINGS + 5}
    assert len(document["findings"]["defects"]) == SHOWN_FINDINGS
    assert document["findings"]["ties"][0]["case"] == "64x64-noise"
    keys = {"link", "name", "status", "reason", "value", "limit", "leg", "field"}
    assert keys == set(document["checks"][0])
    assert document["measurements"][0]["ratio_rms"] == pytest.approx(1)
    assert document["notes"] == ["a note"]
    assert not verdict.passed


def test_verdict_passes_only_by_its_status() -> None:
    assert verdict_of(FACTS).passed


@pytest.mark.parametrize(
    ("ratio", "status"),
    [
        pytest.param(RATIO_RMS * 4, "pass", id="sums-over-equal-pixels-may-err-more"),
        pytest.param(RATIO_CONSTANT * 1.01, "fail", id="not-without-limit"),
        pytest.param(NAN, "fail", id="nan"),
    ],
)
def test_pictures_of_one_value_have_a_limit_of_their_own(ratio: float, status: Status) -> None:
    constant = replace(HEALTHY, rms_candidate=ratio * HEALTHY.rms_reference)
    facts = replace(FACTS, constant_fields=(constant,))
    assert check_named("ratio_constant", facts).status == status
    assert check_named("ratio_rms", facts).status == "pass"


def test_what_is_not_finite_on_a_picture_of_one_value_fails() -> None:
    facts = replace(FACTS, constant_fields=(replace(HEALTHY, nonfinite=3, nonfinite_case="black"),))
    failed = [check for check in judge(facts, {}) if check.status == "fail"]
    assert [(check.name, check.value) for check in failed] == [("finite", 3)]


def test_the_rows_below_the_jobs_threshold_are_judged_too() -> None:
    rows = replace(DECIDED, matched=200)
    assert check_named("rows", replace(FACTS, all_rows=rows)).status == "pass"
    found = check_named("rows", replace(FACTS, all_rows=replace(rows, defects=(DEFECT,))))
    assert found.status == "fail"
    assert "missing: class 0" in found.reason


def test_a_second_look_is_told() -> None:
    (note,) = second_looks([FACTS, replace(FACTS, leg="ort-cpu-none", repeated=("a", "b"))])
    assert note.startswith("ort-cpu-none: ")
    assert note.endswith("a, b")
