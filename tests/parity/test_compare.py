"""Real exports held against each other: what should make no difference passes, with and without the
checkpoint, and what PyTorch alone would tell is read off the files as far as they show it."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from exports import bundle_of
from once import Once
from onnx import numpy_helper
from torch import Tensor, nn

import onnxproof
from onnxproof.runtime.manifest import METADATA_KEY, Manifest
from onnxproof.validate.verdict import Pairing, Verdict

ROOT = Path(__file__).parents[2]
CONFIGS = ROOT / "configs"
DIGITS = ROOT / "examples" / "digits"

UNFOLDED = ("export.fold_batch_norms=false", "export.simplify=none")
JOBS: dict[str, tuple[str, ...]] = {
    "digits-classifier": ("export.exporter=torchscript",),
    "digits-multilabel": ("export.exporter=torchscript",),
    "digits-segmenter": ("export.exporter=torchscript", "dims.height=64..160 step 16"),
    "digits-reader": ("export.exporter=torchscript",),
    "digits-maskrcnn": ("dims.height=96..160", "dims.width=96..160"),
    "digits-yolox": ("export.exporter=torchscript",),
}
SMALL = {"height": "64..96 step 32", "width": "64..96 step 32", "batch": "1..2"}
PICTURES = {
    "digits-classifier": "classifier/images/*.png",
    "digits-multilabel": "multilabel/images/*.png",
    "digits-segmenter": "images/*.png",
    "digits-maskrcnn": "images/scene-0[23].png",
}


@pytest.fixture
def exported(once: Once) -> Any:
    """The file of a job with overrides, made once; not to be written to."""

    def exported(name: str, *overrides: str) -> Path:
        job = CONFIGS / f"{name}.toml"
        return bundle_of(once, job, (*JOBS[name], *overrides), validate=False).path / "model.onnx"

    return exported


def pairing(verdict: Verdict) -> Pairing:
    assert verdict.pairing is not None
    return verdict.pairing


def compare(name: str, a: Path, b: Path, **options: Any) -> Verdict:
    images = str(DIGITS / PICTURES[name]) if name in PICTURES else None
    return onnxproof.compare(a, b, images=images, effort="quick", threads=1, **options)


def damaged(file: Path, target: Path, factor: float = 1.0001) -> Path:
    """A copy with the middle one of the weight tensors scaled."""
    proto = onnx.load(file)
    tensors = [tensor for tensor in proto.graph.initializer if tensor.data_type == 1 and len(tensor.dims) > 1]
    tensor = tensors[len(tensors) // 2]
    values = numpy_helper.to_array(tensor) * np.float32(factor)
    tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    onnx.save(proto, target)
    return target


def failed(verdict: Verdict) -> set[str]:
    return {check.name for check in verdict.checks if check.status == "fail"}


def healthy_and_not(name: str, exported: Any, folder: Path) -> Verdict:
    """The verdict on two healthy exports, which is pass. One on a small fault is fail by the function."""
    a = exported(name)
    healthy = compare(name, a, exported(name, *UNFOLDED))
    assert healthy.passed, healthy.checks
    assert pairing(healthy).rule == "graphs"
    assert [link.status for link in healthy.links[:2]] == ["pass", "pass"]
    fault = compare(name, a, damaged(a, folder / "b.onnx", 1.000001))
    assert failed(fault) == {"function"}, fault.checks
    return healthy


@pytest.mark.parametrize(
    "name",
    [
        "digits-reader",
        *(
            pytest.param(name, marks=pytest.mark.slow)
            for name in ("digits-classifier", "digits-multilabel", "digits-segmenter")
        ),
    ],
)
def test_healthy_exports_pass_and_a_fault_does_not(name: str, exported: Any, tmp_path: Path) -> None:
    healthy_and_not(name, exported, tmp_path)


@pytest.mark.slow
def test_nms_in_the_graph_is_compared_row_by_row(exported: Any, tmp_path: Path) -> None:
    (facts,) = healthy_and_not("digits-maskrcnn", exported, tmp_path).facts
    assert {field.name for field in facts.fields} == {"box_xyxy", "score", "mask"}
    assert all(field.count for field in facts.fields)
    assert facts.rows > 20
    assert facts.decisions is not None
    assert facts.decisions.matched > 5
    assert not facts.decisions.defects
    a = exported("digits-maskrcnn")
    broken = compare("digits-maskrcnn", a, damaged(a, tmp_path / "b.onnx", 1.1))
    assert {"decisions", "function"} <= failed(broken)


@pytest.mark.slow
def test_a_mask_flips_only_where_the_softmax_in_the_file_is_not_sure(exported: Any, tmp_path: Path) -> None:
    a = exported("digits-segmenter")
    verdict = compare("digits-segmenter", a, damaged(a, tmp_path / "b.onnx", 1.01))
    assert {"flips", "decisions"} <= failed(verdict)
    (label,) = verdict.facts[0].labels
    assert np.isfinite(label.largest_margin)


def test_the_file_says_what_its_channels_mean(exported: Any) -> None:
    file = exported("digits-yolox")
    metadata = {entry.key: entry.value for entry in onnx.load(file).metadata_props}
    manifest = Manifest.from_json(json.loads(metadata[METADATA_KEY]))
    assert [field.name for field in manifest.contract.fields] == ["box_xy", "box_wh", "label", "score"]
    assert manifest.contract.fields == onnxproof.load(file.parent).manifest.contract.fields


@pytest.mark.slow
def test_a_label_leads_by_what_its_argmax_takes(exported: Any, tmp_path: Path) -> None:
    a = exported("digits-yolox")
    healthy = compare("digits-yolox", a, exported("digits-yolox", *UNFOLDED), dims=SMALL)
    assert healthy.passed, healthy.checks
    fault = compare("digits-yolox", a, damaged(a, tmp_path / "b.onnx", 1.1), dims=SMALL)
    assert "flips" in failed(fault)
    (label,) = fault.facts[0].labels
    assert np.isfinite(label.largest_margin)


@pytest.mark.slow
def test_a_file_of_before_fields_were_written_is_compared_output_by_output(
    exported: Any, tmp_path: Path
) -> None:
    proto = onnx.load(exported("digits-yolox"))
    metadata = {entry.key: entry.value for entry in proto.metadata_props}
    document = json.loads(metadata[METADATA_KEY])
    del document["fields"]
    onnx.helper.set_model_props(proto, {METADATA_KEY: json.dumps(document)})
    older = tmp_path / "older.onnx"
    onnx.save(proto, older)
    verdict = onnxproof.compare(older, older, dims=SMALL, effort="quick", threads=1)
    assert verdict.passed, verdict.checks
    assert [field.name for field in verdict.facts[0].fields] == ["output"]


class Mixer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(nn.Linear(16, 64), nn.GELU(), nn.Linear(64, 4))

    def forward(self, x: Tensor) -> Tensor:
        mixed: Tensor = self.layers(x)
        return mixed


def test_a_bundle_without_a_checkpoint_needs_its_module(tmp_path: Path) -> None:
    module = Mixer()
    bundle = onnxproof.export_module(
        module,
        inputs={"x": "float32[batch, 16] in -1..1"},
        dims={"batch": "1..8"},
        out=tmp_path / "mixer",
        set=["export.exporter=torchscript"],
        validate=False,
    ).path
    b = damaged(bundle / "model.onnx", tmp_path / "b.onnx")
    alone = onnxproof.compare(bundle, b, threads=1)
    assert (pairing(alone).rule, alone.status) == ("graphs", "fail")
    assert any("the module that it exported is not given" in note for note in alone.notes)
    told = onnxproof.compare(bundle, b, model=module, threads=1)
    assert (pairing(told).rule, told.status) == ("oracle", "fail")
    baseline = pairing(told).baseline
    assert baseline is not None
    assert baseline.passed, baseline.checks
    assert told.facts[0].reference == "torch-float32"


def test_a_lost_checkpoint_leaves_a_to_judge(exported: Any, tmp_path: Path) -> None:
    bundle = exported("digits-reader").parent
    document = json.loads((bundle / "manifest.json").read_text(encoding="utf-8"))
    document["job"]["model"]["checkpoint"] = "gone"
    moved = tmp_path / "moved"
    moved.mkdir()
    (moved / "manifest.json").write_text(json.dumps(document), encoding="utf-8")
    (moved / "model.onnx").write_bytes((bundle / "model.onnx").read_bytes())
    verdict = onnxproof.compare(moved, bundle, effort="quick", threads=1)
    assert (pairing(verdict).rule, verdict.status) == ("graphs", "pass")
    assert any("cannot be used" in note for note in verdict.notes)
