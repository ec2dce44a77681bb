"""The calls that a module makes in Python: which dtypes it sees, and which casts it asks for."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from onnxproof.wrappers.double.dtypes import HALVES, WIDER
from onnxproof.wrappers.double.state import State, leaves

Handler = Callable[[State, Any, tuple[Any, ...], dict[str, Any]], Any]
"""Carries out a call: what is known, the function, its arguments by position and by name."""

TYPES = {
    "FloatTensor": torch.float32,
    "DoubleTensor": torch.float64,
    "HalfTensor": torch.float16,
    "BFloat16Tensor": torch.bfloat16,
    "LongTensor": torch.int64,
    "IntTensor": torch.int32,
    "ShortTensor": torch.int16,
    "CharTensor": torch.int8,
    "ByteTensor": torch.uint8,
    "BoolTensor": torch.bool,
    "ComplexFloatTensor": torch.complex64,
    "ComplexDoubleTensor": torch.complex128,
}
"""What ``Tensor.type`` calls dtypes, in the module ``torch``."""


class Calls(TorchFunctionMode):
    """Shows a module the dtypes that its tensors stand for, and reads the casts that it asks for."""

    def __init__(self, state: State) -> None:
        super().__init__()
        self._state = state

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        handler = HANDLERS.get(func)
        # As double_by_default does, at a third of its cost: this runs at each call and each attribute.
        previous = torch.get_default_dtype()
        torch.set_default_dtype(torch.float64)
        try:
            if handler is not None:
                return handler(self._state, func, args, kwargs or {})
            if torch.is_autocast_enabled("cpu") and func in LOWERED:
                args, kwargs = (_lowered(self._state, given) for given in (args, kwargs or {}))
            try:
                result = func(*args, **(kwargs or {}))
            except (RuntimeError, TypeError):
                # Some functions, such as conv2d, compare dtypes before PyTorch carries them out.
                if not any(one in self._state.lent for one in leaves((args, kwargs or {}))):
                    raise
                args, kwargs = self._state.with_copies(args), self._state.with_copies(kwargs or {})
                result = func(*args, **kwargs)
            if not self._state.plain or (kwargs and kwargs.get("dtype") in HALVES):
                self._state.note(args, kwargs or {}, result)
            return result
        finally:
            torch.set_default_dtype(previous)


def _cast(state: State, tensor: Tensor, target: torch.dtype, call: Callable[[torch.dtype], Tensor]) -> Tensor:
    """What a cast to ``target`` returns. ``call`` casts to the dtype that it is given."""
    if not target.is_floating_point:
        return call(WIDER.get(target, target))
    changed = state.dtype_of(tensor) != target
    result = call(target if changed and state.rounds(target) else torch.float64)
    if result is tensor and changed:
        result = tensor.clone()
    if result is not tensor:
        state.mark(result, target)
        lost = state.lost_of([tensor])
        if lost is not None:
            state.lost[result] = lost
    return result


def _lowered(state: State, given: Any) -> Any:
    """The arguments of an operation as autocast casts them. It leaves float64 as it is."""
    if isinstance(given, Tensor) and state.dtype_of(given) in (torch.float32, *HALVES):
        return _cast(state, given, torch.get_autocast_dtype("cpu"), given.to)
    if isinstance(given, tuple):
        return tuple(_lowered(state, item) for item in given)
    if isinstance(given, dict):
        return {name: _lowered(state, item) for name, item in given.items()}
    return given


def _dtype(state: State, _: Any, args: tuple[Any, ...], __: dict[str, Any]) -> Any:
    return state.dtype_of(args[0])


def _to(state: State, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    tensor, *rest = args
    if "tensor" in kwargs:
        rest = [kwargs["tensor"], *rest]
        kwargs = {name: value for name, value in kwargs.items() if name != "tensor"}
    if rest and isinstance(rest[0], Tensor):
        rest = [rest[0].device, state.dtype_of(rest[0]), *rest[1:]]
    asked = next((one for one in (*rest, *kwargs.values()) if isinstance(one, torch.dtype)), None)

    def call(dtype: torch.dtype) -> Tensor:
        def changed(one: Any) -> Any:
            return dtype if isinstance(one, torch.dtype) else one

        named = {name: changed(value) for name, value in kwargs.items()}
        moved: Tensor = func(tensor, *map(changed, rest), **named)
        return moved

    return _cast(state, tensor, asked or state.dtype_of(tensor), call)


def _cast_to(target: torch.dtype) -> Handler:
    """The handler of ``Tensor.float`` and its like."""

    def handler(state: State, _: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return _cast(state, args[0], target, lambda dtype: args[0].to(dtype, *args[1:], **kwargs))

    return handler


def _type(state: State, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    tensor, *rest = args
    asked = rest[0] if rest else kwargs.get("dtype")
    if asked is None:
        names = {dtype: name for name, dtype in TYPES.items()}
        return f"torch.{names[state.dtype_of(tensor)]}"
    if not isinstance(asked, torch.dtype):
        name = asked if isinstance(asked, str) else f"{asked.__module__}.{asked.__name__}"
        if name.removeprefix("torch.") not in TYPES:
            return func(*args, **kwargs)
        asked = TYPES[name.removeprefix("torch.")]
    return _cast(state, tensor, asked, tensor.to)


def _type_as(state: State, _: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    tensor, other = args[0], args[1] if len(args) > 1 else kwargs["other"]
    return _cast(state, tensor, state.dtype_of(other), tensor.to)


def _made_of_data(state: State, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """A tensor of Python's numbers: in float64 at once, because float32 would round them."""
    asked = kwargs.get("dtype")
    if asked in WIDER:
        kwargs = {**kwargs, "dtype": WIDER[asked]}
    result = func(*args, **kwargs)
    if asked is not None:
        state.mark(result, asked)
    elif not state.plain:
        state.note(args, kwargs, result)
    return result


