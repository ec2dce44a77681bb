"""The sizes that a model file states, and what it makes of them: for ``look``, which reads the file.

A few bytes can state a size that takes all memory. What a graph computes from its inputs is not followed.
"""

import math
import struct
from collections import Counter
from collections.abc import Mapping, Sequence

MANY_ELEMENTS = 2**31
"""A file that states the size of an array with more elements is opened with a limit on memory."""
MANY_LISTED = 2**22
"""A file that states the length of a list with more numbers is opened with a limit on memory: where a list
may be a shape, ONNX Runtime makes an axis of each, of some 50 bytes, before it knows their sizes."""
MANY_TURNS = 1_000_000
"""A file whose Loop may have more turns is opened with a limit on time."""
MANY_DOUBLINGS = 16
"""A file whose Concat nodes join a value with itself so that it doubles more often is opened with limits."""

_GROWING: Mapping[bytes, tuple[int, ...]] = {
    b"ConstantOfShape": (0,),
    b"Expand": (1,),
    b"Tile": (1,),
    b"Range": (0, 1),
    b"Pad": (1,),
    b"Resize": (1, 2, 3),
    b"Upsample": (1,),
    b"OneHot": (1,),
    b"HannWindow": (0,),
    b"HammingWindow": (0,),
    b"BlackmanWindow": (0,),
}
"""Operators whose output has a size that some of their inputs state, and which these are."""
_SHAPED: Mapping[bytes, int] = {b"ConstantOfShape": 0, b"Expand": 1, b"Reshape": 1}
"""Operators whose output has as many axes as one of their inputs has numbers, and which that is."""
_DIVIDING = (b"Div", b"Mod")
_COUNTING = (b"Shape", b"Size")
_SELECTING = (b"Gather", b"Squeeze", b"Unsqueeze", b"Identity", b"Cast", b"Slice", b"Reshape")
"""Operators that return values of their first input."""
_NO_SIZE = (2**31 - 1, 2**62)
"""The numbers that mean "to the end" in a Slice: the first, and all from the second up."""
SIZES = 64
"""Tensors with more elements are not read as sizes."""


