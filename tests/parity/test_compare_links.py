"""One file against another by their graphs in float64: whatever healthy exporters and optimizers make of one
checkpoint computes the same, and what does not is found far below float32's own error."""

import itertools
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import onnxsim
import pytest
import torch
from networks import FAULTS, FIRST, HEALTHY, SECOND, labelled, nan_for_some, network, renamed, scores
from once import Once
from onnx import helper, numpy_helper
from torch import Tensor, nn

import onnxproof
from onnxproof.validate.legs.leg import GRAPH
from onnxproof.validate.verdict import Check, Verdict

SIZES = {"batch": "1..2", "height": "16..24 step 4", "width": "16..24 step 4"}


class Net(nn.Module):
    """What exporters write in different ways: batch norms, a norm of layers, GELU, a resize, an attention."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8), nn.ReLU())
        self.body = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8), nn.GELU())
        self.query, self.key, self.value = nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 8)
        self.norm = nn.LayerNorm(8)
        self.head = nn.Linear(8, 5)
        with torch.no_grad():
            for name, tensor in self.state_dict().items():
                if "running_var" in name:
                    tensor.uniform_(0.01, 2)
                elif "running_mean" in name or name.endswith("1.bias"):
                    tensor.normal_()
                elif name.endswith("1.weight"):
                    tensor.uniform_(0.5, 1.5)

    def forward(self, image: Tensor) -> Tensor:
        maps = self.body(nn.functional.interpolate(self.stem(image), scale_factor=2, mode="bilinear"))
        tokens = maps.flatten(2).transpose(1, 2)
        query, key, value = self.query(tokens), self.key(tokens), self.value(tokens)
        attended = nn.functional.scaled_dot_product_attention(query, key, value)
        scores: Tensor = self.head(self.norm(tokens + attended)).mean(1)
        return scores


def ours(folder: Path, name: str, *overrides: str) -> Path:
    bundle = onnxproof.export_module(
        Net().eval(),
        inputs={"image": "float32[batch, 3, height, width] in 0..1"},
        dims=SIZES,
        out=folder / name,
        set=[*overrides],
        validate=False,
    )
    proto = onnx.load(bundle.path / "model.onnx")
    del proto.metadata_props[:]
    proto.graph.output[0].name, kept = "scores", proto.graph.output[0].name
    for node in proto.graph.node:
        node.output[:] = ["scores" if output == kept else output for output in node.output]
    file = folder / f"{name}.onnx"
    onnx.save(proto, file)
    return file


def theirs(folder: Path, name: str, opset: int, **options: Any) -> Path:
    """As torch's own exporter writes it, batch norms and all."""
    file = folder / f"{name}.onnx"
    axes = {0: "batch", 2: "height", 3: "width"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # The exporter that writes batch norms is deprecated.
        torch.onnx.export(
            Net().eval(),
            (torch.rand(2, 3, 16, 20),),
            file,
            input_names=["image"],
            output_names=["scores"],
            dynamic_axes={"image": axes, "scores": {0: "batch"}},
            opset_version=opset,
            dynamo=False,
            **options,
        )
    return file


def write_files(folder: Path) -> None:
    """Write files of one checkpoint, named by how they were made."""
    script = "export.exporter=torchscript"
    exported = ours(folder, "torch.export")
    ours(folder, "torchscript", script, "export.opset=17")
    ours(folder, "not-folded", script, "export.simplify=none", "export.fold_batch_norms=false")
    preserve = torch.onnx.TrainingMode.PRESERVE
    norms = onnx.load(theirs(folder, "with-batch-norms", 17, training=preserve, do_constant_folding=False))
    assert "BatchNormalization" in {node.op_type for node in norms.graph.node}
    simplified, _ = onnxsim.simplify(norms)
    onnx.save(simplified, folder / "simplified.onnx")
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath = str(folder / "optimized.onnx")
    onnxruntime.InferenceSession(exported, options, providers=["CPUExecutionProvider"])


@pytest.fixture
def files(once: Once) -> dict[str, Path]:
    """Files of one checkpoint, by how they were made; not to be written to."""
    folder = once("files of one checkpoint", write_files)
    return {name: folder / f"{name}.onnx" for name in NAMES}


def compare(a: Path, b: Path, **options: Any) -> Verdict:
    verdict = onnxproof.compare(a, b, **{"effort": "quick", "threads": 1, "dims": SIZES, **options})
    assert verdict.pairing is not None
    assert verdict.pairing.rule == "graphs", verdict.notes
    return verdict


def function(verdict: Verdict) -> list[Check]:
    return [check for check in verdict.checks if check.name == "function"]


NAMES = ("torch.export", "torchscript", "not-folded", "with-batch-norms", "simplified", "optimized")


@pytest.mark.slow
@pytest.mark.parametrize(("a", "b"), list(itertools.permutations(NAMES, 2)))
def test_what_healthy_tools_make_of_one_checkpoint_computes_the_same(
    files: dict[str, Path], a: str, b: str
) -> None:
    verdict = compare(files[a], files[b])
    assert verdict.passed, verdict.checks
    assert [link.status for link in verdict.links] == ["pass", "pass", "skipped"]
    # docs/compare.md has these figures.
    assert max(check.value or 0.0 for check in function(verdict)) < 2e-9, function(verdict)
    assert all(0.6 < field.ratio_rms < 1.6 for field in verdict.facts[0].fields), verdict.facts


def changed(file: Path, target: Path, change: Callable[[onnx.ModelProto], None]) -> Path:
    proto = onnx.load(file)
    change(proto)
    onnx.save(proto, target)
    return target


def scaled(factor: float, numbers: int | None = None) -> Callable[[onnx.ModelProto], None]:
    """The first ``numbers`` of a weight times a factor, or all of them."""

    def change(proto: onnx.ModelProto) -> None:
        tensor = next(one for one in proto.graph.initializer if list(one.dims) == [8, 8, 3, 3])
        values = numpy_helper.to_array(tensor).copy()
        values.reshape(-1)[:numbers] *= np.float32(factor)
        tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))

    return change


