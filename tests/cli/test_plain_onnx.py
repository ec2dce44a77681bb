"""inspect and predict of ONNX files that onnxproof did not write, and of outputs as they are."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from subprocess import CompletedProcess

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from PIL import Image

Refuse = Callable[..., None]
Run = Callable[..., CompletedProcess[str]]
Value = tuple[str, int, Sequence[int | str | None]]


def write(
    file: Path, nodes: Sequence[onnx.NodeProto], inputs: Sequence[Value], outputs: Sequence[Value]
) -> Path:
    graph = helper.make_graph(
        list(nodes),
        "sketch",
        [helper.make_tensor_value_info(*value) for value in inputs],
        [helper.make_tensor_value_info(*value) for value in outputs],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], producer_name="another")
    model.ir_version = 8
    helper.set_model_props(model, {"author": "somebody", "notes": "many words " * 50})
    onnx.save(model, file)
    return file


@pytest.fixture
def means(tmp_path: Path) -> Path:
    """A picture's mean of each channel, and the picture itself."""
    return write(
        tmp_path / "means.onnx",
        [
            helper.make_node("ReduceMean", ["image"], ["means"], axes=[2, 3], keepdims=0),
            helper.make_node("Identity", ["image"], ["same"]),
        ],
        [("image", TensorProto.FLOAT, ["batch", 3, None, "width"])],
        [
            ("means", TensorProto.FLOAT, ["batch", 3]),
            ("same", TensorProto.FLOAT, ["batch", 3, None, "width"]),
        ],
    )


@pytest.fixture
def two(tmp_path: Path) -> Path:
    """An image and a vector in, their product out."""
    return write(
        tmp_path / "two.onnx",
        [helper.make_node("Mul", ["image", "weights"], ["weighted"])],
        [("image", TensorProto.FLOAT, [1, 2, 2, 3]), ("weights", TensorProto.FLOAT, [3])],
        [("weighted", TensorProto.FLOAT, [1, 2, 2, 3])],
    )


@pytest.fixture
def red(tmp_path: Path) -> Path:
    Image.new("RGB", (6, 4), (255, 51, 0)).save(tmp_path / "red.png")
    return tmp_path / "red.png"


def test_inspect_shows_the_interface(run: Run, means: Path) -> None:
    ran = run("inspect", means)
    assert (ran.returncode, ran.stderr) == (0, "")
    lines = ran.stdout.splitlines()
    for row in (
        "input image      float32[batch, 3, ?, width]",
        "output means     float32[batch, 3]",
        "opset            ai.onnx 17",
        "producer         another",
        "metadata author  somebody",
    ):
        assert row in lines
    assert max(map(len, lines)) < 110


def test_inspect_json(run: Run, means: Path) -> None:
    said = json.loads(run("inspect", means, "--json").stdout)
    assert said["task"] is None
    assert said["inputs"] == [{"name": "image", "dtype": "float32", "shape": ["batch", 3, None, "width"]}]
    assert [value["name"] for value in said["outputs"]] == ["means", "same"]
    assert said["opset"] == {"ai.onnx": 17}
    assert said["metadata"]["notes"] == "many words " * 50


def test_pictures_as_arguments(run: Run, means: Path, red: Path) -> None:
    ran = run("predict", means, red)
    assert ran.returncode == 0
    told, hint = ran.stderr.splitlines()
    assert told == f"{red}: input image: RGB in [0, 1], NCHW [1, 3, 4, 6], its own size"
    assert hint.startswith("note: the file does not say how it takes pictures")
    assert ran.stdout.splitlines() == [
        f"{red}:",
        "means  float32[1, 3]  min 0  max 1  mean 0.4  argmax [0]",
        "same  float32[1, 3, 4, 6]  min 0  max 1  mean 0.4",
    ]


