"""The predictor: what it takes, what it answers, and an answer without a single detection.

Pictures alone, pictures beside arrays, and arrays alone, in models whose axes have any names.
"""

import io
import json
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from contracts import changed
from contracts import manifest as made
from numpy.typing import NDArray
from onnx import TensorProto, helper
from PIL import Image

from onnxproof.comparison import compare
from onnxproof.contract import ClassInfo, Preprocess
from onnxproof.errors import ModelFileError, PictureError, RequestError
from onnxproof.runtime import Prediction, answer, load, load_plain, parse_request
from onnxproof.runtime.declared import note_on_range
from onnxproof.runtime.finite import why_undecided
from onnxproof.runtime.manifest import METADATA_KEY, Manifest
from onnxproof.runtime.session import SessionSettings
from onnxproof.tensors import Dim, TensorSpec

WHITE = np.full((32, 32, 3), 255, np.uint8)
BLACK = np.zeros((32, 32, 3), np.uint8)


def edited(file: Path, folder: Path, **changes: Any) -> Path:
    """A copy of a model with another manifest."""
    model = onnx.load(file)
    manifest = Manifest.from_json(json.loads(model.metadata_props[0].value))
    helper.set_model_props(model, {METADATA_KEY: changed(manifest, **changes).to_metadata()})
    onnx.save(model, folder / "edited.onnx")
    return folder / "edited.onnx"


def test_every_form_of_a_picture_gives_the_same(bright: Path, tmp_path: Path) -> None:
    predictor = load(bright, threads=1)
    file = tmp_path / "white.png"
    Image.fromarray(WHITE).save(file)
    expected = predictor.predict(WHITE).to_json()
    assert len(expected["boxes"]) == 1
    content = file.read_bytes()
    for picture in (file, str(file), content, Image.open(file)):
        assert predictor.predict(picture).to_json() == expected
    with file.open("rb") as opened:
        for other in (bytearray(content), memoryview(content), io.BytesIO(content), opened):
            assert predictor.predict(other).to_json() == expected


class Tensor:
    """What stands for a tensor where PyTorch is not installed."""

    __module__ = "torch"


@pytest.mark.parametrize(
    ("picture", "says"),
    [
        pytest.param(
            Tensor(), r"got a Tensor; expected uint8\[H, W, 3\].*give tensor.numpy\(\)", id="tensor"
        ),
        pytest.param(3, "got a int; expected a path, the bytes", id="number"),
        pytest.param(io.StringIO("x"), "got a file of str; expected a path", id="file-of-text"),
        pytest.param(io.BytesIO(), "no bytes at all", id="file-at-its-end"),
        pytest.param("http://x/y.png", "http://x/y.png is a URL, and no path: fetch it", id="url"),
    ],
)
def test_what_is_no_picture_is_refused(bright: Path, picture: Any, says: str) -> None:
    with pytest.raises(PictureError, match=says):
        load(bright, threads=1).predict(picture)


@pytest.mark.parametrize("path", [None, 3, b"bundle"])
def test_what_is_no_path_is_refused(path: Any) -> None:
    shown = {None: "None", 3: "3"}.get(path, "a bytes")
    with pytest.raises(RequestError, match=f"path is {shown}, expected a path"):
        load(path)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        pytest.param({"threads": 1.5}, "threads is 1.5, expected a whole number", id="half-a-thread"),
        pytest.param({"providers": []}, "no execution provider is named", id="no-provider"),
        pytest.param({"settings": [1]}, "settings is .1., expected a mapping", id="settings"),
    ],
)
def test_what_is_wrong_with_an_argument_is_not_blamed_on_the_file(
    bright: Path, wrong: dict[str, Any], says: str
) -> None:
    with pytest.raises(RequestError, match=says) as told:
        load(bright, **wrong)
    assert str(bright) not in str(told.value)


def test_one_picture_in_place_of_several_is_the_only_one(bright: Path, tmp_path: Path) -> None:
    file = tmp_path / "white.png"
    Image.fromarray(WHITE).save(file)
    predictor = load(bright, threads=1)
    (found,) = predictor.predict_each(str(file))
    assert isinstance(found, Prediction)
    assert found.to_json() == predictor.predict(file).to_json()


