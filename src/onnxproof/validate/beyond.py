"""Look for inputs at which the model cuts off and no case does, and compare the file's function there.

A file that lacks one of the model's bounds, or compares with another number, answers like the model until a
number lies beyond. So inputs within the declared ranges are made that push the model's own numbers beyond:
all of the lowest, the highest, zeros, and what a few steps along the gradient lead to. Where the file's graph
and the model part there by far more than float32's error, the input becomes a case of the link ``function``.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxproof.counted import counted, selects
from onnxproof.tensors import TensorSpec
from onnxproof.validate.cases import FLAT, Case, volume
from onnxproof.validate.exact.errors import ExactError
from onnxproof.validate.legs.cut_offs import OPERATIONS, CutOff, CutOffs
from onnxproof.validate.legs.leg import Arrays
from onnxproof.validate.sweep import measure_graph
from onnxproof.validate.tally import Tally
from onnxproof.validate.trial import Stated, Trial
from onnxproof.wrappers.family import WrappedModel

BASES = 2
"""How many of the smallest cases tell which cut-offs are reached anyway."""

MOST_SOUGHT = 8
"""How many cut-offs that they do not reach are sought by gradient. A zero comes last: a ReLU's."""

STEPS = (1.0, 0.5, 0.25, 0.25)
"""Steps along the gradient's sign, as shares of an input's range. After the first, each element is at an end
of its range (Goodfellow et al. 2015, "Explaining and harnessing adversarial examples")."""

PARTED = 100.0
"""How many times float32's own error the file and the model have to be apart for a new case. A file that is
right parts by a millionth of it, with constants that an exporter rounded by as much as that."""

LOOKED_AT = PARTED / 2
"""How many roundings the graph and PyTorch's float32 have to be apart before the oracle runs. Where they are
not, the graph and the oracle are less than PARTED apart, whatever float32's own error is."""

NEARBY = 1e-4
"""The share of itself by which each number is moved to see whether they part beside the input, too: what
merely decides a tie the other way does not."""

UNIT = float(np.finfo(np.float32).eps)

ALL = np.ones((), np.bool_)
"""What is compared of an output that no padding mask concerns."""

SHOWN = 3
"""How many cut-offs a note names."""


@dataclass(frozen=True, slots=True, eq=False)
class Beyond:
    """An input that reaches cut-offs that the smallest cases do not, and what PyTorch's float32 answers."""

    case: Case
    inputs: Arrays
    reached: tuple[CutOff, ...]
    answered: Arrays

    @property
    def told(self) -> str:
        """What the input is, in words."""
        cuts = ", ".join(str(cut) for cut in self.reached[:SHOWN])
        more = len(self.reached) - SHOWN
        return (
            f"{self.case.name} is an input within the declared ranges that was made to reach what the "
            f"smallest cases do not: {cuts}{f' and {more} more' if more > 0 else ''}; there the file parts "
            "from the model"
        )


def with_inputs_beyond(
    model: WrappedModel, trial: Trial, tallies: Sequence[Tally], threads: int
) -> tuple[Trial, tuple[tuple[str, ...], ...]]:
    """The trial with a case for each input beyond the model's cut-offs at which a graph parts from it.

    The case is in the tally of that graph already. The texts say for each graph what such inputs reach.
    """
    told: list[tuple[str, ...]] = [()] * len(trial.graphs)
    for one, parted in inputs_beyond(model, trial, threads) if tallies else ():
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
    return trial, tuple(told)


def inputs_beyond(
    model: WrappedModel, trial: Trial, threads: int
) -> Iterator[tuple[Beyond, tuple[int, ...]]]:
    """The inputs beyond the model's cut-offs at which graphs of the trial part from it, and which of them
    do."""
    for one in _sought(model, trial, threads) if _fit(model, trial) else ():
        parted = tuple(at for at, graph in enumerate(trial.graphs) if _part(trial, graph, one))
        if parted:
            yield one, parted


