"""The pictures that a budget is judged on, and what the reference decides there, for any number of files."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from onnxproof.contract import Contract
from onnxproof.errors import JobError, RequestError
from onnxproof.progress import Progress, silent
from onnxproof.runtime.archive import sha256_of
from onnxproof.runtime.preprocess import Transform
from onnxproof.runtime.tasks import get_task
from onnxproof.validate.budget.drift import BOX, DEPENDENT, SCORE, TASKS, drift_of
from onnxproof.validate.budget.figures import BudgetFigures, BudgetTally, Quality
from onnxproof.validate.cases import Case, materialise, native_case
from onnxproof.validate.dataset.labels import LabelledPicture, Labels
from onnxproof.validate.dataset.metrics import MEASURES, Measure
from onnxproof.validate.dataset.run import NamedPicture, labelled_case, lowered_contract
from onnxproof.validate.facts import Failure
from onnxproof.validate.legs.leg import Answer, Arrays, Leg
from onnxproof.validate.policy import DecisionBudget

MOST_KEPT_BYTES = 2**28
"""How many bytes of prepared pictures are kept for the next file. The others are prepared again."""


TINY = 1e-9
"""Stands for a limit of 0 where something is divided by it."""


@dataclass(frozen=True, slots=True, eq=False)
class Question:
    """A picture, as ``predict`` prepares it, and its labels if it has any."""

    case: Case
    transform: Transform
    labelled: LabelledPicture | None


@dataclass(frozen=True, slots=True, eq=False)
class Asked:
    """A question and the reference's decisions there, with the job's threshold and with that of mAP."""

    question: Question
    decided: Any
    ranked: Any


def require_counted(contract: Contract) -> None:
    """Raise JobError if the decisions of the contract's task are not counted, or if it takes no pictures."""
    if contract.task not in TASKS or contract.preprocess is None:
        what = "takes no pictures" if contract.preprocess is None else "is not one of them"
        raise JobError(
            f"a decision budget counts the decisions on pictures of the tasks {', '.join(TASKS)}; this "
            f"{contract.task} model {what}"
        )


def questions_of(
    contract: Contract,
    pictures: Sequence[Path],
    labels: Labels | None,
    calibrated: Mapping[str, str] = MappingProxyType({}),
) -> tuple[Question, ...]:
    """A question for each picture, named or labelled; of equal files the first counts. Opens every one, and
    runs nothing.

    ``calibrated`` has the names of the pictures that calibrated the file, by their SHA-256. Raises
    RequestError if one of them is asked, PictureError if a picture cannot be read or has another size than
    its labels state, JobError as ``require_counted`` does or if there is no picture.
    """
    require_counted(contract)
    assert contract.preprocess is not None
    labelled = {sha256_of(one.file): one for one in (() if labels is None else labels.pictures)}
    files = {
        sha256_of(file): file for file in reversed((*pictures, *(one.file for one in labelled.values())))
    }
    if not files:
        raise JobError("a decision budget is judged on pictures: name some in validate.images")
    _refuse_seen(files, calibrated)
    found, taken = [], set[str]()
    for number, (content, file) in enumerate(reversed(files.items())):
        name = f"{number}-{file.name}" if file.name in taken else file.name
        taken.add(name)
        label = labelled.get(content)
        if label is None:
            case, transform = native_case(file, contract.preprocess, contract.dims)
        else:
            case, transform = labelled_case(NamedPicture(name, label), contract)
        found.append(Question(replace(case, name=name), transform, label))
    return tuple(found)


def _refuse_seen(judged: Mapping[str, Path], calibrated: Mapping[str, str]) -> None:
    """Raise RequestError if one of the ``judged`` pictures also calibrated the file."""
    both = [(file, calibrated[found]) for found, file in judged.items() if found in calibrated]
    if both:
        file, other = both[0]
        raise RequestError(
            f"{len(both)} of the pictures that judge the file also calibrated it, such as {file} "
            f"({other} in precision.images): judge it on others, in validate.images"
        )


def contents_of(pictures: Iterable[Path]) -> dict[str, str]:
    """The names of pictures by the SHA-256 of their files."""
    return {sha256_of(file): file.name for file in pictures}


