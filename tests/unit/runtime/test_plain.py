"""Any ONNX file: its interface, arrays and pictures as inputs, outputs summarised and written."""

import io
import json
import os
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper
from PIL import Image

from onnxproof.errors import ModelFileError, PictureError, RequestError
from onnxproof.runtime.look import look_at
from onnxproof.runtime.plain import (
    PlainModel,
    gather,
    layout_of,
    load_plain,
    picture_array,
    read_arrays,
    summarize,
    values_json,
)
from onnxproof.runtime.port import Port
from onnxproof.runtime.stored import write_arrays

Array = NDArray[Any]
Shape = Sequence[int | str | None]


def write(
    file: Path,
    nodes: Sequence[onnx.NodeProto],
    inputs: Sequence[tuple[str, int, Shape]],
    outputs: Sequence[tuple[str, int, Shape]],
) -> PlainModel:
    graph = helper.make_graph(
        list(nodes),
        "sketch",
        [helper.make_tensor_value_info(*value) for value in inputs],
        [helper.make_tensor_value_info(*value) for value in outputs],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], producer_name="by hand")
    model.ir_version = 8
    onnx.save(model, file)
    return load_plain(file, threads=1)


@pytest.fixture
def two(tmp_path: Path) -> PlainModel:
    """sum = float(ids) + x, and a picture's mean."""
    return write(
        tmp_path / "two.onnx",
        [
            helper.make_node("Cast", ["ids"], ["floats"], to=TensorProto.FLOAT),
            helper.make_node("Add", ["floats", "x=y"], ["sum"]),
            helper.make_node("ReduceMean", ["image"], ["mean"], axes=[1, 2, 3], keepdims=0),
        ],
        [
            ("ids", TensorProto.INT64, ["n"]),
            ("x=y", TensorProto.FLOAT, ["n"]),
            ("image", TensorProto.FLOAT, ["batch", 4, 4, 3]),
        ],
        [("sum", TensorProto.FLOAT, ["n"]), ("mean", TensorProto.FLOAT, ["batch"])],
    )


IDS, X = np.arange(3), np.ones(3, np.float32)
IMAGE = np.full((1, 4, 4, 3), 0.5, np.float32)


class TestInterface:
    def test_names_dtypes_and_shapes(self, plain: Path) -> None:
        model = load_plain(plain, threads=1)
        assert [(port.name, str(port)) for port in model.inputs] == [
            ("input", "float32[1, 3, height, width]")
        ]
        assert [(port.name, str(port)) for port in model.outputs] == [("output", "float32[1, 1, 6]")]
        assert not model.by_onnxproof

    def test_what_the_file_says_of_itself(self, plain: Path) -> None:
        said = json.loads(json.dumps(load_plain(plain, threads=1).to_json()))
        assert said["task"] is None
        assert said["inputs"] == [{"name": "input", "dtype": "float32", "shape": [1, 3, "height", "width"]}]
        assert (said["producer"], said["version"]) == ("by hand", None)
        assert said["opset"] == {"ai.onnx": 17}
        assert said["metadata"] == {"author": "somebody"}

    def test_a_file_of_ours_is_one_too(self, bright: Path) -> None:
        assert load_plain(bright, threads=1).by_onnxproof

    @pytest.mark.parametrize(
        ("element", "name"),
        [
            (TensorProto.DOUBLE, "float64"),
            (TensorProto.FLOAT16, "float16"),
            (TensorProto.UINT16, "uint16"),
            (TensorProto.BOOL, "bool"),
            (TensorProto.STRING, "string"),
        ],
        ids=lambda value: value if isinstance(value, str) else None,
    )
    def test_dtypes_have_numpys_names(self, tmp_path: Path, element: int, name: str) -> None:
        same = helper.make_node("Identity", ["a"], ["b"])
        model = write(tmp_path / "a.onnx", [same], [("a", element, [None])], [("b", element, [None])])
        assert str(model.inputs[0]) == f"{name}[?]"
        array = np.array(["1", "0"]) if name == "string" else np.array([1, 0]).astype(name)
        assert model.run({"a": array})["b"].tolist() == array.tolist()

    def test_a_scalar_stays_one(self, tmp_path: Path) -> None:
        same = helper.make_node("Identity", ["a"], ["b"])
        model = write(tmp_path / "a.onnx", [same], [("a", 1, [])], [("b", 1, [])])
        assert model.run({"a": np.array(2, np.float32)})["b"].shape == ()

    @pytest.mark.parametrize(
        "content",
        [
            pytest.param(b"", id="empty"),
            pytest.param(b"hello, world", id="text"),
            pytest.param(b"\x42\xff", id="a-field-behind-the-end"),
            pytest.param(b"\x00\x00\x00\x00ORTM" + bytes(8), id="another-format"),
            pytest.param(b"\xff" * 20, id="a-number-without-an-end"),
        ],
    )
    def test_no_opset_is_read_from_what_is_no_onnx(self, tmp_path: Path, content: bytes) -> None:
        (tmp_path / "a.onnx").write_bytes(content)
        assert look_at(tmp_path / "a.onnx").opsets == {}

    def test_every_domain_has_its_opset(self, tmp_path: Path) -> None:
        model = helper.make_model(
            helper.make_graph([], "empty", [], []),
            opset_imports=[helper.make_opsetid("", 20), helper.make_opsetid("com.microsoft", 1)],
        )
        onnx.save(model, tmp_path / "a.onnx")
        assert look_at(tmp_path / "a.onnx").opsets == {"ai.onnx": 20, "com.microsoft": 1}

    def test_a_missing_file(self, tmp_path: Path) -> None:
        with pytest.raises(ModelFileError, match="does not exist"):
            load_plain(tmp_path / "no.onnx")


