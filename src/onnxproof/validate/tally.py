"""What was measured of one candidate, case by case. Tallies of different cases can be merged in any order."""

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Self

import numpy as np

from onnxproof.contract import Contract
from onnxproof.counted import Kept
from onnxproof.runtime.readings.padded import PaddedReading
from onnxproof.runtime.readings.rows import RowReading
from onnxproof.validate.cases import BATCH, Case
from onnxproof.validate.compare import get_comparer
from onnxproof.validate.compare.any_order import arrays_in_order_of, in_order_of
from onnxproof.validate.compare.decisions import DecisionPool
from onnxproof.validate.compare.last_place import both, decided_rows
from onnxproof.validate.compare.returned_pairs import pair_returned
from onnxproof.validate.compare.row_order import Disorder, disorder_of, states_order
from onnxproof.validate.compare.row_pairs import pair_batch, pair_rows, with_open_regions
from onnxproof.validate.contents import CONSTANT
from onnxproof.validate.facts import Failure
from onnxproof.validate.legs.choices import compare_scores, may_be_chosen
from onnxproof.validate.legs.leg import Answer, Arrays
from onnxproof.validate.measure import Array, Run
from onnxproof.validate.pools import EVERYTHING, NOTHING, FieldPools


@dataclass(slots=True)
class Tally:
    """What was measured of one candidate on the cases so far. It holds no limits; ``judge.py`` applies
    them."""

    contract: Contract
    pools: FieldPools
    decisions: DecisionPool | None
    all_rows: DecisionPool | None
    not_run: dict[Run, str] = field(default_factory=dict)
    beyond: dict[Run, str] = field(default_factory=dict)
    """The runs that the evaluator of graphs cannot do, and why. It says nothing of the file."""
    misshapen: dict[Run, str] = field(default_factory=dict)
    unlike: dict[Run, str] = field(default_factory=dict)
    """The runs of which an output is not measured, since the oracle's has another shape than the reference's,
    and which."""
    disorder: dict[Run, Disorder] | None = None
    """The runs whose rows are not in the order that the contract states. None if it states none."""
    rows: int = 0
    held_back: int = 0
    more_not_run: int = 0
    more_misshapen: int = 0
    """How many runs ``condense`` dropped from ``not_run`` and ``misshapen``."""

    @classmethod
    def of(cls, contract: Contract, *, oracle_missing: Collection[str] = (), decide: bool = True) -> Self:
        """An empty tally. ``oracle_missing`` are the outputs that the oracle has no value of. ``decide`` says
        whether decisions are compared."""
        has_oracle = not oracle_missing
        decisions = all_rows = None
        reading = contract.reading
        if decide and get_comparer(contract.task) is not None:
            decisions = DecisionPool(contract.task, reading, has_oracle=has_oracle)
        if decide and isinstance(reading, RowReading):
            lowest = replace(reading, score_threshold=-math.inf)
            all_rows = DecisionPool(contract.task, lowest, has_oracle=has_oracle)
        pools = FieldPools(contract.fields, frozenset(oracle_missing))
        disorder: dict[Run, Disorder] | None = {} if decide and states_order(reading) else None
        return cls(contract, pools, decisions, all_rows, disorder=disorder)

    def add(
        self,
        case: Case,
        exact: Answer,
        wanted: Answer,
        found: Answer | str,
        kept: Kept = EVERYTHING,
        *,
        like: Answer | None = None,
        stated: Arrays = NOTHING,
    ) -> Answer | None:
        """Compare the candidate's answer with the oracle's and the reference's, where outputs are ``kept``.

        If the candidate did not answer, ``found`` is the reason in words. ``stated`` has the outputs of the
        candidate's own graph in float64: the candidate's errors are measured from those. Returns the
        candidate's answer, or None if there is none or its names, dtypes or shapes differ from those of
        ``like``, by default the reference's. Where the model's own rounding decides an output's shape, so
        that the oracle's is another one, either will do, and that output is not measured.
        """
        run = (case.name, case.replica)
        if isinstance(found, str):
            self.not_run[run] = found
            return None
        reading = self.contract.reading
        as_rows = isinstance(reading, RowReading) and not isinstance(reading, PaddedReading)
        unlike = {} if as_rows else _other_shapes(exact, wanted)
        either = exact.outputs if unlike else NOTHING
        difference = _form_difference(wanted if like is None else like, found, as_rows=as_rows, either=either)
        answered = found
        if difference is None:
            wanted, found = (in_order_of(exact, answer, reading) for answer in (wanted, found))
            stated = arrays_in_order_of(exact.outputs, stated, reading) if stated else stated
            kept = both(kept, decided_rows(exact.outputs, wanted.outputs, reading))
        measured: tuple[Arrays, Arrays, Arrays] = (exact.outputs, wanted.outputs, found.outputs)
        quantities = None
        if isinstance(reading, RowReading) and difference is None:
            wanted = with_open_regions(exact, wanted, found, reading)
            pair = pair_rows if "candidate_boxes" in exact.margins else pair_returned
            paired = pair_batch(exact, wanted, found, reading, case.sizes, pair)
            if isinstance(paired, str):
                difference = paired
            else:
                measured, quantities = paired.outputs, paired.quantities
                self._look_at_order(case, wanted, found)
                if not case.replica:  # a case that is looked at again has no rows of its own
                    self.held_back += paired.held_back
                    self.rows += paired.rows
        if difference is not None:
            self.misshapen[run] = difference
            return None
        if unlike:
            self.unlike[run] = next(iter(unlike.values()))
        constant = case.content in CONSTANT
        margins = {**exact.margins, **dict(self._gaps(exact, wanted, found, unlike))}
        if quantities is not None:
            stated = NOTHING  # Rows were paired with the oracle's.
        self.pools.add(
            case.name,
            *measured,
            margins,
            stated=stated,
            replica=case.replica,
            sizes=tuple(size for name, size in case.sizes.items() if name != BATCH),
            constant=constant,
            kept=kept,
            without=unlike,
        )
        for pool in () if unlike else filter(None, (self.decisions, self.all_rows)):
            legs, measure_only = (exact, wanted, found), case.replica > 0
            pool.add(case.name, case.sizes, legs, quantities, measure_only=measure_only)
        return answered

    def _look_at_order(self, case: Case, wanted: Answer, found: Answer) -> None:
        if self.disorder is None or case.replica:
            return
        of_reference, own = (
            disorder_of(answer.outputs, case.sizes, self.contract.reading) for answer in (wanted, found)
        )
        disorder = None if own is None else own.beyond(of_reference)
        if disorder is not None:
            self.disorder[case.name, case.replica] = disorder

    def _gaps(
        self, exact: Answer, wanted: Answer, found: Answer, without: Collection[str]
    ) -> Iterator[tuple[str, Array]]:
        """The gaps of the scores at labels that the model chose by scores, by the field's name."""
        for entry in filter(may_be_chosen, self.contract.fields):
            choice, reference = (answer.choices.get(entry.output) for answer in (exact, wanted))
            if choice is None or entry.output in without:
                continue
            gaps = choice.gaps(found.outputs[entry.output])
            if reference is not None:
                scores = compare_scores(choice, reference)
                is_open = scores.parted[choice.rows]
                gaps[is_open] = 0
                self.pools.labels[entry.name].add_scores(
                    scores.error, scores.scale, int(np.count_nonzero(is_open)), rounded=choice.rounded
                )
            yield entry.name, gaps

    def merge(self, other: Self) -> None:
        """Add what another tally of the same contract and candidate measured on other cases."""
        self.pools.merge(other.pools)
        for own, others in ((self.decisions, other.decisions), (self.all_rows, other.all_rows)):
            if own is not None and others is not None:
                own.merge(others)
        self.not_run |= other.not_run
        self.beyond |= other.beyond
        self.misshapen |= other.misshapen
        self.unlike |= other.unlike
        if self.disorder is not None and other.disorder is not None:
            self.disorder |= other.disorder
        self.rows += other.rows
        self.held_back += other.held_back
        self.more_not_run += other.more_not_run
        self.more_misshapen += other.more_misshapen

    def condense(self, most: int) -> None:
        """Keep only what a verdict on very many cases needs.

        Few cases are told one by one, and the first ``most`` failures. What is measured of all cases together
        stays exact. It does not matter when, or how often, this is called.
        """
        self.pools.condense(most)
        for pool in filter(None, (self.decisions, self.all_rows)):
            pool.condense()
        self.more_not_run += _first(self.not_run, most)
        self.more_misshapen += _first(self.misshapen, most)
        _first(self.unlike, most)

    def keep_errors(self, cases: Collection[str]) -> None:
        """Drop the errors that other cases than these added."""
        self.pools.keep(cases)

    def forget_errors(self, case: str) -> None:
        """Drop the errors that this case added. Flips, decisions and values that are not finite stay."""
        self.pools.forget(case)


