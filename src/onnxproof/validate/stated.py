"""Open a file's graph in float64 for the function link, with the exact values of its proven constants."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np

from onnxproof.contract import Contract
from onnxproof.graph import OnnxGraph
from onnxproof.runtime.readings.rows import RowReading
from onnxproof.tensors import TensorSpec
from onnxproof.validate.cases import Case, fewest, volume
from onnxproof.validate.closer import (
    DOUBLE_MARGIN,
    DOUBLE_UNIT,
    HALF_UNIT,
    SINGLE_MARGIN,
    RoundingAlone,
    Shifted,
    moved,
    moved_constant,
    random_for,
)
from onnxproof.validate.conditions import Seen
from onnxproof.validate.exact.arrays import Array, Value
from onnxproof.validate.exact.block import Watch
from onnxproof.validate.exact.constants import Proven, prove_constants
from onnxproof.validate.exact.errors import ExactError
from onnxproof.validate.exact.known import Known
from onnxproof.validate.exact.later import Later, made
from onnxproof.validate.exact.scalars import short
from onnxproof.validate.legs.exact_graph import ExactLeg
from onnxproof.validate.legs.leg import Arrays, Leg, Truth
from onnxproof.validate.legs.pytorch import OracleLeg
from onnxproof.validate.looked_up import changed_rows, with_cases
from onnxproof.validate.must_see import asked_for
from onnxproof.validate.rounded_sizes import rounded_sizes, told_of
from onnxproof.validate.trial import Closer, Plan, Stated, Trial
from onnxproof.wrappers.family import WrappedModel

FEW = 64
"""Numbers of a constant that are looked at before all are."""

EVALUATED = {"quick": 0.5, "normal": 0.25, "thorough": 1.0}
"""The share of the cases' volume on which graphs are evaluated in float64, by effort. The function link needs
no large sample: both sides are exact, so one case of each size and content shows what another would."""


def open_graph(
    model: WrappedModel,
    file: Path,
    plan: Plan,
    truth: Truth,
    known: Known,
    candidates: Sequence[int],
    label: str = "",
) -> Stated:
    """The graph of a file. ``label`` is a prefix of its leg's name. Raises ModelFileError if the file is no
    ONNX file."""
    threads = plan.settings.threads
    graph = OnnxGraph.read(file)
    seen = Seen.of(graph)
    leg, proven = exact_leg(file, known, threads, label, seen.watch if seen.conditions else None)
    oracle = truth.oracle

    def shift(seed: int) -> Iterator[Shifted]:
        assert oracle is not None

        def move(name: str, values: Array) -> Array:
            return moved(values, DOUBLE_UNIT, random_for(name, seed))

        yield Shifted(DOUBLE_MARGIN, oracle, OracleLeg(model, threads, move), inputs=True)
        computed = _not_held(model, proven)
        if computed:

            def move_computed(name: str, values: Array) -> Array:
                return moved(values, HALF_UNIT, random_for(name, seed)) if name in computed else values

            yield Shifted(SINGLE_MARGIN, oracle, OracleLeg(model, threads, move_computed))
        rounded = [entry.name for entry in proven.unproven if not entry.changed]
        yield from shifted(leg, file, proven, rounded, threads, seed)

    closer = None if oracle is None else RoundingAlone(model.contract, lambda seed: [*shift(seed)])
    stated = state(model.contract, leg, plan, truth, proven, candidates, closer)
    stated = with_changed_rows(stated, graph, known, model.contract.inputs, plan.cases, file)
    asked = asked_for(model, graph, file, truth, plan.cases)
    odd = rounded_sizes(graph.proto, model.contract, plan.cases)
    more = (*asked.cases, *odd)
    names = {case.name for case in more} if stated.contract.fields else set()
    return replace(
        stated,
        known=known,
        seen=seen,
        more=(*stated.more, *more),
        notes=(*asked.notes, *told_of(odd)),
        cases=stated.cases | names,
    )


def with_changed_rows(
    stated: Stated,
    graph: OnnxGraph,
    known: Known,
    inputs: Sequence[TensorSpec],
    cases: Sequence[Case],
    file: Path,
) -> Stated:
    """What a file states, with the rows of its tables that are not the known ones, and cases that read them.

    ``graph`` is the file's, ``inputs`` are the contract's and ``cases`` the plan's.
    """
    rows = changed_rows(graph, stated.proven, known, inputs, file)
    changed, more = with_cases(rows, inputs, cases)
    names = stated.cases | {case.name for case in more} if stated.contract.fields else stated.cases
    return replace(stated, changed=changed, more=more, cases=names)


def _not_held(model: WrappedModel, proven: Proven) -> frozenset[str]:
    """The module's tables that the file computes instead of holding them, or a damaged copy of them.

    The module holds their numbers rounded to float32, the file computes them in float64.
    """
    held = frozenset(name for origin in proven.origins.values() for name in origin.names)
    damaged = frozenset(
        name for entry in proven.unproven for near in entry.near if near.close for name in near.names
    )
    tables = (name for name, table in model.module.named_buffers() if table.is_floating_point())
    return frozenset(tables) - held - damaged


def exact_leg(
    file: Path, known: Known, threads: int, label: str = "", watch: Watch | None = None
) -> tuple[ExactLeg, Proven]:
    """The graph of a file with the exact values of its constants, and what they are. As ``open_graph``.

    ``watch`` is called in each run.
    """
    proven = prove_constants(OnnxGraph.read(file), known, file)
    leg = ExactLeg(
        file,
        threads,
        constants=proven.exact,
        attributes=proven.attributes,
        own=proven.own,
        label=label,
        watch=watch,
    )
    return leg, proven


def state(
    contract: Contract,
    leg: ExactLeg,
    plan: Plan,
    truth: Truth,
    proven: Proven,
    candidates: Sequence[int],
    closer: Closer | None,
) -> Stated:
    """What a file states, on a share of the plan's cases and for the outputs that can be evaluated."""
    missing = {
        name: f"the evaluator in float64 has no {lack}"
        for lack in leg.graph.unsupported
        for name in lack.outputs
    }
    missing |= {name: f"no oracle: {reason}" for name, reason in truth.oracle_missing.items()}
    if isinstance(contract.reading, RowReading) and missing:
        # Rows are paired by all of their outputs.
        reason = next(iter(missing.values()))
        missing = {spec.name: missing.get(spec.name, reason) for spec in contract.outputs}
    fields = tuple(field for field in contract.fields if field.output not in missing)
    cases = fewest(plan.cases, EVALUATED[plan.settings.effort]) if fields else ()
    names = frozenset(case.name for case in cases)
    narrowed = replace(contract, fields=fields)
    return Stated(leg, tuple(candidates), names, narrowed, missing, proven, closer)


