"""A verdict as a table for the terminal."""

from rich import box
from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from onnxproof.text import one_line
from onnxproof.validate.dataset.figures import DatasetFigures
from onnxproof.validate.facts import Facts
from onnxproof.validate.policy import DATASET_DIFFERENCE, RATIO_MAX, RATIO_RMS
from onnxproof.validate.verdict import Check, Verdict

STYLES = {"pass": "green", "fail": "bold red", "error": "bold yellow", "skipped": "dim"}
SHOWN_FINDINGS = 5


def verdict_table(verdict: Verdict) -> RenderableType:
    """The ratios by field, the decisions, the checks that did not pass, and the notes."""
    parts: list[RenderableType] = []
    for facts in verdict.facts:
        parts.append(_fields_table(facts))
        parts += _decision_lines(facts)
    parts += [_dataset_table(figures) for figures in verdict.dataset]
    for check in verdict.checks:
        if check.status != "pass":
            parts.append(_check_line(check))
    parts += [Text(one_line(f"note: {note}"), style="yellow") for note in verdict.notes]
    parts.append(_verdict_line(verdict))
    return Group(*parts)


def _fields_table(facts: Facts) -> Table:
    title = f"{facts.leg} against {facts.reference}, errors measured from {facts.oracle}, {facts.cases} cases"
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD)
    table.add_column("field, unit", overflow="fold")
    for heading in (f"rms ≤ {RATIO_RMS:g}", f"max ≤ {RATIO_MAX:g}", "largest error", f"{facts.witness}'s"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("in case", overflow="fold")
    for measured in facts.fields:
        table.add_row(
            escape(one_line(", ".join(filter(None, (measured.name, measured.unit))))),
            _ratio(measured.ratio_rms, RATIO_RMS),
            _ratio(measured.ratio_max, RATIO_MAX),
            f"{measured.max_candidate:.2e}",
            f"{measured.max_reference:.2e}",
            escape(one_line(measured.worst_case)),
        )
    for label in facts.labels:
        lead = f"lead {label.largest_margin:.1e}" if label.flips else ""
        table.add_row(
            escape(one_line(f"{label.name}, class")),
            "",
            "",
            f"{label.flips} flips",
            lead,
            escape(one_line(label.worst_case)),
        )
    return table


def _ratio(value: float, limit: float) -> str:
    return f"[{'green' if value <= limit else 'bold red'}]{value:.3g}[/]"


def _decision_lines(facts: Facts) -> list[RenderableType]:
    decisions = facts.decisions
    if decisions is None:
        return []
    counts = f"{decisions.matched} matched, {decisions.tie_count} ties, {decisions.defect_count} defects"
    lines: list[RenderableType] = [Text(f"decisions: {counts} on {decisions.pictures} pictures")]
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


def _dataset_table(found: DatasetFigures) -> Table:
    above = "" if found.score_threshold is None else f", scores above {found.score_threshold:g}"
    title = f"{found.leg} on {found.pictures} labelled pictures, {found.annotations} annotations{above}"
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD)
    table.add_column("figure", overflow="fold")
    for heading in ("PyTorch's", "the file's", "difference", f"without ties ≤ {DATASET_DIFFERENCE:g}"):
        table.add_column(heading, justify="right", no_wrap=True)
    for figure in found.figures:
        table.add_row(
            escape(one_line(figure.name)),
            f"{figure.reference:.4f}",
            f"{figure.candidate:.4f}",
            f"{figure.difference:+.2e}" if figure.difference else "0",
            _ratio(abs(figure.untied_difference), DATASET_DIFFERENCE),
        )
    decided = found.decisions
    counts = f"{decided.matched} matched, {decided.tie_count} ties, {decided.defect_count} defects"
    table.caption = f"decisions: {counts}"
    table.caption_justify = "left"
    return table


def _check_line(check: Check) -> Text:
    field = f" {check.field}" if check.field else ""
    figures = "" if check.value is None else f" {check.value:.3g} (limit {check.limit:.3g})"
    line = f"{check.status}: {check.name}{field}{figures}: {check.reason}"
    return Text(one_line(line), style=STYLES[check.status])


def _verdict_line(verdict: Verdict) -> Text:
    counts = [
        f"{sum(check.status == status for check in verdict.checks)} {status}"
        for status in ("pass", "fail", "error", "skipped")
        if any(check.status == status for check in verdict.checks)
    ]
    return Text(f"verdict: {verdict.status} ({', '.join(counts)} checks)", style=STYLES[verdict.status])