class TestRun:
    def test_outputs_come_by_name(self, two: PlainModel) -> None:
        outputs = two.run({"ids": IDS, "x=y": X, "image": IMAGE})
        assert outputs["sum"].tolist() == [1, 2, 3]
        assert outputs["mean"].tolist() == [0.5]

    def test_any_memory_layout_is_taken(self, two: PlainModel) -> None:
        assert two.run({"ids": IDS[::-1], "x=y": X, "image": IMAGE})["sum"].tolist() == [3, 2, 1]

    @pytest.mark.parametrize(
        ("change", "parts"),
        [
            pytest.param({"x=y": None}, ("nothing is given for input x=y float32[n]",), id="missing"),
            pytest.param({"z": X}, ('no input "z"', "ids int64[n]"), id="unknown"),
            pytest.param({"x=y": X.astype("f8")}, ("float64[3]", 'astype("float32")'), id="dtype"),
            pytest.param({"x=y": X[None]}, ("float32[1, 3]", "expected float32[n]", "reshape"), id="rank"),
            pytest.param({"image": IMAGE[:, :3]}, ("[1, 3, 4, 3]", "[batch, 4, 4, 3]"), id="fixed-size"),
            pytest.param({"x=y": X[:2]}, ("does not run on", "x=y [2]", "other sizes"), id="sizes-at-odds"),
        ],
    )
    def test_inputs_that_do_not_fit(
        self, two: PlainModel, change: dict[str, Array | None], parts: tuple[str, ...]
    ) -> None:
        given: dict[str, Array | None] = {"ids": IDS, "x=y": X, "image": IMAGE, **change}
        with pytest.raises(RequestError) as caught:
            two.run({name: array for name, array in given.items() if array is not None})
        for part in parts:
            assert part in str(caught.value)

    def test_a_dtype_that_numpy_lacks(self, tmp_path: Path) -> None:
        same = helper.make_node("Identity", ["a"], ["b"])
        element = TensorProto.BFLOAT16
        model = write(tmp_path / "a.onnx", [same], [("a", element, [1])], [("b", element, [1])])
        with pytest.raises(RequestError, match=r"expected bfloat16.*NumPy has no such dtype"):
            model.run({"a": np.zeros(1, np.float32)})


