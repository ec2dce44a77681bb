"""From an ONNX graph to steps: each node with its implementation, its attributes and its bodies."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from onnx import (
    AttributeProto,
    FunctionProto,
    GraphProto,
    ModelProto,
    NodeProto,
    OperatorSetIdProto,
    TensorProto,
)

from onnxproof.validate.exact.arrays import Value
from onnxproof.validate.exact.block import Block, Lack, Step
from onnxproof.validate.exact.kinds import kinds_written
from onnxproof.validate.exact.later import Constant
from onnxproof.validate.exact.load import (
    NARROW,
    attribute_value,
    constant_value,
    free_names,
    holds_many,
    in_order,
    initializers,
    stored_kinds,
)
from onnxproof.validate.exact.operators import find
from onnxproof.validate.exact.reference import needs_types, reference_operator, schema_function, standard
from onnxproof.validate.exact.sizes import with_sizes_in_single

Kinds = Mapping[str, int]
Bindings = Mapping[str, AttributeProto]
CASTS = (("", "Cast"), ("", "CastLike"))
NOTHING: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True, slots=True, eq=False)
class _Found:
    """What computes a node, and with which attributes; ``lack`` if nothing does."""

    function: Callable[..., Any]
    attributes: Mapping[str, Any]
    lack: Lack | None


@dataclass(frozen=True, slots=True, eq=False)
class Compiler:
    """Compiles the graphs of one model.

    ``constants`` replaces initializers and outputs of Constant nodes by name; ``replaced`` collects the names
    that were found. ``numbers`` replaces float attributes, by the name of their node's first output, then by
    their own. ``folder`` has the external data; it is None if the model holds all of its numbers. If the
    constants are ``many``, large ones are made where they are read. Casts to a type in ``own`` do not round.
    """

    opsets: Mapping[str, int]
    functions: Mapping[tuple[str, str, str], FunctionProto]
    constants: Mapping[str, Constant]
    numbers: Mapping[str, Mapping[str, float]]
    folder: Path | None
    many: bool
    own: frozenset[int] = frozenset()
    replaced: set[str] = field(default_factory=set)

    @classmethod
    def of(
        cls,
        model: ModelProto,
        constants: Mapping[str, Constant],
        numbers: Mapping[tuple[str, str], float],
        folder: Path | None = None,
        own: Collection[str] = (),
    ) -> "Compiler":
        """The compiler of a model's graph."""
        functions = {(standard(one.domain), one.name, one.overload): one for one in model.functions}
        opsets = _opsets(model.opset_import)
        kinds = frozenset(kind for kind in NARROW if TensorProto.DataType.Name(kind).lower() in own)
        by_node: dict[str, dict[str, float]] = {}
        for (output, name), number in numbers.items():
            by_node.setdefault(output, {})[name] = number
        return cls(opsets, functions, constants, by_node, folder, holds_many(model.graph), kinds)

    def graph(self, graph: GraphProto, outer: Kinds = NOTHING, bindings: Bindings = NOTHING) -> Block:
        """A graph or a body.

        ``outer`` has the types of the values around it, ``bindings`` the attributes of the function call that
        it is in.
        """
        stored = initializers(graph, self.folder, many=self.many)
        declared = {value.name: value.type.tensor_type.elem_type for value in graph.input}
        return self._block(
            [value.name for value in graph.input if value.name not in stored],
            [value.name for value in graph.output],
            graph.node,
            {name: self._replaced(name, value) for name, value in stored.items()},
            {**outer, **declared, **stored_kinds(graph)},
            bindings,
        )

    def function(self, function: FunctionProto, node: NodeProto) -> Block:
        """The body of the function that ``node`` calls."""
        bindings = {one.name: one for one in (*function.attribute_proto, *node.attribute)}
        opsets = {**self.opsets, **_opsets(function.opset_import)}
        inner = replace(self, opsets=opsets)
        return inner._block(function.input, function.output, function.node, {}, {}, bindings)

    def _block(
        self,
        inputs: Sequence[str],
        outputs: Sequence[str],
        nodes: Sequence[NodeProto],
        constants: dict[str, Value],
        kinds: Kinds,
        bindings: Bindings,
    ) -> Block:
        known = dict(kinds)
        steps: list[Step] = []
        for written in in_order(nodes):
            node = _bound(written, bindings)
            known |= kinds_written(node, self._opset(node), known)
            if (standard(node.domain), node.op_type) == ("", "Constant"):
                name = node.output[0]
                constants[name] = self._replaced(name, constant_value(_attributes(node, self.folder)))
            else:
                steps.append(self._step(node, known, bindings))
        return Block.of(inputs, outputs, constants, with_sizes_in_single(steps, constants, self.constants))

    def _opset(self, node: NodeProto) -> int:
        return self.opsets.get(standard(node.domain), 1)

    def _replaced(self, name: str, value: Value) -> Value:
        if name not in self.constants:
            return value
        given = self.constants[name]
        if given.shape != value.shape or given.dtype != value.dtype:
            raise ValueError(
                f"constant {name} is {value.dtype}{list(value.shape)} in the graph, "
                f"got {given.dtype}{list(given.shape)} in its place"
            )
        self.replaced.add(name)
        return given

    def _step(self, node: NodeProto, kinds: Kinds, bindings: Bindings) -> Step:
        try:
            attributes = _attributes(node, self.folder)
        except NotImplementedError as error:
            lack = Lack.of(node, self._opset(node), str(error))
            return Step(
                node, self._opset(node), tuple(node.input), (), tuple(node.output), _nothing, {}, {}, lack
            )
        attributes = self._exact(node, attributes)
        graphs = {name: value for name, value in attributes.items() if isinstance(value, GraphProto)}
        blocks = {name: self.graph(body, kinds, bindings) for name, body in graphs.items()}
        captures = tuple(dict.fromkeys(name for body in graphs.values() for name in free_names(body)))
        found = self._found(node, attributes, kinds)
        step = Step(
            node,
            self._opset(node),
            (*node.input, *captures),
            captures,
            tuple(node.output),
            found.function,
            {name: value for name, value in found.attributes.items() if name not in graphs},
            blocks,
            found.lack,
        )
        # A branch that is not taken does no harm; the body of a loop runs most often.
        inside = [] if node.op_type == "If" else [lack for one in blocks.values() for lack in one.lacking()]
        return replace(step, lack=inside[0]) if inside and found.lack is None else step

    def _exact(self, node: NodeProto, attributes: Mapping[str, Any]) -> dict[str, Any]:
        """The attributes with the exact value of the floats among them, and of defaults that are left out."""
        exact = self.numbers.get(node.output[0], NOTHING) if node.output else NOTHING
        entry = find(standard(node.domain), node.op_type, self._opset(node))
        known = attributes.keys() | (frozenset() if entry is None else entry.keywords)
        given = {
            name: _in_place_of(attributes.get(name), number)
            for name, number in exact.items()
            if name in known
        }
        return {**attributes, **given}

    def _found(self, node: NodeProto, attributes: Mapping[str, Any], kinds: Kinds) -> _Found:
        domain, name, opset = standard(node.domain), node.op_type, self._opset(node)
        called = self.functions.get((domain, name, node.overload))
        if called is not None:
            return self._called(called, node)
        if (domain, name) == ("", "CastLike") and kinds.get(node.input[1]) in NARROW:
            attributes = {**attributes, "to": kinds[node.input[1]]}
        if (domain, name) in CASTS and attributes.get("to") in self.own:
            attributes = {**attributes, "to": TensorProto.DOUBLE}
        entry = find(domain, name, opset)
        if entry is None:
            return self._rare(node, attributes)
        reason = entry.refusal(node.input, attributes)
        told = entry.arguments(attributes, len(node.output), opset)
        return _Found(entry.function, told, None if reason is None else Lack.of(node, opset, reason))

    def _called(self, function: FunctionProto, node: NodeProto) -> _Found:
        block = self.function(function, node)
        return _Found(block.bound({}), {}, next(iter(block.lacking()), None))

    def _rare(self, node: NodeProto, attributes: Mapping[str, Any]) -> _Found:
        opset = self._opset(node)
        run = reference_operator(node, self.opsets, attributes)
        if run is not None:
            return _Found(run, {}, None)
        function = schema_function(node, opset)
        if function is not None:
            return self._called(function, node)
        if needs_types(node, opset):
            return _Found(self._by_types(node), {}, None)
        return _Found(_nothing, {}, Lack.of(node, opset, "it is not implemented in float64"))

    def _by_types(self, node: NodeProto) -> Callable[..., Any]:
        """A node as a function of which the body is known only when the inputs are."""

        def call(*values: Value) -> tuple[Value, ...]:
            function = schema_function(node, self._opset(node), values)
            assert function is not None
            return self.function(function, node).bound({})(*values)

        return call


