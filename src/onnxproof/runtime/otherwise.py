"""Tell what a file is that was given in place of a model, by how it begins."""

import io
import zipfile
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from onnxproof.runtime.archive import FIRST
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

MODEL_ADVICE = "give a bundle (the folder that export wrote) or an .onnx file"

UNPACK = "unpack it, and give what is in it"
POINTER = "a Git LFS pointer: run git lfs pull"
PAGE = "a web page: the download gave an error or a login page; download the file again"

FLAT = slice(4, 8)
"""Where a file of FlatBuffers has its mark."""

BEGINS: Mapping[bytes, str] = MappingProxyType(
    {
        NUMPY: "an array (.npy)",
        b"\x80": "a pickle, such as a checkpoint",
        b"\x89PNG": "a picture",
        b"\xff\xd8\xff": "a picture",
        b"GIF8": "a picture",
        b"RIFF": "a picture or a video",
        b"II*\0": "a picture",
        b"MM\0*": "a picture",
        b"BM": "a picture",
        b"%PDF": "a PDF",
        HDF5: "an HDF5 file",
        GGUF: "a GGUF file",
        **{begins: f"compressed ({form}): {UNPACK}" for begins, form in COMPRESSED.items()},
    }
)
TEXTS: Mapping[bytes, str] = MappingProxyType({LFS_POINTER: POINTER, **dict.fromkeys(WEB_PAGES, PAGE)})
"""How texts begin, in lower case."""
NAMED: Mapping[str, str] = MappingProxyType(
    {".toml": "a job", ".json": "a JSON document", ".py": "Python code", ".md": "a page of text"}
)
"""What texts are by their suffix."""

MOST_READ = 512


def other_than_a_model(model: Path | bytes, name: str) -> str | None:
    """What the bytes are that ONNX Runtime could not read as a model, with what to do if that is not to give
    another file. Returns None if they may be a damaged model. ``name`` is the file's."""
    start = _start(model)
    if not start:
        return "an empty file"
    text = start.lstrip().lower()
    for begins, what in TEXTS.items():
        if text.startswith(begins):
            return what
    if start.startswith(FIRST):
        return _archive(model)
    for begins, what in BEGINS.items():
        if start.startswith(begins):
            return what
    if start[SAFETENSORS_HEADER] == b'{"':
        return "a file of safetensors"
    if start[FLAT] == b"TFL3":
        return "a model of TensorFlow Lite"
    return NAMED.get(Path(name).suffix.lower(), "a text") if _is_text(start) else None


def _start(model: Path | bytes) -> bytes:
    if isinstance(model, bytes):
        return model[:MOST_READ]
    with model.open("rb") as stream:
        return stream.read(MOST_READ)


def _archive(model: Path | bytes) -> str:
    try:
        with zipfile.ZipFile(io.BytesIO(model) if isinstance(model, bytes) else model) as archive:
            names = archive.namelist()
    except ARCHIVE_ERRORS:
        return "a ZIP archive that is damaged"
    if any(name.endswith(".npy") for name in names):
        return "an archive of arrays (.npz)"
    if any(name.endswith("data.pkl") for name in names):
        return "a checkpoint of torch.save"
    return f"a ZIP archive: {UNPACK}"


def _is_text(start: bytes) -> bool:
    """Whether bytes are text in UTF-8, cut off in a character at most."""
    try:
        text = start.decode()
    except UnicodeDecodeError as error:
        if len(start) < MOST_READ or error.start < len(start) - 4:
            return False
        text = start[: error.start].decode()
    return all(letter.isprintable() or letter.isspace() for letter in text)
