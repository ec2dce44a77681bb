"""Sizes that a graph computes in float32.

A graph that makes 10 cells 0.7 times as many multiplies 10 by the float32 nearest to 0.7, rounds to float32
and cuts off: 7. In double the product of the same two numbers is below 7, so that 6 cells would be left. What
is computed of sizes and constants alone, and then cast to an integer, is therefore rounded to float32 after
each node, as the graph declares. It stays in double if one of its constants was replaced by its exact value.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from onnx import TensorProto

from onnxproof.validate.exact.arrays import Array, Value
from onnxproof.validate.exact.block import Block, Step
from onnxproof.validate.exact.operators.casts import cast
from onnxproof.validate.exact.registry import Body

_INTEGERS = frozenset(
    getattr(TensorProto, f"{sign}INT{bits}") for sign in ("", "U") for bits in (8, 16, 32, 64)
)


def with_sizes_in_single(
    steps: Sequence[Step], constants: Mapping[str, Value], exact: Collection[str]
) -> list[Step]:
    """The steps, with each cast of a size to an integer computed as the graph declares.

    ``exact`` are the names of constants that were replaced.
    """
    makers: dict[str, Step] = {}
    result: list[Step] = []
    for step in steps:
        if _is_size(step) or _all_known(step, makers, constants):
            makers |= dict.fromkeys(filter(None, step.writes), step)
        result.append(_cast_in_single(step, makers, constants, exact))
    return result


def _is(step: Step, *names: str) -> bool:
    return step.proto.op_type in names and step.proto.domain in ("", "ai.onnx")


def _is_size(step: Step) -> bool:
    return _is(step, "Shape", "Size")


def _all_known(step: Step, makers: Mapping[str, Step], constants: Mapping[str, Value]) -> bool:
    reads = [name for name in step.reads if name]
    return bool(reads) and not step.blocks and all(name in makers or name in constants for name in reads)


def _cast_in_single(
    step: Step, makers: Mapping[str, Step], constants: Mapping[str, Value], exact: Collection[str]
) -> Step:
    if not _is(step, "Cast") or step.attributes.get("to") not in _INTEGERS or step.reads[0] not in makers:
        return step
    behind = _behind(step.reads[0], makers)
    kinds = {one.attributes.get("to") for one in behind if _is(one, "Cast")}
    read = {name for one in behind for name in one.reads if name}
    if TensorProto.FLOAT not in kinds or TensorProto.DOUBLE in kinds or read & set(exact):
        return step
    written = {name for one in behind for name in one.writes}
    roots = tuple(sorted(read - written - set(constants)))
    block = Block.of((), (step.reads[0],), constants, [_rounded(one) for one in behind])
    return replace(
        step,
        reads=(*step.reads, *roots),
        captures=roots,
        blocks={"in_single": block},
        function=_cast_of_size,
    )


def _behind(name: str, makers: Mapping[str, Step]) -> list[Step]:
    """The steps that a value is computed by from sizes and constants, in order."""
    found: dict[int, Step] = {}
    open_names = [name]
    while open_names:
        step = makers.get(open_names.pop())
        if step is not None and not _is_size(step) and id(step) not in found:
            found[id(step)] = step
            open_names += [one for one in step.reads if one]
    ordered = {id(step): index for index, step in enumerate(makers.values())}
    return sorted(found.values(), key=lambda step: ordered[id(step)])


def _rounded(step: Step) -> Step:
    def computed(*inputs: Value, **attributes: Any) -> Any:
        returned = step.function(*inputs, **attributes)
        if isinstance(returned, tuple):
            return tuple(map(_single, returned))
        return _single(returned)

    return replace(step, function=computed)


def _single(value: Value) -> Value:
    """A float64 rounded to float32. Sums, products, quotients and roots of float32 numbers come out as in
    float32 itself, since float64 has more than twice its digits."""
    if isinstance(value, np.ndarray | np.generic) and value.dtype == np.float64:
        return np.asarray(value.astype(np.float32).astype(np.float64))
    return value


def _cast_of_size(_: Array, *, in_single: Body, to: int, **more: Any) -> Array:
    return cast(in_single()[0], to, **more)
