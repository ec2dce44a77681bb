"""Hazards of real exports: healthy ones have none, whoever wrote them; what is planted is named."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from torch import Tensor, nn

import onnxproof
from onnxproof.export.make import make_graph
from onnxproof.export.model import build_model
from onnxproof.graph import OnnxGraph
from onnxproof.job import Job, load_job
from onnxproof.runtime.manifest import METADATA_KEY
from onnxproof.steps.planning import plan_of
from onnxproof.validate.hazards import FROZEN_AXES, HAZARDS, Found, Subject, Weights, look_for_hazards
from onnxproof.validate.hazards._resize import Step, pytorchs_picks
from onnxproof.validate.verify import validate_files
from onnxproof.wrappers.family import WrappedModel

CONFIGS = Path(__file__).parents[2] / "configs"
QUICK = ("validate.effort=quick", "validate.threads=1", "dims.batch=1..2")
PLAIN = ("export.simplify=none", "export.fold_batch_norms=false")
TRACED = "export.exporter=torchscript"
Damage = Callable[[onnx.ModelProto], None]


@dataclass(frozen=True)
class Export:
    """A job, its model, and the graph that damage is done to a copy of."""

    job: Job
    model: WrappedModel
    proto: onnx.ModelProto

    def damaged(self, damage: Damage) -> onnx.ModelProto:
        proto = onnx.ModelProto()
        proto.CopyFrom(self.proto)
        damage(proto)
        return proto

    def hazards(self, proto: onnx.ModelProto) -> tuple[Found, ...]:
        weights = Weights.of(self.model.module)
        graph = OnnxGraph(proto)
        subject = Subject(graph, Path("model.onnx"), "onnxruntime", 20, self.model.contract, weights)
        return look_for_hazards(subject, FROZEN_AXES)

    def found(self, proto: onnx.ModelProto) -> dict[str, str]:
        """The reasons of the hazards that fail, and of weights that changed, by name."""
        return {
            found.hazard.name: found.check.reason
            for found in self.hazards(proto)
            if found.check.status == "fail" or (found.hazard.name == "weights" and found.advice)
        }


def make(name: str, *overrides: str) -> Export:
    job = load_job(CONFIGS / f"{name}.toml", (*QUICK, *overrides))
    model, _ = build_model(job)
    return Export(job, model, make_graph(job, model).proto)


@pytest.mark.first_case
@pytest.mark.parametrize(
    ("name", "overrides"),
    [
        pytest.param("digits-classifier", (TRACED,), id="folded-by-onnxproof"),
        pytest.param("digits-classifier", (TRACED, *PLAIN), id="folded-by-torchscript"),
        pytest.param(
            "digits-classifier",
            ("export.exporter=torch.export", *PLAIN),
            id="norms-left-to-torch",
            marks=pytest.mark.slow,
        ),
        pytest.param("digits-yolox", (TRACED,), id="a-detector-with-grids"),
        pytest.param("digits-yolox", (TRACED, *PLAIN), id="a-detector-as-traced"),
        pytest.param("digits-reader", (TRACED, *PLAIN), id="recurrences-with-gates-reordered"),
        pytest.param("digits-segmenter", (TRACED,), id="two-inputs"),
        pytest.param("module-bert", (TRACED, *PLAIN), id="attention-masks-and-merged-weights"),
    ],
)
def test_healthy_exports_have_no_hazard(name: str, overrides: tuple[str, ...]) -> None:
    export = make(name, *overrides)
    found = {entry.hazard.name: entry for entry in export.hazards(export.proto)}
    statuses = {name: entry.check.status for name, entry in found.items()}
    assert (statuses.pop("metadata"), statuses.pop("tracing")) == ("skipped", "skipped")
    assert statuses.pop("bounds") in ("pass", "skipped")  # the model is not at hand here
    assert statuses.pop("frozen_axes") in ("pass", "skipped")  # onnx does not infer every node's shape
    assert set(statuses.values()) == {"pass"}, statuses
    assert found["frozen_axes"].advice is None
    told = found["weights"].check.reason
    count = len(Weights.of(export.model.module).tensors)
    assert told.startswith(f"{count} of the checkpoint's {count} tensors found")


@pytest.fixture(scope="module")
def classifier() -> Export:
    return make("digits-classifier", TRACED)


def kernels(proto: onnx.ModelProto) -> list[onnx.TensorProto]:
    names = {node.input[1] for node in proto.graph.node if node.op_type == "Conv"}
    return [tensor for tensor in proto.graph.initializer if tensor.name in names]


def rewrite(tensor: onnx.TensorProto, change: Callable[[Any], Any]) -> None:
    values = change(numpy_helper.to_array(tensor).copy())
    tensor.CopyFrom(numpy_helper.from_array(values.astype(np.float32), tensor.name))


def one_number(values: Any) -> Any:
    values.reshape(-1)[np.argmax(np.abs(values))] *= 1.001
    return values


def half(proto: onnx.ModelProto) -> None:
    for tensor in kernels(proto):
        rewrite(tensor, lambda values: values.astype(np.float16))


def one_kernel(proto: onnx.ModelProto) -> None:
    rewrite(kernels(proto)[5], one_number)


def nan(proto: onnx.ModelProto) -> None:
    rewrite(kernels(proto)[5], lambda values: np.where(values == values.max(), np.nan, values))


def behind_the_input(*nodes: onnx.NodeProto, **held: Any) -> Damage:
    """Nodes between the input and all that reads it; the last makes "planted"."""

    def damage(proto: onnx.ModelProto) -> None:
        given = proto.graph.input[0].name
        for node in proto.graph.node:
            node.input[:] = ["planted" if name == given else name for name in node.input]
        for position, node in enumerate(nodes):
            node.input[:] = [given if name == "given" else name for name in node.input]
            proto.graph.node.insert(position, node)
        proto.graph.initializer.extend(numpy_helper.from_array(np.array(v), name) for name, v in held.items())

    return damage


def planted(operator: str, *inputs: str, **attributes: Any) -> onnx.NodeProto:
    return onnx.helper.make_node(operator, list(inputs), ["planted"], name="culprit", **attributes)


@pytest.mark.parametrize(
    ("damage", "name", "says"),
    [
        pytest.param(one_kernel, "weights", "changed by", id="one-number-x1.001"),
        pytest.param(half, "weights", "folded in changed by", id="float16-weights"),
        pytest.param(nan, "nonfinite", "has 1 NaN", id="a-nan"),
        pytest.param(
            behind_the_input(planted("Reshape", "given", "shape"), shape=[2, 64, 64, 3]),
            "frozen_axes",
            'Reshape "culprit"',
            id="batch-frozen-by-a-reshape",
        ),
        pytest.param(
            behind_the_input(
                planted("Slice", "given", "from", "to", "along"), **{"from": [0], "to": [1], "along": [0]}
            ),
            "frozen_axes",
            'by the constant of Slice "culprit"',
            id="batch-frozen-by-a-slice",
        ),
        pytest.param(
            behind_the_input(planted("Dropout", "given", "ratio", "on"), ratio=np.float32(0.1), on=True),
            "training",
            'Dropout "culprit"',
            id="dropout-in-training",
        ),
        pytest.param(
            behind_the_input(
                onnx.helper.make_node("RandomNormalLike", ["given"], ["noise"], name="culprit"),
                onnx.helper.make_node("Add", ["given", "noise"], ["planted"]),
            ),
            "random",
            'RandomNormalLike "culprit"',
            id="noise",
        ),
    ],
)
def test_what_is_planted_is_named(classifier: Export, damage: Damage, name: str, says: str) -> None:
    assert classifier.found(classifier.proto) == {}
    found = classifier.found(classifier.damaged(damage))
    assert says in found[name]
    assert found.keys() <= {name, "weights"}


def test_the_verdict_holds_the_hazards_and_notes_the_advice(classifier: Export, tmp_path: Path) -> None:
    def damage(proto: onnx.ModelProto) -> None:
        half(proto)
        proto.graph.initializer.append(numpy_helper.from_array(np.zeros(1024, np.float32), "idle"))

    file = tmp_path / "model.onnx"
    onnx.save(classifier.damaged(damage), file)
    plan = plan_of(classifier.job, classifier.model)
    (verdict,) = validate_files(classifier.model, (file,), plan, opset=20)
    by_name = {check.name: check for check in verdict.checks}
    assert by_name["weights"].status == "pass"
    assert [note for note in verdict.notes if note.startswith("weights: ") and "folded in changed by" in note]
    assert [found.hazard.name for found in classifier.hazards(classifier.proto)][:-1] == [
        check.name for check in verdict.checks[: len(HAZARDS)]
    ]
    assert by_name["waste"].status == "pass"
    assert [
        note for note in verdict.notes if note.startswith("waste: 4096 bytes are wasted: nothing reads idle")
    ]


class Baked(nn.Module):
    """Takes its sizes as Python's numbers, so that TorchScript writes them down."""

    def forward(self, x: Tensor) -> Tensor:
        _, _, height, width = (int(size) for size in x.shape)
        rows = torch.arange(height, dtype=torch.float32).reshape(1, 1, height, 1).expand(1, 1, height, width)
        return x[:, :, :height, :width] + rows