class TestPictures:
    @pytest.mark.parametrize(
        ("dtype", "shape", "expected", "white"),
        [
            pytest.param("float32", (None, 3, "h", "w"), (1, 3, 6, 8), 1, id="nchw-of-its-own-size"),
            pytest.param("float32", ("b", "h", "w", 3), (1, 6, 8, 3), 1, id="nhwc-of-its-own-size"),
            pytest.param("float32", (1, 3, 5, 7), (1, 3, 5, 7), 1, id="fixed-is-stretched-to"),
            pytest.param("float32", (1, 3, 5, "w"), (1, 3, 5, 8), 1, id="one-side-fixed"),
            pytest.param("uint8", (1, 5, 7, 3), (1, 5, 7, 3), 255, id="bytes"),
            pytest.param("float32", (1, 3, 9, 3), (1, 3, 9, 3), 1, id="three-twice-is-nchw"),
        ],
    )
    def test_fills_an_input(
        self, dtype: str, shape: tuple[int | str | None, ...], expected: tuple[int, ...], white: float
    ) -> None:
        port = Port("image", dtype, shape)
        array, note = picture_array(Image.new("RGB", (8, 6), "white"), port)
        assert (array.dtype.name, array.shape) == (dtype, expected)
        assert np.all(array == white)
        port.check(array)
        assert f"image: RGB in {'0..255' if dtype == 'uint8' else '[0, 1]'}" in note

    def test_channels_are_red_green_blue_in_either_order(self) -> None:
        image = Image.new("RGB", (2, 2), (0, 51, 255))
        first, _ = picture_array(image, Port("a", "float32", (1, 3, "h", "w")))
        last, _ = picture_array(image, Port("a", "float32", (1, "h", "w", 3)))
        np.testing.assert_allclose(first[0, :, 0, 0], [0, 0.2, 1])
        np.testing.assert_array_equal(first.transpose(0, 2, 3, 1), last)

    def test_scale_255_leaves_pixels_as_they_are(self) -> None:
        image = Image.new("RGB", (2, 2), (0, 51, 255))
        array, note = picture_array(image, Port("a", "float32", (1, 3, 2, 2)), scale=255)
        assert array[0, :, 0, 0].tolist() == [0, 51, 255]
        assert "[0, 255]" in note

    def test_the_note_says_what_was_stretched(self) -> None:
        _, note = picture_array(Image.new("RGB", (8, 6)), Port("a", "uint8", (1, 3, 4, 5)))
        assert "stretched from 8x6 to 5x4" in note

    @pytest.mark.parametrize(
        ("dtype", "shape", "why"),
        [
            pytest.param("float32", (1, 1, 8, 8), "no channel axis", id="grey"),
            pytest.param("float32", (1, 4, "h", "w"), "no channel axis", id="four-channels"),
            pytest.param("float32", (1, "c", "h", "w"), "no channel axis", id="channels-not-known"),
            pytest.param("float32", (3, 8, 8), "expected four axes", id="no-batch"),
            pytest.param("float32", (1, 3, 1, 8, 8), "expected four axes", id="video"),
            pytest.param("float16", (1, 3, 8, 8), "expected dtype float32 or uint8", id="half-precision"),
            pytest.param("int64", ("n",), "expected dtype float32 or uint8", id="no-picture-at-all"),
            pytest.param("float32", (4, 3, 8, 8), "fixed at 4", id="a-fixed-batch"),
        ],
    )
    def test_an_input_that_no_picture_fits(
        self, dtype: str, shape: tuple[int | str | None, ...], why: str
    ) -> None:
        port = Port("a", dtype, shape)
        with pytest.raises(PictureError) as caught:
            layout_of(port)
        for part in (f"input a {port}", why, "--input a=FILE.npy"):
            assert part in str(caught.value)

    def test_the_one_input_that_fits_is_found(self, two: PlainModel) -> None:
        assert two.picture_input().name == "image"

    def test_no_input_is_left(self, two: PlainModel) -> None:
        with pytest.raises(PictureError, match=r"no input.*ids int64\[n\].*--input NAME=FILE"):
            two.picture_input({"image"})

    def test_two_inputs_would_fit(self, tmp_path: Path) -> None:
        add = helper.make_node("Add", ["a", "b"], ["c"])
        shape = (1, 3, 4, 4)
        model = write(tmp_path / "a.onnx", [add], [("a", 1, shape), ("b", 1, shape)], [("c", 1, shape)])
        with pytest.raises(PictureError, match="2 inputs can take a picture"):
            model.picture_input()
        assert model.picture_input({"a"}).name == "b"


