"""A verdict as a table for the terminal."""

from collections.abc import Mapping
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from onnxproof.text import one_line
from onnxproof.validate.budget.figures import Search
from onnxproof.validate.dataset.figures import DatasetFigures
from onnxproof.validate.facts import Facts
from onnxproof.validate.measure import Measurement
from onnxproof.validate.policy import DATASET_DIFFERENCE
from onnxproof.validate.report.grid import Grid
from onnxproof.validate.report.runtimes import HEADINGS, runtime_cells, runtime_notes, runtime_unit
from onnxproof.validate.report.short import not_passed, note_lines, verdict_line
from onnxproof.validate.verdict import Verdict, link_lines

STYLES = {"pass": "green", "fail": "bold red", "error": "bold yellow", "skipped": "dim"}
SHOWN_FINDINGS = 5

NOTHING = "-"
"""Takes a figure's place where no value was compared, such as in a file that never ran."""

LEAST = (0, 8, 8, 13, 12, 0)
"""Columns' widths that hold every figure, so that two runs of one job line up: "1.23e+03", "lead 1.6e-08"."""


def verdict_table(verdict: Verdict) -> RenderableType:
    """A line for each link, the ratios by field, the runtimes, what did not pass, and the notes.

    If runtimes were asked for, the fields of the first leg are shown, and of those that failed.
    """
    parts: list[RenderableType] = [_styled(status, line) for status, line in link_lines(verdict)]
    for facts in _shown(verdict):
        parts.append(_fields_table(facts, verdict.policy or {}))
        parts += _decision_lines(facts, alone=len(verdict.facts) == 1)
    parts += [_dataset_table(figures) for figures in verdict.dataset]
    for found in verdict.pictures:
        parts.append(_fields_table(found.facts, verdict.policy or {}, counted=found.text))
        parts += _decision_lines(found.facts, alone=False)
    if verdict.runtimes:
        rows = tuple(tuple(map(Text, cells)) for cells in runtime_cells(verdict))
        title = f"the file in each runtime, errors in ratio to {runtime_unit(verdict)}"
        parts.append(Grid(title=title, headings=HEADINGS, rows=rows, named_last=True))
        parts += [Text(f"note: {note}", style="yellow") for note in runtime_notes(verdict)]
    if verdict.budget is not None and verdict.budget.search is not None:
        parts.append(_search_table(verdict.budget.search))
    parts += [
        _styled(status, line) for status, line in not_passed(verdict.checks, several=len(verdict.facts) > 1)
    ]
    parts += [Text(one_line(line), style="yellow") for line in note_lines(verdict.notes)]
    parts.append(_styled(*verdict_line(verdict.status, verdict.checks)))
    return Group(*parts)


def _shown(verdict: Verdict) -> tuple[Facts, ...]:
    if not verdict.runtimes:
        return verdict.facts
    first, *others = verdict.facts or (None,)
    failed = (facts for facts in others if facts is not None and verdict.of_leg(facts.leg)[0] != "pass")
    return () if first is None else (first, *failed)


def _styled(status: str, line: str) -> Text:
    return Text(one_line(line), style=STYLES[status])


def _fields_table(facts: Facts, policy: Mapping[str, Any], *, counted: str = "") -> Grid:
    """The errors of each field. ``counted`` says on what, by default on how many cases."""
    rms, largest = policy.get("ratio_rms"), policy.get("ratio_max")
    rows = [_field_row(measured, rms, largest) for measured in facts.fields]
    for label in facts.labels:
        flips = f"{label.flips} flips" if label.count else NOTHING
        lead = ""
        if label.flips and label.kind != "value":
            margin = label.largest_margin
            lead = f"move {margin / 2:.1e}" if label.kind == "rounded" else f"lead {margin:.1e}"
        cells = (f"{label.name}, {label.kind}", "", "", flips, lead, label.worst_case)
        rows.append(tuple(Text(one_line(cell)) for cell in cells))
    return Grid(
        title=f"{facts.leg} against {facts.reference}, errors measured from {facts.oracle}, "
        f"{counted or f'{facts.cases} cases'}",
        headings=(
            "field, unit",
            _heading("rms", rms),
            _heading("max", largest),
            "largest error",
            f"{facts.witness}'s",
            "in case",
        ),
        rows=tuple(rows),
        named_last=True,
        least=LEAST,
    )


