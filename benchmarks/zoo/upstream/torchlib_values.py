"""Operators that torch.onnx.export(dynamo=True) writes with other values than PyTorch's: prints both."""

import numpy as np
import onnxruntime
import torch
from torch import Tensor, nn


class Angle(nn.Module):
    def forward(self, y: Tensor, x: Tensor) -> Tensor:
        return torch.atan2(y, x)


class Window(nn.Module):
    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return x * torch.hamming_window(4) + 0 * y


for module, inputs in (
    (Angle(), (torch.zeros(4), -torch.ones(4))),
    (Window(), (torch.ones(4), torch.ones(4))),
):
    program = torch.onnx.export(module.eval(), inputs, dynamo=True, opset_version=20, verbose=False)
    assert program is not None
    session = onnxruntime.InferenceSession(program.model_proto.SerializeToString())
    names = [one.name for one in session.get_inputs()]
    given = {name: tensor.numpy() for name, tensor in zip(names, inputs, strict=False)}
    written = np.asarray(session.run(None, given)[0])
    print(type(module).__name__, "PyTorch", module(*inputs).numpy(), "the file", written)