def _written(state: State, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """``copy_`` and ``x[...] = y``: what is written into a half is cast to it."""
    into, value = args[0], args[-1]
    kept = state.dtype_of(into)
    if state.rounds(kept) and isinstance(value, Tensor) and state.dtype_of(value) != kept:
        args = (*args[:-1], value.to(kept))
    result = func(*args, **kwargs)
    lost = state.pending or state.lost_of(list(leaves(args)))
    if lost is not None:
        state.lost[into], state.pending = lost, None
    return result


def _to_numpy(state: State, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    state.left = True
    tensor, *more = args
    return func(state.shadow_of(tensor) if tensor in state.lent else tensor, *more, **kwargs)


def _data_set(state: State, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """``parameter.data = value``. A parameter that is widened where it is read stays the module's own."""
    parameter, value = args
    if parameter not in state.lent:
        return func(*args, **kwargs)
    state.lent.replace(parameter, state.shadow_of(value) if value in state.lent else value)
    return None


def _result_type(state: State, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    found = func(*args, **kwargs)
    return state.promoted(list(leaves((args, kwargs)))) if found == torch.float64 else found


def _finite(state: State, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """``nan_to_num``: infinities become the largest numbers of the dtype that the tensor stands for."""
    names = ("input", "nan", "posinf", "neginf")
    given = {**dict(zip(names, args, strict=False)), **kwargs}
    tensor = given.pop("input")
    if tensor.dtype.is_floating_point:
        largest = torch.finfo(state.dtype_of(tensor)).max
        for name, value in (("posinf", largest), ("neginf", -largest)):
            given[name] = value if given.get(name) is None else given[name]
    return func(tensor, **given)


def _rms_norm(state: State, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """``rms_norm``: its eps is that of the dtype that the tensor stands for, unless one is given."""
    given = {**dict(zip(("input", "normalized_shape", "weight", "eps"), args, strict=False)), **kwargs}
    if given.get("eps") is None:
        given["eps"] = torch.finfo(state.dtype_of(given["input"])).eps
    return func(**given)


LOWERED = frozenset(
    (
        *(torch.conv1d, torch.conv2d, torch.conv3d, torch.conv_tbc),
        *(torch.conv_transpose1d, torch.conv_transpose2d, torch.conv_transpose3d),
        *(torch.bmm, torch.mm, torch.matmul, torch.baddbmm, torch.addmm, torch.addbmm, torch.einsum),
        *(Tensor.bmm, Tensor.mm, Tensor.matmul, Tensor.baddbmm, Tensor.addmm, Tensor.addbmm),
        *(Tensor.__matmul__, Tensor.__rmatmul__, nn.functional.linear),
        nn.functional.scaled_dot_product_attention,
    )
)
"""What autocast computes in half precision on the CPU
(https://docs.pytorch.org/docs/stable/amp.html#cpu-op-specific-behavior)."""

HANDLERS: dict[Any, Handler] = {
    Tensor.dtype.__get__: _dtype,  # type: ignore[attr-defined]
    Tensor.to: _to,
    Tensor.float: _cast_to(torch.float32),
    Tensor.double: _cast_to(torch.float64),
    Tensor.half: _cast_to(torch.float16),
    Tensor.bfloat16: _cast_to(torch.bfloat16),
    Tensor.type: _type,
    Tensor.type_as: _type_as,
    Tensor.new_tensor: _made_of_data,
    torch.tensor: _made_of_data,
    torch.as_tensor: _made_of_data,
    torch.asarray: _made_of_data,
    torch.scalar_tensor: _made_of_data,
    Tensor.copy_: _written,
    Tensor.__setitem__: _written,
    Tensor.numpy: _to_numpy,
    Tensor.__array__: _to_numpy,
    Tensor.data.__set__: _data_set,  # type: ignore[attr-defined]
    torch.result_type: _result_type,
    torch.nan_to_num: _finite,
    torch.nan_to_num_: _finite,
    Tensor.nan_to_num: _finite,
    Tensor.nan_to_num_: _finite,
    torch.rms_norm: _rms_norm,
    nn.functional.rms_norm: _rms_norm,
}