@pytest.mark.parametrize("inputs", [3, [3]])
def test_inputs_that_are_no_mapping_are_refused(bright: Path, inputs: Any) -> None:
    with pytest.raises(RequestError, match=r"inputs is .*, expected a mapping"):
        load(bright, threads=1).predict(WHITE, inputs)


def test_another_level_of_optimization_is_refused(bright: Path) -> None:
    with pytest.raises(RequestError, match='"max", expected one of none, basic, extended, all'):
        load(bright, optimization="max")  # type: ignore[arg-type]


@pytest.mark.parametrize("apart", [False, True], ids=["one-file", "weights-beside-it"])
def test_a_path_that_the_locale_cannot_read_is_loaded_or_named(
    bright: Path, tmp_path: Path, apart: bool
) -> None:
    folder = tmp_path / os.fsdecode(b"b\xfc")  # as a UTF-8 path is read under LC_ALL=C
    folder.mkdir()
    model = onnx.load(bright)
    onnx.save(model, tmp_path / "m.onnx", save_as_external_data=apart, location="m.data", size_threshold=0)
    for file in tmp_path.glob("m.*"):
        file.rename(folder / file.name)
    assert (folder / "m.data").exists() == apart
    if apart:
        with pytest.raises(ModelFileError, match="does not take that path in this locale: set PYTHONUTF8=1"):
            load(folder / "m.onnx")
        return
    expected = load(bright, threads=1).predict(WHITE).to_json()
    assert load(folder / "m.onnx", threads=1).predict(WHITE).to_json() == expected


def test_boxes_come_in_the_pictures_own_pixels(bright: Path) -> None:
    (box,) = load(bright, threads=1).predict(WHITE).to_json()["boxes"]
    assert box["box_xyxy"] == [8, 4, 24, 20]
    assert (box["label"], box["score"]) == ("bright", 1.0)


def test_a_picture_without_detections_flows_through(bright: Path) -> None:
    prediction = load(bright, threads=1).predict(BLACK)
    assert prediction.decisions.boxes.shape == (0, 4)
    assert prediction.to_json() == {"boxes": []}
    assert prediction.lines() == ("0 detections",)
    np.testing.assert_array_equal(np.asarray(prediction.draw(BLACK)), BLACK)


def test_lines_are_a_summary_and_a_line_for_each(bright: Path) -> None:
    summary, row = load(bright, threads=1).predict(WHITE).lines()
    assert summary == "1 detection"
    assert row.startswith("bright")


def test_a_prediction_prints_itself_as_predict_does(bright: Path) -> None:
    prediction = load(bright, threads=1).predict(WHITE)
    summary, row = prediction.lines()
    assert str(prediction) == f"{summary}\n  {row}"


def test_overrides_replace_the_files_settings(bright: Path) -> None:
    grey = np.full((32, 32, 3), 102, np.uint8)
    assert load(bright, threads=1).predict(grey).to_json()["boxes"] == []
    predictor = load(bright, threads=1, settings={"score_threshold": 0.3})
    assert len(predictor.predict(grey).to_json()["boxes"]) == 1


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        pytest.param({"top_k": 0.5}, "top_k is not a setting of task detection", id="no-such-setting"),
        pytest.param({"score_threshold": 1.5}, "expected a number from 0 to 1", id="above-1"),
        pytest.param({"class_agnostic": 0.5}, "expected true or false", id="half-a-truth"),
        pytest.param(
            {"decode": 1.0},
            "decode is not a setting of .*class_agnostic, iou_threshold, score_threshold$",
            id="not-the-users",
        ),
    ],
)
def test_overrides_that_cannot_be(bright: Path, overrides: dict[str, float], says: str) -> None:
    with pytest.raises(RequestError, match=says):
        load(bright, threads=1, settings=overrides)


@pytest.mark.parametrize("threads", [10**6, 1025, -1])
def test_threads_that_nobody_has_are_refused(bright: Path, threads: int) -> None:
    for load_it in (load, load_plain):
        with pytest.raises(RequestError, match=f"threads = {threads}: expected 1 to 1024, or 0"):
            load_it(bright, threads=threads)
    with pytest.raises(RequestError, match=f"threads = {threads}"):
        compare(bright, bright, threads=threads)
    assert SessionSettings(threads=1024).to_options().intra_op_num_threads == 1024


