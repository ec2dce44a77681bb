"""Compare one ONNX file, B, with another, A, on the cases that a checkpoint's file is tried on.

There are two rules. With the checkpoint, A and B are both judged as ``validate`` judges a file, by PyTorch in
float64 and float32; only PyTorch gives the candidates before NMS and the proposals. Without the checkpoint, A
takes PyTorch's place and runs twice (legs/moved_weights.py). Nothing here imports torch.
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

from onnxproof.contract import Contract, whole_outputs
from onnxproof.counted import not_compared
from onnxproof.errors import CheckError, ModelFileError, PictureError, RequestError
from onnxproof.progress import Progress, silent
from onnxproof.runtime.manifest import METADATA_KEY, Manifest
from onnxproof.runtime.port import Port
from onnxproof.runtime.predictor import read_metadata
from onnxproof.runtime.readings.rows import RowReading
from onnxproof.runtime.tasks import raw
from onnxproof.source import find_pictures
from onnxproof.tensors import DTYPES, Dim, TensorSpec
from onnxproof.validate.cases import Case
from onnxproof.validate.environment import environment
from onnxproof.validate.facts import Facts
from onnxproof.validate.interface import interface_differences
from onnxproof.validate.judge import judge, ranks_of, second_looks
from onnxproof.validate.legs.leg import Leg, Truth
from onnxproof.validate.legs.moved_weights import TwoRuns
from onnxproof.validate.legs.onnx_runtime import OrtLeg
from onnxproof.validate.sizes import require_names, with_sizes
from onnxproof.validate.sweep import sweep
from onnxproof.validate.trial import Plan, Settings, Trial, plan_trial
from onnxproof.validate.verdict import Check, Pairing, Verdict, conclude

Rule = Literal["oracle", "two-runs"]

RULES: Mapping[Rule, str] = {
    "oracle": "A and B are both judged by PyTorch: errors are measured from its float64 run, in units of its "
    "float32 run's own error; B's verdict is the verdict",
    "two-runs": "B is judged by A, without PyTorch: errors are measured from A unoptimized with its weights "
    "moved by one unit in the last place, in units of what A as deployed errs from that; decisions are "
    "compared with A's. A fault that A has too is not seen",
}
"""The rules of a comparison, in the words of the verdict's note."""

BATCHES, SIDES, LENGTHS = "1..4", "64..256 step 32", "1..64"
"""The default sizes of a first axis, a picture's side, another axis."""

PICTURE_AXES = 4
"""Axes of an input that may take pictures: batch, channels, height, width."""

TOLD = ("task", "classes", "preprocess", "postprocess")
"""The keys of a manifest that a host goes by."""

PACKAGES = ("onnxproof", "onnx", "onnxruntime", "numpy")
"""The packages whose versions a verdict names."""

TINY_SHARE = 1e-3
"""The least error that A is taken to have, as a share of the reference's: nothing is divided by zero."""


def compare_alone(
    a: Path,
    b: Path,
    settings: Settings,
    *,
    dims: Mapping[str, str] = MappingProxyType({}),
    inputs: Mapping[str, str] = MappingProxyType({}),
    notes: Sequence[str] = (),
    progress: Progress = silent,
) -> Verdict:
    """Compare B with A, without PyTorch.

    ``dims`` and ``inputs`` say what A's file leaves open, as ``Dim.parse`` and ``TensorSpec.parse`` read it.

    Raises ModelFileError if a file cannot be loaded, RequestError if the two do not take the same inputs or
    ``dims`` or ``inputs`` do not fit, PictureError if a picture cannot be read, CheckError if A itself cannot
    run a case.
    """
    legs = _open(a, b, settings)
    contract, assumed = contract_of(legs[0], a, dims, inputs)
    plan = _plan(contract, settings)
    runs = TwoRuns(a, contract.fields, settings.providers, settings.threads, settings.seed)
    facts = _swept(Trial.of(plan, runs.truth(), legs[1:]), progress)
    checks = (_metadata_check(*legs), *_checks(plan, facts[0]))
    said = (*notes, *assumed, *runs.notes)
    return _verdict("two-runs", (a, b), plan, facts, checks, said)


