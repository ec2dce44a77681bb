"""onnxproof compare."""

from pathlib import Path

import click

import onnxproof
from onnxproof.cli._options import checkpoint_options, mapping_of
from onnxproof.cli._pictures import TakesPictures
from onnxproof.cli._reports import Reports, report_options, subject_of
from onnxproof.cli._terminal import timed_progress
from onnxproof.cli._verdict import answer_verdict, prepare_answer
from onnxproof.errors import RequestError
from onnxproof.runtime.folder import model_files
from onnxproof.source import JobFile, look_at, model_at
from onnxproof.system.limits import MOST_THREADS
from onnxproof.validate.cases import Effort

COMPARISON_FILE = "comparison.json"


@click.command("compare", cls=TakesPictures)
@click.argument("a", metavar="A.onnx|BUNDLE", type=click.Path(path_type=Path))
@click.argument("b", metavar="B.onnx|BUNDLE", type=click.Path(path_type=Path))
@click.option("--job", type=click.Path(path_type=Path), help="A job or bundle whose checkpoint judges both.")
@click.option(
    "--dim", "dims", multiple=True, metavar="NAME=RANGE", help='Sizes to try, such as "batch=1..8".'
)
@click.option(
    "--inputs",
    multiple=True,
    metavar="NAME=DTYPE[AXES] in LOW..HIGH",
    help="What an input takes, if onnxproof did not write the file.",
)
@click.option(
    "--map",
    "pairs",
    multiple=True,
    metavar="B_NAME=A_NAME",
    help="Which input or output of B is which of A: images=input.",
)
@click.option("--images", metavar="GLOB", help="Pictures to try, from the working directory.")
@click.option("--effort", type=click.Choice(("quick", "normal", "thorough")), help="How many cases to run.")
@click.option(
    "--threads", type=click.IntRange(min=1, max=MOST_THREADS), help="Threads of ONNX Runtime, and of PyTorch."
)
@click.option("--out", type=click.Path(path_type=Path), help=f"A folder to write {COMPARISON_FILE} into.")
@checkpoint_options
@report_options
def command(
    a: Path,
    b: Path,
    job: Path | None,
    checkpoint: Path | None,
    trust: bool,
    set: tuple[str, ...],
    dims: tuple[str, ...],
    inputs: tuple[str, ...],
    pairs: tuple[str, ...],
    images: str | None,
    effort: Effort | None,
    threads: int | None,
    out: Path | None,
    as_json: bool,
    quiet: bool,
    reports: Reports,
) -> int:
    """Compare the ONNX file B with the ONNX file A: before and after a simplifier, a version bump.

    With --job, or if A is a bundle whose checkpoint is there, both are checked against PyTorch. Otherwise A
    judges B: whether B's graph computes what A's graph computes, both evaluated in float64, and whether ONNX
    Runtime runs B as well as A. Without torch, runs of ONNX Runtime alone are compared.
    """
    names = mapping_of(pairs)
    file = None if out is None else out / COMPARISON_FILE
    read = [*model_files(a), *model_files(b), *(path for path in (job, checkpoint) if path is not None)]
    prepare_answer(file, lambda: read, reports)
    with timed_progress(quiet=quiet) as stages:
        verdict = onnxproof.compare(
            a,
            b,
            job=job,
            checkpoint=checkpoint,
            trust=trust,
            set=set,
            dims=_by_name("--dim", dims, "batch=1..8"),
            inputs=_by_name("--inputs", inputs, "image=float32[batch, 3, 224, 224] in 0..255"),
            map=names,
            images=images,
            effort=effort,
            threads=threads,
            progress=stages,
        )
    return answer_verdict(
        verdict,
        file,
        as_json=as_json,
        quiet=quiet,
        reports=reports,
        subject=lambda: subject_of(model_at(b), stages, job=_job_file(job)),
    )


def _job_file(job: Path | None) -> Path | None:
    """The job's file, if the job is not a bundle's."""
    return job if job is not None and isinstance(look_at(job), JobFile) else None


def _by_name(option: str, texts: tuple[str, ...], example: str) -> dict[str, str]:
    """The TEXT of each NAME=TEXT by name. Raises RequestError for another form, or a name given twice."""
    found: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name.strip():
            raise RequestError(f'{option} {text}: expected NAME=…, for example "{example}"')
        if name.strip() in found:
            raise RequestError(f"{option} {text}: {name.strip()} is given twice")
        found[name.strip()] = value
    return found
