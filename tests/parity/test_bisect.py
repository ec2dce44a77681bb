"""Bisect names the node that a fault was planted in, and no node of a healthy export."""

import itertools
import re
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from exports import graph_of
from node_faults import Fault, Planter, draws
from numpy.typing import NDArray
from once import Once
from onnx import helper, numpy_helper
from torch import Tensor, nn

from onnxproof.errors import CheckError, ModelFileError, RequestError
from onnxproof.export.model import build_model
from onnxproof.job import Job, load_job
from onnxproof.runtime.session import SessionSettings, open_session
from onnxproof.steps.planning import plan_of
from onnxproof.validate.bisect import locate, runtime
from onnxproof.validate.bisect.fingerprint import PARTS, Fingerprint, distance
from onnxproof.validate.bisect.locate import Bisected, bisect_file
from onnxproof.validate.bisect.truth import Oracle
from onnxproof.validate.cases import Case, materialise
from onnxproof.validate.chain import Chain, Ran
from onnxproof.validate.contents import Content
from onnxproof.validate.exact.block import Lack, Step
from onnxproof.validate.exact.compiler import Compiler
from onnxproof.validate.legs.leg import Answer, Arrays
from onnxproof.validate.legs.onnx_runtime import OrtLeg
from onnxproof.validate.legs.pytorch import OracleLeg
from onnxproof.validate.policy import FloatFloor
from onnxproof.wrappers.family import WrappedModel

Array = NDArray[Any]

CONFIGS = Path(__file__).parents[2] / "configs"
SMALL = ("dims.batch=1..2", 'dims.height="64..128 step 32"', 'dims.width="64..128 step 32"')
EFFORT = ("validate.effort=quick", "validate.threads=1")
TRACED = ("export.exporter=torchscript", "export.simplify=none", "export.fold_batch_norms=false")

EXPORTS = {
    "yolox, torch.export, onnxsim": ("digits-yolox", (*SMALL, "export.exporter=torch.export")),
    "yolox, TorchScript, not folded": ("digits-yolox", (*SMALL, *TRACED)),
    "classifier, torch.export, onnxsim": ("digits-classifier", ()),
    "segmenter, torch.export, onnxsim": ("digits-segmenter", ("dims.batch=1..2",)),
}

UNPLANTED = {
    "yolox, torch.export, not folded, split": (
        "digits-yolox",
        (*SMALL, "export.exporter=torch.export", "export.fold_batch_norms=false", "wrapper.decode=split"),
    ),
    "classifier, TorchScript": ("digits-classifier", TRACED),
    "reader, TorchScript": ("digits-reader", ()),
    "bert, TorchScript": ("module-bert", TRACED[:2]),
    "bert, torch.export": ("module-bert", ()),
}

IN_THE_SHORT_RUN = ("bert, torch.export",)
REPEATED = (
    "yolox, torch.export, not folded, split",
    "yolox, TorchScript, not folded",
    "classifier, TorchScript",
)
"""Exports of a network that CI bisects as another exporter writes it."""

EFFECT = 3.0
"""A fault counts where it moves an output, rms, by more than this many times the healthy file's own error."""


@dataclass(frozen=True)
class Probe:
    """An input, and what the checkpoint in float64 and the healthy graph answer to it."""

    arrays: Arrays
    truth: Arrays
    healthy: Arrays


