"""Compare two files link by link, by A's graph in float64 or by the checkpoint. This needs torch."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType

from onnxproof.contract import Contract
from onnxproof.errors import CheckError, RequestError
from onnxproof.graph import OnnxGraph, UnreadableError
from onnxproof.progress import Progress, silent
from onnxproof.validate.ahead import known_for
from onnxproof.validate.blind_spots import blind_checks
from onnxproof.validate.cases import materialise, smallest
from onnxproof.validate.closer import (
    DOUBLE_MARGIN,
    DOUBLE_UNIT,
    RoundingAlone,
    Shifted,
)
from onnxproof.validate.exact.known import Known
from onnxproof.validate.exact.twins import Twins, prove_twins
from onnxproof.validate.facts import Facts
from onnxproof.validate.function import function_checks, strangers
from onnxproof.validate.legs.exact_graph import ExactLeg
from onnxproof.validate.legs.file_a import NotEvaluatedError, truth_of
from onnxproof.validate.legs.graph_of_a import ORACLE, GraphOfA
from onnxproof.validate.legs.leg import Arrays, Leg
from onnxproof.validate.legs.pytorch import torch_truth
from onnxproof.validate.must_see import asked_by
from onnxproof.validate.open_order import open_orders
from onnxproof.validate.pair.beside import (
    metadata_check,
    open_pair,
    plan_pair,
    random_checks,
    unlike_pair,
    verdict_of,
    with_interfaces,
)
from onnxproof.validate.pair.contract import contract_of
from onnxproof.validate.pair.tables import Tables
from onnxproof.validate.rough import judged_by_nodes
from onnxproof.validate.rounded_floats import casts_checks
from onnxproof.validate.rounded_integers import blame_casts
from onnxproof.validate.stated import moved_graph, open_graph, shifted, state, with_changed_rows
from onnxproof.validate.sweep import measure, settle
from onnxproof.validate.trial import Plan, Settings, Stated, Trial
from onnxproof.validate.verdict import Check, Verdict, conclude
from onnxproof.wrappers.family import WrappedModel

TINY_SHARE = 1e-3
"""The least error that A is taken to have, as a share of the reference's: nothing is divided by zero."""


def compare_by_graphs(
    a: Path,
    b: Path,
    settings: Settings,
    *,
    dims: Mapping[str, str] = MappingProxyType({}),
    inputs: Mapping[str, str] = MappingProxyType({}),
    notes: Sequence[str] = (),
    progress: Progress = silent,
) -> Verdict:
    """Compare B with A by A's graph in float64.

    The arguments are those of ``compare_alone``. Raises as it does, and NotEvaluatedError if A's graph cannot
    be evaluated in float64 or a constant cannot be read.
    """
    legs = open_pair(a, b, settings)
    tables = Tables.of(a, b, legs[0])
    declared = contract_of(legs[0], a, dims, inputs, tables.ranges)
    contract, settings = declared.contract, replace(settings, guessed=declared.guessed)
    differs = unlike_pair("graphs", (a, b), legs, contract, settings, notes)
    if differs is not None:
        return differs
    plan = plan_pair(contract, settings)
    graph, other = OnnxGraph.read(a), OnnxGraph.read(b)
    try:
        twins = prove_twins(graph, other, a, b)
    except UnreadableError as error:
        raise NotEvaluatedError(f"a constant cannot be read: {error}") from error
    oracle = GraphOfA(a, graph, contract.fields, settings, twins.a)
    least = materialise(smallest(plan.cases), contract.inputs, contract.preprocess)
    oracle.require(least)
    _require_b(legs[1], least)
    truth = truth_of(oracle, ORACLE)
    leg = ExactLeg(
        b,
        settings.threads,
        constants=twins.b.exact,
        attributes=twins.b.attributes,
        own=twins.b.own,
        label="B, ",
    )
    closer = RoundingAlone(
        contract, lambda seed: [*_shifted((a, b), (oracle.graph, leg), twins, settings, seed)]
    )
    stated = state(contract, leg, plan, truth, twins.b, (0,), closer)
    stated = with_changed_rows(stated, other, twins.known, contract.inputs, plan.cases, b)
    asked = asked_by({a: graph, b: other}, contract, truth.reference, plan.cases)
    names = {case.name for case in asked.cases} if stated.contract.fields else set()
    stated = replace(stated, more=(*stated.more, *asked.cases), cases=stated.cases | names, notes=asked.notes)
    trial = Trial.of(plan, truth, legs[1:], (stated,))
    plan = replace(plan, cases=trial.cases)
    (found,) = _judged(trial, plan, (b,), progress, twins.known, "A's")
    checks = (
        metadata_check(*legs),
        *random_checks((a, b), legs[1]),
        *found.checks,
        *tables.checks(leg.name, declared.guessed),
    )
    alien = strangers(found.function, contract.fields, twins.b, "constants of B that are not A's")
    order = open_orders(found.function, contract.fields, leg)
    said = (*notes, *declared.notes, *asked.notes, *_rows(stated), *alien, *order, *found.notes)
    return verdict_of("graphs", (a, b), plan, (found.facts,), checks, said, function=found.function)


