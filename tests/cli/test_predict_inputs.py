"""predict with arrays: beside pictures, in their place, and in models that take none."""

import base64
import json
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import numpy as np
import onnx
import pytest
from contracts import manifest as made
from numpy.typing import NDArray
from onnx import TensorProto, helper
from PIL import Image

from onnxproof.contract import ClassInfo, Preprocess
from onnxproof.runtime.manifest import METADATA_KEY
from onnxproof.tensors import Dim, TensorSpec

Refuse = Callable[..., None]
Run = Callable[..., CompletedProcess[str]]

ROWS, LINES, COLUMNS = Dim("rows", 1, 4), Dim("lines", 8, 32, 8), Dim("columns", 8, 32, 8)
SCENE = TensorSpec("scene", "float32", ("rows", "lines", "columns", 3), (0, 1))
QUERY = TensorSpec("query", "float32", ("rows", 3), (0, 3))
ANSWER = TensorSpec("logits", "float32", ("rows", 3))


def written(file: Path, task: str, *inputs: TensorSpec) -> Path:
    """The mean colour of a scene times a query of three, or the query as it is: which colour is it most?"""
    nodes = [helper.make_node("Identity", ["query"], ["logits"])]
    if SCENE in inputs:
        nodes = [
            helper.make_node("ReduceMean", ["scene"], ["mean"], axes=[1, 2], keepdims=0),
            helper.make_node("Mul", ["mean", "query"], ["logits"]),
        ]
    values = [
        helper.make_tensor_value_info(spec.name, TensorProto.FLOAT, spec.shape) for spec in (*inputs, ANSWER)
    ]
    graph = helper.make_graph(nodes, "sketch", values[:-1], values[-1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], producer_name="by hand")
    model.ir_version = 8
    manifest = made(
        name="sketch",
        task=task,
        family="none",
        inputs=inputs,
        outputs=(ANSWER,),
        dims=(ROWS, LINES, COLUMNS),
        preprocess=Preprocess("scene", "NHWC", "float32", 255, "stretch", 16, LINES, COLUMNS)
        if SCENE in inputs
        else None,
        classes=tuple(ClassInfo(name, (0, 0, 0)) for name in ("red", "green", "blue")),
        postprocess={"decode": "none", "outputs": ["logits"], "top_k": 2} if task != "raw" else {},
        opset=17,
        exporter="by hand",
        simplify="none",
        checkpoint_sha256=None,
    )
    helper.set_model_props(model, {METADATA_KEY: manifest.to_metadata()})
    onnx.save(model, file)
    return file


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Files that the tests name: models, a picture, and queries that prefer green and blue."""
    written(tmp_path / "asked.onnx", "classification", SCENE, QUERY)
    written(tmp_path / "ranked.onnx", "classification", QUERY)
    written(tmp_path / "raw.onnx", "raw", QUERY)
    Image.new("RGB", (40, 20), (255, 255, 255)).save(tmp_path / "white.png")
    queries: dict[str, NDArray[Any]] = {
        "green.npy": np.array([[1, 3, 2]], np.float32),
        "blue.npy": np.array([0, 1, 2], np.float32),
        "rows.npy": np.ones((2, 3), np.float32),
        "scene.npy": np.ones((1, 8, 8, 3), np.float32),
        "double.npy": np.ones((1, 3)),
    }
    for name, array in queries.items():
        np.save(tmp_path / name, array)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_query_beside_each_picture(run: Run) -> None:
    ran = run("predict", "asked.onnx", "white.png", "white.png", "--input", "query=green.npy")
    assert (ran.returncode, ran.stderr) == (0, "")
    assert [line.split()[:2] for line in ran.stdout.splitlines()] == [
        ["white.png:", "green"],
        ["green", "0.665"],
        ["blue", "0.245"],
    ] * 2


def test_a_picture_by_its_inputs_name_is_an_image(run: Run) -> None:
    by_name = run("predict", "asked.onnx", "--input", "scene=white.png", "--input", "query=green.npy")
    assert (by_name.returncode, by_name.stderr) == (0, "")
    assert by_name.stdout == run("predict", "asked.onnx", "white.png", "--input", "query=green.npy").stdout


def test_a_prepared_array_in_the_pictures_place(run: Run) -> None:
    ran = run("predict", "asked.onnx", "--input", "scene=scene.npy", "--input", "query=green.npy")
    assert ran.stdout.splitlines()[0] == "green"


def test_arrays_alone_print_decisions(run: Run) -> None:
    ran = run("predict", "ranked.onnx", "--input", "query=blue.npy")
    assert (ran.returncode, ran.stderr) == (0, "")
    assert [line.split()[0] for line in ran.stdout.splitlines()] == ["blue", "blue", "green"]
    one = run("predict", "ranked.onnx", "--input", "blue.npy", "--top-k", "1")
    assert [line.split()[0] for line in one.stdout.splitlines()] == ["blue", "blue"]
    said = json.loads(run("predict", "ranked.onnx", "--input", "query=blue.npy", "--json").stdout)
    assert said["labels"] == ["red", "green", "blue"]
    assert said["probs"] == pytest.approx([0.09, 0.2447, 0.6652], abs=1e-3)


def test_raw_outputs_are_there_when_asked_for_and_of_the_task_raw(run: Run, folder: Path) -> None:
    expected = "logits  float32[1, 3]  min 0  max 2  mean 1  argmax [2]\n"
    assert run("predict", "ranked.onnx", "--input", "query=blue.npy", "--raw").stdout == expected
    assert run("predict", "raw.onnx", "--input", "query=blue.npy").stdout == expected
    rows = run("predict", "ranked.onnx", "--input", "query=rows.npy", "--out", "o.npz")
    assert (rows.returncode, rows.stdout.split()[:2]) == (0, ["logits", "float32[2,"])
    with np.load(folder / "o.npz") as arrays:
        assert arrays["logits"].tolist() == [[1, 1, 1]] * 2


def test_outputs_that_no_archive_holds_are_not_written(run: Run, folder: Path) -> None:
    given = helper.make_tensor_value_info("query", TensorProto.FLOAT, [3])
    listed = helper.make_tensor_sequence_value_info("listed", TensorProto.FLOAT, None)
    node = helper.make_node("SequenceConstruct", ["query", "query"], ["listed"])
    graph = helper.make_graph([node], "lists", [given], [listed])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, folder / "lists.onnx")
    command = ("predict", "lists.onnx", "--input", "query=blue.npy")
    refused = run(*command, "--out", "o.npz")
    told = "onnxproof: no output is an array, so nothing is written to o.npz: --json prints them\n"
    assert (refused.returncode, refused.stderr) == (2, told)
    assert not (folder / "o.npz").exists()
    (said,) = json.loads(run(*command, "--json").stdout)["outputs"]
    assert said["shape"] == [2]


def test_a_request_beside_a_query(run: Run, folder: Path) -> None:
    text = base64.b64encode((folder / "white.png").read_bytes()).decode()
    request = {"input_data": {"columns": ["image"], "data": [text, "§", "white.png"]}}
    (folder / "request.json").write_text(json.dumps(request))
    ran = run("predict", "asked.onnx", "--request", "request.json", "--input", "query=green.npy")
    assert ran.returncode == 0
    first, second, third = json.loads(ran.stdout)
    assert first == third
    assert np.argmax(first["probs"]) == 1
    assert list(second) == ["error"]


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        pytest.param(
            ["asked.onnx", "white.png"], ("nothing is given for input query", "--input query="), id="no-query"
        ),
        pytest.param(
            ["asked.onnx", "--input", "query=green.npy"],
            ("nothing is given for input scene", "a picture"),
            id="no-picture",
        ),
        pytest.param(
            ["ranked.onnx", "white.png"], ("none a picture", "--input NAME=FILE.npy"), id="takes-no-picture"
        ),
        pytest.param(["ranked.onnx", "--input", "query=double.npy"], ("float64[1, 3]", "astype"), id="dtype"),
        pytest.param(
            ["ranked.onnx", "--input", "query=rows.npy"], ("hold 2 rows", "one row", "--raw"), id="two-rows"
        ),
        pytest.param(
            ["ranked.onnx", "--input", "query=blue.npy", "--draw", "d"],
            ("--draw needs a picture",),
            id="draw",
        ),
        pytest.param(
            ["raw.onnx", "--input", "query=blue.npy", "--top-k", "1"], ("top_k is not a setting",), id="raw"
        ),
    ],
)
def test_what_cannot_be_predicted(refuse: Refuse, arguments: list[str], parts: tuple[str, ...]) -> None:
    refuse("predict", *arguments, says=parts)


@pytest.mark.parametrize("model", ["ranked.onnx", "raw.onnx"])
@pytest.mark.parametrize("file", ["query=bomb.npz", "bomb.npz", "query=many.npy", "other.npz"])
def test_an_array_that_does_not_fit_is_refused_by_its_header(
    refuse: Refuse, folder: Path, monkeypatch: pytest.MonkeyPatch, model: str, file: str
) -> None:
    many = np.zeros((1000, 3), np.float32)
    np.save(folder / "many.npy", many)
    np.savez_compressed(folder / "bomb.npz", query=many)
    np.savez_compressed(folder / "other.npz", other=many)

    def read(*_: object, **__: object) -> None:
        raise AssertionError("its numbers were read")

    monkeypatch.setattr("numpy.lib.format.read_array", read)
    says = 'no input "other"' if file == "other.npz" else "rows is 1000, expected one of the declared sizes"
    refuse("predict", model, "--input", file, says=[says])


def test_numbers_beyond_the_declared_range_are_noted(run: Run, folder: Path) -> None:
    np.save(folder / "bytes.npy", np.array([[0, 255, 128]], np.float32))
    ran = run("predict", "ranked.onnx", "--input", "query=bytes.npy")
    assert ran.returncode == 0
    assert ran.stderr == (
        "note: input query: the array's numbers are in 0..255, and the file was proved for float32[rows, 3] "
        "in 0..3: are they scaled otherwise?\n"
    )
