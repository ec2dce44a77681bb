"""Places that were chosen by scores: equal scores in another order are a tie, other places are not."""

import re
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from contracts import contract

from onnxproof.runtime.port import Port
from onnxproof.tensors import Dim, Field, TensorSpec
from onnxproof.validate.cases import Case
from onnxproof.validate.judge import judge
from onnxproof.validate.legs import choices
from onnxproof.validate.legs.choices import Choice, compare_scores
from onnxproof.validate.legs.leg import Answer, Arrays, Ports, Truth
from onnxproof.validate.measure import LabelMeasurement
from onnxproof.validate.pools import LabelPool
from onnxproof.validate.sweep import sweep
from onnxproof.validate.trial import Trial
from onnxproof.validate.verdict import Check

INF = np.inf


def chosen(scores: Any, places: Any, values: Any = None, *, distinct: bool = True) -> Choice:
    """The places [b, k] chosen from scores [b, n]."""
    table, found = np.array(scores, np.float64), np.array(places)
    told = np.broadcast_to(np.arange(table.shape[1]), table.shape) if values is None else np.array(values)
    rows = np.broadcast_to(np.arange(len(table))[:, None], found.shape)
    return Choice(table, rows, found, told, distinct)


SCORES = [[0.9, 0.5, 0.5, 0.1], [0.2, 0.2, 0.7, 0.2]]
TOP = chosen(SCORES, [[0, 1], [2, 0]])


@pytest.mark.parametrize(
    ("choice", "found", "gaps"),
    [
        pytest.param(TOP, [[0, 1], [2, 0]], [[0, 0], [0, 0]], id="the-same"),
        pytest.param(TOP, [[0, 2], [2, 3]], [[0, 0], [0, 0]], id="equal-scores"),
        pytest.param(TOP, [[0, 3], [2, 0]], [[0, 0.4], [0, 0]], id="a-lower-score"),
        pytest.param(TOP, [[1, 0], [2, 0]], [[0.4, 0.4], [0, 0]], id="in-another-order"),
        pytest.param(TOP, [[0, 4], [-1, 0]], [[0, INF], [INF, 0]], id="no-such-place"),
        pytest.param(TOP, [[0, 0], [2, 0]], [[INF, INF], [0, 0]], id="one-place-twice"),
        pytest.param(
            chosen(SCORES, [[0, 1], [2, 0]], [[3, 4, 4, 5], [6, 6, 6, 7]], distinct=False),
            [[3, 4], [6, 7]],
            [[0, 0], [0, 0]],
            id="what-is-computed-from-places",
        ),
        pytest.param(
            chosen(SCORES, [[0, 1], [2, 0]], [[3, 4, 4, 5], [6, 6, 6, 7]], distinct=False),
            [[3, 5], [7, 8]],
            [[0, 0.4], [0.5, INF]],
            id="and-something-else",
        ),
        pytest.param(chosen([[np.nan, 1, 2]], [[0]]), [[1]], [[INF]], id="nan-against-a-number"),
        pytest.param(chosen([[np.nan, np.nan, 2]], [[0]]), [[1]], [[0]], id="nan-against-nan"),
        pytest.param(chosen([[-INF, -INF, 2]], [[0]]), [[1]], [[0]], id="masked-scores"),
    ],
)
def test_gaps_are_those_of_the_scores(choice: Choice, found: Any, gaps: Any) -> None:
    np.testing.assert_allclose(choice.gaps(np.array(found)), np.array(gaps, float))


def test_gaps_in_parts_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(0)
    scores = random.random((5, 40))
    choice = chosen(scores, np.argsort(-scores, axis=1)[:, :8])
    found = random.integers(0, 40, (5, 8))
    whole = choice.gaps(found)
    monkeypatch.setattr(choices, "CHUNK", 100)
    np.testing.assert_array_equal(choice.gaps(found), whole)


