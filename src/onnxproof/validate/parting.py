"""Tell whether a file's graph and the model part at an input by far more than float32's error.

They are compared element by element, at the input and beside it.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxproof.counted import counted
from onnxproof.validate.cases import Case
from onnxproof.validate.exact.errors import ExactError
from onnxproof.validate.legs.choices import Choice, compare_scores
from onnxproof.validate.legs.leg import Arrays
from onnxproof.validate.trial import Stated, Trial

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

STATED_TO = 1e-3
"""Up to what share of a rounding of float32 a file that is right may compute a number that is compared."""

RANKING = frozenset(
    """
    argmax argmin argsort bernoulli cummax cummin kthvalue max median min mode msort multinomial nanmedian
    nms sort topk unique unique_consecutive
    """.split()
)
"""Functions that choose places by numbers, or draw. Where numbers are equal, other places are as right."""

ALL = np.ones((), np.bool_)
"""What is compared of an output that no padding mask concerns."""


@dataclass(frozen=True, slots=True, eq=False)
class Beyond:
    """An input that was made for what no case does, in words, and what PyTorch's float32 answers.

    ``ranks`` says that the model calls one of the functions RANKING on it, ``equal`` are the numbers that it
    asks floats to be equal to.
    """

    case: Case
    inputs: Arrays
    made_to: str
    answered: Arrays
    ranks: bool
    equal: frozenset[float] = frozenset()

    @property
    def told(self) -> str:
        """What the input is, in words."""
        return f"{self.case.name} is an input made to {self.made_to}; there the file parts from the model"


def part(trial: Trial, graph: Stated, one: Beyond) -> bool:
    """Whether a graph and the model part at an input, and beside it, by far more than float32's error."""
    if not _part_at(trial, graph, one.inputs, one.answered, ranks=one.ranks):
        return False
    random = np.random.default_rng(one.case.seed)
    ranges = {spec.name: spec.range or (-np.inf, np.inf) for spec in trial.contract.inputs}
    beside = {}
    for name, array in one.inputs.items():
        beside[name] = array
        if array.dtype.kind == "f":
            moved = np.clip(array * (1 + NEARBY * random.uniform(-1, 1, array.shape)), *ranges[name])
            asked_for = np.isin(array, np.array(sorted(one.equal)).astype(array.dtype))
            beside[name] = np.where(asked_for, array, moved).astype(array.dtype)
    return _part_at(trial, graph, beside, None, ranks=one.ranks)


def _part_at(trial: Trial, graph: Stated, inputs: Arrays, single: Arrays | None, *, ranks: bool) -> bool:
    """As ``part``, at these inputs. ``single`` is what PyTorch's float32 answers; None if it has not run."""
    oracle, reference = trial.truth.oracle, trial.truth.reference
    assert oracle is not None
    stated = _stated(graph, inputs)
    whole = {name for name, array in stated.items() if array.dtype.kind in "iub"}
    own: dict[str, Choice] = {}
    try:
        if single is None or whole:
            answer = reference.run(inputs)
            # Of places and classes that were chosen, others may be as right.
            own = {name: choice for name, choice in answer.choices.items() if name in whole}
            left_out = {name for name in whole if (not own[name].rounded if name in own else ranks)}
            stated = {name: array for name, array in stated.items() if name not in left_out}
            single = answer.outputs
        # The oracle takes longest, and most files that are right do not need it.
        kept = counted(trial.contract, inputs, single)
        if not any(
            _apart(single[name], single[name], stated[name], kept.get(name, ALL), LOOKED_AT)
            for name in stated
        ):
            return False
        exact = oracle.run(inputs)
    except Exception:  # noqa: BLE001 - the model's own code may raise any type on an unusual input
        return False
    kept = counted(trial.contract, inputs, exact.outputs)
    return any(
        _apart(
            exact.outputs[name],
            single[name],
            array,
            kept.get(name, ALL) & _beyond_error(exact.choices.get(name), own.get(name), array),
            PARTED,
        )
        for name, array in stated.items()
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


def _beyond_error(exact: Choice | None, own: Choice | None, stated: NDArray[Any]) -> NDArray[np.bool_]:
    """Where the numbers that integers and conditions were made from would have to move by more than their
    float error to give what is ``stated``; everywhere if they are not known."""
    if exact is None or own is None or exact.rows.shape != stated.shape:
        return ALL
    scores = compare_scores(exact, own)
    error = max(scores.error, STATED_TO * UNIT * max(scores.scale, exact.compared))
    sure: NDArray[np.bool_] = (exact.gaps(stated) > 2 * error) & ~scores.parted[exact.rows]
    return sure


def _apart(
    exact: NDArray[Any], single: NDArray[Any], stated: NDArray[Any], kept: NDArray[np.bool_], times: float
) -> bool:
    """Whether a graph's answer lies further from the exact one than so many times the error of float32's; of
    integers and conditions, whether one is another that float32 gives as the exact one.

    The arrays are of the same shape, and are compared where they are ``kept``.
    """
    if not exact.shape == single.shape == stated.shape:
        return False
    if exact.dtype.kind in "iub":
        return bool(np.any((stated != exact) & (single == exact) & kept))
    if exact.dtype.kind != "f":
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