def test_json_of_pictures_is_a_list_in_their_order(run: Run, means: Path, red: Path, tmp_path: Path) -> None:
    big = tmp_path / "big.png"
    Image.new("RGB", (40, 30)).save(big)
    first, second = json.loads(run("predict", means, big, red, "--json").stdout)
    assert (first["image"], second["image"]) == (str(big), str(red))
    assert second["outputs"][0]["values"] == [[1.0, pytest.approx(0.2), 0.0]]
    assert first["outputs"][1]["values"] is None
    assert first["outputs"][1]["values_left_out"] == 40 * 30 * 3
    assert first["outputs"][1]["shape"] == [1, 3, 30, 40]


def test_that_pictures_are_a_guess_is_said_once(run: Run, means: Path, red: Path) -> None:
    assert run("predict", means, red, red).stderr.count("note: ") == 1
    assert "note: " not in run("predict", means, red, "--jsonl").stderr
    assert "note: " not in run("predict", means, red, "--scale", "1").stderr


def test_scale_255_leaves_the_pixels(run: Run, means: Path, red: Path) -> None:
    ran = run("predict", means, "--input", f"image={red}", "--scale", "255", "--json")
    assert "RGB in [0, 255]" in ran.stderr
    assert json.loads(ran.stdout)["outputs"][0]["values"] == [[255, 51, 0]]


def test_several_inputs_and_all_outputs_to_a_file(run: Run, two: Path, red: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "weights.npy", np.array([1, 2, 3], np.float32))
    weights, out = f"weights={tmp_path / 'weights.npy'}", tmp_path / "out.npz"
    by_name = run("predict", two, "--input", weights, "--input", f"image={red}", "--out", out)
    assert by_name.returncode == 0
    with np.load(out) as written:
        np.testing.assert_allclose(written["weighted"][0, 0, 0], [1, 0.4, 0])
    assert run("predict", two, red, "--input", weights).stdout == f"{red}:\n{by_name.stdout}"


def test_an_archive_of_arrays(run: Run, two: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "in.npz", image=np.ones((1, 2, 2, 3), np.float32), weights=np.zeros(3, np.float32))
    said = json.loads(run("predict", two, "--input", tmp_path / "in.npz", "--json").stdout)
    assert said == {
        "outputs": [
            {
                "name": "weighted",
                "dtype": "float32",
                "shape": [1, 2, 2, 3],
                "min": 0,
                "max": 0,
                "mean": 0,
                "values": [[[[0, 0, 0]] * 2] * 2],
            }
        ]
    }


def test_the_raw_outputs_of_a_bundle(run: Run, small_bundle: Path, red: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "input.npy", np.zeros((2, 3, 64, 96), np.float32))
    given = ("predict", small_bundle, "--input", f"input={tmp_path / 'input.npy'}")
    (output,) = json.loads(run(*given, "--raw", "--json").stdout)["outputs"]
    assert output["shape"] == [2, 126, 6]
    assert run(*given, "--out", tmp_path / "o.npz").stdout == run(*given, "--raw").stdout
    with np.load(tmp_path / "o.npz") as arrays:
        assert arrays["output"].shape == (2, 126, 6)
    ran = run("predict", small_bundle, red, "--raw")
    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout.startswith(f"{red}:\noutput  float32[1, 126, 6]")


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        pytest.param(["--input", "wrong=x.npy"], ('no input "wrong"', "image float32"), id="unknown-name"),
        pytest.param(["--input", "weights=w.npy"], ("nothing is given for input image",), id="missing-input"),
        pytest.param(["red.png"], ("nothing is given for input weights",), id="a-picture-alone"),
        pytest.param(
            ["red.png", "--input", "weights=double.npy"],
            ("input weights: got float64[3], expected float32[3]", "astype"),
            id="dtype",
        ),
        pytest.param(
            ["red.png", "--input", "weights=long.npy"],
            ("input weights: got float32[4], expected float32[3]", "reshape"),
            id="shape",
        ),
        pytest.param(
            ["--input", "weights=red.png"],
            ("does not fit input weights float32[3]", "four axes", "--input weights=FILE.npy"),
            id="a-picture-for-a-vector",
        ),
        pytest.param(
            ["red.png", "red.png", "--out", "o.npz"], ("2 images", "give one"), id="out-of-two-runs"
        ),
        pytest.param(
            ["red.png", "--draw", "d"], ("--draw needs to know what", "did not export it"), id="draw"
        ),
        pytest.param(["--request", "r.json"], ("--request needs to know",), id="request"),
        pytest.param(["red.png", "--score-threshold", "0.5"], ("--score-threshold needs",), id="threshold"),
        pytest.param(
            ["red.png", "--input", "weights=w.npy", "--out", "no/o.npz"],
            ("cannot be written", "--out"),
            id="out",
        ),
    ],
)
@pytest.mark.usefixtures("red")
def test_what_cannot_be_run(
    refuse_after_notes: Refuse,
    two: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    parts: tuple[str, ...],
) -> None:
    np.save(tmp_path / "w.npy", np.zeros(3, np.float32))
    np.save(tmp_path / "double.npy", np.zeros(3))
    np.save(tmp_path / "long.npy", np.zeros(4, np.float32))
    monkeypatch.chdir(tmp_path)
    refuse_after_notes("predict", two, *arguments, says=parts)


