"""A verdict as Markdown: for a step summary, a comment, or a bundle's model card. It has no date and no time,
so the same verdict gives the same bytes."""

import re
from collections.abc import Iterable, Iterator, Sequence

from onnxproof.text import one_line
from onnxproof.validate.facts import Facts, Located
from onnxproof.validate.report.notes import folded
from onnxproof.validate.report.runtimes import HEADINGS as RUNTIME_HEADINGS
from onnxproof.validate.report.runtimes import runtime_cells, runtime_notes, runtime_unit
from onnxproof.validate.report.subject import Subject
from onnxproof.validate.report.words import counts, headline, message_of, not_passed, title_of
from onnxproof.validate.verdict import Verdict, link_texts

SHOWN = 20
"""How many checks, ties or defects a list names. parity.json has them all."""

_SPECIAL = re.compile(r"([\\`*_\[\]<>|#~])")


def escaped(text: str) -> str:
    """A text in which Markdown finds no markup, on one line."""
    return _SPECIAL.sub(r"\\\1", one_line(text))


def table(headings: Sequence[str], rows: Iterable[Sequence[str]], *, figures: int = 0) -> str:
    """A table of escaped cells. The last ``figures`` columns are right-aligned."""
    lines = [tuple(headings), ("---",) * (len(headings) - figures) + ("---:",) * figures]
    lines += [tuple(map(escaped, row)) for row in rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def markdown(verdict: Verdict, subject: Subject) -> str:
    """The verdict, link by link, the figures, what did not pass, and how the file was made."""
    head = f"# {escaped(subject.name)}: {verdict.status}"
    return "\n\n".join((head, escaped(headline(verdict)), *sections(verdict, subject))) + "\n"


def sections(verdict: Verdict, subject: Subject) -> Iterator[str]:
    """The parts below the headline."""
    links = [(link.link, link.status, text) for link, text in link_texts(verdict)]
    if links:
        yield table(("link", "status", "what was found"), links)
    if verdict.runtimes:
        yield "## Runtimes"
        yield escaped(f"Errors are in ratio to {runtime_unit(verdict)}.")
        yield table(RUNTIME_HEADINGS, runtime_cells(verdict))
        notes = runtime_notes(verdict)
        if notes:
            yield "\n".join(f"- {escaped(note)}" for note in notes)
    yield from not_passed_parts(verdict)
    for facts in verdict.facts:
        yield from _of_leg(facts, verdict)
    for found in verdict.dataset:
        rows = [
            (one.name, f"{one.reference:.4f}", f"{one.candidate:.4f}", f"{one.difference:+.2e}")
            for one in found.figures
        ]
        yield f"## {escaped(found.leg)} on {found.pictures} labelled pictures"
        yield table(("figure", "PyTorch's", "the file's", "difference"), rows, figures=3)
    for many in verdict.pictures:
        yield from _of_leg(many.facts, verdict, on=f", {many.text}")
    if verdict.notes:
        yield "## Notes"
        yield "\n".join(f"- {escaped(note)}" for note in folded(verdict.notes))
    yield "## How it was made"
    yield table(("", ""), made(verdict, subject))
    if subject.command:
        yield "## Reproduce"
        yield f"```\n{one_line(subject.command).replace('```', '')}\n```"
    yield f"Checks: {counts(verdict)}. `onnxproof explain CHECK` says what a check means."


def made(verdict: Verdict, subject: Subject) -> list[tuple[str, str]]:
    """How the file was made and where the verdict was reached, as label and value."""
    environment = dict(verdict.environment)
    packages = environment.pop("versions", {})
    facts = [("file", subject.model), ("SHA-256 of the file", verdict.model_sha256 or "not known")]
    facts += [pair for pair in subject.made if pair[0] != "file"]
    if environment:
        facts.append(("checked on", ", ".join(f"{key} {value}" for key, value in environment.items())))
    if packages:
        facts.append(("checked with", ", ".join(f"{name} {number}" for name, number in packages.items())))
    return facts


def not_passed_parts(verdict: Verdict, mark: str = "##") -> Iterator[str]:
    """What did not pass, below a heading that begins with ``mark``."""
    told = list(not_passed(verdict))
    if not told:
        return
    yield f"{mark} What did not pass"
    rows = [(check.status, check.link, title_of(check), message_of(check)) for check in told[:SHOWN]]
    yield table(("status", "link", "check", "what was found"), rows)
    if len(told) > SHOWN:
        yield f"and {len(told) - SHOWN} more in parity.json"


def _of_leg(facts: Facts, verdict: Verdict, *, on: str = "") -> Iterator[str]:
    policy = verdict.policy or {}
    rms, largest = (f", limit {policy[key]:g}" if key in policy else "" for key in ("ratio_rms", "ratio_max"))
    yield f"## {escaped(facts.leg)} against {escaped(facts.reference)}{on}"
    rows = []
    for one in facts.fields:
        name = ", ".join(filter(None, (one.name, one.unit)))
        figures = (one.ratio_rms, one.ratio_max, one.max_candidate, one.max_reference)
        rows.append((name, *(f"{figure:.3g}" if one.count else "-" for figure in figures), one.worst_case))
    if rows:
        headings = ("field, unit", f"rms ratio{rms}", f"max ratio{largest}", "largest error")
        yield table((*headings, f"{facts.witness}'s", "in case"), rows)
    decided = facts.decisions
    if decided is None:
        return
    closest = "" if decided.closest is None else f" On the whole, {decided.closest.text}."
    yield (
        f"Decisions on {decided.counted}: {decided.matched} matched, {decided.tie_count} ties, "
        f"{decided.defect_count} defects.{closest}"
    )
    yield from _findings("Defects", decided.defects, decided.defect_count)
    yield from _findings("Ties", decided.ties, decided.tie_count)


def _findings(heading: str, located: Sequence[Located], count: int) -> Iterator[str]:
    if not count:
        return
    yield f"### {heading}"
    rows = [(f"{one.case}[{one.picture}]", one.finding.what, one.finding.cause) for one in located[:SHOWN]]
    yield table(("picture", "decision", "cause"), rows)
    if count > SHOWN:
        yield f"and {count - SHOWN} more in parity.json"