def compare_by_oracle(
    contract: Contract,
    truth: Callable[[Case], Truth],
    a: Path,
    b: Path,
    settings: Settings,
    *,
    notes: Sequence[str] = (),
    progress: Progress = silent,
) -> Verdict:
    """Compare A and B with PyTorch.

    ``truth`` makes PyTorch's legs, given a case to try them on. Raises as ``compare_alone`` does, and
    CheckError if PyTorch cannot run a case.
    """
    legs = _open(a, b, settings)
    plan = _plan(contract, settings)
    judges = truth(plan.cases[0])
    if judges.unsteady is not None:
        raise CheckError(judges.unsteady)
    before, after = _swept(Trial.of(plan, judges, legs), progress)
    own = _checks(plan, before)
    said = [*notes, *judges.notes]
    if conclude(own) != "pass":
        first = next(check for check in own if check.status in ("fail", "error"))
        said.append(
            f"A itself does not pass ({first.name}: {first.reason}); B is judged by PyTorch all the same"
        )
    said += _beside(before, after)
    baseline = _verdict("oracle", (a, a), plan, (before,), own, ())
    checks = (_metadata_check(*legs), *_checks(plan, after))
    return _verdict("oracle", (a, b), plan, (after,), checks, said, baseline)


def _open(a: Path, b: Path, settings: Settings) -> tuple[OrtLeg, OrtLeg]:
    """The two files as legs. Raises RequestError if their inputs have different names."""
    legs = tuple(
        OrtLeg(file, settings.providers, settings.threads, label=f"{letter}, ")
        for file, letter in zip((a, b), "AB", strict=True)
    )
    taken = [[port.name for port in leg.ports.inputs] for leg in legs]
    if sorted(taken[0]) != sorted(taken[1]):
        raise RequestError(
            f"A takes the inputs {', '.join(taken[0])}, B takes {', '.join(taken[1])}, so no case can be run "
            "on both: give two files of one model"
        )
    return legs[0], legs[1]


def _plan(contract: Contract, settings: Settings) -> Plan:
    try:
        pictures = find_pictures(settings.images, settings.folder)
    except PictureError as error:
        raise PictureError(
            f'--images "{settings.images}" names no file, seen from {settings.folder.absolute()}'
        ) from error
    if pictures and contract.preprocess is None:
        raise RequestError(
            f'--images "{settings.images}": nothing says how pictures become the inputs '
            f"{', '.join(spec.name for spec in contract.inputs)}; leave it out, and say with --inputs which "
            "values they take"
        )
    return plan_trial(contract, settings)


def _swept(trial: Trial, progress: Progress) -> tuple[Facts, ...]:
    found = sweep(trial, progress=progress)
    return tuple(
        replace(facts, interface=_differences(trial.contract, leg))
        for facts, leg in zip(found, trial.candidates, strict=True)
    )


def _checks(plan: Plan, facts: Facts) -> tuple[Check, ...]:
    return judge(facts, ranks_of(plan.contract.fields), plan.policy)


def _differences(contract: Contract, leg: Leg) -> tuple[str, ...]:
    """How the file declares less than the contract. An axis that the file leaves free is no difference, nor
    is an axis of an output whose size no declared dimension gives."""
    named = {dim.name for dim in contract.dims}
    specs = []
    for wanted, own in ((contract.inputs, leg.ports.inputs), (contract.outputs, leg.ports.outputs)):
        ports = {port.name: port for port in own}
        specs.append(tuple(_widened(spec, ports.get(spec.name), named) for spec in wanted))
    return interface_differences(replace(contract, inputs=specs[0], outputs=specs[1]), leg)


def _widened(spec: TensorSpec, port: Port | None, named: set[str]) -> TensorSpec:
    if port is None or len(port.shape) != len(spec.shape):
        return spec
    axes: list[int | str] = []
    for axis, size in zip(spec.shape, port.shape, strict=True):
        if isinstance(size, int):
            axes.append(size if isinstance(axis, str) and axis not in named else axis)
        else:
            axes.append(axis if isinstance(axis, str) else "any")
    return replace(spec, shape=tuple(axes))


