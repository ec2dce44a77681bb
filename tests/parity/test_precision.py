"""Files of lower precision: what is quantised, what stays in float32, and how the search finds it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from documents import mistakes
from once import Once
from onnx import TensorProto, helper, numpy_helper
from PIL import Image
from torch import Tensor, nn

import onnxproof
from onnxproof.errors import JobError, RequestError
from onnxproof.export.quantize import half
from onnxproof.export.quantize.layers import network_of, with_names
from onnxproof.export.quantize.static import calibrate, prepared, quantised
from onnxproof.job import load_job
from onnxproof.pipeline import Bundle
from onnxproof.runtime.session import SessionSettings, open_bytes

SIDE, PICTURES = 16, 90

NETWORK = '''
import torch
from torch import nn


class Colours(nn.Module):
    """Tells red, green and blue pictures apart. One channel of the first layer may be so large that 8
    bits for all of them leave nothing of the others."""

    def __init__(self, outlier: float) -> None:
        super().__init__()
        self.first, self.second, self.third = nn.Conv2d(3, 8, 1), nn.Conv2d(8, 3, 1), nn.Conv2d(3, 3, 1)
        self.last = nn.Linear(3, 3)
        with torch.no_grad():
            for layer in (self.first, self.second, self.third, self.last):
                layer.weight.zero_()
                layer.bias.zero_()
            for channel in range(3):
                self.first.weight[channel, channel] = 1.25
                self.second.weight[channel, channel] = 1.25
                self.third.weight[channel, channel] = 1.25
                self.last.weight[channel, channel] = 12.5
            self.first.weight[3:] = outlier
            self.second.weight[:, 3:] = 1e-6

    def forward(self, image):
        mixed = torch.relu(self.second(torch.relu(self.first(image))))
        return self.last(torch.relu(self.third(mixed)).mean((2, 3)))


def build(outlier: float = 0.5) -> nn.Module:
    return Colours(outlier)
'''

JOB = """
name = "colours"
[model]
family = "module"
task = "classification"
builder = "network.py:build"
classes = ["red", "green", "blue"]
[inputs]
image = "float32[batch, 3, 16, 16] in 0..1"
[dims]
batch = "1..2"
[export]
exporter = "torchscript"
simplify = "none"
[predict]
input = "image"
resize = "stretch"
size = 16
[validate]
images = "judged/*.png"
effort = "quick"
threads = 1
[precision]
mode = "int8"
images = "calibration/*.png"
[precision.budget]
changed = 0.07
score = 0.2
"""


@pytest.fixture(scope="session")
def colours(once: Once) -> Path:
    """The job of a network that tells colours apart, with pictures to calibrate and others to judge."""

    def make(folder: Path) -> None:
        (folder / "network.py").write_text(NETWORK, encoding="utf-8")
        (folder / "colours.toml").write_text(JOB, encoding="utf-8")
        random = np.random.default_rng(0)
        for name, count in (("judged", PICTURES), ("calibration", 6)):
            (folder / name).mkdir()
            for number in range(count):
                pixels = random.integers(0, 120, (SIDE, SIDE, 3)).astype(np.uint8)
                pixels[..., number % 3] += 100
                Image.fromarray(pixels).save(folder / name / f"{number}.png")

    return once("the colours' job", make) / "colours.toml"


def exported(job: Path, out: Path, *set: str) -> Bundle:
    made = onnxproof.export(job, out=out, set=set)
    assert made.verdict is not None
    assert made.verdict.passed, str(made.verdict)
    return made


def lowered(made: Bundle) -> Bundle:
    assert made.lowered is not None
    assert made.lowered.verdict is not None
    for name in ("manifest", "parity"):
        document = json.loads((made.lowered.path / f"{name}.json").read_text(encoding="utf-8"))
        assert mistakes(name, document) == []
    return made.lowered


def kinds(file: Path) -> list[str]:
    return [node.op_type for node in onnx.load(file).graph.node]


def test_int8_is_written_beside_the_proven_file_and_judged(colours: Path, tmp_path: Path) -> None:
    made = exported(colours, tmp_path / "dist")
    small = lowered(made)
    assert small.path == tmp_path / "dist" / "colours-int8"
    assert small.verdict is not None
    assert small.verdict.passed, str(small.verdict)
    assert made.decisive == small.verdict
    assert {"QuantizeLinear", "DequantizeLinear"} <= set(kinds(small.path / "model.onnx"))
    assert "QuantizeLinear" not in kinds(made.path / "model.onnx")
    about = small.manifest.precision
    assert about is not None
    assert (about.mode, about.calibration, len(about.calibration_sha256)) == ("int8", "minmax", 6)
    assert about.float32_sha256 == made.manifest.model_sha256
    assert small.verdict.budget is not None
    assert small.verdict.budget.tally.decisions == PICTURES
    again = onnxproof.validate(small.path, trust=True)
    assert again.passed, str(again)
    assert about.tries > 1
    assert again.policy == small.verdict.policy
    assert again.policy is not None
    assert (again.policy["name"], again.policy["confidence"]) == (
        "decision budget",
        pytest.approx(1 - 0.05 / about.tries),
    )


Change = Callable[[onnx.ModelProto], object]


def scaled(proto: onnx.ModelProto, factor: float, *, weights: bool) -> None:
    """Change the scale of the first values, or of the first layer's weights, that are quantised."""
    stored = {tensor.name: tensor for tensor in proto.graph.initializer}
    held = {name for name, tensor in stored.items() if tensor.data_type == TensorProto.INT8}
    operator = "DequantizeLinear" if weights else "QuantizeLinear"
    scale = next(
        node.input[1]
        for node in proto.graph.node
        if node.op_type == operator and (not weights or node.input[0] in held)
    )
    values = numpy_helper.to_array(stored[scale]) * np.float32(factor)
    stored[scale].CopyFrom(numpy_helper.from_array(np.asarray(values, np.float32), scale))


