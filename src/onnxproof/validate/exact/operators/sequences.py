"""Sequences and optional values. A sequence is a list; an empty optional is None."""

import math

import numpy as np

from onnxproof.validate.exact.arrays import Array, Value
from onnxproof.validate.exact.registry import operator

Sequence = list[Value]


def _index(position: Array) -> int:
    return int(np.asarray(position).reshape(-1)[0])


@operator("SequenceEmpty", ignores=("dtype",))
def _sequence_empty() -> Sequence:
    return []


@operator("SequenceConstruct")
def _sequence_construct(*elements: Value) -> Sequence:
    return list(elements)


@operator("SequenceAt")
def _sequence_at(sequence: Sequence, position: Array) -> Value:
    return sequence[_index(position)]


@operator("SequenceLength")
def _sequence_length(sequence: Sequence) -> Array:
    return np.array(len(sequence), np.int64)


@operator("SequenceInsert")
def _sequence_insert(sequence: Sequence, element: Value, position: Array | None = None) -> Sequence:
    place = len(sequence) if position is None else _index(position)
    place = place + len(sequence) if place < 0 else place
    return [*sequence[:place], element, *sequence[place:]]


@operator("SequenceErase")
def _sequence_erase(sequence: Sequence, position: Array | None = None) -> Sequence:
    kept = list(sequence)
    del kept[-1 if position is None else _index(position)]
    return kept


@operator("SplitToSequence")
def _split_to_sequence(x: Array, split: Array | None = None, *, axis: int = 0, keepdims: int = 1) -> Sequence:
    """Without ``split`` into slices of 1; by a number into parts of that length, the last may be shorter."""
    size = x.shape[axis]
    if split is None:
        parts = np.split(x, size, axis) if size else []
        return list(parts) if keepdims else [np.squeeze(part, axis) for part in parts]
    if split.ndim == 0:
        each = int(split)
        lengths = [min(each, size - each * part) for part in range(math.ceil(size / each))]
    else:
        lengths = [int(length) for length in split]
    return list(np.split(x, np.cumsum(lengths)[:-1], axis))


@operator("ConcatFromSequence")
def _concat_from_sequence(sequence: Sequence, *, axis: int, new_axis: int = 0) -> Array:
    return np.stack(sequence, axis) if new_axis else np.concatenate(sequence, axis)


@operator("Optional", ignores=("type",))
def _optional(x: Value = None) -> Value:
    return x


@operator("OptionalGetElement")
def _optional_get_element(x: Value) -> Value:
    if x is None:
        raise ValueError("the optional is empty")
    return x


@operator("OptionalHasElement")
def _optional_has_element(x: Value = None) -> Array:
    return np.array(x is not None)
