"""What a fault is, and the means to plant one in an exported graph.

A fault that changes nothing in the file is an error (``NothingPlantedError``), never silent: every helper
that looks for something to damage raises where it is not there. Whether the damage changes the *function* is
for the benchmark to measure.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

Array = NDArray[Any]
Plant = Callable[[onnx.ModelProto, Path], Path]
Change = Callable[[Array], Array]
Edit = Callable[["Editor"], None]
Build = Callable[["Emit", str], str]
"""From the name of a value to the name of what takes its place, the nodes in between told to ``Emit``."""

FILE = "model.onnx"


class NothingPlantedError(RuntimeError):
    """The fault found nothing to damage, or left the file as it was."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One damaged file.

    ``kind`` is what went wrong, ``severity`` how much of it, ``subject`` the name of the model. ``plant``
    takes the healthy graph with its metadata and an empty folder, writes the damaged file there and returns
    its path; it leaves the graph as it was.
    """

    kind: str
    severity: str
    subject: str
    plant: Plant

    @property
    def name(self) -> str:
        """Kind, severity and subject; unique."""
        return f"{self.kind}, {self.severity} ({self.subject})"


class Emit:
    """Collects new nodes. Called with an operator, its inputs and its attributes, it returns the name of
    the node's output; an input that is a number or an array becomes an initializer."""

    def __init__(self, editor: "Editor") -> None:
        self.editor = editor
        self.nodes: list[onnx.NodeProto] = []

    def __call__(self, op: str, *inputs: Any, **attributes: Any) -> str:
        names = [value if isinstance(value, str) else self.editor.constant(value) for value in inputs]
        output = self.editor.fresh(op)
        self.nodes.append(helper.make_node(op, names, [output], **attributes))
        return output


class Editor:
    """A copy of a model, to be damaged."""

    def __init__(self, proto: onnx.ModelProto) -> None:
        self.proto = onnx.ModelProto()
        self.proto.CopyFrom(proto)
        self.graph = self.proto.graph
        self._count = 0

    def fresh(self, hint: str) -> str:
        """A name that the graph does not have."""
        self._count += 1
        return f"planted_{hint}_{self._count}"

    def constant(self, value: Any) -> str:
        """A new initializer; Python's floats become float32, its ints int64."""
        array = np.asarray(value)
        if array.dtype == np.float64:
            array = array.astype(np.float32)
        name = self.fresh("constant")
        self.graph.initializer.append(numpy_helper.from_array(array, name))
        return name

    def nodes(self, op: str) -> list[onnx.NodeProto]:
        """All nodes of an operator, those in the bodies of branches and loops too; at least one."""
        found = [node for node in _all_nodes(self.graph) if node.op_type == op]
        if not found:
            raise NothingPlantedError(f"the graph has no {op}")
        return found

    def node(self, op: str, index: int = 0) -> onnx.NodeProto:
        """One node of an operator, counted from the first, or from the last where ``index`` is negative."""
        found = self.nodes(op)
        if not -len(found) <= index < len(found):
            raise NothingPlantedError(f"the graph has {len(found)} {op}, asked for number {index}")
        return found[index]

    def maker(self, value: str) -> onnx.NodeProto:
        """The node that makes a value."""
        for node in _all_nodes(self.graph):
            if value in node.output:
                return node
        raise NothingPlantedError(f"no node makes {value}")

    def readers(self, value: str) -> list[onnx.NodeProto]:
        """The nodes that read a value."""
        return [node for node in _all_nodes(self.graph) if value in node.input]

    def behind(self, value: str, op: str) -> onnx.NodeProto:
        """The first node of an operator that reads a value."""
        for node in self.readers(value):
            if node.op_type == op:
                return node
        raise NothingPlantedError(f"no {op} reads {value}")

    def values(self, name: str) -> Array:
        """What an initializer or a constant node holds."""
        tensor = self._tensor(name)
        if tensor is not None:
            return numpy_helper.to_array(tensor)
        node = self.maker(name)
        if node.op_type != "Constant":
            raise NothingPlantedError(f"{name} is made by a {node.op_type}, and no constant")
        (attribute,) = node.attribute
        value = helper.get_attribute_value(attribute)
        if attribute.name == "value":
            return numpy_helper.to_array(value)
        return np.asarray(value, np.float32 if "float" in attribute.name else np.int64)

    def rewrite(self, name: str, change: Change) -> None:
        """Change what an initializer or a constant node holds; its dtype stays, and its shape must.

        Raises NothingPlantedError where the values come out as they were.
        """
        old = self.values(name)
        new = np.asarray(change(old.copy())).astype(old.dtype)
        if new.shape != old.shape or np.array_equal(new, old):
            raise NothingPlantedError(f"{name} {list(old.shape)} is as it was, or of another shape")
        tensor = self._tensor(name)
        if tensor is None:
            node = self.maker(name)
            del node.attribute[:]
            node.attribute.append(helper.make_attribute("value", numpy_helper.from_array(new)))
        else:
            tensor.CopyFrom(numpy_helper.from_array(new, name))

    def scalar_constant(self, value: float, *, tolerance: float = 1e-6) -> list[str]:
        """The names of initializers and constants that hold one number, this one; at least one."""
        names = [tensor.name for tensor in self.graph.initializer]
        names += [node.output[0] for node in _all_nodes(self.graph) if node.op_type == "Constant"]
        found = []
        for name in names:
            held = self.values(name)
            if held.size == 1 and abs(float(held.reshape(-1)[0]) - value) <= tolerance:
                found.append(name)
        if not found:
            raise NothingPlantedError(f"no constant is {value}")
        return found

    def splice(self, value: str, build: Build) -> None:
        """Put nodes behind a value: whatever read it reads ``build``'s answer, under the value's own name
        where a node makes it, so that outputs keep theirs."""
        emit = Emit(self)
        inputs = {entry.name for entry in self.graph.input}
        if value in inputs:
            answer = build(emit, value)
            for node in _all_nodes(self.graph):
                for position, name in enumerate(node.input):
                    if name == value:
                        node.input[position] = answer
            place = 0
        else:
            place = self._place(value)
            before = self.fresh("before")
            maker = self.graph.node[place]
            maker.output[list(maker.output).index(value)] = before
            answer = build(emit, before)
            for node in emit.nodes:
                node.output[:] = [value if name == answer else name for name in node.output]
            place += 1
        if not emit.nodes:
            raise NothingPlantedError(f"nothing was put behind {value}")
        self._insert(place, emit.nodes)

    def replace(self, node: onnx.NodeProto, build: Callable[["Emit"], str]) -> None:
        """Put other nodes in the place of one node of the main graph with one output."""
        place = list(self.graph.node).index(node)
        output = node.output[0]
        emit = Emit(self)
        answer = build(emit)
        for new in emit.nodes:
            new.output[:] = [output if name == answer else name for name in new.output]
        del self.graph.node[place]
        self._insert(place, emit.nodes)

    def skip(self, node: onnx.NodeProto) -> None:
        """Take a node out: its output becomes its first input."""
        node_input = node.input[0]
        self.replace(node, lambda emit: emit("Identity", node_input))

    def metadata(self, key: str) -> str:
        """A text of the file's metadata."""
        for entry in self.proto.metadata_props:
            if entry.key == key:
                return str(entry.value)
        raise NothingPlantedError(f"the file has no metadata {key}")

    def set_metadata(self, key: str, text: str) -> None:
        """Replace a text of the file's metadata."""
        if self.metadata(key) == text:
            raise NothingPlantedError(f"the metadata {key} is as it was")
        for entry in self.proto.metadata_props:
            if entry.key == key:
                entry.value = text

    def _tensor(self, name: str) -> onnx.TensorProto | None:
        return next((tensor for tensor in self.graph.initializer if tensor.name == name), None)

    def _place(self, value: str) -> int:
        for place, node in enumerate(self.graph.node):
            if value in node.output:
                return place
        raise NothingPlantedError(f"no node of the main graph makes {value}")

    def _insert(self, place: int, nodes: Sequence[onnx.NodeProto]) -> None:
        for offset, node in enumerate(nodes):
            self.graph.node.insert(place + offset, node)


