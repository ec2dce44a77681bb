"""The decision budget: what is counted as a changed decision, and what a count proves."""

import io
import math
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from onnxproof.runtime.readings.boxes import Detections
from onnxproof.runtime.tasks.classification import Ranking
from onnxproof.runtime.tasks.multilabel import Labels
from onnxproof.runtime.tasks.segmentation import Segments
from onnxproof.validate.budget.confidence import at_most, lower_bound, trials_needed, upper_bound
from onnxproof.validate.budget.drift import BOX, SCORE, Drift, drift_of
from onnxproof.validate.budget.figures import BudgetFigures, BudgetTally, Kept, Quality, Search, Tried
from onnxproof.validate.budget.judge import judge_budget
from onnxproof.validate.facts import Failure
from onnxproof.validate.policy import DecisionBudget
from onnxproof.validate.report.table import verdict_table
from onnxproof.validate.verdict import Verdict, conclude

LEG = "ort-cpu"


def boxes(*rows: tuple[float, float, float, int]) -> Detections:
    """Detections from left edge, width, score and class; all are 20 px high."""
    found = np.array([(left, 10, left + width, 30) for left, width, _, _ in rows], np.float32).reshape(-1, 4)
    scores = np.array([score for _, _, score, _ in rows], np.float32)
    labels = np.array([label for *_, label in rows], np.int64)
    return Detections(found, scores, labels, np.arange(len(rows)))


def ranked(*probabilities: float) -> Ranking:
    values = np.array(probabilities, np.float32)
    return Ranking(np.argsort(-values, kind="stable"), values)


def present(*probabilities: float) -> Labels:
    values = np.array(probabilities, np.float32)
    return Labels(np.flatnonzero(values > 0.5), values)


def pixels(labels: Any) -> Segments:
    values = np.array(labels, np.int64)
    return Segments(values, np.ones(values.shape, np.float32), None)


TWO = boxes((10, 20, 0.9, 1), (60, 20, 0.8, 2))


@pytest.mark.parametrize(
    ("task", "wanted", "found", "decisions", "changed"),
    [
        pytest.param("detection", TWO, TWO, 2, (0, 0, 0), id="the same"),
        pytest.param("detection", TWO, boxes((10, 20, 0.9, 1)), 2, (1, 0, 0), id="one is missing"),
        pytest.param("detection", boxes((10, 20, 0.9, 1)), TWO, 2, (0, 1, 0), id="one is extra, and counts"),
        pytest.param("detection", TWO, boxes((10, 20, 0.9, 1), (60, 20, 0.8, 3)), 2, (0, 0, 1), id="class"),
        pytest.param(
            "detection", TWO, boxes((10, 20, 0.9, 1), (90, 20, 0.8, 2)), 3, (1, 1, 0), id="elsewhere"
        ),
        pytest.param("detection", boxes(), boxes(), 0, (0, 0, 0), id="nothing on either side"),
        pytest.param("classification", ranked(0.2, 0.7), ranked(0.3, 0.6), 1, (0, 0, 0), id="the same best"),
        pytest.param("classification", ranked(0.2, 0.7), ranked(0.6, 0.3), 1, (0, 0, 1), id="another best"),
        pytest.param("multilabel", present(0.9, 0.1, 0.6), present(0.9, 0.6, 0.4), 3, (1, 1, 0), id="labels"),
        pytest.param("segmentation", pixels([[1, 2]]), pixels([[1, 3]]), 2, (0, 0, 1), id="a pixel"),
    ],
)
def test_what_counts_as_changed(
    task: str, wanted: Any, found: Any, decisions: int, changed: tuple[int, int, int]
) -> None:
    drift = drift_of(wanted, found, task)
    assert (drift.decisions, (drift.missing, drift.extra, drift.flipped)) == (decisions, changed)
    assert bool(drift.told) == any(changed)


def test_how_far_kept_boxes_and_scores_moved() -> None:
    drift = drift_of(TWO, boxes((10, 22, 0.9, 1), (61, 20, 0.7, 2)), "detection")
    assert drift.moved[BOX] == pytest.approx(2)
    assert drift.moved[SCORE] == pytest.approx(0.1)


def test_a_score_that_is_nan_moved_without_limit() -> None:
    drift = drift_of(TWO, boxes((10, 20, math.nan, 1), (60, 20, 0.8, 2)), "detection")
    assert drift.moved[SCORE] == math.inf


def test_the_bound_is_clopper_and_pearsons() -> None:
    for count, trials in ((1, 20), (3, 812), (20, 1479), (400, 500)):
        most, least = upper_bound(count, trials, 0.95), lower_bound(count, trials, 0.95)
        assert at_most(count, trials, most) == pytest.approx(0.05)
        assert 1 - at_most(count - 1, trials, least) == pytest.approx(0.05)
    assert upper_bound(1, 20, 0.95) == pytest.approx(0.2161, abs=1e-4)  # table of Clopper and Pearson
    assert upper_bound(0, 812, 0.95) == pytest.approx(0.00368, abs=1e-5)
    assert (lower_bound(0, 812, 0.95), upper_bound(5, 5, 0.95)) == (0, 1)


def test_how_many_decisions_prove_a_limit() -> None:
    assert trials_needed(0, 0.001, 0.95) == 2995
    for count in (0, 2):
        needed = trials_needed(count, 0.01, 0.95)
        assert upper_bound(count, needed, 0.95) <= 0.01 < upper_bound(count, needed - 1, 0.95)
    assert at_most(5, 5, 1.0) == 1


