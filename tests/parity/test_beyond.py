"""Inputs that are made to reach the model's own bounds: a file that lacks one fails the link ``function``."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from torch import Tensor, nn
from torch.nn import functional

import onnxproof

Change = Callable[[onnx.GraphProto], None]


class Net(nn.Module):
    """A function of an input and a linear layer."""

    def __init__(self, run: Callable[["Net", Tensor], Tensor], scale: float = 1.0) -> None:
        super().__init__()
        torch.manual_seed(2)
        self.layer = nn.Linear(16, 16)
        self.layer.weight.data *= scale
        self.run = run

    def forward(self, x: Tensor) -> Tensor:
        return self.run(self, x)


def capped(net: Net, x: Tensor) -> Tensor:
    return functional.relu6(net.layer(x) + 1)


def capped_in_place(net: Net, x: Tensor) -> Tensor:
    return functional.relu6(net.layer(x), inplace=True)


def normalized(net: Net, x: Tensor) -> Any:
    return net.layer(functional.normalize(x, dim=1, eps=1e-6))


def jumping(_: Net, x: Tensor) -> Tensor:
    return torch.where(x > 0.999, 100 * x, x)


def exported(module: nn.Module, file: Path, shape: tuple[int, ...] = (3, 16)) -> Path:
    torch.onnx.export(
        module.eval(),
        (torch.rand(shape),),
        str(file),
        input_names=["x"],
        output_names=["y"],
        dynamic_axes={"x": {0: "batch"}, "y": {0: "batch"}},
        dynamo=False,
        opset_version=17,
    )
    return file


def without(kind: str) -> Change:
    """Takes the last node of a kind out."""

    def change(graph: onnx.GraphProto) -> None:
        *_, node = (node for node in graph.node if node.op_type == kind)
        for other in graph.node:
            for at, name in enumerate(other.input):
                if name == node.output[0]:
                    other.input[at] = node.input[0]
        for port in graph.output:
            if port.name == node.output[0]:
                (before,) = (one for one in graph.node if node.input[0] in one.output)
                before.output[0] = port.name
        graph.node.remove(node)

    return change


def uncapped(graph: onnx.GraphProto) -> None:
    """Puts a ReLU in the place of the Clip to 0..6."""
    (node,) = (node for node in graph.node if node.op_type == "Clip")
    node.op_type = "Relu"
    del node.input[1:]


def jumps_at_two(graph: onnx.GraphProto) -> None:
    (node,) = (node for node in graph.node if node.op_type == "Greater")
    graph.initializer.append(numpy_helper.from_array(np.array(2, np.float32), "two"))
    node.input[1] = "two"


def judged(
    module: nn.Module, low: int, change: Change, folder: Path
) -> tuple[onnxproof.Verdict, onnxproof.Verdict]:
    """The verdicts on a module's file, which passes, and on a changed one, whose function fails."""
    asked: dict[str, Any] = {
        "inputs": {"x": f"float32[batch, 16] in {low}..1"},
        "dims": {"batch": "1..3"},
    }
    file = exported(module, folder / "right.onnx")
    right = onnxproof.check_module(module, file, **asked)
    assert right.passed, right.checks
    assert not any("beyond" in case.name for case in right.cases)
    model = onnx.load(file)
    change(model.graph)
    onnx.save(model, folder / "wrong.onnx")
    wrong = onnxproof.check_module(module, folder / "wrong.onnx", **asked)
    assert wrong.status == "fail"
    assert {link.link: link.status for link in wrong.links}["function"] == "fail"
    return right, wrong


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
@pytest.mark.parametrize(
    ("module", "low", "change", "says"),
    [
        pytest.param(Net(capped, 3), -1, uncapped, "relu6 above 6", id="a-bound-that-one-corner-reaches"),
        pytest.param(
            Net(capped_in_place, 4),
            -1,
            uncapped,
            "relu6 above 6",
            id="in-place-and-no-corner-reaches-it",
        ),
        pytest.param(Net(normalized), -1, without("Clip"), "below 1e-06", id="the-least-norm"),
        pytest.param(Net(jumping), -1, jumps_at_two, "gt above 0.999", id="a-threshold"),
    ],
)
def test_a_file_without_the_models_bound_fails_where_it_is_reached(
    module: nn.Module, low: int, change: Change, says: str, tmp_path: Path
) -> None:
    right, wrong = judged(module, low, change, tmp_path)
    made = [case.name for case in wrong.cases if "beyond" in case.name]
    first, *_ = (note for note in wrong.notes if note.startswith(tuple(made)))
    assert says in first
    assert wrong.facts[0].cases == right.facts[0].cases == len(wrong.cases) - len(made)


