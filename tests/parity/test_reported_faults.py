"""The benchmark's reported faults: what is registered, and that each damaged file
is damaged."""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from soundness.reported import FAULTS
from soundness.reported.effect import effect_of
from soundness.reported.fault import Reported, make_pair
from soundness.reported.measure import verdicts_of

ASKED = 40
CLAIMED = 1e-3
"""The least effect of a fault, in units of PyTorch's float32 error."""

SOURCE = re.compile(r"[\w.-]+/[\w.-]+#\d+|arXiv:\d{4}\.\d{5}")
QUICK = ("clip_arguments_lost", "hard_sigmoid_default_slope", "round_half_up", "output_deleted")
"""Those that the short run makes."""


def test_names_are_unique_and_as_many_as_promised() -> None:
    assert len({fault.name for fault in FAULTS}) == len(FAULTS) >= ASKED


def test_each_fault_says_where_it_was_reported_and_what_went_wrong() -> None:
    for fault in FAULTS:
        assert SOURCE.fullmatch(fault.source), fault.name
        assert fault.right != fault.wrong
        assert re.fullmatch(r"[a-z0-9_]+", fault.name)


def in_runs(faults: Iterable[Reported]) -> list[Any]:
    """The faults as rows of a test; all but the quick ones are slow."""
    return [
        pytest.param(fault, id=fault.name, marks=() if fault.name in QUICK else pytest.mark.slow)
        for fault in faults
    ]


@pytest.mark.parametrize("fault", in_runs(FAULTS))
def test_the_damaged_file_computes_something_else_and_fails_alone(fault: Reported, tmp_path: Path) -> None:
    pair = make_pair(fault, tmp_path)
    assert effect_of(fault, pair) > CLAIMED
    healthy, damaged = verdicts_of(fault, pair)
    assert healthy.status == "pass"
    assert [check for check in healthy.checks if check.status in ("fail", "error")] == []
    assert damaged.status == "fail"
