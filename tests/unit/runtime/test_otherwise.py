"""What is said of a file that was given in place of a model."""

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from onnxproof.errors import ModelFileError
from onnxproof.runtime import load_plain
from onnxproof.runtime.otherwise import other_than_a_model


def archive(*names: str) -> bytes:
    whole = io.BytesIO()
    with zipfile.ZipFile(whole, "w") as opened:
        for name in names:
            opened.writestr(name, b"content")
    return whole.getvalue()


def picture() -> bytes:
    whole = io.BytesIO()
    Image.new("RGB", (2, 2)).save(whole, "PNG")
    return whole.getvalue()


def array() -> bytes:
    whole = io.BytesIO()
    np.save(whole, np.zeros(3))
    return whole.getvalue()


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        pytest.param("net.toml", b'name = "net"\n', "is a job, not a model: give a bundle", id="job"),
        pytest.param("golden.npz", archive("x.npy"), "is an archive of arrays (.npz), not a model", id="npz"),
        pytest.param("x.npy", array(), "is an array (.npy), not a model: give a bundle", id="npy"),
        pytest.param("w.pt", archive("w/data.pkl"), "is a checkpoint of torch.save, not a", id="checkpoint"),
        pytest.param("a.png", picture(), "is a picture, not a model: give a bundle", id="picture"),
        pytest.param("a.onnx", archive("model.onnx"), "is a ZIP archive, not a model: unpack it", id="zip"),
        pytest.param("p.json", b'{"format": 3}', "is a JSON document, not a model", id="json"),
        pytest.param("m.onnx", "Größe\n".encode(), "it is a text, not a model: is it whole", id="text"),
        pytest.param("m.onnx", b"", "it is an empty file, not a model: is it whole", id="empty"),
        pytest.param("m.onnx", b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull", id="lfs"),
        pytest.param("m.onnx", b"<!DOCTYPE html><html>", "is a web page, not a model: the", id="web-page"),
        pytest.param("w.safetensors", b"\x08" + b"\0" * 7 + b'{"a":1}', "of safetensors", id="safetensors"),
    ],
)
def test_what_was_given_in_place_of_a_model_is_named(
    tmp_path: Path, name: str, content: bytes, says: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ModelFileError) as told:
        load_plain(tmp_path / name, threads=1)
    assert says in str(told.value)
    assert "ONNX Runtime" not in str(told.value)


def test_a_damaged_model_is_not_taken_for_anything_else(tmp_path: Path) -> None:
    content = b"\x08\x0a\x12\x09onnxproof:\xff\x01" + bytes(range(256))
    assert other_than_a_model(content, "m.onnx") is None
    (tmp_path / "m.onnx").write_bytes(content)
    with pytest.raises(ModelFileError, match="is it whole"):
        load_plain(tmp_path / "m.onnx", threads=1)


def test_a_text_that_ends_inside_a_character_is_one() -> None:
    assert other_than_a_model(("a" * 511 + "ß").encode(), "m.onnx") == "a text"
