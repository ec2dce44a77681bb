"""Whether a file of lower precision also answers in batches, and at the other sizes that the job declares.

A budget's pictures are asked one by one, at the size that ``predict`` gives them. A file may hold there, and
answer for the first picture of a batch only, or be frozen at one size.
"""

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from onnxproof.contract import Contract
from onnxproof.progress import Progress, silent
from onnxproof.runtime.session import first_line
from onnxproof.runtime.tasks import get_task
from onnxproof.tensors import Dim
from onnxproof.validate.budget.confidence import lower_bound
from onnxproof.validate.budget.drift import BOX, DEPENDENT, SCORE, drift_of
from onnxproof.validate.budget.exam import Question
from onnxproof.validate.budget.figures import BudgetTally
from onnxproof.validate.cases import Case, materialise, plan
from onnxproof.validate.checks import Check
from onnxproof.validate.legs.leg import Arrays, Leg
from onnxproof.validate.policy import DecisionBudget

PICTURES = 8
"""How many batches are asked, and how many of the budget's pictures at other sizes."""

LARGEST_BATCH = 8
"""How many pictures a batch has at most, unless the job's smallest batch is larger."""

MOST_CHANGED = 0.25
"""A file is refused if more than this share of the decisions at other sizes is shown to change. Pictures that
are stretched are not what calibrated it, so the budget itself says nothing of them."""


def elsewhere_checks(
    contract: Contract,
    reference: Leg,
    candidate: Leg,
    questions: Sequence[Question],
    budget: DecisionBudget,
    seed: int,
    *,
    progress: Progress = silent,
) -> tuple[Check, ...]:
    """The checks ``batches`` and ``declared_sizes``. Raises whatever the reference raises."""
    batch = _batch_of(contract)
    if batch is None:
        alike = Check("batches", "skipped", "the job declares one batch", leg=candidate.name)
    else:
        batches = itertools.islice(_batches(contract, questions, batch), PICTURES)
        alike = _batches_check(contract, candidate, batches, batch, budget, progress)
    if all(dim.fixed or dim == batch for dim in contract.dims):
        return alike, Check("declared_sizes", "skipped", "the job declares one size", leg=candidate.name)
    cases = _stretched(contract, questions, seed)
    return alike, _sizes_check(contract, reference, candidate, cases, budget, progress)


def _batches_check(
    contract: Contract,
    candidate: Leg,
    batches: Iterable[tuple[Case, Arrays]],
    batch: Dim,
    budget: DecisionBudget,
    progress: Progress,
) -> Check:
    """Whether a file decides on each picture of a batch as on that picture alone, within the budget."""
    tally = BudgetTally()
    for done, (case, arrays) in enumerate(batches):
        progress("batches", done, PICTURES)
        try:
            together = _decided(contract, candidate, arrays, case)
            alone = [_decided(contract, candidate, one, case)[0] for one in _members(contract, arrays, batch)]
            tally = _added(tally, case, contract, alone, together)
        except Exception as error:  # noqa: BLE001 - ONNX Runtime's exceptions have no common base
            return Check(
                "batches", "fail", f"no answer on {case.name}: {first_line(error)}", leg=candidate.name
            )
    told = f"{tally.changed} of {tally.decisions} decisions differ between a batch and its pictures alone"
    limits = {BOX: budget.box_px, SCORE: budget.score}
    far = [one for one in tally.moved if not one.largest <= limits[one.quantity]]
    moved = "".join(f"; a {one.quantity} moved by {one.largest:.3g} on {one.case}" for one in far)
    share = _shown(tally, contract, budget)
    if far or share > budget.changed:
        reason = f"{told}{_first(tally)}{moved}"
        return Check("batches", "fail", reason, share, budget.changed, candidate.name)
    return Check("batches", "pass", told, share, budget.changed, candidate.name)


def _sizes_check(
    contract: Contract,
    reference: Leg,
    candidate: Leg,
    cases: Sequence[Case],
    budget: DecisionBudget,
    progress: Progress,
) -> Check:
    """Whether a file answers at other sizes, and keeps most of the reference's decisions there."""
    tally = BudgetTally()
    for done, case in enumerate(cases):
        progress("other sizes", done, len(cases))
        arrays = materialise(case, contract.inputs, contract.preprocess)
        wanted = _decided(contract, reference, arrays, case)
        try:
            tally = _added(tally, case, contract, wanted, _decided(contract, candidate, arrays, case))
        except Exception as error:  # noqa: BLE001
            reason = f"no answer on {case.name}: {first_line(error)}"
            return Check("declared_sizes", "fail", reason, leg=candidate.name)
    told = (
        f"{tally.changed} of {tally.decisions} decisions changed on {tally.pictures} pictures of other sizes"
    )
    share, limit = _shown(tally, contract, budget), max(MOST_CHANGED, budget.changed)
    if share > limit:
        return Check("declared_sizes", "fail", f"{told}{_first(tally)}", share, limit, candidate.name)
    return Check("declared_sizes", "pass", told, share, limit, candidate.name)


