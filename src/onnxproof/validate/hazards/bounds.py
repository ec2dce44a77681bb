"""Look for bounds and conditions of the file that no case reaches and that the model does not have.

A bound (Clip, Min, Max) that no value reaches changes no number, so the verdict's numbers say nothing of it.
PyTorch's run tells whether the model has it: what a clamp, a ReLU6 or a hard swish was bounded by.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from onnxproof.graph import STANDARD, attribute_of, label
from onnxproof.validate.exact.constants import FLOATS
from onnxproof.validate.exact.known import CUT_AT, HUGE
from onnxproof.validate.exact.plain import chooses_nothing
from onnxproof.validate.hazards._hazard import (
    NO_CHECKPOINT,
    Hazard,
    Subject,
    advised,
    failed,
    listed,
    passed,
    skipped,
)
from onnxproof.validate.hazards.branches import look_for_unseen_branches
from onnxproof.validate.verdict import Check

NAME = "bounds"

SIDES = (("min", 1, False), ("max", 2, True))
"""Clip's bounds: the attribute before opset 11, the input since, and whether it bounds from above."""


@dataclass(frozen=True, slots=True)
class _Bound:
    """A number at which a node cuts off what it reads, from above if ``upper``.

    ``cut`` are the names of what is cut off, ``output`` is that of the node's output.
    """

    node: str
    value: float
    upper: bool
    cut: tuple[str, ...]
    output: str

    @property
    def size(self) -> np.float32:
        """The number without its sign: exporters negate what they bound."""
        return np.float32(abs(self.value))

    def reached(self, read: Mapping[str, Any]) -> bool:
        """Whether a number that the node read lies beyond the bound."""
        arrays = [np.asarray(read[name]) for name in self.cut]
        return any(bool(np.any(array > self.value if self.upper else array < self.value)) for array in arrays)

    def __str__(self) -> str:
        most = "most" if self.upper else "least"
        return f"{self.node} holds {', '.join(self.cut)} to at {most} {self.value:.7g}"


def look_for_strange_bounds(subject: Subject) -> Check:
    """Whether a bound is reached on no case, and is none that the model has.

    It fails if the model chooses nothing by value and cuts off at none of these numbers. Else it is advice.
    "skipped" if the checkpoint is not at hand, or if its own bounds are not known.
    """
    bounds = list(_bounds(subject))
    if not bounds:
        return passed(NAME)
    if subject.known is None or subject.evaluate is None:
        return skipped(NAME, NO_CHECKPOINT)
    recorded = subject.known.recorded
    if recorded.missing:
        return skipped(NAME, f"the model's own bounds are not known: {recorded.missing}")
    own: Counter[np.float32] = Counter()
    for value, count in recorded.bounds.items():
        own[np.float32(abs(value))] += count
    held = Counter(np.float32(abs(bound.value)) for bound in bounds)
    for node in subject.graph.top:
        held.update(map(np.float32, CUT_AT.get(node.op_type.lower(), ())))
    strange = [bound for bound in bounds if held[bound.size] > own[bound.size]]
    idle = _idle(subject, strange) if strange else []
    if not idle:
        return passed(NAME, f"{len(bounds)} bounds, each the model's own or reached")
    told = listed([*map(str, idle)], "; ")
    known = {bound.size for bound in idle if own[bound.size]}
    less = listed(
        [f"{held[size]} nodes cut off at {size:.7g}, {own[size]} operations of it do" for size in known]
    )
    if not known and chooses_nothing(recorded):
        reason = f"{told}: no case reached that, and the model has neither such a bound nor a condition"
        return failed(NAME, reason, len(idle))
    has = f"the model has fewer such bounds ({less})" if known else "the model has no such bound"
    return advised(NAME, f"{told}: no case reached that, and {has}", len(idle))


def _bounds(subject: Subject) -> Iterator[_Bound]:
    """The single float numbers that nodes of the graph itself cut off at. A zero is a ReLU's."""
    for node in subject.graph.top:
        if node.domain != STANDARD or node.op_type not in ("Clip", "Min", "Max"):
            continue
        read = [None if value is None else str(value.name) for value in node.inputs]
        numbers = [_number(subject, name) for name in read]
        found: list[tuple[float | None, bool]]
        if node.op_type == "Clip":
            cut = read[:1]
            found = [
                (attribute_of(node, name, None) if name in node.attributes else number, upper)
                for name, at, upper in SIDES
                for number in numbers[at : at + 1] or [None]
            ]
        else:
            cut = [name for name, number in zip(read, numbers, strict=True) if number is None]
            found = [(number, node.op_type == "Min") for number in numbers]
        for number, upper in found:
            if number and abs(number) < HUGE:
                names = tuple(name for name in cut if name is not None)
                yield _Bound(label(node), number, upper, names, str(node.outputs[0].name))


def _number(subject: Subject, name: str | None) -> float | None:
    """A constant of one float number that is not made from the checkpoint's tensors; None for all else."""
    stored = None if name is None else subject.graph.constants.get(name)
    if stored is None or stored.dtype not in FLOATS or np.prod(stored.shape) != 1:
        return None
    origin = None if subject.proven is None else subject.proven.origins.get(stored.name)
    if origin is not None and origin.names:
        return None
    return float(stored.array(subject.file).reshape(-1)[0])


def _idle(subject: Subject, bounds: list[_Bound]) -> list[_Bound]:
    """Those bounds whose node ran on the cases of the function link and that were never reached."""
    by_output: dict[str, list[_Bound]] = {}
    for bound in bounds:
        by_output.setdefault(bound.output, []).append(bound)
    ran: set[str] = set()
    left = set(bounds)

    def watch(step: Any, read: tuple[Any, ...], _: tuple[Any, ...]) -> None:
        for bound in by_output.get(step.writes[0], ()):
            ran.add(bound.output)
            if bound in left and bound.reached(dict(zip(step.reads, read, strict=True))):
                left.discard(bound)

    assert subject.evaluate is not None
    for _ in subject.evaluate(watch):
        if not left:
            break
    return [bound for bound in bounds if bound in left and bound.output in ran]


def look_for_what_no_case_reaches(subject: Subject) -> Check:
    """Both checks as one: it fails if one of them does, and is advice if one of them is."""
    found = (look_for_strange_bounds(subject), look_for_unseen_branches(subject))
    wrong = [check for check in found if check.status == "fail"]
    told = [check for check in found if check.status == "pass" and check.value and check.limit is None]
    if wrong or told:
        reason = "; ".join(check.reason for check in (*wrong, *told))
        count = sum(check.value or 0 for check in (*wrong, *told))
        return failed(NAME, reason, count) if wrong else advised(NAME, reason, count)
    return next((check for check in found if check.status == "skipped"), found[0])


BOUNDS = Hazard(
    NAME,
    "beyond the bound, or where the condition turns, the file may answer otherwise than the model, and no "
    "case shows it: the numbers of the verdict say nothing of it",
    "look for what put the node there (a tool that rewrote the file, an edit by hand); name pictures in "
    "validate.images that reach it",
    look_for_what_no_case_reaches,
)