def swapped(proto: onnx.ModelProto) -> None:
    (name,) = (value.name for value in proto.graph.output)
    order = numpy_helper.from_array(np.array([0, 2, 1, 3, 4]), "order")
    for node in proto.graph.node:
        node.output[:] = ["straight" if output == name else output for output in node.output]
    proto.graph.initializer.append(order)
    proto.graph.node.append(helper.make_node("Gather", ["straight", "order"], [name], axis=1))


def attribute(operator: str, name: str, value: Any) -> Callable[[onnx.ModelProto], None]:
    def change(proto: onnx.ModelProto) -> None:
        node = next(node for node in proto.graph.node if node.op_type == operator)
        kept = [one for one in node.attribute if one.name != name]
        del node.attribute[:]
        node.attribute.extend([*kept, helper.make_attribute(name, value)])

    return change


@pytest.mark.slow
@pytest.mark.parametrize(
    ("a", "b", "change"),
    [
        pytest.param("torch.export", "torch.export", scaled(1.000001), id="weight-times-1.000001"),
        pytest.param("torch.export", "torch.export", scaled(1.000001, 1), id="one-number-times-1.000001"),
        pytest.param("torch.export", "torch.export", scaled(1.0001), id="weight-times-1.0001"),
        pytest.param("with-batch-norms", "not-folded", scaled(1.000001), id="folded-weight-times-1.000001"),
        pytest.param("not-folded", "with-batch-norms", scaled(1.000001), id="weight-before-its-norm"),
        pytest.param(
            "torch.export",
            "with-batch-norms",
            attribute("BatchNormalization", "epsilon", 1.1e-5),
            id="epsilon-of-a-norm",
        ),
        pytest.param(
            "torch.export",
            "torch.export",
            attribute("LayerNormalization", "epsilon", 1e-6),
            id="epsilon-of-a-layer-norm",
        ),
        pytest.param(
            "torch.export", "torch.export", attribute("Gelu", "approximate", "tanh"), id="gelu-by-tanh"
        ),
        pytest.param(
            "torchscript", "torch.export", attribute("Resize", "mode", "nearest"), id="resize-to-nearest"
        ),
        pytest.param(
            "not-folded",
            "torch.export",
            attribute("Resize", "coordinate_transformation_mode", "asymmetric"),
            id="resize-from-the-corner",
        ),
        pytest.param("torchscript", "torch.export", swapped, id="classes-swapped"),
    ],
)
def test_a_fault_of_b_is_its_functions(
    files: dict[str, Path], a: str, b: str, change: Callable[[onnx.ModelProto], None], tmp_path: Path
) -> None:
    verdict = compare(files[a], changed(files[b], tmp_path / "b.onnx", change))
    assert [link.status for link in verdict.links] == ["fail", "pass", "skipped"], verdict.checks
    assert {check.name for check in verdict.checks if check.status == "fail"} == {"function"}


Save = Callable[[onnx.ModelProto, onnx.ModelProto], tuple[Path, Path]]


