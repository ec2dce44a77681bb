"""Put one architecture's healthy files and planted faults before our verdict, and before float64."""

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from dataclasses import field as attribute
from pathlib import Path
from typing import Literal

import onnx
from architectures.architecture import Architecture
from soundness.effect import Effects, parted
from soundness.elsewhere.faults import planted
from soundness.elsewhere.files import FAULTY, Made, Source, made
from soundness.healthy import LEVELS
from soundness.measure import largest, loads

from onnxproof.errors import ModelFileError
from onnxproof.steps.planning import settings_of
from onnxproof.validate.checks import FUNCTION_CHECKS
from onnxproof.validate.exact.errors import UnsupportedError
from onnxproof.validate.legs.onnx_runtime import OrtLeg
from onnxproof.validate.sweep import measure
from onnxproof.validate.trial import Plan, plan_trial
from onnxproof.validate.verdict import Verdict
from onnxproof.validate.verify import open_trial, verdicts_of
from onnxproof.wrappers.family import WrappedModel

FAULTS = 3
"""How many faults are planted into a file."""

LONGEST = 300
"""Characters of a reason that are kept."""


@dataclass(frozen=True, slots=True)
class FileRow:
    """One file of an architecture that is not ours, and what was said of it.

    ``source`` says who exported it, ``way`` how, ``exporter`` what captured it. ``kind`` and ``severity`` are
    the fault's; empty for a healthy file. ``verdict`` is "not exported" if the exporter refused, or wrote a
    file that ONNX Runtime refuses: ``reason`` says why. Otherwise ``reason`` is that of the first check that
    failed or that was skipped.

    ``links`` has each link's status. ``function`` is the largest figure of the function link, in units of
    PyTorch's own float32 error, ``field`` the field that has it, and ``limit`` what it was held to; NaN if
    the link did not measure. ``rms`` and ``maximum`` are the runtime's largest ratios over all levels of
    optimization. ``unproven`` counts the file's constants that are not proven from the checkpoint. ``effect``
    is what a fault changes in float64, in the same units; None for a healthy file. ``own`` is measured if a
    healthy file is refused: how far its graph, with its own constants, parts from the network in float64;
    infinite if it does not run. ``seconds`` are the export's and a share of the verdict's.
    """

    library: str
    architecture: str
    source: Source
    way: str
    exporter: str
    seconds: float
    verdict: Literal["pass", "fail", "error", "not exported"] = "not exported"
    reason: str = ""
    failed: tuple[str, ...] = ()
    links: Mapping[str, str] = attribute(default_factory=dict)
    function: float = math.nan
    field: str = ""
    limit: float = math.nan
    rms: float = math.nan
    maximum: float = math.nan
    unproven: int = 0
    kind: str = ""
    severity: str = ""
    effect: float | None = None
    own: float = math.nan


def file_rows(
    architecture: Architecture,
    folder: Path,
    *,
    chosen: Callable[[str], bool] = lambda _: True,
    faults: int = FAULTS,
) -> Iterator[FileRow]:
    """Export an architecture in its (``chosen``) ways, judge each file at every optimization level, plant
    ``faults`` into those files of ``FAULTY`` that pass, and judge those."""
    job, model = architecture.job(), architecture.model()
    files = [_opened(one, job.validation.providers) for one in made(architecture, folder, chosen)]
    for one in files:
        if one.refusal:
            yield replace(_row(architecture, one), reason=_short(one.refusal))
    settings = replace(settings_of(job), optimization=LEVELS)
    whole, single = (
        plan_trial(model.contract, chosen) for chosen in (settings, replace(settings, optimization=("all",)))
    )
    there = [one for one in files if not one.refusal]
    judged = _judged(model, [one.path for one in there], whole)
    for one in there:
        verdict, unproven, seconds = judged[one.path]
        row = replace(_told(architecture, one, verdict, unproven), seconds=one.seconds + seconds)
        if not verdict.passed:
            row = replace(row, own=parted(model, whole.cases, one.path, verdict.facts[0].fields))
        yield row
    right = [one for one in there if one.way.name in FAULTY and judged[one.path][0].passed]
    yield from _fault_rows(architecture, model, right, single, faults)