def test_only_the_scores_that_were_chosen_count_for_the_error() -> None:
    other = chosen([[0.9 + 1e-6, 0.5, 0.5, 0.9], [0.2, 0.2, 0.7, 0.2]], [[0, 1], [2, 0]])
    found = compare_scores(TOP, other)
    assert found.error == pytest.approx(1e-6)
    assert found.scale == 0.9
    assert not found.parted.any()


def test_rows_whose_scores_the_model_decided_otherwise_are_open() -> None:
    other = chosen([[0.9 + 1e-6, 0.5, 0.5, 0.1], [0.2, 0.2, 0.0, 0.2]], [[0, 1], [0, 1]])
    found = compare_scores(TOP, other)
    assert found.parted.tolist() == [False, True]
    assert found.error == pytest.approx(1e-6)
    assert compare_scores(TOP, chosen([[0.9]], [[0]])).parted.all()


def test_a_number_next_to_a_threshold_is_open_only_within_the_error_of_the_number() -> None:
    rows = np.zeros(1, np.int64)
    values = np.array([[False, True]])
    sides = [
        Choice(np.array([[ahead, 3 * ahead]]), rows, rows, values, distinct=False, rounded=True, compared=0.5)
        for ahead in (3e-5, 3e-5 + 6e-8)
    ]
    assert not compare_scores(*sides).parted.any()
    far = replace(sides[1], scores=sides[1].scores + 1e-3)
    assert compare_scores(sides[0], far).parted.all()


X = TensorSpec("x", "float32", ("batch", 12), (0.0, 1.0))
PLACES = TensorSpec("places", "int64", ("batch", 4))
CONTRACT = contract(
    inputs=(X,),
    outputs=(PLACES,),
    dims=(Dim("batch", 1, 8),),
    fields=(Field("places", "places", "", kind="label"),),
)


@dataclass(frozen=True)
class Top:
    """A leg that returns the places of the four best of its input, rounded to tenths, with noise.

    The noise follows from the length of the name.
    """

    name: str
    noise: float = 0.0
    shift: int = 0
    drops: int = 0
    tells: bool = True

    @property
    def ports(self) -> Ports:
        inputs, outputs = (Port(spec.name, spec.dtype, spec.shape) for spec in (X, PLACES))
        return Ports((inputs,), (outputs,))

    def run(self, inputs: Arrays) -> Answer:
        x = np.round(inputs["x"].astype(np.float64), 1)
        random = np.random.default_rng(len(self.name))
        scores = x + self.noise * random.uniform(-1, 1, x.shape)
        # A decision before the choice: in this leg the first rows have lost their best score.
        scores[: self.drops] *= scores[: self.drops] < scores[: self.drops].max(axis=1, keepdims=True)
        places = np.argsort(-scores, axis=1, kind="stable")[:, :4]
        choices = {"places": chosen(scores, places)} if self.tells else {}
        return Answer({"places": (places + self.shift) % 12}, {}, choices)


def flips(candidate: Top, *, tells: bool = True, drops: int = 0) -> Check:
    """The check on the places; the reference drops scores of some rows of five."""
    return judged(candidate, Top("oracle", tells=tells), Top("reference", 1e-6, drops=drops, tells=tells))[0]


def judged(candidate: Top, oracle: Top, reference: Top) -> tuple[Check, LabelMeasurement]:
    """The check on the integers, and what was measured of them."""
    cases = tuple(Case(f"{seed}", {"batch": 5}, "noise", seed) for seed in range(4))
    truth = Truth(oracle, reference)
    (facts,) = sweep(Trial(CONTRACT, truth, (replace(candidate, tells=False),), cases))
    (check,) = (check for check in judge(facts, {}) if check.field == "places")
    return check, facts.labels[0]


def test_equal_scores_in_another_order_are_ties() -> None:
    check = flips(Top("the candidate", 1e-6))
    assert check.status == "pass"
    assert "labels differ; the oracle's largest gap between the scores of the two places" in check.reason


@pytest.mark.parametrize(
    "damage", [Top("candidate", 1e-6, shift=1), Top("candidate", 0.3)], ids=["next-place", "rough-scores"]
)
def test_other_places_are_defects(damage: Top) -> None:
    assert flips(damage).status == "fail"


