"""A copy of a file from elsewhere with the inputs and outputs that a model's contract declares.

Exporters call an input ``images`` or ``input.1``, leave the batch axis out, expect pictures that the host has
normalised, or lay boxes out with their channels first. The copy does in front of the graph, and behind it,
what a host would do. Nothing inside is changed.
"""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
from onnx import helper, numpy_helper

from onnxproof.graph import OnnxGraph
from onnxproof.normalizations import Channels, name_of
from onnxproof.on_disk import read_leaving_tensors
from onnxproof.runtime.folder import MODEL_FILE
from onnxproof.system.files import linked, write_bytes
from onnxproof.system.scratch import scratch_folder
from onnxproof.validate.unpacked import AXES_AS_INPUT, Unpacked, UnpackedRows, opset_of, unpack

FILES_OWN = "_of_the_file"
"""What a value inside the graph gets behind its name if an input or output gets that name."""


@dataclass(frozen=True, slots=True)
class Arrangement:
    """How the inputs and outputs of a file become those of the model.

    ``names`` has the model's name of each of the file's inputs and outputs. ``normalized`` has the mean and
    standard deviation with which the host has normalised the pictures of the model's input ``picture``, [b,
    3, H, W] in 0..1; None if the file takes them as the model does. ``unbatched`` says that the file's
    pictures have no batch axis. ``turned`` are outputs of the model whose last two axes the file exchanges.
    ``left_out`` are outputs of the file that the model does not have. ``order`` are the model's inputs and
    outputs, in its order. ``unpacked`` says which of the file's outputs holds several of the model's.
    ``widened`` says that the file takes or returns float16 where the model has float32. ``hosted`` has, for
    outputs of the model that the file lacks, the padding mask of the model that they tell of: 1 where it
    keeps a step.
    """

    names: Mapping[str, str] = field(default_factory=dict)
    picture: str = ""
    normalized: tuple[Channels, Channels] | None = None
    unbatched: bool = False
    turned: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    order: tuple[str, ...] = ()
    unpacked: Unpacked | UnpackedRows | None = None
    widened: bool = False
    hosted: Mapping[str, str] = field(default_factory=dict)

    def notes(self, inputs: frozenset[str]) -> tuple[str, ...]:
        """What was done, in words. ``inputs`` are the names of the model's inputs."""
        notes = [
            f"the file's {'input' if known in inputs else 'output'} {name} is the model's {known}"
            for name, known in self.names.items()
            if name != known
        ]
        if self.normalized is not None:
            named = name_of(*self.normalized) or f"mean {list(self.normalized[0])}"
            notes.append(
                f"the file takes pictures that the host has normalised ({named}): it is judged behind that"
            )
        if self.unbatched:
            notes.append("the file takes one picture without a batch axis")
        if self.unpacked is not None:
            notes.append(str(self.unpacked))
        notes += [f"the file returns {name} with its last two axes exchanged" for name in self.turned]
        if self.widened:
            notes.append("the file takes or returns float16: it is judged with casts around it")
        notes += [
            f"the file does not return {name}: it is judged with the steps that {mask} keeps"
            for name, mask in self.hosted.items()
        ]
        if self.left_out:
            notes.append(f"the file also returns {', '.join(self.left_out)}, which the model does not")
        return tuple(notes)

    @property
    def changes(self) -> bool:
        """Whether the copy differs from the file."""
        renames = any(name != known for name, known in self.names.items())
        return (
            renames
            or self.unbatched
            or self.widened
            or bool(self.normalized or self.turned or self.left_out or self.order or self.hosted)
        )


@contextlib.contextmanager
def arranged(file: Path, how: Arrangement) -> Iterator[Path]:
    """The file itself, or its copy in an arrangement. The copy is there inside the block alone."""
    if not how.changes:
        yield file
        return
    graph = OnnxGraph(read_leaving_tensors(file))
    with scratch_folder() as folder:
        for tensor in graph.stored:
            if tensor.place is not None:
                linked(file.parent / tensor.place.location, folder / tensor.place.location)
        copy = folder / (MODEL_FILE if not (folder / MODEL_FILE).exists() else f"named-{MODEL_FILE}")
        names = dict(how.names)
        if how.unpacked is not None:
            names[how.unpacked.output] = f"{how.unpacked.output}{FILES_OWN}"
        model = renamed(graph, names)
        if how.widened:
            _widen(model)
        _put_in_front(model, how)
        _put_behind(model, how)
        for name, mask in how.hosted.items():
            _tell_mask(model.graph, name, mask)
        if how.unpacked is not None:
            unpack(model, how.unpacked, names[how.unpacked.output])
        _put_in_order(model.graph, how.order)
        write_bytes(copy, model.SerializeToString())
        yield copy


def renamed(graph: OnnxGraph, names: Mapping[str, str]) -> onnx.ModelProto:
    """The model of a graph with other names for its inputs and outputs."""
    model = ir.serde.deserialize_model(graph.proto)
    whole = model.graph
    own = {id(value): value for value in (*whole.inputs, *whole.outputs)}
    made = [value for node in whole.all_nodes() for value in node.outputs]
    for value in (*whole.initializers.values(), *made):
        if id(value) not in own and value.name in names.values():
            value.name = f"{value.name}{FILES_OWN}"
    for value in own.values():
        value.name = names.get(value.name or "", value.name)
    return ir.serde.serialize_model(model)