def _fit(model: WrappedModel, trial: Trial) -> bool:
    """Whether the model may cut off, and answers can be compared element by element on any input: the model
    is in float32, has a float64 value, and chooses no rows."""
    return (
        model.rounded_to == "float32"
        and trial.truth.oracle is not None
        and not trial.truth.oracle_missing
        and not selects(trial.contract.reading)
        and any(graph.contract.fields for graph in trial.graphs)
        and bool(_movable(trial))
        and all(spec.dtype not in ("float16", "bfloat16") for spec in trial.contract.inputs)
        and not any(_is_known_to_cut_nothing(graph) for graph in trial.graphs)
    )


def _is_known_to_cut_nothing(graph: Stated) -> bool:
    """Whether the model has run for the proof of the file's constants, without an operation that cuts off."""
    if graph.known is None or not graph.known.has_run:
        return False
    operations = graph.known.recorded.operations
    return bool(operations) and operations.isdisjoint(OPERATIONS)


def _sought(model: WrappedModel, trial: Trial, threads: int) -> Iterator[Beyond]:
    """Inputs that reach cut-offs that the smallest cases do not reach, and no input before them.

    The model's own code runs here, with gradients, which it may not be made for: an input on which it raises
    is left out.
    """
    evaluated = frozenset().union(*(graph.cases for graph in trial.graphs))
    cases = [case for case in trial.cases if case.name in evaluated and case.kind not in FLAT]
    cases = sorted(cases, key=lambda case: volume((case,)))[:BASES]
    if not cases:
        return
    case = cases[0]
    tried = [trial.inputs_of(one) for one in cases]
    with suppress(Exception):
        model_run = CutOffs(model, threads)
        left = _unreached(model_run, tried)
        for number, inputs in enumerate(_candidates(model_run, trial, tried[0], left), 1):
            if any(_are_same(inputs, other) for other in tried):
                continue
            tried.append(inputs)
            with suppress(Exception):
                ran = model_run.run(inputs)
                reached = [cut for cut, margin in ran.margins.items() if margin > 0 and cut in left]
                if reached:
                    left.difference_update(reached)
                    sizes = "x".join(str(size) for size in case.sizes.values())
                    name = f"{sizes}-beyond-{number}"
                    made = replace(case, name=name, content="noise", picture=None, native=False)
                    yield Beyond(made, inputs, tuple(sorted(reached, key=_order)), ran.outputs)


def _unreached(model_run: CutOffs, bases: Sequence[Arrays]) -> set[CutOff]:
    """The cut-offs of a run on the first inputs that none of the inputs reaches."""
    first, *others = bases
    left = {cut for cut, margin in model_run.run(first).margins.items() if not margin > 0}
    for inputs in others:
        if left:
            margins = model_run.run(inputs).margins
            left -= {cut for cut in left if margins.get(cut, 0) > 0}
    return left


def _order(cut: CutOff) -> tuple[bool, int, bool]:
    return cut.number == 0, cut.call, cut.upper


def _are_same(one: Arrays, other: Arrays) -> bool:
    return all(np.array_equal(array, other[name]) for name, array in one.items())


def _range(spec: TensorSpec, drawn: NDArray[Any]) -> tuple[float, float]:
    """An input's range: the declared one, or that of a case."""
    if spec.range is not None:
        return spec.range
    return (float(drawn.min()), float(drawn.max())) if drawn.size else (0.0, 0.0)


def _candidates(model_run: CutOffs, trial: Trial, base: Arrays, left: Collection[CutOff]) -> Iterator[Arrays]:
    """Inputs that may reach what is ``left``, which shrinks while they are tried."""
    movable = _movable(trial)
    ranges = {
        spec.name: _range(spec, base[spec.name]) for spec in trial.contract.inputs if spec.name in movable
    }
    for value in (-np.inf, np.inf, 0.0) if left else ():
        ends = {name: np.full_like(base[name], np.clip(value, *ranges[name])) for name in ranges}
        yield {**base, **ends}
    if model_run.is_large:
        return
    for cut in sorted(left, key=_order)[:MOST_SOUGHT]:
        if cut in left:
            with suppress(Exception):
                yield _climbed(model_run, base, ranges, cut)


