"""onnxproof bisect: exit codes, streams, and the folder that it leaves."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

Run = Callable[..., CompletedProcess[str]]
Refuse = Callable[..., None]


@pytest.fixture(scope="module")
def damaged(small_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, onnx.NodeProto]:
    """The small bundle's file with one convolution scaled by a hundredth, and that node."""
    model = onnx.load(small_bundle / "model.onnx")
    node = [node for node in model.graph.node if node.op_type == "Conv"][20]
    (weight,) = (tensor for tensor in model.graph.initializer if tensor.name == node.input[1])
    weight.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weight) * np.float32(1.01), weight.name))
    file = tmp_path_factory.mktemp("damaged") / "model.onnx"
    onnx.save(model, file)
    return file, node


STAGES = {
    "look for a case that fails",
    "run the model in float64",
    "run the graph with its constants moved",
    "walk the graph in float64",
    "ask the nodes that ONNX Runtime runs",
}
"""What standard error may tell, with or without counts behind a colon."""


def case_of(run: Run, bundle: Path) -> str:
    """The name of a case that the bundle's plan has."""
    ran = run("bisect", bundle, "--case", "nonsense")
    return str(ran.stderr.strip().rpartition("such as ")[2])


def test_a_healthy_file_is_exit_0(run: Run, small_bundle: Path, tmp_path: Path) -> None:
    ran = run("bisect", small_bundle, "--case", "0", "--out", tmp_path / "found")
    assert ran.returncode == 0, ran
    assert "no node is named: the file computes what the checkpoint computes here" in ran.stdout
    assert not (tmp_path / "found").exists()


@pytest.mark.parametrize(
    "pairs",
    [
        pytest.param((), id="one-is-left-on-each-side"),
        pytest.param(("--map", "images=input", "--map", "boxes=output"), id="said"),
    ],
)
def test_a_file_with_other_names_is_walked(
    run: Run,
    small_bundle: Path,
    damaged: tuple[Path, onnx.NodeProto],
    tmp_path: Path,
    pairs: tuple[str, ...],
) -> None:
    file, node = damaged
    model = onnx.load(file)
    names = {"input": "images", "output": "boxes"}
    for value in (*model.graph.input, *model.graph.output):
        value.name = names[value.name]
    for one in model.graph.node:
        one.input[:] = [names.get(name, name) for name in one.input]
        one.output[:] = [names.get(name, name) for name in one.output]
    theirs = tmp_path / "theirs.onnx"
    onnx.save(model, theirs)
    ran = run("bisect", small_bundle, "--onnx", theirs, *pairs, "--out", tmp_path / "found", "--json")
    assert ran.returncode == 1, ran
    document = json.loads(ran.stdout)
    assert [found["name"] for found in document["nodes"]] == [node.name]
    assert document["model_sha256"] == hashlib.sha256(theirs.read_bytes()).hexdigest()
    assert "the file's input images is the model's input" in document["notes"]
    assert "the file's output boxes is the model's output" in document["notes"]


def test_names_of_the_bundles_own_file_are_refused(refuse: Refuse, small_bundle: Path) -> None:
    refuse("bisect", small_bundle, "--map", "a=b", says=("--map is for a file from elsewhere", "--onnx FILE"))


def test_a_damaged_file_is_exit_1_and_named(
    run: Run, small_bundle: Path, damaged: tuple[Path, onnx.NodeProto], tmp_path: Path
) -> None:
    file, node = damaged
    ran = run("bisect", small_bundle, "--onnx", file, "--out", tmp_path / "found")
    assert ran.returncode == 1, ran
    assert f"Conv  {node.name}  -> {node.output[0]}" in ran.stdout
    assert "function link: error begins at one node in the file" in ran.stdout
    assert "rounding allows" in ran.stdout
    stages = {line.partition(":")[0] for line in ran.stderr.splitlines()}
    assert "walk the graph in float64" in stages
    assert stages <= STAGES
    left = sorted(path.name for path in (tmp_path / "found").iterdir())
    assert left == ["bisect.json", "repro.npz", "repro.onnx", "repro.txt"]


@pytest.mark.slow
def test_json_is_one_document_and_the_file_holds_the_same(
    run: Run, small_bundle: Path, damaged: tuple[Path, onnx.NodeProto], tmp_path: Path
) -> None:
    file, node = damaged
    case = case_of(run, small_bundle)
    ran = run("bisect", small_bundle, "--onnx", file, "--out", tmp_path / "found", "--case", case, "--json")
    assert ran.returncode == 1, ran
    said = json.loads(ran.stdout)
    assert said == json.loads((tmp_path / "found" / "bisect.json").read_text(encoding="utf-8"))
    assert (said["status"], said["case"]["name"]) == ("node", case)
    assert [named["outputs"] for named in said["nodes"]] == [[node.output[0]]]
    (leaving,) = said["leaving"]
    assert leaving["module"].startswith("network.")
    assert leaving["apart"]["max"] > 1e6 * leaving["apart"]["limit"]
    assert (said["format"], said["link"], said["graph"]) == (3, "function", "file")


@pytest.mark.slow
def test_the_folder_is_named_by_the_job(
    run: Run,
    small_bundle: Path,
    damaged: tuple[Path, onnx.NodeProto],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run("bisect", small_bundle.resolve(), "--onnx", damaged[0], "--case", "0").returncode == 1
    assert (tmp_path / "bisect" / "small" / "repro.onnx").is_file()


def test_an_unknown_case_is_refused(refuse: Refuse, small_bundle: Path) -> None:
    refuse("bisect", small_bundle, "--case", "99999", says=("there is no case 99999", "from 0 to"))


def test_a_missing_file_is_refused(refuse: Refuse, small_bundle: Path, tmp_path: Path) -> None:
    refuse("bisect", small_bundle, "--onnx", tmp_path / "none.onnx", says=("none.onnx does not exist",))


def test_what_is_no_model_is_refused(refuse: Refuse, small_bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "text.onnx").write_text("no model", encoding="utf-8")
    refuse("bisect", small_bundle, "--onnx", tmp_path / "text.onnx", says=("text.onnx cannot be loaded",))


def test_a_file_of_another_model_could_not_be_run(run: Run, small_bundle: Path, tmp_path: Path) -> None:
    model = onnx.load(small_bundle / "model.onnx")
    renamed = model.graph.output[0].name
    model.graph.output[0].name = "other"
    model.graph.output.add().CopyFrom(model.graph.output[0])
    model.graph.output[1].name = "more"
    model.graph.node.append(onnx.helper.make_node("Identity", [renamed], ["other"]))
    model.graph.node.append(onnx.helper.make_node("Identity", [renamed], ["more"]))
    onnx.save(model, tmp_path / "other.onnx")
    ran = run("bisect", small_bundle, "--onnx", tmp_path / "other.onnx")
    assert ran.returncode == 4
    assert "has the outputs other, more; expected output" in ran.stderr
    assert ran.stdout == ""


def test_help_tells_the_exit_codes(run: Run) -> None:
    said = " ".join(run("bisect", "--help").stdout.split())
    assert "1 nodes are named" in said
    assert "4 it could not be run" in said
