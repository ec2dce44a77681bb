"""A job as a bundle's documents tell it: with paths that start at the bundle."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from onnxproof.job.document import CODE, PATHS, assign, value_at
from onnxproof.job.tables import Job


def relocated(job: Job, target: Path) -> Mapping[str, Any]:
    """The job as a document whose paths are relative to the bundle.

    Links to folders on the way are resolved, because ".." goes up from the folder that a link names. The
    last name of a path is not: files that belong to a checkpoint lie beside the link to it.
    """
    document = job.to_json()
    start = os.path.realpath(target)
    for key in PATHS:
        path = value_at(document, key)
        if path is not None:
            assign(document, key, relative(start, job.resolve(path)))
    for key in CODE:
        file, colon, attribute = (value_at(document, key) or "").partition(":")
        if file.endswith(".py"):
            assign(document, key, f"{relative(start, job.resolve(file))}{colon}{attribute}")
    return document


def relative(start: str, path: Path) -> str:
    """A path as it is seen from the folder ``start``, of which links are resolved."""
    return os.path.relpath(Path(os.path.realpath(path.parent), path.name), start)
