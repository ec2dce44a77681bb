"""ONNX files whose tensors stay on the disk: what is read and written is what onnx reads and writes."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from onnxproof import on_disk
from onnxproof.errors import ModelFileError
from onnxproof.graph import OnnxGraph, read_proto

LENGTHS = (1, 2000, 5000, 70_000)
"""Numbers of the tensors: a small one, and some that are left on the disk."""


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files of a few kilobytes count as large."""
    monkeypatch.setattr(on_disk, "LARGEST_WHOLE", 0)
    monkeypatch.setattr(on_disk, "WIDE", 2**17)


def model() -> onnx.ModelProto:
    random = np.random.default_rng(0)
    arrays = {f"w{size}": random.normal(size=size).astype(np.float32) for size in LENGTHS}
    arrays["numbers"] = np.arange(900, dtype=np.float32)
    nodes = [helper.make_node("Add", ["x", name], [f"{name}_y"], name=name) for name in arrays]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", 1, [1])],
        [helper.make_tensor_value_info(f"{name}_y", 1, ["n"]) for name in arrays],
        [numpy_helper.from_array(array, name) for name, array in arrays.items()],
        doc_string="behind the tensors",
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], producer_name="test")
    helper.set_model_props(made, {"b": "2", "a": "1"})
    made.graph.initializer[1].doc_string = "behind the numbers"
    return made


def written(folder: Path) -> Path:
    file = folder / "model.onnx"
    on_disk.write_model_file(model(), folder, file)
    return file


def arrays_of(file: Path) -> dict[str, bytes]:
    return {stored.name: stored.array(file).tobytes() for stored in OnnxGraph.read(file).stored}


WANTED = {tensor.name: numpy_helper.to_array(tensor).tobytes() for tensor in model().graph.initializer}


def test_a_large_file_is_read_without_its_tensors(tmp_path: Path) -> None:
    file = written(tmp_path)
    proto = read_proto(file, weights=False)
    assert proto.ByteSize() < 2**13 + 900 * 4
    assert {tensor.name for tensor in proto.graph.initializer if tensor.external_data} == {
        "w2000",
        "w5000",
        "w70000",
    }
    assert arrays_of(file) == WANTED
    for tensor in proto.graph.initializer:
        tensor.CopyFrom(next(one for one in model().graph.initializer if one.name == tensor.name))
    assert proto == model()


@pytest.mark.parametrize("external", [False, True])
def test_a_file_is_written_as_protobuf_writes_it(tmp_path: Path, external: bool) -> None:
    """Also if its tensors are on the disk, in another file."""
    file, other = written(tmp_path), tmp_path / "other"
    other.mkdir()
    proto = read_proto(file, weights=False) if external else model()
    on_disk.write_model_file(proto, tmp_path, other / "model.onnx")
    assert (other / "model.onnx").read_bytes() == model().SerializeToString(deterministic=True)


def test_past_the_limit_the_tensors_are_in_one_file_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, other = written(tmp_path), tmp_path / "other"
    other.mkdir()
    monkeypatch.setattr(on_disk, "LARGEST_FILE", 2**12)
    on_disk.write_model_file(read_proto(file, weights=False), tmp_path, other / "model.onnx")
    data = other / "model.onnx.data"
    assert sorted(path.name for path in other.iterdir()) == ["model.onnx", "model.onnx.data"]
    assert arrays_of(other / "model.onnx") == WANTED
    onnx.checker.check_model(str(other / "model.onnx"), full_check=True)
    assert onnx.load(other / "model.onnx").graph.initializer[3].raw_data == WANTED["w70000"]
    places = {one.name: one.place for one in OnnxGraph.read(other / "model.onnx").stored}
    for name, place in places.items():
        assert place is None or place.offset % (2**16 if name == "w70000" else 2**12) == 0
    first = (other / "model.onnx").read_bytes(), data.read_bytes()
    on_disk.write_model_file(model(), tmp_path, other / "model.onnx")
    assert ((other / "model.onnx").read_bytes(), data.read_bytes()) == first
    monkeypatch.setattr(on_disk, "LARGEST_FILE", 2**30)
    on_disk.write_model_file(model(), tmp_path, other / "model.onnx")
    assert not data.exists(), "nothing is left of the file that was tried before"


def test_a_data_file_that_ends_too_early_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = written(tmp_path)
    proto = read_proto(file, weights=False)
    file.write_bytes(file.read_bytes()[:40_000])
    monkeypatch.setattr(on_disk, "LARGEST_FILE", 0)
    with pytest.raises(ModelFileError, match=r"model\.onnx ends \d+ bytes before"):
        on_disk.write_model_file(proto, tmp_path, tmp_path / "new.onnx")
    assert not (tmp_path / "new.onnx").exists()
    assert not (tmp_path / "new.onnx.data").exists()


@pytest.mark.parametrize("cut", [100, 9_000, 200_000])
def test_a_file_that_is_cut_off_is_no_onnx_file(tmp_path: Path, cut: int) -> None:
    file = written(tmp_path)
    file.write_bytes(file.read_bytes()[:cut])
    with pytest.raises(ModelFileError, match="no ONNX file, or not a whole one"):
        read_proto(file, weights=False)


def test_another_layout_of_the_same_message_is_read_as_a_whole(tmp_path: Path) -> None:
    """Protobuf takes a length that is written in more bytes than it takes."""
    graph = model().graph.SerializeToString()
    rest = model()
    rest.ClearField("graph")
    length = bytearray(on_disk._varint(len(graph)))
    length[-1] |= 128
    file = tmp_path / "model.onnx"
    file.write_bytes(rest.SerializeToString() + b"\x3a" + bytes(length) + b"\x00" + graph)
    assert read_proto(file, weights=False) == model()
