"""Look for inputs by which the model decides and no case does, and compare the file's function there.

A file that lacks one of the model's bounds, or compares with another number, answers like the model until a
number lies beyond. So inputs within the declared ranges are made that push the model's own numbers beyond:
all of the lowest, the highest, zeros, and what a few steps along the gradient lead to. Others are unusual in
themselves (``unusual.py``). Where the file's graph and the model part there by far more than float32's error,
the input becomes a case of the link ``function``.
"""

import operator
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxproof.counted import selects
from onnxproof.tensors import TensorSpec
from onnxproof.validate.cases import FLAT, Case, volume
from onnxproof.validate.climbing import TWO_SIDED, are_same, climbed, comparisons, together, turned
from onnxproof.validate.contents import OF_IDS
from onnxproof.validate.legs.cut_offs import EQUALITY, OPERATIONS, CutOff, CutOffs, Ran
from onnxproof.validate.legs.leg import Arrays
from onnxproof.validate.parting import RANKING, Beyond, part
from onnxproof.validate.sweep import measure_graph
from onnxproof.validate.tally import Tally
from onnxproof.validate.trial import Stated, Trial
from onnxproof.validate.unusual import LARGEST, OF_NAN, Ranges, unusual
from onnxproof.wrappers.family import WrappedModel

BASES = 2
"""How many of the smallest cases tell which cut-offs are reached anyway."""

MOST_SOUGHT = 8
"""How many cut-offs that they do not reach are sought by gradient, and how many comparisons on both sides. A
zero comes last: a ReLU's."""

MOST_SOUGHT_OF_SMALL = 64
"""The same for a small model, which runs in milliseconds."""

SMALL = 2**17, 2**14
"""How many numbers a small model has at most as parameters, and as inputs."""

DECIDING = OPERATIONS | EQUALITY | LARGEST | OF_NAN | {"_to_copy"}
"""The functions by which a model decides by numbers, and the operation that a cast is carried out by. Without
any, and without ids, nothing is sought."""

SHOWN = 3
"""How many cut-offs a note names."""


def with_inputs_beyond(
    model: WrappedModel, trial: Trial, tallies: Sequence[Tally], threads: int
) -> tuple[Trial, tuple[tuple[str, ...], ...]]:
    """The trial with a case for each input beyond the model's cut-offs at which a graph parts from it.

    The case is in the tally of that graph already. The texts say for each graph what such inputs reach,
    and how many comparisons were not looked at.
    """
    told: list[tuple[str, ...]] = [()] * len(trial.graphs)
    notes: list[str] = []
    for one, parted in inputs_beyond(model, trial, threads, notes) if tallies else ():
        name = one.case.name
        graphs = list(trial.graphs)
        for at in parted:
            graphs[at] = replace(graphs[at], cases=graphs[at].cases | {name})
            told[at] = (*told[at], one.told)
        given = {**trial.given, name: one.inputs}
        cases, sought = (*trial.cases, one.case), trial.sought | {name}
        trial = replace(trial, cases=cases, given=given, sought=sought, graphs=tuple(graphs))
        for at in parted:
            measure_graph(trial, graphs[at], one.case, tallies[len(trial.candidates) + at])
    return trial, tuple((*of_graph, *notes) for of_graph in told)


def inputs_beyond(
    model: WrappedModel, trial: Trial, threads: int, notes: list[str]
) -> Iterator[tuple[Beyond, tuple[int, ...]]]:
    """The inputs that were sought at which graphs of the trial part from the model, and which graphs do.

    ``notes`` gets a text if the model has more comparisons than were looked at.
    """
    for one in _sought(model, trial, threads, notes) if _fit(model, trial) else ():
        parted = tuple(at for at, graph in enumerate(trial.graphs) if part(trial, graph, one))
        if parted:
            yield one, parted


def _fit(model: WrappedModel, trial: Trial) -> bool:
    """Whether the model may decide, and answers can be compared element by element on any input: the model
    is in float32, has a float64 value, and chooses no rows."""
    has_ids = any(case.ids and case.kind not in OF_IDS for case in trial.cases)
    decides = bool(_movable(trial)) and not any(map(_is_known_to_decide_nothing, trial.graphs))
    return (
        (has_ids or decides)
        and model.rounded_to == "float32"
        and trial.truth.oracle is not None
        and not trial.truth.oracle_missing
        and not selects(trial.contract.reading)
        and any(graph.contract.fields for graph in trial.graphs)
        and all(spec.dtype not in ("float16", "bfloat16") for spec in trial.contract.inputs)
    )


def _is_known_to_decide_nothing(graph: Stated) -> bool:
    """Whether the model has run for the proof of the file's constants, without a function that decides."""
    if graph.known is None or not graph.known.has_run:
        return False
    operations = graph.known.recorded.operations
    return bool(operations) and operations.isdisjoint(DECIDING)


