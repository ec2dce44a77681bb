"""The table of runtimes: where a file was tried, and what came of it."""

from onnxproof.text import one_line
from onnxproof.validate.facts import Facts
from onnxproof.validate.runtimes.row import RuntimeRow
from onnxproof.validate.verdict import Verdict

HEADINGS = ("runtime", "where", "link runtime", "link decisions", "verdict")

GAP = "  "


def runtime_unit(verdict: Verdict) -> str:
    """What the errors of the link ``runtime`` are divided by, in words."""
    witness = verdict.facts[0].witness if verdict.facts else "PyTorch"
    return f"what {(verdict.policy or {}).get('yardstick') or f'{witness} errs in float32'}"


def runtime_cells(verdict: Verdict) -> tuple[tuple[str, ...], ...]:
    """A row of cells for each runtime, in the order of HEADINGS; empty if none was asked for."""
    return tuple(tuple(map(one_line, _cells(verdict, row))) for row in verdict.runtimes)


def runtime_lines(verdict: Verdict) -> list[str]:
    """The table in lines of plain text, and a line for each note; empty if no runtime was asked for."""
    rows = [HEADINGS, *runtime_cells(verdict)]
    if len(rows) == 1:
        return []
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        GAP.join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    ]
    return ["", *lines, "", *runtime_notes(verdict)]


def runtime_notes(verdict: Verdict) -> list[str]:
    """What runtimes compute otherwise by design, a line each."""
    return [one_line(f"{row.leg}: {row.note}") for row in verdict.runtimes if row.note and not row.absent]


def _cells(verdict: Verdict, row: RuntimeRow) -> tuple[str, ...]:
    name = f"{row.runtime} {row.version}".rstrip()
    status, links = verdict.of_leg(row.leg)
    if row.absent:
        return name, row.where, "-", "-", f"{status}: {row.absent}"
    facts = next((one for one in verdict.facts if one.leg == row.leg), None)
    of = {one.link: one.status for one in links}
    return name, row.where, _errors(facts, of["runtime"]), _decisions(facts, of["decisions"]), status


def _errors(facts: Facts | None, status: str) -> str:
    """The link's status, and the largest ratios of any field by rms and by maximum."""
    fields = [] if facts is None else [one for one in facts.fields if one.count]
    if not fields:
        return status
    rms, largest = (max(getattr(one, kind) for one in fields) for kind in ("ratio_rms", "ratio_max"))
    return f"{status}: {rms:.3g} rms, {largest:.3g} max"


def _decisions(facts: Facts | None, status: str) -> str:
    found = None if facts is None else facts.decisions
    if found is None or status == "skipped":
        return status
    return f"{status}: {found.matched} matched, {found.tie_count} ties, {found.defect_count} defects"
