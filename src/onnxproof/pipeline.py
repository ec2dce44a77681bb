"""The spine: job -> model -> graph -> bundle -> verdict."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path
from types import MappingProxyType
from typing import Any

from onnxproof.entry import keeps_mode, takes_old_names
from onnxproof.export.bundle import BUNDLE, check_bundle
from onnxproof.export.make import ladder_for
from onnxproof.finding.draft import drafted, within_reach
from onnxproof.job.asked import JobLike, files_read, job_to_export
from onnxproof.job.of_module import module_job
from onnxproof.progress import Progress, silent
from onnxproof.runtime.manifest import Manifest
from onnxproof.source import CheckpointPath
from onnxproof.steps.opening import ToExport, to_export, wrapped_for
from onnxproof.steps.planning import plan_of
from onnxproof.system.files import remove_own
from onnxproof.system.imports import collector_paused
from onnxproof.system.own_folder import staged_folder
from onnxproof.system.signals import signals_held
from onnxproof.system.signatures import checks_arguments
from onnxproof.validate.baseline import BaselineLike, files_of, read_baseline
from onnxproof.validate.verdict import Verdict
from onnxproof.wrappers.family import Module

CAPTURED_FOLDER = ".captured"
"""The folder with the tensors of a large model as the exporters wrote them."""


@dataclass(frozen=True, slots=True)
class Bundle:
    """What an export wrote. ``verdict`` is None if it did not validate. ``notes`` say what was done otherwise
    than the job asked. ``lowered`` is the bundle of lower precision beside it; None if the job asks for none,
    or if the file in float32 did not pass."""

    path: Path
    manifest: Manifest
    verdict: Verdict | None
    notes: tuple[str, ...]
    lowered: "Bundle | None" = None

    @property
    def decisive(self) -> Verdict | None:
        """The verdict that says whether all that the job asks for may be shipped."""
        return self.verdict if self.lowered is None else self.lowered.verdict

    def __str__(self) -> str:
        """What ``onnxproof export`` prints last: where the bundle is, and how it was made."""
        made = self.manifest
        return (
            f"{self.path}: {made.exporter}, opset {made.opset}, simplify {made.simplify}, "
            f"SHA-256 {str(made.model_sha256)[:12]}"
        )


@takes_old_names
@checks_arguments
def export(
    job: JobLike,
    *,
    out: str | PathLike[str] = "dist",
    set: Sequence[str] = (),
    validate: bool = True,
    baseline: BaselineLike | None = None,
    progress: Progress = silent,
) -> Bundle:
    """Export the job's checkpoint, prove the file, and write the bundle ``out/<job name>``.

    ``job`` may also be a checkpoint. Then the job is the one that ``init`` would write for it, and the
    verdict's notes say what it was recognised as.

    ``baseline`` is an older verdict, its parity.json or its bundle: a check that got worse beyond its noise
    fails (docs/baseline.md).

    A bundle is written whatever the verdict is: look at ``bundle.verdict.passed``. It replaces an older
    bundle or an empty folder, nothing else.

    Raises RequestError if the request cannot be met, ExportError if capture fails, CheckError if PyTorch
    cannot run a declared case. The previous bundle then stays as it was.
    """
    older = None if baseline is None else read_baseline(baseline)
    opened = _opened(job, set)
    inputs = [*files_read(job, opened.job), *files_of(baseline)]
    return _export(opened, Path(out) / opened.job.name, validate, progress, inputs, older)


def _opened(source: JobLike, set: Sequence[str]) -> ToExport:
    """The job that ``source`` names, or that is drafted for the checkpoint there, and its model."""
    asked = job_to_export(source, set)
    if not isinstance(asked, CheckpointPath):
        return to_export(asked)
    made, note = drafted(asked.path, set)
    opened = to_export(made.job, made.checkpoint, (note,))
    narrower = within_reach(made, opened.model, set)
    if narrower is None:
        return opened
    made, told = narrower
    return to_export(made.job, made.checkpoint, (note, *told))


@takes_old_names
@keeps_mode
@checks_arguments
def export_module(
    module: Module,
    *,
    inputs: Mapping[str, Any],
    dims: Mapping[str, str | int],
    out: str | PathLike[str],
    arguments: Mapping[str, Any] = MappingProxyType({}),
    task: str = "raw",
    picture: str | None = None,
    classes: Sequence[str] = (),
    set: Sequence[str] = (),
    validate: bool = True,
    progress: Progress = silent,
) -> Bundle:
    """Export any module, prove the file, and write the bundle ``out``.

    ``inputs`` maps the names of the inputs, in the order of the module's ``forward``, to texts such as
    "int64[batch, time] in 0..999", or to lists and dicts of such texts for a list, tuple or dict of tensors.
    ``arguments`` are plain values that ``forward`` gets besides, by its parameters' names.
    ``dims`` maps the named axes to sizes, such as "1..8". Outputs in tuples, dicts and other objects get
    stable names. ``picture`` names the input that takes pictures, so that
    ``predict`` takes them too. ``classes`` are the classes' names, if the task has any. ``set`` has values
    of a job, such as "export.opset=18". Raises as ``export`` does, and JobError if the inputs do not
    fit the module.
    """
    target = Path(out)
    job = module_job(
        target.name,
        inputs=inputs,
        dims=dims,
        arguments=arguments,
        task=task,
        picture=picture,
        classes=classes,
        set=set,
        source="the arguments of export_module",
    )
    opened = ToExport(job, wrapped_for(job, module), None)
    return _export(opened, target, validate, progress, files_read(None, job))


def _export(
    opened: ToExport,
    target: Path,
    validate: bool,
    progress: Progress,
    inputs: Sequence[Path],
    baseline: Verdict | None = None,
) -> Bundle:
    check_bundle(target, inputs)
    job, model = opened.job, opened.model
    plan = plan_of(job, model)  # raises now, before the slow capture, what is wrong with the cases
    place = job.precision.beside(target)
    lowering = None
    if place is not None:
        with signals_held():
            from onnxproof.steps.lowered import lowered, plan_lowered  # noqa: PLC0415 - few jobs ask for it

        lowering = plan_lowered(job, plan, place, validate, inputs)
    with staged_folder(target, BUNDLE, inputs) as folder:
        ladder = ladder_for(job, model, progress, folder / CAPTURED_FOLDER)
        ladder.begin()
        # What judges a file is imported while another process captures the model.
        with signals_held(), collector_paused():
            from onnxproof.steps.bundled import bundled  # noqa: PLC0415

        manifest, verdict, notes = bundled(
            opened, ladder, plan, folder, target, progress, validate=validate, baseline=baseline
        )
        remove_own(folder / CAPTURED_FOLDER)
    bundle = Bundle(target, manifest, verdict, notes)
    if lowering is None:
        return bundle
    if verdict is not None and not verdict.passed:
        note = f"no file in {job.precision.mode} is made: the one in float32 is not proven"
        return replace(bundle, notes=(*notes, note))
    made, said = lowered(job, model, manifest, target, lowering, progress, inputs=inputs)
    return replace(bundle, lowered=Bundle(lowering.place, made, said, notes))