def weights_of_another(proto: onnx.ModelProto) -> None:
    """Turn the last layer's rows around."""
    weight = next(one for one in proto.graph.initializer if "last.weight" in one.name)
    weight.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weight)[::-1].copy(), weight.name))


def as_it_is(_: object) -> None:
    """Change nothing."""


def answered(kit: Path, outputs: Path, change: Change, given: Callable[[Any], Any], *, turn: int = 0) -> None:
    """Answer a kit with a changed model, with changed inputs, or each case with another's outputs."""
    proto = onnx.load(kit / "model.onnx")
    change(proto)
    session = open_bytes(proto.SerializeToString(), "changed", SessionSettings(threads=1))
    index = json.loads((kit / "kit.json").read_text(encoding="utf-8"))
    outputs.mkdir()
    cases = []
    for case in index["cases"]:
        (told,) = case["inputs"]
        array = np.fromfile(kit / told["file"], told["dtype"]).reshape(told["shape"])
        (found,) = session.run(None, {told["name"]: given(array)})
        name, file = index["outputs"][0]["name"], f"{case['case']}.bin"
        found.tofile(outputs / file)
        entry = {"name": name, "dtype": "float32", "shape": list(found.shape), "file": file}
        cases.append({"case": case["case"], "outputs": [entry]})
    shifted = [case["outputs"] for case in cases[turn:] + cases[:turn]]
    cases = [{**case, "outputs": other} for case, other in zip(cases, shifted, strict=True)]
    host = {"name": "host", "version": "1", "provider": "cpu"}
    document = {"format": 1, "kit": index["kit"], "runtime": host, "cases": cases}
    (outputs / "outputs.json").write_text(json.dumps(document), encoding="utf-8")


@pytest.fixture(scope="module")
def small_bundle(colours: Path, once: Once) -> Path:
    """The bundle in int8; not to be written to."""
    return once("the colours in int8", lambda folder: exported(colours, folder)) / "colours-int8"


@pytest.fixture(scope="module")
def small_sizes(colours: Path, once: Once) -> Path:
    """The bundle in int8 of the same network for pictures of 8 to 24 pixels; not to be written to."""
    sizes = (
        'inputs.image="float32[batch, 3, height, width] in 0..1"',
        "dims.height=8..24",
        "dims.width=8..24",
        "precision.search=false",
    )
    made = once("the colours of any size in int8", lambda folder: exported(colours, folder, *sizes))
    return made / "colours-int8"