def _metadata_check(a: OrtLeg, b: OrtLeg) -> Check:
    """Whether both files give a host the same task, classes, preprocessing and postprocessing; "skipped" if
    one of them has no metadata."""
    told = [leg.metadata for leg in (a, b)]
    silent_ones = [
        letter for letter, metadata in zip("AB", told, strict=True) if METADATA_KEY not in metadata
    ]
    if silent_ones:
        return Check(
            "metadata", "skipped", f"{' and '.join(silent_ones)} without metadata of onnxproof", leg=b.name
        )
    try:
        wanted, found = (_told(read_metadata(metadata, Path("the file"))) for metadata in told)
    except ModelFileError as error:
        return Check("metadata", "fail", str(error), 1, 0, b.name)
    wrong = [key for key in wanted if wanted[key] != found[key]]
    words = "; ".join(f"{key} {_difference(wanted[key], found[key])}" for key in wrong)
    return Check("metadata", "fail" if wrong else "pass", words, len(wrong), 0, b.name)


def _told(manifest: Manifest) -> dict[str, Any]:
    """The part of a manifest that a host goes by, without the sizes, since B may take more of them."""
    document = manifest.to_json()
    told = {key: document[key] for key in TOLD}
    if told["preprocess"] is not None:
        told["preprocess"] = {
            key: value for key, value in told["preprocess"].items() if key not in ("height", "width")
        }
    return told


def _difference(wanted: Any, found: Any) -> str:
    """How two values of a manifest differ, in words."""
    if isinstance(wanted, dict) and isinstance(found, dict):
        keys = [key for key in {**wanted, **found} if wanted.get(key) != found.get(key)]
        return ", ".join(f"{key} {wanted.get(key)!s:.60} is now {found.get(key)!s:.60}" for key in keys)
    if isinstance(wanted, list) and isinstance(found, list) and len(wanted) == len(found):
        pairs = [(i, *pair) for i, pair in enumerate(zip(wanted, found, strict=True)) if pair[0] != pair[1]]
        return f"differ at {len(pairs)} places, first at {pairs[0][0]}: {pairs[0][1]} is now {pairs[0][2]}"
    return f"{wanted!s:.60} is now {found!s:.60}"


def _beside(before: Facts, after: Facts) -> tuple[str, ...]:
    """A note with B's errors over A's, both measured from PyTorch in float64; empty if the fields differ."""
    if [field.name for field in before.fields] != [field.name for field in after.fields]:
        return ()
    ratios = [
        f"{b.name} {b.rms_candidate / max(a.rms_candidate, a.floor_rms * TINY_SHARE):.3g}"
        for a, b in zip(before.fields, after.fields, strict=True)
    ]
    return (f"B's rms error over A's own: {', '.join(ratios)}",) if ratios else ()


def contract_of(
    leg: OrtLeg, file: Path, dims: Mapping[str, str], inputs: Mapping[str, str]
) -> tuple[Contract, tuple[str, ...]]:
    """What a file declares, with the sizes in ``dims`` in place of its own, and notes on what was assumed.

    Raises RequestError if ``dims`` names no dynamic axis, if ``inputs`` do not fit the file or its metadata
    declares them already, or if a tensor is of a kind that cannot be compared.
    """
    metadata = leg.metadata
    if METADATA_KEY in metadata:
        if inputs:
            raise RequestError(f"--inputs: {file} declares its inputs itself, in its metadata; leave it out")
        return _contract_of_manifest(read_metadata(metadata, file), dims), ()
    return _contract_of_graph(leg, dims, inputs)


def _contract_of_manifest(manifest: Manifest, dims: Mapping[str, str]) -> Contract:
    contract = with_sizes(manifest.contract, dims)
    reading = contract.reading
    if not isinstance(reading, RowReading):
        return contract
    # Only PyTorch gives the proposals. Rows are paired by class, so the class is not compared as a field.
    graph = replace(reading.graph, proposals=None)
    fields = tuple(field for field in contract.fields if field.output != reading.outputs[1])
    return replace(contract, fields=fields, reading=replace(reading, graph=graph))


