"""The weights that lie in files beside a model."""

import os
from pathlib import Path

from onnxproof.errors import ModelFileError
from onnxproof.runtime.archive import ALLOW
from onnxproof.runtime.look import Look


def require_data(file: Path, look: Look) -> None:
    """Raise ModelFileError if a file with weights lies outside of the model's folder, is missing, may not be
    read, or has fewer bytes than they take."""
    for location, end in look.data.items():
        data = file.parent / location
        if leaves_folder(location):
            raise ModelFileError(
                f"{file} names {location} for its weights, which is outside of its folder and is not read: "
                "save the model again with its weights beside it"
            )
        if not data.is_file():
            raise ModelFileError(
                f"{data} is missing: it has the weights of {file.name}, and the two belong together; copy it "
                "beside that file, or export the model again"
            )
        if not os.access(data, os.R_OK):
            raise ModelFileError(f"{data} cannot be read (Permission denied): {ALLOW}")
        size = data.stat().st_size
        if size < end:
            raise ModelFileError(
                f"{data} is cut off: it has {size} bytes, and the weights of {file.name} take {end}; copy it "
                "again from where it is whole, or export the model again"
            )


def leaves_folder(location: str) -> bool:
    """Whether a location of external data is absolute, or above the model's folder."""
    parts = location.replace("\\", "/").split("/")
    return Path(location).is_absolute() or parts[0] == "" or ".." in parts
