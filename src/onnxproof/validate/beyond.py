"""Look for inputs at which the model cuts off and no case does, and compare the file's function there.

A file that lacks one of the model's bounds, or compares with another number, answers like the model until a
number lies beyond. So inputs within the declared ranges are made that push the model's own numbers beyond:
all of the lowest, the highest, zeros, and what a few steps along the gradient lead to. Where the file's graph
and the model part there by far more than float32's error, the input becomes a case of the link ``function``.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxproof.counted import counted, selects
from onnxproof.tensors import TensorSpec
from onnxproof.validate.cases import FLAT, Case, volume
from onnxproof.validate.exact.errors import ExactError
from onnxproof.validate.legs.cut_offs import CutOff, CutOffs
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

NEARBY = 1e-4
"""The share of itself by which each number is moved to see whether they part beside the input, too: what
merely decides a tie the other way does not."""

UNIT = float(np.finfo(np.float32).eps)

SHOWN = 3


@dataclass(frozen=True, slots=True, eq=False)
class Beyond:
    """An input that reaches cut-offs that no case does."""

    case: Case
    inputs: Arrays
    reached: tuple[CutOff, ...]

    @property
    def told(self) -> str:
        """What the input is, in words."""
        cuts = ", ".join(str(cut) for cut in self.reached[:SHOWN])
        more = len(self.reached) - SHOWN
        return (
            f"{self.case.name} is an input within the declared ranges that was made to reach what no other "
            f"case did: {cuts}{f' and {more} more' if more > 0 else ''}; there the file parts from the model"
        )


def with_inputs_beyond(
    model: WrappedModel, trial: Trial, tallies: Sequence[Tally], threads: int
) -> tuple[Trial, tuple[str, ...]]:
    """The trial with a case for each input beyond the model's cut-offs at which a graph parts from it.

    The case is in the tally of that graph already. The texts say what the inputs reach.
    """
    if not tallies or not _fit(model, trial):
        return trial, ()
    told = []
    found = list(_sought(model, trial, threads))
    graphs = list(trial.graphs)
    for one in found:
        for at, graph in enumerate(graphs):
            if not graph.contract.fields or not _part(trial, graph, one):
                continue
            graphs[at] = replace(graph, cases=graph.cases | {one.case.name})
            given = {**trial.given, one.case.name: one.inputs}
            trial = replace(trial, given=given, graphs=tuple(graphs))
            if one.case not in trial.cases:
                trial = replace(trial, cases=(*trial.cases, one.case))
                told.append(one.told)
            measure_graph(trial, graphs[at], one.case, tallies[len(trial.candidates) + at])
    return trial, tuple(told)


def _fit(model: WrappedModel, trial: Trial) -> bool:
    """Whether answers can be compared element by element on any input: the model is in float32, has a float64
    value, and chooses no rows."""
    return (
        model.rounded_to == "float32"
        and trial.truth.oracle is not None
        and not trial.truth.oracle_missing
        and not selects(trial.contract.reading)
        and any(graph.contract.fields for graph in trial.graphs)
        and bool(_filled(trial))
        and all("16" not in spec.dtype or "float" not in spec.dtype for spec in trial.contract.inputs)
    )


def _sought(model: WrappedModel, trial: Trial, threads: int) -> Iterator[Beyond]:
    """Inputs that reach cut-offs that the smallest cases do not reach, and no input before them."""
    evaluated = frozenset().union(*(graph.cases for graph in trial.graphs))
    cases = [case for case in trial.cases if case.name in evaluated and case.kind not in FLAT]
    cases = sorted(cases, key=lambda case: volume((case,)))[:BASES]
    if not cases:
        return
    try:
        model_run = CutOffs(model, threads)
        bases = [trial.inputs_of(case) for case in cases]
        margins = [model_run.margins(base) for base in bases]
        known = {cut for found in margins for cut in found}
        left = known - {cut for found in margins for cut, margin in found.items() if margin > 0}
        if not left:
            return
        case, base = cases[0], bases[0]
        ranges = {spec.name: _range(spec, base[spec.name]) for spec in trial.contract.inputs}
        for number, inputs in enumerate(_candidates(model_run, trial, base, ranges, left), 1):
            reached = {cut for cut, margin in model_run.margins(inputs).items() if margin > 0} & left
            if reached:
                left -= reached
                sizes = "x".join(str(size) for size in case.sizes.values())
                name = f"{sizes}-beyond-{number}"
                made = replace(case, name=name, content="noise", picture=None, native=False)
                yield Beyond(made, inputs, tuple(sorted(reached, key=_order)))
    except Exception:  # noqa: BLE001
        # The model's own code runs here, with gradients, which it may not be made for.
        return


def _order(cut: CutOff) -> tuple[bool, int, bool]:
    return cut.number == 0, cut.call, cut.upper


def _range(spec: TensorSpec, drawn: NDArray[Any]) -> tuple[float, float]:
    """An input's range: the declared one, or that of a case."""
    if spec.range is not None:
        return spec.range
    return (float(drawn.min()), float(drawn.max())) if drawn.size else (0.0, 0.0)


