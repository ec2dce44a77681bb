"""Operators that TorchScript's exporter writes for some sizes only, or not at all, written in ONNX.

Each is exact for every size. As in ``rewrites``, which is for torch.export's program.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import onnx
import torch
from torch.onnx import (  # type: ignore[attr-defined]
    JitScalarType,
    errors,
    symbolic_helper,
)

from onnxproof.export import laying, near_zero, suppression
from onnxproof.export.oriented_suppression import oriented_detections as oriented_detections_of

Symbolic = Callable[..., Any]


def diff(g: Any, x: Any, n: Any, dim: Any, prepend: Any, append: Any) -> Any:
    """``diff``: each value less the one before it, ``n`` times; for booleans, whether the two differ."""
    times, axis = _constant(n, "n", x), _constant(dim, "dim", x)
    parts = [part for part in (prepend, x, append) if not symbolic_helper._is_none(part)]
    if len(parts) > 1:
        x = g.op("Concat", *parts, axis_i=axis)
    booleans = symbolic_helper._is_bool(x) or symbolic_helper._is_bool(parts[0])
    for _ in range(times):
        later, earlier = _cut(g, x, axis, 1, 2**62), _cut(g, x, axis, 0, -1)
        x = g.op("Xor", later, earlier) if booleans else g.op("Sub", later, earlier)
    return x


def cumsum(g: Any, x: Any, dim: Any, dtype: Any) -> Any:
    """``cumsum``: booleans and integers are added in int64, as PyTorch adds them."""
    if not symbolic_helper._is_none(dtype):
        x = g.op("Cast", x, to_i=JitScalarType(_constant(dtype, "dtype", x)).onnx_type())
    elif not symbolic_helper._is_fp(x):
        x = g.op("Cast", x, to_i=int(onnx.TensorProto.INT64))
    return g.op("CumSum", x, _number(g, _constant(dim, "dim", x)))


def unfold(g: Any, x: Any, dimension: Any, size: Any, step: Any) -> Any:
    """``unfold``: windows along an axis, whose own axis is the last one."""
    axis, width = _constant(dimension, "dimension", x), _constant(size, "size", x)
    stride = _constant(step, "step", x)
    rank = symbolic_helper._get_tensor_rank(x)
    if rank is None:
        raise errors.SymbolicValueError("unfold of a tensor of unknown rank", x)
    axis %= rank
    length = g.op("Gather", g.op("Shape", x), _number(g, axis), axis_i=0)
    end = g.op("Add", length, _number(g, 1 - width))
    starts = g.op("Range", _number(g, 0), end, _number(g, stride))
    within = g.op("Constant", value_t=torch.arange(width))
    column = g.op("Unsqueeze", starts, g.op("Constant", value_t=torch.tensor([1])))
    windows = g.op("Gather", x, g.op("Add", column, within), axis_i=axis)
    order = [at for at in range(rank + 1) if at != axis + 1]
    return g.op("Transpose", windows, perm_i=[*order, axis + 1])


def detections(g: Any, boxes: Any, scores: Any, labels: Any, *settings: Any) -> tuple[Any, Any]:
    """``onnxproof::detections``: NMS of a batch."""
    return suppression.detections(_Operators(g), boxes, scores, labels, *_limits(settings))


def oriented_detections(g: Any, boxes: Any, scores: Any, labels: Any, *settings: Any) -> tuple[Any, Any]:
    """``onnxproof::oriented_detections``: the same for oriented boxes."""
    return oriented_detections_of(_Operators(g), boxes, scores, labels, *_limits(settings))


def _limits(settings: Sequence[Any]) -> tuple[int, float, float, int | None]:
    """The number of classes, the thresholds of scores and overlaps, and how many are kept at most."""
    classes, score, overlap, most = (symbolic_helper._maybe_get_const(value, "t") for value in settings)
    return int(classes), float(score), float(overlap), None if symbolic_helper._is_none(most) else int(most)


def laid(g: Any, pictures: Any, preprocess: Any) -> Any:
    """``onnxproof::laid``: pictures fitted to the network."""
    return laying.laid(_Operators(g), pictures, symbolic_helper._maybe_get_const(preprocess, "s"))


def placement(g: Any, pictures: Any, preprocess: Any) -> Any:
    """``onnxproof::placement``: where they lie."""
    return laying.placement(_Operators(g), pictures, symbolic_helper._maybe_get_const(preprocess, "s"))


def log1p(g: Any, x: Any) -> Any:
    """``log1p``: the logarithm of 1 + x."""
    return near_zero.log1p(_Operators(g), *_with_constants(g, x))


def expm1(g: Any, x: Any) -> Any:
    """``expm1``: the exponential of x, less 1."""
    return near_zero.expm1(_Operators(g), *_with_constants(g, x))


def log_sigmoid(g: Any, x: Any) -> Any:
    """``logsigmoid``: the logarithm of the sigmoid."""
    return near_zero.log_sigmoid(_Operators(g), *_with_constants(g, x))


def _with_constants(g: Any, x: Any) -> tuple[Any, near_zero.Constants]:
    """The numbers, as float32 if they are integers, and 0, 0.5 and 1 of their dtype."""
    if not symbolic_helper._is_fp(x):
        x = g.op("Cast", x, to_i=int(onnx.TensorProto.FLOAT))
        dtype = torch.float32
    else:
        dtype = JitScalarType.from_value(x).dtype()
    zero, half, one = (
        g.op("Constant", value_t=torch.tensor(number, dtype=dtype)) for number in (0.0, 0.5, 1.0)
    )
    return x, (zero, half, one)


class _Operators:
    """Writes nodes as onnxscript does, with TorchScript's exporter."""

    def __init__(self, g: Any) -> None:
        self._g = g

    def __getattr__(self, name: str) -> Callable[..., Any]:
        return partial(self._node, name)

    def _node(self, name: str, *inputs: Any, **attributes: Any) -> Any:
        if name == "Constant":
            (value,) = attributes.values()
            return self._g.op("Constant", value_t=torch.tensor(value))
        if name == "Resize":
            # TorchScript has no input that is left out: an empty one takes its place.
            empty = self._g.op("Constant", value_t=torch.zeros(0))
            inputs = tuple(empty if value is None else value for value in inputs)
        kinds = {int: "i", float: "f", str: "s", list: "i"}
        named = {f"{key}_{kinds[type(value)]}": value for key, value in attributes.items()}
        return self._g.op(name, *inputs, **named, outputs=2 if name == "TopK" else 1)


