"""ONNX files whose large tensors stay on the disk: read without them, and written without a second copy.

In memory such a tensor is external data in ONNX's own sense. That of a file which holds all of its tensors
itself lies in that same file.
"""

import math
import mmap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import onnx
from onnx.external_data_helper import (
    ExternalDataInfo,
    load_external_data_for_tensor,
    uses_external_data,
)

from onnxproof.errors import ModelFileError
from onnxproof.runtime.folder import data_of
from onnxproof.runtime.wire import Buffer, NotReadError, Wire, WireError
from onnxproof.system.files import remove_own, replacing

LARGEST_WHOLE = 2**26
"""Bytes of a file that is read as a whole, with the tensors in it."""

LEAST_LEFT = 2**12
"""Bytes of a tensor that is left on the disk."""

LARGEST_FILE = 5 * 10**8
"""Bytes of tensors up to which a file holds them itself; those of a larger model are in a file beside it.

Protobuf, and so ONNX, ends at 2 GiB. Well before that, memory counts: while it loads, ONNX Runtime 1.31 takes
2.2 times the weights of convolutions that are in the file itself, and 1.2 times those beside it."""

ALIGNMENT = 2**12
"""Bytes. Tensors in a file of their own begin at a multiple: at a page, so that they can be mapped into
memory (onnx.proto, TensorProto.external_data)."""

WIDE_ALIGNMENT = 2**16
"""The same for tensors of ``WIDE`` bytes and more: Windows maps files at multiples of 64 KiB."""

WIDE = 2**20

CHUNK = 2**24
"""Bytes that are copied at once."""

GRAPH, INITIALIZER, RAW_DATA = 7, 5, 9
"""Numbers of fields in onnx.proto: of ModelProto, GraphProto and TensorProto."""


class _OtherwiseError(Exception):
    """The file is not laid out as protobuf lays it out."""


def read_leaving_tensors(file: Path) -> onnx.ModelProto:
    """The model of a file. Its large tensors are external data of the file itself, if it holds them.

    A small file is read as a whole. External data beside it is not read. Raises what ``onnx.load`` raises.
    """
    if file.stat().st_size > LARGEST_WHOLE:
        try:
            with file.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
                return _without_tensors(data, len(data), file.name)
        except (WireError, NotReadError, _OtherwiseError):
            pass  # onnx.load reads it, or tells what is wrong
    return onnx.load(file, load_external_data=False)


def _without_tensors(data: Buffer, size: int, name: str) -> onnx.ModelProto:
    wire = Wire(data)
    graphs = [(start, stop) for number, start, stop in wire.fields(0, size) if number == GRAPH and stop >= 0]
    if len(graphs) != 1:
        raise _OtherwiseError
    ((start, stop),) = graphs
    left: list[tuple[int, int, int]] = []
    parts: list[bytes] = []
    at, count = start, 0
    for number, first, last in wire.fields(start, stop):
        if number != INITIALIZER or last < 0:
            continue
        raw = next((one for one in wire.fields(first, last) if one[0] == RAW_DATA and one[2] >= 0), None)
        if raw is not None and raw[2] - raw[1] >= LEAST_LEFT:
            head = data[first : _head(data, RAW_DATA, raw[1], raw[2])]
            rest = head + data[raw[2] : last]
            parts += (data[at : _head(data, INITIALIZER, first, last)], _field(INITIALIZER, len(rest)), rest)
            left.append((count, raw[1], raw[2] - raw[1]))
            at = last
        count += 1
    graph = b"".join((*parts, data[at:stop]))
    before = data[: _head(data, GRAPH, start, stop)]
    proto = onnx.ModelProto()
    proto.ParseFromString(b"".join((before, _field(GRAPH, len(graph)), graph, data[stop:size])))
    for index, offset, length in left:
        set_place(proto.graph.initializer[index], name, offset, length)
    return proto


def set_place(tensor: onnx.TensorProto, location: str, offset: int, length: int) -> None:
    """Make a tensor external data."""
    tensor.ClearField("raw_data")
    del tensor.external_data[:]
    tensor.data_location = onnx.TensorProto.EXTERNAL
    for key, value in (("location", location), ("offset", str(offset)), ("length", str(length))):
        tensor.external_data.add(key=key, value=value)


def _head(data: Buffer, number: int, start: int, stop: int) -> int:
    """Where a field begins whose bytes are ``data[start:stop]``. Raises _OtherwiseError if its length is not
    written in as few bytes as it takes."""
    head = _field(number, stop - start)
    if data[start - len(head) : start] != head:
        raise _OtherwiseError
    return start - len(head)


def _field(number: int, length: int) -> bytes:
    """The beginning of a field that holds so many bytes."""
    return _varint(number << 3 | 2) + _varint(length)


def _varint(value: int) -> bytes:
    parts = bytearray()
    while value > 127:
        parts.append(value & 127 | 128)
        value >>= 7
    return bytes((*parts, value))


def left_on_disk(proto: onnx.ModelProto) -> bool:
    """Whether a tensor of the model is external data."""
    return any(map(uses_external_data, proto.graph.initializer))


def tensor_bytes(tensor: onnx.TensorProto) -> int:
    """How many bytes a tensor takes in its file."""
    if uses_external_data(tensor):
        length = ExternalDataInfo(tensor).length
        kind = onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type)
        return int(math.prod(tensor.dims) * kind.itemsize) if length is None else int(length)
    return len(tensor.raw_data) if tensor.HasField("raw_data") else int(tensor.ByteSize())


