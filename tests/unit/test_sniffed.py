"""What people take for a checkpoint is told by how it begins."""

import gzip
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from onnxproof.sniffed import NO_PYTORCH_FILE, is_safetensors, other_than_a_checkpoint, unread


def zipped(*names: str) -> Callable[[Path], None]:
    def write(file: Path) -> None:
        with zipfile.ZipFile(file, "w") as archive:
            for name in names:
                archive.writestr(name, b"")

    return write


def begins(start: bytes) -> Callable[[Path], None]:
    def write(file: Path) -> None:
        file.write_bytes(start + bytes(600))

    return write


def in_a_tar(file: Path) -> None:
    file.write_bytes(bytes(257) + b"ustar" + bytes(300))


@pytest.mark.parametrize(
    ("write", "name", "says"),
    [
        pytest.param(begins(b"\n <!DOCTYPE html><html>"), "a.pt", "a web page: ", id="html"),
        pytest.param(begins(b"version https://git-lfs.github.com"), "a.pt", "run git lfs pull", id="lfs"),
        pytest.param(begins(b"\x89HDF\r\n"), "a.h5", "as Keras and TensorFlow write it", id="hdf5"),
        pytest.param(begins(b"GGUF\x03"), "a.pt", "as llama.cpp reads it", id="gguf"),
        pytest.param(lambda file: np.save(file, np.zeros(2)), "a.npy", "numpy.savez", id="npy"),
        pytest.param(lambda file: file.write_bytes(gzip.compress(b"x")), "a.pt", "gzip", id="gzip"),
        pytest.param(in_a_tar, "a.pth.tar", "a tar archive: unpack it", id="tar"),
        pytest.param(begins(b"\x08\x08"), "a.onnx", "check MODEL.onnx --against", id="onnx"),
        pytest.param(begins(b"\x08\x01"), "saved_model.pb", "TensorFlow", id="saved-model"),
        pytest.param(zipped("a.pt", "b.yaml", "c"), "a.zip", "files (a.pt, b.yaml, …)", id="zip"),
        pytest.param(zipped("net/archive_format"), "a.pt2", "program of torch.export", id="torch-export"),
        pytest.param(begins(b"PK\x03\x04"), "a.pt", "ends too early", id="half-a-download"),
        pytest.param(lambda file: file.touch(), "a.pt", "ends too early", id="empty"),
        pytest.param(begins(b"lr = 0.1"), "a.pt", NO_PYTORCH_FILE, id="text"),
    ],
)
def test_a_file_that_is_no_checkpoint_is_named(
    write: Callable[[Path], None], name: str, says: str, tmp_path: Path
) -> None:
    write(tmp_path / name)
    found = other_than_a_checkpoint(tmp_path / name)
    assert says in str(found)
    assert f"({found})" in str(unread(tmp_path / name, "as its reader says"))


@pytest.mark.parametrize(
    ("start", "name", "safe"),
    [
        pytest.param(b'\x40\0\0\0\0\0\0\0{"', "a.pt", True, id="safetensors-by-another-name"),
        pytest.param(b"\0" * 10, "a.safetensors", True, id="safetensors-by-its-name"),
        pytest.param(b"\x80\x02", "a.pt", False, id="a-pickle"),
    ],
)
def test_what_may_be_a_checkpoint_is_left_to_its_reader(
    start: bytes, name: str, safe: bool, tmp_path: Path
) -> None:
    begins(start)(tmp_path / name)
    assert other_than_a_checkpoint(tmp_path / name) is None
    assert is_safetensors(tmp_path / name) is safe
    assert "(as its reader says): is it whole" in str(unread(tmp_path / name, "as its reader says"))


def test_an_archive_of_pytorch_has_another_suffix_than_safetensors(tmp_path: Path) -> None:
    for name in ("a.safetensors", "a.pt"):
        zipped("archive/data.pkl")(tmp_path / name)
        assert not is_safetensors(tmp_path / name)
    assert other_than_a_checkpoint(tmp_path / "a.pt") is None
    assert "name it *.pt" in str(other_than_a_checkpoint(tmp_path / "a.safetensors"))
