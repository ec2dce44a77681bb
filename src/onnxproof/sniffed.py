"""Tell by how a file begins whether it may be a checkpoint, and what it is if it is none."""

import zipfile
from pathlib import Path

from onnxproof.errors import CheckpointError
from onnxproof.shards import parts_of
from onnxproof.system.begins import (
    COMPRESSED,
    GGUF,
    HDF5,
    LFS_POINTER,
    NUMPY,
    SAFETENSORS_HEADER,
    WEB_PAGES,
)
from onnxproof.system.damaged import ARCHIVE_ERRORS

SAFETENSORS = ".safetensors"
ZIP = b"PK"
PICKLES = (ZIP, b"\x80")
"""How files of ``torch.save`` begin: as a ZIP archive, or before PyTorch 1.6 as a pickle (protocol 2)."""
TAR = slice(257, 262)
"""Where a tar archive has its mark (POSIX ustar)."""

MOST_SNIFFED = 512
SHOWN = 2
"""How many names a message spells out."""

WEB_PAGE = "it is a web page: the download gave an error or a login page; download it again"
TEXTS = {
    LFS_POINTER: "it is a Git LFS pointer, not the file: run git lfs pull",
    **dict.fromkeys(WEB_PAGES, WEB_PAGE),
}
"""How texts begin, in lower case, that people take for a checkpoint, and what they are."""

UNPACK = "unpack it, and give the checkpoint in it"
OTHERS = {
    HDF5: "it is an HDF5 file, as Keras and TensorFlow write it: only PyTorch's checkpoints are read",
    GGUF: "it is a GGUF file, as llama.cpp reads it: give the checkpoint that it was converted from",
    NUMPY: "it is a single NumPy array: save all arrays by name, numpy.savez(path, **arrays)",
    **{begins: f"it is compressed ({form}): {UNPACK}" for begins, form in COMPRESSED.items()},
}
"""The same for other files."""

MISNAMED = "it is a file of torch.save, and is named as safetensors: name it *.pt"

SUFFIXES = {
    ".onnx": "it is an ONNX file: onnxproof check MODEL.onnx --against CHECKPOINT judges one",
    ".pb": "it is a file of TensorFlow: only PyTorch's checkpoints are read",
    ".index": "it is a file of TensorFlow: only PyTorch's checkpoints are read",
}
"""What a file is by its suffix, if it begins as no checkpoint does."""

ENDS_EARLY = "it ends too early"
NO_PYTORCH_FILE = "it is no PyTorch file"


def refuse_other_files(checkpoint: Path) -> None:
    """Raise CheckpointError if a checkpoint's file is missing or begins as no checkpoint does."""
    for part in parts_of(checkpoint):
        if part.is_file():
            other = other_than_a_checkpoint(part)
            if other is not None:
                raise unread(part, other)


def is_safetensors(file: Path) -> bool:
    """Whether a file is read as safetensors: by how it begins, or else by its suffix."""
    start = _start(file)
    if start.startswith(ZIP):
        return False
    return start[SAFETENSORS_HEADER] == b'{"' or file.suffix.lower() == SAFETENSORS


def other_than_a_checkpoint(file: Path) -> str | None:
    """What a file is, by how it begins, if it is no checkpoint. Returns None if it may be one."""
    start = _start(file)
    text = start.lstrip().lower()
    told = [says for begins, says in TEXTS.items() if text.startswith(begins)]
    told += [says for begins, says in OTHERS.items() if start.startswith(begins)]
    if told:
        return told[0]
    if not start:
        return ENDS_EARLY
    if start.startswith(ZIP):
        return _other_archive(file)
    if start[TAR] == b"ustar":
        return f"it is a tar archive: {UNPACK}"
    if is_safetensors(file) or start.startswith(PICKLES):
        return None
    return SUFFIXES.get(file.suffix.lower(), NO_PYTORCH_FILE)


def _start(file: Path) -> bytes:
    with file.open("rb") as stream:
        return stream.read(MOST_SNIFFED)


def _other_archive(file: Path) -> str | None:
    """What a ZIP archive is, if it is no checkpoint."""
    if not zipfile.is_zipfile(file):
        return ENDS_EARLY
    try:
        with zipfile.ZipFile(file) as archive:
            names = archive.namelist()
    except ARCHIVE_ERRORS:
        return None  # who reads it says what is wrong
    if any(name.endswith(("data.pkl", ".npy")) for name in names):
        return MISNAMED if file.suffix.lower() == SAFETENSORS else None  # torch.load goes by that suffix
    if any("exported_program" in name or name.endswith("archive_format") for name in names):
        return (
            "it is a program of torch.export: save its weights, "
            "torch.save(torch.export.load(path).state_dict, other)"
        )
    more = ", …" if len(names) > SHOWN else ""
    return f"it is a ZIP archive of other files ({', '.join(names[:SHOWN])}{more}): {UNPACK}"


def unread(file: Path, reason: str) -> CheckpointError:
    """What to say of a checkpoint that a reader refused: what the file is instead, or the reader's reason."""
    other = other_than_a_checkpoint(file)
    said = f"checkpoint {file} cannot be read ({other or reason})"
    if other not in (None, ENDS_EARLY, NO_PYTORCH_FILE):
        return CheckpointError(said)
    return CheckpointError(
        f"{said}: is it whole, and a state dict that was saved with torch.save(model.state_dict(), path) or "
        "safetensors?"
    )