OLDEST = 18
"""The first opset that has all that our own operators are written in."""

SYMBOLICS: Mapping[str, Symbolic] = {
    "aten::cumsum": cumsum,
    "aten::diff": diff,
    "aten::expm1": expm1,
    "aten::log1p": log1p,
    "aten::log_sigmoid": log_sigmoid,
    "aten::unfold": unfold,
    "onnxproof::detections": detections,
    "onnxproof::oriented_detections": oriented_detections,
    "onnxproof::laid": laid,
    "onnxproof::placement": placement,
}
"""By the operators' qualified names."""


@contextlib.contextmanager
def registered(opset: int) -> Iterator[None]:
    """TorchScript's exporter writes these operators as ``SYMBOLICS`` do, inside."""
    for name, symbolic in SYMBOLICS.items():
        told = symbolic if opset >= OLDEST or not name.startswith("onnxproof::") else _too_old
        torch.onnx.register_custom_op_symbolic(name, told, opset)  # type: ignore[attr-defined]
    try:
        yield
    finally:
        for name in SYMBOLICS:
            torch.onnx.unregister_custom_op_symbolic(name, opset)  # type: ignore[attr-defined]


def _too_old(g: Any, x: Any, *_: Any) -> Any:  # noqa: ARG001
    raise errors.SymbolicValueError(
        f"NMS and the fitting of pictures in the graph need opset {OLDEST} or later", x
    )


def _constant(value: Any, name: str, x: Any) -> int:
    found = symbolic_helper._maybe_get_const(value, "i")
    if not isinstance(found, int):
        raise errors.SymbolicValueError(f"{name} is no constant", x)
    return found


def _number(g: Any, value: int) -> Any:
    return g.op("Constant", value_t=torch.tensor(value))


def _cut(g: Any, x: Any, axis: int, start: int, end: int) -> Any:
    vectors = [g.op("Constant", value_t=torch.tensor([value])) for value in (start, end, axis)]
    return g.op("Slice", x, *vectors)
