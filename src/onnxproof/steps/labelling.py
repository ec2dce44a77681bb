"""Measure both legs on very many labelled pictures, by workers."""

from dataclasses import replace
from pathlib import Path

from onnxproof.job import Job
from onnxproof.many.chunks import Chunk
from onnxproof.many.opened import opened_engine, opened_journal
from onnxproof.progress import Progress
from onnxproof.steps.surveying import Run, Survey, most_workers, work_of
from onnxproof.validate.dataset.labels import Labels
from onnxproof.validate.dataset.metrics import Measure
from onnxproof.validate.dataset.run import named_pictures
from onnxproof.validate.judge import judge_dataset
from onnxproof.validate.policy import FLOAT_FLOOR
from onnxproof.validate.survey.labelled import labelled_figures
from onnxproof.validate.survey.measured import Measured
from onnxproof.validate.verdict import Verdict, conclude
from onnxproof.validate.verify import STATE
from onnxproof.wrappers.family import WrappedModel

FOLDER = "labelled"
"""Where the journal is, in that of the pictures that are not labelled."""


def labelled(
    verdict: Verdict, survey: Survey, labels: Labels, job: Job, model: WrappedModel, progress: Progress
) -> Verdict:
    """The verdict with the figures of the labelled pictures and their checks.

    Raises as ``measure_dataset`` and ``surveyed`` do.
    """
    if any(check.name == STATE and check.status != "pass" for check in verdict.checks):
        return verdict
    workers, task = survey.workers, replace(survey.task, classes=labels.classes)
    if workers.resume is not None and survey.pictures:
        workers = replace(workers, resume=Path(workers.resume) / FOLDER)
    pictures = tuple(replace(one, file=one.file.absolute()) for one in labels.pictures)
    named = named_pictures(replace(labels, pictures=pictures))
    measures: dict[int, tuple[Measure, ...]] = {}

    def keep(chunk: Chunk, measured: Measured) -> None:
        measures[chunk.number], measured.measures = measured.measures, ()

    with (
        opened_journal(workers, {**work_of(task, job), "classes": list(labels.classes)}) as journal,
        opened_engine(workers, most_workers(model)) as engine,
    ):
        run = Run(task, named, engine, journal)
        stage = f"compare on {len(named)} labelled pictures, {engine}"
        gathered = run.measured(stage, progress, keep)
        policies = [FLOAT_FLOOR] * len(gathered.tallies)
        run.measured_again(gathered, policies, model.contract.fields, progress)
        names = [one.name for one in named]
        found = labelled_figures(gathered, measures, names, labels, FLOAT_FLOOR)
    checks = (*verdict.checks, *map(judge_dataset, found))
    return replace(verdict, checks=checks, status=conclude(checks), dataset=found)
