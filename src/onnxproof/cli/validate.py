"""onnxproof validate."""

from pathlib import Path
from typing import Literal

import click

import onnxproof
from onnxproof.cli._jobs import Many, answer_many, many_options
from onnxproof.cli._many import workers_options
from onnxproof.cli._options import (
    baseline_option,
    checkpoint_options,
    map_option,
    mapping_of,
    onnx_option,
    runtime_option,
)
from onnxproof.cli._pictures import TakesPictures
from onnxproof.cli._reports import Reports, report_options, subject_of
from onnxproof.cli._terminal import timed_progress
from onnxproof.cli._verdict import answer_verdict, prepare_answer, refuse_target
from onnxproof.errors import RequestError
from onnxproof.job import load_job
from onnxproof.job.asked import inputs_of, refuse_own_names
from onnxproof.many.listing import pictures_named
from onnxproof.many.workers import Workers
from onnxproof.progress import Stages
from onnxproof.runs.plan import makes_many, plan_validate
from onnxproof.runs.task import Outcome
from onnxproof.runtime.folder import MODEL_FILE, PARITY_FILE
from onnxproof.source import BundleFolder, JobFile, look_at
from onnxproof.steps.look_first import refuse_to_validate
from onnxproof.system.files import explained, write_json
from onnxproof.system.folders import made_folder
from onnxproof.validate.baseline import files_of, read_baseline
from onnxproof.validate.report.subject import Subject
from onnxproof.validate.runtimes.asked import plan_runtimes


@click.command("validate", cls=TakesPictures)
@click.argument("sources", metavar="JOB|BUNDLE", nargs=-1, required=True, type=click.Path(path_type=Path))
@onnx_option
@map_option
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="A folder to write parity.json into; of many jobs, into DIR/<job name>.",
)
@baseline_option
@click.option(
    "--images",
    metavar="FOLDER|PATTERN|URL",
    multiple=True,
    help="Compare on all of very many pictures, too. Repeatable.",
)
@click.option(
    "--policy",
    type=click.Choice(("auto", "links", "budget")),
    default="auto",
    show_default=True,
    help="Judge by the links of the proof, or by the decisions that [precision.budget] allows to change.",
)
@runtime_option
@click.option(
    "--provider",
    "providers",
    multiple=True,
    metavar="NAME",
    help="An execution provider of ONNX Runtime, or a device of OpenVINO, to try the file on. Repeatable.",
)
@workers_options
@many_options(force=False)
@checkpoint_options
@report_options
def command(
    sources: tuple[Path, ...],
    onnx: Path | None,
    pairs: tuple[str, ...],
    out: Path | None,
    baseline: Path | None,
    images: tuple[str, ...],
    policy: Literal["auto", "links", "budget"],
    runtimes: tuple[str, ...],
    providers: tuple[str, ...],
    workers: Workers,
    checkpoint: Path | None,
    trust: bool,
    set: tuple[str, ...],
    as_json: bool,
    quiet: bool,
    reports: Reports,
    many: Many,
) -> int:
    """Check an ONNX file against the checkpoint that JOB or BUNDLE names; of many, each its own.

    --images compares it on all of very many pictures besides, shared out to --workers or --dask. A run that
    was stopped goes on in the folder --resume. --policy budget judges a quantised file, whoever made it, by
    the decisions that it changes. --runtime and --provider try the file in other runtimes, too.
    """
    if len(sources) > 1 or many.asked or makes_many(sources[0], set):
        of_one = {
            "--onnx": onnx,
            "--map": pairs,
            "--checkpoint": checkpoint,
            "--images": images,
            "--policy": policy != "auto",
            "--runtime": runtimes,
            "--provider": providers,
        }
        for flag in (flag for flag, given in of_one.items() if given):
            raise RequestError(f"{flag} is for one file, and there are several jobs: give one of them")
        return _many(sources, many, reports, out, baseline, trust, set, as_json=as_json, quiet=quiet)
    source = sources[0]
    names = mapping_of(pairs)
    refuse_own_names(names, onnx)
    if baseline is not None:
        read_baseline(baseline)
    plan_runtimes(runtimes, providers)  # says what is not there before PyTorch is imported
    refuse_to_validate(source, onnx, set, checkpoint)
    if images:
        pictures_named(images)  # says what names no picture before PyTorch is imported
    file = None if out is None else out / PARITY_FILE

    def read() -> list[Path]:
        own = inputs_of(source, onnx=onnx, checkpoint=checkpoint, set=set, trust=trust)
        return [*own, *files_of(baseline)]

    prepare_answer(file, read, reports)
    with timed_progress(quiet=quiet) as stages:
        verdict = onnxproof.validate(
            source,
            onnx=onnx,
            map=names,
            checkpoint=checkpoint,
            set=set,
            trust=trust,
            baseline=baseline,
            images=images,
            workers=workers,
            policy=policy,
            runtimes=runtimes,
            providers=providers,
            progress=stages,
        )
    return answer_verdict(
        verdict,
        file,
        as_json=as_json,
        quiet=quiet,
        reports=reports,
        subject=lambda: _subject(source, onnx, set, stages),
        baseline=baseline,
    )


def _many(
    sources: tuple[Path, ...],
    many: Many,
    reports: Reports,
    out: Path | None,
    baseline: Path | None,
    trust: bool,
    set: tuple[str, ...],
    *,
    as_json: bool,
    quiet: bool,
) -> int:
    planned = plan_validate(sources, set=set, only=many.only, trust=trust, baseline=baseline)
    files = {} if out is None else {one.name: out / one.name / PARITY_FILE for one in planned}
    if len(files) < len(planned) and out is not None:
        raise RequestError(f"--out {out}: two of the jobs have one name: validate them one after the other")
    for file in files.values():
        refuse_target(file)

    def write(outcome: Outcome) -> None:
        if outcome.name in files and outcome.verdict is not None:
            file = files[outcome.name]
            with explained(file.parent), made_folder(file.parent):
                write_json(file, outcome.verdict.to_json())

    written = files.values()
    return answer_many(planned, many, reports, as_json=as_json, quiet=quiet, written=written, write=write)


def _subject(source: Path, onnx: Path | None, set: tuple[str, ...], stages: Stages) -> Subject:
    """What the reports call the file."""
    match look_at(source):
        case BundleFolder() as bundle:
            manifest = bundle.manifest()
            name = manifest.contract.name
            if onnx is not None:
                return subject_of(onnx, stages, name=name)
            return subject_of(bundle.model, stages, manifest=manifest)
        case found:
            name = load_job(source, set).name
            job = source if isinstance(found, JobFile) else None
            return subject_of(onnx or Path("dist") / name / MODEL_FILE, stages, name=name, job=job)