class TestGather:
    @pytest.fixture
    def folder(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        write_arrays(tmp_path / "all.npz", {"ids": IDS, "x=y": X, "image": IMAGE})
        np.savez(tmp_path / "one.npz", anything=IDS)
        np.save(tmp_path / "ids.npy", IDS)
        np.save(tmp_path / "a=b.npy", X)
        Image.new("RGB", (9, 9), "white").save(tmp_path / "white.png")
        monkeypatch.chdir(tmp_path)
        return tmp_path

    @pytest.mark.parametrize(
        ("given", "names"),
        [
            pytest.param(["all.npz"], ["ids", "image", "x=y"], id="several-by-name"),
            pytest.param(["ids=ids.npy"], ["ids"], id="npy"),
            pytest.param(["ids=one.npz"], ["ids"], id="the-only-array-of-a-npz"),
            pytest.param(["ids=all.npz"], ["ids"], id="that-of-the-name-in-a-npz"),
            pytest.param(["x=y=a=b.npy"], ["x=y"], id="equals-signs-in-names-and-paths"),
            pytest.param(["image=white.png", "ids=ids.npy"], ["ids", "image"], id="a-picture"),
        ],
    )
    def test_names_inputs(self, two: PlainModel, folder: Path, given: list[str], names: list[str]) -> None:
        arrays, _ = gather(two, given)
        assert sorted(arrays) == names
        for port in two.inputs:
            if port.name in arrays:
                port.check(arrays[port.name])

    def test_a_picture_leaves_a_note(self, two: PlainModel, folder: Path) -> None:
        arrays, notes = gather(two, ["image=white.png"], scale=255)
        assert arrays["image"].max() == 255
        assert notes == ("input image: RGB in [0, 255], NHWC [1, 4, 4, 3], stretched from 9x9 to 4x4",)

    def test_an_array_alone_feeds_the_one_input(self, plain: Path, folder: Path) -> None:
        arrays, _ = gather(load_plain(plain, threads=1), ["ids.npy"])
        assert sorted(arrays) == ["input"]

    @pytest.mark.parametrize(
        ("given", "parts"),
        [
            pytest.param(["y=ids.npy"], ('no input "y"', "ids int64[n]"), id="no-such-input"),
            pytest.param(["ids.npy"], ("3 inputs", "--input NAME=ids.npy"), id="which-input"),
            pytest.param(["white.png"], ("expected NAME=FILE",), id="a-picture-without-a-name"),
            pytest.param(["ids=ids.npy", "all.npz"], ("ids is given twice",), id="twice"),
            pytest.param(["ids=no.npy"], ("no.npy does not exist",), id="no-such-file"),
            pytest.param(["no.npz"], ("no.npz does not exist",), id="no-such-archive"),
            pytest.param(["image=no.png"], ("no.png does not exist",), id="no-such-picture"),
            pytest.param(["ids=white.png"], ("does not fit input ids int64[n]",), id="a-picture-for-ids"),
        ],
    )
    def test_refuses(self, two: PlainModel, folder: Path, given: list[str], parts: tuple[str, ...]) -> None:
        with pytest.raises(RequestError) as caught:
            gather(two, given)
        for part in parts:
            assert part in str(caught.value)

    def test_an_archive_of_many_does_not_say_which(self, two: PlainModel, folder: Path) -> None:
        np.savez("many.npz", a=X, b=X)
        with pytest.raises(
            RequestError, match=r"many\.npz holds the arrays a, b; expected one, or one named ids"
        ):
            gather(two, ["ids=many.npz"])


class TestFiles:
    def test_any_name_is_written_and_read_back(self, tmp_path: Path) -> None:
        arrays: dict[str, Array] = {
            "file": X,
            "allow_pickle": IDS,
            "a/b:0": np.zeros((0, 4), np.float16),
            "text": np.array(["é", "b"], object),
        }
        write_arrays(tmp_path / "out.npz", arrays)
        with np.load(tmp_path / "out.npz") as read:
            assert {name: read[name].tolist() for name in read.files} == {
                name: array.tolist() for name, array in arrays.items()
            }
            assert read["a/b:0"].dtype == np.float16

    def test_a_folder_that_is_not_there(self, tmp_path: Path) -> None:
        with pytest.raises(RequestError, match=r"cannot be written .*another file with --out"):
            write_arrays(tmp_path / "no" / "out.npz", {"a": X})

    @pytest.mark.parametrize("content", [b"", b"hello", b"PK\x03\x04", b"\x93NUMPY\x01"])
    def test_files_that_hold_no_arrays(self, tmp_path: Path, content: bytes) -> None:
        (tmp_path / "a.npz").write_bytes(content)
        with pytest.raises(RequestError, match=r"a\.npz holds no arrays .*numpy\.save"):
            read_arrays(tmp_path / "a.npz")

    @pytest.mark.parametrize("shape", [(10**12,), (10**30, 10**30), (5,), (-1,)], ids=str)
    @pytest.mark.parametrize("archived", [False, True], ids=["npy", "npz"])
    def test_a_header_that_declares_more_than_there_is(
        self, tmp_path: Path, shape: tuple[int, ...], archived: bool
    ) -> None:
        content = io.BytesIO()
        header = {"descr": "<f8", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(content, header)
        content.write(bytes(4 * 8))
        file = tmp_path / ("a.npz" if archived else "a.npy")
        if archived:
            with zipfile.ZipFile(file, "w") as archive:
                archive.writestr("x.npy", content.getvalue())
        else:
            file.write_bytes(content.getvalue())
        with pytest.raises(RequestError, match="holds no arrays that can be read") as caught:
            read_arrays(file)
        if shape[0] > 0:
            assert f"float64{list(shape)}" in str(caught.value)
            assert "and holds 32)" in str(caught.value)

    def test_an_archive_of_something_else_is_not_unpacked(self, tmp_path: Path) -> None:
        with zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("x.txt", bytes(10**6))
        with pytest.raises(RequestError, match="holds no arrays that can be read"):
            read_arrays(tmp_path / "a.npz")

    @pytest.mark.skipif(sys.platform == "win32", reason="Windows has no pipes in folders")
    def test_a_pipe_is_not_waited_for(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "a.npy")
        with pytest.raises(RequestError, match=r"a\.npy is a pipe, not a file"):
            read_arrays(tmp_path / "a.npy")

    def test_objects_are_never_unpickled(self, tmp_path: Path) -> None:
        np.save(tmp_path / "a.npy", np.array([{}], object), allow_pickle=True)
        with pytest.raises(RequestError, match="holds no arrays"):
            read_arrays(tmp_path / "a.npy")


class TestSummary:
    @pytest.mark.parametrize(
        ("value", "expected"),
        [
            pytest.param(
                np.array([[1, 5, 3]], np.float32),
                {"dtype": "float32", "shape": [1, 3], "min": 1, "max": 5, "mean": 3, "argmax": [1]},
                id="logits",
            ),
            pytest.param(
                np.array([0.5, 0.25]),
                {"dtype": "float64", "shape": [2], "min": 0.25, "max": 0.5, "mean": 0.375, "argmax": 0},
                id="one-axis",
            ),
            pytest.param(
                np.array([1, np.nan, np.inf, 3], np.float32),
                {"dtype": "float32", "shape": [4], "min": 1, "max": 3, "mean": 2, "not_finite": 2},
                id="nan-and-infinity-are-counted",
            ),
            pytest.param(
                np.array([np.nan]),
                {"dtype": "float64", "shape": [1], "not_finite": 1},
                id="nothing-finite",
            ),
            pytest.param(
                np.zeros((0, 4), np.float32), {"dtype": "float32", "shape": [0, 4]}, id="no-detections"
            ),
            pytest.param(
                np.array([2**62, 2**62 + 1]),
                {"dtype": "int64", "shape": [2], "min": 2**62, "max": 2**62 + 1, "mean": float(2**62)},
                id="integers-are-exact-and-have-no-argmax",
            ),
            pytest.param(
                np.array([True, False]),
                {"dtype": "bool", "shape": [2], "min": 0, "max": 1, "mean": 0.5},
                id="bool",
            ),
            pytest.param(np.array(["a"]), {"dtype": "string", "shape": [1]}, id="text"),
            pytest.param([{1: 0.5}], {"dtype": "list", "shape": [1]}, id="a-sequence-of-maps"),
        ],
    )
    def test_says_what_can_be_said(self, value: Any, expected: dict[str, Any]) -> None:
        assert summarize(value) == expected

    def test_half_precision_does_not_overflow(self) -> None:
        assert summarize(np.full(9, 60_000, np.float16))["mean"] == 60_000

    def test_many_rows_name_the_first(self) -> None:
        assert summarize(np.eye(20, dtype=np.float32))["argmax"] == list(range(8))

    def test_values_are_json(self) -> None:
        value = [{1: float("nan")}, {2: 0.5}]
        assert values_json(value, 10) == [{"1": None}, {"2": 0.5}]
        assert values_json(np.array([[np.inf, 1]]), 10) == [[None, 1]]

    def test_too_many_values_are_left_out(self) -> None:
        assert values_json(np.zeros(10), 10) == [0] * 10
        assert values_json(np.zeros(11), 10) is None


def small_model(operator: str = "Relu", domain: str = "", ir_version: int = 10) -> onnx.ModelProto:
    node = helper.make_node(operator, ["x"], ["y"], domain=domain)
    ports = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [2]) for name in "xy"]
    imports = [helper.make_opsetid("", 20), *([helper.make_opsetid(domain, 1)] if domain else [])]
    graph = helper.make_graph([node], "small", ports[:1], ports[1:])
    return helper.make_model(graph, opset_imports=imports, ir_version=ir_version)