def evaluated(trial: Trial, graph: Stated, watch: Watch) -> Iterator[None]:
    """Evaluate a graph of the trial on each of its cases again, with a watch; yields after each."""
    if not isinstance(graph.leg, ExactLeg):
        return
    for case in trial.cases:
        if case.name in graph.cases:
            with suppress(ExactError):  # the function link tells of it
                graph.leg.evaluate(trial.inputs_of(case), watch)
            yield


def shifted(
    leg: ExactLeg,
    file: Path,
    proven: Proven,
    names: Collection[str],
    threads: int,
    seed: int,
) -> Iterator[Shifted]:
    """The graph with the constants of these names moved by half a unit of their dtype, float32's or that of
    the halves in which the model is held; nothing if it has none."""
    other = moved_graph(leg, file, proven, names, HALF_UNIT, threads, seed)
    if other is not None:
        yield Shifted(SINGLE_MARGIN, leg, other)


def smallest_first(trial: Trial, graph: Stated) -> Iterator[Arrays]:
    """The inputs of the cases on which a graph of the trial is evaluated."""
    for case in sorted(trial.cases, key=lambda case: volume((case,))):
        if case.name in graph.cases:
            yield trial.inputs_of(case)


def with_other(file: Path, proven: Proven, threads: int, values: Mapping[str, Array]) -> ExactLeg:
    """The graph of a file with other ``values`` for constants, by name."""
    constants = {**proven.exact, **values}
    return ExactLeg(file, threads, constants=constants, attributes=proven.attributes, own=proven.own)


def moved_graph(
    leg: ExactLeg,
    file: Path,
    proven: Proven,
    names: Collection[str] | None,
    unit: float,
    threads: int,
    seed: int,
) -> Leg | None:
    """The graph of a leg with constants moved by a share of themselves: those of these names, all if None.

    Short numbers stay: factors of sizes are such, and no rounding moves them. Returns None if nothing is left
    to move.
    """
    held = leg.graph.constants
    chosen = [name for name in (held if names is None else names) if name in held]
    # Of how many float32 units one unit of a constant's own dtype is.
    wider = {entry.name: entry.rounding / HALF_UNIT for entry in proven.unproven}
    changed = {
        name: moved_constant(name, held[name], unit * wider.get(name, 1.0), seed)
        for name in chosen
        if wider.get(name, 1.0) > 1 or _rounds(held[name])
    }
    if not changed:
        return None
    constants = {**proven.exact, **changed}
    return ExactLeg(file, threads, constants=constants, attributes=proven.attributes, own=proven.own)


def _rounds(value: Value) -> bool:
    """Whether a constant holds floats that are not short."""
    if not isinstance(value, np.ndarray | Later) or value.dtype.kind != "f":
        return False
    array = np.asarray(made(value)).reshape(-1)
    return not (short(array[:FEW].astype(np.float32)) and short(array.astype(np.float32)))
