"""Run every leg on every case and gather the facts, in memory that does not grow with the cases."""

from collections.abc import Sequence
from typing import Any

import torch

from onnxproof.errors import CheckError
from onnxproof.progress import Progress, silent
from onnxproof.runtime.plain import Port
from onnxproof.tensors import Dim
from onnxproof.validate.cases import Case, materialise, volume
from onnxproof.validate.decisions import DecisionPool
from onnxproof.validate.facts import Answer, Arrays, Facts, Failure
from onnxproof.validate.legs import Leg, OrtLeg, TorchLeg
from onnxproof.validate.measure import FieldPools
from onnxproof.validate.rows import ends_in_rows, pair_rows, with_open_regions
from onnxproof.wrappers._family import WrappedModel

RAW_TASK = "raw"
"""The task that decides nothing."""


def sweep(
    model: WrappedModel,
    candidate: OrtLeg,
    cases: Sequence[Case],
    *,
    threads: int,
    progress: Progress = silent,
) -> Facts:
    """Run the oracle, the reference and the candidate on each case.

    Raises CheckError where there is no case, or where PyTorch itself cannot run one.
    """
    if not cases:
        raise CheckError("there is no case to compare on: declare dims or name pictures")
    reference = TorchLeg(model.module, torch.float32, model.outputs, threads)
    oracle, oracle_missing = _oracle(model, cases[0], threads)
    interface = interface_differences(model, candidate)
    pools = FieldPools(model.fields)
    decisions = None
    if model.task != RAW_TASK:
        decisions = DecisionPool(model.task, model.postprocess, has_oracle=oracle is not None)
    not_run: list[Failure] = []
    misshapen: list[Failure] = []
    as_rows, rows, held_back = ends_in_rows(model.postprocess), 0, 0
    stage = f"compare {len(cases)} cases, {volume(cases) / 1e6:.1f} million pixels, 3 legs"
    for done, case in enumerate(cases):
        progress(stage, done, len(cases))
        arrays = materialise(case, model.inputs, model.preprocess)
        wanted = _run(reference, case, arrays)
        truth = wanted if oracle is None else _run(oracle, case, arrays)
        try:
            found = candidate.run(arrays)
        except Exception as error:  # noqa: BLE001
            # ONNX Runtime's exceptions have no common public base below Exception.
            not_run.append(Failure(case.name, str(error).strip().partition("\n")[0]))
            continue
        difference = _form_difference(wanted, found, as_rows=as_rows)
        measured: tuple[Arrays, Arrays, Arrays] = (truth.outputs, wanted.outputs, found.outputs)
        quantities = None
        if as_rows and difference is None:
            wanted = with_open_regions(truth, wanted, found, model.postprocess)
            paired = pair_rows(truth, wanted, found, model.postprocess)
            if isinstance(paired, str):
                difference = paired
            else:
                measured, quantities = paired.outputs, paired.quantities
                held_back += paired.held_back
                rows += paired.rows
        if difference is not None:
            misshapen.append(Failure(case.name, difference))
            continue
        pools.add(case.name, *measured, truth.margins)
        if decisions is not None:
            decisions.add(case.name, case.sizes, (truth, wanted, found), quantities)
    progress(stage, len(cases), len(cases))
    return Facts(
        leg=candidate.name,
        interface=interface,
        cases=len(cases),
        pictures_named=any(case.picture is not None for case in cases),
        not_run=tuple(not_run),
        misshapen=tuple(misshapen),
        fields=tuple(pool.result() for pool in pools.errors.values()),
        labels=tuple(pool.result() for pool in pools.labels.values()),
        decisions=None if decisions is None else decisions.result(),
        oracle_missing=oracle_missing,
        held_back=held_back,
        rows=rows,
    )


def _oracle(model: WrappedModel, case: Case, threads: int) -> tuple[Leg | None, str | None]:
    """The float64 leg, or why there is none: it must run on a case, and answer in float64."""
    try:
        leg = TorchLeg(model.module, torch.float64, model.outputs, threads)
        answer = leg.run(materialise(case, model.inputs, model.preprocess))
    except Exception as error:  # noqa: BLE001
        # A module that fixed its dtype somewhere fails in its own way: any type at all.
        return None, f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
    single = [
        name for name, array in answer.outputs.items() if array.dtype.kind == "f" and array.itemsize < 8
    ]
    if single:
        return None, f"the output {single[0]} comes in {answer.outputs[single[0]].dtype} all the same"
    return leg, None


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


def interface_differences(model: WrappedModel, candidate: OrtLeg) -> tuple[str, ...]:
    """How the file's inputs and outputs differ from the model's: names, dtypes, ranks, frozen axes."""
    dims = {dim.name: dim for dim in model.dims}
    differences = []
    for kind, specs, values in (
        ("input", model.inputs, candidate.session.get_inputs()),
        ("output", model.outputs, candidate.session.get_outputs()),
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