def _batch_of(contract: Contract) -> Dim | None:
    """The batch, if it has more than one size."""
    assert contract.preprocess is not None
    pictures = next(spec for spec in contract.inputs if spec.name == contract.preprocess.input)
    axis = pictures.shape[0]
    return next((dim for dim in contract.dims if dim.name == axis and not dim.fixed), None)


def _batches(contract: Contract, questions: Sequence[Question], batch: Dim) -> Iterator[tuple[Case, Arrays]]:
    """Batches of pictures of one size, each as ``predict`` prepares it; a lone one with its mirror images."""
    most = min(batch.max, max(LARGEST_BATCH, batch.min + batch.multiple))
    count = most // batch.multiple * batch.multiple
    groups: dict[tuple[tuple[str, int], ...], list[Case]] = {}
    for question in questions[: PICTURES * count]:
        groups.setdefault(tuple(sorted(question.case.sizes.items())), []).append(question.case)
    for cases in groups.values():
        for start in range(0, len(cases), count):
            chunk = cases[start : start + count]
            sizes = {**chunk[0].sizes, batch.name: count}
            case = replace(chunk[0], name=f"{count} pictures from {chunk[0].name} on", sizes=sizes)
            if len(chunk) == 1:
                mirrored = replace(case, native=False)
                yield mirrored, materialise(mirrored, contract.inputs, contract.preprocess)
                continue
            each = [materialise(one, contract.inputs, contract.preprocess) for one in chunk]
            members = [each[number % len(each)] for number in range(count)]
            yield case, _joined(contract, members, batch)


def _joined(contract: Contract, members: Sequence[Arrays], batch: Dim) -> Arrays:
    """The first picture of each of the ``members`` in one batch."""
    axes = _axes(contract, batch)
    return {
        name: np.concatenate([one[name].take([0], axis=axes[name]) for one in members], axis=axes[name])
        if name in axes
        else array
        for name, array in members[0].items()
    }


def _axes(contract: Contract, batch: Dim) -> dict[str, int]:
    """Which axis of each input is the batch."""
    return {spec.name: spec.shape.index(batch.name) for spec in contract.inputs if batch.name in spec.shape}


def _stretched(contract: Contract, questions: Sequence[Question], seed: int) -> tuple[Case, ...]:
    """The first pictures, stretched to the declared sizes: each size twice, with two pictures."""
    cases = {one.case.picture: one.case for one in questions[:PICTURES] if isinstance(one.case.picture, Path)}
    planned = plan(contract.dims, contract.preprocess, tuple(cases), "quick", seed, opened=cases)
    stretched = [case for case in planned if case.kind == "picture" and not case.native]
    others = itertools.cycle(reversed(cases))
    again = [replace(case, name=f"{case.name}, another", picture=next(others)) for case in stretched]
    return (*stretched, *again)


def _members(contract: Contract, arrays: Arrays, batch: Dim) -> Iterator[Arrays]:
    """The inputs of each picture of a batch alone, as often as the smallest batch has pictures."""
    axes = _axes(contract, batch)
    for number in range(_count(contract, arrays)):
        yield {
            name: array.take([number] * batch.min, axis=axes[name]) if name in axes else array
            for name, array in arrays.items()
        }


def _decided(contract: Contract, leg: Leg, arrays: Arrays, case: Case) -> list[Any]:
    """What a leg decides on each picture. Raises what the leg raises, ValueError if it decides on fewer."""
    task, count, answer = get_task(contract.task), _count(contract, arrays), leg.run(arrays)
    batch = _batch_of(contract)
    sizes = case.sizes if batch is None else {**case.sizes, batch.name: count}
    evidence = task.evidence(answer.outputs, sizes, contract.reading, answer.margins)
    if len(evidence) != count:
        raise ValueError(f"it answers for {len(evidence)} of {count} pictures")
    return [task.decide(one, contract.reading) for one in evidence]


def _count(contract: Contract, arrays: Arrays) -> int:
    assert contract.preprocess is not None
    return len(arrays[contract.preprocess.input])


def _added(
    tally: BudgetTally, case: Case, contract: Contract, wanted: Sequence[Any], found: Sequence[Any]
) -> BudgetTally:
    for number, (ours, theirs) in enumerate(zip(wanted, found, strict=True)):
        tally = tally.add(f"{case.name} [{number}]", drift_of(ours, theirs, contract.task))
    return tally


def _shown(tally: BudgetTally, contract: Contract, budget: DecisionBudget) -> float:
    """The share of changed decisions that the counts show, at the budget's confidence."""
    if not tally.decisions:
        return 0.0
    if contract.task in DEPENDENT:
        return tally.changed / tally.decisions
    return lower_bound(tally.changed, tally.decisions, budget.confidence)


def _first(tally: BudgetTally) -> str:
    return f"; first on {tally.findings[0].case}: {tally.findings[0].what}" if tally.findings else ""
