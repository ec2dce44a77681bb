"""The verdict as a proof: one line for each link, in words."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from onnxproof.validate.facts import Facts
from onnxproof.validate.measure import Measurement

if TYPE_CHECKING:  # the verdict prints itself with these functions
    from onnxproof.validate.verdict import Linked, Verdict

WIDTH = 11
"""Columns of a link's name."""


def link_lines(verdict: "Verdict") -> tuple[tuple[str, str], ...]:
    """The status of each link and its line. Links that nothing was checked of are left out."""
    return tuple((link.status, f"{link.link:<{WIDTH}}{text}") for link, text in link_texts(verdict))


def link_texts(verdict: "Verdict") -> tuple[tuple["Linked", str], ...]:
    """Each link and what came of it, in words. Links that nothing was checked of are left out."""
    return tuple((link, _TEXTS[link.link](verdict, link)) for link in verdict.links if link.check is not None)


def _function(verdict: "Verdict", link: "Linked") -> str:
    check = link.check
    assert check is not None
    facts = verdict.function
    if link.status == "pass" and facts is None:
        return check.reason
    if link.status == "skipped" or facts is None:
        return f"not shown: {check.reason}"
    if check.name != "function":
        said = "passes" if link.status == "pass" else "fails" if link.status == "fail" else "could not be run"
        return f"the check {check.name} {said}: {check.reason}"
    assert check.value is not None
    measured = _measured(facts, check.field)
    largest = "" if measured is None else f" ({measured.name} {_in_unit(measured.max_candidate, measured)})"
    share = f"{check.value:.2g} of float32's own error"
    file, of = _compared(verdict)
    if link.status == "fail":
        return f"{file} does not compute what {of} computes: they part by {share}{largest}"
    return f"{file} computes what {of} computes, to {share}{largest}"


def _compared(verdict: "Verdict") -> tuple[str, str]:
    """Whose function is compared with whose."""
    if verdict.pairing is None:
        return "the file", "the checkpoint"
    return "B", "A" if verdict.pairing.rule == "graphs" else "the checkpoint"


def _runtime(verdict: "Verdict", link: "Linked") -> str:
    check = link.check
    assert check is not None
    by = {facts.leg: facts for facts in verdict.facts}
    if check.name not in ("ratio_rms", "ratio_max", "ratio_constant") or link.status == "error":
        field = "" if check.field is None else f" {check.field}"
        return f"{check.name}{field} {link.status}: {check.reason}"
    assert check.value is not None
    witness = by[check.leg].witness if check.leg in by else "PyTorch"
    leg, value, limit = check.leg, check.value, check.limit
    if link.status == "pass":
        allowed = (verdict.policy or {}).get("ratio_rms")
        found = (
            (measured.ratio_rms, facts.leg)
            for facts in verdict.facts
            for measured in facts.fields
            if measured.count
        )
        most = max(found, default=None)
        if most is not None:
            (value, leg), limit = most, allowed
    told = "" if limit is None else f" (limit {limit:g})"
    asked = next((one for one in verdict.checks if one.name == "kernels" and one.status == "pass"), None)
    within = "" if asked is None else "; each of its nodes is within its rounding bound"
    runtime = _runtime_of(leg, verdict)
    return f"{runtime} errs {value:.2g} times what {witness} errs in float32{told}{within}"


def _runtime_of(leg: str | None, verdict: "Verdict") -> str:
    """What ran the file. A leg of outputs that a host returned is called by the host's own words."""
    if leg is not None and leg.endswith(")"):
        return leg
    return next((row.runtime for row in verdict.runtimes if row.leg == leg), "ONNX Runtime")


def _decisions(verdict: "Verdict", link: "Linked") -> str:
    assert link.check is not None
    if link.check.name == "decisions" and link.status in ("pass", "fail"):
        decided = next((facts.decisions for facts in verdict.facts if facts.leg == link.check.leg), None)
        if decided is None or decided.closest is None or link.status == "fail":
            return link.check.reason
        return f"{link.check.reason}; {decided.closest.text}"
    if verdict.budget is not None and link.check.name == "changed" and link.status == "pass":
        return f"{link.check.reason}, within the budget of {link.check.limit:.2%}"
    name = "" if link.check.name == link.link else f"{link.check.name} "
    return f"{name}{link.status}: {link.check.reason}"


def _pipeline(verdict: "Verdict", link: "Linked") -> str:
    assert link.check is not None
    sight = verdict.pipeline
    if link.status == "skipped":
        return f"not shown: {link.check.reason}"
    if sight is None or link.status != "pass":
        return link.check.reason
    counts = f"{sight.matched} matched, {sight.ties} ties on {sight.pictures} pictures"
    return f"a picture ends in the same decisions as in {sight.own}: {counts}"


_TEXTS = {"function": _function, "runtime": _runtime, "decisions": _decisions, "pipeline": _pipeline}


def _measured(facts: Facts, name: str | None) -> Measurement | None:
    return next((one for one in _all(facts) if one.name == name), None)


def _all(facts: Facts) -> Iterator[Measurement]:
    yield from facts.fields
    yield from facts.constant_fields


def _in_unit(value: float, measured: Measurement) -> str:
    return f"{value:.1e} {measured.unit}".rstrip()
