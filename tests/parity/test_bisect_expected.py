"""What bisect says should come out of a damaged node is what the healthy node gives."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from exports import graph_of
from node_faults import Planter
from numpy.typing import NDArray
from once import Once

from onnxproof.export.model import build_model
from onnxproof.job import Job, load_job
from onnxproof.steps.planning import plan_of
from onnxproof.validate.bisect.locate import Bisected, bisect_file
from onnxproof.validate.cases import Case, materialise
from onnxproof.validate.exact.block import Step
from onnxproof.validate.exact.graph import ExactGraph
from onnxproof.wrappers.family import WrappedModel

Array = NDArray[Any]

SAME = 1e-5
"""How far, as a share of the rms, what a repro expects may be from what the healthy node gives in float64: a
file's constants are rounded to float32."""

NETS = '''
import torch
from torch import nn

def warm(module):
    torch.manual_seed(0)
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            nn.init.uniform_(part.weight, 0.5, 1.5); nn.init.uniform_(part.bias, -0.5, 0.5)
            part.running_mean.uniform_(-0.3, 0.3); part.running_var.uniform_(0.05, 0.3)
    return module.eval()

def pictures(activation, behind=()):
    torch.manual_seed(0)
    return warm(nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), activation, *behind,
                              nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5)))

def relu(): return pictures(nn.ReLU())
def inplace(): return pictures(nn.ReLU(inplace=True))
def silu(): return pictures(nn.SiLU(inplace=True))
def relu6(): return pictures(nn.ReLU6(inplace=True), [nn.Conv2d(8, 8, 3, padding=1), nn.ReLU(inplace=True)])

class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 1), nn.ReLU(inplace=True))
        self.one = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(inplace=True))
        self.two = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8))
        self.last = nn.Linear(8, 5)
    def forward(self, x):
        x = self.stem(x)
        return self.last(nn.functional.relu(x + self.two(self.one(x))).mean((2, 3)))

def residual():
    torch.manual_seed(0)
    return warm(Residual())

def linear(activation):
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(2), nn.Linear(64, 16), activation, nn.Linear(16, 5)).eval()

class Rows(nn.Module):
    """Rows of numbers, [batch, 3, 64]: linear layers on three axes."""
    def __init__(self, net):
        super().__init__()
        self.net = net
    def forward(self, x):
        return self.net(x).sum(1)

class Places(nn.Module):
    """Adds to each number the middle of its cell: an integer range, and a half."""
    def __init__(self):
        super().__init__()
        self.head = nn.Linear(8, 5)
    def forward(self, x):
        columns = (torch.arange(x.shape[3]) + 0.5) * 4
        return self.head((x + columns).mean((1, 2)))

def places():
    torch.manual_seed(0)
    return Places().eval()

def rows(): return Rows(linear(nn.ReLU(inplace=True)))
def rows_gelu(): return Rows(linear(nn.GELU()))
def flat():
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(192, 16), nn.ReLU(inplace=True), nn.Linear(16, 5)).eval()
'''

FOLDED = ("export.exporter=torch.export",)
SEPARATE = ("export.exporter=torchscript", "export.simplify=none", "export.fold_batch_norms=false")