def test_another_tools_file_says_how_to_run_it(plain: Path) -> None:
    with pytest.raises(ModelFileError, match=r"no onnxproof metadata.*--input NAME=FILE.*load_plain"):
        load(plain, threads=1)


def test_a_model_without_pictures_says_how_to_run_it(bright: Path, tmp_path: Path) -> None:
    predictor = load(edited(bright, tmp_path, preprocess=None), threads=1)
    with pytest.raises(RequestError, match=r"float32\[1, 3, height, width\].*none a picture.*inputs=\{name"):
        predictor.predict(WHITE)


def test_a_model_that_does_not_run_is_a_message(bright: Path, tmp_path: Path) -> None:
    manifest = load(bright, threads=1).manifest
    assert manifest.contract.preprocess is not None
    renamed = edited(
        bright,
        tmp_path,
        inputs=(replace(manifest.contract.inputs[0], dtype="uint8"),),
        preprocess=replace(manifest.contract.preprocess, dtype="uint8"),
    )
    with pytest.raises(ModelFileError, match=r"does not run on input uint8\[1, 3, 16, 16\].*Export it again"):
        load(renamed, threads=1).predict(WHITE)


ROWS, LINES, COLUMNS = Dim("rows", 1, 4), Dim("lines", 8, 32, 8), Dim("columns", 8, 32, 8)


def written(
    file: Path,
    inputs: Mapping[str, str],
    outputs: Mapping[str, str],
    nodes: list[onnx.NodeProto],
    **about: Any,
) -> Path:
    """A model made by hand, its inputs and outputs as texts, with onnxproof's metadata."""
    specs = {
        name: TensorSpec.parse(name, text) for texts in (inputs, outputs) for name, text in texts.items()
    }
    kinds = {"float32": TensorProto.FLOAT, "int64": TensorProto.INT64}
    values = {
        name: helper.make_tensor_value_info(name, kinds[spec.dtype], spec.shape)
        for name, spec in specs.items()
    }
    graph = helper.make_graph(
        nodes, "sketch", [values[name] for name in inputs], [values[name] for name in outputs]
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], producer_name="by hand")
    model.ir_version = 8
    manifest = made(
        name="sketch",
        family="none",
        inputs=tuple(specs[name] for name in inputs),
        outputs=tuple(specs[name] for name in outputs),
        opset=17,
        exporter="by hand",
        simplify="none",
        checkpoint_sha256=None,
        **{"preprocess": None, "dims": (ROWS, LINES, COLUMNS), "classes": (), **about},
    )
    helper.set_model_props(model, {METADATA_KEY: manifest.to_metadata()})
    onnx.save(model, file)
    return file


CLASSES = tuple(ClassInfo(name, (0, 0, 0)) for name in ("red", "green", "blue"))
SCENE = {"scene": "float32[rows, lines, columns, 3] in 0..1"}
QUERY = {"query": "float32[rows, 3] in 0..1"}
LOGITS = {"logits": "float32[rows, 3]"}
RANKED: dict[str, Any] = {
    "task": "classification",
    "classes": CLASSES,
    "postprocess": {"decode": "none", "outputs": ["logits"], "top_k": 2},
}


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The mean colour of a picture, weighted by a query of three: which colour is it most?"""
    return written(
        tmp_path_factory.mktemp("asked") / "asked.onnx",
        {**SCENE, **QUERY},
        LOGITS,
        [
            helper.make_node("ReduceMean", ["scene"], ["mean"], axes=[1, 2], keepdims=0),
            helper.make_node("Mul", ["mean", "query"], ["logits"]),
        ],
        preprocess=Preprocess("scene", "NHWC", "float32", 255, "stretch", 16, LINES, COLUMNS),
        **RANKED,
    )


@pytest.fixture(scope="module")
def ranked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Logits as they are given: no picture at all."""
    return written(
        tmp_path_factory.mktemp("ranked") / "ranked.onnx",
        QUERY,
        LOGITS,
        [helper.make_node("Identity", ["query"], ["logits"])],
        **RANKED,
    )


