"""A trained segmenter with two inputs: its job passes, and the vector beside the picture decides."""

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

import onnxproof
from onnxproof.pipeline import Bundle

ROOT = Path(__file__).parents[2]
SEGMENTER = ROOT / "configs" / "digits-segmenter.toml"
SCENES = ROOT / "examples" / "digits" / "images"
ASKED_FOR, OTHER = 1, 2
FAST = (
    "validate.effort=quick",
    "validate.threads=1",
    "validate.images=../examples/digits/images/scene-0*.png",
)
SIZED = ("predict.size=128",)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return onnxproof.export(SEGMENTER, out=tmp_path_factory.mktemp("dist"), set=FAST)


@pytest.mark.slow
def test_the_trained_segmenter_passes(bundle: Bundle) -> None:
    assert bundle.verdict is not None
    assert bundle.verdict.passed, [check for check in bundle.verdict.checks if check.status != "pass"]
    assert bundle.verdict.to_json()["decisions"]["matched"] > 100_000
    assert [entry.name for entry in bundle.manifest.contract.classes] == [
        "background",
        "asked for",
        "other digit",
    ]


@pytest.mark.slow
@pytest.mark.parametrize("asked", [(0, 2, 4, 6, 8), (1, 3, 5, 7, 9)], ids=["even", "odd"])
def test_the_vector_decides_which_digits_are_meant(bundle: Bundle, asked: tuple[int, ...]) -> None:
    predictor = onnxproof.load(bundle.path)
    query = np.zeros(10, np.float32)
    query[list(asked)] = 1
    truth = json.loads((SCENES / "scenes.json").read_text(encoding="utf-8"))
    names = {entry["id"]: entry["file_name"] for entry in truth["images"]}
    right = marked = 0
    for digit in truth["annotations"]:
        labels = predictor.predict(
            SCENES / names[digit["image_id"]], inputs={"query": query}
        ).decisions.labels
        x, y, width, height = (int(edge) for edge in digit["bbox"])
        inside = labels[y : y + height, x : x + width]
        meant, other = np.count_nonzero(inside == ASKED_FOR), np.count_nonzero(inside == OTHER)
        marked += bool(meant + other)
        right += bool(meant > other) == (digit["category_id"] in asked)
    assert marked > 50  # of 59; what the crop of the centre leaves
    assert right > 0.75 * marked


@pytest.mark.slow
def test_a_changed_query_weight_fails(bundle: Bundle, tmp_path: Path) -> None:
    proto = onnx.load(bundle.path / "model.onnx")
    tensor = next(entry for entry in proto.graph.initializer if "modulation.weight" in entry.name)
    values = numpy_helper.to_array(tensor) * np.float32(1.01)
    tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    file = tmp_path / "model.onnx"
    onnx.save(proto, file)
    assert onnxproof.validate(bundle.path, onnx=file, trust=True).status == "fail"
