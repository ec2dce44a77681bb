"""Tell a file that rounds integers from a runtime that errs.

A float32 holds whole numbers exactly up to 2**24. An exporter may write a division of integers as a cast to
float32 and a division of floats. In float64 that is right, so the graph in float64 shows nothing, and the
runtime, which rounds as the file states it, seems to err. So where integers come out wrong, the graph is
evaluated again with such casts rounded. If it is wrong then, too, and PyTorch in float32 is not, the file
states another function.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from onnxproof.tensors import Field
from onnxproof.validate.checks import Check
from onnxproof.validate.exact.arrays import Array, Value
from onnxproof.validate.exact.block import Step
from onnxproof.validate.exact.errors import ExactError
from onnxproof.validate.facts import Facts
from onnxproof.validate.legs.exact_graph import ExactLeg
from onnxproof.validate.pools import channels
from onnxproof.validate.trial import Stated, Trial

CHECK = "flips"
EXACT_UP_TO = 2**24
"""The largest integer up to which a float32 holds all (IEEE 754: 24 bits of significand)."""


@dataclass(frozen=True, slots=True)
class _Rounding:
    """A cast that rounds integers: the node's label, and how many of how many values of a field differ by it
    in a case."""

    node: str
    flips: int
    count: int
    case: str


def blame_casts(
    trial: Trial, graph: Stated, facts: Sequence[Facts], checks: Sequence[Check]
) -> tuple[Check, ...]:
    """The checks of a file; where a cast of integers explains wrong integers, its function fails.

    ``facts`` are of the file's own candidates.
    """
    found: dict[str, _Rounding] = {}
    for field in _wrong(graph, facts, checks):
        cases = [
            one.worst_case for each in facts for one in each.labels if one.name == field.name and one.flips
        ]
        rounding = _rounding(trial, graph, field, cases[0])
        if rounding is not None:
            found[field.name] = rounding
    return tuple(_told(check, found.get(check.field or ""), graph.leg.name, facts) for check in checks)


def _wrong(graph: Stated, facts: Sequence[Facts], checks: Sequence[Check]) -> Iterator[Field]:
    """The fields of integers that a candidate has wrong, and the graph in float64 does not."""
    values = {one.name for each in facts for one in each.labels if one.kind == "value" and one.flips}
    stated = {
        check.field
        for check in checks
        if (check.leg, check.name, check.status) == (graph.leg.name, CHECK, "pass")
    }
    return (field for field in graph.contract.fields if field.name in values & stated)


def _rounding(trial: Trial, graph: Stated, field: Field, name: str) -> _Rounding | None:
    """The cast that makes values of a field differ in a case; None if none does, or PyTorch rounds, too."""
    case = next((case for case in trial.cases if case.name == name), None)
    if case is None or trial.truth.oracle is None or not isinstance(graph.leg, ExactLeg):
        return None
    inputs = trial.inputs_of(case)
    wanted, own = (
        channels(leg.run(inputs).outputs[field.output], field)
        for leg in (trial.truth.oracle, trial.truth.reference)
    )
    lossy: list[str] = []

    def watch(step: Step, read: tuple[Value, ...], wrote: tuple[Value, ...]) -> None:
        if step.proto.op_type == "Cast" and _loses(read[0], wrote[0]):
            lossy.append(step.label)

    try:
        outputs = graph.leg.graph.with_rounded_casts("iu").run(inputs, watch=watch)
    except ExactError:
        return None
    if field.output not in outputs or not lossy or not np.array_equal(wanted, own):
        return None
    stated: Array = channels(outputs[field.output], field)
    if stated.shape != wanted.shape or np.array_equal(stated, wanted):
        return None
    return _Rounding(lossy[0], int(np.count_nonzero(stated != wanted)), wanted.size, name)


def _loses(read: Value, wrote: Value) -> bool:
    """Whether a cast of integers to floats changed their numbers."""
    if not isinstance(read, np.ndarray) or not isinstance(wrote, np.ndarray):
        return False
    return (
        read.dtype.kind in "iu" and wrote.dtype.kind == "f" and bool((wrote.astype(read.dtype) != read).any())
    )


def _told(check: Check, found: _Rounding | None, graph: str, facts: Sequence[Facts]) -> Check:
    if found is None or check.name != CHECK:
        return check
    if check.leg == graph:
        reason = (
            f"Cast {found.node} rounds integers above {EXACT_UP_TO} to float32, and {found.flips} of "
            f"{found.count} values differ by that in {found.case}; PyTorch computes them without"
        )
        return replace(check, status="fail", value=float(found.flips), reason=reason)
    if check.leg in {one.leg for one in facts} and check.status == "fail":
        return replace(check, reason=f"{check.reason}; that is the file's own fault, see function")
    return check