def _movable(trial: Trial) -> frozenset[str]:
    """The inputs whose every number may be any of their range: floats and pictures, not indices or masks."""
    preprocess = trial.contract.preprocess
    pictures = None if preprocess is None else preprocess.input
    return frozenset(
        spec.name
        for spec in trial.contract.inputs
        if not spec.mask and ("float" in spec.dtype or spec.name == pictures)
    )


def _climbed(
    model_run: CutOffs, base: Arrays, ranges: Mapping[str, tuple[float, float]], cut: CutOff
) -> Arrays:
    """The input with the largest margin that a few steps along its gradient lead to."""
    best, largest = base, -np.inf
    inputs = base
    for step in (*STEPS, 0.0):
        margin, slopes = model_run.slope(inputs, cut, ranges if step else ())
        if margin > largest:
            best, largest = inputs, margin
        moved = {name: _stepped(inputs[name], slopes[name], step, ranges[name]) for name in slopes}
        if _are_same(moved, inputs):
            break
        inputs = {**inputs, **moved}
    return best


def _stepped(
    array: NDArray[Any], slope: NDArray[Any], step: float, span: tuple[float, float]
) -> NDArray[Any]:
    low, high = span
    moved = np.clip(array + step * (high - low) * np.nan_to_num(np.sign(slope)), low, high)
    return np.asarray(moved.astype(array.dtype))


def _part(trial: Trial, graph: Stated, one: Beyond) -> bool:
    """Whether a graph and the model part at an input, and beside it, by far more than float32's error."""
    if not _part_at(trial, graph, one.inputs, one.answered):
        return False
    random = np.random.default_rng(one.case.seed)
    ranges = {spec.name: spec.range or (-np.inf, np.inf) for spec in trial.contract.inputs}
    beside = {
        name: np.clip(array * (1 + NEARBY * random.uniform(-1, 1, array.shape)), *ranges[name]).astype(
            array.dtype
        )
        if array.dtype.kind == "f"
        else array
        for name, array in one.inputs.items()
    }
    return _part_at(trial, graph, beside, None)


def _part_at(trial: Trial, graph: Stated, inputs: Arrays, single: Arrays | None) -> bool:
    """As ``_part``, at these inputs. ``single`` is what PyTorch's float32 answers; None if it has not run."""
    oracle, reference = trial.truth.oracle, trial.truth.reference
    assert oracle is not None
    stated = _stated(graph, inputs)
    try:
        single = reference.run(inputs).outputs if single is None else single
        # The oracle takes longest, and most files that are right do not need it.
        kept = counted(trial.contract, inputs, single)
        if not any(
            _apart(single[name], single[name], stated[name], kept.get(name, ALL), LOOKED_AT)
            for name in stated
        ):
            return False
        exact = oracle.run(inputs).outputs
    except Exception:  # noqa: BLE001 - the model's own code may raise any type on an unusual input
        return False
    kept = counted(trial.contract, inputs, exact)
    return any(
        _apart(exact[name], single[name], stated[name], kept.get(name, ALL), PARTED) for name in stated
    )


def _stated(graph: Stated, inputs: Arrays) -> Arrays:
    """What a graph answers, of the outputs that are compared; nothing if it does not run."""
    names = {field.output for field in graph.contract.fields}
    if not names:
        return {}
    try:
        with np.errstate(all="ignore"):
            outputs = graph.leg.run(inputs).outputs
    except ExactError:
        return {}
    return {name: outputs[name] for name in sorted(names & outputs.keys())}


def _apart(
    exact: NDArray[Any], single: NDArray[Any], stated: NDArray[Any], kept: NDArray[np.bool_], times: float
) -> bool:
    """Whether a graph's answer lies further from the exact one than so many times the error of float32's.

    The arrays are of the same shape, and are compared where they are ``kept``.
    """
    if exact.dtype.kind != "f" or not exact.shape == single.shape == stated.shape:
        return False
    sound = np.isfinite(exact) & np.isfinite(single) & kept
    if not np.any(sound):
        return False
    if not np.all(np.isfinite(stated[sound])):
        return True
    wide = exact[sound].astype(np.float64)
    own = np.max(np.abs(single[sound] - wide))
    scale = np.max(np.abs(wide))
    return bool(np.max(np.abs(stated[sound] - wide)) > times * max(own, UNIT * scale))