class Free(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        rows = torch.arange(x.shape[2], dtype=torch.float32).reshape(1, 1, -1, 1)
        return x + rows


@pytest.mark.parametrize(("module", "status"), [(Baked(), "fail"), (Free(), "pass")], ids=["baked", "free"])
def test_sizes_that_a_trace_bakes_in_are_found(module: nn.Module, status: str, tmp_path: Path) -> None:
    bundle = onnxproof.export_module(
        module,
        inputs={"x": "float32[batch, 3, height, width] in 0..1"},
        dims={"batch": "1..2", "height": "32..96 step 32", "width": "32..96 step 32"},
        out=tmp_path / "bundle",
        set=(TRACED, "validate.effort=quick", "validate.threads=1"),
    )
    assert bundle.verdict is not None
    failed = [check for check in bundle.verdict.checks if check.status == "fail"]
    named = [check for check in failed if check.name in ("runs", "shapes")]
    assert bool(named) == (status == "fail"), failed
    assert all("has one size only" in check.reason or "comes out as" in check.reason for check in named)
    assert bundle.verdict.passed == (status == "pass")


def test_metadata_of_another_model_fails_the_verdict(tmp_path: Path) -> None:
    """A class permuted, and pixels that a host would not scale: both are told."""
    job = load_job(CONFIGS / "digits-classifier.toml", (*QUICK, TRACED))
    bundle = onnxproof.export(job, out=tmp_path, validate=False)
    proto = onnx.load(bundle.path / "model.onnx")
    entry = next(entry for entry in proto.metadata_props if entry.key == METADATA_KEY)
    assert '"name":"3"' in entry.value
    assert '"divide_by":1,' in entry.value
    entry.value = entry.value.replace('"name":"3"', '"name":"x"').replace('"name":"5"', '"name":"3"')
    entry.value = entry.value.replace('"name":"x"', '"name":"5"').replace(
        '"divide_by":1,', '"divide_by":255,'
    )
    onnx.save(proto, tmp_path / "other.onnx")
    verdict = onnxproof.validate(job, onnx=tmp_path / "other.onnx")
    failed = {check.name: check.reason for check in verdict.checks if check.status == "fail"}
    assert failed.keys() == {"metadata"}
    assert "divide_by 255, the model 1" in failed["metadata"]
    assert 'class 3 is "5", the model\'s is "3", in another order' in failed["metadata"]


@pytest.mark.parametrize("mode", ["nearest", "nearest-exact"])
@pytest.mark.parametrize("target", [33, 60, 64, 100])
def test_pixels_are_picked_in_numpy_as_pytorch_picks_them(mode: str, target: int) -> None:
    way = ("asymmetric", "floor") if mode == "nearest" else ("half_pixel", "round_prefer_ceil")
    for source in range(16, 129):
        row = torch.arange(source, dtype=torch.float32)[None, None, None]
        wanted = nn.functional.interpolate(row, size=(1, target), mode=mode)[0, 0, 0]
        assert pytorchs_picks(Step(way, source, target, None)).tolist() == wanted.tolist()


@pytest.mark.parametrize("factor", [0.5, 0.7, 1.1, 1.5, 3.0])
def test_pixels_are_picked_in_numpy_as_pytorch_picks_them_by_a_factor(factor: float) -> None:
    scale = float(np.float32(factor))
    for source in range(16, 129):
        row = torch.arange(source, dtype=torch.float32)[None, None, None]
        wanted = nn.functional.interpolate(row, scale_factor=(1, factor), mode="nearest")[0, 0, 0]
        found = pytorchs_picks(Step(("asymmetric", "floor"), source, len(wanted), scale))
        assert found.tolist() == wanted.tolist()
