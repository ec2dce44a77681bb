"""A file that computes the right function in a way that loses digits fails, and names the node."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from lost_digits import BATCH, LOSING, NORMED, VARIANCE, Function, graph, judged, variance
from numpy.typing import NDArray
from onnx import numpy_helper
from torch import Tensor
from verdicts import made

import onnxproof
from onnxproof.runtime.session import SessionSettings
from onnxproof.steps import surveying
from onnxproof.tensors import Field
from onnxproof.validate.chain import open_chain
from onnxproof.validate.checks import Check
from onnxproof.validate.exact.graph import ExactGraph
from onnxproof.validate.kernels import Asking, ask_nodes
from onnxproof.validate.legs.onnx_runtime import OrtLeg
from onnxproof.validate.once import rounded_once
from onnxproof.validate.policy import FLOAT_FLOOR
from onnxproof.validate.verdict import Verdict

Array = NDArray[Any]
SETTINGS = SessionSettings(threads=1, in_turn=True)


def status(verdict: Verdict, name: str) -> set[str]:
    return {check.status for check in verdict.checks if check.name == name}


@pytest.mark.parametrize("name", LOSING)
def test_a_graph_that_loses_digits_fails_and_its_node_is_named(name: str, tmp_path: Path) -> None:
    function, written, values, says = LOSING[name]
    verdict = judged(function, written, values, tmp_path)
    assert verdict.status == "fail"
    assert status(verdict, "function") == {"pass"}
    (digits,) = [check for check in verdict.checks if check.name == "digits"]
    assert (digits.status, digits.link, digits.field) == ("fail", "runtime", "output")
    assert digits.reason.startswith(f"the graph loses digits that PyTorch keeps: {says}"), digits.reason
    assert digits.value is not None
    assert digits.limit is not None
    assert digits.value > 5 * digits.limit
    assert status(verdict, "kernels") == {"pass"}
    assert any(says in check.reason for check in verdict.checks if check.name.startswith("ratio_"))
    assert not any("the file is right" in note for note in verdict.notes)
    assert "the graph loses digits (digits)" in str(verdict)


def cancelled(x: Tensor) -> Tensor:
    """As E[x^2] - E[x]^2."""
    return (x * x).mean(-1, keepdim=True) - x.mean(-1, keepdim=True) ** 2


KEEPING: Mapping[str, tuple[Function, str, str]] = {
    "the checkpoint loses them, too": (cancelled, VARIANCE.replace("variance", "y"), "100..101"),
    "a variance of what is left without the mean": (
        variance,
        "ReduceMean x last m\nSub x m a\nMul a a s\nReduceMean s last y",
        "100..101",
    ),
    "inputs of which no digit is lost": (torch.log1p, "Add x one a\nLog a y", "0..2"),
}


@pytest.mark.parametrize("name", KEEPING)
def test_a_graph_that_keeps_the_digits_of_the_checkpoint_passes(name: str, tmp_path: Path) -> None:
    verdict = judged(*KEEPING[name], tmp_path)
    assert verdict.passed, verdict.checks
    assert status(verdict, "digits") <= {"pass"}


def test_a_rough_kernel_is_none(tmp_path: Path) -> None:
    """A long sum of one sign: the node, rounded once, errs by one rounding."""
    verdict = judged(lambda x: x.mean(-1, keepdim=True), "ReduceMean x last y", "0..1", tmp_path, 2**18)
    assert verdict.passed, verdict.checks
    assert any("the file is right" in note for note in verdict.notes)
    assert status(verdict, "kernels") == {"pass"}
    (digits,) = [check for check in verdict.checks if check.name == "digits"]
    assert digits.status == "pass"
    assert digits.value is not None
    assert digits.value < 1


def asked(written: str, x: Array, folder: Path) -> Asking:
    file = folder / "m.onnx"
    onnx.save(graph(written), file)
    leg = OrtLeg(file, ("CPUExecutionProvider",), 1)
    limits = ((Field("y", "y", ""), 1e-3),)
    return ask_nodes(leg, file, {"x": x}, ExactGraph(file), SETTINGS, limits)


def test_what_rounding_once_makes_of_an_error_is_told(tmp_path: Path) -> None:
    x = 100 + np.random.default_rng(0).random((4, 64), np.float32)
    (once,) = asked(NORMED, x, tmp_path).once
    assert 0.1 < once.share < 10
    assert once.lost is not None
    assert (once.lost.operator, once.lost.node) == ("Sub", "sub-variance")
    assert once.lost.after / once.lost.before > 1e4
    assert once.lost.read == pytest.approx(1e4, rel=0.1)
    assert once.lost.written == pytest.approx(1 / 12, rel=0.3)


def test_a_rounding_decides_no_step(tmp_path: Path) -> None:
    """0.7 is a little less than 7 / 10 in float32: the product is 6.9999999, and 7 when it is rounded."""
    file = tmp_path / "m.onnx"
    onnx.save(graph("Add one one two\nMul x two p\nFloor p y"), file)
    model = onnx.load(file)
    model.graph.initializer[0].CopyFrom(numpy_helper.from_array(np.array(5, np.float32), "one"))
    onnx.save(model, file)
    feeds = {"x": np.full((1, 64), 0.7, np.float32)}
    whole = OrtLeg(file, ("CPUExecutionProvider",), 1).run(feeds).outputs
    assert whole["y"].max() == 7
    with open_chain(file, SETTINGS, ("y",)) as chain:
        assert chain.exact.run(feeds)["y"].max() == 6
        (once,) = rounded_once(chain, feeds, whole, [Field("y", "y", "")], {})
    assert once.share == 0
    assert once.lost is None


def test_compare_asks_the_same_of_b(tmp_path: Path) -> None:
    stable = "ReduceMean x last m\nSub x m a\nMul a a s\nReduceMean s last y"
    files = [tmp_path / "a.onnx", tmp_path / "b.onnx"]
    for file, written in zip(files, (stable, VARIANCE.replace("variance", "y")), strict=True):
        onnx.save(graph(written), file)
    verdict = onnxproof.compare(*files, dims=BATCH, inputs={"x": "float32[batch, 64] in 30..31"})
    assert verdict.status == "fail"
    (digits,) = [check for check in verdict.checks if check.name == "digits"]
    assert digits.reason.startswith("the graph loses digits that A keeps: Sub sub-y cancels")


@pytest.mark.parametrize("digits", ["pass", "fail"])
def test_pictures_are_allowed_the_errors_of_kernels_alone(digits: Any) -> None:
    checks = (
        Check("kernels", "pass", "", 0.1, 1.0, "ort-cpu"),
        Check("digits", digits, "", 1.0, 2.7, "ort-cpu"),
    )
    policy = surveying._policy(made(*checks), "ort-cpu")
    assert (policy == FLOAT_FLOOR) == (digits == "fail")
