"""torch.onnx inserts the same casts when it takes the values of a program's nodes as they were traced."""

import contextlib
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, fx, nn

from onnxproof.export.promotions import values_known

Function = Callable[[Tensor], Tensor]


class Module(nn.Module):
    def __init__(self, function: Function) -> None:
        super().__init__()
        self.function = function
        self.linear = nn.Linear(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self.linear(x))


FUNCTIONS = [
    pytest.param(lambda x: x + torch.arange(3), id="an-integer-and-a-float"),
    pytest.param(lambda x: torch.sigmoid(x).mean(0), id="one-dtype"),
    pytest.param(lambda x: x.argmax(1) / 2, id="a-quotient-of-integers"),
    pytest.param(lambda x: x.argmax(1) * 0.5 + x[:, 0].double(), id="three-dtypes"),
    pytest.param(lambda x: (x > 0).sum(0) + x.shape[0], id="a-sum-of-truths-and-a-size"),
    pytest.param(lambda x: torch.where(x > 0, x, x.argmax(1, keepdim=True)), id="a-choice"),
    pytest.param(lambda x: torch.cat([x, x.argmax(1, keepdim=True)], 1), id="joined"),
]


def program_of(function: Function) -> torch.export.ExportedProgram:
    sizes = ({0: torch.export.Dim("n", min=2, max=8)},)
    with torch.no_grad():
        return torch.export.export(Module(function).eval(), (torch.rand(4, 3),), dynamic_shapes=sizes)


def written(program: torch.export.ExportedProgram, how: contextlib.AbstractContextManager[None]) -> bytes:
    with how:
        made = torch.onnx.export(program, dynamo=True, verbose=False, optimize=False, opset_version=20)
    assert made is not None
    made.model_proto.metadata_props.clear()
    content: bytes = made.model_proto.SerializeToString(deterministic=True)
    return content


@pytest.mark.first_case
@pytest.mark.parametrize("function", FUNCTIONS)
def test_the_same_file_is_written(function: Function) -> None:
    torch.manual_seed(0)
    program = program_of(function)
    assert written(program, values_known()) == written(program, contextlib.nullcontext())


def test_no_operator_runs_again(monkeypatch: pytest.MonkeyPatch) -> None:
    from torch.onnx._internal.exporter._fx_passes import insert_type_promotion_nodes

    program = program_of(lambda x: torch.sigmoid(x) * x)
    ran = []
    call = fx.Interpreter.call_function

    def counted(self: Any, target: Any, args: Any, kwargs: Any) -> Any:
        ran.append(target)
        return call(self, target, args, kwargs)

    monkeypatch.setattr(fx.Interpreter, "call_function", counted)
    with values_known():
        insert_type_promotion_nodes(program.graph_module)
    assert not ran
    insert_type_promotion_nodes(program.graph_module)
    assert ran
