"""Two verdicts side by side, as a table for the terminal."""

from rich.console import RenderableType
from rich.text import Text

from onnxproof.text import one_line
from onnxproof.validate.baseline import Change, SideBySide
from onnxproof.validate.report.grid import Grid

SHOWN = 20
"""How many checks that moved without getting worse the table shows."""

STYLES = {"worse": "bold red", "new": "yellow", "within": "", "better": "green", "same": "dim"}

NOTHING = "-"


def against_table(found: SideBySide) -> RenderableType:
    """The checks that got worse, and those whose figures moved; below, what else differs."""
    title = f"against the baseline (verdict {found.baseline_status}, file {found.baseline_sha256[:12]})"
    moved = [change for change in found.changes if change.moved not in ("same", "worse")]
    shown = [*found.worse, *moved[:SHOWN]]
    same = len(found.changes) - len(found.worse) - len(moved)
    rest = f", {len(moved) - SHOWN} more moved within noise" if len(moved) > SHOWN else ""
    below = [f"{same} checks are as they were{rest}"]
    if found.ties_before != found.ties_now:
        below.append(f"ties: {found.ties_before} before, {found.ties_now} now")
    if found.lost:
        below.append(f"cases that are not tried any more: {', '.join(found.lost[:5])}")
    if found.differs:
        told = ", ".join(
            f"{one.name} {_short(one.before)} before, {_short(one.now)} now" for one in found.differs
        )
        below.append(f"what differs: {told}")
    said = one_line("; ".join(below))
    if not shown:
        return Text(f"{title}: {said}")
    return Grid(
        title=title,
        headings=("check", "before", "now", "may rise to", ""),
        rows=tuple(map(_row, shown)),
        named_last=True,
        below=said,
    )


def _row(change: Change) -> tuple[Text, ...]:
    name = " ".join(filter(None, (change.name, change.field, change.leg)))
    cells = (
        name,
        _figure(change.before, change.status_before),
        _figure(change.now, change.status_now),
        NOTHING if change.allowed is None else f"{change.allowed:.3g}",
        {"worse": "worse", "new": "new", "within": "noise", "better": "better"}[change.moved],
    )
    return tuple(Text(one_line(cell), style=STYLES[change.moved]) for cell in cells)


def _figure(value: float | None, status: str) -> str:
    if value is None:
        return status
    return f"{value:.3g}" if status in ("pass", "fail") else f"{value:.3g}, {status}"


def _short(value: object) -> str:
    return str(value)[:12]
