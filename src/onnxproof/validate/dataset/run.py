"""Run the legs over labelled pictures, and compare their figures and their decisions."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from onnxproof.contract import Contract
from onnxproof.errors import PictureError
from onnxproof.progress import Progress, silent
from onnxproof.runtime.preprocess import Transform
from onnxproof.runtime.tasks import get_task
from onnxproof.validate.cases import Case, native_case
from onnxproof.validate.dataset.figures import DatasetFigures, Figure
from onnxproof.validate.dataset.labels import LabelledPicture, Labels
from onnxproof.validate.dataset.metrics import MEASURES, Measure
from onnxproof.validate.facts import Decisions
from onnxproof.validate.judge import outcome_of
from onnxproof.validate.legs.leg import Answer
from onnxproof.validate.sweep import measure, settle
from onnxproof.validate.tally import Tally, in_order
from onnxproof.validate.trial import Trial

SCORE_THRESHOLD = 0.01
"""The score above which a detection counts for mAP, unless the job's threshold is lower. The value is that of
YOLOX's evaluation (Ge et al. 2021, its reference code). A threshold for use, such as 0.45, would cut off the
curve of precision over recall, and mAP would depend on the threshold."""

CUT_BY_SCORE = ("detection", "instance_segmentation")
"""Tasks whose figures include decisions below the job's threshold."""


def measure_dataset(
    trial: Trial, labels: Labels, *, progress: Progress = silent
) -> tuple[DatasetFigures, ...]:
    """The figures of each candidate beside the reference's, and the ties and defects between the two.

    Each picture is a case, preprocessed as ``predict`` does it; decisions are restored to the picture's own
    pixels. For detections the score threshold is lowered to SCORE_THRESHOLD; the NMS threshold stays the
    job's. Raises PictureError if a picture cannot be read or has another size than its labels state,
    CheckError if PyTorch cannot run one.
    """
    lowered = _lowered(trial.contract)
    shown = {case.name: (case, picture, transform) for case, picture, transform in _shown(labels, lowered)}
    task, reading = get_task(lowered.task), lowered.reading
    measures: list[Measure] = [MEASURES[lowered.task](labels) for _ in (trial.truth, *trial.candidates)]

    def decisions_on(case: Case, answer: Answer) -> Any:
        return task.decide(task.evidence(answer.outputs, case.sizes, reading, answer.margins)[0], reading)

    def watch(case: Case, wanted: Answer, found: Sequence[Answer | None]) -> None:
        _, picture, transform = shown[case.name]
        for measured, answer in zip(measures, (wanted, *found), strict=True):
            decisions = None if answer is None else task.restore(decisions_on(case, answer), transform)
            measured.add(picture, decisions)

    on_pictures = replace(trial, contract=lowered, graphs=()).on(*(case for case, _, _ in shown.values()))
    tallies = measure(on_pictures, progress=progress, watch=watch)
    # A second look measures again what rests on few pictures, which may widen its error bounds.
    settle(on_pictures, tallies, progress=progress)
    return tuple(
        _figures(on_pictures, leg.name, tally, labels, measures[0], own)
        for leg, tally, own in zip(trial.candidates, tallies, measures[1:], strict=True)
    )


def _lowered(contract: Contract) -> Contract:
    if contract.task not in CUT_BY_SCORE:
        return contract
    threshold = min(contract.reading.settings()["score_threshold"], SCORE_THRESHOLD)
    return replace(contract, reading=contract.reading.with_settings(score_threshold=threshold))


def _shown(labels: Labels, contract: Contract) -> Iterator[tuple[Case, LabelledPicture, Transform]]:
    """A case for each picture, in the pictures' order, with its transform. Cases have different names."""
    spec = contract.preprocess
    assert spec is not None
    taken: set[str] = set()
    for number, picture in enumerate(labels.pictures):
        case, transform = native_case(picture.file, spec, contract.dims)
        size = transform.picture_width, transform.picture_height
        if size != (picture.width, picture.height):
            raise PictureError(
                f"{picture.file} is {size[0]}x{size[1]} pixels, and labelled for {picture.width}x"
                f"{picture.height}: give the picture that was labelled, or label this one"
            )
        if case.name in taken:
            case = replace(case, name=f"{number}-{case.name}")
        taken.add(case.name)
        yield case, picture, transform


def _figures(
    trial: Trial, leg: str, tally: Tally, labels: Labels, reference: Measure, candidate: Measure
) -> DatasetFigures:
    assert tally.decisions is not None
    names = [case.name for case in trial.cases]
    outcome = outcome_of(tally.decisions, trial.policy, names)
    everything = range(len(names))
    tied = {located.case for located in outcome.ties}
    untied = [number for number in everything if names[number] not in tied]
    wanted, found = reference.figures(everything), candidate.figures(everything)
    apart = {name: found[name] - wanted[name] for name in wanted}
    if tied and untied:
        here, there = reference.figures(untied), candidate.figures(untied)
        apart = {name: there[name] - here[name] for name in wanted}
    failed = (*in_order(tally.not_run, names), *in_order(tally.misshapen, names))
    contract = trial.contract
    cut_by = contract.reading.settings()["score_threshold"] if contract.task in CUT_BY_SCORE else None
    return DatasetFigures(
        leg=leg,
        pictures=len(names),
        annotations=labels.count,
        untied=len(untied),
        score_threshold=cut_by,
        figures=tuple(Figure(name, wanted[name], found[name], apart[name]) for name in wanted),
        decisions=Decisions.of(outcome),
        not_answered=f"{failed[0].case}: {failed[0].reason}" if failed else None,
    )
