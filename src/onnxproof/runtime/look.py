"""Look at the structure of an ONNX file before it is loaded, for what ONNX Runtime may crash or hang on.

Field numbers: onnx.proto of ONNX 1.19. Weights are skipped by their length, so the time depends on the number
of nodes and tensors, not on the file's size. The look cannot foresee everything: it does not see sizes that a
graph computes.
"""

import math
import mmap
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from onnxproof.errors import ModelFileError
from onnxproof.runtime.archive import forbidden, in_archive, read_file
from onnxproof.runtime.growth import SIZES, Growth
from onnxproof.runtime.wire import Buffer, NotReadError, Wire, WireError, signed

LARGEST_RANK = 64
"""The most axes of a NumPy array."""
DEEPEST_CALL = 100
"""The longest chain of functions that call each other. ONNX Runtime 1.31 overflows its stack at 3,000."""
MOST_INLINED = 200_000
"""The most nodes of a file with its functions inlined. ONNX Runtime needs minutes for 100,000."""
MANY_NODES = 20_000
"""A file with more nodes is opened with a limit on time."""
DEEPEST_GRAPH = 100
"""The deepest nesting of graphs inside graphs: protobuf's own limit."""

_STANDARD = (b"", b"ai.onnx")
_NESTING = (b"If", b"Loop", b"Scan", b"SequenceMap")
_INT32, _INT64 = 6, 7
_FLOATS = {1: "<f", 11: "<d"}
"""float32 and float64, of which a size or a factor may be, too: how ``struct`` reads one."""
Key = tuple[bytes, bytes, bytes]
"""Domain, name and overload of a function."""


class _Body:
    """How many nodes the graph or one function has, and how many of each operator."""

    def __init__(self) -> None:
        self.nodes = 0
        self.calls: dict[Key, int] = {}


@dataclass(frozen=True, slots=True)
class Look:
    """What was seen. ``risk`` says why the file must be loaded and run in a process of its own. It is "" if
    the file need not be. ``opsets`` are the versions of the operator sets that it imports, by domain
    ("ai.onnx" is the standard one). ``data`` has the files of its external data, relative to its folder, and
    for each how many bytes that takes at least."""

    risk: str = ""
    opsets: dict[str, int] = field(default_factory=dict)
    data: dict[str, int] = field(default_factory=dict)


def look_at(file: Path) -> Look:
    """Look at the structure of an ONNX file.

    Raises ModelFileError if the file may not be read, if a tensor has more axes than NumPy's arrays can have,
    or if functions are nested deeper, or make more nodes, than ONNX Runtime and onnx can open.
    """
    if in_archive(file):
        return look_at_bytes(read_file(file), str(file))
    try:
        with file.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return _look(data, len(data), str(file))
    except PermissionError as error:
        raise forbidden(file, error) from error
    except (OSError, ValueError):
        return Look("its bytes cannot be mapped")


def look_at_bytes(content: bytes, name: str) -> Look:
    """As ``look_at``, for a model in memory; ``name`` is for messages."""
    return _look(content, len(content), name)


def _look(data: Buffer, size: int, name: str) -> Look:
    scan = _Scan(Wire(data))
    try:
        scan.model(size)
    except WireError:
        return Look("", scan.opsets)  # ONNX Runtime refuses it at once
    except NotReadError as error:
        return Look(str(error), scan.opsets)
    scan.require_arrays(name)
    scan.require_small_calls(name)
    return Look(scan.risk(), scan.opsets, scan.data)


