"""NNCF's accuracy control, led by the share of decisions that a file keeps on the pictures that calibrate.

``precision.py`` runs it by an interpreter that has NNCF:

    python benchmarks/lowered/control.py JOB MODEL.onnx MADE.onnx
"""

import sys
from collections.abc import Iterable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import nncf  # type: ignore[import-not-found]
import onnx

from onnxproof.job import load_job
from onnxproof.job.asked import calibrating_of
from onnxproof.runtime.folder import read_manifest
from onnxproof.steps.budgeted import budget_of, opened
from onnxproof.validate.budget.exam import Exam, questions_of

RANKED = 12
"""On how many pictures NNCF ranks the layers; onnxproof's search takes as many."""


def main() -> None:
    job, file, made = load_job(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3])
    contract = read_manifest(file.parent).contract
    reference = opened(job, file)
    questions = questions_of(contract, calibrating_of(job), None)
    exams = [Exam(contract, reference, (one,), ()) for one in questions]

    def kept(model: onnx.ModelProto, numbers: Iterable[int]) -> tuple[float, None]:
        with TemporaryDirectory() as folder:
            tried = Path(folder) / "tried.onnx"
            onnx.save(model, tried)
            leg = opened(job, tried)
            tallies = [exams[number].take(leg).tally for number in numbers]
        decisions = sum(one.decisions for one in tallies)
        return 1.0 - sum(one.changed for one in tallies) / max(decisions, 1), None

    numbers = range(len(exams))
    given: dict[str, Any] = {}
    if job.model.family == "timm_classifier":
        given["model_type"] = nncf.ModelType.TRANSFORMER
    done = nncf.quantize_with_accuracy_control(
        onnx.load(file),
        nncf.Dataset(numbers, lambda number: dict(exams[number].first_inputs())),
        nncf.Dataset(numbers, lambda number: number),
        kept,
        max_drop=budget_of(job).changed,
        subset_size=len(exams),
        advanced_accuracy_restorer_parameters=nncf.AdvancedAccuracyRestorerParameters(
            ranking_subset_size=RANKED
        ),
        **given,
    )
    onnx.save(done, made)


if __name__ == "__main__":
    main()
