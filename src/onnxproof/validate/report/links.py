"""What came of each link of the proof, in words."""

from collections.abc import Iterable, Sequence

from onnxproof.validate.checks import OWN_FAULT, Check, Status
from onnxproof.validate.facts import FLOAT32_ROUNDING, Facts
from onnxproof.validate.measure import Measurement
from onnxproof.validate.policy import EXACT
from onnxproof.validate.runtimes.row import RuntimeRow
from onnxproof.validate.sight.facts import Sight


def function_text(
    status: Status, check: Check, checks: Iterable[Check], facts: Facts | None, rule: str | None
) -> str:
    """What came of the link ``function``, which ``check`` of all ``checks`` decides.

    ``facts`` is what the file's graph did; None if it was not evaluated. ``rule`` is that by which two files
    were compared; None if a file was compared with its checkpoint.
    """
    if status == "pass" and facts is None:
        return check.reason
    if status == "skipped" or (facts is None and check.name in ("function", "interface")):
        return f"not shown: {check.reason}"
    if facts is None or check.name != "function":
        said = "passes" if status == "pass" else "fails" if status == "fail" else "could not be run"
        return f"the check {check.name} {said}: {check.reason}"
    assert check.value is not None
    measured = _measured(facts, check)
    largest = "" if measured is None else f" ({measured.name} {_in_unit(measured.max_candidate, measured)})"
    share = f"{check.value:.2g} of float32's own error"
    file = "the file" if rule is None else "B"
    of = "A" if rule == "graphs" else "the checkpoint"
    if status == "fail":
        more = _not_judged(check, checks)
        return f"{file} does not compute what {of} computes: they part by {share}{largest}{more}"
    return f"{file} computes what {of} computes, to {share}{largest}"


def runtime_text(
    status: Status,
    check: Check,
    checks: Iterable[Check],
    facts: Sequence[Facts],
    rows: Sequence[RuntimeRow],
    allowed: float | None,
    yardstick: str | None = None,
) -> str:
    """What came of the link ``runtime``. ``rows`` say where each leg ran; ``allowed`` is the limit of
    ``ratio_rms``. ``yardstick`` is what errors are divided by, None for PyTorch's in float32."""
    by = {one.leg: one for one in facts}
    if check.name not in ("ratio_rms", "ratio_max", "ratio_constant") or status == "error":
        field = "" if check.field is None else f" {check.field}"
        if check.name == "runs" and status == "pass" and not check.reason:
            return f"{_runtime_of(check.leg, rows)} runs every case"
        return f"{check.name}{field} {status}: {check.reason}"
    assert check.value is not None
    witness = by[check.leg].witness if check.leg in by else "PyTorch"
    leg, value, limit = check.leg, check.value, check.limit
    if status == "pass":
        found = ((field.ratio_rms, one.leg) for one in facts for field in one.fields if field.count)
        most = max(found, default=None)
        if most is not None:
            (value, leg), limit = most, allowed
    told = "" if limit is None else f" (limit {limit:g})"
    asked = {one.name: one.status for one in checks if one.name in ("kernels", "digits")}
    within = "; each of its nodes is within its rounding bound" if asked.get("kernels") == "pass" else ""
    if asked.get("digits") == "fail":
        within = "; no kernel is to blame: the graph loses digits (digits)"
    unit = yardstick or _unit(by.get(leg or ""), check, witness)
    runtime = _runtime_of(leg, rows)
    unclear = None if status == "pass" or leg not in by else _unclear(check, checks, by[leg], runtime)
    if unclear is not None:
        return f"in {runtime} the file parts from {witness} by {value:.2g} times what {unit}{told}: {unclear}"
    return f"{runtime} errs {value:.2g} times what {unit}{told}{within}"


def _unit(facts: Facts | None, check: Check, witness: str) -> str:
    """What the runtime's errors are divided by, as "what … errs"."""
    measured = None if facts is None else _measured(facts, check)
    if facts is not None and measured is not None and facts.unit_of(measured) == FLOAT32_ROUNDING:
        return "float32's rounding makes; the model is in float64"
    return f"{witness} errs in float32"


def _unclear(check: Check, checks: Iterable[Check], facts: Facts, runtime: str) -> str | None:
    """Why errors over the limit say nothing of the runtime itself; None if they do.

    Rows are matched with the checkpoint's, so what the file states otherwise is in their errors. It is in
    those of a second look, too, and where the file leaves open what a runtime returns.
    """
    function = [one for one in checks if one.link == "function" and one.name == "function"]
    if facts.rows and any(one.status == "fail" for one in function):
        return "that is the file's own fault, see function"
    if any(one.status == "fail" and one.field == check.field for one in function):
        return OWN_FAULT
    if any(one.status == "skipped" and one.field == check.field for one in function):
        return f"whether the file or {runtime} is wrong is not shown, since function is skipped there"
    return None


def _not_judged(check: Check, checks: Iterable[Check]) -> str:
    """The field that parts most of those that were not judged, if it parts by more than ``check`` says."""
    skipped = [
        one for one in checks if one.link == "function" and one.name == "function" and one.status == "skipped"
    ]
    parted = [(one.value, one.field or "") for one in skipped if one.value is not None]
    value, field = max(parted, default=(0.0, ""))
    if check.value is None or field == check.field or not value > check.value:
        return ""
    return f"; {field} parts by {value:.2g} and is not judged"


def _runtime_of(leg: str | None, rows: Sequence[RuntimeRow]) -> str:
    """What ran the file. A leg of outputs that a host returned is called by the host's own words."""
    if leg is not None and leg.endswith(")"):
        return leg
    return next((row.runtime for row in rows if row.leg == leg), "ONNX Runtime")


def decisions_text(status: Status, check: Check, facts: Sequence[Facts], *, by_budget: bool) -> str:
    """What came of the link ``decisions``. ``by_budget`` says whether a decision budget judged it."""
    if check.name == "decisions" and status in ("pass", "fail"):
        decided = next((one.decisions for one in facts if one.leg == check.leg), None)
        if decided is None or decided.closest is None or status == "fail":
            return check.reason
        return f"{check.reason}; {decided.closest.text}"
    if by_budget and check.name == "changed" and status == "pass":
        return f"{check.reason}, within the budget of {check.limit:.2%}"
    name = "" if check.name == "decisions" else f"{check.name} "
    return f"{name}{status}: {check.reason}"


def pipeline_text(status: Status, check: Check, sight: Sight | None) -> str:
    """What came of the link ``pipeline``. ``sight`` is how ``predict`` decided; None if it did not."""
    if status == "skipped":
        return f"not shown: {check.reason}"
    if sight is None or status != "pass":
        return check.reason
    counts = f"{sight.matched} matched, {sight.ties} ties on {sight.pictures} pictures"
    return f"a picture ends in the same decisions as in {sight.own}: {counts}"


def _measured(facts: Facts, check: Check) -> Measurement | None:
    """The measurement whose ratio the check tells: on inputs of one value, or on all others."""
    elsewhere = next((one for one in facts.fields if one.name == check.field), None)
    constant = next((one for one in facts.constant_fields if one.name == check.field), None)
    if constant is None or elsewhere is None:
        return elsewhere or constant
    held = EXACT.held_on_constants(constant, elsewhere)
    return constant if any(one.value == check.value for one in held) else elsewhere


def _in_unit(value: float, measured: Measurement) -> str:
    return f"{value:.1e} {measured.unit}".rstrip()
