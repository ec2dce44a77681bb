"""The weights that lie in files beside a model."""

import os
from dataclasses import dataclass
from pathlib import Path

from onnxproof.errors import ModelFileError
from onnxproof.runtime.archive import ALLOW
from onnxproof.runtime.look import Look
from onnxproof.system.disk import not_there

AGAIN = "copy it again from where it is whole, or export the model again"


@dataclass(frozen=True, slots=True)
class Fault:
    """Why weights cannot, or must not, be read: what is wrong, and what to do."""

    what: str
    do: str


def require_data(file: Path, look: Look) -> None:
    """Raise ModelFileError if a file with weights lies outside of the model's folder, is missing, may not be
    read, or has fewer bytes than they take."""
    for location, end in look.data.items():
        fault = fault_at(file.parent, location, end) or led_out(file, location)
        if fault is not None:
            raise ModelFileError(f"the weights of {file} cannot be read: {fault.what}: {fault.do}")


def fault_at(folder: Path, location: str, end: int) -> Fault | None:
    """What is wrong with weights that take the first ``end`` bytes of a file; None if nothing is.

    ``location`` is how a model in ``folder`` names that file.
    """
    data = folder / location
    if not location:
        return Fault("the model names no file for them", "export the model again")
    if _leaves(location):
        return _outside(location)
    if not os.path.lexists(data):
        return Fault(f"{data} is missing", "copy it beside the model, or export the model again")
    if not data.is_file():
        return Fault(f"{data} {not_there(data)}", "put the weights there, or export the model again")
    if not os.access(data, os.R_OK):
        return Fault(f"{data} cannot be read (Permission denied)", ALLOW)
    size = data.stat().st_size
    if size < end:
        return Fault(f"{data} is cut off: it has {size} bytes, and the weights take {end}", AGAIN)
    return None


def led_out(file: Path, location: str) -> Fault | None:
    """What is wrong with a link in a model's place for weights; None if it leads to no other folder.

    If the model is a link itself, as in Hugging Face's cache, its weights may lie where it leads to, as for
    ONNX Runtime.
    """
    data = (file.parent / location).resolve()
    inside = any(data.is_relative_to(folder) for folder in (file.parent.resolve(), file.resolve().parent))
    return None if inside else _outside(location)


def _leaves(location: str) -> bool:
    """Whether a location is absolute, on some machine, or above the model's folder."""
    parts = location.replace("\\", "/").split("/")
    return parts[0] == "" or parts[0][1:2] == ":" or ".." in parts


def _outside(location: str) -> Fault:
    return Fault(
        f"the model names {location}, which is outside of its folder",
        "save the model again with its weights beside it",
    )
