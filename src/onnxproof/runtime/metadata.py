"""The metadata of an ONNX file, read without loading the model."""

import mmap
from pathlib import Path

from onnxproof.errors import ModelFileError
from onnxproof.runtime.archive import in_archive, read_file
from onnxproof.runtime.wire import Buffer, NotReadError, Wire

METADATA_PROPS = 14
"""The field of ModelProto in onnx.proto; each is a StringStringEntryProto, with a key (1) and a value (2)."""


def metadata_in(file: Path) -> dict[str, str]:
    """The metadata of an ONNX file by key; empty if the file cannot be read, or is none."""
    try:
        if in_archive(file):
            return _entries(read_file(file))
        if not file.is_file():
            return {}
        with file.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return _entries(data)
    except (OSError, ValueError, IndexError, NotReadError, ModelFileError):
        return {}


def _entries(data: Buffer) -> dict[str, str]:
    wire = Wire(data)
    entries = [(at, end) for number, at, end in wire.fields(0, len(data)) if number == METADATA_PROPS]
    return dict(_entry(wire, at, end) for at, end in entries if end >= 0)


def _entry(wire: Wire, at: int, end: int) -> tuple[str, str]:
    parts = {
        number: bytes(wire.data[start:stop]) for number, start, stop in wire.fields(at, end) if stop >= 0
    }
    key, value = (parts.get(number, b"").decode("utf-8") for number in (1, 2))
    return key, value
