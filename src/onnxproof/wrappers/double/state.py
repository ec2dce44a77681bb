"""What is known of tensors while a module runs in float64."""

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

from onnxproof.wrappers.double.dtypes import HALVES, NOMINAL, wide
from onnxproof.wrappers.double.weights import Lent

LEFT = "its numbers went through NumPy in float32"


def leaves(value: Any) -> Iterator[Tensor]:
    """The tensors in nested tuples, lists and dicts."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, tuple | list):
        for item in value:
            yield from leaves(item)
    elif isinstance(value, dict):
        for item in value.values():
            yield from leaves(item)


@contextlib.contextmanager
def double_by_default() -> Iterator[None]:
    """Inside, PyTorch makes float64 of integers and of Python's numbers."""
    previous = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(previous)


class State:
    """What is known of the tensors of one module.

    ``lost`` has the tensors whose numbers were rounded to float32, and for each the reason. ``pending`` is
    the reason of a rounding in a call that has not returned yet. ``left`` is whether the running module has
    handed a tensor to NumPy. ``lent`` gives the parameters that are widened where they are read. ``own`` are
    the halves in which the module itself is held.
    """

    def __init__(self, lent: Lent) -> None:
        self.lent = lent
        self.own: frozenset[torch.dtype] = frozenset()
        self.lost: Any = WeakTensorKeyDictionary()
        self.pending: str | None = None
        self.left = False
        # The dtypes of float64 tensors that stand for other dtypes than float32.
        self._dtypes: Any = WeakTensorKeyDictionary()
        self._shadows: dict[int, tuple[Tensor, Tensor]] = {}

    def rounds(self, dtype: torch.dtype) -> bool:
        """Whether a cast to a dtype rounds."""
        return dtype in HALVES and dtype not in self.own

    def begin(self) -> None:
        """Start a run."""
        self.pending, self.left = None, False

    def end(self) -> None:
        """End a run. What it wrote in place into float32 tensors of the module is written there."""
        for tensor, shadow in self._shadows.values():
            if not torch.equal(wide(tensor), shadow):
                tensor.copy_(shadow)
        self._shadows.clear()

    @property
    def plain(self) -> bool:
        """Whether all floats so far stand for float32, and none was rounded."""
        return not (self._dtypes or self.lost or self.pending or self.lent.halves)

    def mark(self, tensor: Tensor, dtype: torch.dtype) -> None:
        """Note the dtype that a float64 tensor stands for."""
        if dtype in HALVES or dtype == torch.float64:
            self._dtypes[tensor] = dtype
        elif self._dtypes:
            self._dtypes.pop(tensor, None)

    def dtype_of(self, tensor: Tensor) -> torch.dtype:
        """The dtype that a tensor would have in the module as it is."""
        if self._dtypes and tensor in self._dtypes:
            known: torch.dtype = self._dtypes[tensor]
            return known
        return NOMINAL.get(tensor.dtype, tensor.dtype)

    def shadow_of(self, tensor: Tensor) -> Tensor:
        """The float64 tensor that stands for one which was made before the module ran."""
        if tensor in self.lent:
            copy = self.lent.copy_of(tensor)
            self.mark(copy, tensor.dtype)
            return copy
        if id(tensor) not in self._shadows:
            shadow = wide(tensor)
            self.mark(shadow, tensor.dtype)
            self._shadows[id(tensor)] = tensor, shadow
        return self._shadows[id(tensor)][1]

    def with_copies(self, value: Any) -> Any:
        """A nested value with each parameter that is widened where it is read in float64."""
        if isinstance(value, Tensor):
            return self.shadow_of(value) if value in self.lent else value
        if isinstance(value, dict):
            return {name: self.with_copies(item) for name, item in value.items()}
        if isinstance(value, tuple | list):
            return type(value)(map(self.with_copies, value))
        return value

    def note(self, args: tuple[Any, ...], kwargs: Mapping[str, Any], result: Any) -> None:
        """Note of the tensors that a call returned what follows from its arguments."""
        given = list(leaves((args, kwargs)))
        reason = self.pending or self.lost_of(given)
        self.pending = None
        asked = [one for one in (*args, *kwargs.values()) if isinstance(one, torch.dtype)]
        dtype = asked[0] if asked else self.promoted(given)
        for one in leaves(result):
            if reason is not None:
                self.lost[one] = reason
            if one.dtype == torch.float64 and not any(one is other for other in given):
                self.mark(one, dtype)

    def lost_of(self, tensors: list[Tensor]) -> str | None:
        """Why the numbers of one of the tensors were rounded to float32; None if none's were."""
        return next((self.lost[one] for one in tensors if one in self.lost), None)

    def promoted(self, tensors: list[Tensor]) -> torch.dtype:
        """The float dtype of what is computed from tensors, float32 if all hold integers.

        A tensor without axes counts if no other holds floats
        (https://docs.pytorch.org/docs/stable/tensor_attributes.html, "type promotion").
        """
        found: dict[bool, list[torch.dtype]] = {False: [], True: []}
        for tensor in tensors:
            dtype = self.dtype_of(tensor)
            if dtype.is_floating_point:
                found[tensor.ndim > 0].append(dtype)
        first, *others = found[True] or found[False] or [torch.float32]
        for dtype in others:
            first = torch.promote_types(first, dtype)
        return first
