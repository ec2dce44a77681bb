"""Run every leg on every case and gather the facts, in memory that does not grow with the cases."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self

from onnxproof.errors import CheckError, OnnxproofError, UserCodeError
from onnxproof.progress import Progress, silent
from onnxproof.runtime.plain import Port
from onnxproof.tensors import Dim
from onnxproof.usercode import told, users_place
from onnxproof.validate.cases import CONSTANT, Case, materialise, volume
from onnxproof.validate.decisions import DecisionPool
from onnxproof.validate.facts import Answer, Arrays, Contract, Facts, Failure
from onnxproof.validate.judge import doubtful, ranks_of
from onnxproof.validate.legs import Leg, OrtLeg, Truth
from onnxproof.validate.limits import REPEATS
from onnxproof.validate.measure import FieldPools
from onnxproof.validate.returned import pair_returned
from onnxproof.validate.rows import ends_in_rows, pair_rows, with_open_regions

RAW_TASK = "raw"
"""The task that decides nothing."""

Watch = Callable[[Case, Answer, Sequence[Answer | None]], None]


def unwatched(case: Case, wanted: Answer, found: Sequence[Answer | None]) -> None:
    """Nobody looks."""


def sweep(
    contract: Contract,
    truth: Truth,
    candidates: Sequence[OrtLeg],
    cases: Sequence[Case],
    *,
    progress: Progress = silent,
    watch: Watch = unwatched,
) -> tuple[Facts, ...]:
    """Run the oracle and the reference once on each case, and every candidate; the facts of each.

    ``watch`` is shown each case's answers: the reference's, and the candidates', None where one did not
    answer in the form that is expected. Raises CheckError if there is no case, or if PyTorch itself
    cannot run one; UserCodeError if the module's own code raises.
    """
    if not cases:
        raise CheckError("there is no case to compare on: declare dims or name pictures")
    tallies = [_Tally.of(contract, candidate, truth) for candidate in candidates]
    count = len(candidates) + 1 + (truth.oracle is not None)
    stage = f"compare {len(cases)} cases, {volume(cases) / 1e6:.1f} million pixels, {count} legs"
    for done, case in enumerate(cases):
        progress(stage, done, len(cases))
        arrays = materialise(case, contract.inputs, contract.preprocess)
        wanted = _run(truth.reference, case, arrays)
        exact = wanted if truth.oracle is None else _run(truth.oracle, case, arrays)
        watch(case, wanted, [tally.add(case, arrays, exact, wanted) for tally in tallies])
    progress(stage, len(cases), len(cases))
    facts = [tally.result(cases) for tally in tallies]
    ranked = ranks_of(contract.fields)
    for tally, found in zip(tallies, facts, strict=True):
        tally.repeated = doubtful(found, ranked)
    _look_again(contract, truth, tallies, cases, progress)
    return tuple(
        tally.result(cases) if tally.repeated else found for tally, found in zip(tallies, facts, strict=True)
    )


def _look_again(
    contract: Contract, truth: Truth, tallies: Sequence["_Tally"], cases: Sequence[Case], progress: Progress
) -> None:
    """Measure the cases on which a doubtful failure rests anew, on inputs next to their own.

    Their own runs are forgotten: they were picked for what they showed. So luck goes, as does what happens
    in constant pictures alone, where every pixel rounds alike and no error averages out; damage stays.
    """
    wanted_by: dict[str, list[_Tally]] = {}
    for tally in tallies:
        for name in tally.repeated:
            wanted_by.setdefault(name, []).append(tally)
    again = [case for case in cases if case.name in wanted_by]
    for done, case in enumerate(again):
        progress(f"look again at {len(again)} cases", done, len(again))
        for tally in wanted_by[case.name]:
            tally.pools.forget(case.name)
        replicas = {id(tally): REPEATS // len(tally.repeated) for tally in wanted_by[case.name]}
        for replica in range(1, max(replicas.values()) + 1):
            beside = replace(case, replica=replica)
            arrays = materialise(beside, contract.inputs, contract.preprocess)
            wanted = _run(truth.reference, beside, arrays)
            exact = wanted if truth.oracle is None else _run(truth.oracle, beside, arrays)
            for tally in wanted_by[case.name]:
                if replica <= replicas[id(tally)]:
                    tally.add(beside, arrays, exact, wanted)


@dataclass(slots=True)
class _Tally:
    """What one candidate did so far."""

    contract: Contract
    candidate: OrtLeg
    oracle_missing: str | None
    pools: FieldPools
    decisions: DecisionPool | None
    all_rows: DecisionPool | None
    not_run: list[Failure] = field(default_factory=list)
    misshapen: list[Failure] = field(default_factory=list)
    reference: str = ""
    oracle: str = ""
    rows: int = 0
    held_back: int = 0
    repeated: tuple[str, ...] = ()

    @classmethod
    def of(cls, contract: Contract, candidate: OrtLeg, truth: Truth) -> Self:
        decisions = all_rows = None
        has_oracle, post = truth.oracle is not None, contract.postprocess
        if contract.task != RAW_TASK:
            decisions = DecisionPool(contract.task, post, has_oracle=has_oracle)
        if ends_in_rows(post):
            lowest = {**post, "score_threshold": post["graph"]["score_threshold"]}
            all_rows = DecisionPool(contract.task, lowest, has_oracle=has_oracle)
        return cls(
            contract,
            candidate,
            truth.oracle_missing,
            FieldPools(contract.fields),
            decisions,
            all_rows,
            reference=truth.reference.name,
            oracle=(truth.oracle or truth.reference).name,
        )

    def add(self, case: Case, arrays: Arrays, exact: Answer, wanted: Answer) -> Answer | None:
        """Run the candidate on a case, and hold its answer against the oracle's and the reference's; the
        answer, None where there is none or it has another form."""
        try:
            found = self.candidate.run(arrays)
        except Exception as error:  # noqa: BLE001
            # ONNX Runtime's exceptions have no common public base below Exception.
            self.not_run.append(Failure(case.name, str(error).strip().partition("\n")[0]))
            return None
        post = self.contract.postprocess
        as_rows = ends_in_rows(post)
        difference = _form_difference(wanted, found, as_rows=as_rows)
        measured: tuple[Arrays, Arrays, Arrays] = (exact.outputs, wanted.outputs, found.outputs)
        quantities = None
        if as_rows and difference is None:
            wanted = with_open_regions(exact, wanted, found, post)
            if "candidate_boxes" in exact.margins:
                paired = pair_rows(exact, wanted, found, post)
            else:
                paired = pair_returned(*measured, post)
            if isinstance(paired, str):
                difference = paired
            else:
                measured, quantities = paired.outputs, paired.quantities
                self.held_back += paired.held_back
                self.rows += paired.rows
        if difference is not None:
            self.misshapen.append(Failure(case.name, difference))
            return None
        constant = case.content in CONSTANT and self.oracle_missing is None
        self.pools.add(case.name, *measured, exact.margins, constant=constant)
        for pool in filter(None, (self.decisions, self.all_rows)):
            legs, measure_only = (exact, wanted, found), case.replica > 0
            pool.add(case.name, case.sizes, legs, quantities, measure_only=measure_only)
        return found

    def result(self, cases: Sequence[Case]) -> Facts:
        """The facts so far."""
        return Facts(
            leg=self.candidate.name,
            interface=interface_differences(self.contract, self.candidate),
            cases=len(cases),
            pictures_named=any(case.picture is not None for case in cases),
            not_run=tuple(self.not_run),
            misshapen=tuple(self.misshapen),
            fields=tuple(pool.result() for pool in self.pools.errors.values()),
            constant_fields=tuple(pool.result() for pool in self.pools.constant.values() if pool.cases),
            labels=tuple(pool.result() for pool in self.pools.labels.values()),
            decisions=None if self.decisions is None else self.decisions.result(),
            oracle_missing=self.oracle_missing,
            held_back=self.held_back,
            rows=self.rows,
            repeated=self.repeated,
            all_rows=None if self.all_rows is None else self.all_rows.result(),
            reference=self.reference,
            oracle=self.oracle,
        )


def _run(leg: Leg, case: Case, arrays: dict[str, Any]) -> Answer:
    try:
        return leg.run(arrays)
    except OnnxproofError:
        raise
    except Exception as error:
        # The model's own code runs here: any type at all.
        sizes = ", ".join(f"{name} {size}" for name, size in case.sizes.items())
        if users_place(error) is not None:
            raise UserCodeError(
                f"the module's forward {told(error)}; that is on the case {case.name} ({sizes}, {leg.name}): "
                "mend it there, or narrow [dims] to what the model supports"
            ) from error
        reason = str(error).strip().partition("\n")[0]
        raise CheckError(
            f"PyTorch itself ({leg.name}) cannot run the case {case.name} ({sizes}): {reason}; "
            "narrow [dims] to what the model supports"
        ) from error


def interface_differences(contract: Contract, candidate: OrtLeg) -> tuple[str, ...]:
    """How the file's inputs and outputs differ from the declared: names, dtypes, ranks, frozen axes."""
    dims = {dim.name: dim for dim in contract.dims}
    differences = []
    for kind, specs, values in (
        ("input", contract.inputs, candidate.session.get_inputs()),
        ("output", contract.outputs, candidate.session.get_outputs()),
    ):
        wanted, found = [spec.name for spec in specs], [value.name for value in values]
        if wanted != found:
            differences.append(f"{kind}s are {', '.join(found)}; expected {', '.join(wanted)}")
            continue
        for spec, port in zip(specs, map(Port.of, values), strict=True):
            if port.dtype != spec.dtype:
                differences.append(f"{kind} {spec.name} is {port.dtype}; expected {spec.dtype}")
            if len(port.shape) != len(spec.shape):
                differences.append(f"{kind} {spec.name} has {len(port.shape)} axes; expected {spec}")
                continue
            for axis, size in zip(spec.shape, port.shape, strict=True):
                differences += _axis_difference(kind, spec.name, axis, size, dims)
    return tuple(differences)