def _field_row(measured: Measurement, rms: float | None, largest: float | None) -> tuple[Text, ...]:
    name = Text(one_line(", ".join(filter(None, (measured.name, measured.unit)))))
    if not measured.count:
        return (name, *(Text(NOTHING) for _ in range(4)), Text())
    return (
        name,
        _ratio(measured.ratio_rms, rms),
        _ratio(measured.ratio_max, largest),
        Text(f"{measured.max_candidate:.2e}"),
        Text(f"{measured.max_reference:.2e}"),
        Text(one_line(measured.worst_case)),
    )


def _heading(ratio: str, limit: float | None) -> str:
    """A ratio's heading with its limit, "ratio" alone if the policy has no limit for it."""
    return f"{ratio} ratio" if limit is None else f"{ratio} ≤ {limit:g}"


def _ratio(value: float, limit: float | None) -> Text:
    style = "" if limit is None else "green" if value <= limit else "bold red"
    return Text(f"{value:.3g}", style=style)


def _decision_lines(facts: Facts, *, alone: bool) -> list[RenderableType]:
    """The decisions of a leg: how many, unless it is the only leg and the link's line tells that already; and
    the first ties and defects."""
    decisions = facts.decisions
    if decisions is None:
        return []
    counts = f"{decisions.matched} matched, {decisions.tie_count} ties, {decisions.defect_count} defects"
    closest = "" if decisions.closest is None else f"; {decisions.closest.text}"
    told = Text(f"decisions: {counts} on {decisions.counted}{closest}")
    lines: list[RenderableType] = [] if alone else [told]
    for kind, located, count, style in (
        ("tie", decisions.ties, decisions.tie_count, "yellow"),
        ("defect", decisions.defects, decisions.defect_count, "red"),
    ):
        for entry in located[:SHOWN_FINDINGS]:
            text = f"  {kind} in {entry.case}[{entry.picture}] {entry.finding.what}: {entry.finding.cause}"
            lines.append(Text(one_line(text), style=style))
        if count > SHOWN_FINDINGS:
            lines.append(Text(f"  … and {count - SHOWN_FINDINGS} more in parity.json", style=style))
    return lines


def _search_table(found: Search) -> Grid:
    """The curve of a search: what each file that was tried costs, over its time and size."""
    rows = tuple(
        (
            Text(str(one.kept)),
            Text(f"{one.changed} of {one.decisions}"),
            Text(f"{one.share:.2%} at {one.confidence:.2%}"),
            Text(f"{one.box:.3g}"),
            Text(f"{one.score:.3g}"),
            Text(f"{one.time:.2f}"),
            Text(f"{one.size:.2f}"),
            Text("meets the budget" if one.passed else "", style="green"),
        )
        for one in found.tried
    )
    return Grid(
        title=f"files with some of {found.parts} parts in float32; time and size as shares of float32's",
        headings=("parts", "changed", "bound", "box", "score", "time", "size", ""),
        rows=rows,
        named_last=True,
    )


def _dataset_table(found: DatasetFigures) -> Grid:
    above = "" if found.score_threshold is None else f", scores above {found.score_threshold:g}"
    rows = tuple(
        (
            Text(one_line(figure.name)),
            Text(f"{figure.reference:.4f}"),
            Text(f"{figure.candidate:.4f}"),
            Text(f"{figure.difference:+.2e}" if figure.difference else "0"),
            _ratio(abs(figure.untied_difference), DATASET_DIFFERENCE),
        )
        for figure in found.figures
    )
    decided = found.decisions
    counts = f"{decided.matched} matched, {decided.tie_count} ties, {decided.defect_count} defects"
    return Grid(
        title=f"{found.leg} on {found.pictures} labelled pictures, {found.annotations} annotations{above}",
        headings=(
            "figure",
            "PyTorch's",
            "the file's",
            "difference",
            f"without ties ≤ {DATASET_DIFFERENCE:g}",
        ),
        rows=rows,
        below=f"decisions: {counts}",
    )