def _sought(model: WrappedModel, trial: Trial, threads: int, notes: list[str]) -> Iterator[Beyond]:
    """Inputs that reach cut-offs that the smallest cases do not reach, and no input before them; then those
    that reach two at one place, and unusual ones.

    The model's own code runs here, with gradients, which it may not be made for: an input on which it raises
    is left out.
    """
    evaluated = frozenset().union(*(graph.cases for graph in trial.graphs))
    cases = [case for case in trial.cases if case.name in evaluated and case.kind not in (*FLAT, *OF_IDS)]
    cases = sorted(cases, key=lambda case: volume((case,)))
    if not cases:
        return
    tried = [trial.inputs_of(one) for one in cases[:BASES]]
    with suppress(Exception):
        model_run = CutOffs(model, threads)
        first = model_run.run(tried[0])
        left = {cut for cut, margin in first.margins.items() if not margin > 0}
        for inputs in tried[1:]:
            if left:
                margins = model_run.run(inputs).margins
                left -= {cut for cut in left if margins.get(cut, 0) > 0}
        most = _most_sought(model_run, tried[0])
        notes += _not_sought(first, most) if _movable(trial) and not model_run.is_large else ()
        for number, (made_to, case, inputs) in enumerate(
            _candidates(model_run, trial, cases, first, left, most), 1
        ):
            if any(are_same(inputs, other) for other in tried):
                continue
            tried.append(inputs)
            with suppress(Exception):
                ran = model_run.run(inputs)
                reached = [cut for cut, margin in ran.margins.items() if margin > 0 and cut in left]
                left.difference_update(reached)
                if reached or made_to:
                    sizes = "x".join(str(size) for size in case.sizes.values())
                    name = f"{sizes}-beyond-{number}"
                    made = replace(case, name=name, content="noise", picture=None, native=False)
                    ranks = not RANKING.isdisjoint(ran.functions)
                    yield Beyond(made, inputs, made_to or _told(reached), ran.outputs, ranks, ran.equal)


def _most_sought(model_run: CutOffs, inputs: Arrays) -> int:
    """How many cut-offs, and how many comparisons, are sought."""
    sizes = model_run.parameters, sum(array.size for array in inputs.values())
    return MOST_SOUGHT_OF_SMALL if all(map(operator.le, sizes, SMALL)) else MOST_SOUGHT


def _not_sought(ran: Ran, most: int) -> Iterator[str]:
    """A note if a run has more comparisons than are sought."""
    count = sum(cut.operation in TWO_SIDED for cut in comparisons(ran))
    if count > most:
        yield f"inputs are made beside {most} of the {count} numbers that the model compares with"


def _told(reached: Collection[CutOff]) -> str:
    """What an input was made to do that reaches these cut-offs."""
    cuts = ", ".join(str(cut) for cut in sorted(reached, key=_order)[:SHOWN])
    more = f" and {len(reached) - SHOWN} more" if len(reached) > SHOWN else ""
    return f"reach within its range what the smallest cases do not: {cuts}{more}"


def _order(cut: CutOff) -> tuple[bool, int, bool]:
    return cut.number == 0, cut.call, cut.upper


def _range(spec: TensorSpec, drawn: NDArray[Any]) -> tuple[float, float]:
    """An input's range: the declared one, or that of a case."""
    if spec.range is not None:
        return spec.range
    return (float(drawn.min()), float(drawn.max())) if drawn.size else (0.0, 0.0)


Candidate = tuple[str, Case, Arrays]
"""What an input was made to hold or reach, in words; the case that it was made from; the input. The words are
empty where it may reach any cut-off that is left."""


def _candidates(
    model_run: CutOffs,
    trial: Trial,
    cases: Sequence[Case],
    first: Ran,
    left: Collection[CutOff],
    most: int,
) -> Iterator[Candidate]:
    """Inputs that may reach what is ``left``, which shrinks while they are tried, and unusual ones.

    ``first`` is the run on the first of the ``cases``. At ``most`` so many cut-offs and comparisons are
    sought.
    """
    case = cases[0]
    base = trial.inputs_of(case)
    ranges = _ranges(trial, base)
    for value in (-np.inf, np.inf, 0.0) if left and ranges else ():
        ends = {name: np.full_like(base[name], np.clip(value, *ranges[name])) for name in ranges}
        yield "", case, {**base, **ends}
    if ranges and not model_run.is_large:
        for cut in sorted(left, key=_order)[:most]:
            if cut in left:
                with suppress(Exception):
                    yield "", case, climbed(model_run, base, ranges, (cut,))
        for cuts in together(first, most):
            with suppress(Exception):
                for made_to, inputs in turned(model_run, base, ranges, cuts):
                    yield made_to, case, inputs
    case = next((one for one in cases if _rows(trial, one) > 1), case)
    base = trial.inputs_of(case)
    for made_to, inputs in unusual(first.functions, base, _ranges(trial, base), trial.cases, first.equal):
        yield made_to, case, inputs


def _ranges(trial: Trial, base: Arrays) -> Ranges:
    """The ranges of the inputs whose every number may be any of theirs."""
    movable = _movable(trial)
    return {
        spec.name: _range(spec, base[spec.name]) for spec in trial.contract.inputs if spec.name in movable
    }


def _rows(trial: Trial, case: Case) -> int:
    """The most rows that an input has in a case."""
    first = [spec.shape[0] for spec in trial.contract.inputs if spec.shape]
    return max((case.sizes[axis] if isinstance(axis, str) else axis for axis in first), default=0)


def _movable(trial: Trial) -> frozenset[str]:
    """The inputs whose every number may be any of their range: floats and pictures, not indices or masks."""
    preprocess = trial.contract.preprocess
    pictures = None if preprocess is None else preprocess.input
    return frozenset(
        spec.name
        for spec in trial.contract.inputs
        if not spec.mask and ("float" in spec.dtype or spec.name == pictures)
    )
