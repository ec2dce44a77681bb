"""Many verdicts together: what a report says of each job, how many of what, and the matrix of a job file."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from onnxproof.text import one_line
from onnxproof.validate.report.subject import Subject
from onnxproof.validate.report.words import message_of, not_passed, title_of
from onnxproof.validate.verdict import Verdict

NOTHING = "-"

LONGEST = 200
"""Characters of a reason that a table shows."""

HEADINGS = ("job", "verdict", "done", "seconds", "why")


@dataclass(frozen=True, slots=True)
class Entry:
    """One job in a report on many.

    ``state`` is what was done: "exported", "validated", "up to date", "failed" or "not run". ``verdict`` is
    None if there is none; ``error`` says why if the job failed. ``axes`` are the values of a matrix that the
    job has, as pairs of a key and a text.
    """

    subject: Subject
    state: str
    verdict: Verdict | None = None
    error: str = ""
    axes: tuple[tuple[str, str], ...] = ()

    @property
    def status(self) -> str:
        """The verdict's status, or "-"."""
        return NOTHING if self.verdict is None else self.verdict.status

    @property
    def said(self) -> str:
        """Why the job did not pass, in a line; empty if it did."""
        if self.verdict is None:
            return self.error
        wrong = next((one for one in not_passed(self.verdict) if one.status == self.verdict.status), None)
        return "" if wrong is None else f"{title_of(wrong)}: {message_of(wrong)}"

    @property
    def good(self) -> bool:
        """Whether there is nothing to act on."""
        return self.status == "pass" or (self.verdict is None and self.state in ("exported", "up to date"))


@dataclass(frozen=True, slots=True)
class Matrix:
    """The jobs of one file by two keys: the last key that varies by column, the others by row."""

    source: str
    corner: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, tuple[Entry | None, ...]], ...]


def told(entries: Sequence[Entry]) -> str:
    """How many jobs there are, and what came of them: "4 jobs: 2 pass, 1 fail, 1 failed; 1 up to date"."""
    counted = Counter(one.state if one.status == NOTHING else one.status for one in entries)
    names = [*("pass", "fail", "error", "exported", "failed", "not run"), *sorted(counted)]
    parts = [f"{counted[name]} {name}" for name in dict.fromkeys(names) if counted[name]]
    kept = sum(one.state == "up to date" for one in entries)
    jobs = "1 job" if len(entries) == 1 else f"{len(entries)} jobs"
    return f"{jobs}: {', '.join(parts)}" + (
        f"; {kept} up to date" if kept and counted["up to date"] != kept else ""
    )


def matrices(entries: Iterable[Entry]) -> tuple[Matrix, ...]:
    """A matrix for each job file that varies two keys or more."""
    by_source: dict[str, list[Entry]] = {}
    for one in entries:
        if len(one.axes) > 1 and one.subject.job is not None:
            by_source.setdefault(one.subject.job, []).append(one)
    return tuple(_matrix(source, own) for source, own in by_source.items())


def _matrix(source: str, entries: Sequence[Entry]) -> Matrix:
    columns = tuple(dict.fromkeys(one.axes[-1][1] for one in entries))
    rows: dict[str, dict[str, Entry]] = {}
    for one in entries:
        rows.setdefault(", ".join(text for _, text in one.axes[:-1]), {})[one.axes[-1][1]] = one
    *keys, last = (key for key, _ in entries[0].axes)
    return Matrix(
        source,
        f"{', '.join(keys)} \\ {last}",
        columns,
        tuple((name, tuple(map(found.get, columns))) for name, found in rows.items()),
    )


def cell_text(entry: Entry | None) -> str:
    """What a matrix shows of a job: its verdict, or what became of it."""
    return "" if entry is None else entry.state if entry.status == NOTHING else entry.status


def row_of(entry: Entry) -> tuple[str, ...]:
    """A job's cells under ``HEADINGS``."""
    seconds = f"{entry.subject.seconds:.0f}" if entry.subject.stages else NOTHING
    said = one_line(entry.said)
    short = said if len(said) <= LONGEST else f"{said[:LONGEST]}…"
    return entry.subject.name, entry.status, entry.state, seconds, short