def floored(_: Net, x: Tensor) -> Tensor:
    """Held to three decades below each row's largest number, as in a log-mel spectrum."""
    level = torch.log10((x.reshape(-1, 4, 4) ** 2).mean(2).clamp(min=1e-10))
    return torch.maximum(level, level.amax(1, keepdim=True) - 3)


def filled(net: Net, x: Tensor) -> Any:
    return net.layer(torch.where(torch.isnan(x), 0.5, x))


def averaged(net: Net, x: Tensor) -> Any:
    """Filled with the mean of the numbers that are there, of a row without any as of one."""
    there = ~torch.isnan(x)
    mean = torch.where(there, x, 0).sum(1, keepdim=True) / there.sum(1, keepdim=True).clamp(min=1)
    return net.layer(torch.where(there, x, mean))


def ruled(net: Net, x: Tensor) -> Tensor:
    """A rule of two conditions, which hardly any input meets."""
    rare = (x[:, :1] > 0.96) & (x[:, 1:2] < -0.96)
    return torch.where(rare, torch.ones_like(x), net.layer(x))


def stepping(net: Net, x: Tensor) -> Any:
    return net.layer(x) + (x > 0.3)


def narrowly_ruled(net: Net, x: Tensor) -> Tensor:
    """As ``ruled``, and a threshold that is small beside its input's range."""
    rare = (x[:, :1] > 0.0018) & (x[:, 1:2] < 0.9)
    return torch.where(rare, torch.ones_like(x), net.layer(x))


def whole(net: Net, x: Tensor) -> Any:
    return net.layer(torch.floor(x * 2 + 0.5))


def whole_alone(_: Net, x: Tensor) -> Tensor:
    return (x * 2 + 0.5).long()


BOUNDARIES = torch.tensor([-0.5, 0.1, 0.7])


def bucket(_: Net, x: Tensor) -> Tensor:
    return torch.bucketize(x, BOUNDARIES)


def bucketed(net: Net, x: Tensor) -> Any:
    return net.layer(x) + torch.bucketize(x, BOUNDARIES)


def unfloored(graph: onnx.GraphProto) -> None:
    """Puts the first input of the Max in its place."""
    (node,) = (node for node in graph.node if node.op_type == "Max")
    node.op_type = "Identity"
    del node.input[1:]


def over_all(graph: onnx.GraphProto) -> None:
    """Takes the largest number of the whole batch in place of each row's."""
    (node,) = (node for node in graph.node if node.op_type == "ReduceMax")
    (axes,) = (one for one in node.attribute if one.name == "axes")
    axes.ints[:] = [0, 1]


def bypassed(graph: onnx.GraphProto) -> None:
    """Puts the last input of the last Where in its place."""
    *_, node = (node for node in graph.node if node.op_type == "Where")
    last = node.input[2]
    node.op_type = "Identity"
    node.input[:] = [last]


def moved(number: float, other: float) -> Change:
    """Compares with another number."""

    def change(graph: onnx.GraphProto) -> None:
        tensors = [one.t for node in graph.node for one in node.attribute if one.name == "value"] + list(
            graph.initializer
        )
        (found,) = (one for one in tensors if numpy_helper.to_array(one).tolist() == pytest.approx(number))
        found.CopyFrom(numpy_helper.from_array(np.array(other, np.float32), found.name))

    return change


