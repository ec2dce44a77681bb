"""Put one subject's healthy exports and planted faults before our verdict, the peers and float64."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import onnx
from soundness.effect import Effects, answer
from soundness.fault import Fault
from soundness.healthy import LEVELS, THREADS, variants
from soundness.peers import PEERS
from soundness.subjects import Subject

from onnxproof.errors import ExportError, ModelFileError
from onnxproof.job import Job
from onnxproof.steps.planning import plan_of, settings_of
from onnxproof.validate.cases import materialise
from onnxproof.validate.legs.leg import GRAPH
from onnxproof.validate.legs.onnx_runtime import OrtLeg
from onnxproof.validate.legs.pytorch import TorchLeg
from onnxproof.validate.measure import Measurement
from onnxproof.validate.trial import plan_trial
from onnxproof.validate.verdict import Verdict
from onnxproof.validate.verify import validate_files
from onnxproof.wrappers.family import WrappedModel

SELDOM = (
    "NaN on one input in so many",
    "NaN on a picture of one colour",
    "wrong at one size",
    "wrong where nothing is detected",
)
"""Faults that act on few inputs, and count as changing the function where no case shows it."""


@dataclass(frozen=True, slots=True)
class Row:
    """One file, and what was said of it.

    ``name`` is the fault's kind, or how a healthy file was exported; ``severity`` is the fault's, or the
    leg of a healthy file. ``effect`` is what the fault changes in float64, rms in units of PyTorch's own rms
    error in float32, the largest over the fields; infinite where it changes names, shapes, metadata or
    labels, or where the file does not run. ``peers`` says which of them accept the file; empty where they
    were not asked. ``function`` is the largest difference of the function link over the fields, rms, in
    units of PyTorch's rms error; NaN where the graph was not evaluated.
    """

    population: Literal["healthy", "fault"]
    subject: str
    name: str
    severity: str
    verdict: str
    failed: tuple[str, ...]
    rms: float
    maximum: float
    function: float
    effect: float | None
    peers: Mapping[str, bool]


def healthy_rows(
    subject: Subject, folder: Path, chosen: Callable[[str], bool] = lambda _: True, *, peers: bool = True
) -> Iterator[Row]:
    """Export the subject in its (``chosen``) variants; judge each file at every optimization level and with
    every number of threads. Unless ``peers``, nobody else is asked."""
    job = subject.job()
    model = subject.build(job)
    as_asked = replace(subject, plain=False)
    files: dict[str, Path] = {}
    for variant in variants(traced=model.traced is not None):
        if not chosen(variant.name):
            continue
        file = folder / f"{len(files)}.onnx"
        try:
            onnx.save(as_asked.export(subject.job(*variant.overrides), model), file)
        except ExportError as error:
            print(f"{subject.name}: no {variant.name}: {error}")
            continue
        files[variant.name] = file
    asked = peers_say(model, job, list(files.values()), next(iter(files.values()))) if peers else {}
    for threads in THREADS:
        asked_for = replace(settings_of(job), threads=threads, optimization=LEVELS)
        verdicts = validate_files(model, list(files.values()), plan_trial(model.contract, asked_for))
        for (name, file), verdict in zip(files.items(), verdicts, strict=True):
            for facts in verdict.facts:
                mine = [check for check in verdict.checks if check.leg in (None, GRAPH, facts.leg)]
                alarms = [check for check in mine if check.status in ("fail", "error")]
                yield Row(
                    "healthy",
                    subject.name,
                    name,
                    f"{facts.leg}, {threads} threads",
                    "fail" if alarms else "pass",
                    tuple(sorted({check.name for check in alarms})),
                    largest(facts.fields, "ratio_rms"),
                    largest(facts.fields, "ratio_max"),
                    _function(verdict),
                    None,
                    asked.get(file, {}) if facts.leg == "ort-cpu" and threads == 1 else {},
                )


def fault_rows(subject: Subject, faults: Sequence[Fault], folder: Path) -> Iterator[Row]:
    """Plant each fault in the subject's export, and put it before everybody."""
    if not faults:
        return
    job = subject.job()
    model = subject.build(job)
    proto = subject.export(job, model)
    base = folder / "base.onnx"
    onnx.save(proto, base)
    planted: list[tuple[Fault, Path]] = []
    for number, fault in enumerate(faults):
        place = folder / str(number)
        place.mkdir()
        planted.append((fault, fault.plant(proto, place)))
    loading = [file for _, file in planted if loads(file, job.validation.providers)]
    files = [base, *loading]
    plan = plan_of(job, model)
    judged = validate_files(model, files, plan, opset=job.export.opset, target=job.export.target)
    verdicts = dict(zip(files, judged, strict=True))
    if not verdicts[base].passed:
        reasons = [check for check in verdicts[base].checks if check.status in ("fail", "error")]
        raise AssertionError(f"the healthy file of {subject.name} fails: {reasons}")
    asked = peers_say(model, job, files, base)
    planned = {case.name for case in plan.cases}
    asked_for = [case for case in verdicts[base].cases if case.name not in planned]
    effects = Effects(model, (*plan.cases, *asked_for), base, verdicts[base].facts[0].fields)
    for fault, file in planted:
        if file not in verdicts:
            nobody = {peer.name: False for peer in PEERS}
            failed: tuple[str, ...] = ("does not load",)
            yield _fault_row(fault, "fail", failed, (), math.nan, math.inf, nobody)
            continue
        verdict = verdicts[file]
        failed = tuple(sorted({c.name for c in verdict.checks if c.status in ("fail", "error")}))
        effect = effects.of(file) or (math.inf if fault.kind in SELDOM else 0.0)
        fields, function = verdict.facts[0].fields, _on_all_cases(verdict)
        yield _fault_row(fault, verdict.status, failed, fields, function, effect, asked[file])


