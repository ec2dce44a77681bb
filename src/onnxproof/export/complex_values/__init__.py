"""Programs with complex values, in real ones. ONNX has complex dtypes but no operators for them.

A complex value becomes two real ones, its parts. Each operator on complex values is decomposed into
operators on the parts. What is left are Fourier transforms, which torch's exporter writes as DFT, and
complex parameters, which it stores as pairs along a last axis.
"""

from collections.abc import Collection, Iterator
from functools import partial
from typing import Any

import torch
from torch.fx import GraphModule, Node

from onnxproof.export.complex_values.pairs import is_complex
from onnxproof.export.complex_values.rules import BY_NAME, Rule

aten = torch.ops.aten

MAKERS = frozenset((aten.polar.default, aten.view_as_complex.default, aten.view_as_complex_copy.default))
"""Operators that make complex values of real ones."""

LEVELS = 8
"""How often operators are decomposed at most: what a composite operator is made of may be composite, too."""

KEPT = frozenset((aten.stft.default,))
"""Composite operators that torch's exporter writes as one of ONNX."""


def in_real_values(
    program: torch.export.ExportedProgram, kept: Collection[Any] = ()
) -> torch.export.ExportedProgram:
    """The same program without operators on complex values, as far as there are rules for them.

    The operators ``kept`` stay as they are.
    """
    if not _left(program, kept):
        return program
    own = {op: partial(_apply, rule, op) for name, rule in BY_NAME.items() for op in _overloads(name)}
    rules = {op: rule for op, rule in own.items() if op not in kept}
    composites = torch.export.default_decompositions()
    for _ in range(LEVELS):
        left = _left(program, kept)
        parts = {op: composites[op] for op in left if op in composites and op not in rules}
        if not parts and not any(op in rules or op._schema.is_mutable for op in left):
            break
        program = program.run_decompositions({**rules, **parts})
    for module in _graphs(program):
        _cancel(module)
    return program


def _left(program: torch.export.ExportedProgram, kept: Collection[Any]) -> set[Any]:
    """The operators on complex values."""
    return {
        node.target
        for module in _graphs(program)
        for node in module.graph.nodes
        if isinstance(node.target, torch._ops.OpOverload) and _is_of_complex(node)
    }.difference(KEPT, kept)


def _is_of_complex(node: Node) -> bool:
    """Whether a node computes, or is given, a complex value."""
    values = [node.meta.get("val"), *(given.meta.get("val") for given in node.all_input_nodes)]
    return any(map(is_complex, values))


def _graphs(program: torch.export.ExportedProgram) -> list[GraphModule]:
    return [module for module in program.graph_module.modules() if isinstance(module, GraphModule)]


def _apply(rule: Rule, op: Any, *args: Any, **kwargs: Any) -> Any:
    """What the rule makes of a call. Returns NotImplemented if there is nothing complex in it."""
    if op in MAKERS or is_complex(args) or is_complex(tuple(kwargs.values())):
        return rule(op, *args, **kwargs)
    return NotImplemented


def _overloads(name: str) -> Iterator[Any]:
    packet = getattr(aten, name, None)
    for overload in () if packet is None else packet.overloads():
        op = getattr(packet, overload)
        if not op._schema.is_mutable:
            yield op


def _cancel(module: GraphModule) -> None:
    """Replace a part of a value that was joined from parts by that part.

    A part may lie in memory in another way than it did in the joined value, so views become reshapes.
    """
    for node in list(module.graph.nodes):
        if node.target is aten.view.default:
            node.target = aten.reshape.default
        elif node.target is aten.sym_size.int and is_complex(node.args[0].meta["val"]):
            _measure_pairs(module, node)
        elif node.target is aten.view_as_real.default and node.args[0].target is aten.complex.default:
            _use_parts(module, node, node.args[0].args)
    module.graph.eliminate_dead_code()
    module.recompile()


def _measure_pairs(module: GraphModule, node: Node) -> None:
    """Take a size of a complex value from its pairs: torch's exporter has no sizes of complex values."""
    value: Any = node.args[0]
    with module.graph.inserting_before(node):
        pairs = module.graph.call_function(aten.view_as_real.default, (value,))
    pairs.meta["val"] = torch.ops.aten.view_as_real.default(value.meta["val"])
    node.args = (pairs, int(node.args[1]) % value.meta["val"].dim())  # type: ignore[arg-type]


def _use_parts(module: GraphModule, pairs: Node, parts: tuple[Any, ...]) -> None:
    """Replace what is made of the pairs of a joined value by what is made of its parts."""
    users: list[Any] = list(pairs.users)
    for user in users:
        if user.target is aten.select.int and user.args[1] in (-1, len(pairs.meta["val"].shape) - 1):
            user.replace_all_uses_with(parts[user.args[2]])
            module.graph.erase_node(user)
    if pairs.users:
        with module.graph.inserting_before(pairs):
            stacked = module.graph.call_function(aten.stack.default, (list(parts), -1))
            stacked.meta = dict(pairs.meta)
        pairs.replace_all_uses_with(stacked)
    module.graph.erase_node(pairs)