def _candidates(
    model_run: CutOffs,
    trial: Trial,
    base: Arrays,
    ranges: Mapping[str, tuple[float, float]],
    left: set[CutOff],
) -> Iterator[Arrays]:
    """Inputs that may reach what is ``left``, which shrinks while they are tried."""
    filled = _filled(trial)
    for value in (-np.inf, np.inf, 0.0):
        yield {
            name: np.full_like(array, np.clip(value, *ranges[name])) if name in filled else array
            for name, array in base.items()
        }
    if model_run.is_large:
        return
    for cut in sorted(left, key=_order)[:MOST_SOUGHT]:
        if cut in left:
            yield _climbed(model_run, base, ranges, cut)


def _filled(trial: Trial) -> tuple[str, ...]:
    """The inputs whose every number may be any of their range: floats and pictures, not indices."""
    preprocess = trial.contract.preprocess
    pictures = None if preprocess is None else preprocess.input
    return tuple(
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
        margin, slopes = model_run.slope(inputs, cut)
        if margin > largest:
            best, largest = inputs, margin
        if margin > 0 or not any(np.any(slope) for slope in slopes.values()):
            break
        inputs = {
            name: _stepped(array, slopes[name], step, ranges[name]) if name in slopes else array
            for name, array in inputs.items()
        }
    return best


def _stepped(
    array: NDArray[Any], slope: NDArray[Any], step: float, span: tuple[float, float]
) -> NDArray[Any]:
    low, high = span
    moved = np.clip(array + step * (high - low) * np.sign(slope), low, high)
    return np.asarray(moved.astype(array.dtype))


def _part(trial: Trial, graph: Stated, one: Beyond) -> bool:
    """Whether a graph and the model part at an input, and beside it, by far more than float32's error."""
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
    return all(_part_at(trial, graph, inputs) for inputs in (one.inputs, beside))


def _part_at(trial: Trial, graph: Stated, inputs: Arrays) -> bool:
    oracle, reference = trial.truth.oracle, trial.truth.reference
    assert oracle is not None
    try:
        with np.errstate(all="ignore"):
            exact, single = oracle.run(inputs).outputs, reference.run(inputs).outputs
            stated = graph.leg.run(inputs).outputs
    except ExactError:
        return False
    except Exception:  # noqa: BLE001 - the model's own code may raise any type on an unusual input
        return False
    if counted(trial.contract, inputs, exact):
        return False
    names = {field.output for field in graph.contract.fields}
    return any(_apart(exact[name], single[name], stated[name]) for name in sorted(names) if name in stated)


def _apart(exact: NDArray[Any], single: NDArray[Any], stated: NDArray[Any]) -> bool:
    if exact.dtype.kind != "f" or exact.shape != stated.shape or not exact.size:
        return False
    sound = np.isfinite(exact) & np.isfinite(single)
    if not np.any(sound):
        return False
    if not np.all(np.isfinite(stated[sound])):
        return True
    wide = exact[sound].astype(np.float64)
    own = np.max(np.abs(single[sound] - wide))
    scale = np.max(np.abs(wide))
    return bool(np.max(np.abs(stated[sound] - wide)) > PARTED * max(own, UNIT * scale))
