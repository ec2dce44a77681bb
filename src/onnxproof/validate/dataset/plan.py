"""The labelled pictures that a job names, checked before anything runs."""

from collections.abc import Sequence
from pathlib import Path

from onnxproof.contract import Contract
from onnxproof.errors import JobError
from onnxproof.validate.dataset.labels import KEY, Labels, read_labels
from onnxproof.validate.dataset.metrics import MEASURES, NEEDS
from onnxproof.validate.dataset.pycoco import require_coco


def plan_labels(
    annotations: str | None,
    folder: Path,
    pictures: Sequence[Path],
    contract: Contract,
) -> Labels | None:
    """The labelled pictures that a job names in ``validate.annotations``; None if it names none.

    That path is relative to ``folder``. Labelled pictures are looked for beside the JSON and in the folders
    of ``pictures``, which are the job's. Needs no tensor. Raises JobError if the model cannot be measured on
    labelled pictures, RequestError if pycocotools is needed and not installed, and as ``read_labels`` does.
    """
    if annotations is None:
        return None
    if contract.task not in MEASURES:
        raise JobError(
            f'{KEY} = "{annotations}": the task {contract.task} is not measured on labelled pictures; tasks '
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
            "JSON names only pictures; leave the key out"
        )
    if contract.task in NEEDS:
        require_coco()
    folders = list(dict.fromkeys(picture.parent for picture in pictures))
    file = folder / Path(annotations).expanduser()
    return read_labels(annotations, file, folders, contract.classes, NEEDS.get(contract.task, ()))