class _Scan:
    """One walk over a model file."""

    def __init__(self, wire: Wire) -> None:
        self.wire = wire
        self.opsets: dict[str, int] = {}
        self.data: dict[str, int] = {}
        self.main = _Body()
        self.functions: dict[Key, _Body] = {}
        self.rank = 0
        self.growth = Growth()

    def model(self, end: int) -> None:
        """ModelProto."""
        for number, start, stop in self.wire.fields(0, end):
            if stop < 0:
                continue
            if number == 7:
                self._graph(start, stop, self.main, 0)
            elif number == 8:
                self._opset(start, stop)
            elif number == 25:
                self._function(start, stop)

    def risk(self) -> str:
        """Why the file must be opened with limits. Returns "" if it need not be."""
        nodes = self.main.nodes + sum(body.nodes for body in self.functions.values())
        if nodes > MANY_NODES:
            return f"it has {nodes:,} nodes"
        return self.growth.risk()

    def require_arrays(self, name: str) -> None:
        """Raise ModelFileError if a tensor has more axes than NumPy's arrays can have."""
        if self.rank > LARGEST_RANK:
            raise ModelFileError(
                f"{name} is not opened: it holds a tensor of {self.rank:,} axes; NumPy's arrays have at most "
                f"{LARGEST_RANK}: export the model again"
            )

    def require_small_calls(self, name: str) -> None:
        """Raise ModelFileError if functions are nested too deep, or make too many nodes."""
        if not self.functions:
            return
        depth, nodes = self._inlined()
        if depth > DEEPEST_CALL or nodes > MOST_INLINED:
            counted = f"{nodes:,}" if nodes < 10**12 else f"10^{math.floor(math.log10(nodes))}"
            what = "without end" if math.isinf(depth) else f"{depth:,} deep, {counted} nodes once inlined"
            raise ModelFileError(
                f"{name} is not opened: its functions call each other {what}; expected at most "
                f"{DEEPEST_CALL} deep and {MOST_INLINED:,} nodes, which ONNX Runtime can open: "
                "export the model without functions"
            )

    def _inlined(self) -> tuple[float, int]:
        """How deep the functions are nested (infinite if one calls itself), and the nodes once inlined."""
        depths: dict[Key, int] = {}
        sizes: dict[Key, int] = {}
        # Without recursion, because a chain of calls may be deeper than Python's stack.
        for root in self.functions:
            open_calls: dict[Key, Iterator[Key]] = {root: iter(self.functions[root].calls)}
            while root not in depths:
                key = next(reversed(open_calls))
                called = next(open_calls[key], None)
                if called is None:
                    body = self.functions[key]
                    inner = [entry for entry in body.calls if entry in self.functions]
                    depths[key] = 1 + max((depths[entry] for entry in inner), default=0)
                    sizes[key] = body.nodes + sum(sizes[entry] * body.calls[entry] for entry in inner)
                    del open_calls[key]
                elif called in open_calls:
                    return math.inf, 0
                elif called in self.functions and called not in depths:
                    open_calls[called] = iter(self.functions[called].calls)
        made = sum(sizes[key] * count for key, count in self.main.calls.items() if key in sizes)
        return max(depths.values()), self.main.nodes + made

    def _opset(self, start: int, end: int) -> None:
        domain, version = b"", 0
        for number, at, stop in self.wire.fields(start, end):
            if number == 1 and stop >= 0:
                domain = self.wire.data[at:stop]
            elif number == 2 and stop < 0:
                version = signed(at)
        self.opsets[domain.decode(errors="replace") or "ai.onnx"] = version

    def _function(self, start: int, end: int) -> None:
        body, name, domain, overload = _Body(), b"", b"", b""
        for number, at, stop in self.wire.fields(start, end):
            if stop < 0:
                continue
            if number == 1:
                name = self.wire.data[at:stop]
            elif number == 10:
                domain = self.wire.data[at:stop]
            elif number == 13:
                overload = self.wire.data[at:stop]
            elif number == 7:
                self._node(at, stop, body, 0)
        self.functions[b"" if domain in _STANDARD else domain, name, overload] = body

    def _graph(self, start: int, end: int, body: _Body, depth: int) -> None:
        if depth > DEEPEST_GRAPH:
            raise NotReadError(f"its graphs are nested more than {DEEPEST_GRAPH} deep")
        for number, at, stop in self.wire.fields(start, end):
            if stop < 0:
                continue
            if number == 1:
                self._node(at, stop, body, depth)
            elif number == 5:
                self._tensor(at, stop, None)
            elif number in (11, 12, 13):
                self._value(at, stop)

    def _value(self, start: int, end: int) -> None:
        """ValueInfoProto."""
        # Of messages in messages: the type (2), of a tensor (1), its shape (2), its axes (1).
        spans = [(start, end)]
        for wanted in (2, 1, 2, 1):
            spans = [
                (at, stop)
                for outer in spans
                for number, at, stop in self.wire.fields(*outer)
                if number == wanted and stop >= 0
            ]
        sizes = [
            signed(at)
            for axis in spans
            for number, at, stop in self.wire.fields(*axis)
            if (number, stop) == (1, -1)
        ]
        self.growth.declared(len(spans), sizes)

    def _node(self, start: int, end: int, body: _Body, depth: int) -> None:
        data = self.wire.data
        operator = domain = overload = b""
        inputs: list[tuple[int, int]] = []
        attributes: list[tuple[int, int]] = []
        first = (0, 0)
        for number, at, stop in self.wire.fields(start, end):
            if stop < 0:
                continue
            if number == 1:
                inputs.append((at, stop))
            elif number == 4:
                operator = data[at:stop]
            elif number == 5:
                attributes.append((at, stop))
            elif number == 2:
                first = first if first[1] else (at, stop)
            elif number == 7:
                domain = data[at:stop]
            elif number == 8:
                overload = data[at:stop]
        body.nodes += 1
        standard = domain in _STANDARD
        key = b"" if standard else domain, operator, overload
        body.calls[key] = body.calls.get(key, 0) + 1
        reads = [data[at:stop] for at, stop in inputs]
        writes = data[first[0] : first[1]]
        if standard:
            self.growth.node(operator, reads, writes)
        self.growth.joined(operator, reads, writes)
        if operator == b"Constant":
            self._attributes(attributes, body, depth, writes)
        elif operator in _NESTING or not standard:
            self._attributes(attributes, body, depth, None)

    def _attributes(
        self, spans: Iterable[tuple[int, int]], body: _Body, depth: int, constant: bytes | None
    ) -> None:
        """Read the graphs and tensors in attributes. ``constant`` is the name that a Constant writes."""
        numbers: list[int] = []
        for start, end in spans:
            for number, at, stop in self.wire.fields(start, end):
                if number in (6, 11) and stop >= 0:
                    self._graph(at, stop, body, depth + 1)
                elif number in (5, 10) and stop >= 0:
                    self._tensor(at, stop, constant)
                elif number in (3, 8) and constant is not None:
                    numbers += [at] if stop < 0 else self.wire.varints(at, stop)
        if numbers and constant is not None:
            self.growth.integers(constant, [signed(value) for value in numbers], -(2**63))

    def _tensor(self, start: int, end: int, name: bytes | None) -> None:
        """TensorProto. ``name`` is None for an initializer, which holds its name itself."""
        data, rank, kind = self.wire.data, 0, 0
        raw: tuple[int, int] | None = None
        external: dict[bytes, bytes] = {}
        numbers: list[int] = []
        spans: list[tuple[int, int]] = []
        floats = (0, 0)
        for number, at, stop in self.wire.fields(start, end):
            if number == 1:
                rank += 1 if stop < 0 else sum(1 for _ in self.wire.varints(at, stop))
            elif number == 2 and stop < 0:
                kind = at
            elif number == 8 and name is None and stop >= 0:
                name = data[at:stop]
            elif number == 9 and stop >= 0:
                raw = at, stop
            elif number == 13 and stop >= 0:
                external |= self._entry(at, stop)
            elif number in (4, 10) and stop >= 0:
                floats = at, stop
            elif number in (5, 7):
                if stop < 0:
                    numbers.append(at)
                else:
                    spans.append((at, stop))
        self.rank = max(self.rank, rank)
        if external:
            self._note_data(external)
        if kind in _FLOATS:
            at, stop = raw or floats
            if stop - at <= 8:
                self.growth.floats(name or b"", data[at:stop], _FLOATS[kind])
        if kind not in (_INT32, _INT64):
            return
        width = 4 if kind == _INT32 else 8
        smallest = -(2 ** (8 * width - 1))
        if raw is not None and raw[1] - raw[0] <= SIZES * width:
            content = data[raw[0] : raw[1]]
            numbers += [
                int.from_bytes(content[at : at + width], "little", signed=True)
                for at in range(0, len(content), width)
            ]
        for at, stop in spans:
            numbers += [signed(value) for value in self.wire.varints(at, stop)]
        self.growth.integers(
            name or b"", [signed(value) if value >= 0 else value for value in numbers], smallest
        )

    def _entry(self, start: int, end: int) -> dict[bytes, bytes]:
        """StringStringEntryProto."""
        fields = self.wire.fields(start, end)
        parts = {number: self.wire.data[at:stop] for number, at, stop in fields if stop >= 0}
        return {parts.get(1, b""): parts.get(2, b"")}

    def _note_data(self, external: Mapping[bytes, bytes]) -> None:
        """Note the file of a tensor's external data, and where that ends in it."""
        location = external.get(b"location", b"").decode("utf-8", "replace")
        numbers = [external.get(key, b"") for key in (b"offset", b"length")]
        end = sum(int(number) for number in numbers if number.isdigit())
        if location:
            self.data[location] = max(end, self.data.get(location, 0))