@pytest.mark.parametrize(
    ("shape", "why"),
    [
        pytest.param([1, 1, 8, 8], "no channel axis", id="one-channel"),
        pytest.param([1, 4, 8, 8], "no channel axis", id="four-channels"),
        pytest.param([3, 8, 8], "four axes", id="no-batch"),
    ],
)
def test_a_picture_that_cannot_fit(
    refuse: Refuse, tmp_path: Path, red: Path, shape: list[int], why: str
) -> None:
    same = helper.make_node("Identity", ["a"], ["b"])
    model = write(
        tmp_path / "a.onnx", [same], [("a", TensorProto.FLOAT, shape)], [("b", TensorProto.FLOAT, shape)]
    )
    refuse("predict", model, red, says=("does not fit input a", f"float32{shape}", why, "--input a=FILE.npy"))


def test_python_says_how_to_run_it(means: Path) -> None:
    import onnxproof
    from onnxproof.errors import ModelFileError

    with pytest.raises(ModelFileError, match=r"no onnxproof metadata.*onnxproof\.runtime\.load_plain"):
        onnxproof.load(means)
    outputs = onnxproof.runtime.load_plain(means).run({"image": np.ones((2, 3, 4, 5), np.float32)})
    assert outputs["means"].tolist() == [[1, 1, 1]] * 2


def test_a_gigantic_picture_is_one_line(
    run: Run, means: Path, red: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 20)
    ran = run("predict", means, red)
    assert (ran.returncode, ran.stdout) == (2, "")
    assert ran.stderr == (
        f"onnxproof: picture {red} is too large: 24 pixels, expected at most 20; make it smaller, "
        "or in Python raise PIL.Image.MAX_IMAGE_PIXELS if you trust its source\n"
    )


@pytest.fixture
def refuse_after_notes(run: Run) -> Refuse:
    """As ``refuse``; lines on how a picture was laid in may come before the error."""

    def refuse(*arguments: str | Path, says: Sequence[str]) -> None:
        ran = run(*arguments)
        assert ran.returncode == 2
        *notes, error = ran.stderr.splitlines()
        assert error.startswith("onnxproof: ")
        assert all(": input " in note or note.startswith("note: ") for note in notes)
        for part in says:
            assert part in error

    return refuse


def test_a_long_name_does_not_widen_the_table(run: Run, tmp_path: Path) -> None:
    name = "image_" * 1000
    node = helper.make_node("Relu", [name], ["y"])
    shape = [1, 3]
    file = write(
        tmp_path / "long.onnx", [node], [(name, TensorProto.FLOAT, shape)], [("y", TensorProto.FLOAT, shape)]
    )
    said = run("inspect", file)
    assert said.returncode == 0, said.stderr
    assert max(map(len, said.stdout.splitlines())) < 250
    assert json.loads(run("inspect", file, "--json").stdout)["inputs"][0]["name"] == name
