"""Compare two files without torch: A takes PyTorch's place, and runs twice (legs/moved_weights.py)."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from onnxproof.progress import Progress, silent
from onnxproof.validate.judge import judge, ranks_of
from onnxproof.validate.legs.leg import GRAPH
from onnxproof.validate.legs.moved_weights import TwoRuns
from onnxproof.validate.pair.beside import (
    metadata_check,
    open_pair,
    plan_pair,
    random_checks,
    unlike_pair,
    verdict_of,
    with_interfaces,
)
from onnxproof.validate.pair.contract import contract_of
from onnxproof.validate.pair.tables import Tables
from onnxproof.validate.sweep import sweep
from onnxproof.validate.trial import Settings, Trial
from onnxproof.validate.verdict import Check, Verdict


def compare_alone(
    a: Path,
    b: Path,
    settings: Settings,
    *,
    reason: str,
    dims: Mapping[str, str] = MappingProxyType({}),
    inputs: Mapping[str, str] = MappingProxyType({}),
    notes: Sequence[str] = (),
    progress: Progress = silent,
) -> Verdict:
    """Compare B with A by runs of ONNX Runtime alone.

    ``reason`` says why the graphs are not evaluated in float64. ``dims`` and ``inputs`` say what A's file
    leaves open, as ``Dim.parse`` and ``TensorSpec.parse`` read it.

    Raises ModelFileError if a file cannot be loaded, RequestError if ``dims`` or
    ``inputs`` do not fit, PictureError if a picture cannot be read, CheckError if A itself cannot
    run a case.
    """
    legs = open_pair(a, b, settings)
    tables = Tables.of(a, b, legs[0])
    declared = contract_of(legs[0], a, dims, inputs, tables.ranges)
    contract = declared.contract
    differs = unlike_pair("two-runs", (a, b), legs, contract, settings, notes)
    if differs is not None:
        return differs
    plan = plan_pair(contract, settings)
    runs = TwoRuns(a, contract.fields, settings.providers, settings.threads, settings.seed)
    trial = Trial.of(plan, runs.truth(), legs[1:])
    facts = with_interfaces(trial, sweep(trial, progress=progress))
    checks = (
        metadata_check(*legs),
        *random_checks((a, b), legs[1]),
        Check("function", "skipped", reason, leg=f"B, {GRAPH}"),
        *judge(facts[0], ranks_of(contract.fields), plan.policy),
        *tables.checks(legs[1].name, declared.guessed),
    )
    return verdict_of("two-runs", (a, b), plan, facts, checks, (*notes, *declared.notes, *runs.notes))