def row(*values: float) -> NDArray[np.float32]:
    return np.array([values], np.float32)


def test_a_picture_beside_an_array(asked: Path) -> None:
    predictor = load(asked, threads=1)
    prediction = predictor.predict(WHITE, {"query": row(1, 3, 2)})
    assert prediction.decisions.labels.tolist() == [1, 2]
    assert (prediction.width, prediction.height) == (32, 32)
    assert prediction.lines()[0] == "green"
    assert prediction.draw(WHITE).size == (32, 32)
    assert predictor.predict(WHITE, {"query": row(3, 1, 2)}).lines()[0] == "red"


def test_arrays_alone(ranked: Path) -> None:
    prediction = load(ranked, threads=1).predict(inputs={"query": row(0, 1, 2)})
    assert prediction.lines()[0] == "blue"
    assert prediction.to_json()["labels"] == ["red", "green", "blue"]
    assert (prediction.width, prediction.height) == (None, None)
    with pytest.raises(RequestError, match="the model takes no picture"):
        prediction.draw(WHITE)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_nothing_is_decided_from_what_is_no_number(ranked: Path, asked: Path, value: float) -> None:
    says = r"the output logits holds NaN or infinity in 1 of 3 numbers"
    with pytest.raises(PictureError, match=says):
        load(ranked, threads=1).predict(inputs={"query": row(0, value, 2)})
    (found,) = load(asked, threads=1).predict_each([WHITE], {"query": row(1, value, 2)})
    assert isinstance(found, PictureError)
    masked = load(ranked, threads=1).predict(inputs={"query": row(0, -np.inf, 2)})
    assert masked.lines()[0] == "blue"


def test_boxes_with_nan_are_left_out_unless_all_are() -> None:
    outputs = {"boxes": np.array([[[0, 1], [np.nan, 1]], [[np.nan] * 2] * 2], np.float32)}
    assert why_undecided(outputs, ("boxes",), 0, 2, needs_all=False) is None
    assert "in 4 of 4 numbers" in str(why_undecided(outputs, ("boxes",), 1, 2, needs_all=False))
    assert "in 1 of 4 numbers" in str(why_undecided(outputs, ("boxes",), 0, 2, needs_all=True))
    assert why_undecided({"ids": np.ones((2, 3), np.int64)}, ("ids",), 0, 2, needs_all=True) is None


def test_numbers_beyond_the_declared_range_are_told() -> None:
    spec = TensorSpec.parse("image", "float32[rows, 3] in 0..1")
    said = note_on_range(np.array([[0, 127, 255]], np.float32), spec)
    assert said is not None
    assert said.startswith(
        "input image: the array's numbers are in 0..255, and the file was proved for float32"
    )
    for fine in (row(0, 0.5, 1), row(-0.001, 0, 1.001), row(np.nan, 0, 1), np.zeros((0, 3), np.float32)):
        assert note_on_range(fine, spec) is None
    assert note_on_range(row(-9, 0, 9), TensorSpec.parse("x", "float32[rows, 3]")) is None


def test_an_array_without_the_axis_of_rows_gets_it(ranked: Path, asked: Path) -> None:
    query = np.array([0, 1, 2], np.float32)
    assert load(ranked, threads=1).predict(inputs={"query": query}).lines()[0] == "blue"
    assert load(asked, threads=1).predict(WHITE, {"query": query}).lines()[0] == "blue"
    with pytest.raises(RequestError, match=r"query: got float32\[\], expected float32\[rows, 3\]"):
        load(ranked, threads=1).predict(inputs={"query": np.array(1, np.float32)})


def test_an_array_in_a_pictures_place_is_a_picture_of_its_size(asked: Path, bright: Path) -> None:
    laid = np.full((1, 8, 16, 3), [0, 1, 0], np.float32)
    prediction = load(asked, threads=1).predict(inputs={"scene": laid, "query": row(1, 1, 1)})
    assert (prediction.lines()[0], prediction.width, prediction.height) == ("green", 16, 8)
    boxes = load(bright, threads=1).predict(inputs={"input": np.ones((1, 3, 16, 16), np.float32)})
    (box,) = boxes.to_json()["boxes"]
    assert box["box_xyxy"] == [4, 2, 12, 10]
    assert box["box"] == {"topX": 0.25, "topY": 0.125, "bottomX": 0.75, "bottomY": 0.625}
    assert boxes.draw(np.zeros((16, 16, 3), np.uint8)).getbbox() is not None


