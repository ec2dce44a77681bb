"""The metadata of an ONNX file, read without loading the model."""

import mmap
from pathlib import Path

from onnxproof.runtime.wire import NotReadError, Wire

METADATA_PROPS = 14
"""The field of ModelProto in onnx.proto; each is a StringStringEntryProto, with a key (1) and a value (2)."""


def metadata_in(file: Path) -> dict[str, str]:
    """The metadata of an ONNX file by key; empty if the file cannot be read, or is none."""
    if not file.is_file():
        return {}
    try:
        with file.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
            wire = Wire(data)
            entries = [(at, end) for number, at, end in wire.fields(0, len(data)) if number == METADATA_PROPS]
            return dict(_entry(wire, at, end) for at, end in entries if end >= 0)
    except (OSError, ValueError, IndexError, NotReadError):
        return {}


def _entry(wire: Wire, at: int, end: int) -> tuple[str, str]:
    parts = {
        number: bytes(wire.data[start:stop]) for number, start, stop in wire.fields(at, end) if stop >= 0
    }
    key, value = (parts.get(number, b"").decode("utf-8") for number in (1, 2))
    return key, value