def _fault_row(
    fault: Fault,
    verdict: str,
    failed: tuple[str, ...],
    fields: Sequence[Measurement],
    function: float,
    effect: float,
    peers: Mapping[str, bool],
) -> Row:
    ratios = (largest(fields, "ratio_rms"), largest(fields, "ratio_max"))
    measured = (*ratios, function, effect)
    return Row("fault", fault.subject, fault.kind, fault.severity, verdict, failed, *measured, peers)


def _function(verdict: Verdict) -> float:
    fields = () if verdict.function is None else verdict.function.fields
    return max((measured.ratio_rms for measured in fields if measured.count), default=math.nan)


def _on_all_cases(verdict: Verdict) -> float:
    """The same over all cases, those of one value included, as the effect is measured."""
    found = verdict.function
    if found is None:
        return math.nan
    alike = {measured.name: measured for measured in found.constant_fields}
    ratios = []
    for measured in (one for one in found.fields if one.count):
        other = alike.get(measured.name, measured)
        pools = {id(one): one for one in (measured, other) if one.count}.values()
        squares = sum(one.rms_candidate**2 * one.count for one in pools)
        ratios.append(math.sqrt(squares / sum(one.count for one in pools)) / measured.floor_rms)
    return max(ratios, default=math.nan)


def loads(file: Path, providers: Sequence[str]) -> bool:
    """Whether ONNX Runtime takes the file."""
    try:
        OrtLeg(file, providers, 1)
    except ModelFileError:
        return False
    return True


def largest(fields: Sequence[Measurement], ratio: str) -> float:
    """The largest of a ratio over the fields that were compared; NaN if none was."""
    values = [getattr(measured, ratio) for measured in fields if measured.count or measured.nonfinite]
    return max(values, default=math.nan)


def peers_say(
    model: WrappedModel, job: Job, files: Sequence[Path], base: Path
) -> dict[Path, dict[str, bool]]:
    """Which peers accept each file on all of the verdict's own inputs. What does not run is not accepted."""
    reference = TorchLeg(model, 1)
    legs = {file: OrtLeg(file, job.validation.providers, 1) for file in {base: None, **dict.fromkeys(files)}}
    said = {file: {peer.name: True for peer in PEERS} for file in files}
    for case in plan_of(job, model).cases:
        arrays = materialise(case, model.contract.inputs, model.contract.preprocess)
        wanted = reference.run(arrays).outputs
        from_base = legs[base].run(arrays).outputs
        for file in files:
            found = answer(legs[file], arrays)
            for peer in PEERS:
                if said[file][peer.name]:
                    against = wanted if peer.against == "torch" else from_base
                    said[file][peer.name] = found is not None and peer.accepts(against, found)
    return said