def moved_boundary(graph: onnx.GraphProto) -> None:
    """Moves the second of three boundaries."""
    tensors = [one.t for node in graph.node for one in node.attribute if one.name == "value"]
    (found,) = (one for one in [*tensors, *graph.initializer] if numpy_helper.to_array(one).size == 3)
    boundaries = numpy_helper.to_array(found).copy()
    boundaries.reshape(-1)[1] += 0.012
    found.CopyFrom(numpy_helper.from_array(boundaries, found.name))


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
@pytest.mark.parametrize(
    ("run", "change", "says"),
    [
        pytest.param(
            floored,
            unfloored,
            "rows that are half zeros",
            id="a-floor-below-the-largest",
            marks=pytest.mark.slow,
        ),
        pytest.param(floored, over_all, "rows of different levels", id="the-largest-of-the-batch"),
        pytest.param(filled, bypassed, "hold NaN, which the model looks for", id="a-fill-of-nan"),
        pytest.param(averaged, without("Clip"), "a row of NaN alone", id="the-guard-of-an-empty-row"),
        pytest.param(ruled, bypassed, "gt above 0.96 and lt below -0.96", id="two-conditions-at-once"),
        pytest.param(bucketed, moved_boundary, "lie just", id="a-boundary-between-the-cases-numbers"),
        pytest.param(stepping, moved(0.3, 0.31), "lie just", id="a-threshold-between-the-cases-numbers"),
        pytest.param(
            narrowly_ruled, moved(0.0018, 0.002), "lie just", id="a-threshold-small-beside-the-range"
        ),
        pytest.param(whole, moved(2, 2.002), "lie just", id="a-factor-of-what-is-rounded-down"),
        pytest.param(
            whole_alone, moved(2, 2.002), "lie just", id="of-integers-alone", marks=pytest.mark.slow
        ),
        pytest.param(bucket, moved_boundary, "lie just", id="a-boundary-of-integers-alone"),
    ],
)
def test_what_no_case_decides_by_is_made(
    run: Callable[[Net, Tensor], Tensor], change: Change, says: str, tmp_path: Path
) -> None:
    _, wrong = judged(Net(run), -1, change, tmp_path)
    assert any(says in note for note in wrong.notes), wrong.notes


def sentinel(net: Net, x: Tensor) -> Any:
    """Fills in what is missing, for which -1 stands."""
    return net.layer(torch.where(x == -1.0, 0.5, x))


def any_missing(net: Net, x: Tensor) -> Any:
    return net.layer(x) * (x != 0.25).all(1, keepdim=True)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
@pytest.mark.parametrize(
    ("run", "change", "says"),
    [
        pytest.param(sentinel, moved(-1, -99), "hold the number -1", id="a-number-that-stands-for-missing"),
        pytest.param(any_missing, moved(0.25, 9), "hold the number 0.25", id="that-none-may-be"),
    ],
)
def test_floats_that_are_equal_to_a_number_are_tried(
    run: Callable[[Net, Tensor], Tensor], change: Change, says: str, tmp_path: Path
) -> None:
    _, wrong = judged(Net(run), -2, change, tmp_path)
    assert any(says in note for note in wrong.notes), wrong.notes


def scored(net: Net, x: Tensor) -> Any:
    """Points for each of 20 thresholds, as in a score card."""
    points = net.layer(x)
    for number in range(20):
        points = points + (x[:, number % 16 : number % 16 + 1] > 0.095 * number - 0.9)
    return points


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
def test_each_of_many_thresholds_is_tried(tmp_path: Path) -> None:
    right, wrong = judged(Net(scored), -1, moved(0.62, 0.63), tmp_path)
    assert any("gt above 0.62" in note for note in wrong.notes), wrong.notes
    assert not any("compares with" in note for note in right.notes)


FINE = torch.linspace(-0.99, 0.99, 100)


def finely_bucketed(net: Net, x: Tensor) -> Any:
    return net.layer(x) + torch.bucketize(x, FINE)


