"""Run every leg on every case and gather the facts, in memory that does not grow with the cases."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Self

from onnxproof.errors import CheckError
from onnxproof.progress import Progress, silent
from onnxproof.runtime.plain import Port
from onnxproof.tensors import Dim
from onnxproof.validate.cases import Case, materialise, volume
from onnxproof.validate.decisions import DecisionPool
from onnxproof.validate.facts import Answer, Arrays, Contract, Facts, Failure
from onnxproof.validate.legs import Leg, OrtLeg, Truth
from onnxproof.validate.measure import FieldPools
from onnxproof.validate.rows import ends_in_rows, pair_rows, with_open_regions

RAW_TASK = "raw"
"""The task that decides nothing."""


def sweep(
    contract: Contract,
    truth: Truth,
    candidates: Sequence[OrtLeg],
    cases: Sequence[Case],
    *,
    progress: Progress = silent,
) -> tuple[Facts, ...]:
    """Run the oracle and the reference once on each case, and every candidate; the facts of each.

    Raises CheckError where there is no case, or where PyTorch itself cannot run one.
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
        for tally in tallies:
            tally.add(case, arrays, exact, wanted)
    progress(stage, len(cases), len(cases))
    named = any(case.picture is not None for case in cases)
    return tuple(tally.result(len(cases), pictures_named=named) for tally in tallies)


@dataclass(slots=True)
class _Tally:
    """What one candidate did so far."""

    contract: Contract
    candidate: OrtLeg
    oracle_missing: str | None
    pools: FieldPools
    decisions: DecisionPool | None
    not_run: list[Failure] = field(default_factory=list)
    misshapen: list[Failure] = field(default_factory=list)
    rows: int = 0
    held_back: int = 0

    @classmethod
    def of(cls, contract: Contract, candidate: OrtLeg, truth: Truth) -> Self:
        decisions = None
        if contract.task != RAW_TASK:
            has_oracle = truth.oracle is not None
            decisions = DecisionPool(contract.task, contract.postprocess, has_oracle=has_oracle)
        return cls(contract, candidate, truth.oracle_missing, FieldPools(contract.fields), decisions)

    def add(self, case: Case, arrays: Arrays, exact: Answer, wanted: Answer) -> None:
        """Run the candidate on a case, and hold its answer against the oracle's and the reference's."""
        try:
            found = self.candidate.run(arrays)
        except Exception as error:  # noqa: BLE001
            # ONNX Runtime's exceptions have no common public base below Exception.
            self.not_run.append(Failure(case.name, str(error).strip().partition("\n")[0]))
            return
        post = self.contract.postprocess
        as_rows = ends_in_rows(post)
        difference = _form_difference(wanted, found, as_rows=as_rows)
        measured: tuple[Arrays, Arrays, Arrays] = (exact.outputs, wanted.outputs, found.outputs)
        quantities = None
        if as_rows and difference is None:
            wanted = with_open_regions(exact, wanted, found, post)
            paired = pair_rows(exact, wanted, found, post)
            if isinstance(paired, str):
                difference = paired
            else:
                measured, quantities = paired.outputs, paired.quantities
                self.held_back += paired.held_back
                self.rows += paired.rows
        if difference is not None:
            self.misshapen.append(Failure(case.name, difference))
            return
        self.pools.add(case.name, *measured, exact.margins)
        if self.decisions is not None:
            self.decisions.add(case.name, case.sizes, (exact, wanted, found), quantities)

    def result(self, cases: int, *, pictures_named: bool) -> Facts:
        """The facts so far."""
        return Facts(
            leg=self.candidate.name,
            interface=interface_differences(self.contract, self.candidate),
            cases=cases,
            pictures_named=pictures_named,
            not_run=tuple(self.not_run),
            misshapen=tuple(self.misshapen),
            fields=tuple(pool.result() for pool in self.pools.errors.values()),
            labels=tuple(pool.result() for pool in self.pools.labels.values()),
            decisions=None if self.decisions is None else self.decisions.result(),
            oracle_missing=self.oracle_missing,
            held_back=self.held_back,
            rows=self.rows,
        )


def _run(leg: Leg, case: Case, arrays: dict[str, Any]) -> Answer:
    try:
        return leg.run(arrays)
    except CheckError:
        raise
    except Exception as error:
        # The model's own code runs here: any type at all.
        sizes = ", ".join(f"{name} {size}" for name, size in case.sizes.items())
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
