"""Right files that hold a scalar in float32, in an attribute or as a default, state the model's function.
Files with another scalar do not."""

import contextlib
import io
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import helper, numpy_helper
from torch import Tensor, nn
from torch.nn import functional

import onnxproof

DRAWN = 0.73182645391123457
"""A slope of too many digits to be read as a decimal."""


class Net(nn.Module):
    """A function of one tensor behind a linear layer."""

    def __init__(self, run: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.layer = nn.Linear(8, 8)
        self.run = run

    def forward(self, x: Tensor) -> Tensor:
        return self.run(self.layer(x))


def filled(x: Tensor) -> Tensor:
    return torch.full_like(x, 0.3) * x


def exported(module: nn.Module, dynamo: bool) -> onnx.ModelProto:
    """What one of PyTorch's own exporters writes."""
    file, x = io.BytesIO(), torch.rand(2, 8)
    names: dict[str, Any] = {"input_names": ["x"], "output_names": ["y"], "opset_version": 18}
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        if dynamo:
            axes = ({0: torch.export.Dim.DYNAMIC},)
            program = torch.onnx.export(
                module, (x,), dynamo=True, dynamic_shapes=axes, verbose=False, **names
            )
            assert program is not None
            return program.model_proto
        axis = {"x": {0: "batch"}, "y": {0: "batch"}}
        torch.onnx.export(module, (x,), file, dynamo=False, dynamic_axes=axis, **names)  # type: ignore[arg-type]
    return onnx.load_from_string(file.getvalue())


def status(module: nn.Module, proto: onnx.ModelProto, folder: Path) -> set[str]:
    """What the link ``function`` says of the file."""
    onnx.save(proto, folder / "net.onnx")
    verdict = onnxproof.check_module(
        module,
        folder / "net.onnx",
        inputs={"x": "float32[batch, 8] in -2..2"},
        dims={"batch": "1..3"},
        set=["validate.effort=quick", "validate.threads=1"],
    )
    return {check.status for check in verdict.checks if (check.link, check.name) == ("function", "function")}


FUNCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "selu": functional.selu,
    "filled": filled,
    "leaky": partial(functional.leaky_relu, negative_slope=DRAWN),
}


@pytest.mark.parametrize("dynamo", [False, True], ids=["torchscript", "dynamo"])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_right_file_states_the_function(name: str, dynamo: bool, tmp_path: Path) -> None:
    module = Net(FUNCTIONS[name]).eval()
    assert status(module, exported(module, dynamo), tmp_path) == {"pass"}


def quantile(x: Tensor) -> Tensor:
    return torch.quantile(x, 0.3, dim=-1)


def in_double(x: Tensor) -> Tensor:
    return (x.double() * torch.tensor(0.3) / torch.tensor(0.7)).float()


@pytest.mark.parametrize("run", [quantile, in_double])
def test_a_number_in_double_that_was_computed_in_float32_is_the_models(
    run: Callable[[Tensor], Tensor], tmp_path: Path
) -> None:
    """PyTorch's exporter computes the rank of a quantile from a float32, and writes it in double."""
    module = Net(run).eval()
    proto = exported(module, True)
    held = [one for one in proto.graph.initializer if one.data_type == onnx.TensorProto.DOUBLE]
    rounded = next(one for one in held if numpy_helper.to_array(one) % 1)
    assert status(module, proto, tmp_path) == {"pass"}
    rounded.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(rounded) * (1 + 1e-5), rounded.name))
    assert status(module, proto, tmp_path) == {"fail"}


@pytest.mark.parametrize("share", [1e-5, 1e-2], ids=["a-little", "much"])
@pytest.mark.parametrize(
    ("name", "operator", "attribute", "value"),
    [
        ("selu", "Selu", "alpha", 1.6732632423543772),
        ("selu", "Selu", "gamma", 1.0507009873554805),
        ("filled", "ConstantOfShape", "value", 0.3),
        ("leaky", "LeakyRelu", "alpha", DRAWN),
    ],
)
def test_a_moved_scalar_is_seen(
    name: str, operator: str, attribute: str, value: float, share: float, tmp_path: Path
) -> None:
    module = Net(FUNCTIONS[name]).eval()
    proto = exported(module, False)
    (node,) = (node for node in proto.graph.node if node.op_type == operator)
    kept = [one for one in node.attribute if one.name != attribute]
    del node.attribute[:]
    moved = value * (1 + share)
    tensor = numpy_helper.from_array(np.array([moved], np.float32))
    told = tensor if operator == "ConstantOfShape" else moved
    node.attribute.extend([*kept, helper.make_attribute(attribute, told)])
    assert status(module, proto, tmp_path) == {"fail"}