def figures(changed: int, decisions: int, **more: Any) -> BudgetFigures:
    kept = Drift(decisions - changed, moved={BOX: 0.5, SCORE: 0.01})
    lost = Drift(changed, missing=changed, told=("missing: class 1",) * changed)
    tally = BudgetTally().add("a.png", kept).add("b.png", lost)
    return BudgetFigures(
        **{"leg": LEG, "reference": "torch-float32", "tally": tally, "dependent": False, **more}
    )


def statuses(found: BudgetFigures, **limits: float) -> dict[str, str]:
    return {check.name: check.status for check in judge_budget(found, DecisionBudget(**limits))}


@pytest.mark.parametrize(
    ("changed", "decisions", "status"),
    [
        pytest.param(0, 3000, "pass", id="none of enough"),
        pytest.param(0, 812, "error", id="none of too few"),
        pytest.param(1, 3000, "error", id="one of too few"),
        pytest.param(20, 1479, "fail", id="shown to be more"),
        pytest.param(0, 0, "error", id="nothing was decided"),
    ],
)
def test_a_count_passes_fails_or_is_too_small_to_tell(changed: int, decisions: int, status: str) -> None:
    assert statuses(figures(changed, decisions))["changed"] == status


def test_too_few_pictures_say_how_many_would_do() -> None:
    check = next(one for one in judge_budget(figures(0, 812), DecisionBudget()) if one.name == "changed")
    assert "0 of 812 decisions changed on 2 pictures: between 0 % and 0.37 %" in check.reason
    assert "2,995 decisions" in check.reason


def test_pixels_are_held_to_the_share_itself() -> None:
    assert statuses(figures(1, 100, dependent=True), changed=0.02)["changed"] == "pass"
    assert statuses(figures(3, 100, dependent=True), changed=0.02)["changed"] == "fail"


@pytest.mark.parametrize(
    ("more", "limits", "name"),
    [
        ({}, {"box_px": 0.4}, "box"),
        ({}, {"score": 0.001}, "score"),
        ({"quality": (Quality("mAP", 0.8, 0.79),)}, {}, "map_drop"),
        ({"not_run": (Failure("a.png", "no kernel"),)}, {}, "runs"),
        ({"not_finite": ("a.png",)}, {}, "finite"),
    ],
    ids=("box", "score", "mAP", "does not run", "NaN"),
)
def test_each_limit_fails_by_itself(more: dict[str, Any], limits: dict[str, float], name: str) -> None:
    found = statuses(figures(0, 3000, **more), **limits)
    assert [key for key, status in found.items() if status == "fail"] == [name]


def test_without_labels_the_drop_is_skipped_and_an_unmeasured_one_is_an_error() -> None:
    assert statuses(figures(0, 3000))["map_drop"] == "skipped"
    assert statuses(figures(0, 3000, quality=(Quality("mAP", math.nan, math.nan),)))["map_drop"] == "error"


def test_tallies_merge_in_any_order() -> None:
    drifts = {f"{n}.png": Drift(n, missing=n % 2, moved={BOX: float(n % 3)}) for n in range(6)}
    parts = [BudgetTally().add(name, drift) for name, drift in drifts.items()]
    forward, backward = BudgetTally(), BudgetTally()
    for part in parts:
        forward = forward.merge(part)
    for part in reversed(parts):
        backward = backward.merge(part)
    assert forward == backward
    assert (forward.pictures, forward.decisions, forward.changed) == (6, 15, 3)
    assert forward.moved[0].largest == 2


def test_a_verdict_keeps_its_budget_in_json() -> None:
    found = figures(2, 50, quality=(Quality("mAP", 0.8, 0.75),), not_run=(Failure("c.png", "no"),))
    checks = judge_budget(found, DecisionBudget())
    policy = DecisionBudget().to_json()
    made = Verdict(conclude(checks), checks, (), (), (), "0" * 64, {}, policy=policy, budget=found)
    back = Verdict.from_json(made.to_json())
    assert back == made
    assert {one.link for one in back.links if one.status != "skipped"} == {"runtime", "decisions"}


def test_a_search_of_before_has_one_confidence_for_all_its_files() -> None:
    tried = (Tried(0, False, 5, 90, 0.05, 1.5, 0.01, 0.7, 0.3, 0.99),)
    found = figures(2, 50, search=Search(4, 0.99, (), (), tried))
    document = found.to_json()
    del document["search"]["tried"][0]["confidence"]
    assert BudgetFigures.from_json(document) == found


def test_the_terminal_shows_the_curve_of_a_search() -> None:
    tried = tuple(Tried(kept, kept > 1, 5 - kept, 90, 0.05, 1.5, 0.01, 0.7, 0.3, 0.975) for kept in (0, 2))
    search = Search(4, 0.99, (Kept("last", "a last layer"),), (Kept("first", "it costs 2"),), tried)
    found = figures(2, 50, search=search)
    checks = judge_budget(found, DecisionBudget(changed=0.5))
    policy = DecisionBudget().to_json()
    made = Verdict(conclude(checks), checks, (), (), (), "0" * 64, {}, policy=policy, budget=found)
    assert Verdict.from_json(made.to_json()) == made
    shown = io.StringIO()
    Console(width=110, file=shown).print(verdict_table(made))
    told = shown.getvalue()
    assert "files with some of 4 parts in float32" in told
    assert "3 of 90" in told
    assert "5.00% at 97.50%" in told
    assert told.count("meets the budget") == 1
    assert "decisions  2 of 50 decisions changed" in told
