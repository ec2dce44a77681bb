"""The operations that PyTorch carries out, in float64."""

from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from onnxproof.wrappers.double.convolution import FASTER
from onnxproof.wrappers.double.dtypes import NARROW, NOMINAL, WIDER, wide
from onnxproof.wrappers.double.fake_quantize import FAKE_QUANTIZED
from onnxproof.wrappers.double.missing import MISSING
from onnxproof.wrappers.double.state import LEFT, State, double_by_default, leaves

NO_REQUESTS = frozenset((torch.ops.aten.promote_types.default, torch.ops.aten.can_cast.default))
"""Operations on dtypes themselves."""

INSTEAD = {**FASTER, **FAKE_QUANTIZED}
"""What carries out operations in place of PyTorch, or returns None where it does not."""


class Operations(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Carries out every operation in float64, whatever its arguments are and it is asked for."""

    def __init__(self, state: State) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._state = state

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        # Otherwise PyTorch wraps the method below, and imports its compiler for that: 1.5 s.
        return False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        with torch._C.DisableTorchFunction():
            if torch.get_default_dtype() == torch.float64:
                return self._carry_out(func, args, kwargs or {})
            with double_by_default():
                return self._carry_out(func, args, kwargs or {})

    def _carry_out(self, func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        if func is torch.ops.aten.lift_fresh.default:
            return self._lifted(args[0])
        if func is torch.ops.aten.view.dtype:
            return self._bits(*args)
        if func in NO_REQUESTS:
            return func(*args, **kwargs)
        given = [self._answered(value) for value in args]
        named = {name: self._answered(value) for name, value in kwargs.items()}
        if func._schema.is_mutable:
            self._keep_written(func, given, named)
        ours = INSTEAD.get(func)
        if ours is not None:
            answer = ours(*given, **named)
            if answer is not None:
                return answer
        try:
            return _widened(func(*given, **named))
        except (RuntimeError, TypeError):
            if func._schema.is_mutable or not any(one.dtype in NOMINAL for one in leaves((given, named))):
                raise
            made = MISSING.get(func._schema.name)
            answer = None if made is None else made(*given, **named)
            if answer is not None:
                return answer
            result = func(*_narrowed(given), **{name: _narrowed(value) for name, value in named.items()})
            # It fails in float64 and not in float32.
            self._state.pending = f"PyTorch has no {func._schema.name.partition('::')[2]} in float64"
            return _widened(result)

    def _answered(self, value: Any) -> Any:
        """An argument in which every float32, be it a tensor or a request, is float64."""
        if isinstance(value, Tensor):
            return self._state.shadow_of(value) if value.dtype in NARROW else value
        if isinstance(value, torch.dtype):
            return WIDER.get(value, value)
        if isinstance(value, tuple | list) and any(isinstance(item, Tensor) for item in value):
            return [self._answered(item) for item in value]
        return value

    def _keep_written(self, func: Any, given: list[Any], named: dict[str, Any]) -> None:
        """Keep the copies of parameters that an operation writes into."""
        for at, argument in enumerate(func._schema.arguments):
            value = given[at] if at < len(given) else named.get(argument.name)
            if argument.alias_info is not None and argument.alias_info.is_write:
                for tensor in leaves(value):
                    self._state.lent.keep(tensor)

    def _lifted(self, tensor: Tensor) -> Tensor:
        """A tensor that was just made from Python's numbers or a NumPy array, in float64."""
        widened = wide(tensor)
        self._state.mark(widened, tensor.dtype)
        if self._state.left and tensor.dtype in NARROW:
            self._state.lost[widened] = LEFT
        return widened

    def _bits(self, tensor: Tensor, dtype: torch.dtype) -> Tensor:
        """The bits of numbers, read as another dtype: the bits of the dtype that the tensor stands for."""
        found = tensor.to(self._state.dtype_of(tensor)).view(dtype)
        self._state.pending = "it is made of the bits of float32 numbers"
        return wide(found)


def _widened(result: Any) -> Any:
    if isinstance(result, Tensor):
        return wide(result) if result.dtype in NARROW else result
    if isinstance(result, tuple | list):
        return type(result)(map(_widened, result))
    return result


def _narrowed(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.to(NOMINAL.get(value.dtype, value.dtype))
    if isinstance(value, torch.dtype):
        return NOMINAL.get(value, value)
    if isinstance(value, tuple | list):
        return type(value)(map(_narrowed, value))
    return value