class Exam:
    """What the reference decides on the questions. Files are held against it one after the other."""

    def __init__(
        self,
        contract: Contract,
        reference: Leg,
        questions: Sequence[Question],
        classes: tuple[str, ...],
        *,
        progress: Progress = silent,
    ) -> None:
        """Runs the reference once on each picture. Raises whatever it raises."""
        self.contract, self.name = contract, reference.name
        self._lowered, self._classes = lowered_contract(contract), classes
        self._inputs: dict[str, Arrays] = {}
        self._bytes = 0
        self._asked: list[Asked] = []
        self._quality: Measure | None = None
        labelled = any(one.labelled is not None for one in questions)
        if labelled and contract.task in MEASURES:
            self._quality = MEASURES[contract.task](Labels((), classes))
        for done, question in enumerate(questions):
            progress("reference", done, len(questions))
            answer = reference.run(self.inputs_of(question))
            asked = Asked(question, *self._decisions(question, answer))
            self._asked.append(asked)
            _mark(self._quality, question, asked.ranked)

    def inputs_of(self, question: Question) -> Arrays:
        """The arrays of a question, by input name."""
        case = question.case
        if case.name in self._inputs:
            return self._inputs[case.name]
        arrays = materialise(case, self.contract.inputs, self.contract.preprocess)
        self._bytes += sum(array.nbytes for array in arrays.values())
        if self._bytes <= MOST_KEPT_BYTES:
            self._inputs[case.name] = arrays
        return arrays

    def first_inputs(self) -> Arrays:
        """The inputs of the first question."""
        return self.inputs_of(self._asked[0].question)

    def take(self, candidate: Leg, *, progress: Progress = silent, only: int | None = None) -> BudgetFigures:
        """What a file does beside the reference, on all questions or on the first ``only``."""
        tally, failures, broken = BudgetTally(), list[Failure](), list[str]()
        quality: Measure | None = None
        if self._quality is not None and only is None:
            quality = MEASURES[self.contract.task](Labels((), self._classes))
        for done, asked in enumerate(self._asked[:only]):
            progress(candidate.name, done, len(self._asked))
            name = asked.question.case.name
            try:
                answer = candidate.run(self.inputs_of(asked.question))
            except Exception as error:  # noqa: BLE001
                # ONNX Runtime's exceptions have no common base below Exception.
                failures.append(Failure(name, str(error).strip().partition("\n")[0]))
                _mark(quality, asked.question, None)
                continue
            if not all(
                np.isfinite(array).all() for array in answer.outputs.values() if array.dtype.kind == "f"
            ):
                broken.append(name)
            decided, ranked = self._decisions(asked.question, answer)
            tally = tally.add(name, drift_of(asked.decided, decided, self.contract.task))
            _mark(quality, asked.question, ranked)
        return BudgetFigures(
            leg=candidate.name,
            reference=self.name,
            tally=tally,
            dependent=self.contract.task in DEPENDENT,
            quality=() if quality is None else self._compared(quality),
            not_run=tuple(failures),
            not_finite=tuple(broken),
        )

    def weigh(self, candidate: Leg, budget: DecisionBudget) -> float:
        """What a file costs, as a number to rank files by; infinite if it does not answer.

        The sum over all questions of the share of decisions that changed, and of the squares of how far a box
        and a score moved, in units of the budget.
        """
        limits = {BOX: budget.box_px, SCORE: budget.score}
        cost = 0.0
        for asked in self._asked:
            try:
                answer = candidate.run(self.inputs_of(asked.question))
            except Exception:  # noqa: BLE001
                return np.inf
            drift = drift_of(asked.decided, self._decisions(asked.question, answer)[0], self.contract.task)
            cost += (drift.missing + drift.extra + drift.flipped) / max(drift.decisions, 1)
            cost += sum((far / max(limits[name], TINY)) ** 2 for name, far in drift.moved.items())
        return cost

    def _decisions(self, question: Question, answer: Answer) -> tuple[Any, Any]:
        task, sizes = get_task(self.contract.task), question.case.sizes
        reading, lowered = self.contract.reading, self._lowered.reading
        evidence = task.evidence(answer.outputs, sizes, reading, answer.margins)[0]
        decided = task.decide(evidence, reading)
        if question.labelled is None:
            return decided, None
        again = task.evidence(answer.outputs, sizes, lowered, answer.margins)[0]
        return decided, task.restore(task.decide(again, lowered), question.transform)

    def _compared(self, quality: Measure) -> tuple[Quality, ...]:
        assert self._quality is not None
        every = range(sum(asked.question.labelled is not None for asked in self._asked))
        wanted, found = self._quality.figures(every), quality.figures(every)
        return tuple(Quality(name, wanted[name], found[name]) for name in wanted)


def _mark(measure: Measure | None, question: Question, ranked: Any) -> None:
    if measure is not None and question.labelled is not None:
        measure.add(question.labelled, ranked)