def compare_by_oracle(
    model: WrappedModel,
    contract: Contract,
    a: Path,
    b: Path,
    settings: Settings,
    *,
    notes: Sequence[str] = (),
    progress: Progress = silent,
) -> Verdict:
    """Compare A and B with PyTorch. ``contract`` is the model's, with the sizes that are tried.

    Raises as ``compare_alone`` does, and CheckError if PyTorch cannot run a case.
    """
    legs = open_pair(a, b, settings)
    wanted, found = [spec.name for spec in contract.inputs], [port.name for port in legs[0].ports.inputs]
    if set(wanted) != set(found):
        raise RequestError(
            f"the checkpoint's model takes {', '.join(wanted)}, and {a} takes {', '.join(found)}: name the "
            "job that A was exported with (--job), or leave it out to compare without a checkpoint"
        )
    differs = unlike_pair("oracle", (a, b), legs, contract, settings, notes)
    if differs is not None:
        return differs
    plan = plan_pair(contract, settings)
    truth = torch_truth(model, plan.cases[0], settings.threads)
    if truth.unsteady is not None:
        raise CheckError(truth.unsteady)
    known = known_for(model, plan, truth)
    graphs = [
        open_graph(model, file, plan, truth, known, (at,), label=f"{letter}, ")
        for at, (file, letter) in enumerate(zip((a, b), "AB", strict=True))
    ]
    trial = Trial.of(plan, truth, legs, graphs)
    plan = replace(plan, cases=trial.cases)
    before, after = _judged(trial, plan, (a, b), progress)
    said = [*notes, *truth.notes]
    if conclude(before.checks) != "pass":
        first = next(check for check in before.checks if check.status in ("fail", "error"))
        said.append(
            f"A itself does not pass ({first.name}: {first.reason}); B is judged by PyTorch all the same"
        )
    alien = "constants of B that are not the checkpoint's"
    said += [
        *strangers(after.function, contract.fields, graphs[1].proven, alien),
        *open_orders(after.function, contract.fields, graphs[1].leg),
        *_beside(before.facts, after.facts),
        *after.notes,
    ]
    baseline = verdict_of(
        "oracle", (a, a), plan, (before.facts,), before.checks, before.notes, function=before.function
    )
    checks = (metadata_check(*legs), *after.checks)
    return verdict_of(
        "oracle",
        (a, b),
        plan,
        (after.facts,),
        checks,
        said,
        function=after.function,
        baseline=baseline,
    )


def _rows(stated: Stated) -> tuple[str, ...]:
    """A note on the rows of B's tables that are not A's; empty if there are none."""
    told = [f"{one.constant} ({one})" for one in stated.changed]
    return (f"tables of B with other rows than A's: {'; '.join(told)}",) if told else ()


def _require_b(leg: Leg, inputs: Arrays) -> None:
    """Raises NotEvaluatedError if B does not run at all: its graph might take all memory."""
    try:
        leg.run(inputs)
    except Exception as error:
        # ONNX Runtime's exceptions have no common public base below Exception.
        raise NotEvaluatedError("B does not run in ONNX Runtime on the smallest case") from error


@dataclass(frozen=True, slots=True)
class _Found:
    """What was found of one file: its facts in ONNX Runtime and those of its graph, and its checks."""

    facts: Facts
    function: Facts
    checks: tuple[Check, ...]
    notes: tuple[str, ...]


def _judged(
    trial: Trial,
    plan: Plan,
    files: Sequence[Path],
    progress: Progress,
    known: Known | None = None,
    whose: str = "the checkpoint's",
) -> Iterator[_Found]:
    """What was found of each file, of which the trial has a candidate and a graph. ``whose`` numbers its
    constants are held to, those of ``known`` if no checkpoint's are."""
    tallies = measure(trial, progress=progress)
    settled = settle(trial, tallies, progress=progress, second_look_if_wrong=False)
    count = len(trial.candidates)
    for number, (file, facts, function) in enumerate(
        zip(files, with_interfaces(trial, settled[:count]), settled[count:], strict=True)
    ):
        graph = trial.graphs[number]
        own = function_checks(function, plan.contract.fields)
        if all(check.status != "fail" for check in own):
            own += blind_checks(
                trial, plan.settings, graph, OnnxGraph.read(file), file, graph.known or known, whose
            )
        asked = judged_by_nodes(trial, plan, file, facts, number, tallies, own)
        checks = blame_casts(trial, graph, (asked.facts,), (*own, *asked.checks))
        checks = (*checks, *casts_checks(trial, graph))
        yield _Found(asked.facts, function, checks, asked.notes)


def _shifted(
    files: tuple[Path, Path],
    legs: tuple[ExactLeg, ExactLeg],
    twins: Twins,
    settings: Settings,
    seed: int,
) -> Iterator[Shifted]:
    """A's graph with its numbers moved by a float64 unit, and both graphs with those constants moved by half
    a float32 unit that are not the other's."""
    threads = settings.threads
    other = moved_graph(legs[0], files[0], twins.a, None, DOUBLE_UNIT, threads, seed)
    yield Shifted(DOUBLE_MARGIN, legs[0], legs[0] if other is None else other, inputs=True)
    rounded = [entry.name for entry in twins.b.unproven if not entry.changed]
    yield from shifted(legs[0], files[0], twins.a, twins.a_alone if rounded else (), threads, seed)
    yield from shifted(legs[1], files[1], twins.b, rounded, threads, seed)


def _beside(before: Facts, after: Facts) -> tuple[str, ...]:
    """A note with B's errors over A's, both measured from PyTorch in float64; empty if the fields differ."""
    if [field.name for field in before.fields] != [field.name for field in after.fields]:
        return ()
    ratios = [
        f"{b.name} {b.rms_candidate / max(a.rms_candidate, a.floor_rms * TINY_SHARE, math.ulp(0.0)):.3g}"
        for a, b in zip(before.fields, after.fields, strict=True)
    ]
    return (f"B's rms error over A's own: {', '.join(ratios)}",) if ratios else ()