def moved_37th(graph: onnx.GraphProto) -> None:
    tensors = [one.t for node in graph.node for one in node.attribute if one.name == "value"]
    (found,) = (one for one in [*tensors, *graph.initializer] if numpy_helper.to_array(one).size == 100)
    boundaries = numpy_helper.to_array(found).copy()
    boundaries.reshape(-1)[37] += 0.005
    found.CopyFrom(numpy_helper.from_array(boundaries, found.name))


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
def test_boundaries_of_many_are_tried(tmp_path: Path) -> None:
    right, wrong = judged(Net(finely_bucketed), -1, moved_37th, tmp_path)
    assert any("lie just" in note for note in wrong.notes), wrong.notes
    assert "inputs are made beside 64 of the 100 numbers that the model compares with" in right.notes


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
def test_thresholds_that_are_not_tried_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules["onnxproof.validate.beyond"], "MOST_SOUGHT_OF_SMALL", 8)
    file = exported(Net(scored), tmp_path / "scored.onnx")
    asked: dict[str, Any] = {"inputs": {"x": "float32[batch, 16] in -1..1"}, "dims": {"batch": "1..3"}}
    (note,) = (one for one in onnxproof.check_module(Net(scored), file, **asked).notes if "compares" in one)
    assert note.startswith("inputs are made beside 8 of the 20 numbers that the model compares with")


class Yes(nn.Module):
    """Whether a score is above a half."""

    def __init__(self, finish: Callable[[Tensor], Tensor], bias: float = 0.0) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.score = nn.Sequential(nn.Linear(16, 32), nn.Tanh(), nn.Linear(32, 1))
        self.bias = bias
        self.finish = finish

    def forward(self, x: Tensor) -> Tensor:
        return self.finish(torch.sigmoid(self.score(x) + self.bias) > 0.5)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
@pytest.mark.parametrize(
    ("finish", "bias"),
    [
        pytest.param(Tensor.long, 0.0, id="integers"),
        pytest.param(lambda yes: yes, 0.0, id="conditions"),
        pytest.param(lambda yes: yes | yes.flip(0), 0.0, id="conditions-of-several"),
        pytest.param(lambda yes: yes, 0.2, id="conditions-that-every-corner-meets"),
    ],
)
def test_an_answer_that_turns_just_beyond_a_threshold_fails(
    finish: Callable[[Tensor], Tensor], bias: float, tmp_path: Path
) -> None:
    """A score of 0.50003, whose float error is less than a thousandth of the way to the threshold or not."""
    _, wrong = judged(Yes(finish, bias), -1, moved(0.5, 0.501), tmp_path)
    failed = [check for check in wrong.checks if check.link == "function" and check.status == "fail"]
    assert [check.name for check in failed] == ["flips"]
    assert any("gt above 0.5" in note for note in wrong.notes), wrong.notes


