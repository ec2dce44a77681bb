"""Functions of one tensor as modules, captured by torch.export alone."""

from collections.abc import Callable
from pathlib import Path

from torch import Tensor, nn

import onnxproof

Form = tuple[dict[str, str], dict[str, str]]
"""The inputs and the dims of an export."""

Function = Callable[[Tensor], Tensor | tuple[Tensor, ...]]


class Module(nn.Module):
    """A function of one tensor."""

    def __init__(self, function: Function) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, ...]:
        return self.function(x)


def exported(module: nn.Module, form: Form, out: Path, *overrides: str) -> onnxproof.Bundle:
    """The module's bundle, proved with little effort."""
    asked = ["validate.effort=quick", "validate.threads=1", "export.exporter=torch.export", *overrides]
    return onnxproof.export_module(module.eval(), inputs=form[0], dims=form[1], out=out / "bundle", set=asked)