def _first(failures: dict[Run, str], most: int) -> int:
    """Keep the first failures by name. Returns how many are dropped."""
    dropped = sorted(failures)[most:]
    for run in dropped:
        del failures[run]
    return len(dropped)


def in_order(failures: Mapping[Run, str], order: Sequence[str]) -> tuple[Failure, ...]:
    """The failures, in the order in which their cases were planned."""
    places = {name: place for place, name in enumerate(order)}
    runs = sorted(failures, key=lambda run: (places.get(run[0], len(places)), run))
    return tuple(Failure(run[0], failures[run]) for run in runs)


def _other_shapes(exact: Answer, wanted: Answer) -> dict[str, str]:
    """The outputs of which the oracle and the reference have two shapes, each with both in words."""
    pairs = {
        name: (array.shape, exact.outputs[name].shape)
        for name, array in wanted.outputs.items()
        if name in exact.outputs
    }
    return {
        name: f"{name} is {list(single)} in float32 and {list(double)} in float64"
        for name, (single, double) in pairs.items()
        if single != double
    }


def unlike_notes(tally: Tally) -> tuple[str, ...]:
    """A note on the cases of which an output is not measured, as PyTorch's two runs answer in two shapes."""
    if not tally.unlike:
        return ()
    (name, _), reason = next(iter(tally.unlike.items()))
    count = len({case for case, _ in tally.unlike})
    cases = f"in {count} cases, first" if count > 1 else "in"
    return (
        f"an output is not measured {cases} {name}: the model's own rounding decides its shape there "
        f"({reason} in PyTorch)",
    )


def _form_difference(wanted: Answer, found: Answer, *, as_rows: bool, either: Arrays = NOTHING) -> str | None:
    """How the candidate's outputs differ in name, dtype or shape; None if they do not.

    If outputs are rows, the number of rows may differ, as long as it is the same in all outputs. An output
    may have the shape of ``either`` instead.
    """
    if set(wanted.outputs) != set(found.outputs):
        return f"outputs {', '.join(found.outputs)}; expected {', '.join(wanted.outputs)}"
    rows = max((len(array) for array in found.outputs.values() if array.ndim), default=0)
    for name, array in wanted.outputs.items():
        got = found.outputs[name]
        expected = (rows, *array.shape[1:]) if as_rows else array.shape
        shapes = {expected, either[name].shape} if name in either else {expected}
        if got.dtype != array.dtype or got.shape not in shapes:
            return f"{name} is {got.dtype}{list(got.shape)}; expected {array.dtype}{list(expected)}"
    return None
