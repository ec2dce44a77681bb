"""What surrounds a capture: no output of the exporters' own, outputs that stay apart, no values beside the
tensors."""

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator
from typing import Any

from torch import Tensor, nn


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep the exporters' own progress, warnings and graph dumps off the terminal."""
    previous = logging.root.manager.disable
    with (
        warnings.catch_warnings(),
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
    ):
        warnings.simplefilter("ignore")
        logging.disable(logging.WARNING)
        try:
            yield
        finally:
            logging.disable(previous)


@contextlib.contextmanager
def outputs_apart(module: nn.Module) -> Iterator[None]:
    """Make the module return a copy of each output while it is captured.

    A module may return one tensor under two names, an input, or a parameter. An ONNX graph has one name for
    each tensor, so an exporter drops or renames the others. Copies become Identity nodes, which the
    simplifier or torch's optimizer removes wherever they are not needed.
    """

    def copied(module: nn.Module, inputs: Any, outputs: Any) -> Any:  # noqa: ARG001
        if isinstance(outputs, Tensor):
            return outputs.clone()
        return tuple(output.clone() for output in outputs)

    handle = module.register_forward_hook(copied)
    try:
        yield
    finally:
        handle.remove()


@contextlib.contextmanager
def tensors_only(module: nn.Module) -> Iterator[None]:
    """Make the module's state hold its tensors alone while TorchScript traces it.

    A module may save other values beside them, such as a dict. TorchScript takes every value for a tensor.
    """

    def clean(module: nn.Module, state: Any, prefix: str, local: Any) -> None:  # noqa: ARG001
        for name in [name for name, value in state.items() if not isinstance(value, Tensor)]:
            del state[name]

    handle = module.register_state_dict_post_hook(clean)  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        handle.remove()
