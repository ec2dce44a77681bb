"""Compare an ONNX file with the PyTorch model that it was made from, and say whether it decides alike."""

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from onnxproof.job import ValidateTable
from onnxproof.progress import Progress, silent
from onnxproof.validate.cases import find_pictures, plan
from onnxproof.validate.dataset.figures import DatasetFigures
from onnxproof.validate.dataset.run import measure_dataset, plan_labels
from onnxproof.validate.environment import PACKAGES, environment
from onnxproof.validate.hazards import Subject, Weights, advice, look_for_hazards, read_graph
from onnxproof.validate.judge import (
    Check,
    Verdict,
    conclude,
    judge,
    judge_dataset,
    ranks_of,
    second_looks,
)
from onnxproof.validate.legs import OrtLeg
from onnxproof.validate.sweep import sweep
from onnxproof.validate.torch_legs import torch_truth
from onnxproof.wrappers.family import WrappedModel


def validate_file(
    model: WrappedModel,
    file: Path,
    settings: ValidateTable,
    *,
    folder: Path,
    opset: int | None = None,
    target: str = "onnxruntime",
    extra_checks: Sequence[Check] = (),
    notes: Sequence[str] = (),
    progress: Progress = silent,
) -> Verdict:
    """Hold the ONNX file against the model on a planned sweep of cases.

    ``folder`` is where ``settings.images`` starts. Raises ModelFileError where the file cannot be
    loaded, PictureError where a picture cannot be read, CheckError where PyTorch cannot run a case.
    """
    (verdict,) = validate_files(
        model,
        (file,),
        settings,
        folder=folder,
        opset=opset,
        target=target,
        extra_checks=extra_checks,
        notes=notes,
        progress=progress,
    )
    return verdict


def validate_files(
    model: WrappedModel,
    files: Sequence[Path],
    settings: ValidateTable,
    *,
    folder: Path,
    opset: int | None = None,
    target: str = "onnxruntime",
    extra_checks: Sequence[Check] = (),
    notes: Sequence[str] = (),
    progress: Progress = silent,
) -> tuple[Verdict, ...]:
    """``validate_file`` for several files of one model, for which PyTorch runs once."""
    legs = [
        [OrtLeg(file, settings.providers, settings.threads, level) for level in settings.optimization]
        for file in files
    ]
    weights = Weights.of(model.module)
    hazards = [
        look_for_hazards(Subject(read_graph(file), file, target, opset, model, weights)) for file in files
    ]
    pictures = find_pictures(settings.images, folder)
    labels = plan_labels(settings.annotations, folder, pictures, model, model.classes)
    cases = plan(model.dims, model.preprocess, pictures, settings.effort, settings.seed)
    truth = torch_truth(model, cases[0], settings.threads)
    candidates = [leg for group in legs for leg in group]
    swept = iter(sweep(model, truth, candidates, cases, progress=progress))
    measured: Iterator[DatasetFigures] = iter(())
    if labels is not None:
        measured = iter(measure_dataset(model, truth, candidates, labels, progress=progress))
    ranked = ranks_of(model.fields)
    said = [*model.notes, *notes]
    if truth.oracle_missing is not None:
        said.append(
            f"the model does not run in float64 ({truth.oracle_missing}), so a fixed tolerance was used"
        )
    verdicts = []
    for file, found, group in zip(files, hazards, legs, strict=True):
        checks = [*extra_checks, *(entry.check for entry in found)]
        facts = tuple(next(swept) for _ in group)
        for one in facts:
            checks += judge(one, ranked)
        dataset = () if labels is None else tuple(next(measured) for _ in group)
        checks += map(judge_dataset, dataset)
        verdicts.append(
            Verdict(
                status=conclude(checks),
                checks=tuple(checks),
                facts=facts,
                cases=cases,
                notes=(*said, *second_looks(facts), *advice(found)),
                model_sha256=hashlib.sha256(file.read_bytes()).hexdigest(),
                environment=environment(settings, PACKAGES),
                dataset=dataset,
            )
        )
    return tuple(verdicts)
