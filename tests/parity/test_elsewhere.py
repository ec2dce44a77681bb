"""A file that another exporter wrote is judged by what it computes, not by its names or opset."""

import warnings
from pathlib import Path

import onnx
import pytest
import torch
from onnx import helper
from torch import Tensor, nn

import onnxproof
from onnxproof.errors import RequestError
from onnxproof.job import Job
from onnxproof.source import sha256_of
from onnxproof.validate.verdict import Verdict

JOB = {
    "name": "pair",
    "model": {"family": "module"},
    "inputs": {"left": "float32[n, 3] in -1..1", "right": "float32[n, 3] in -1..1"},
    "dims": {"n": "1..4"},
    "validate": {"effort": "quick", "threads": 1},
}


class Pair(nn.Module):
    """A difference and a product: the inputs cannot be exchanged without a change."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Linear(3, 2)

    def forward(self, left: Tensor, right: Tensor) -> dict[str, Tensor]:
        return {"difference": self.layer(left - 2 * right), "product": left * right}


@pytest.fixture(scope="module")
def network() -> Pair:
    return Pair().eval()


@pytest.fixture(scope="module")
def written(network: Pair, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of TorchScript's exporter, with the names that somebody else gave it."""
    file = tmp_path_factory.mktemp("elsewhere") / "theirs.onnx"
    names = ["images", "masks"], ["boxes", "scores"]
    axes = {name: {0: "n"} for side in names for name in side}
    inputs = (torch.rand(2, 3), torch.rand(2, 3))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PyTorch is about to give this exporter up
        torch.onnx.export(
            network,
            inputs,
            str(file),
            dynamo=False,
            opset_version=17,
            input_names=names[0],
            output_names=names[1],
            dynamic_axes=axes,
        )
    return file


MAPPING = {"images": "left", "masks": "right", "boxes": "difference", "scores": "product"}


def judged(network: Pair, file: Path, mapping: dict[str, str], **tables: dict[str, int]) -> Verdict:
    job = Job.model_validate({**JOB, **tables})
    return onnxproof.validate(job, model=network, onnx=file, map=mapping)


def failed(verdict: Verdict) -> set[str]:
    return {check.name for check in verdict.checks if check.status == "fail"}


def test_names_are_mapped_and_the_opset_is_noted(network: Pair, written: Path) -> None:
    before = written.read_bytes()
    verdict = judged(network, written, MAPPING)
    assert verdict.passed, verdict.checks
    assert "the file's input images is the model's left" in verdict.notes
    assert "the file has opset 17; the job names none, so none is expected" in verdict.notes
    assert verdict.model_sha256 == sha256_of(written)
    assert written.read_bytes() == before


def test_an_opset_that_the_job_names_is_expected(network: Pair, written: Path) -> None:
    assert failed(judged(network, written, MAPPING, export={"opset": 20})) == {"opset"}


def test_what_one_name_leaves_is_taken_for_the_other(network: Pair, written: Path) -> None:
    some = {name: MAPPING[name] for name in ("masks", "scores")}
    assert judged(network, written, some).passed


def test_inputs_that_are_exchanged_fail(network: Pair, written: Path) -> None:
    crossed = {**MAPPING, "images": "right", "masks": "left"}
    assert "function" in failed(judged(network, written, crossed))


def test_names_that_nobody_mapped_fail_with_the_way_to_map_them(network: Pair, written: Path) -> None:
    verdict = judged(network, written, {})
    (check,) = (check for check in verdict.checks if check.name == "interface")
    assert check.status == "fail"
    assert "--map images=left" in check.reason


@pytest.mark.parametrize(
    ("mapping", "says"),
    [
        pytest.param(
            {"image": "left"}, r"--map image=left: the file has no .*; it has images, masks", id="file"
        ),
        pytest.param(
            {"images": "up"}, r"--map images=up: the model has no .*; it has left, right", id="model"
        ),
    ],
)
def test_a_name_that_neither_has_is_refused(
    network: Pair, written: Path, mapping: dict[str, str], says: str
) -> None:
    with pytest.raises(RequestError, match=says):
        judged(network, written, mapping)


def test_a_value_inside_that_has_the_models_name_makes_room(
    network: Pair, written: Path, tmp_path: Path
) -> None:
    """The file calls a value in its middle "left"."""
    proto = onnx.load(written)
    first = proto.graph.node[0]
    inner = first.output[0]
    for node in proto.graph.node:
        node.input[:] = ["left" if name == inner else name for name in node.input]
        node.output[:] = ["left" if name == inner else name for name in node.output]
    proto.graph.node.insert(0, helper.make_node("Identity", ["images"], ["copied"]))
    onnx.save(proto, tmp_path / "theirs.onnx")
    assert judged(network, tmp_path / "theirs.onnx", MAPPING).passed


def test_external_data_comes_along(network: Pair, written: Path, tmp_path: Path) -> None:
    proto = onnx.load(written)
    onnx.save(
        proto, tmp_path / "theirs.onnx", save_as_external_data=True, location="weights.bin", size_threshold=0
    )
    assert judged(network, tmp_path / "theirs.onnx", MAPPING).passed
    assert sorted(path.name for path in tmp_path.iterdir()) == ["theirs.onnx", "weights.bin"]