class History(nn.Module):
    """The mean of the rows of a table that are not padding, of an empty history as of one."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.table = nn.Embedding(300, 8)

    def forward(self, ids: Tensor) -> Any:
        kept = (ids != 0).float()[..., None]
        return (self.table(ids) * kept).sum(1) / kept.sum(1).clamp(min=1)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
def test_an_input_of_padding_alone_is_made(tmp_path: Path) -> None:
    module = History().eval()
    torch.onnx.export(
        module,
        (torch.randint(0, 300, (2, 5)),),
        str(tmp_path / "right.onnx"),
        input_names=["ids"],
        output_names=["y"],
        dynamic_axes={"ids": {0: "batch", 1: "n"}, "y": {0: "batch"}},
        dynamo=False,
        opset_version=17,
    )
    asked: dict[str, Any] = {
        "inputs": {"ids": "int64[batch, n] in 0..299"},
        "dims": {"batch": "1..3", "n": "1..16"},
    }
    assert onnxproof.check_module(module, tmp_path / "right.onnx", **asked).passed
    model = onnx.load(tmp_path / "right.onnx")
    without("Clip")(model.graph)
    onnx.save(model, tmp_path / "wrong.onnx")
    wrong = onnxproof.check_module(module, tmp_path / "wrong.onnx", **asked)
    assert wrong.status == "fail"
    assert any("hold one id alone (ids = 0)" in note for note in wrong.notes), wrong.notes


class Padded(nn.Module):
    """Each step is capped. At padded steps no answer is compared."""

    def __init__(self) -> None:
        super().__init__()
        self.net = Net(capped_in_place, 4)

    def forward(self, x: Tensor, kept: Tensor) -> Any:
        return self.net(x) * kept[..., None]


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
def test_steps_that_a_padding_mask_keeps_are_compared(tmp_path: Path) -> None:
    module = Padded().eval()
    axes = {0: "batch", 1: "time"}
    torch.onnx.export(
        module,
        (torch.rand(2, 3, 16), torch.ones(2, 3, dtype=torch.int64)),
        str(tmp_path / "right.onnx"),
        input_names=["x", "kept"],
        output_names=["y"],
        dynamic_axes={"x": axes, "kept": axes, "y": axes},
        dynamo=False,
        opset_version=17,
    )
    asked: dict[str, Any] = {
        "inputs": {"x": "float32[batch, time, 16] in -1..1", "kept": "int64[batch, time] as mask"},
        "dims": {"batch": "1..2", "time": "2..3"},
    }
    assert onnxproof.check_module(module, tmp_path / "right.onnx", **asked).passed
    model = onnx.load(tmp_path / "right.onnx")
    uncapped(model.graph)
    onnx.save(model, tmp_path / "wrong.onnx")
    wrong = onnxproof.check_module(module, tmp_path / "wrong.onnx", **asked)
    assert wrong.status == "fail"
    assert any("relu6 above 6" in note for note in wrong.notes)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
def test_bisect_names_the_node_on_the_input_that_was_sought(tmp_path: Path) -> None:
    module = Net(capped, 3)
    made = onnxproof.export_module(
        module,
        inputs={"x": "float32[batch, 16] in -1..1"},
        dims={"batch": "1..3"},
        out=tmp_path / "bundle",
        set=("validate.effort=quick", "export.exporter=torchscript", "export.simplify=none"),
    )
    model = onnx.load(made.path / "model.onnx")
    uncapped(model.graph)
    onnx.save(model, tmp_path / "wrong.onnx")
    verdict = onnxproof.validate(made.path, model=module, onnx=tmp_path / "wrong.onnx")
    (number,) = (number for number, case in enumerate(verdict.cases) if "beyond" in case.name)
    for case in (None, str(number)):
        found = onnxproof.bisect(
            made.path, model=module, onnx=tmp_path / "wrong.onnx", case=case, out=tmp_path / f"bisect-{case}"
        )
        assert found.status == "node"
        assert found.nodes[0].operator == "Relu"
        assert (found.case["name"], found.case_number) == (verdict.cases[number].name, number)


class Centres(nn.Module):
    """Where the best cells of a map lie: computed from the places of a top-k."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Conv2d(3, 1, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        best = self.layer(x).flatten(1).topk(3, dim=1)
        return torch.stack(((best.indices % 8).float(), (best.indices // 8).float(), best.values), -1)


class Moved(Centres):
    """Each number is one more."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + 1


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
@pytest.mark.parametrize(("written", "status"), [(Centres, "pass"), (Moved, "fail")])
def test_what_is_computed_from_the_places_of_equal_numbers_is_open(
    written: type[Centres], status: str, tmp_path: Path
) -> None:
    """On an input of zeros all cells are equal, and ONNX keeps other places than PyTorch does."""
    file = exported(written(), tmp_path / "centres.onnx", (2, 3, 8, 8))
    verdict = onnxproof.check_module(
        Centres(), file, inputs={"x": "float32[batch, 3, 8, 8] in 0..1"}, dims={"batch": "1..2"}
    )
    assert verdict.status == status, verdict.checks