def _fault_rows(
    architecture: Architecture, model: WrappedModel, files: Sequence[Made], plan: Plan, count: int
) -> Iterator[FileRow]:
    for one in files:
        proto = onnx.load(one.path)
        found = []
        for number, (kind, damaged) in enumerate(
            planted(proto, f"{architecture.name}, {one.way.name}", count)
        ):
            path = one.path.with_suffix(f".{number}.onnx")
            onnx.save(damaged, path)
            found.append((kind, path))
        if not found:
            continue
        judged = _judged(model, [one.path, *(path for _, path in found)], plan)
        floors = judged[one.path][0].facts[0].fields
        try:
            effects = Effects(model, plan.cases, one.path, floors)
        except UnsupportedError:
            continue  # The healthy file's row says what is not evaluated.
        for kind, path in found:
            start = time.perf_counter()
            if path not in judged:
                row = replace(_row(architecture, one), verdict="fail", failed=("does not load",))
                yield replace(row, kind=kind.kind, severity=kind.severity, effect=math.inf)
                continue
            verdict, unproven, seconds = judged[path]
            effect = effects.of(path)
            seconds += time.perf_counter() - start
            row = replace(_told(architecture, one, verdict, unproven), seconds=seconds)
            yield replace(row, kind=kind.kind, severity=kind.severity, effect=effect)


def _opened(file: Made, providers: Sequence[str]) -> Made:
    """The file, or that ONNX Runtime refuses it: then there is nothing to judge."""
    if file.refusal:
        return file
    try:
        OrtLeg(file.path, providers, 1)
    except ModelFileError as error:
        return replace(file, refusal=f"ONNX Runtime refuses the file: {error}")
    return file


def _judged(model: WrappedModel, files: Sequence[Path], plan: Plan) -> dict[Path, tuple[Verdict, int, float]]:
    """The verdict on each file that loads, how many of its constants are not proven, and the seconds."""
    start = time.perf_counter()
    loading = [file for file in files if loads(file, plan.settings.providers)]
    if not loading:
        return {}
    trial = open_trial(model, loading, plan)
    verdicts = verdicts_of(model, loading, plan, trial, measure(trial))
    unproven = [len(graph.proven.unproven) for graph in trial.graphs]
    each = (time.perf_counter() - start) / len(loading)
    return {
        file: (verdict, count, each) for file, verdict, count in zip(loading, verdicts, unproven, strict=True)
    }


def _told(architecture: Architecture, file: Made, verdict: Verdict, unproven: int) -> FileRow:
    """The row of a file that was judged."""
    refused = [check for check in verdict.checks if check.status in ("fail", "error")]
    skipped = [
        check for check in verdict.checks if check.status == "skipped" and check.name in FUNCTION_CHECKS
    ]
    said = next(iter((*refused, *skipped)), None)
    asked = [check for check in verdict.checks if check.name == "function" and check.status != "skipped"]
    measured = [check for check in asked if check.value is not None]
    worst = max(measured, key=lambda check: check.value or 0.0, default=None)
    return replace(
        _row(architecture, file),
        verdict=verdict.status,
        links={linked.link: linked.status for linked in verdict.links},
        failed=tuple(sorted({check.name for check in refused})),
        reason="" if said is None else _short(f"{said.name} {said.field or ''}: {said.reason}"),
        function=math.nan if worst is None or worst.value is None else worst.value,
        field="" if worst is None else worst.field or "",
        limit=math.nan if worst is None or worst.limit is None else worst.limit,
        rms=max((largest(facts.fields, "ratio_rms") for facts in verdict.facts), default=math.nan),
        maximum=max((largest(facts.fields, "ratio_max") for facts in verdict.facts), default=math.nan),
        unproven=unproven,
    )


def _row(architecture: Architecture, file: Made) -> FileRow:
    """The row of a file of which nothing is known but how it was exported."""
    way = file.way
    return FileRow(architecture.library, architecture.name, way.source, way.name, file.exporter, file.seconds)


def _short(reason: str) -> str:
    return " ".join(reason.split())[:LONGEST]
