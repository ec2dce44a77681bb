"""What every comparison of two files does, whichever rule judges B. Nothing here imports torch."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from onnxproof.contract import Contract
from onnxproof.counted import likely_masks, not_compared
from onnxproof.errors import ModelFileError, PictureError, RequestError
from onnxproof.graph import OnnxGraph
from onnxproof.runtime.loading import read_metadata
from onnxproof.runtime.manifest import METADATA_KEY, Manifest
from onnxproof.runtime.port import Port
from onnxproof.source import find_pictures, sha256_of
from onnxproof.tensors import TensorSpec
from onnxproof.validate.environment import environment
from onnxproof.validate.facts import Facts
from onnxproof.validate.hazards import RANDOM_OPERATORS, Subject
from onnxproof.validate.interface import interface_differences
from onnxproof.validate.judge import second_looks
from onnxproof.validate.legs.leg import Leg
from onnxproof.validate.legs.onnx_runtime import OrtLeg
from onnxproof.validate.policy import FLOAT_FLOOR
from onnxproof.validate.trial import Plan, Settings, Trial, plan_trial
from onnxproof.validate.verdict import Check, Pairing, Verdict, conclude
from onnxproof.validate.weak import weak_witnesses

Rule = Literal["oracle", "graphs", "two-runs"]

RULES: Mapping[Rule, str] = {
    "oracle": "A and B are both judged by PyTorch: errors are measured from its float64 run, in units of its "
    "float32 run's own error; B's verdict is the verdict",
    "graphs": "B is judged by A: B's graph in float64 is compared with A's, and B's errors in ONNX Runtime "
    "are measured from that, in units of A's own errors there; decisions are compared with A's. A fault that "
    "A has too is not seen",
    "two-runs": "B is judged by A, without PyTorch: errors are measured from A unoptimized with its weights "
    "moved by one unit in the last place, in units of what A as deployed errs from that; decisions are "
    "compared with A's. A fault that A has too is not seen",
}
"""The rules of a comparison, in the words of the verdict's note."""

TOLD = ("task", "classes", "preprocess", "postprocess")
"""The keys of a manifest that a host goes by."""

PACKAGES = ("onnxproof", "onnx", "onnxruntime", "numpy")
"""The packages whose versions a verdict names."""


def open_pair(a: Path, b: Path, settings: Settings) -> tuple[OrtLeg, OrtLeg]:
    """The two files as legs. Raises ModelFileError if one cannot be loaded."""
    first, second = (
        OrtLeg(file, settings.providers, settings.threads, label=f"{letter}, ")
        for file, letter in zip((a, b), "AB", strict=True)
    )
    return first, second


def unlike_pair(
    rule: Rule,
    files: tuple[Path, Path],
    legs: tuple[OrtLeg, OrtLeg],
    contract: Contract,
    settings: Settings,
    notes: Sequence[str],
) -> Verdict | None:
    """The verdict on a B that takes inputs of other names than A, or is of another task and returns others:
    it fails, and no case is run. Returns None if both may be files of one model."""
    a, b = (sorted(port.name for port in leg.ports.inputs) for leg in legs)
    tasks = [*map(_task, legs)]
    returned = [{(port.name, len(port.shape)) for port in leg.ports.outputs} for leg in legs]
    if None not in tasks and tasks[0] != tasks[1] and returned[0] != returned[1]:
        reason = (
            f"A is a file of the task {tasks[0]}, B of {tasks[1]}, so no case is run on both: give two files "
            "of one model"
        )
    elif a != b:
        reason = (
            f"A takes the inputs {', '.join(a)}, B takes {', '.join(b)}, so no case can be run on both: give "
            "two files of one model, or say which is which with --map NAME_OF_B=NAME_OF_A"
        )
    else:
        return None
    plan = Plan(contract, settings, (), None, FLOAT_FLOOR)
    checks = (Check("interface", "fail", reason, 1, 0, legs[1].name), metadata_check(*legs))
    return verdict_of(rule, files, plan, (), checks, notes)


def _task(leg: OrtLeg) -> str | None:
    """The task that a file's metadata of onnxproof names. Returns None if it has none that can be read."""
    if METADATA_KEY not in leg.metadata:
        return None
    try:
        return read_metadata(leg.metadata, Path("the file")).contract.task
    except ModelFileError:
        return None


def plan_pair(contract: Contract, settings: Settings) -> Plan:
    """What both files are tried on. Raises PictureError or RequestError if the pictures do not fit."""
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


def with_interfaces(trial: Trial, found: Sequence[Facts]) -> tuple[Facts, ...]:
    """The facts of the trial's candidates, with how each file declares less than the contract."""
    return tuple(
        replace(facts, interface=_differences(trial.contract, leg))
        for facts, leg in zip(found, trial.candidates, strict=True)
    )


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


def metadata_check(a: OrtLeg, b: OrtLeg) -> Check:
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


def random_checks(files: tuple[Path, Path], leg: Leg) -> tuple[Check, ...]:
    """A failed check if A or B draws random numbers: both may draw the same here. ``leg`` is B's."""
    found = {
        letter: RANDOM_OPERATORS.look(Subject(OnnxGraph.read(file), file))
        for letter, file in zip("AB", files, strict=True)
    }
    drawing = {letter: check for letter, check in found.items() if check.status == "fail"}
    if not drawing:
        return ()
    told = "; ".join(f"{letter} {check.reason}" for letter, check in drawing.items())
    reason = f"{told}: {RANDOM_OPERATORS.why}"
    return (replace(next(iter(drawing.values())), reason=reason, leg=leg.name),)


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


def verdict_of(
    rule: Rule,
    files: tuple[Path, Path],
    plan: Plan,
    facts: tuple[Facts, ...],
    checks: tuple[Check, ...],
    notes: Sequence[str],
    *,
    function: Facts | None = None,
    baseline: Verdict | None = None,
) -> Verdict:
    """The verdict on B. ``function`` is what its graph in float64 did. ``baseline`` is A's own verdict."""
    a, b = map(sha256_of, files)
    return Verdict(
        status=conclude(checks),
        checks=checks,
        facts=facts,
        cases=plan.cases,
        notes=(
            f"rule {rule}: {RULES[rule]}",
            *notes,
            *not_compared(plan.contract),
            *likely_masks(plan.contract),
            *second_looks(facts),
            *(note for one in facts for note in weak_witnesses(one, plan.contract.inputs)),
        ),
        model_sha256=b,
        environment=environment(plan.settings, PACKAGES),
        policy=plan.policy.to_json(),
        pairing=Pairing(rule, RULES[rule], a, baseline),
        function=function,
    )
