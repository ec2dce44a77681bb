"""Take apart an output in which a file packs what the model returns as several.

YOLOs are exported with one output [b, 4 + C + more, n] or [b, n, 4 + C + more]: for each cell a box (centre,
width, height), a score for each class, and what else the network says of it (Ultralytics, Exporter). With NMS
in the graph they return one output of rows instead.
"""

import itertools
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

Array = NDArray[Any]

AXES_AS_INPUT = 13
"""The opset from which Squeeze and ReduceSum take their axes as an input."""

BOX, ORIENTED_BOX = 4, 5
"""Numbers of a box, and of one with an angle."""

SCORE, ROW = 4, 6
"""In rows that a graph has chosen: the column of the score, and how many numbers a row has."""


@dataclass(frozen=True, slots=True)
class Part:
    """One output of the model in the packed one.

    ``ranges`` are its channels, from and to, in order. ``tail`` are its axes after the first two.
    ``centred`` says that its boxes are packed as centre, width and height, and the model returns corners.
    """

    name: str
    ranges: tuple[tuple[int, int], ...]
    tail: tuple[int, ...]
    centred: bool = False


@dataclass(frozen=True, slots=True)
class Unpacked:
    """The packed output of a file, and its parts. ``turned`` says that its channels come before the cells."""

    output: str
    turned: bool
    parts: tuple[Part, ...]

    def arrays(self, packed: Array) -> dict[str, Array]:
        """The parts of what the file returned, by the model's names."""
        rows = packed.transpose(0, 2, 1) if self.turned else packed
        return {part.name: _part(rows, part) for part in self.parts}

    def __str__(self) -> str:
        names = ", ".join(part.name for part in self.parts)
        return f"the file packs the model's {names} into its output {self.output}"


@dataclass(frozen=True, slots=True)
class UnpackedRows:
    """An output of rows [b, n, 6 or more] that NMS in the graph has kept: a box, the score, the class.

    A row of zeros is none. ``names`` are the model's boxes [b, n, 4], labels int64 [b, n], scores [b, n] and
    counts int64 [b]. ``more`` is None, or the model's output of what follows in each row, and its axes after
    the first two. If the rows are ``oriented``, the angle follows the class, and the boxes are [b, n, 5].
    """

    output: str
    names: tuple[str, ...]
    more: tuple[str, tuple[int, ...]] | None = None
    oriented: bool = False

    def arrays(self, packed: Array) -> dict[str, Array]:
        """What the file returned as the model's outputs."""
        scores = packed[..., SCORE]
        labels, counts = packed[..., SCORE + 1].astype(np.int64), np.count_nonzero(scores > 0, axis=1)
        boxes = packed[..., :SCORE]
        if self.oriented:
            boxes = np.concatenate((boxes, packed[..., ROW : ROW + 1]), axis=-1)
        parts = dict(zip(self.names, (boxes, labels, scores, counts), strict=True))
        if self.more is not None:
            name, tail = self.more
            parts[name] = packed[..., ROW:].reshape(*packed.shape[:2], *tail)
        return parts

    def __str__(self) -> str:
        names = ", ".join((*self.names, *(() if self.more is None else self.more[:1])))
        return f"the file's graph ends in NMS, and packs the model's {names} into the rows {self.output}"


def unpackings(theirs: Mapping[str, Array], ours: Mapping[str, Array]) -> Iterator[Unpacked]:
    """The ways in which an output of the file may hold several of the model's, by their shapes."""
    for output, packed in theirs.items():
        if packed.ndim != 3 or packed.dtype.kind != "f":
            continue
        for turned in (True, False):
            batch, cells, channels = (packed.transpose(0, 2, 1) if turned else packed).shape
            rows = {
                name: one for name, one in ours.items() if one.ndim > 2 and one.shape[:2] == (batch, cells)
            }
            widths = {name: math.prod(one.shape[2:]) for name, one in rows.items()}
            if len(rows) < 2 or sum(widths.values()) != channels:
                continue
            for centred in (True, False):
                yield Unpacked(output, turned, _parts(rows, widths, channels, centred=centred))


def in_order(output: str, parts: Mapping[str, Array]) -> Unpacked:
    """An output that holds the model's ``parts`` [b, n, …] one behind the other."""
    widths = {name: math.prod(one.shape[2:]) for name, one in parts.items()}
    ends = itertools.accumulate(widths.values())
    return Unpacked(
        output,
        False,
        tuple(
            Part(name, ((end - widths[name], end),), tuple(one.shape[2:]))
            for (name, one), end in zip(parts.items(), ends, strict=True)
        ),
    )


def _parts(
    rows: Mapping[str, Array], widths: Mapping[str, int], channels: int, *, centred: bool
) -> tuple[Part, ...]:
    parts = []
    at = 0
    for number, (name, width) in enumerate(widths.items()):
        tail = tuple(rows[name].shape[2:])
        if number == 0 and width == ORIENTED_BOX:  # the angle comes last
            parts.append(Part(name, ((0, BOX), (channels - 1, channels)), tail))
            at = BOX
            continue
        corners = centred and number == 0 and width == BOX
        parts.append(Part(name, ((at, at + width),), tail, corners))
        at += width
    return tuple(parts)


def _part(rows: Array, part: Part) -> Array:
    chosen = np.concatenate([rows[..., start:stop] for start, stop in part.ranges], axis=-1)
    if part.centred:
        half = chosen[..., 2:4] / 2
        chosen = np.concatenate((chosen[..., :2] - half, chosen[..., :2] + half), axis=-1)
    return chosen.reshape(*rows.shape[:2], *part.tail)


