"""Follow a graph's shapes at concrete sizes of its inputs, without running it.

Each node's output types come from ONNX's own shape inference, fed with what is known of the node's inputs.
Small integers and floats (sizes, mostly) are computed by ONNX's reference implementation on the way, so that
a Reshape behind Shape, Gather, Div and Concat is followed too. What depends on the data is not known, and
neither is what comes after it.
"""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
import onnx.inliner
from numpy.typing import NDArray
from onnx import TypeProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from onnx.shape_inference import InferenceError, infer_node_outputs

from onnxproof.validate.hazards._graph import STANDARD, attribute_of, bodies_of, constant_of, opset_of

Array = NDArray[Any]
Shape = tuple[int, ...]

SMALL = 512
"""The most elements of a tensor whose values are computed: shapes, scales and the like have fewer."""

RANDOM = frozenset(
    "Bernoulli Multinomial RandomNormal RandomNormalLike RandomUniform RandomUniformLike".split()
)

KEEPS_SHAPE = frozenset("LSTM GRU RNN".split())


@dataclass(slots=True)
class Probe:
    """What a walk found at one set of sizes: types and small values by name, and by the node's position the
    reason why a node cannot take what it is given."""

    sizes: Mapping[str, int]
    types: dict[str, TypeProto] = field(default_factory=dict)
    values: dict[str, Array] = field(default_factory=dict)
    conflicts: dict[int, str] = field(default_factory=dict)

    def shape(self, name: str) -> Shape | None:
        """The shape of a tensor; None where an axis of it, or all of it, is not known."""
        kind = self.types.get(name)
        if kind is None or not kind.HasField("tensor_type") or not kind.tensor_type.HasField("shape"):
            return None
        axes = kind.tensor_type.shape.dim
        return tuple(axis.dim_value for axis in axes) if all(map(_known, axes)) else None


def _known(axis: onnx.TensorShapeProto.Dimension) -> bool:
    return bool(axis.HasField("dim_value"))