def test_int8_tests_itself_in_each_of_ort_s_levels(small_bundle: Path, tmp_path: Path) -> None:
    verdict = onnxproof.selftest(small_bundle, threads=1, runtimes=["ort", "reference"])
    assert verdict.passed, str(verdict)
    assert {one.link: one.status for one in verdict.links} == {
        "function": "skipped",
        "runtime": "pass",
        "decisions": "pass",
    }
    assert "times what rounding to the neighbouring step costs (limit 2.7)" in str(verdict)
    assert len(verdict.facts) == 5
    assert all("values are not those of the graph in float64" in note for note in verdict.notes[:5])
    assert mistakes("parity", verdict.to_json()) == []
    archive = onnxproof.package(small_bundle, out=tmp_path / "small.zip").path
    assert onnxproof.selftest(archive, threads=1, runtimes=["ort", "reference"]).passed


@pytest.mark.parametrize(
    ("change", "given", "turn", "failed"),
    [
        pytest.param(as_it_is, lambda x: x, 0, set(), id="healthy"),
        pytest.param(weights_of_another, lambda x: x, 0, {"decisions"}, id="weights-of-another-file"),
        pytest.param(lambda p: scaled(p, 0.25, weights=False), lambda x: x, 0, {"ratio_rms"}, id="clipped"),
        pytest.param(
            lambda p: scaled(p, 1.5, weights=True), lambda x: x, 0, {"ratio_rms"}, id="weights-scaled"
        ),
        pytest.param(as_it_is, lambda x: x[:, ::-1].copy(), 0, {"ratio_rms"}, id="channels-turned"),
        pytest.param(as_it_is, lambda x: x / np.float32(255), 0, {"ratio_rms"}, id="scaled-twice"),
        pytest.param(as_it_is, lambda x: x, 1, {"ratio_rms", "shapes"}, id="outputs-exchanged"),
    ],
)
def test_a_kit_in_int8_fails_where_it_was_tampered_with(
    small_bundle: Path,
    tmp_path: Path,
    change: Change,
    given: Callable[[Any], Any],
    turn: int,
    failed: set[str],
) -> None:
    kit = onnxproof.kit(small_bundle, out=tmp_path / "kit")
    answered(kit, tmp_path / "returned", change, given, turn=turn)
    verdict = onnxproof.judge(kit, tmp_path / "returned")
    found = {check.name for check in verdict.checks if check.status == "fail"}
    assert verdict.status == ("fail" if failed else "pass"), str(verdict)
    assert bool(found & failed) == bool(failed)


def test_the_search_keeps_the_layers_that_eight_bits_ruin(colours: Path, tmp_path: Path) -> None:
    outlier = "model.kwargs.outlier=2000.0"
    without = lowered(exported(colours, tmp_path / "without", outlier, "precision.search=false"))
    assert without.verdict is not None
    assert without.verdict.status == "fail"
    small = lowered(exported(colours, tmp_path / "with", outlier))
    assert small.verdict is not None
    assert small.verdict.passed, str(small.verdict)
    assert small.verdict.budget is not None
    assert small.verdict.budget.search is not None
    found = small.verdict.budget.search
    assert found.parts == 4
    assert not found.tried[0].passed
    assert found.tried[-1].passed
    kept = {one.name.split("/")[-2] for one in found.kept}
    assert kept == {"first", "second", "last"}  # the last layer always is
    assert small.verdict.budget.tally.changed == 0
    assert onnxproof.Verdict.from_json(small.verdict.to_json()) == small.verdict


def test_too_few_pictures_are_an_error_and_search_nothing(colours: Path, tmp_path: Path) -> None:
    small = lowered(exported(colours, tmp_path, "precision.budget.changed=0.001"))
    assert small.verdict is not None
    changed = next(one for one in small.verdict.checks if one.name == "changed")
    assert (small.verdict.status, changed.status) == ("error", "error")
    assert "2,995 decisions" in changed.reason


def test_pictures_that_calibrate_do_not_judge(colours: Path, tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"6 of the pictures that judge the file also calibrated it"):
        onnxproof.export(colours, out=tmp_path, set=["validate.images=*/*.png"])
    assert not list(tmp_path.iterdir())


def test_a_file_of_others_is_judged_by_the_budget(colours: Path, tmp_path: Path) -> None:
    made = exported(colours, tmp_path, "precision.mode=float32")
    assert made.lowered is None
    file = made.path / "model.onnx"
    right = onnxproof.validate(colours, onnx=file, policy="budget")
    assert right.passed, str(right)
    proto = onnx.load(file)
    weight = next(one for one in proto.graph.initializer if "last.weight" in one.name)
    weight.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weight)[::-1].copy(), weight.name))
    onnx.save(proto, tmp_path / "swapped.onnx")
    wrong = onnxproof.validate(colours, onnx=tmp_path / "swapped.onnx", policy="budget")
    assert wrong.status == "fail"
    assert wrong.budget is not None
    assert wrong.budget.tally.flipped == 2 * PICTURES // 3