def read_captured(file: Path) -> onnx.ModelProto:
    """The model that an exporter wrote, with its large tensors left on the disk and the small ones inside.

    Exporters leave out small tensors, too, and what is computed of sizes needs those.
    """
    proto = read_leaving_tensors(file)
    for tensor in proto.graph.initializer:
        if uses_external_data(tensor) and tensor_bytes(tensor) < LEAST_LEFT:
            load_external_data_for_tensor(tensor, str(file.parent))
            tensor.ClearField("data_location")
            del tensor.external_data[:]
    return proto


@dataclass(frozen=True, slots=True)
class _Source:
    """The place of a tensor's bytes, in a file or in memory."""

    file: Path | None
    offset: int
    length: int
    content: bytes = b""

    @classmethod
    def of(cls, tensor: onnx.TensorProto, folder: Path) -> "_Source":
        if not uses_external_data(tensor):
            return cls(None, 0, len(tensor.raw_data), tensor.raw_data)
        info = ExternalDataInfo(tensor)
        return cls(folder / info.location, int(info.offset or 0), tensor_bytes(tensor))

    def chunks(self) -> Iterator[bytes]:
        """The bytes, some at a time. Raises ModelFileError if the file ends too early."""
        if self.file is None:
            yield self.content
            return
        left = self.length
        with self.file.open("rb") as stream:
            stream.seek(self.offset)
            while left:
                chunk = stream.read(min(left, CHUNK))
                if not chunk:
                    raise ModelFileError(f"{self.file} ends {left} bytes before its last tensor does")
                left -= len(chunk)
                yield chunk


def write_model_file(proto: onnx.ModelProto, folder: Path, file: Path) -> None:
    """Write a model, of which ``folder`` has the external data.

    The file holds its tensors itself if they take at most ``LARGEST_FILE`` bytes. If they take more, the
    large ones are in the file beside it that ``data_of`` names. The same model gives the same bytes. Each
    file is written whole or not at all. Raises OSError.
    """
    beside = data_of(file)
    if sum(map(tensor_bytes, proto.graph.initializer)) > LARGEST_FILE:
        placed = onnx.ModelProto()
        placed.CopyFrom(proto)
        _write_data(placed, folder, beside)
        with replacing(file) as stream:
            stream.write(placed.SerializeToString(deterministic=True))
        return
    with replacing(file) as stream:
        if left_on_disk(proto):
            _write_whole(proto, folder, stream)
        else:
            stream.write(proto.SerializeToString(deterministic=True))
    remove_own(beside)  # of a graph that was tried before


def _write_data(proto: onnx.ModelProto, folder: Path, beside: Path) -> None:
    """Write the large tensors into a file, and make them its external data."""
    at = 0
    with replacing(beside) as stream:
        for tensor in proto.graph.initializer:
            if not uses_external_data(tensor) and not tensor.HasField("raw_data"):
                continue
            source = _Source.of(tensor, folder)
            if source.length < LEAST_LEFT and not uses_external_data(tensor):
                continue
            gap = -at % (WIDE_ALIGNMENT if source.length >= WIDE else ALIGNMENT)
            stream.write(bytes(gap))
            for chunk in source.chunks():
                stream.write(chunk)
            at += gap
            set_place(tensor, beside.name, at, source.length)
            at += source.length


def _write_whole(proto: onnx.ModelProto, folder: Path, stream: BinaryIO) -> None:
    """Write a model with all of its tensors inside, as protobuf writes it."""
    tensors = [_Written.of(tensor, folder) for tensor in proto.graph.initializer]
    head, tail = _around(proto.graph, INITIALIZER)
    inside = sum(len(_field(INITIALIZER, one.size)) + one.size for one in tensors)
    before, after = _around(proto, GRAPH)
    stream.write(before + _field(GRAPH, len(head) + inside + len(tail)) + head)
    for one in tensors:
        stream.write(_field(INITIALIZER, one.size) + one.head)
        for chunk in one.source.chunks() if one.source is not None else ():
            stream.write(chunk)
        stream.write(one.tail)
    stream.write(tail + after)


@dataclass(frozen=True, slots=True)
class _Written:
    """A tensor as protobuf writes it: ``head``, then the bytes of ``source`` if it has one, then ``tail``."""

    head: bytes
    source: _Source | None
    tail: bytes

    @classmethod
    def of(cls, tensor: onnx.TensorProto, folder: Path) -> "_Written":
        if not uses_external_data(tensor):
            return cls(tensor.SerializeToString(deterministic=True), None, b"")
        own = onnx.TensorProto()
        own.CopyFrom(tensor)
        own.ClearField("external_data")
        own.ClearField("data_location")
        source = _Source.of(tensor, folder)
        head, tail = _around(own, RAW_DATA)
        return cls(head + _field(RAW_DATA, source.length), source, tail)

    @property
    def size(self) -> int:
        """How many bytes it takes."""
        return len(self.head) + (0 if self.source is None else self.source.length) + len(self.tail)


def _around(message: Any, number: int) -> tuple[bytes, bytes]:
    """A message's fields before and after the one of that number, serialized."""
    sides = []
    for keeps in (number.__gt__, number.__lt__):
        side = type(message)()
        side.CopyFrom(message)
        for field, _ in message.ListFields():
            if not keeps(field.number):
                side.ClearField(field.name)
        sides.append(side.SerializeToString(deterministic=True))
    return sides[0], sides[1]