def test_boxes_without_a_picture_come_in_the_models_units_alone(tmp_path: Path) -> None:
    outputs = {"boxes": "float32[rows, 2, 4]", "scores": "float32[rows, 2, 3]"}
    given = {f"given_{name}": text for name, text in outputs.items()}
    file = written(
        tmp_path / "boxes.onnx",
        given,
        outputs,
        [helper.make_node("Identity", [f"given_{name}"], [name]) for name in outputs],
        task="detection",
        classes=CLASSES,
        postprocess={
            "decode": "split",
            "outputs": list(outputs),
            "score_threshold": 0.5,
            "iou_threshold": 0.5,
            "class_agnostic": False,
        },
    )
    arrays = {
        "given_boxes": np.array([[1, 2, 3, 4], [5, 6, 7, 8]], np.float32),
        "given_scores": np.array([[0.1, 0.75, 0.1], [0.1, 0.2, 0.3]], np.float32),
    }
    prediction = load(file, threads=1).predict(inputs=arrays)
    assert prediction.to_json() == {"boxes": [{"box_xyxy": [1, 2, 3, 4], "label": "green", "score": 0.75}]}


def test_outputs_as_they_are_of_any_number_of_rows(ranked: Path, asked: Path) -> None:
    rows = np.arange(6, dtype=np.float32).reshape(2, 3)
    np.testing.assert_array_equal(load(ranked, threads=1).run(inputs={"query": rows})["logits"], rows)
    (means,) = load(asked, threads=1).run(WHITE, {"query": row(1, 1, 1)}).values()
    np.testing.assert_allclose(means, [[1, 1, 1]])


def test_top_k_has_a_range_of_its_own(ranked: Path) -> None:
    query = {"query": row(0, 1, 2)}
    for count in (1, 3):
        best = load(ranked, threads=1, settings={"top_k": count}).predict(inputs=query).decisions.labels
        assert best.tolist() == [2, 1, 0][:count]
    for wrong in (0, 1.5, True):
        with pytest.raises(RequestError, match="expected a whole number from 1 up"):
            load(ranked, threads=1, settings={"top_k": wrong})


def test_the_task_raw_says_what_to_do(tmp_path: Path) -> None:
    node = helper.make_node("Identity", ["query"], ["logits"])
    raw = load(written(tmp_path / "raw.onnx", QUERY, LOGITS, [node], task="raw", postprocess={}), threads=1)
    with pytest.raises(RequestError, match=r"nothing is decided.*Predictor\.run"):
        raw.predict(inputs={"query": row(1, 2, 3)})
    assert raw.run(inputs={"query": row(1, 2, 3)})["logits"].tolist() == [[1, 2, 3]]


LAID = np.zeros((1, 16, 16, 3), np.float32)