def _contract_of_graph(
    leg: OrtLeg, dims: Mapping[str, str], inputs: Mapping[str, str]
) -> tuple[Contract, tuple[str, ...]]:
    ports = leg.ports.inputs
    require_names(inputs, [port.name for port in ports], "--inputs", "input")
    specs = tuple(
        _spec_of(port, TensorSpec.parse(port.name, inputs[port.name]) if port.name in inputs else None)
        for port in ports
    )
    sizes = {name: text for spec in reversed(specs) for name, text in _assumed_sizes(spec)}
    require_names(dims, [*sizes])
    assumed = {name: text for name, text in sizes.items() if name not in dims}
    notes = []
    if assumed:
        told = ", ".join(f"{name}={text}" for name, text in assumed.items())
        notes.append(f"A does not say which sizes it takes; assumed: {told} (--dim NAME=RANGE says others)")
    ranges = [
        f"{spec.name} {spec}"
        for spec in specs
        if spec.range is None and spec.dtype != "bool" and not spec.mask
    ]
    if ranges:
        notes.append(
            f"A does not say which values it takes; drawn from 0..1: {'; '.join(ranges)} "
            '(--inputs "NAME=DTYPE[AXES] in LOW..HIGH" says others)'
        )
    outputs = tuple(_spec_of(port, None) for port in leg.ports.outputs)
    contract = Contract(
        name=leg.name,
        task=raw.TASK.name,
        inputs=specs,
        outputs=outputs,
        dims=tuple(Dim.parse(name, dims.get(name, text)) for name, text in sizes.items()),
        fields=whole_outputs(outputs),
        preprocess=None,
        classes=(),
        reading=raw.Unread(),
    )
    return contract, tuple(notes)


def _spec_of(port: Port, told: TensorSpec | None) -> TensorSpec:
    """A tensor of the file. Dynamic axes without a name are named after the tensor and their position.
    ``told`` is what the user says of it; raises RequestError if the file has something else."""
    if port.dtype not in DTYPES:
        raise RequestError(
            f"{port.name} is {port.dtype}, which cannot be compared; expected one of {', '.join(DTYPES)}"
        )
    if told is None:
        axes = (f"{port.name}_{i}" if axis is None else axis for i, axis in enumerate(port.shape))
        return TensorSpec(port.name, port.dtype, tuple(axes))
    fits = (
        told.dtype == port.dtype
        and len(told.shape) == len(port.shape)
        and all(
            not isinstance(size, int) or axis == size
            for axis, size in zip(told.shape, port.shape, strict=True)
        )
    )
    if not fits:
        raise RequestError(
            f"--inputs {port.name}={told}: the file has {port}; expected its dtype and fixed axes"
        )
    return told


def _assumed_sizes(spec: TensorSpec) -> Iterator[tuple[str, str]]:
    """The default sizes of an input's dynamic axes, by the axis's name."""
    picture = len(spec.shape) == PICTURE_AXES
    channels_last = picture and isinstance(spec.shape[3], int) and not isinstance(spec.shape[1], int)
    sides = () if not picture else (1, 2) if channels_last else (2, 3)
    for place, axis in enumerate(spec.shape):
        if isinstance(axis, str):
            first = place == 0 and len(spec.shape) > 1
            yield axis, BATCHES if first else SIDES if place in sides else LENGTHS


def _verdict(
    rule: Rule,
    files: tuple[Path, Path],
    plan: Plan,
    facts: tuple[Facts, ...],
    checks: tuple[Check, ...],
    notes: Sequence[str],
    baseline: Verdict | None = None,
) -> Verdict:
    a, b = (hashlib.sha256(file.read_bytes()).hexdigest() for file in files)
    return Verdict(
        status=conclude(checks),
        checks=checks,
        facts=facts,
        cases=plan.cases,
        notes=(
            f"rule {rule}: {RULES[rule]}",
            *notes,
            *not_compared(plan.contract),
            *second_looks(facts),
        ),
        model_sha256=b,
        environment=environment(plan.settings, PACKAGES),
        policy=plan.policy.to_json(),
        pairing=Pairing(rule, RULES[rule], a, baseline),
    )