def _in_place_of(value: Any, number: float) -> Any:
    """A number as the attribute's value was: a tensor if that was one."""
    return np.full_like(value, number) if isinstance(value, np.ndarray) else number


def _nothing(*_: Value) -> Value:
    raise AssertionError("a node that is not implemented was computed")


def _opsets(imported: Iterable[OperatorSetIdProto]) -> dict[str, int]:
    return {standard(entry.domain): entry.version for entry in imported}


def _attributes(node: NodeProto, folder: Path | None) -> dict[str, Any]:
    return {attribute.name: attribute_value(attribute, folder) for attribute in node.attribute}


def _bound(node: NodeProto, bindings: Bindings) -> NodeProto:
    """A copy of a node with its references to a function's attributes replaced by their values.

    It is a copy always: a part of a proto keeps the whole model in memory.
    """
    copied = NodeProto()
    copied.CopyFrom(node)
    del copied.attribute[:]
    for attribute in node.attribute:
        value = bindings.get(attribute.ref_attr_name) if attribute.ref_attr_name else attribute
        if value is None or value.type == AttributeProto.UNDEFINED:
            # The caller left the attribute out, so the operator's default holds.
            continue
        kept = copied.attribute.add()
        kept.CopyFrom(value)
        kept.name = attribute.name
    return copied