def test_without_scores_no_flip_is_excused() -> None:
    check = flips(Top("the candidate", 1e-6), tells=False)
    assert check.status == "fail"
    assert re.fullmatch(r"\d+ of 720 values differ, first in 0", check.reason), check.reason
    assert check.value == int(check.reason.split()[0])
    assert check.limit == 0


def test_what_pytorch_itself_rounds_to_is_no_flip() -> None:
    """The noise is that of the reference: both names are as long."""
    assert flips(Top("candidate", 1e-6), tells=False).status == "pass"


def test_where_pytorchs_own_runs_decide_otherwise_a_flip_is_a_tie_and_elsewhere_it_is_not() -> None:
    assert flips(Top("candidate", 1e-6, drops=1)).status == "fail"
    assert flips(Top("candidate", 1e-6, drops=1), drops=1).status == "pass"
    assert flips(Top("candidate", 1e-6, drops=3), drops=1).status == "fail"
    assert flips(Top("candidate", 1e-6, shift=1), drops=1).status == "fail"


def test_where_they_mostly_do_nothing_is_proved_but_damage_elsewhere_is_found() -> None:
    check = flips(Top("candidate", 1e-6), drops=4)
    assert (check.name, check.status) == ("compared", "error")
    assert "64 of 80 labels are places chosen by scores" in check.reason
    assert flips(Top("candidate", 1e-6, shift=1), drops=4).status == "fail"


@dataclass(frozen=True)
class Tiers(Top):
    """A leg that rounds four floats down. ``moves`` is by how much its floats are off."""

    moves: float = 0.0

    def run(self, inputs: Arrays) -> Answer:
        floats = inputs["x"][:, :4].astype(np.float64) * 50 + self.moves
        floats += self.noise * np.random.default_rng(len(self.name)).uniform(-1, 1, floats.shape)
        low, x = np.floor(floats).reshape(-1, 1), floats.reshape(-1, 1)
        scores = np.concatenate((x - 2 * (x - low), x, x + 2 * (low + 1 - x)), axis=1)
        rows = np.arange(floats.size).reshape(floats.shape)
        values = low.astype(np.int64) + np.array([-1, 0, 1])
        found = Choice(scores, rows, np.ones_like(rows), values, distinct=False, rounded=True)
        tiers = np.floor(floats).astype(np.int64) + self.shift
        return Answer({"places": tiers}, {}, {"places": found} if self.tells else {})


@pytest.mark.parametrize(
    ("candidate", "status", "reason"),
    [
        (Tiers("candidate", 1e-5), "pass", "none of 80 numbers differs"),
        (
            Tiers("candidate", moves=0.1),
            "fail",
            r"\d+ of 720 numbers that the model rounds or compares differ; a float would have to move by "
            r"0\.(09\d*|1) for that, in \d",
        ),
        (
            Tiers("candidate", shift=2),
            "fail",
            "720 of 720 numbers that the model rounds or compares differ; in 0 by more than to the next "
            "number, which no float error explains",
        ),
    ],
    ids=["float-error", "floats-that-are-off", "other-numbers"],
)
def test_numbers_that_are_rounded_are_told_as_such(candidate: Tiers, status: str, reason: str) -> None:
    check, label = judged(candidate, Tiers("oracle"), Tiers("reference", 1e-5))
    assert check.status == status
    assert re.fullmatch(reason, check.reason), check.reason
    assert label.kind == "rounded"


@pytest.mark.parametrize("led", [True, False], ids=["with-margins", "without"])
def test_integers_of_a_raw_output_that_have_margins_are_classes(led: bool) -> None:
    """A file's own ArgMax tells its leads; merging keeps what either pool knows."""
    pools = [LabelPool("places", ""), LabelPool("places", "")]
    found, margins = np.array([1, 2]), np.array([0.5, 1e-9])
    pools[1].add("a", np.array([1, 3]), found, margins if led else None)
    pools[0].merge(pools[1])
    measured = pools[0].result()
    assert (measured.kind, measured.flips) == ("class" if led else "value", 1)