@pytest.mark.parametrize(
    ("model", "says"),
    [
        pytest.param(small_model("Magic", "com.acme"), "without the library that brings it", id="operator"),
        pytest.param(small_model(ir_version=99), "newer form than the installed ONNX Runtime", id="newer"),
    ],
)
def test_what_onnx_runtime_refuses_is_said_with_what_to_do(
    tmp_path: Path, model: onnx.ModelProto, says: str
) -> None:
    file = tmp_path / "model.onnx"
    file.write_bytes(model.SerializeToString())
    with pytest.raises(ModelFileError) as told:
        load_plain(file)
    assert says in str(told.value)
    assert "is it whole" not in str(told.value)
    assert "onnxruntime_src" not in str(told.value)


@pytest.mark.parametrize(
    ("dtype", "shape", "array", "advice"),
    [
        pytest.param("float32", ("n", 4), np.zeros((1, 3), np.float32), "reshape", id="another-size"),
        pytest.param(
            "float32", ("n", 4), np.zeros((1, 4)), 'convert it with array.astype("float32")', id="dtype"
        ),
        pytest.param(
            "int64",
            ("n",),
            np.zeros((1, 4)),
            'convert it with array.astype("int64"), and reshape, pad or cut the array to these axes',
            id="both",
        ),
        pytest.param("string", ("n",), np.zeros(4, np.float32), "give texts (an array of", id="texts"),
        pytest.param("string", ("n",), np.array([["a"]]), "reshape", id="texts-of-another-rank"),
        pytest.param("bfloat16", ("n",), np.zeros(4), "NumPy has no such dtype", id="unknown-to-numpy"),
    ],
)
def test_an_array_that_does_not_fit_says_whether_the_dtype_or_the_axes_are_wrong(
    dtype: str, shape: tuple[int | str, ...], array: Array, advice: str
) -> None:
    with pytest.raises(RequestError) as caught:
        Port("a", dtype, shape).check(array)
    got, _, told = str(caught.value).partition(f"expected {Port('a', dtype, shape)}: ")
    assert got.startswith("input a: got ")
    assert told.startswith(advice), told
    assert ("reshape" in told) == (array.ndim != len(shape) or array.shape[-1] == 3)


def test_a_graph_without_outputs_is_told_as_one(tmp_path: Path) -> None:
    cast = [helper.make_node("Identity", ["x"], ["y"])]
    plain = write(tmp_path / "none.onnx", cast, [("x", TensorProto.FLOAT, [1])], [])
    with pytest.raises(ModelFileError, match="has no outputs, so there is nothing to compute"):
        plain.run({"x": np.zeros(1, np.float32)})