@dataclass(frozen=True)
class Export:
    """A healthy export: the job, the model, its graph."""

    job: Job
    model: WrappedModel
    proto: onnx.ModelProto

    def bisected(self, proto: onnx.ModelProto, folder: Path, **settings: Any) -> Bisected:
        file = folder / "model.onnx"
        onnx.save(proto, file)
        return bisect_file(self.model, file, plan_of(self.job, self.model), **settings)

    def plan(self) -> dict[str, Case]:
        return {case.name: case for case in plan_of(self.job, self.model).cases}

    def cases(self) -> list[str]:
        return list(self.plan())

    def arrays(self, case: str) -> dict[str, Array]:
        return materialise(self.plan()[case], self.model.contract.inputs, self.model.contract.preprocess)

    @cached_property
    def probes(self) -> Sequence[Probe]:
        """Noise and an empty input, with what the checkpoint and the healthy graph answer to them."""
        with TemporaryDirectory() as folder:
            healthy = leg_of(self.proto, Path(folder))
        truth = OracleLeg(self.model, 1)
        contents: tuple[Content, ...] = ("noise", "empty")
        probes = []
        for number, content in enumerate(contents):
            sizes = {
                dim.name: dim.floor(min(dim.max, 96 + 32 * position)) if dim.max > 32 else dim.max
                for position, dim in enumerate(self.model.contract.dims)
            }
            arrays = materialise(
                Case("effect", sizes, content, number),
                self.model.contract.inputs,
                self.model.contract.preprocess,
            )
            probes.append(Probe(arrays, truth.run(arrays).outputs, healthy.run(arrays).outputs))
        return probes

    def effect(self, proto: onnx.ModelProto, folder: Path) -> float:
        """How far a changed graph's outputs are from the healthy one's, over the latter's error; infinite
        where it does not run or has other shapes."""
        largest = 0.0
        leg = leg_of(proto, folder)
        for probe in self.probes:
            try:
                changed = leg.run(probe.arrays).outputs
            except Exception:  # noqa: BLE001
                # ONNX Runtime's exceptions have no common public base below Exception.
                return np.inf
            for output, exact in probe.truth.items():
                if changed[output].shape != exact.shape:
                    return np.inf
                healthy = probe.healthy[output]
                floor = max(_rms(healthy - exact), 1e-7 * _rms(exact), 1e-30)
                largest = max(largest, _rms(changed[output].astype(np.float64) - healthy) / floor)
        return largest


def leg_of(proto: onnx.ModelProto, folder: Path) -> OrtLeg:
    onnx.save(proto, folder / "leg.onnx")
    return OrtLeg(folder / "leg.onnx", ["CPUExecutionProvider"], 1)


def _rms(values: Array) -> float:
    return float(np.sqrt(np.mean(np.square(values.astype(np.float64)))))


def make(name: str, once: Once) -> Export:
    config, overrides = {**EXPORTS, **UNPLANTED}[name]
    job = load_job(CONFIGS / f"{config}.toml", (*overrides, *EFFORT))
    model, _ = build_model(job)
    return Export(job, model, graph_of(once, job, model))


class Exports(dict[str, Export]):
    """The exports by name, each made when it is first asked for."""

    def __init__(self, once: Once) -> None:
        super().__init__()
        self._once = once

    def __missing__(self, name: str) -> Export:
        made = self[name] = make(name, self._once)
        return made


@pytest.fixture(scope="module")
def exports(once: Once) -> Exports:
    return Exports(once)


@dataclass(frozen=True)
class Outcome:
    """What bisect said of a planted fault."""

    export: str
    fault: Fault
    named: tuple[tuple[str, ...], ...]

    @property
    def right(self) -> bool:
        return len(self.named) == 1 and self.fault.output in self.named[0]

    def __str__(self) -> str:
        fault = self.fault
        named = "; ".join(", ".join(outputs) for outputs in self.named) or "nothing"
        return f"{self.export}: {fault.kind} in {fault.operator} {fault.output} ({fault.detail}): {named}"


def plant_and_bisect(exports: Exports, seed: int, folder: Path) -> Iterator[Outcome]:
    """Outcomes without end, of faults that load and that move an output."""
    protos = {name: exports[name].proto for name in EXPORTS}
    for name, proto, fault in draws(protos, seed):
        try:
            effect = exports[name].effect(proto, folder)
        except ModelFileError:
            continue
        if not effect > EFFECT:
            continue
        result = exports[name].bisected(proto, folder).result
        yield Outcome(name, fault, tuple(node.outputs for node in result.nodes))


