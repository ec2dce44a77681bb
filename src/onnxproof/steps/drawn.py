"""Draw what a file decides on a job's pictures."""

from collections.abc import Sequence
from pathlib import Path

from onnxproof.contract import Contract
from onnxproof.errors import RequestError
from onnxproof.job import Job
from onnxproof.progress import Progress
from onnxproof.runtime.drawings import drawing_names, save_drawing
from onnxproof.runtime.manifest import Manifest
from onnxproof.runtime.predictor import Predictor
from onnxproof.runtime.session import SessionSettings, open_session
from onnxproof.runtime.tasks import get_task
from onnxproof.system.files import explained
from onnxproof.system.folders import made_folder
from onnxproof.validate.verdict import Verdict
from onnxproof.wrappers.family import WrappedModel

FORM = ("runs", "interface")
"""The checks without which a file decides nothing."""


def require_drawable(contract: Contract) -> None:
    """Raise RequestError if a model decides nothing that could be drawn on a picture."""
    if contract.preprocess is None or len(contract.inputs) > 1 or not get_task(contract.task).decides:
        taken = ", ".join(f"{one.name} {one}" for one in contract.inputs)
        raise RequestError(
            f"--draw: the model takes {taken}, and its task is {contract.task}: only decisions on a picture "
            "alone are drawn; leave it out"
        )


def has_form(verdict: Verdict) -> bool:
    """Whether a file ran on every case and returned what the model does, so that it decides."""
    return all(check.status == "pass" for check in verdict.checks if check.name in FORM)


def draw_decisions(
    job: Job,
    model: WrappedModel,
    file: Path,
    pictures: Sequence[Path],
    folder: Path,
    progress: Progress,
) -> None:
    """Draw what a file with the model's interface decides on pictures, into ``folder``.

    Raises RequestError if a drawing cannot be written.
    """
    session = open_session(file, SessionSettings(tuple(job.validation.providers), job.validation.threads))
    manifest = Manifest(model.contract, model.family, job.export.opset, "elsewhere", "none", None)
    predictor = Predictor(session, manifest, model.contract)
    with explained(folder, "--draw"), made_folder(folder):
        for done, (picture, name) in enumerate(zip(pictures, drawing_names(pictures), strict=True)):
            progress("draw", done, len(pictures))
            save_drawing(predictor.predict(picture).draw(picture), folder / name)
    progress("draw", len(pictures), len(pictures))
