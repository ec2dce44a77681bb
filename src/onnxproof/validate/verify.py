"""Compare ONNX files with the PyTorch model that they were made from, and give a verdict on each."""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from onnxproof.counted import likely_masks, not_compared
from onnxproof.errors import ModelFileError
from onnxproof.graph import OnnxGraph
from onnxproof.progress import Progress, silent
from onnxproof.runtime.session import Optimization
from onnxproof.source import sha256_of
from onnxproof.system.packages import PACKAGES
from onnxproof.validate.ahead import Prepared, leaves_room, prepare
from onnxproof.validate.beyond import with_inputs_beyond
from onnxproof.validate.blind_spots import blind_checks
from onnxproof.validate.dataset.figures import DatasetFigures
from onnxproof.validate.dataset.run import measure_dataset
from onnxproof.validate.environment import environment
from onnxproof.validate.exact.folded import folded_checks
from onnxproof.validate.function import function_checks, strangers
from onnxproof.validate.hazards import Subject, Weights, advice, explain, look_for_hazards
from onnxproof.validate.judge import judge_dataset, second_looks
from onnxproof.validate.legs.leg import Leg, Ports
from onnxproof.validate.legs.onnx_runtime import OrtLeg, ort_name
from onnxproof.validate.legs.refused import RefusedLeg
from onnxproof.validate.open_order import open_orders
from onnxproof.validate.rough import judged_by_nodes
from onnxproof.validate.rounded_floats import casts_checks
from onnxproof.validate.rounded_integers import blame_casts
from onnxproof.validate.runtimes.asked import Opened, opened
from onnxproof.validate.runtimes.known import Candidate, ort_row
from onnxproof.validate.runtimes.row import RuntimeRow
from onnxproof.validate.sight.check import with_pipeline
from onnxproof.validate.stated import evaluated, open_graph
from onnxproof.validate.sweep import measure, settle
from onnxproof.validate.tally import Tally, unlike_notes
from onnxproof.validate.trial import Plan, Settings, Trial
from onnxproof.validate.unread_rows import short_checks
from onnxproof.validate.verdict import Check, Verdict, conclude
from onnxproof.validate.weak import weak_witnesses
from onnxproof.wrappers.family import WrappedModel
from onnxproof.wrappers.weights import runs_here

STATE = "state"
"""The check that the model answers alike when it is run again on the same input."""


def validate_files(
    model: WrappedModel,
    files: Sequence[Path],
    plan: Plan,
    *,
    opset: int | None = None,
    target: str = "onnxruntime",
    extra_checks: Sequence[Check] = (),
    notes: Sequence[str] = (),
    prepared: Prepared | None = None,
    runtimes: Sequence[Candidate] = (),
    progress: Progress = silent,
) -> tuple[Verdict, ...]:
    """A verdict on each ONNX file of one model. PyTorch runs once for all files.

    ``plan`` is of the model's own contract. ``extra_checks`` and ``notes`` are in every verdict. ``prepared``
    is PyTorch's side of the trial, if it is open already. A single file is also tried in ``runtimes``. Raises
    ModelFileError if a file cannot be loaded, PictureError if a picture cannot be read, CheckError if PyTorch
    cannot run a case.
    """
    rows = _own_rows(plan.settings) if runtimes else ()
    beside = Opened((), ())
    if runtimes:
        (file,) = files
        known = [row.leg for row in rows]
        beside = opened(runtimes, file, model.contract, plan.settings.threads, known)
    trial = open_trial(model, files, plan, prepared, beside.legs)
    tallies = measure(trial, progress=progress) if trial.truth.unsteady is None else ()
    verdicts = verdicts_of(
        model,
        files,
        plan,
        trial,
        tallies,
        opset=opset,
        target=target,
        extra_checks=(*extra_checks, *beside.skipped),
        notes=notes,
        progress=progress,
    )
    return tuple(replace(verdict, runtimes=(*rows, *beside.rows)) for verdict in verdicts)


def _own_rows(settings: Settings) -> tuple[RuntimeRow, ...]:
    """Where the legs run that a trial has anyway."""
    return tuple(ort_row(settings.providers, level) for level in settings.optimization)


def open_trial(
    model: WrappedModel,
    files: Sequence[Path],
    plan: Plan,
    prepared: Prepared | None = None,
    beside: Sequence[Leg] = (),
) -> Trial:
    """The plan with open legs: PyTorch's, one for each file and level of optimization, and each file's graph.

    ``prepared`` is PyTorch's side, if it is open already. ``beside`` are more legs that run a single file.
    Raises ModelFileError if a file cannot be loaded, unless the model is in bfloat16: few of ONNX Runtime's
    kernels are.
    """
    settings = plan.settings
    legs = [*(leg for file in files for leg in candidates_of(model, file, settings)), *beside]
    prepared = prepared or prepare(model, plan)
    truth, count = prepared.truth, len(legs) // len(files)
    graphs = [
        open_graph(model, file, plan, truth, prepared.known, range(at * count, (at + 1) * count))
        for at, file in enumerate(files)
    ]
    trial = Trial.of(plan, truth, legs, graphs)
    return replace(trial, beside=leaves_room(model), at_hand=prepared.rest())


def candidates_of(model: WrappedModel, file: Path, settings: Settings) -> tuple[OrtLeg | RefusedLeg, ...]:
    """A leg for each level of optimization. Raises ModelFileError as ``open_trial`` does."""
    return tuple(_leg(model, file, settings, level) for level in settings.optimization)


