"""A part of the soundness benchmark, small enough for every commit: no false alarm, and what the verdict
claims to find is found. ``python benchmarks/verdict.py`` measures all of it."""

import math
import pickle
from collections.abc import Callable, Iterable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from once import Once
from soundness.fault import Fault
from soundness.faults import FAULTS
from soundness.measure import SELDOM, Row, fault_rows, healthy_rows
from soundness.peers import PEERS
from soundness.report import CLAIMED, SHOWN
from soundness.subjects import BY_NAME

HEALTHY = {
    "classifier": ("torch.export, opset 20, onnxsim", "torchscript, opset 17, onnxsim"),
    "encoder": ("torch.export, opset 25, none", "torchscript, opset 20, none"),
    "reader": ("torchscript, opset 18, none",),
}
"""Trained and seeded; both exporters; the oldest and the newest opset."""

DAMAGED = ("classifier", "small-variance", "encoder")

SLOW, LONG = pytest.mark.slow, pytest.mark.long

ACTS_ELSEWHERE = {"NaN on one input in so many"}
"""Kinds that none of the cases need show."""


def rows(subjects: Iterable[str], *slow: str, long: Iterable[str] = ()) -> list[Any]:
    """The subjects as rows of a test, and after them those of ``long``; who is named there is marked so."""
    marks = dict.fromkeys(subjects, ()) | dict.fromkeys(slow, SLOW) | dict.fromkeys(long, LONG)
    return [pytest.param(name, marks=mark) for name, mark in marks.items()]


RowsOf = Callable[[str], tuple[Row, ...]]


@pytest.fixture(scope="module")
def rows_of(once: Once) -> RowsOf:
    """The rows of all faults of a subject, measured once."""

    def measured(subject: str) -> tuple[Row, ...]:
        planted: list[Fault] = [fault for fault in FAULTS if fault.subject == subject]
        assert planted

        def make(folder: Path) -> None:
            with TemporaryDirectory() as files:
                rows = tuple(fault_rows(BY_NAME[subject], planted, Path(files)))
            (folder / "rows.pickle").write_bytes(pickle.dumps(rows))

        folder = once(f"soundness rows of {subject}", make)
        rows: tuple[Row, ...] = pickle.loads((folder / "rows.pickle").read_bytes())
        return rows

    return measured


@pytest.mark.parametrize("subject", rows(HEALTHY, "classifier", "encoder"))
def test_no_healthy_export_is_refused_at_any_level_or_thread_count(subject: str, tmp_path: Path) -> None:
    rows = list(healthy_rows(BY_NAME[subject], tmp_path, HEALTHY[subject].__contains__, peers=False))
    assert len(rows) == 8 * len(HEALTHY[subject])
    assert [row for row in rows if row.verdict != "pass"] == []


@pytest.mark.parametrize("subject", rows(DAMAGED, "classifier", "encoder", long=("maskrcnn",)))
def test_what_changes_the_function_is_found(subject: str, rows_of: RowsOf) -> None:
    claimed = [
        row
        for row in rows_of(subject)
        if row.effect is not None and row.effect > CLAIMED and row.name not in ACTS_ELSEWHERE
    ]
    assert len(claimed) >= 2
    assert [row for row in claimed if row.verdict == "pass"] == []


@pytest.mark.parametrize("subject", rows(DAMAGED, "classifier", "encoder", long=("maskrcnn",)))
def test_what_hides_in_float_error_is_found_by_the_function_link_alone(subject: str, rows_of: RowsOf) -> None:
    """The runtime's own links do not cry wolf at what nobody can tell from rounding."""
    hidden = [row for row in rows_of(subject) if row.effect is not None and row.effect < 0.3]
    assert [row for row in hidden if not SHOWN.union({"function"}).issuperset(row.failed)] == []


@pytest.mark.slow
def test_the_measured_ratio_is_the_true_effect(rows_of: RowsOf) -> None:
    """The verdict's figures, that of the link that fails, and the effect are measured by different means."""
    known = [
        row
        for subject in DAMAGED
        for row in rows_of(subject)
        if row.effect and 0.01 < row.effect < math.inf and row.name not in SELDOM
    ]
    assert len(known) >= 5
    for row in known:
        measured = row.function if "function" in row.failed else row.rms
        # The function link is measured on some of the cases, the effect on all.
        assert row.effect is not None
        assert row.effect / 2 < measured < 2 * row.effect, row


@pytest.mark.slow
def test_every_tool_in_use_lets_something_pass_that_is_found(rows_of: RowsOf) -> None:
    found = [row for subject in DAMAGED for row in rows_of(subject) if row.verdict == "fail"]
    for peer in PEERS:
        assert any(row.peers[peer.name] for row in found), peer.name
