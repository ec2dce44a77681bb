"""A bundle in one file that lost its end."""

import io
import zipfile
from pathlib import Path

import pytest

from onnxproof.errors import ModelFileError
from onnxproof.runtime.archive import is_there, read_file


def stored(files: dict[str, bytes]) -> bytes:
    whole = io.BytesIO()
    with zipfile.ZipFile(whole, "w") as opened:
        for name, content in files.items():
            opened.writestr(name, content)
    return whole.getvalue()


GOLDEN = stored({"inputs/x.npy": b"array"})
BUNDLE = stored({"model.onnx": b"model", "golden.npz": GOLDEN, "parity.json": b"{}" * 50})


@pytest.mark.parametrize(
    "end",
    [
        pytest.param(len(BUNDLE) - 1, id="its-last-byte"),
        pytest.param(len(BUNDLE) - 30, id="its-directory"),
        pytest.param(BUNDLE.index(GOLDEN) + len(GOLDEN), id="right-behind-the-archive-in-it"),
        pytest.param(BUNDLE.index(GOLDEN) + len(GOLDEN) - 1, id="in-the-archive-in-it"),
        pytest.param(20, id="in-its-first-file"),
    ],
)
def test_an_archive_that_is_cut_off_is_not_taken_for_the_one_that_lies_in_it(
    tmp_path: Path, end: int
) -> None:
    archive = tmp_path / "bundle.zip"
    archive.write_bytes(BUNDLE[:end])
    for name in ("model.onnx", "parity.json"):
        with pytest.raises(ModelFileError, match=r"bundle\.zip cannot be read \(it is cut off"):
            is_there(archive / name)
        with pytest.raises(ModelFileError, match="it is cut off"):
            read_file(archive / name)


@pytest.mark.parametrize("before", [b"", b"#!/bin/sh\n"], ids=["alone", "behind-a-script"])
def test_a_whole_archive_is_read(tmp_path: Path, before: bytes) -> None:
    archive = tmp_path / "bundle.zip"
    archive.write_bytes(before + BUNDLE)
    assert read_file(archive / "model.onnx") == b"model"


def test_what_is_no_archive_is_not_called_cut_off(tmp_path: Path) -> None:
    archive = tmp_path / "bundle.zip"
    archive.write_bytes(b"these are notes")
    with pytest.raises(ModelFileError, match="not a zip file"):
        is_there(archive / "model.onnx")