@pytest.fixture
def save(tmp_path: Path) -> Save:
    def save(a: onnx.ModelProto, b: onnx.ModelProto) -> tuple[Path, Path]:
        for name, proto in (("a", a), ("b", b)):
            onnx.save(proto, tmp_path / f"{name}.onnx")
        return tmp_path / "a.onnx", tmp_path / "b.onnx"

    return save


FEW: dict[str, Any] = {"dims": {"batch": "1..64"}, "effort": "normal"}


@pytest.mark.parametrize("b", HEALTHY)
def test_a_healthy_network_computes_the_same(save: Save, b: onnx.ModelProto) -> None:
    verdict = compare(*save(network(), b), **FEW)
    assert verdict.passed, verdict.checks
    assert [link.status for link in verdict.links[:2]] == ["pass", "pass"]
    assert 0.2 < verdict.facts[0].fields[0].ratio_rms < 2


@pytest.mark.parametrize(("b", "checks"), FAULTS)
def test_what_two_runs_find_the_graphs_find(save: Save, b: onnx.ModelProto, checks: str) -> None:
    verdict = compare(*save(network(), b), **FEW)
    failed = {check.name for check in verdict.checks if check.status == "fail"}
    assert {"function" if name.startswith("ratio") else name for name in checks.split()} <= failed


def test_nan_is_found(save: Save) -> None:
    verdict = compare(*save(renamed(network(), "answer"), nan_for_some(network())), **FEW)
    assert "finite" in {check.name for check in verdict.checks if check.status == "fail"}
    assert any("NaN or infinity that A does not have" in check.reason for check in verdict.checks)


def test_labels_flip_only_where_a_is_not_sure(save: Save) -> None:
    same = compare(*save(labelled(), labelled(FIRST, gemm=True)), **FEW)
    assert same.passed, same.checks
    noise = np.random.default_rng(1).normal(scale=0.1, size=FIRST.shape).astype(np.float32)
    noisy = compare(*save(labelled(), labelled(FIRST * (1 + noise))), **FEW)
    assert noisy.links[0].status == "fail"
    assert {check.name for check in noisy.checks if check.status == "fail"} == {"flips"}


def test_a_toss_up_is_no_fault(save: Save) -> None:
    """All classes have the same weights but for rounding: which of them leads is chance."""
    alike = np.repeat(SECOND[:, :1], SECOND.shape[1], axis=1)
    towards = np.random.default_rng(1).choice([-9, 9], alike.shape).astype(np.float32)
    verdict = compare(*save(labelled(second=alike), labelled(second=np.nextafter(alike, towards))), **FEW)
    assert verdict.facts[0].labels[0].flips > 0
    assert verdict.passed, verdict.checks


def microsofts(operator: str, *more: str, **attributes: Any) -> onnx.ModelProto:
    """The network with an operator at its end that the evaluator lacks."""
    tail = [helper.make_node(operator, ["scores", *more], ["last"], domain="com.microsoft", **attributes)]
    proto = network(tail=tail, outputs=[scores("last", axes=("batch", None))])
    proto.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    return proto


def test_an_operator_of_a_that_is_not_evaluated_leaves_two_runs(save: Save) -> None:
    distances = microsofts("CDist", "centres", metric="euclidean")
    distances.graph.initializer.append(numpy_helper.from_array(SECOND[:7], "centres"))
    verdict = onnxproof.compare(*save(distances, distances), dims={"batch": "1..64"}, threads=1)
    assert verdict.passed, verdict.checks
    assert verdict.pairing is not None
    assert verdict.pairing.rule == "two-runs"
    (check,) = function(verdict)
    assert (check.status, check.leg) == ("skipped", f"B, {GRAPH}")
    assert check.reason.startswith("A's graph is not evaluated in float64: com.microsoft.CDist")
    assert verdict.links[0].check == check


def test_an_operator_of_b_that_is_not_evaluated_skips_its_function(save: Save) -> None:
    """Its Trilu keeps every score: the diagonal lies beyond the last column."""
    whole = microsofts("Trilu", upper=0)
    whole.graph.node[-1].input.append("diagonal")
    whole.graph.initializer.append(numpy_helper.from_array(np.array(10), "diagonal"))
    verdict = compare(*save(renamed(network(), "last"), whole), **FEW)
    assert verdict.passed, verdict.checks
    assert [link.status for link in verdict.links[:2]] == ["skipped", "pass"]
    (check,) = function(verdict)
    assert "com.microsoft.Trilu" in check.reason


