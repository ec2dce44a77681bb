"""A verdict in the words of a failed test."""

from collections.abc import Iterator

from onnxproof.text import one_line
from onnxproof.validate.verdict import Check, Verdict, link_lines

SHOWN = 10
"""How many decisions that changed, or sizes that do not run, a message spells out."""

BY_CASE = {"runs": "not_run", "shapes": "misshapen"}
"""The checks that fail on cases, and where a leg's facts hold these cases."""


def failed(check: Check) -> bool:
    """Whether a check keeps the verdict from being "pass"."""
    return check.status in ("fail", "error")


def lines_of(verdict: Verdict, check: Check) -> tuple[str, ...]:
    """What went wrong by a check: a line for each size that does not run, else one line with the figure and
    its limit."""
    kind = BY_CASE.get(check.name)
    found = [
        failure
        for facts in verdict.facts
        if kind is not None and facts.leg == check.leg
        for failure in getattr(facts, kind)
    ]
    if not found:
        return (told(check, with_leg=_is_of_several(verdict, check)),)
    more = (f"{check.name} and on {len(found) - SHOWN} more cases",) if len(found) > SHOWN else ()
    return (*(one_line(f"{check.name} {one.case}: {one.reason}") for one in found[:SHOWN]), *more)


def _is_of_several(verdict: Verdict, check: Check) -> bool:
    """Whether the verdict has the same check of several legs."""
    legs = {one.leg for one in verdict.checks if (one.name, one.field) == (check.name, check.field)}
    return len(legs) > 1


def told(check: Check, *, with_leg: bool = False) -> str:
    """A check in a line: its name and field, its leg if asked for, its figure and limit, and the reason."""
    field = "" if check.field is None else f" {check.field}"
    if with_leg and check.leg is not None:
        field += f" of {check.leg}"
    figures = ""
    if check.value is not None:
        limit = "" if check.limit is None else f" (limit {check.limit:.3g})"
        figures = f" {check.value:.3g}{limit}"
    state = " could not be run" if check.status == "error" else ""
    reason = f": {check.reason}" if check.reason else ""
    return one_line(f"{check.name}{field}{figures}{state}{reason}")


def message_of(verdict: Verdict, subject: str) -> str:
    """Why a verdict is no pass: its links, the checks that failed, and the decisions that changed."""
    wrong = [check for check in verdict.checks if failed(check)]
    names = list(dict.fromkeys(check.name for check in wrong))
    parts = [f"{subject}: the verdict is {verdict.status}"]
    parts += [f"  {status:<8}{one_line(line)}" for status, line in link_lines(verdict)]
    parts += ["", "checks that did not pass:"]
    parts += [f"  {line}" for check in wrong for line in lines_of(verdict, check)]
    changed = list(_changed(verdict))
    if changed:
        parts += ["", "decisions that changed:", *changed[:SHOWN]]
        if len(changed) > SHOWN:
            parts.append(f"  … and {len(changed) - SHOWN} more")
    if names:
        parts += ["", f"onnxproof explain {names[0]} says what that means and what to do"]
    return "\n".join(parts)


def _changed(verdict: Verdict) -> Iterator[str]:
    for facts in verdict.facts:
        for decisions in filter(None, (facts.decisions,)):
            for one in decisions.defects:
                place = f"{one.case}[{one.picture}]"
                yield one_line(f"  in {place} {one.finding.what}: {one.finding.cause}")