class Skeleton:
    """A graph to follow: its functions inlined, its weights as shapes only."""

    def __init__(self, proto: onnx.ModelProto) -> None:
        light = _without_weights(proto)
        if proto.functions:
            light = onnx.inliner.inline_local_functions(light)
        self.graph = light.graph
        self.nodes: Sequence[onnx.NodeProto] = list(light.graph.node)
        self.maker = {name: position for position, node in enumerate(self.nodes) for name in node.output}
        self._opsets = list(light.opset_import)
        self._opset = opset_of(light)
        self._evaluators: dict[int, ReferenceEvaluator | None] = {}
        self._schemas: dict[str, Any] = {}
        self._constants = {
            tensor.name: numpy_helper.to_array(tensor)
            for tensor in proto.graph.initializer
            if _is_small(tensor)
        }
        self._stored = {
            tensor.name: helper.make_tensor_type_proto(tensor.data_type, list(tensor.dims))
            for tensor in proto.graph.initializer
        }

    def inputs(self) -> Iterator[onnx.ValueInfoProto]:
        """The graph's inputs that are tensors and not initializers."""
        for value in self.graph.input:
            if value.name not in self._stored and value.type.HasField("tensor_type"):
                yield value

    def follow(self, sizes: Mapping[str, int], shapes: Mapping[str, Shape]) -> Probe:
        """Walk the graph with inputs of these shapes; ``sizes`` are what the walk is called by."""
        probe = Probe(sizes, dict(self._stored), dict(self._constants))
        for value in self.inputs():
            if value.name in shapes:
                kind = helper.make_tensor_type_proto(
                    value.type.tensor_type.elem_type, list(shapes[value.name])
                )
                probe.types[value.name] = kind
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            for position, node in enumerate(self.nodes):
                self._step(position, node, probe)
        return probe

    def _step(self, position: int, node: onnx.NodeProto, probe: Probe) -> None:
        if node.op_type == "Constant" and node.domain in STANDARD:
            tensor = constant_of(node.attribute[0]) if node.attribute else None
            if tensor is not None:
                dims = list(tensor.dims)
                probe.types[node.output[0]] = helper.make_tensor_type_proto(tensor.data_type, dims)
                if _is_small(tensor):
                    probe.values[node.output[0]] = numpy_helper.to_array(tensor)
            return
        given = [name for name in node.input if name]
        if node.domain not in STANDARD or any(name not in probe.types for name in given):
            return
        if any(True for _ in bodies_of(node)):
            return
        fault = own_fault(node, probe)
        if fault is None:
            fault = self._infer(node, given, probe)
        if fault is not None:
            probe.conflicts[position] = fault
            return
        self._compute(position, node, given, probe)

    def _infer(self, node: onnx.NodeProto, given: Sequence[str], probe: Probe) -> str | None:
        """Put the node's output types into the probe; the reason where its inputs do not go together."""
        try:
            schema = self._schema(node.op_type)
        except onnx.defs.SchemaError:
            return None
        types = {name: probe.types[name] for name in given}
        known = {
            name: numpy_helper.from_array(probe.values[name], name) for name in given if name in probe.values
        }
        try:
            found = infer_node_outputs(schema, node, types, known, opset_imports=self._opsets)
        except InferenceError as error:
            return str(error).partition("] ")[2].strip() or str(error)
        except (RuntimeError, ValueError, TypeError, onnx.checker.ValidationError):
            return None
        probe.types.update(found)
        return None

    def _schema(self, operator: str) -> Any:
        if operator not in self._schemas:
            self._schemas[operator] = onnx.defs.get_schema(operator, self._opset, "")
        return self._schemas[operator]

    def _compute(self, position: int, node: onnx.NodeProto, given: Sequence[str], probe: Probe) -> None:
        """Put the values of small outputs into the probe, where those of all inputs are known."""
        if node.op_type in ("Shape", "Size"):
            shape = probe.shape(node.input[0])
            if shape is None:
                return
            stop = attribute_of(node, "end", len(shape))
            sides = np.array(shape[attribute_of(node, "start", 0) : stop], np.int64)
            probe.values[node.output[0]] = sides if node.op_type == "Shape" else np.array(np.prod(shape))
            return
        if node.op_type in RANDOM or any(name not in probe.values for name in given):
            return
        shapes = [probe.shape(name) for name in node.output if name]
        if any(shape is not None and np.prod(shape) > SMALL for shape in shapes):
            return
        if None in shapes and node.op_type in ("Range", "ConstantOfShape", "Expand", "Tile", "OneHot"):
            return
        evaluator = self._evaluator(position, node)
        if evaluator is None:
            return
        try:
            found = evaluator.run(None, {name: probe.values[name] for name in given})
        except Exception:  # noqa: BLE001
            # The reference implementation raises what NumPy and its own code raise: any type at all.
            return
        for name, value in zip((name for name in node.output if name), found, strict=False):
            array = np.asarray(value)
            if array.size <= SMALL:
                probe.values[name] = array
                kind = helper.np_dtype_to_tensor_dtype(array.dtype)
                probe.types[name] = helper.make_tensor_type_proto(kind, list(array.shape))

    def _evaluator(self, position: int, node: onnx.NodeProto) -> ReferenceEvaluator | None:
        if position not in self._evaluators:
            graph = onnx.GraphProto(name="one", node=[node])
            graph.input.extend(onnx.ValueInfoProto(name=name) for name in dict.fromkeys(node.input) if name)
            graph.output.extend(onnx.ValueInfoProto(name=name) for name in node.output if name)
            model = onnx.ModelProto(ir_version=8, graph=graph, opset_import=self._opsets)
            try:
                self._evaluators[position] = ReferenceEvaluator(model)
            except Exception:  # noqa: BLE001
                # Of an operator that it does not have.
                self._evaluators[position] = None
        return self._evaluators[position]


def own_fault(node: onnx.NodeProto, probe: Probe) -> str | None:
    """What ONNX's shape inference lets pass: a Reshape to another number of elements, a recurrence's first
    state of another batch."""
    if node.op_type == "Reshape" and len(node.input) == 2:
        shape, target = probe.shape(node.input[0]), probe.values.get(node.input[1])
        if shape is None or target is None or attribute_of(node, "allowzero", 0):
            return None
        if any(size == 0 and axis >= len(shape) for axis, size in enumerate(target)):
            return None
        sides = [shape[axis] if size == 0 else int(size) for axis, size in enumerate(target)]
        count, named = int(np.prod(shape)), int(np.prod([size for size in sides if size != -1]))
        fits = count == named if -1 not in sides else bool(named) and count % named == 0
        return None if fits else f"{count} elements do not make {[int(size) for size in target]}"
    if node.op_type in KEEPS_SHAPE and not attribute_of(node, "layout", 0):
        fed = probe.shape(node.input[0])
        for name in node.input[5:7]:
            state = probe.shape(name) if name else None
            if fed is not None and state is not None and state[1:2] != fed[1:2]:
                return f"its first state is for a batch of {state[1]}"
    return None


def _is_small(tensor: onnx.TensorProto) -> bool:
    inside = tensor.data_location != onnx.TensorProto.EXTERNAL
    return inside and tensor.data_type != onnx.TensorProto.STRING and np.prod(tensor.dims) <= SMALL


def _without_weights(proto: onnx.ModelProto) -> onnx.ModelProto:
    """A copy of the graph and its functions, its initializers left out."""
    light = onnx.ModelProto(ir_version=proto.ir_version, opset_import=proto.opset_import)
    light.functions.extend(proto.functions)
    light.graph.name = proto.graph.name or "graph"
    light.graph.node.extend(proto.graph.node)
    light.graph.input.extend(proto.graph.input)
    light.graph.output.extend(proto.graph.output)
    return light