def _all_nodes(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            for body in (attribute.g, *attribute.graphs):
                yield from _all_nodes(body)


def attribute(node: onnx.NodeProto, name: str) -> Any:
    """An attribute's value; NothingPlantedError where the node does not have it."""
    for entry in node.attribute:
        if entry.name == name:
            return helper.get_attribute_value(entry)
    raise NothingPlantedError(f"{node.op_type} {node.name} has no attribute {name}")


def set_attribute(node: onnx.NodeProto, name: str, value: Any) -> None:
    """Give an attribute another value; NothingPlantedError where it is the same."""
    entry = helper.make_attribute(name, value)
    for index, old in enumerate(node.attribute):
        if old.name == name:
            if old == entry:
                raise NothingPlantedError(f"{node.op_type} {node.name}: {name} is {value} already")
            del node.attribute[index]
            break
    node.attribute.append(entry)


def edited(edit: Edit) -> Plant:
    """The plant of a fault that an edit of the graph makes."""

    def plant(proto: onnx.ModelProto, folder: Path) -> Path:
        editor = Editor(proto)
        edit(editor)
        if editor.proto == proto:
            raise NothingPlantedError("the file is as it was")
        onnx.checker.check_model(editor.proto)
        file = folder / FILE
        file.write_bytes(editor.proto.SerializeToString(deterministic=True))
        return file

    return plant


def faults_of(kind: str, subject: str, edits: Mapping[str, Edit]) -> Iterator[Fault]:
    """Faults of one kind on one subject, by severity."""
    return (Fault(kind, severity, subject, edited(edit)) for severity, edit in edits.items())


def scaled(factor: float) -> Change:
    """Times a factor."""
    return lambda values: values * factor


def moved(offset: float) -> Change:
    """Plus an offset."""
    return lambda values: values + offset