def _widen(model: onnx.ModelProto) -> None:
    """Take and return float32 where the file has float16."""
    graph, half, single = model.graph, onnx.TensorProto.FLOAT16, onnx.TensorProto.FLOAT
    before: list[onnx.NodeProto] = []
    behind: list[onnx.NodeProto] = []
    for side, values in ((before, graph.input), (behind, graph.output)):
        for value in values:
            if value.type.tensor_type.elem_type != half:
                continue
            inner = f"{value.name}_in_half"
            value.type.tensor_type.elem_type = single
            for node in _all_nodes(graph):
                for names in (node.input, node.output):
                    names[:] = [inner if name == value.name else name for name in names]
            ends = (value.name, inner) if side is before else (inner, value.name)
            side.append(helper.make_node("Cast", [ends[0]], [ends[1]], to=half if side is before else single))
    nodes = [onnx.NodeProto.FromString(one.SerializeToString()) for one in graph.node]
    del graph.node[:]
    graph.node.extend([*before, *nodes, *behind])


def _put_in_front(model: onnx.ModelProto, how: Arrangement) -> None:
    """Normalise the picture, and take its batch axis off, before the file's own graph."""
    if how.normalized is None and not how.unbatched:
        return
    graph = model.graph
    value = next(one for one in graph.input if one.name == how.picture)
    inner = f"{how.picture}{FILES_OWN}"
    for node in _all_nodes(graph):
        node.input[:] = [inner if name == how.picture else name for name in node.input]
    for output in graph.output:
        if output.name == how.picture:
            output.name = inner
    steps: list[tuple[str, tuple[str, ...]]] = []
    constants: dict[str, np.ndarray[tuple[int, ...], np.dtype[np.float32]]] = {}
    if how.normalized is not None:
        for operator, numbers in zip(("Sub", "Div"), how.normalized, strict=True):
            name = f"{how.picture}_{operator.lower()}"
            constants[name] = np.array(numbers, np.float32).reshape(1, 3, 1, 1)
            steps.append((operator, (name,)))
    nodes: list[onnx.NodeProto] = []
    last = how.picture
    if how.unbatched:
        steps.append(("Squeeze", ()))
    for at, (operator, more) in enumerate(steps):
        output = inner if at == len(steps) - 1 else f"{inner}_{at}"
        if operator == "Squeeze":
            nodes.append(_squeeze(model, last, output))
        else:
            nodes.append(helper.make_node(operator, [last, *more], [output]))
        last = output
    for name, array in constants.items():
        graph.initializer.append(numpy_helper.from_array(array, name))
    if how.unbatched:
        axes = value.type.tensor_type.shape.dim
        batch = onnx.TensorShapeProto.Dimension(dim_value=1)
        others = list(axes)
        del axes[:]
        axes.extend([batch, *others])
    rest = list(graph.node)
    del graph.node[:]
    graph.node.extend([*nodes, *rest])


def _squeeze(model: onnx.ModelProto, source: str, output: str) -> onnx.NodeProto:
    if opset_of(model) < AXES_AS_INPUT:
        return helper.make_node("Squeeze", [source], [output], axes=[0])
    axes = f"{source}_squeezed"
    model.graph.initializer.append(numpy_helper.from_array(np.array([0], np.int64), axes))
    return helper.make_node("Squeeze", [source, axes], [output])


def _put_behind(model: onnx.ModelProto, how: Arrangement) -> None:
    """Exchange the last two axes of some outputs, and leave others out."""
    graph = model.graph
    kept = [
        onnx.ValueInfoProto.FromString(one.SerializeToString())
        for one in graph.output
        if one.name not in how.left_out
    ]
    del graph.output[:]
    for value in kept:
        if value.name in how.turned:
            inner = f"{value.name}{FILES_OWN}"
            for node in _all_nodes(graph):
                node.input[:] = [inner if name == value.name else name for name in node.input]
                node.output[:] = [inner if name == value.name else name for name in node.output]
            graph.node.append(helper.make_node("Transpose", [inner], [value.name], perm=[0, 2, 1]))
            axes = value.type.tensor_type.shape.dim
            if len(axes) == 3:
                order = [axes[0], axes[2], axes[1]]
                copies = [
                    onnx.TensorShapeProto.Dimension.FromString(one.SerializeToString()) for one in order
                ]
                del axes[:]
                axes.extend(copies)
        graph.output.append(value)


def _tell_mask(graph: onnx.GraphProto, name: str, mask: str) -> None:
    """Return which steps a padding mask keeps, as the output ``name``."""
    kept = f"{name}{FILES_OWN}"
    graph.node.append(helper.make_node("Cast", [mask], [kept], to=onnx.TensorProto.BOOL))
    graph.node.append(helper.make_node("Cast", [kept], [name], to=onnx.TensorProto.INT64))
    given = next(one for one in graph.input if one.name == mask)
    value = onnx.ValueInfoProto.FromString(given.SerializeToString())
    value.name, value.type.tensor_type.elem_type = name, onnx.TensorProto.INT64
    graph.output.append(value)


def _put_in_order(graph: onnx.GraphProto, order: Sequence[str]) -> None:
    """Put inputs and outputs in an order. Those that it does not name come last."""
    place = {name: at for at, name in enumerate(order)}
    for side in (graph.input, graph.output):
        ordered = sorted(side, key=lambda value: place.get(value.name, len(place)))
        copies = [onnx.ValueInfoProto.FromString(one.SerializeToString()) for one in ordered]
        del side[:]
        side.extend(copies)


def _all_nodes(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    """The nodes of a graph, and of the branches and loops in it."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            for body in (attribute.g, *attribute.graphs):
                yield from _all_nodes(body)