class Export:
    """A small network of NETS, exported."""

    def __init__(self, folder: Path, once: Once, builder: str, overrides: tuple[str, ...]) -> None:
        (folder / "nets.py").write_text(NETS)
        (folder / "job.toml").write_text(
            f"""
            name = "small"
            [model]
            family = "module"
            task = "classification"
            builder = "nets.py:{builder}"
            [inputs]
            x = "float32[batch, 3, 8, 8] in 0..1"
            [dims]
            batch = "1..2"
            [validate]
            effort = "quick"
            threads = 1
            """
        )
        self.job: Job = load_job(folder / "job.toml", overrides)
        self.model: WrappedModel = build_model(self.job)[0]
        self.proto = graph_of(once, self.job, self.model)
        self.folder = folder

    def bisected(self, proto: onnx.ModelProto) -> Bisected:
        onnx.save(proto, self.folder / "damaged.onnx")
        return bisect_file(self.model, self.folder / "damaged.onnx", plan_of(self.job, self.model))

    def healthy(self, case: str) -> dict[str, Array]:
        """The values of the healthy file on a case, in float64."""
        cases: dict[str, Case] = {one.name: one for one in plan_of(self.job, self.model).cases}
        inputs = materialise(cases[case], self.model.contract.inputs, self.model.contract.preprocess)
        values: dict[str, Array] = {}

        def watch(step: Step, _: tuple[Any, ...], computed: tuple[Any, ...]) -> None:
            values.update(zip(step.writes, computed, strict=True))

        ExactGraph(self.proto).run(inputs, watch=watch)
        return values


def pads_moved(planter: Planter) -> None:
    planter.set("pads", [2, 1, 0, 1])


def pads_wider(planter: Planter) -> None:
    """The output gets another shape."""
    planter.set("pads", [2, 2, 2, 2])


def shuffled(planter: Planter) -> None:
    """Nothing of the output is like what it should be."""
    values = planter.value(1)
    planter.rewrite(1, np.random.default_rng(0).permutation(values.reshape(-1)).reshape(values.shape))


def scaled(planter: Planter) -> None:
    planter.rewrite(1, planter.value(1) * 1.003)


Change = Callable[[Planter], None]


def expected_is_the_healthy_nodes(export: Export, operator: str, number: int, change: Change) -> None:
    at = [at for at, node in enumerate(export.proto.graph.node) if node.op_type == operator][number]
    planter = Planter(export.proto, at)
    change(planter)
    found = export.bisected(planter.proto)
    assert [node.outputs for node in found.result.nodes] == [tuple(planter.node.output)]
    assert found.repro is not None
    assert list(found.repro.expected) == list(planter.node.output)
    healthy = export.healthy(found.result.case["name"])
    for name, wanted in found.repro.expected.items():
        assert wanted.shape == healthy[name].shape
        error = np.sqrt(np.mean((wanted - healthy[name]) ** 2)) / np.sqrt(np.mean(healthy[name] ** 2))
        assert error < SAME, found.result.leaving


@pytest.mark.parametrize(
    "change",
    [pads_moved, *(pytest.param(one, marks=pytest.mark.slow) for one in (pads_wider, shuffled, scaled))],
)
@pytest.mark.parametrize("overrides", [FOLDED, SEPARATE], ids=["folded", "separate"])
@pytest.mark.parametrize(
    "builder", ["relu", *(pytest.param(name, marks=pytest.mark.slow) for name in ("inplace", "silu"))]
)
def test_of_a_convolution_before_an_activation(
    builder: str, overrides: tuple[str, ...], change: Change, tmp_path: Path, once: Once
) -> None:
    expected_is_the_healthy_nodes(Export(tmp_path, once, builder, overrides), "Conv", 0, change)


@pytest.mark.first_case
@pytest.mark.parametrize(
    ("builder", "operator", "number", "change"),
    [
        ("relu6", "Conv", 0, shuffled),
        ("relu6", "Conv", 1, shuffled),
        ("residual", "Conv", 1, shuffled),
        ("residual", "Conv", 2, shuffled),
        ("residual", "Conv", 2, pads_moved),
        ("flat", "Gemm", 0, shuffled),
        ("rows", "MatMul", 0, shuffled),
        ("rows_gelu", "MatMul", 0, shuffled),
    ],
)
@pytest.mark.parametrize("overrides", [FOLDED, SEPARATE], ids=["folded", "separate"])
def test_of_other_nodes_before_an_activation(
    builder: str,
    operator: str,
    number: int,
    change: Change,
    overrides: tuple[str, ...],
    tmp_path: Path,
    once: Once,
) -> None:
    expected_is_the_healthy_nodes(Export(tmp_path, once, builder, overrides), operator, number, change)
