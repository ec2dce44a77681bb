"""A module in float64, and how to run it."""

import contextlib
import copy
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from onnxproof.wrappers.double.calls import Calls
from onnxproof.wrappers.double.operations import Operations
from onnxproof.wrappers.double.state import LEFT, NARROW, State, wide


class Float64:
    """A copy of a module whose floats are float64, and the modes in which it runs.

    Run ``module`` inside ``running()``, on inputs that ``widen`` returned. Parameters may be replaced between
    two runs.
    """

    def __init__(self, module: nn.Module) -> None:
        self.module = copied(module)
        self._state = State()
        known = {name: tensor.dtype for name, tensor in _tensors(self.module)}
        self.module._apply(wide)  # type: ignore[no-untyped-call]
        for name, tensor in _tensors(self.module):
            self._state.mark(tensor, known[name])

    def widen(self, tensor: Tensor, stands_for: torch.dtype | None = None) -> Tensor:
        """An input of the module in float64, without loss. A tensor that holds no floats stays as it is.

        The module sees it as of the dtype ``stands_for``, its own unless another is given.
        """
        widened = wide(tensor)
        self._state.mark(widened, stands_for or tensor.dtype)
        return widened

    def result(self, tensor: Tensor) -> tuple[Tensor, str | None]:
        """What the module returned, in float64.

        The text says why its numbers were rounded to float32 on their way; None if they were not.
        """
        reason = self._state.lost.get(tensor) or self._state.pending
        if reason is None and self._state.left and tensor.dtype in NARROW:
            reason = LEFT
        return wide(tensor), reason

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """The modes are on inside, and no gradients are recorded."""
        self._state.begin()
        try:
            # Not inference_mode: it hands composite operations over undivided, and hides what they ask for.
            # Not optimized: a scripted function would keep its constants as this run computes them.
            with (
                torch.no_grad(),
                torch.jit.optimized_execution(False),  # type: ignore[attr-defined]
                _unseen(),
                Calls(self._state),
                Operations(self._state),
            ):
                yield
        finally:
            with torch.no_grad():
                self._state.end()


@contextlib.contextmanager
def _unseen() -> Iterator[None]:
    """PyTorch's transformer layers do not see the modes, and take their fused kernels as they do without.

    Those write zeros at padded steps, so the float64 run would answer otherwise than the module does.
    """
    seen = torch.overrides.has_torch_function
    torch.overrides.has_torch_function = _has_other_tensors
    try:
        yield
    finally:
        torch.overrides.has_torch_function = seen


def _has_other_tensors(args: Iterable[Any]) -> bool:
    return any(isinstance(one, Tensor) and type(one) not in (Tensor, nn.Parameter) for one in args)


def copied(module: nn.Module) -> nn.Module:
    """A deep copy, also of a module that keeps a computed tensor as an attribute."""
    memo: dict[int, Any] = {}
    for part in module.modules():
        for value in vars(part).values():
            if isinstance(value, Tensor) and not value.is_leaf:
                memo[id(value)] = value.detach().clone()
    return copy.deepcopy(module, memo)


def _tensors(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    yield from module.named_parameters(remove_duplicate=False)
    yield from module.named_buffers(remove_duplicate=False)
