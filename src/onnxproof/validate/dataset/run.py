"""Run the legs over labelled pictures, and compare their figures and their decisions."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
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
from onnxproof.validate.policy import Policy
from onnxproof.validate.sweep import measure, settle
from onnxproof.validate.tally import Tally, in_order
from onnxproof.validate.trial import Trial

SCORE_THRESHOLD = 0.01
"""The score above which a detection counts for mAP, unless the job's threshold is lower. The value is that of
YOLOX's evaluation (Ge et al. 2021, its reference code). A threshold for use, such as 0.45, would cut off the
curve of precision over recall, and mAP would depend on the threshold."""

CUT_BY_SCORE = ("detection", "instance_segmentation")
"""Tasks whose figures include decisions below the job's threshold."""


@dataclass(frozen=True, slots=True)
class NamedPicture:
    """A labelled picture and the name of its case, which no other has."""

    name: str
    picture: LabelledPicture

    def __str__(self) -> str:
        return self.name

    @property
    def file(self) -> Path:
        """The picture's file."""
        return self.picture.file


def measure_dataset(
    trial: Trial, labels: Labels, *, progress: Progress = silent
) -> tuple[DatasetFigures, ...]:
    """The figures of each candidate beside the reference's, and the ties and defects between the two.

    Each picture is a case, preprocessed as ``predict`` does it; decisions are restored to the picture's own
    pixels. For detections the score threshold is lowered to SCORE_THRESHOLD; the NMS threshold stays the
    job's. Raises PictureError if a picture cannot be read or has another size than its labels state,
    CheckError if PyTorch cannot run one.
    """
    lowered, named = lowered_trial(trial), named_pictures(labels)
    on_pictures, tallies, measures = measure_labelled(lowered, named, labels.classes, progress=progress)
    # A second look measures again what rests on few pictures, which may widen its error bounds.
    settle(on_pictures, tallies, progress=progress)
    names = [one.name for one in named]
    return tuple(
        figures_of(lowered.contract, lowered.policy, leg.name, tally, names, labels, measures[0], own)
        for leg, tally, own in zip(trial.candidates, tallies, measures[1:], strict=True)
    )


def measure_labelled(
    lowered: Trial, named: Sequence[NamedPicture], classes: tuple[str, ...], *, progress: Progress = silent
) -> tuple[Trial, tuple[Tally, ...], list[Measure]]:
    """The trial on these pictures, a tally for each candidate, and what the reference and each candidate
    decided. Raises as ``measure_dataset`` does.

    ``lowered`` is a trial of ``lowered_trial``, ``classes`` are the names of the model's.
    """
    contract = lowered.contract
    shown = {case.name: (case, picture, transform) for case, picture, transform in _shown(named, contract)}
    task, reading = get_task(contract.task), contract.reading
    own = Labels((), classes)
    measures: list[Measure] = [MEASURES[contract.task](own) for _ in (lowered.truth, *lowered.candidates)]

    def decisions_on(case: Case, answer: Answer) -> Any:
        return task.decide(task.evidence(answer.outputs, case.sizes, reading, answer.margins)[0], reading)

    def watch(case: Case, wanted: Answer, found: Sequence[Answer | None]) -> None:
        _, picture, transform = shown[case.name]
        for measured, answer in zip(measures, (wanted, *found), strict=True):
            decisions = None if answer is None else task.restore(decisions_on(case, answer), transform)
            measured.add(picture, decisions)

    on_pictures = lowered.on(*(case for case, _, _ in shown.values()))
    return on_pictures, measure(on_pictures, progress=progress, watch=watch), measures


def named_pictures(labels: Labels) -> tuple[NamedPicture, ...]:
    """The labelled pictures by the names of their files; of equal names the later have their number, too."""
    taken: set[str] = set()
    named = []
    for number, picture in enumerate(labels.pictures):
        name = picture.file.name
        name = f"{number}-{name}" if name in taken else name
        taken.add(name)
        named.append(NamedPicture(name, picture))
    return tuple(named)


def lowered_trial(trial: Trial) -> Trial:
    """The trial with the score threshold that labelled pictures are measured with, and without graphs."""
    return replace(trial, contract=lowered_contract(trial.contract), graphs=())


def lowered_contract(contract: Contract) -> Contract:
    """The contract with the score threshold that labelled pictures are measured with."""
    if contract.task not in CUT_BY_SCORE:
        return contract
    threshold = min(contract.reading.settings()["score_threshold"], SCORE_THRESHOLD)
    return replace(contract, reading=contract.reading.with_settings(score_threshold=threshold))


def labelled_case(one: NamedPicture, contract: Contract) -> tuple[Case, Transform]:
    """The case of a labelled picture, and its transform.

    Raises PictureError if it cannot be read, or has another size than its labels state.
    """
    spec, picture = contract.preprocess, one.picture
    assert spec is not None
    case, transform = native_case(picture.file, spec, contract.dims)
    size = transform.picture_width, transform.picture_height
    if size != (picture.width, picture.height):
        raise PictureError(
            f"{picture.file} is {size[0]}x{size[1]} pixels, and labelled for {picture.width}x"
            f"{picture.height}: give the picture that was labelled, or label this one"
        )
    return replace(case, name=one.name), transform


def _shown(
    named: Sequence[NamedPicture], contract: Contract
) -> Iterator[tuple[Case, LabelledPicture, Transform]]:
    """A case for each picture, in the pictures' order, with its transform."""
    for one in named:
        case, transform = labelled_case(one, contract)
        yield case, one.picture, transform


def figures_of(
    contract: Contract,
    policy: Policy,
    leg: str,
    tally: Tally,
    names: Sequence[str],
    labels: Labels,
    reference: Measure,
    candidate: Measure,
) -> DatasetFigures:
    """The figures of a candidate on all labelled pictures, whose cases are called ``names``.

    ``contract`` is that of a trial of ``lowered_trial``.
    """
    assert tally.decisions is not None
    outcome = outcome_of(tally.decisions, policy, names)
    everything = range(len(names))
    tied = {located.case for located in outcome.ties}
    untied = [number for number in everything if names[number] not in tied]
    wanted, found = reference.figures(everything), candidate.figures(everything)
    apart = {name: found[name] - wanted[name] for name in wanted}
    if tied and untied:
        here, there = reference.figures(untied), candidate.figures(untied)
        apart = {name: there[name] - here[name] for name in wanted}
    failed = (*in_order(tally.not_run, names), *in_order(tally.misshapen, names))
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