def skipping(marked: int) -> onnx.ModelProto:
    """The mean over time of a table's rows at the ids that are not ``marked``."""
    nodes = [
        helper.make_node("Gather", ["table", "ids"], ["rows"]),
        helper.make_node("Equal", ["ids", "marked"], ["is_marked"]),
        helper.make_node("Unsqueeze", ["is_marked", "last"], ["of_rows"]),
        helper.make_node("Where", ["of_rows", "zero", "rows"], ["kept"]),
        helper.make_node("ReduceMean", ["kept", "time"], ["mean"], keepdims=0),
    ]
    table = np.random.default_rng(0).normal(size=(9000, 4)).astype(np.float32)
    graph = helper.make_graph(
        nodes,
        "skipping",
        [helper.make_tensor_value_info("ids", onnx.TensorProto.INT64, ("batch", "time"))],
        [helper.make_tensor_value_info("mean", onnx.TensorProto.FLOAT, ("batch", 4))],
        [
            numpy_helper.from_array(table, "table"),
            numpy_helper.from_array(np.array(marked), "marked"),
            numpy_helper.from_array(np.array([-1]), "last"),
            numpy_helper.from_array(np.array([1]), "time"),
            numpy_helper.from_array(np.zeros((), np.float32), "zero"),
        ],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def test_the_ids_that_files_compare_with_are_tried(save: Save) -> None:
    """Of 9000 ids, no drawn case has the one that A skips, or that B does."""
    options: dict[str, Any] = {"dims": {"batch": "1..2", "time": "1..8"}, "effort": "quick", "threads": 1}
    ids = {"ids": "int64[batch, time] in 0..8999"}
    verdict = onnxproof.compare(*save(skipping(1700), skipping(1701)), inputs=ids, **options)
    first, *_ = function(verdict)
    assert first.status == "fail"
    assert "padded-with-1701" in first.reason
    assert onnxproof.compare(*save(skipping(1700), skipping(1700)), inputs=ids, **options).passed


def drawing() -> onnx.ModelProto:
    """The network with noise on its scores. A session starts with the same seed each time."""
    tail = [
        helper.make_node("RandomUniformLike", ["scores"], ["noise"], name="/noise", seed=1.0),
        helper.make_node("Add", ["scores", "noise"], ["last"]),
    ]
    return network(tail=tail, outputs=[scores("last")])


def test_a_file_that_draws_random_numbers_is_not_proven_by_itself(save: Save) -> None:
    """Both draw the same numbers here, so that no run tells."""
    verdict = onnxproof.compare(*save(drawing(), drawing()), dims={"batch": "1..64"}, threads=1)
    (check,) = [check for check in verdict.checks if check.status == "fail"]
    assert (check.name, check.value) == ("random", 1)
    told = [f'{letter} draws random numbers: RandomUniformLike "/noise"' for letter in "AB"]
    assert all(words in check.reason for words in told)


def test_which_of_two_files_draws_random_numbers_is_told(save: Save) -> None:
    verdict = compare(*save(renamed(network(), "last"), drawing()), **FEW)
    (check,) = [check for check in verdict.checks if check.name == "random"]
    assert check.status == "fail"
    assert check.reason.startswith("B draws random numbers")
    assert "A draws" not in check.reason


def mean(*steps: Sequence[int]) -> onnx.ModelProto:
    """The mean of a map, over some of its axes at a time."""
    names = ["map", *(f"mean{step}" for step in range(len(steps)))]
    graph = helper.make_graph(
        [
            helper.make_node("Reshape", ["x", "square"], ["map"]),
            *(
                helper.make_node("ReduceMean", [names[at], f"axes{at}"], [names[at + 1]])
                for at in range(len(steps))
            ),
            helper.make_node("Identity", [names[-1]], ["mean"]),
        ],
        "mean",
        [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ("batch", 32**4))],
        [helper.make_tensor_value_info("mean", onnx.TensorProto.FLOAT, ("batch", 1, 1, 1, 1))],
        [
            numpy_helper.from_array(np.array([0, 32, 32, 32, 32]), "square"),
            *(numpy_helper.from_array(np.array(axes), f"axes{at}") for at, axes in enumerate(steps)),
        ],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


@pytest.mark.slow
def test_a_rough_kernel_of_b_is_no_fault(save: Save) -> None:
    """One long sum in B, many short ones in A: each node of B is asked."""
    verdict = compare(*save(mean([4], [3], [2], [1]), mean([1, 2, 3, 4])), dims={"batch": "1..4"})
    assert verdict.passed, verdict.checks
    assert [link.status for link in verdict.links[:2]] == ["pass", "pass"]
    assert "kernels" in {check.name for check in verdict.checks}
    assert any("times what A errs" in note and "the file is right" in note for note in verdict.notes)