def first_row_for_all(proto: onnx.ModelProto) -> None:
    """Each picture of a batch is answered with what the first one is."""
    graph, last = proto.graph, proto.graph.output[0].name
    graph.node[-1].output[0] = "rows"
    graph.initializer.append(numpy_helper.from_array(np.array([0]), "first"))
    graph.node.append(helper.make_node("Gather", ["rows", "first"], ["row"], axis=0))
    graph.node.append(helper.make_node("Shape", ["rows"], ["form"]))
    graph.node.append(helper.make_node("Expand", ["row", "form"], [last]))


def frozen_at_its_size(proto: onnx.ModelProto) -> None:
    """The file takes pictures of 16 x 16 alone, although its input declares others."""
    graph, given = proto.graph, proto.graph.input[0].name
    for node in graph.node:
        node.input[:] = ["shaped" if name == given else name for name in node.input]
    graph.initializer.append(numpy_helper.from_array(np.array([-1, 3, SIDE, SIDE]), "form"))
    graph.node.insert(0, helper.make_node("Reshape", [given, "form"], ["shaped"]))


def other_sign_elsewhere(proto: onnx.ModelProto) -> None:
    """The file answers with minus its logits at each size but 16 x 16."""
    graph, last = proto.graph, proto.graph.output[0].name
    graph.node[-1].output[0] = "rows"
    for name, value in (("at", np.array(2)), ("side", np.array(SIDE)), ("minus", np.float32(-1))):
        graph.initializer.append(numpy_helper.from_array(np.asarray(value), name))
    graph.node.extend(
        [
            helper.make_node("Shape", [graph.input[0].name], ["sizes"]),
            helper.make_node("Gather", ["sizes", "at"], ["height"], axis=0),
            helper.make_node("Equal", ["height", "side"], ["here"]),
            helper.make_node("Mul", ["rows", "minus"], ["other"]),
            helper.make_node("Where", ["here", "rows", "other"], [last]),
        ]
    )


def other_classes(proto: onnx.ModelProto) -> None:
    """The metadata names the classes in another order."""
    for entry in proto.metadata_props:
        if entry.key == "onnxproof":
            told = json.loads(entry.value)
            told["classes"].reverse()
            entry.value = json.dumps(told)


@pytest.mark.parametrize(
    ("damage", "failed", "says"),
    [
        pytest.param(as_it_is, "", "", id="healthy"),
        pytest.param(first_row_for_all, "batches", "between a batch and its pictures alone", id="batch"),
        pytest.param(frozen_at_its_size, "declared_sizes", "no answer on", id="frozen"),
        pytest.param(other_sign_elsewhere, "declared_sizes", "pictures of other sizes", id="other-sizes"),
        pytest.param(other_classes, "metadata", 'class 0 is "blue"', id="classes-of-the-metadata"),
    ],
)
def test_a_budget_asks_batches_and_other_sizes_too(
    small_sizes: Path, tmp_path: Path, damage: Callable[[onnx.ModelProto], Any], failed: str, says: str
) -> None:
    proto = onnx.load(small_sizes / "model.onnx")
    damage(proto)
    onnx.save(proto, tmp_path / "file.onnx")
    file = tmp_path / "file.onnx"
    verdict = onnxproof.validate(small_sizes, onnx=file, policy="budget", trust=True)
    assert [check.name for check in verdict.checks if check.status == "fail"] == ([failed] if failed else [])
    assert verdict.status == ("fail" if failed else "pass"), str(verdict)
    assert says in next((check.reason for check in verdict.checks if check.status == "fail"), "")


def test_a_task_without_decisions_has_no_budget(colours: Path, tmp_path: Path) -> None:
    with pytest.raises(JobError, match=r"a decision budget counts the decisions"):
        onnxproof.export(colours, out=tmp_path, set=["model.task=raw", "model.classes=[]"])


def test_int8_without_pictures_to_calibrate_is_refused(colours: Path) -> None:
    with pytest.raises(JobError, match=r'"int8" without precision.images'):
        load_job(colours, ["precision={mode='int8'}"])