@pytest.mark.parametrize(
    ("picture", "inputs", "says"),
    [
        pytest.param(WHITE, {}, r"nothing is given for input query .*--input query=", id="array-missing"),
        pytest.param(
            None,
            {"query": row(1, 1, 1)},
            "nothing is given for input scene .*a picture",
            id="picture-missing",
        ),
        pytest.param(
            WHITE, {"quest": row(1, 1, 1)}, 'no input "quest"; there are: scene .*, query', id="unknown-name"
        ),
        pytest.param(
            WHITE, {"scene": LAID, "query": row(1, 1, 1)}, "scene is given twice", id="picture-and-array"
        ),
        pytest.param(
            WHITE,
            {"query": np.ones((1, 3))},
            r"got float64\[1, 3\], expected float32\[rows, 3\].*: convert",
            id="dtype",
        ),
        pytest.param(
            WHITE, {"query": row(1, 1)}, r"got float32\[1, 2\], expected float32\[rows, 3\]", id="fixed-size"
        ),
        pytest.param(WHITE, {"query": np.ones((1, 1, 3), np.float32)}, r"got float32\[1, 1, 3\]", id="rank"),
        pytest.param(
            WHITE,
            {"query": np.ones((2, 3), np.float32)},
            "the axis rows is 2 in input query and 1 in input scene",
            id="two-sizes-of-an-axis",
        ),
        pytest.param(
            None,
            {"scene": LAID.repeat(5, axis=0), "query": np.ones((5, 3), np.float32)},
            r"rows is 5, expected one of the declared sizes 1\.\.4",
            id="above-what-was-declared",
        ),
        pytest.param(
            None,
            {"scene": LAID[:, :12], "query": row(1, 1, 1)},
            r"lines is 12, expected one of the declared sizes 8\.\.32 step 8",
            id="between-two-steps",
        ),
        pytest.param(
            None,
            {"scene": LAID.repeat(2, axis=0), "query": np.ones((2, 3), np.float32)},
            r"hold 2 rows.*one row at a time",
            id="several-rows",
        ),
    ],
)
def test_inputs_that_do_not_fit(
    asked: Path, picture: NDArray[np.uint8] | None, inputs: dict[str, NDArray[Any]], says: str
) -> None:
    with pytest.raises(RequestError, match=says):
        load(asked, threads=1).predict(picture, inputs)


def test_values_that_the_file_cannot_take_are_the_users(tmp_path: Path) -> None:
    table = helper.make_node("Constant", [], ["table"], value_floats=[1.0, 2.0, 3.0])
    gathered = helper.make_node("Gather", ["table", "ids"], ["logits"])
    inputs = {"ids": "int64[rows, 3] in 0..2"}
    file = written(tmp_path / "ids.onnx", inputs, LOGITS, [table, gathered], **RANKED)
    predictor = load(file, threads=1)
    assert predictor.predict(inputs={"ids": np.array([[0, 2, 1]])}).decisions.labels.tolist() == [1, 2]
    with pytest.raises(
        RequestError, match=r"does not run on ids int64\[1, 3\].*int64\[rows, 3\] in 0\.\.2\?"
    ):
        predictor.predict(inputs={"ids": np.array([[0, 7, 1]])})


def test_a_request_takes_the_other_inputs_beside_each_picture(asked: Path, tmp_path: Path) -> None:
    Image.fromarray(WHITE).save(tmp_path / "white.png")
    data = [str(tmp_path / "white.png"), "§", str(tmp_path / "white.png")]
    request = parse_request(json.dumps({"input_data": {"columns": ["image"], "data": data}}))
    predictor = load(asked, threads=1)
    first, second, third = answer(predictor, request, inputs={"query": row(1, 3, 2)})
    assert first.prediction is not None
    assert first.prediction.lines()[0] == "green"
    assert first.to_json() == third.to_json()
    assert list(second.to_json()) == ["error"]
    with pytest.raises(RequestError, match="nothing is given for input query"):
        list(answer(predictor, request))


def test_metadata_that_is_not_utf8_is_refused(bright: Path, tmp_path: Path) -> None:
    model = onnx.load(bright)
    helper.set_model_props(model, {METADATA_KEY: "?" * 40})
    file = tmp_path / "model.onnx"
    file.write_bytes(model.SerializeToString().replace(b"?" * 40, b"\xff" * 40))
    for opening in (load, load_plain):
        with pytest.raises(ModelFileError, match="UTF-8"):
            opening(file, threads=1)


@pytest.mark.parametrize(
    ("specs", "words"),
    [
        pytest.param({"inputs": "another"}, "declares the inputs another, its graph has", id="another-name"),
        pytest.param({"shape": (1, 2, 3, 4, 5)}, "its graph has the axes", id="another-rank"),
    ],
)
def test_metadata_of_another_interface_is_refused(
    bright: Path, tmp_path: Path, specs: dict[str, Any], words: str
) -> None:
    manifest = load(bright, threads=1).manifest
    (spec,) = manifest.contract.inputs
    changed = replace(spec, name=specs.get("inputs", spec.name), shape=specs.get("shape", spec.shape))
    file = edited(bright, tmp_path, inputs=(changed,), preprocess=None)
    with pytest.raises(ModelFileError, match=words):
        load(file, threads=1)
