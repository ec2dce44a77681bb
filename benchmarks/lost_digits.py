"""Graphs that compute the right function in a way that loses digits, and what the verdict says of each.

Prints a row for each: by how many times it exceeds the limit of the runtime's ratio, and what names the node.
With ``--whole NAME`` it prints that verdict.
"""

import argparse
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

import onnxproof
from onnxproof.validate.verdict import Verdict

Array = NDArray[Any]
Function = Callable[[Tensor], Tensor]
BATCH = {"batch": "1..4"}
CONSTANTS: Mapping[str, Array] = {
    "last": np.array([-1]),
    "one": np.array(1, np.float32),
    "epsilon": np.array(1e-5, np.float32),
    "scale": np.ones(64, np.float32),
}
VARIANCE = """
    Mul x x squares
    ReduceMean squares last of_squares
    ReduceMean x last mean
    Mul mean mean square
    Sub of_squares square variance
"""
"""E[x^2] - E[x]^2."""

NORMED = f"""{VARIANCE}
    Add variance epsilon more
    Sqrt more deviation
    Sub x mean apart
    Div apart deviation y
"""


class Of(nn.Module):
    """A function as a module."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


def graph(written: str, width: int = 64) -> onnx.ModelProto:
    """A graph of ``width`` numbers a row. A line is a node: its operator, what it reads, what it writes."""
    nodes = []
    for line in filter(None, map(str.strip, written.splitlines())):
        operator, *reads, writes = line.split()
        nodes.append(helper.make_node(operator, reads, [writes], name=f"{operator.lower()}-{writes}"))
    read = {name for node in nodes for name in node.input}
    return helper.make_model(
        helper.make_graph(
            nodes,
            "test",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", width])],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
            [numpy_helper.from_array(value, name) for name, value in CONSTANTS.items() if name in read],
        ),
        opset_imports=[helper.make_opsetid("", 18)],
        ir_version=9,
    )


def judged(
    function: Callable[[Tensor], Tensor], written: str, values: str, folder: Path, width: int = 64
) -> Verdict:
    """The verdict on a graph whose inputs are ``values``."""
    file = folder / "m.onnx"
    onnx.save(graph(written, width), file)
    inputs = {"x": f"float32[batch, {width}] in {values}"}
    torch.set_num_threads(1)
    return onnxproof.check_module(Of(function).eval(), file, inputs=inputs, dims=BATCH)


def variance(x: Tensor) -> Tensor:
    """As PyTorch computes it."""
    return x.var(-1, unbiased=False, keepdim=True)


LOSING: Mapping[str, tuple[Function, str, str, str]] = {
    "variance": (variance, VARIANCE.replace("variance", "y"), "30..31", "Sub sub-y cancels"),
    "layer-norm": (
        lambda x: nn.functional.layer_norm(x, (64,)),
        NORMED,
        "100..101",
        "Sub sub-variance cancels",
    ),
    "log1p": (torch.log1p, "Add x one a\nLog a y", "0..0.00001", "Log log-y loses them"),
    "logsumexp": (
        lambda x: torch.logsumexp(x, -1, keepdim=True),
        "Exp x a\nReduceSum a last b\nLog b y",
        "-100..50",
        "Exp exp-a underflows",
    ),
}
"""A function, a graph that loses digits, the inputs on which it does, and what is said of it."""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--whole", choices=LOSING, help="print the whole verdict of one")
    whole = parser.parse_args().whole
    for name, (function, written, values, _) in LOSING.items():
        if whole not in (None, name):
            continue
        with tempfile.TemporaryDirectory() as folder:
            verdict = judged(function, written, values, Path(folder))
        if whole:
            print(verdict)
            continue
        ratios = [one for one in verdict.checks if one.name.startswith("ratio_") and one.value and one.limit]
        over = max(one.value / one.limit for one in ratios if one.value and one.limit)
        (digits,) = (check for check in verdict.checks if check.name == "digits")
        print(f"{name}: {over:.0f} times the ratio's limit; {digits.reason}", flush=True)


if __name__ == "__main__":
    main()
