"""The job of a module that is given in Python, not by a checkpoint."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from onnxproof.job.document import override
from onnxproof.job.tables import Job

FAMILY = "module"


def module_job(
    name: str,
    *,
    inputs: Mapping[str, Any],
    dims: Mapping[str, str | int],
    arguments: Mapping[str, Any],
    task: str,
    picture: str | None,
    classes: Sequence[str],
    set: Sequence[str],
    source: str,
) -> Job:
    """The job that the arguments of a function state; ``export_module`` says what they are.

    ``source`` names the function in errors. Raises JobError if a value does not fit the schema.
    """
    document: dict[str, Any] = {
        "name": name,
        "model": {"family": FAMILY, "task": task},
        "inputs": dict(inputs),
        "arguments": dict(arguments),
        "dims": dict(dims),
        "predict": {},
    }
    if picture is not None:
        document["predict"]["input"] = picture
    if classes:
        document["model"]["classes"] = list(classes)
    return Job.from_document(override(document, set), folder=Path(), source=source)
