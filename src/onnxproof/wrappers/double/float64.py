"""A module in float64, and how to run it."""

import contextlib
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from onnxproof.wrappers.alone import alone
from onnxproof.wrappers.attention import without_fast_path
from onnxproof.wrappers.control_flow import unfolded
from onnxproof.wrappers.copies import copied
from onnxproof.wrappers.double.caches import Caches
from onnxproof.wrappers.double.calls import Calls
from onnxproof.wrappers.double.dtypes import HALVES, NARROW, wide
from onnxproof.wrappers.double.operations import Operations
from onnxproof.wrappers.double.state import LEFT, State
from onnxproof.wrappers.double.weights import Lent, Move, lendable


class Float64:
    """A copy of a module whose floats are float64, and the modes in which it runs.

    Run ``module`` inside ``running()``, on inputs that ``widen`` returned. Parameters may be replaced between
    two runs. The copy shares the parameters of a large module, and each is widened where it is read
    (weights.py). ``move`` gives other numbers in place of the module's floats.
    """

    def __init__(self, module: nn.Module, move: Move | None = None) -> None:
        shared = lendable(module)
        with torch.no_grad():  # a scripted module's copy would be a function of its parameters
            self.module = copied(module, shared.values())
        self._lent = Lent(shared, move)
        self._caches = Caches()
        self._state = State(self._lent)
        known = {name: tensor.dtype for name, tensor in _tensors(self.module)}
        self._state.own = frozenset(known.values()) & frozenset(HALVES)
        self.module._apply(self._widened)  # type: ignore[no-untyped-call]
        for name, tensor in _tensors(self.module):
            if tensor not in self._lent:
                self._state.mark(tensor, known[name])
        if move is not None:
            self._move(move)
        # Held, so that no other tensor gets the memory of one that the module replaces.
        self._before = {name: (tensor.detach(), _mark(tensor)) for name, tensor in _tensors(self.module)}

    def _widened(self, tensor: Tensor) -> Tensor:
        return tensor if tensor in self._lent else wide(tensor)

    def _move(self, move: Move) -> None:
        """Move the floats that are widened already."""
        with torch.no_grad():
            for name, tensor in (*self.module.named_parameters(), *self.module.named_buffers()):
                if tensor.dtype == torch.float64:
                    tensor.copy_(torch.from_numpy(move(name, tensor.numpy())))

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

    def parameter_of(self, tensor: Tensor) -> Tensor | None:
        """The parameter of which a tensor is a view, or a view of its float64 copy. Returns None for a tensor
        that was computed, and for a parameter that was widened with the whole module."""
        return self._lent.owner(tensor)

    @property
    def rewritten(self) -> frozenset[str]:
        """The names of the parameters and buffers that a run has replaced or written into, as it does with a
        weight that the module computes from others at each call."""
        now = {name: _mark(tensor) for name, tensor in _tensors(self.module)}
        changed = frozenset(name for name, (_, mark) in self._before.items() if now.get(name) != mark)
        return changed | self._lent.written

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """The modes are on inside, and no gradients are recorded. No other module runs meanwhile."""
        with alone():
            yield from self._running()

    def _running(self) -> Iterator[None]:
        self._state.begin()
        self._caches.drop_tensors()
        try:
            # Not inference_mode: it hands composite operations over undivided, and hides what they ask for.
            # Not optimized: a scripted function would keep its constants as this run computes them.
            with (
                torch.no_grad(),
                without_fast_path(),
                unfolded(),
                torch.jit.optimized_execution(False),  # type: ignore[attr-defined]
                _unseen(),
                Calls(self._state),
                Operations(self._state),
            ):
                yield
        finally:
            self._caches.drop_tensors()
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


def _mark(tensor: Tensor) -> tuple[int, int]:
    """What changes if another tensor takes the place of one, or if something is written into it."""
    dense = tensor.layout == torch.strided and not tensor.is_nested
    return tensor.data_ptr() if dense else id(tensor), 0 if tensor.is_inference() else tensor._version


def _tensors(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    yield from module.named_parameters(remove_duplicate=False)
    yield from module.named_buffers(remove_duplicate=False)
