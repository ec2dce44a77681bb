"""Run the legs over labelled pictures, and hold their figures and their decisions against each other."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from onnxproof.contract import ClassInfo
from onnxproof.errors import JobError, PictureError
from onnxproof.progress import Progress, silent
from onnxproof.runtime.preprocess import Transform
from onnxproof.runtime.tasks import get_task
from onnxproof.validate.cases import Case, native_case
from onnxproof.validate.dataset.figures import DatasetFigures, Figure
from onnxproof.validate.dataset.labels import KEY, LabelledPicture, Labels, read_labels
from onnxproof.validate.dataset.metrics import MEASURES, NEEDS, Measure, require_coco
from onnxproof.validate.facts import Answer, Contract, Facts, FileContract
from onnxproof.validate.legs import OrtLeg, Truth
from onnxproof.validate.sweep import sweep

SCORE_THRESHOLD = 0.01
"""Above which a detection counts for mAP, unless the job's threshold is lower: as in YOLOX's evaluation (Ge
et al. 2021, its reference code). At a threshold for use, 0.45 say, the curve of precision over recall would
end where the threshold cuts it, and the figure would be the threshold's."""

CUT_BY_SCORE = ("detection", "instance_segmentation")
"""Tasks whose figures take in decisions below the job's threshold."""


def plan_labels(
    annotations: str | None,
    folder: Path,
    pictures: Sequence[Path],
    contract: Contract,
    classes: Sequence[ClassInfo],
) -> Labels | None:
    """The labelled pictures that a job names in ``validate.annotations``, None where it names none.

    ``folder`` is where that path starts; ``pictures`` are the job's, in whose folders labelled ones are
    looked for too. Needs no tensor. Raises JobError where the model cannot be measured on pictures, and as
    ``read_labels`` does; RequestError where pycocotools is needed and not installed.
    """
    if annotations is None:
        return None
    if contract.task not in MEASURES:
        raise JobError(
            f'{KEY} = "{annotations}": the task {contract.task} is not measured on labelled pictures; those '
            f"that are: {', '.join(sorted(MEASURES))}. Leave the key out"
        )
    others = [
        spec.name
        for spec in contract.inputs
        if contract.preprocess is None or spec.name != contract.preprocess.input
    ]
    if others:
        raise JobError(
            f'{KEY} = "{annotations}": the model takes {", ".join(others)} besides a picture, and a COCO '
            "JSON tells pictures alone; leave the key out"
        )
    if contract.task in NEEDS:
        require_coco()
    folders = list(dict.fromkeys(picture.parent for picture in pictures))
    file = folder / Path(annotations).expanduser()
    return read_labels(annotations, file, folders, classes, NEEDS.get(contract.task, ()))


def measure_dataset(
    contract: Contract,
    truth: Truth,
    candidates: Sequence[OrtLeg],
    labels: Labels,
    *,
    progress: Progress = silent,
) -> tuple[DatasetFigures, ...]:
    """The figures of each candidate beside the reference's, and the findings between the two.

    Each picture is a case, laid in as ``predict`` does; what is decided is taken back to its own pixels. For
    detections the score threshold is lowered to SCORE_THRESHOLD; NMS cuts where the job says. Raises
    PictureError where a picture cannot be read, or is not of the size that it is labelled for, CheckError
    where PyTorch cannot run one.
    """
    lowered = _lowered(contract)
    shown = {case.name: (case, picture, transform) for case, picture, transform in _shown(labels, lowered)}
    task, post = get_task(lowered.task), lowered.postprocess
    measures: list[Measure] = [MEASURES[lowered.task](labels) for _ in (truth.reference, *candidates)]
    decided = 0

    def decisions_on(case: Case, answer: Answer) -> Any:
        return task.decide(task.evidence(answer.outputs, case.sizes, post, answer.margins)[0], post)

    def watch(case: Case, wanted: Answer, found: Sequence[Answer | None]) -> None:
        nonlocal decided
        _, picture, transform = shown[case.name]
        decided += task.count(decisions_on(case, wanted))
        for measure, answer in zip(measures, (wanted, *found), strict=True):
            decisions = None if answer is None else task.restore(decisions_on(case, answer), transform)
            measure.add(picture, decisions)

    cases = tuple(case for case, _, _ in shown.values())
    swept = sweep(lowered, truth, candidates, cases, progress=progress, watch=watch)
    return tuple(
        _figures(facts, labels, tuple(shown), decided, measures[0], measure, lowered)
        for facts, measure in zip(swept, measures[1:], strict=True)
    )


def _lowered(contract: Contract) -> FileContract:
    post = dict(contract.postprocess)
    if contract.task in CUT_BY_SCORE:
        post["score_threshold"] = min(post["score_threshold"], SCORE_THRESHOLD)
    return replace(FileContract.of(contract), postprocess=post)


def _shown(labels: Labels, contract: Contract) -> Iterator[tuple[Case, LabelledPicture, Transform]]:
    """A case for each picture, in the pictures' order, with how it is laid in; names tell pictures apart."""
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
    facts: Facts,
    labels: Labels,
    names: Sequence[str],
    decided: int,
    reference: Measure,
    candidate: Measure,
    contract: Contract,
) -> DatasetFigures:
    decisions = facts.decisions
    assert decisions is not None
    everything = range(len(names))
    tied = {located.case for located in decisions.ties}
    untied = [number for number in everything if names[number] not in tied]
    wanted, found = reference.figures(everything), candidate.figures(everything)
    apart = {name: found[name] - wanted[name] for name in wanted}
    if tied and untied:
        here, there = reference.figures(untied), candidate.figures(untied)
        apart = {name: there[name] - here[name] for name in wanted}
    failed = (*facts.not_run, *facts.misshapen)
    return DatasetFigures(
        leg=facts.leg,
        pictures=len(names),
        annotations=labels.count,
        decided=decided,
        untied=len(untied),
        score_threshold=contract.postprocess["score_threshold"] if contract.task in CUT_BY_SCORE else None,
        figures=tuple(Figure(name, wanted[name], found[name], apart[name]) for name in wanted),
        matched=decisions.matched,
        ties=decisions.ties,
        defects=decisions.defects,
        not_answered=f"{failed[0].case}: {failed[0].reason}" if failed else None,
    )