class Growth:
    """What is known of a file's sizes, as its nodes and tensors are met."""

    def __init__(self) -> None:
        # For tensors of integers, by name: the product of the elements, the only element, and whether one may
        # crash a division (the smallest integer, or -1). For all numbers: the only element without its sign.
        self._sizes: dict[bytes, int] = {}
        self._single: dict[bytes, int] = {}
        self._lengths: dict[bytes, int] = {}
        self._crashing: set[bytes] = set()
        # The names that certain operators read.
        self._asked_sizes: set[bytes] = set()
        self._divided: set[bytes] = set()
        self._turns: set[bytes] = set()
        self._shapes: set[bytes] = set()
        self._made: dict[bytes, tuple[bytes, bytes]] = {}
        """Operator of counting, selecting and growing nodes, and the input that the values or the size come
        from, by output. If several nodes write a name, its operator is b""."""
        self._listed = 0
        """The length of the longest list that is declared."""
        self._doublings: dict[bytes, int] = {}
        """By name: how often a value was doubled, by being joined with itself, on the way to it."""
        self._parts: dict[bytes, int] = {}
        """By name: of how many parts a value was joined, if nothing else was done on the way."""

    def declared(self, axes: int, sizes: Sequence[int]) -> None:
        """A value with so many axes, and the sizes that are written of them."""
        if axes == 1:
            self._listed = max(self._listed, *sizes, 0)

    def node(self, operator: bytes, reads: Sequence[bytes], writes: bytes) -> None:
        """A node of the standard operators, and the first output that it writes."""
        if operator == b"Loop":
            self._turns.add(reads[0] if reads else b"")
        elif operator in _SELECTING or operator in _COUNTING:
            self._make(operator, reads[0] if reads else b"", writes)
        elif operator in _GROWING:
            told = [reads[index] for index in _GROWING[operator] if index < len(reads)]
            self._asked_sizes.update(told)
            self._make(operator, told[-1] if told else b"", writes)
        elif operator in _DIVIDING:
            self._divided.update(reads)
        if operator in _SHAPED and len(reads) > _SHAPED[operator]:
            self._shapes.add(reads[_SHAPED[operator]])
            self._asked_sizes.add(reads[_SHAPED[operator]])
        if operator in _SELECTING and reads and reads[0] in self._parts:
            self._parts[writes] = self._parts[reads[0]]
        if operator == b"Concat":
            self._parts[writes] = sum(self._parts.get(name, 1) for name in reads)

    def joined(self, operator: bytes, reads: Sequence[bytes], writes: bytes) -> None:
        """A node of any operators: how often its values were doubled."""
        if operator != b"Concat" and not self._doublings:
            return
        doubled = max((self._doublings.get(name, 0) for name in reads), default=0)
        if operator == b"Concat" and reads:
            doubled += (max(Counter(reads).values()) - 1).bit_length()
        if doubled:
            self._doublings[writes] = doubled

    def _make(self, operator: bytes, source: bytes, writes: bytes) -> None:
        self._made[writes] = (b"" if writes in self._made else operator, source)

    def integers(self, name: bytes, values: Sequence[int], smallest: int) -> None:
        """The elements of a tensor of integers, of which the type's smallest is ``smallest``."""
        if smallest in values or -1 in values:
            self._crashing.add(name)
        if len(values) <= SIZES:
            counted = (value for value in values if 0 < value < _NO_SIZE[1] and value != _NO_SIZE[0])
            self._sizes[name] = math.prod(counted)
        if len(values) == 1:
            # Graphs that do not see each other may each have a tensor of that name: the larger counts.
            self._single[name] = max(values[0], self._single.get(name, values[0]))
            self._lengths[name] = max(abs(values[0]), self._lengths.get(name, 0))

    def floats(self, name: bytes, content: bytes, form: str) -> None:
        """The bytes of a tensor of floats, which ``struct`` reads by ``form``."""
        if len(content) == struct.calcsize(form):
            (value,) = struct.unpack(form, content)
            if math.isfinite(value):
                self._lengths[name] = max(int(abs(value)), self._lengths.get(name, 0))

    def risk(self) -> str:
        """Why the file must be opened with limits. Returns "" if it need not be."""
        largest = max((self._sizes.get(name, 0) for name in self._asked_sizes), default=0)
        longest = max((self._lengths.get(name, 0) for name in self._asked_sizes), default=0)
        longest = max(longest, self._listed)
        doublings = max(self._doublings.values(), default=0)
        parts = max(self._parts.values(), default=0)
        if any(not self._is_bounded(name) for name in self._turns):
            return "it holds a Loop that may have no end"
        if largest > MANY_ELEMENTS:
            return f"it makes an array of {largest:,} elements"
        if longest > MANY_LISTED:
            return f"it makes a list of {longest:,} numbers"
        if doublings > MANY_DOUBLINGS:
            return f"it doubles a value {doublings} times"
        if parts > 2**MANY_DOUBLINGS:
            return f"it joins {parts:,} parts in one value"
        if any(self._is_computed(name) for name in self._shapes):
            return "it computes how many axes a tensor has"
        if self._divided & self._crashing:
            return "it divides integers in a way that may crash"
        return ""

    def _is_bounded(self, turns: bytes) -> bool:
        """Whether a Loop's number of turns is a small constant or a tensor's size."""
        operator, source = self._origin(turns)
        if operator in _COUNTING:
            return True
        return not operator and source in self._single and self._single[source] <= MANY_TURNS

    def _is_computed(self, shape: bytes) -> bool:
        """Whether a list, which is a shape, has a length that is neither a constant nor a tensor's size."""
        maker, source = self._origin(shape)
        if maker not in _GROWING:
            return False
        counting, constant = self._origin(source)
        return counting not in _COUNTING and constant not in self._lengths

    def _origin(self, name: bytes) -> tuple[bytes, bytes]:
        """The operator that a value's numbers come from, past those that only select, and its source.

        Returns b"" and the last name that was met if no such operator is known.
        """
        seen: set[bytes] = set()
        while name not in seen:
            seen.add(name)
            operator, source = self._made.get(name, (b"", b""))
            if operator not in _SELECTING:
                return (operator, source) if operator else (b"", name)
            name = source
        return b"", b""