def report(outcomes: Sequence[Outcome]) -> str:
    """A table of kinds, and what was missed."""
    lines = ["| fault | planted | named |", "| --- | ---: | ---: |"]
    for kind in dict.fromkeys(outcome.fault.kind for outcome in outcomes):
        of_kind = [outcome for outcome in outcomes if outcome.fault.kind == kind]
        lines.append(f"| {kind} | {len(of_kind)} | {sum(o.right for o in of_kind)} |")
    sizes = Counter(len(outcome.named) for outcome in outcomes)
    lines.append(f"nodes named: {dict(sorted(sizes.items()))}")
    lines += [f"missed: {outcome}" for outcome in outcomes if not outcome.right]
    return "\n".join(lines)


@pytest.mark.slow
def test_planted_faults_are_named(exports: Exports, tmp_path: Path) -> None:
    outcomes = list(itertools.islice(plant_and_bisect(exports, 0, tmp_path), 28))
    missed = [str(outcome) for outcome in outcomes if not outcome.right]
    assert len(missed) <= 1, report(outcomes)


@pytest.mark.long("test_planted_faults_are_named")
@pytest.mark.parametrize("seed", [0, 1])
def test_of_a_hundred_planted_faults_97_are_named(
    seed: int, exports: Exports, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    outcomes = list(itertools.islice(plant_and_bisect(exports, seed, tmp_path), 100))
    with capsys.disabled():
        sys.stdout.write(f"\n{report(outcomes)}\n")
    assert sum(outcome.right for outcome in outcomes) >= 97, report(outcomes)


@pytest.mark.parametrize(
    "name",
    [
        *IN_THE_SHORT_RUN,
        *(
            pytest.param(name, marks=pytest.mark.long if name in REPEATED else pytest.mark.slow)
            for name in (*EXPORTS, *UNPLANTED)
            if name not in IN_THE_SHORT_RUN
        ),
    ],
)
def test_no_node_of_a_healthy_export_is_named(name: str, exports: Exports, tmp_path: Path) -> None:
    export = exports[name]
    smallest = sorted(export.plan().values(), key=lambda case: -int(np.prod(list(case.sizes.values()))))
    for case in {case.kind: case.name for case in smallest}.values():
        result = export.bisected(export.proto, tmp_path, case=case).result
        assert result.status == "nothing", (case, result)
        assert result.tied > result.nodes_walked / 4


YOLOX = "yolox, TorchScript, not folded"


def first(proto: onnx.ModelProto, operator: str) -> int:
    return next(at for at, node in enumerate(proto.graph.node) if node.op_type == operator)


def conv_scaled(proto: onnx.ModelProto, number: int, factor: float = 1.01) -> onnx.ModelProto:
    """A copy with the weights of one convolution scaled."""
    at = [at for at, node in enumerate(proto.graph.node) if node.op_type == "Conv"][number]
    planter = Planter(proto, at)
    planter.rewrite(1, planter.value(1) * factor)
    return planter.proto


def one_moved(proto: onnx.ModelProto, number: int, factor: float) -> onnx.ModelProto:
    """A copy with the largest weight of one convolution multiplied."""
    at = [at for at, node in enumerate(proto.graph.node) if node.op_type == "Conv"][number]
    planter = Planter(proto, at)
    values = planter.value(1)
    largest = np.unravel_index(np.abs(values).argmax(), values.shape)
    values[largest] *= factor
    planter.rewrite(1, values)
    return planter.proto


@pytest.mark.first_case
@pytest.mark.parametrize("change", [conv_scaled, one_moved])
@pytest.mark.parametrize("number", [0, 3, 9])
@pytest.mark.parametrize(
    "name",
    [
        "classifier, torch.export, onnxsim",
        pytest.param("segmenter, torch.export, onnxsim", marks=pytest.mark.long),
    ],
)
def test_a_weight_moved_below_float32s_noise_is_named(
    name: str, number: int, change: Any, exports: Exports, tmp_path: Path
) -> None:
    export = exports[name]
    damaged = change(export.proto, number, 1.000001)
    result = export.bisected(damaged, tmp_path).result
    wanted = [node for node in damaged.graph.node if node.op_type == "Conv"][number]
    assert [node.outputs for node in result.nodes] == [tuple(wanted.output)]
    assert result.link == "function"
    # One weight changes what ONNX Runtime computes by less than it errs.
    assert not result.failing or change is conv_scaled
    (constant,) = result.constants
    assert constant.startswith(wanted.input[1])
    assert "changed by" in constant
    (leaving,) = result.leaving
    assert leaving.apart is not None
    assert leaving.apart.limit < leaving.apart.maximum < 1e-5 * leaving.apart.scale


def rescaled(proto: onnx.ModelProto, number: int) -> onnx.ModelProto:
    """A copy in which the channels of one convolution are scaled, and scaled back behind it, in float32."""
    at = [at for at, node in enumerate(proto.graph.node) if node.op_type == "Conv"][number]
    planter = Planter(proto, at)
    weight, bias = planter.value(1), planter.value(2)
    factors = np.random.default_rng(0).uniform(1, 2, len(weight)).astype(np.float32)
    planter.rewrite(1, weight * factors[:, None, None, None])
    planter.rewrite(2, bias * factors)
    planter.proto.graph.initializer.append(numpy_helper.from_array(1 / factors[:, None, None], "back"))
    output = planter.node.output[0]
    planter.node.output[0] = "scaled"
    planter.proto.graph.node.insert(at + 1, helper.make_node("Mul", ["scaled", "back"], [output], "back"))
    return planter.proto


@pytest.mark.slow
def test_constants_that_somebody_else_rounded_are_no_fault(exports: Exports, tmp_path: Path) -> None:
    export = exports["classifier, torch.export, onnxsim"]
    healthy = rescaled(export.proto, 9)
    result = export.bisected(healthy, tmp_path).result
    assert (result.status, result.tied > result.nodes_walked / 4) == ("nothing", True), result
    (node,) = export.bisected(conv_scaled(healthy, 20), tmp_path).result.nodes
    wanted = [node for node in healthy.graph.node if node.op_type == "Conv"][20]
    assert node.outputs == tuple(wanted.output)


def test_a_named_node_comes_with_all_that_tells_of_it(exports: Exports, tmp_path: Path) -> None:
    export = exports[YOLOX]
    found = export.bisected(conv_scaled(export.proto, 12), tmp_path)
    result = found.result
    (node,), (leaving,) = result.nodes, result.leaving
    assert (result.status, result.link, result.graph) == ("node", "function", "file")
    assert node.operator == "Conv"
    # The exporter calls the node by the module's path, and folds the normalisation behind it into it.
    block = leaving.module.removesuffix(".bn")
    assert node.name.replace("/", ".").endswith(f"{block.rpartition('.')[2]}.conv.Conv")
    assert (block, leaving.operation) != (leaving.module, "convolution.default")
    assert leaving.apart is not None
    assert leaving.apart.rms == pytest.approx(0.01 * leaving.apart.scale, rel=1)
    assert leaving.apart.maximum > 1e6 * leaving.apart.limit
    assert leaving.shape == leaving.expected_shape


@pytest.mark.slow
def test_the_repro_shows_the_error(exports: Exports, tmp_path: Path) -> None:
    export = exports[YOLOX]
    found = export.bisected(conv_scaled(export.proto, 5), tmp_path)
    assert found.repro is not None
    found.repro.write(tmp_path)
    made = onnx.load(tmp_path / "repro.onnx")
    onnx.checker.check_model(made)
    assert [node.op_type for node in made.graph.node] == ["Conv"]
    arrays = np.load(tmp_path / "repro.npz")
    session = ort.InferenceSession(str(tmp_path / "repro.onnx"))
    feeds = {value.name: arrays[f"input:{value.name}"] for value in session.get_inputs()}
    (output,) = session.get_outputs()
    error = session.run(None, feeds)[0] - arrays[f"expected:{output.name}"]
    apart = found.result.leaving[0].apart
    assert apart is not None
    assert np.abs(error).max() == pytest.approx(apart.maximum, rel=1e-2)
    assert (
        output.name in (tmp_path / "repro.txt").read_text() or "Conv" in (tmp_path / "repro.txt").read_text()
    )


@pytest.mark.slow
def test_what_should_come_out_of_swapped_inputs_is_what_the_operation_gives(
    exports: Exports, tmp_path: Path
) -> None:
    export = exports[YOLOX]
    swapped = onnx.ModelProto()
    swapped.CopyFrom(export.proto)
    node = next(node for node in swapped.graph.node if node.op_type == "Sub")
    node.input[:] = reversed(list(node.input))
    found = export.bisected(swapped, tmp_path)
    (leaving,) = found.result.leaving
    assert (leaving.output, leaving.operation) == (node.output[0], "sub.Tensor")
    assert leaving.apart is not None
    assert leaving.apart.rms == pytest.approx(2 * leaving.apart.scale, rel=1e-6)


@pytest.mark.slow
def test_the_first_of_two_faults_is_named(exports: Exports, tmp_path: Path) -> None:
    export = exports[YOLOX]
    once = conv_scaled(export.proto, 6)
    expected = export.bisected(once, tmp_path).result.nodes
    assert export.bisected(conv_scaled(once, 40), tmp_path).result.nodes == expected


def test_a_reshape_that_was_frozen_is_named_where_it_does_not_run(exports: Exports, tmp_path: Path) -> None:
    export = exports["segmenter, torch.export, onnxsim"]
    at = first(export.proto, "Reshape")
    planter = Planter(export.proto, at)
    sizes = planter.node.input[1]
    probe = onnx.ModelProto()
    probe.CopyFrom(export.proto)
    probe.graph.output.append(onnx.ValueInfoProto(name=sizes))
    session = ort.InferenceSession(probe.SerializeToString())
    names = export.cases()
    (frozen,) = session.run([sizes], export.arrays(names[0]))
    planter.proto.graph.initializer.append(numpy_helper.from_array(frozen, "frozen"))
    planter.node.input[1] = "frozen"
    other = next(
        name for name in names if not np.array_equal(session.run([sizes], export.arrays(name))[0], frozen)
    )
    result = export.bisected(planter.proto, tmp_path, case=other).result
    assert planter.node.output[0] in {name for node in result.nodes for name in node.outputs}
    assert len(result.nodes) == 1
    assert "Reshape" in result.reason


def test_sizes_that_are_put_together_in_another_order_are_named(exports: Exports, tmp_path: Path) -> None:
    """The Concat of the sizes, and not the Reshape that reads them."""
    export = exports["segmenter, torch.export, onnxsim"]
    nodes = export.proto.graph.node
    read = {node.input[1] for node in nodes if node.op_type == "Reshape"}
    at = next(at for at, node in enumerate(nodes) if node.op_type == "Concat" and node.output[0] in read)
    planter = Planter(export.proto, at)
    planter.node.input[0], planter.node.input[1] = planter.node.input[1], planter.node.input[0]
    result = export.bisected(planter.proto, tmp_path).result
    assert [node.outputs for node in result.nodes] == [tuple(planter.node.output)]


@pytest.mark.slow
def test_a_fault_in_a_file_that_onnx_runtime_fused_is_named(exports: Exports, tmp_path: Path) -> None:
    export = exports["segmenter, torch.export, onnxsim"]
    onnx.save(export.proto, tmp_path / "plain.onnx")
    target = tmp_path / "fused.onnx"
    open_session(tmp_path / "plain.onnx", SessionSettings(optimization="extended", optimized_to=target))
    fused = onnx.load(tmp_path / "fused.onnx")
    planter = Planter(fused, first(fused, "FusedConv"))
    planter.rewrite(1, planter.value(1) * 1.01)
    assert export.bisected(fused, tmp_path).result.status == "nothing"
    (node,) = export.bisected(planter.proto, tmp_path).result.nodes
    assert (node.operator, node.outputs) == ("com.microsoft.FusedConv", tuple(planter.node.output))


def test_where_only_the_optimizer_is_wrong_its_graph_is_named(
    exports: Exports, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As if an optimization of ONNX Runtime's changed a convolution's weights."""
    export = exports["segmenter, torch.export, onnxsim"]
    wrong = tmp_path / "wrong.onnx"
    onnx.save(conv_scaled(export.proto, 4), wrong)

    def open_leg(file: Path, providers: Sequence[str], threads: int, level: str) -> OrtLeg:
        return OrtLeg(wrong if level in ("extended", "all") else file, providers, threads, "none")

    def write_optimized(file: Path, settings: SessionSettings) -> None:
        assert settings.optimization == "extended"
        assert settings.optimized_to is not None
        settings.optimized_to.write_bytes(wrong.read_bytes())

    monkeypatch.setattr(locate, "OrtLeg", open_leg)
    monkeypatch.setattr(runtime, "open_session", write_optimized)
    result = export.bisected(export.proto, tmp_path).result
    assert (result.status, result.link, result.graph) == ("node", "runtime", "optimized")
    assert result.nodes[0].operator == "Conv"
    assert result.leaving[0].operation


class Wrong(OrtLeg):
    """A runtime whose last kernel answers a hundredth more."""

    def run(self, inputs: Arrays) -> Answer:
        answer = super().run(inputs)
        outputs = {name: array * np.float32(1.01) for name, array in answer.outputs.items()}
        return replace(answer, outputs=outputs)


def test_a_wrong_kernel_is_named(exports: Exports, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    export = exports["classifier, torch.export, onnxsim"]
    walk = Chain.walk

    def changed(chain: Chain, inputs: Arrays) -> Iterator[Ran]:
        for ran in walk(chain, inputs):
            last = "logits" in ran.step.writes
            yield replace(ran, outputs=(ran.outputs[0] * np.float32(1.01),)) if last else ran

    monkeypatch.setattr(locate, "OrtLeg", Wrong)
    monkeypatch.setattr(Chain, "walk", changed)
    found = export.bisected(export.proto, tmp_path)
    result = found.result
    assert (result.status, result.link, result.graph, result.failing) == ("node", "runtime", "file", True)
    assert result.nodes[0].outputs == ("logits",)
    (leaving,) = result.leaving
    assert (leaving.module, leaving.operation) == ("", "")
    assert leaving.apart is not None
    assert leaving.apart.rms == pytest.approx(0.01 * leaving.apart.scale, rel=1e-2)
    assert leaving.apart.maximum > 100 * leaving.apart.limit
    assert found.repro is not None
    assert [node.op_type for node in found.repro.model.graph.node] == [result.nodes[0].operator]


@pytest.mark.slow
def test_a_verdict_of_fail_without_a_wrong_node_says_that_the_nodes_were_asked(
    exports: Exports, tmp_path: Path
) -> None:
    """A policy under which every file fails."""
    export = exports["classifier, torch.export, onnxsim"]
    onnx.save(export.proto, tmp_path / "model.onnx")
    strict = replace(plan_of(export.job, export.model), policy=FloatFloor(ratio_rms=0.0))
    result = bisect_file(export.model, tmp_path / "model.onnx", strict, case="2").result
    assert (result.status, result.link, result.failing) == ("nothing", "runtime", True)
    assert any("is within its rounding bound" in note for note in result.notes), result.notes


@pytest.mark.slow
def test_fingerprints_are_held_and_not_tensors(exports: Exports, tmp_path: Path) -> None:
    """Values are freed after their last reader, and no tensor of the module is kept."""
    export = exports[YOLOX]
    (case,) = (case for case in export.cases() if case == "2x64x128-picture")
    arrays = export.arrays(case)
    oracle = Oracle(export.model.module, export.model.contract.outputs)
    truth = oracle.truth(arrays)
    sizes = [8 * record.print.size for record in truth.records]
    result = export.bisected(conv_scaled(export.proto, 30), tmp_path, case=case).result
    assert len(result.nodes) == 1
    assert result.peak_bytes < 8 * max(sizes) < sum(sizes) / 8
    assert all(record.print.sums.size <= PARTS for record in truth.records)
    wanted = (3, len(sizes) // 2, len(sizes) - 1)
    for number, tensor in oracle.fetch(arrays, truth, wanted).items():
        assert distance(Fingerprint.of(tensor), truth.records[number].print) == 0


@pytest.mark.slow
def test_a_case_is_taken_by_number_and_by_name(exports: Exports, tmp_path: Path) -> None:
    export = exports["classifier, torch.export, onnxsim"]
    names = export.cases()
    damaged = conv_scaled(export.proto, 3)
    by_number, by_name = (export.bisected(damaged, tmp_path, case=case).result for case in ("2", names[2]))
    assert by_number == by_name
    assert (by_number.case_number, by_number.case["name"]) == (2, names[2])
    # After the planned cases come the inputs that were sought beyond the model's bounds in this file.
    with pytest.raises(
        RequestError, match=r"there is no case 999: expected a number from 0 to \d+,"
    ) as refused:
        export.bisected(damaged, tmp_path, case="999")
    (last,) = re.findall(r"from 0 to (\d+),", str(refused.value))
    assert int(last) >= len(names) - 1
    assert export.bisected(damaged, tmp_path, case=last).result.case_number == int(last)


def test_a_model_without_float64_is_refused(exports: Exports, tmp_path: Path) -> None:
    class SingleOnly(nn.Module):
        def forward(self, input: Tensor) -> Tensor:
            if input.element_size() == 8:
                raise TypeError("this kernel is written for float32")
            return input

    export = exports["classifier, torch.export, onnxsim"]
    single = replace(export, model=replace(export.model, module=SingleOnly()))
    with pytest.raises(CheckError, match="this kernel is written for float32"):
        single.bisected(export.proto, tmp_path)


def leave_out(monkeypatch: pytest.MonkeyPatch, output: str) -> None:
    """An evaluator without the operator of the node that writes this output."""
    made = Compiler._step

    def changed(compiler: Compiler, node: onnx.NodeProto, *given: Any) -> Step:
        step = made(compiler, node, *given)
        left_out = output in node.output
        return replace(step, lack=Lack.of(node, step.opset, "left out")) if left_out else step

    monkeypatch.setattr(Compiler, "_step", changed)


def test_a_file_without_an_output_that_can_be_evaluated_is_refused(
    exports: Exports, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    export = exports["classifier, torch.export, onnxsim"]
    leave_out(monkeypatch, "logits")
    with pytest.raises(CheckError, match=r"the evaluator in float64 has no Gemm of opset .*: left out"):
        export.bisected(export.proto, tmp_path)


def test_an_output_that_cannot_be_evaluated_is_left_out(
    exports: Exports, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    export = exports["segmenter, torch.export, onnxsim"]
    leave_out(monkeypatch, "mask")
    result = export.bisected(conv_scaled(export.proto, 4), tmp_path).result
    wanted = [node for node in export.proto.graph.node if node.op_type == "Conv"][4]
    assert [node.outputs for node in result.nodes] == [tuple(wanted.output)]
    (note,) = result.notes
    assert note.startswith("mask is not walked: the evaluator in float64 has no ")


class Noisy(nn.Module):
    """Takes a random number of steps."""

    def forward(self, x: Tensor) -> Tensor:
        for _ in range(int(torch.randint(1, 9, ()))):
            x = torch.cat((x, x[:, :1]), dim=1)
        return x.sum(dim=1)


def test_a_model_that_computes_another_thing_in_each_run_is_refused(exports: Exports) -> None:
    outputs = exports["classifier, torch.export, onnxsim"].model.contract.outputs
    oracle = Oracle(Noisy(), outputs)
    arrays = {"x": np.ones((2, 3), np.float32)}
    truth = oracle.truth(arrays)
    with pytest.raises(CheckError, match="does not compute the same in two runs"):
        for _ in range(50):
            oracle.fetch(arrays, truth, range(len(truth.records)))


def test_outputs_of_another_name_are_refused(exports: Exports, tmp_path: Path) -> None:
    export = exports["classifier, torch.export, onnxsim"]
    renamed = onnx.ModelProto()
    renamed.CopyFrom(export.proto)
    renamed.graph.output[0].name = "other"
    renamed.graph.node.append(helper.make_node("Identity", ["logits"], ["other"]))
    with pytest.raises(CheckError, match="has the outputs other; expected logits"):
        export.bisected(renamed, tmp_path)
