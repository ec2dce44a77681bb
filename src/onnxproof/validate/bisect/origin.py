"""Where the file leaves the model: the first value of a walked graph without a counterpart that leads to a
wrong output.

Everything before the node at fault is exact. Behind it no value has a counterpart any more. So the fault lies
where the values without a counterpart that lead to a wrong output begin.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from onnxproof.validate.bisect.fingerprint import Fingerprint, Shelf, distance
from onnxproof.validate.bisect.truth import Record, Truth
from onnxproof.validate.bisect.walk import EXACT, Place, Walk, shelves_of
from onnxproof.validate.exact.block import Step

STEPS = 8
"""Operations of the module between what a node is given and what it should give."""

ALIKE = 1e-2
"""A value within this share of a tensor's rms counts as that tensor, damaged."""


def find_origin(walked: Walk, truth: Truth, foreign: frozenset[str]) -> Step | None:
    """The node where the file leaves the model; None if all outputs are right.

    ``foreign`` are the names of constants that are tensors of the checkpoint, changed.
    """
    wrong = [name for name in truth.outputs if _is_wrong(walked.places.get(name))]
    if walked.failed is not None:
        wrong = [name for name in walked.failed.writes if name]
    suspects = _suspects(walked, wrong)
    steps = [step for step in walked.steps if not suspects.isdisjoint(step.writes)]
    changed = (step for step in steps if not foreign.isdisjoint(step.reads))
    return next(changed, steps[0] if steps else None)


def _is_wrong(place: Place | None) -> bool:
    return place is not None and place.status in ("open", "failed")


def _suspects(walked: Walk, wrong: Iterable[str]) -> set[str]:
    """The values without a counterpart that lead to wrong outputs through such values."""
    places = walked.places
    suspects: set[str] = set()
    waiting = list(wrong)
    while waiting:
        name = waiting.pop()
        if name in suspects or name not in walked.writer:
            continue
        suspects.add(name)
        given = [places[read] for read in walked.writer[name].reads if read in places]
        waiting += [place.name for place in given if _is_suspect(place, walked)]
    return suspects


def _is_suspect(place: Place, walked: Walk) -> bool:
    """Whether a value that leads to a wrong one may be wrong itself."""
    if place.status != "tied":
        return place.status != "neutral" or place.data
    if place.misshapen:
        return True
    # A Transpose that leaves its input as it is has a counterpart: that of its input.
    step = walked.writer.get(place.name)
    given = None if step is None else walked.places.get(step.reads[0])
    idle = given is not None and (given.status, given.anchors) == ("tied", place.anchors)
    return step is not None and step.proto.op_type == "Transpose" and idle


@dataclass(frozen=True, slots=True)
class Counterpart:
    """What a node's output should be: a tensor of the module, in this shape."""

    record: Record
    shape: tuple[int, ...]


Try = Callable[[str, Sequence[Counterpart]], Counterpart | None]
"""Gives the first of some tensors with which, in the place of the value of this name, the nodes behind it
compute what the module computes; None if there is none."""


def expected_of(step: Step, walked: Walk, truth: Truth, tried: Try) -> dict[str, Counterpart]:
    """The counterparts that a node's outputs should have.

    That of a model's output is known. Else it is the tensor that makes the nodes behind it right, as
    ``tried`` finds. Else it is a tensor that is nearly equal. Else it is one of the same shape: of those that
    the module computes next from the same values, if there are any; of those that an operation with the
    node's name computes, if there are any; the nearest of these.
    """
    expected: dict[str, Counterpart] = {}
    for name in filter(None, step.writes):
        place = walked.places[name]
        right = place.status == "tied" and not place.misshapen
        if place.print is None or (right and len(step.writes) > 1):
            continue
        damaged = not right and place.distance <= ALIKE
        if name in truth.outputs:
            expected[name] = _as_it_is(truth.records[truth.outputs[name]], truth)
            continue
        following = next_numbers(truth, _with_equals(place.anchors, truth), STEPS)
        found = tried(name, _candidates(place, following, walked, truth, damaged=damaged))
        if found is not None:
            expected[name] = replace(found, record=_whole(found.record, truth))
            continue
        if damaged:
            expected[name] = _as_it_is(truth.records[place.number or 0], truth)
            continue
        own = place.print
        alike = [
            one for one in unused(walked, truth) if (one.print.kind, one.print.shape) == (own.kind, own.shape)
        ]
        alike.sort(key=lambda record: distance(record.print, own))
        operator = step.proto.op_type.lower()
        alike.sort(key=lambda one: (one.number not in following, one.operation.partition(".")[0] != operator))
        if alike:
            expected[name] = _as_it_is(alike[0], truth)
    return expected


def _candidates(
    place: Place, following: Collection[int], walked: Walk, truth: Truth, *, damaged: bool
) -> list[Counterpart]:
    """The tensors that may be a value's counterpart: those of its shape first, then those of its size in its
    shape, then the others; each in the order in which the module computes them."""
    own = place.print
    assert own is not None
    near = {place.number} if damaged else set()
    records = [
        record
        for record in unused(walked, truth)
        if record.print.kind == own.kind == "f" and (record.number in following or record.number in near)
    ]
    same = [Counterpart(one, own.shape) for one in records if one.print.shape == own.shape]
    others = [one for one in records if one.print.shape != own.shape]
    arranged = [Counterpart(one, own.shape) for one in others if one.print.size == own.size]
    return [*same, *arranged, *(Counterpart(one, one.print.shape) for one in others)]


def _as_it_is(record: Record, truth: Truth) -> Counterpart:
    return Counterpart(_whole(record, truth), record.print.shape)


def _whole(part: Record, truth: Truth) -> Record:
    """The operation of the module that gives the same tensor, instead of a part of it as PyTorch takes it
    apart."""
    same = [
        one
        for one in truth.records[part.number :]
        if (one.path, one.print.shape) == (part.path, part.print.shape)
        and distance(one.print, part.print) <= EXACT
    ]
    return same[-1]


def next_numbers(truth: Truth, numbers: Iterable[int], depth: int) -> set[int]:
    """The numbers of the tensors that are computed from the given ones in up to ``depth`` steps."""
    reached = set(numbers)
    edge = set(reached)
    for _ in range(depth):
        edge = {record.number for record in truth.records if not edge.isdisjoint(record.sources)} - reached
        reached |= edge
    return reached - set(numbers)


def unused(walked: Walk, truth: Truth) -> list[Record]:
    """The module's tensors that are the counterpart of no value, and equal to none that is."""
    numbers = {place.number for place in walked.places.values() if place.status == "tied"}
    used = shelves_of(record for record in truth.records if record.number in numbers)
    return [record for record in truth.records if not _is_on(used, record.print)]


def _with_equals(numbers: Collection[int], truth: Truth) -> set[int]:
    """The numbers, with those of equal tensors: of an operation and of its parts, only one is computed on."""
    shelves = shelves_of(truth.records[number] for number in numbers)
    return {one.number for one in truth.records if _is_on(shelves, one.print)} | set(numbers)


def _is_on(shelves: Mapping[tuple[str, int], Shelf], own: Fingerprint) -> bool:
    shelf = shelves.get((own.kind, own.size))
    return shelf is not None and bool((shelf.distances(own) <= EXACT).any())