def unpack(model: onnx.ModelProto, how: Unpacked | UnpackedRows, name: str) -> None:
    """Put the parts in place of the packed output of a graph, which is called ``name``."""
    graph = model.graph
    value = next(one for one in graph.output if one.name == name)
    others = [
        onnx.ValueInfoProto.FromString(one.SerializeToString()) for one in graph.output if one.name != name
    ]
    del graph.output[:]
    graph.output.extend(others)
    if isinstance(how, Unpacked):
        _unpack_cells(graph, how, value)
    else:
        _unpack_rows(graph, how, value, opset_of(model))


def opset_of(model: onnx.ModelProto) -> int:
    """The version of ONNX's own operators."""
    return next((one.version for one in model.opset_import if one.domain in ("", "ai.onnx")), 0)


def _unpack_rows(graph: onnx.GraphProto, how: UnpackedRows, value: onnx.ValueInfoProto, opset: int) -> None:
    kind = value.type.tensor_type.elem_type
    batch, rows, *_ = (axis.dim_value or axis.dim_param or None for axis in value.type.tensor_type.shape.dim)
    boxes, labels, scores, counts = how.names
    build = _Nodes(graph, value.name)
    flat = build.constant(np.array([0, -1], np.int64))
    box, score, label = (build.slice(value.name, start, stop) for start, stop in ((0, 4), (4, 5), (5, 6)))
    numbers = BOX
    if how.oriented:
        box, numbers = (
            build.node("Concat", [box, build.slice(value.name, ROW, ROW + 1)], axis=-1),
            ORIENTED_BOX,
        )
    label = build.node("Reshape", [label, flat])
    kept = build.node("Greater", [build.node("Reshape", [score, flat]), build.constant(np.float32(0))])
    flags = build.node("Cast", [kept], to=onnx.TensorProto.INT64)
    along: dict[str, Any] = {"axes": [1]} if opset < AXES_AS_INPUT else {}
    given = [] if along else [build.constant(np.array([1], np.int64))]
    graph.node.extend(
        [
            helper.make_node("Identity", [box], [boxes]),
            helper.make_node("Cast", [label], [labels], to=onnx.TensorProto.INT64),
            helper.make_node("Reshape", [score, flat], [scores]),
            helper.make_node("ReduceSum", [flags, *given], [counts], keepdims=0, **along),
        ]
    )
    graph.output.extend(
        [
            helper.make_tensor_value_info(boxes, kind, [batch, rows, numbers]),
            helper.make_tensor_value_info(labels, onnx.TensorProto.INT64, [batch, rows]),
            helper.make_tensor_value_info(scores, kind, [batch, rows]),
            helper.make_tensor_value_info(counts, onnx.TensorProto.INT64, [batch]),
        ]
    )
    if how.more is not None:
        more, tail = how.more
        rest = build.slice(value.name, ROW, ROW + math.prod(tail))
        shape = build.constant(np.array([0, 0, *tail], np.int64))
        graph.node.append(helper.make_node("Reshape", [rest, shape], [more]))
        graph.output.append(helper.make_tensor_value_info(more, kind, [batch, rows, *tail]))


def _unpack_cells(graph: onnx.GraphProto, how: Unpacked, value: onnx.ValueInfoProto) -> None:
    name, kind = value.name, value.type.tensor_type.elem_type
    axes = [axis.dim_value or axis.dim_param or None for axis in value.type.tensor_type.shape.dim]
    rows = name
    build = _Nodes(graph, name)
    if how.turned:
        axes = [axes[0], axes[2], axes[1]]
        rows = build.node("Transpose", [name], perm=[0, 2, 1])
    for part in how.parts:
        sliced = [build.slice(rows, *between) for between in part.ranges]
        last = sliced[0] if len(sliced) == 1 else build.node("Concat", sliced, axis=-1)
        if part.centred:
            half = build.node("Mul", [build.slice(last, 2, 4), build.constant(np.float32(0.5))])
            centre = build.slice(last, 0, 2)
            corners = [build.node("Sub", [centre, half]), build.node("Add", [centre, half])]
            last = build.node("Concat", corners, axis=-1)
        shape = build.constant(np.array([0, 0, *part.tail], np.int64))
        graph.node.append(helper.make_node("Reshape", [last, shape], [part.name]))
        made = helper.make_tensor_value_info(part.name, kind, [*axes[:2], *part.tail])
        graph.output.append(made)


class _Nodes:
    """Adds nodes and constants with names of their own to a graph."""

    def __init__(self, graph: onnx.GraphProto, prefix: str) -> None:
        self.graph = graph
        self.prefix = prefix
        self.count = 0

    def _name(self) -> str:
        self.count += 1
        return f"{self.prefix}_part_{self.count}"

    def node(self, operator: str, inputs: list[str], **attributes: Any) -> str:
        output = self._name()
        self.graph.node.append(helper.make_node(operator, inputs, [output], **attributes))
        return output

    def constant(self, value: Any) -> str:
        """A number of the copy's own. It is no initializer, so no one takes it for one of the file's."""
        return self.node("Constant", [], value=numpy_helper.from_array(np.asarray(value)))

    def slice(self, source: str, start: int, stop: int) -> str:
        bounds = [self.constant(np.array([number], np.int64)) for number in (start, stop, 2)]
        return self.node("Slice", [source, *bounds])
