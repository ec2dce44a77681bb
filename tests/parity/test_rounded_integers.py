"""Integers that a file divides as floats: the file's fault where PyTorch keeps the digits, and no one's where
both lose them."""

from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

import onnxproof

LARGE, SMALL = 2_000_000_000, 2**24


class InIntegers(nn.Module):
    def forward(self, ids: Tensor) -> Tensor:
        return torch.div(ids, 7, rounding_mode="floor")


class InFloats(nn.Module):
    def forward(self, ids: Tensor) -> Tensor:
        return torch.floor(ids.float() / 7).long()


def divides_as_floats(folder: Path, divisor: float = 7) -> Path:
    """What torch.onnx makes of a floored division of integers."""
    nodes = [
        helper.make_node("Cast", ["ids"], ["floats"], name="to_floats", to=TensorProto.FLOAT),
        helper.make_node("Div", ["floats", "seven"], ["shares"], name="divide"),
        helper.make_node("Floor", ["shares"], ["floored"], name="floor"),
        helper.make_node("Cast", ["floored"], ["output"], name="to_integers", to=TensorProto.INT64),
    ]
    graph = helper.make_graph(
        nodes,
        "shares",
        [helper.make_tensor_value_info("ids", TensorProto.INT64, ["n"])],
        [helper.make_tensor_value_info("output", TensorProto.INT64, ["n"])],
        [numpy_helper.from_array(np.array(divisor, np.float32), "seven")],
    )
    file = folder / "shares.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), file)
    return file


def checked(module: nn.Module, file: Path, largest: int) -> onnxproof.Verdict:
    return onnxproof.check_module(
        module.eval(),
        file,
        inputs={"ids": f"int64[n] in 0..{largest}"},
        dims={"n": "1..32"},
        set=["validate.effort=quick", "validate.threads=1"],
    )


def test_a_cast_that_loses_digits_is_the_files_fault_by_name(tmp_path: Path) -> None:
    verdict = checked(InIntegers(), divides_as_floats(tmp_path), LARGE)
    links = {one.link: one for one in verdict.links}
    assert links["function"].status == "fail"
    assert links["function"].check is not None
    assert "Cast to_floats rounds integers above 16777216 to float32" in links["function"].check.reason
    (runtime,) = [line for line in str(verdict).splitlines() if line.startswith("runtime")]
    assert "values differ, first in" in runtime
    assert runtime.endswith("that is the file's own fault, see function")


def test_below_2_to_the_24_the_same_file_passes(tmp_path: Path) -> None:
    assert checked(InIntegers(), divides_as_floats(tmp_path), SMALL).passed


def test_integers_that_pytorch_itself_computes_in_floats_pass(tmp_path: Path) -> None:
    assert checked(InFloats(), divides_as_floats(tmp_path), LARGE).passed


def test_no_cast_is_blamed_where_the_function_is_wrong_in_float64(tmp_path: Path) -> None:
    verdict = checked(InIntegers(), divides_as_floats(tmp_path, 8), LARGE)
    assert verdict.status == "fail"
    assert not [check for check in verdict.checks if "rounds integers" in check.reason]


def test_another_division_fails_where_pytorch_rounds(tmp_path: Path) -> None:
    assert checked(InFloats(), divides_as_floats(tmp_path, 8), LARGE).status == "fail"
