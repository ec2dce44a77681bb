"""Arrays and archives that are damaged: each is refused in words, whatever Python's readers raise."""

import contextlib
import io
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from onnxproof.errors import ModelFileError, RequestError
from onnxproof.runtime import read_arrays, write_arrays
from onnxproof.runtime.archive import is_there, read_file
from onnxproof.runtime.stored import wrote_arrays

HEADERS = [
    pytest.param("{'descr': '<f4', 'fortran_order': False, 'shape': (" + "(" * 60, id="open-brackets"),
    pytest.param("{'descr': '<04', 'fortran_order': False, 'shape': (1,)}", id="no-dtype"),
    pytest.param("{'descr': ('<f4',), 'fortran_order': False, 'shape': (1,)}", id="half-a-dtype"),
    pytest.param("{1: 0, 'a': 0}", id="keys-of-two-types"),
    pytest.param("{{}: 1}", id="a-key-that-is-none"),
    pytest.param("{'descr': '<f4', 'fortran_order': False, 'shape': (True, 4)}", id="a-size-that-is-none"),
    pytest.param("  {\n 1", id="uneven-lines"),
]


def array_of(header: str) -> bytes:
    """A .npy of version 1 with a header of 118 bytes, and 16 bytes of zeros."""
    return b"\x93NUMPY\x01\0" + struct.pack("<H", 118) + header.encode().ljust(117) + b"\n" + bytes(16)


@pytest.mark.parametrize("header", HEADERS)
def test_an_array_with_a_damaged_header_is_refused(header: str, tmp_path: Path) -> None:
    file = tmp_path / "x.npy"
    file.write_bytes(array_of(header))
    with pytest.raises(RequestError, match=r"x\.npy holds no arrays that can be read \("):
        read_arrays(file)


@given(
    edits=st.lists(
        st.tuples(st.integers(0, 127), st.sampled_from(b"(){}[]'\",:0<>xTN\n\t\xff\0")),
        min_size=1,
        max_size=4,
    )
)
def test_an_array_is_read_or_refused(
    edits: list[tuple[int, int]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    stream = io.BytesIO()
    np.save(stream, np.zeros((2, 4), np.float32))
    content = bytearray(stream.getvalue())
    for at, byte in edits:
        content[at] = byte
    file = tmp_path_factory.getbasetemp() / "edited.npy"
    file.write_bytes(content)
    with contextlib.suppress(RequestError):
        read_arrays(file)


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_damaged_part_of_an_archive_is_refused(method: int, tmp_path: Path) -> None:
    stream = io.BytesIO()
    np.save(stream, np.arange(64, dtype=np.float32))
    file = tmp_path / "x.npz"
    with zipfile.ZipFile(file, "w", method) as archive:
        archive.writestr("x.npy", stream.getvalue())
    content = file.read_bytes()
    for at in range(45, len(content) - 80, 7):
        file.write_bytes(content[:at] + bytes([content[at] ^ 255]) + content[at + 1 :])
        with pytest.raises(RequestError, match=r"x\.npz holds no arrays that can be read"):
            read_arrays(file)


def later_version(content: bytearray, entry: int) -> None:
    content[entry + 6] = 99


def no_text(content: bytearray, entry: int) -> None:
    """A name that is marked as UTF-8 and is not."""
    content[entry + 9] |= 8
    content[entry + 46] = 255


@pytest.mark.parametrize("damage", [later_version, no_text])
def test_a_damaged_list_of_parts_is_refused(damage: Callable[[bytearray, int], None], tmp_path: Path) -> None:
    file = tmp_path / "model.zip"
    write_arrays(file, {"x": np.zeros(3)})
    content = bytearray(file.read_bytes())
    (entry,) = struct.unpack("<I", content[content.rfind(b"PK\5\6") + 16 :][:4])
    damage(content, entry)
    file.write_bytes(content)
    for read in (is_there, read_file):
        with pytest.raises(ModelFileError, match=r"model\.zip cannot be read"):
            read(file / "x.npy")
    assert not wrote_arrays(file)


def test_what_is_wrong_with_the_parts_is_told(tmp_path: Path) -> None:
    file = tmp_path / "x.npz"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("notes.txt", "of last night's run")
    with pytest.raises(RequestError, match=r"it holds notes\.txt, which is no array"):
        read_arrays(file)
    header = "{'descr': '<f4', 'fortran_order': False, 'shape': (4,), }"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("x.npy", array_of(header))
        with pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr("x.npy", array_of(header))
    with pytest.raises(RequestError, match="it holds two arrays of one name"):
        read_arrays(file)
    other = tmp_path / "y.npy"
    other.write_bytes(b"\x93NUMPY\x09\0" + bytes(128))
    with pytest.raises(RequestError, match=r"its format 9\.0 is none of NumPy's"):
        read_arrays(other)


def test_only_our_own_arrays_are_told_by_their_archive(tmp_path: Path) -> None:
    write_arrays(tmp_path / "ours.npz", {"x": np.zeros(3)})
    np.savez(tmp_path / "theirs.npz", x=np.zeros(3))
    assert wrote_arrays(tmp_path / "ours.npz")
    assert not wrote_arrays(tmp_path / "theirs.npz")