def joined() -> onnx.ModelProto:
    """Two heads, boxes in hundreds of pixels and scores in [0, 1], that a Concat joins."""
    random = np.random.default_rng(0)
    weights = {
        "first": random.normal(size=(4, 3, 3, 3)),
        "boxes": np.abs(random.normal(size=(4, 4, 1, 1))) * 300.5,
        "scores": random.normal(size=(2, 4, 1, 1)),
    }
    nodes = [
        helper.make_node("Conv", ["x", "first"], ["a"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("Conv", ["b", "boxes"], ["c"]),
        helper.make_node("Conv", ["b", "scores"], ["d"]),
        helper.make_node("Sigmoid", ["d"], ["e"]),
        helper.make_node("Concat", ["c", "e"], ["y"], axis=1),
    ]
    graph = helper.make_graph(
        nodes,
        "joined",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 8, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 6, 8, 8])],
        [numpy_helper.from_array(value.astype(np.float32), name) for name, value in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def test_what_joins_boxes_with_scores_stays_in_float32() -> None:
    proto = with_names(joined())
    network = network_of(proto)
    names = {node.op_type: node.name for node in proto.graph.node}
    assert [len(block.nodes) for block in network.blocks] == [2, 1, 1]
    assert set(network.outside) == {names["Sigmoid"], names["Concat"]}
    assert len(network.heads) == 2


def test_a_constant_of_whole_numbers_is_no_layer() -> None:
    """The bins of a distribution over distances, as YOLOv8 decodes its boxes."""
    proto = joined()
    bins = helper.make_node("Conv", ["y", "bins"], ["z"])
    proto.graph.node.append(bins)
    values = np.arange(6, dtype=np.float32).reshape(1, 6, 1, 1)
    proto.graph.initializer.append(numpy_helper.from_array(values, "bins"))
    proto.graph.output[0].name = "z"
    network = network_of(with_names(proto))
    assert len(network.blocks) == 3
    assert len(network.heads) == 2


@pytest.mark.parametrize("method", ["minmax", "percentile", "entropy"])
def test_each_calibration_keeps_the_scores(method: Any, tmp_path: Path) -> None:
    onnx.save(joined(), tmp_path / "model.onnx")
    random = np.random.default_rng(1)
    inputs = [{"x": random.random((1, 3, 8, 8), dtype=np.float32)} for _ in range(10)]
    made = quantised(calibrate(prepared(tmp_path / "model.onnx"), inputs, method))
    answers = [
        open_bytes(one.SerializeToString(), "model", SessionSettings()).run(None, inputs[0])[0]
        for one in (joined(), made)
    ]
    assert "QuantizeLinear" in [node.op_type for node in made.graph.node]
    assert np.abs(answers[0][:, 4:] - answers[1][:, 4:]).max() < 0.1
    assert answers[1][:, 4:].min() > 0
    scales = [one for one in made.graph.initializer if one.name == "first_scale"]
    assert [one.dims[0] for one in scales] == [4]  # one for each output channel


class Normed(nn.Module):
    """A backbone with a LayerNorm on values in the hundreds, whose squares leave float16. It is spelled out,
    as exporters of older operator sets write it."""

    def __init__(self, scale: float) -> None:
        super().__init__()
        self.body, self.norm, self.head = nn.Linear(8, 8), Spelled(8), nn.Linear(8, 3)
        with torch.no_grad():
            self.body.weight.copy_(torch.eye(8) * scale)
            self.body.bias.zero_()

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.head(self.norm(self.body(x)))
        return found


class Spelled(nn.Module):
    def __init__(self, size: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.linspace(0.5, 1.5, size))

    def forward(self, x: Tensor) -> Tensor:
        centred = x - x.mean(-1, keepdim=True)
        scaled: Tensor = centred / torch.sqrt(centred.pow(2).mean(-1, keepdim=True) + 1e-6) * self.weight
        return scaled


class Wrapped(nn.Module):
    """A network with an input stage that scales, as families wrap theirs."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.network(x * 2)
        return found


X = torch.randn(5, 8, generator=torch.Generator().manual_seed(0))


def test_a_norm_that_overflows_collapses_and_is_mended_where_it_is_kept() -> None:
    """Rebuilt small from roboflow/rf-detr#176 and #352, Peterande/D-FINE#44 and #98: norms leave float16
    where they square, and hardly a detection is left."""
    torch.manual_seed(0)
    module = Wrapped(Normed(400.0)).eval()
    wanted = module(X)
    collapsed = half.halved(module, torch.float16)(X)
    assert not torch.equal(collapsed.argmax(-1), wanted.argmax(-1))
    found = half.reaches(module, [[X]])
    over = [name for name, reach in found.items() if reach.overflows]
    assert over == ["network.norm"]
    assert found["network.norm"].operator == "pow"
    mended = half.halved(module, torch.float16, over)(X)
    assert mended.dtype == torch.float32
    assert torch.equal(mended.argmax(-1), wanted.argmax(-1))
    assert torch.allclose(mended, wanted, atol=0.02)


def test_a_fused_norm_is_kept_for_runtimes_that_square_in_float16() -> None:
    """PyTorch sums a LayerNorm in float32 and hides it; TensorRT 8 does not."""
    network = Normed(400.0)
    network.norm = nn.LayerNorm(8)  # type: ignore[assignment]
    found = half.reaches(Wrapped(network).eval(), [[X]])
    assert [name for name, reach in found.items() if reach.overflows] == ["network.norm"]
    assert found["network.norm"].operator == "square in layer_norm"


def test_values_that_fit_keep_nothing() -> None:
    found = half.reaches(Wrapped(Normed(1.0)).eval(), [[X]])
    assert not any(reach.overflows for reach in found.values())
    assert set(found) == {"network.body", "network.norm", "network.head"}


def test_bf16_has_the_range_of_float32() -> None:
    module = Wrapped(Normed(400.0)).eval()
    assert torch.allclose(half.halved(module, torch.bfloat16)(X), module(X), atol=0.1)


def test_one_part_alone_in_half_leaves_the_rest() -> None:
    module = Wrapped(Normed(1.0)).eval()
    changed = half.alone(module, "network.body", torch.float16)
    held = {name: value.dtype for name, value in changed.named_parameters()}
    assert {name for name, dtype in held.items() if dtype == torch.float16} == {
        "network.body.weight",
        "network.body.bias",
    }
    assert changed(X).dtype == torch.float32


HALVES = """

class Normed(nn.Module):
    def __init__(self, scale: float) -> None:
        super().__init__()
        self.first, self.last, self.scale = nn.Conv2d(3, 3, 1), nn.Linear(3, 3), scale
        self.norm = Spelled()
        with torch.no_grad():
            self.first.weight.copy_(torch.eye(3).reshape(3, 3, 1, 1) * scale)
            self.first.bias.zero_()
            self.last.weight.copy_(torch.eye(3) * 4)
            self.last.bias.zero_()

    def forward(self, image):
        return self.last(self.norm(self.first(image).mean((2, 3))))


class Spelled(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(3))

    def forward(self, x):
        centred = x - x.mean(-1, keepdim=True)
        return centred / torch.sqrt(centred.pow(2).mean(-1, keepdim=True) + 1e-6) * self.weight


def build_normed(scale: float = 2000.0) -> nn.Module:
    return Normed(scale)
"""


@pytest.mark.slow
def test_fp16_keeps_an_overflowing_norm_in_float32(colours: Path, tmp_path: Path) -> None:
    folder = tmp_path / "job"
    folder.mkdir()
    (folder / "network.py").write_text(NETWORK + HALVES, encoding="utf-8")
    for name in ("judged", "calibration"):
        (folder / name).symlink_to(colours.parent / name)
    text = JOB.replace("network.py:build", "network.py:build_normed").replace('"int8"', '"fp16"')
    (folder / "normed.toml").write_text(text, encoding="utf-8")
    small = lowered(exported(folder / "normed.toml", tmp_path / "dist"))
    assert small.verdict is not None
    assert small.verdict.passed, str(small.verdict)
    assert small.manifest.precision is not None
    assert [name.rpartition(".")[2] for name in small.manifest.precision.kept] == ["norm"]
    file = onnx.load(small.path / "model.onnx")
    assert {one.type.tensor_type.elem_type for one in (*file.graph.input, *file.graph.output)} == {
        TensorProto.FLOAT
    }
    held = {one.data_type for one in file.graph.initializer}
    assert TensorProto.FLOAT16 in held
    assert {check.leg for check in small.verdict.checks if check.name == "changed"} == {
        "ort-cpu",
        "torch-float16",
    }
    verdict = onnxproof.selftest(small.path, threads=1)
    assert verdict.passed, str(verdict)
    assert "times what rounding each result to fp16 costs" in str(verdict)