def _axis_difference(kind: str, name: str, axis: int | str, size: Any, dims: dict[str, Dim]) -> list[str]:
    frozen = isinstance(axis, str) and isinstance(size, int) and not (axis in dims and dims[axis].fixed)
    if frozen:
        return [f"the axis {axis} of {kind} {name} is declared dynamic but frozen at {size}"]
    if isinstance(axis, int) and size != axis:
        return [f"an axis of {kind} {name} is {size}; expected {axis}"]
    return []


def _form_difference(wanted: Answer, found: Answer, *, as_rows: bool) -> str | None:
    """How the candidate's outputs differ in name, dtype or shape; None where they do not.

    Where outputs are rows, the number of rows may differ, if it is the same in all outputs.
    """
    if set(wanted.outputs) != set(found.outputs):
        return f"outputs {', '.join(found.outputs)}; expected {', '.join(wanted.outputs)}"
    rows = max((len(array) for array in found.outputs.values() if array.ndim), default=0)
    for name, array in wanted.outputs.items():
        got = found.outputs[name]
        expected = (rows, *array.shape[1:]) if as_rows else array.shape
        if got.dtype != array.dtype or got.shape != expected:
            return f"{name} is {got.dtype}{list(got.shape)}; expected {array.dtype}{list(expected)}"
    return None
