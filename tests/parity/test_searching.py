"""Which file a search ships, by what each file that it tries would change."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from onnxproof.job import Job
from onnxproof.steps import searching
from onnxproof.validate.budget.confidence import upper_bound
from onnxproof.validate.budget.figures import BudgetFigures, BudgetTally, Kept, Tried
from onnxproof.validate.policy import DecisionBudget

PARTS = tuple(f"layer{number}" for number in range(60))
PICTURES = 600

Changed = Callable[[int], int]
"""How many decisions of ``PICTURES`` a file changes that keeps so many parts."""


class OfParts:
    """A maker of files whose parts cost the less, the later they come."""

    parts = PARTS
    fixed = ()

    def ranking(self) -> tuple[Kept, ...]:
        return tuple(Kept(name, "it costs most") for name in PARTS)


@pytest.fixture
def search(monkeypatch: pytest.MonkeyPatch) -> Callable[..., searching.Chosen]:
    """``search(changed, budget)`` is the file that is shipped."""

    def search(changed: Changed, budget: float) -> searching.Chosen:
        def tried(*given: Any) -> searching._Attempt:
            kept: Sequence[str] = given[5]
            held: DecisionBudget = given[6]
            many = changed(len(kept))
            tally = BudgetTally(PICTURES, PICTURES, many, 0, 0, (), ())
            share = upper_bound(many, PICTURES, held.confidence)
            passed = share <= held.changed
            told = Tried(len(kept), passed, many, PICTURES, share, 0, 0, 0.5, 0.3, held.confidence)
            return searching._Attempt(
                BudgetFigures("ort-cpu", "torch-float32", tally, False), (), passed, told
            )

        monkeypatch.setattr(searching, "_tried", tried)
        document = {
            "name": "small",
            "model": {"family": "module", "builder": "net:build"},
            "precision": {"mode": "int8", "images": "*.png", "budget": {"changed": budget}},
        }
        job = Job.from_document(document, folder=Path(), source="small.toml")
        maker: Any = OfParts()
        nothing: Any = None
        return searching.search(job, maker, nothing, Path(), nothing, lambda *_: None)

    return search


def test_the_first_file_has_half_of_the_risk(search: Callable[..., searching.Chosen]) -> None:
    """One of 600 is below 0.93 % at 97.5 %. At the confidence of the others it would not be below 1 %."""
    chosen = search(lambda kept: 0 if kept else 1, budget=0.01)
    assert (chosen.kept, chosen.tries) == ((), 2)
    assert chosen.budget is not None
    assert chosen.budget.confidence == pytest.approx(0.975)
    assert upper_bound(1, PICTURES, 1 - 0.05 / 14) > 0.01


def test_the_risk_of_all_files_is_the_budgets(search: Callable[..., searching.Chosen]) -> None:
    chosen = search(lambda kept: max(0, 20 - kept), budget=0.01)
    assert len(chosen.kept) == 20
    assert chosen.budget is not None
    assert chosen.figures is not None
    assert chosen.figures.search is not None
    tried = chosen.figures.search.tried
    risks = [1 - one.confidence for one in tried]
    assert risks[0] == pytest.approx(0.025)
    assert set(risks[1:]) == {risks[1]}
    assert risks[1] == pytest.approx(0.05 / chosen.tries) == pytest.approx(1 - chosen.budget.confidence)
    assert sum(risks) <= 0.05 + 1e-12
    assert len(tried) == 7


def test_a_file_that_fails_is_told_at_its_own_confidence(search: Callable[..., searching.Chosen]) -> None:
    chosen = search(lambda kept: 20, budget=0.01)
    assert (chosen.kept, chosen.tries) == ((), 2)
    assert chosen.budget is not None
    assert chosen.budget.confidence == pytest.approx(0.975)
    assert "no file with up to 59 of 60 parts in float32 meets the budget" in chosen.notes[0]