def _leg(model: WrappedModel, file: Path, settings: Settings, level: Optimization) -> OrtLeg | RefusedLeg:
    try:
        return OrtLeg(file, settings.providers, settings.threads, level)
    except ModelFileError as error:
        if runs_here(model.module) or "NOT_IMPLEMENTED" not in str(error):
            raise
        reason = str(error).removeprefix(f"{file} ").replace(str(file), file.name)
        return RefusedLeg(ort_name(settings.providers, level), Ports.of(model.contract), reason)


def verdicts_of(
    model: WrappedModel,
    files: Sequence[Path],
    plan: Plan,
    trial: Trial,
    tallies: Sequence[Tally],
    *,
    opset: int | None = None,
    target: str = "onnxruntime",
    extra_checks: Sequence[Check] = (),
    notes: Sequence[str] = (),
    progress: Progress = silent,
) -> tuple[Verdict, ...]:
    """Judge what was measured on all cases of the trial, in any process and any order.

    What needs the figures of all cases is measured here: the second look, and the link ``pipeline``, which
    takes differences within the file's float error for ties.

    ``tallies`` is empty if the model is unsteady: then nothing can be compared, and the check ``state`` says
    why.
    """
    trial, beyond = with_inputs_beyond(model, trial, tallies, plan.settings.threads)
    plan = replace(plan, cases=trial.cases)
    weights = Weights.of(model.module, model.rounded_to)
    subjects = [
        Subject(
            OnnxGraph.read(file),
            file,
            target,
            opset,
            model.contract,
            weights,
            graph.proven,
            graph.known,
            partial(evaluated, trial, graph),
            graph.seen,
            plan.settings.chosen,
            graph.changed,
        )
        for file, graph in zip(files, trial.graphs, strict=True)
    ]
    hazards = [look_for_hazards(subject) for subject in subjects]
    steady = trial.truth.unsteady is None
    state = Check(STATE, "pass" if steady else "error", trial.truth.unsteady or "")
    all_facts = settle(trial, tallies, progress=progress) if steady else ()
    settled, stated = iter(all_facts[: len(trial.candidates)]), iter(all_facts[len(trial.candidates) :])
    measured: Iterator[DatasetFigures] = iter(())
    if plan.labels is not None and steady:
        measured = iter(measure_dataset(_without_beside(trial, plan, files), plan.labels, progress=progress))
    said = (
        *model.notes,
        *notes,
        *trial.truth.notes,
        *not_compared(model.contract),
        *likely_masks(model.contract),
    )
    levels = plan.settings.optimization
    count = len(trial.candidates) // len(files)
    verdicts = []
    numbers = itertools.count()
    for at, (subject, found, graph) in enumerate(zip(subjects, hazards, trial.graphs, strict=True)):
        folded = folded_checks(subject.graph, subject.file, graph.known)
        checks = [*extra_checks, *folded, *(entry.check for entry in found), state]
        facts = tuple(next(settled) for _ in range(count)) if steady else ()
        function = next(stated, None)
        alien: tuple[str, ...] = ()
        if function is not None:
            fields = model.contract.fields
            own = function_checks(function, fields)
            checks += own
            if all(check.status != "fail" for check in own):
                checks += blind_checks(trial, plan.settings, graph, subject.graph, subject.file, graph.known)
                if graph.known is not None:
                    checks += short_checks(
                        subject.graph,
                        graph.proven,
                        graph.known,
                        model.contract.inputs,
                        leg=graph.leg.name,
                        guessed=plan.settings.guessed,
                    )
            alien = (
                *strangers(function, fields, graph.proven, "constants that are not the checkpoint's"),
                *open_orders(function, fields, graph.leg),
            )
        asked = tuple(
            judged_by_nodes(trial, plan, subject.file, one, next(numbers), tallies, checks) for one in facts
        )
        facts = tuple(one.facts for one in asked)
        noted = [*graph.notes, *(note for one in asked for note in one.notes)]
        noted += unlike_notes(tallies[at * count]) if tallies else ()
        noted += weak_witnesses(facts[0], model.contract.inputs) if facts else ()
        for judged in asked:
            checks += judged.checks
        checks = [*blame_casts(trial, graph, facts, checks), *(casts_checks(trial, graph) if steady else ())]
        dataset = () if plan.labels is None or not steady else tuple(next(measured) for _ in levels)
        checks += map(judge_dataset, dataset)
        checks = list(explain(checks, subject))
        verdict = Verdict(
            status=conclude(checks),
            checks=tuple(checks),
            facts=facts,
            cases=plan.cases,
            notes=(*said, *beyond[at], *second_looks(facts), *alien, *noted, *advice(found)),
            model_sha256=sha256_of(subject.file),
            environment=environment(plan.settings, PACKAGES),
            dataset=dataset,
            policy=plan.policy.to_json(),
            function=function,
        )
        leg, tally = trial.candidates[at * count], tallies[at * count] if tallies else None
        verdicts.append(with_pipeline(verdict, model, plan, trial, leg, tally, progress=progress))
    return tuple(verdicts)


def _without_beside(trial: Trial, plan: Plan, files: Sequence[Path]) -> Trial:
    """The trial without the legs that other runtimes gave: labelled pictures are for the file's own."""
    return replace(trial, candidates=trial.candidates[: len(files) * len(plan.settings.optimization)])
