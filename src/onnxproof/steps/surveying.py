"""Compare a file with its checkpoint on very many pictures, by workers that open both themselves."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import inf
from os import PathLike
from pathlib import Path
from typing import Any

from onnxproof.errors import ModelFileError, RequestError
from onnxproof.job import Job
from onnxproof.job.asked import Address, JobLike
from onnxproof.many.chunks import Chunk, Item, chunks_of
from onnxproof.many.engines import Engine
from onnxproof.many.journal import Journal
from onnxproof.many.listing import pictures_named
from onnxproof.many.opened import opened_engine, opened_journal
from onnxproof.many.run import completed
from onnxproof.many.worker import THREADS, Work
from onnxproof.many.workers import MOST_WORKERS, Workers
from onnxproof.progress import Progress
from onnxproof.runtime.remote import Place
from onnxproof.source import checkpoints_at, sha256_of, sha256_of_checkpoint
from onnxproof.steps.judging import to_validate
from onnxproof.steps.planning import settings_of
from onnxproof.system.memory import BASE, FACTOR, available_bytes
from onnxproof.system.packages import versions
from onnxproof.tensors import Field
from onnxproof.validate.dataset.labels import Labels
from onnxproof.validate.dataset.run import lowered_trial
from onnxproof.validate.facts import Failure
from onnxproof.validate.judge import ranks_of, second_looks
from onnxproof.validate.legs.pytorch import processor, torch_truth
from onnxproof.validate.policy import FLOAT_FLOOR, FloatFloor, Policy
from onnxproof.validate.renamed import named_alike
from onnxproof.validate.survey.check import judge_pictures
from onnxproof.validate.survey.figures import PictureFigures
from onnxproof.validate.survey.gathered import Gathered
from onnxproof.validate.survey.measured import (
    About,
    Measured,
    decoded,
    encoded,
    measure_again,
    measure_labels,
    measure_pictures,
)
from onnxproof.validate.trial import Trial, plan_trial
from onnxproof.validate.verdict import Check, Verdict, conclude
from onnxproof.validate.verify import STATE, candidates_of
from onnxproof.wrappers.family import WrappedModel
from onnxproof.wrappers.weights import bytes_of

COMPUTING = ("onnxproof", "torch", "onnxruntime", "numpy", "pillow")
"""The packages that figures depend on."""


@dataclass(frozen=True, slots=True)
class Compare:
    """Compare the file with the checkpoint on each picture. A worker opens both once.

    The paths are absolute; relative ones of pictures start at ``folder``. ``model_sha256`` is the file's: a
    worker elsewhere may have another there. If ``replicas`` is not 0, the candidate ``leg`` is compared on as
    many inputs next to each picture's own. If ``classes`` is not None, the pictures are labelled with those.
    """

    source: str
    onnx: str | None
    map: tuple[tuple[str, str], ...]
    checkpoint: str | None
    set: tuple[str, ...]
    trust: bool
    folder: str
    model_sha256: str = ""
    leg: int = 0
    replicas: int = 0
    classes: tuple[str, ...] | None = None

    def open(self) -> Work:
        """Open the legs. Raises as ``onnxproof.validate`` does, and ModelFileError for another file."""
        asked, wrapped, file, _ = to_validate(
            self.source, None, self.onnx, self.checkpoint, self.set, self.trust
        )
        if sha256_of(file) != self.model_sha256:
            raise ModelFileError(f"{file} is another file where this worker runs: give all workers the same")
        settings = replace(
            settings_of(asked.job), images=None, annotations=None, threads=THREADS, effort="quick"
        )
        plan = plan_trial(wrapped.contract, settings)
        truth = torch_truth(wrapped, plan.cases[0], THREADS)
        with named_alike(file, wrapped.contract, dict(self.map)) as (named, _):
            trial = Trial.of(plan, truth, candidates_of(wrapped, named, settings))
        about = About.of(trial, versions(COMPUTING), processor())
        lowered = trial if self.classes is None else lowered_trial(trial)

        def work(pictures: Sequence[Any]) -> bytes:
            if self.replicas:
                own = (self.leg, self.replicas, self.folder)
                return encoded(measure_again(lowered, about, pictures, *own))
            if self.classes is not None:
                return encoded(measure_labels(lowered, about, pictures, self.classes))
            return encoded(measure_pictures(trial, about, pictures, self.folder))

        return work


@dataclass(frozen=True, slots=True)
class Survey:
    """What to compare on which pictures, and by whom. The pictures are sorted, and none is there twice."""

    task: Compare
    pictures: tuple[Place, ...]
    workers: Workers


def plan_survey(
    source: JobLike,
    model: object,
    onnx: Address | None,
    map: Mapping[str, str],
    checkpoint: Address | None,
    set: Sequence[str],
    trust: bool,
    *,
    images: Sequence[str],
    workers: Workers,
) -> Survey | None:
    """The survey that is asked for, or None. Lists the pictures and opens none.

    Raises RequestError if a text names no picture, if workers could not open the model, or if they cannot be
    had.
    """
    if not images and not workers.asked:
        return None
    if isinstance(images, str):
        raise RequestError(f'images="{images}": expected a list of texts, such as ["pictures/*.jpg"]')
    if model is not None or not isinstance(source, str | PathLike):
        raise RequestError(
            "workers open the model themselves: give a job file or a bundle that names the checkpoint, in "
            "place of a module or a Job"
        )
    pictures = {str(place): place for place in pictures_named(images)}
    with opened_engine(workers, 1):  # says now that a scheduler does not answer
        pass
    task = Compare(
        _absolute(source),
        None if onnx is None else _absolute(onnx),
        tuple(map.items()),
        None if checkpoint is None else _absolute(checkpoint),
        tuple(set),
        trust,
        str(Path.cwd()),
    )
    return Survey(task, tuple(pictures[name] for name in sorted(pictures)), workers)


def ready(survey: Survey, labels: Labels | None, job: Job, model: WrappedModel, file: Path) -> Survey:
    """The survey of a file, before any work.

    Raises RequestError if the model takes no pictures, if there is nothing to share out, or if the folder to
    go on in belongs to other work.
    """
    if model.contract.preprocess is None:
        raise RequestError("the model has no picture among its inputs: leave out --images")
    if not survey.pictures and labels is None:
        raise RequestError(
            "--workers, --dask and --resume share out pictures: name them with --images, or labelled ones in "
            "validate.annotations"
        )
    own = replace(survey.task, onnx=_absolute(file), model_sha256=sha256_of(file))
    survey = replace(survey, task=own)
    if survey.pictures:
        with opened_journal(survey.workers, work_of(survey.task, job)):
            pass
    return survey


def surveyed(verdict: Verdict, survey: Survey, job: Job, model: WrappedModel, progress: Progress) -> Verdict:
    """The verdict with what came of the pictures.

    Raises RequestError if the workers cannot be had, CheckError if PyTorch cannot run a picture or a worker
    dies of one, and what opening the model raises.
    """
    if any(check.name == STATE and check.status != "pass" for check in verdict.checks):
        skipped = Check("pictures", "skipped", "the model answers otherwise each time, see the check state")
        return replace(verdict, checks=(*verdict.checks, skipped))
    with (
        opened_journal(survey.workers, work_of(survey.task, job)) as journal,
        opened_engine(survey.workers, most_workers(model)) as engine,
    ):
        run = Run(survey.task, survey.pictures, engine, journal)
        gathered = run.measured(f"compare on {len(survey.pictures)} pictures, {engine}", progress)
        policies = [_policy(verdict, leg) for leg in gathered.about.legs]
        repeated = run.measured_again(gathered, policies, model.contract.fields, progress)
        found = tuple(
            _figures(gathered, leg, policy, repeated.get(leg, ())) for leg, policy in enumerate(policies)
        )
    ranked = ranks_of(model.contract.fields)
    checks = [*verdict.checks]
    checks += (judge_pictures(one, ranked, policy) for one, policy in zip(found, policies, strict=True))
    notes = (*verdict.notes, *_notes(gathered.processors, found))
    return replace(verdict, checks=tuple(checks), status=conclude(checks), pictures=found, notes=notes)


Keep = Callable[[Chunk, Measured], None]


def forget(chunk: Chunk, measured: Measured) -> None:
    """The Keep that keeps nothing."""


def most_workers(model: WrappedModel) -> int:
    """How many workers this machine's memory holds."""
    there = available_bytes()
    return MOST_WORKERS if there is None else max(1, int(there // (BASE + FACTOR * bytes_of(model.module))))


@dataclass(frozen=True, slots=True)
class Run:
    """One survey: what is done on which pictures, by whom, and where results are kept."""

    task: Compare
    pictures: Sequence[Item]
    engine: Engine
    journal: Journal

    def measured(self, stage: str, progress: Progress, keep: Keep = forget) -> Gathered:
        """What was measured on all pictures, added up as it comes. ``keep`` gets each chunk's own."""
        gathered = Gathered(self.journal.taken)
        progress(stage, 0, len(self.pictures))
        chunks = chunks_of(self.pictures, self.journal.key)
        for chunk in completed(self.task, chunks, self.engine, self.journal):
            measured = decoded(self.journal.taken(chunk.name))
            keep(chunk, measured)
            gathered.add(chunk.name, measured)
            progress(stage, gathered.pictures + gathered.unread_count, len(self.pictures))
        return gathered

    def measured_again(
        self, gathered: Gathered, policies: Sequence[Policy], fields: tuple[Field, ...], progress: Progress
    ) -> dict[int, tuple[str, ...]]:
        """Look again where a candidate's failure rests on few pictures. Returns those, by candidate."""
        looked: dict[int, tuple[str, ...]] = {}
        for leg, policy in enumerate(policies):
            again = gathered.doubt(leg, fields, policy)
            if again is None:
                continue
            looked[leg] = again.cases
            some = [place for place in self.pictures if str(place) in again.cases]
            task = replace(self.task, leg=leg, replicas=again.replicas)
            key = f"{self.journal.key} again {leg} {again.replicas}"
            gathered.forget(again)
            for done, chunk in enumerate(completed(task, chunks_of(some, key, 1), self.engine, self.journal)):
                progress(f"look again at {len(some)} pictures", done, len(some))
                gathered.add_again(again, decoded(self.journal.taken(chunk.name)))
        return looked


def _policy(verdict: Verdict, leg: str) -> Policy:
    """What a leg's pictures are judged by.

    If the nodes showed that the runtime's errors are roundings, larger than PyTorch's, those are allowed,
    unless it is the graph that makes them.
    """
    status = {check.name: check.status for check in verdict.checks if check.leg == leg}
    if status.get("kernels") == "pass" and status.get("digits") != "fail":
        return FloatFloor(ratio_rms=inf, ratio_max=inf, ratio_constant=inf)
    return FLOAT_FLOOR


def _figures(gathered: Gathered, leg: int, policy: Policy, repeated: tuple[str, ...]) -> PictureFigures:
    tally = gathered.tallies[leg]
    return PictureFigures(
        gathered.facts(leg, policy, repeated),
        gathered.unread_count,
        tuple(Failure(name, reason) for name, reason in gathered.unread),
        tally.more_not_run,
        tally.more_misshapen,
        THREADS,
        gathered.processors,
    )


def _notes(processors: Sequence[str], found: Sequence[PictureFigures]) -> Iterator[str]:
    if len(processors) > 1:
        told = ", ".join(processors)
        yield f"the pictures were measured on several kinds of processors ({told}), which round otherwise"
    yield from second_looks(one.facts for one in found)


def _absolute(path: Address) -> str:
    return str(Path(path).expanduser().absolute())


def work_of(task: Compare, job: Job) -> dict[str, Any]:
    """What the figures depend on beside the pictures, as the journal keeps it."""
    checkpoint = job.model.checkpoint
    return {
        "command": "validate",
        "model_sha256": task.model_sha256,
        "checkpoint_sha256": []
        if checkpoint is None
        else [sha256_of_checkpoint(file) for file in checkpoints_at(job.resolve(checkpoint))],
        "job": job.model_dump(mode="json", exclude={"validation": {"images", "annotations", "threads"}}),
        "map": [list(pair) for pair in task.map],
        "threads": THREADS,
        "versions": versions(COMPUTING),
    }
