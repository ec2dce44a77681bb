"""What torch.export took for granted of the declared sizes, and whether it holds.

torch.export follows one way through the code. Where that way depends on sizes and it cannot prove that all
sizes take it, it writes an assertion into its program. Others it drops without a word: it narrows the range
of a size (``linspace`` with as many steps as the input is high: 2.15), or has no operators for the condition
(``int(n / 2)``). ONNX has no assertions. So each condition is evaluated here at the declared sizes. If one is
false at some size, the program and the module run at that size: if they answer alike, nothing depends on it.
"""

import contextlib
import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sympy
import torch
from torch import Tensor, nn

from onnxproof.contract import Contract
from onnxproof.export.alike import answer_alike, tensors_of
from onnxproof.export.examples import example_inputs
from onnxproof.export.guards import Axis, Guards, told
from onnxproof.system.usercode import Place, place_in_trace
from onnxproof.tensors import Dim, TensorSpec
from onnxproof.wrappers.weights import held_in

MOST_POINTS = 1024
"""How many combinations of sizes an assertion is evaluated at: all, if there are no more."""

PICKED = 16
"""How many sizes of a dim are picked if there are more combinations than that: the ends and a spread."""

TRIED = 2
"""At how many of the sizes that contradict an assertion the program runs."""


@dataclass(frozen=True, slots=True)
class Broken:
    """What was wrongly taken for granted, in words, and the sizes of dims at which it is wrong."""

    told: str
    point: Mapping[str, int]


def broken_assumption(
    exported: torch.export.ExportedProgram,
    module: nn.Module,
    contract: Contract,
    dims: Mapping[str, Dim],
    sizes: Mapping[str, int],
    guards: Guards,
) -> Broken | None:
    """What torch.export wrongly took for granted, where, and at which size it is wrong.

    ``guards`` are the conditions that were collected while it followed the module. Returns None if all that
    it took for granted holds at the declared sizes, or if nothing that is compared depends on it.
    """
    inputs = contract.inputs
    axes = {**guards.axes(dims), **_axes(exported, inputs, dims)}
    stripped: nn.Module | None = None
    seen = set()
    for expression, at in (*_asserted(exported), *guards.forgotten, *_narrowed(exported, axes, guards)):
        if expression in seen or not {*expression.free_symbols} <= axes.keys():
            continue
        seen.add(expression)
        wrong = list(itertools.islice(_contradictions(expression, axes), TRIED))
        if wrong and stripped is None:
            stripped = _without_assertions(exported)
        for point in wrong:
            assert stripped is not None
            if not _answers_alike(module, stripped, example_inputs(inputs, {**sizes, **point}), contract):
                return Broken(_wrong(told(expression, axes), at, point), point)
    return None


def frozen_sizes(guards: Guards, dims: Mapping[str, Dim]) -> tuple[str, ...]:
    """What a capture that failed had taken for granted, where, and at which declared size it is wrong.

    A condition without a known line is left out.
    """
    axes = guards.axes(dims)
    found = {}
    for expression, at in guards.conditions:
        if at is None or at in found or not {*expression.free_symbols} <= axes.keys():
            continue
        point = next(_contradictions(expression, axes), None)
        if point is not None:
            found[at] = _wrong(told(expression, axes), at, point)
    return tuple(found.values())


def _wrong(condition: str, at: Place | None, point: Mapping[str, int]) -> str:
    shown = ", ".join(f"{name} = {size}" for name, size in point.items())
    return f"it took {condition} for granted{f' at {at}' if at else ''}, which is wrong for {shown}"


def _asserted(exported: torch.export.ExportedProgram) -> Iterator[tuple[Any, Place | None]]:
    """The conditions that the program asserts, each with the line of the code that asked."""
    for node in exported.graph.nodes:
        if node.target is torch.ops.aten._assert_scalar.default:
            condition = getattr(node.args[0], "meta", {}).get("val", node.args[0])
            expression = getattr(getattr(condition, "node", None), "expr", None)
            if expression is not None:
                yield expression, place_in_trace(node.meta.get("stack_trace") or "")


def _narrowed(
    exported: torch.export.ExportedProgram, axes: Mapping[Any, Axis], guards: Guards
) -> Iterator[tuple[Any, Place | None]]:
    """The ranges of sizes that are narrower than declared, as conditions, in the inputs' order of axes."""
    for symbol, axis in axes.items():
        if symbol not in exported.range_constraints:
            continue
        allowed, dim, factor = exported.range_constraints[symbol], axis.dim, axis.factor
        if allowed.lower == allowed.upper and dim.min != dim.max:
            yield sympy.Eq(symbol, allowed.lower), guards.about(symbol)
        elif allowed.lower > dim.min // factor or allowed.upper < dim.max // factor:
            yield sympy.And(symbol >= allowed.lower, symbol <= allowed.upper), guards.about(symbol)


def _axes(
    exported: torch.export.ExportedProgram, inputs: Sequence[TensorSpec], dims: Mapping[str, Dim]
) -> dict[Any, Axis]:
    """The dim behind each of the program's symbols. A step of a dim is a factor times its symbol."""
    names = exported.graph_signature.user_inputs
    by_name = {node.name: node for node in exported.graph.nodes if node.op == "placeholder"}
    found = {}
    for name, spec in zip(names, inputs, strict=True):
        for size, axis in zip(by_name[str(name)].meta["val"].shape, spec.shape, strict=True):
            if isinstance(size, torch.SymInt) and isinstance(axis, str):
                factor, symbol = size.node.expr.as_coeff_Mul()
                if symbol.is_Symbol:
                    found[symbol] = Axis(dims[axis], int(factor))
    return found


def _contradictions(expression: Any, axes: Mapping[Any, Axis]) -> Iterator[dict[str, int]]:
    """The declared sizes at which an expression is false, the smallest first."""
    symbols = sorted(expression.free_symbols, key=str)
    dims = list({axes[symbol].dim.name: axes[symbol].dim for symbol in symbols}.values())
    sizes: list[Sequence[int]] = [_declared(dim) for dim in dims]
    if math.prod(map(len, sizes)) > MOST_POINTS:
        sizes = [_picked(_declared(dim)) for dim in dims]
    for chosen in itertools.islice(itertools.product(*sizes), MOST_POINTS):
        point = {dim.name: size for dim, size in zip(dims, chosen, strict=True)}
        values = {symbol: point[axes[symbol].dim.name] // axes[symbol].factor for symbol in symbols}
        if expression.subs(values) is sympy.false:
            yield point


def _declared(dim: Dim) -> range:
    return range(dim.min, dim.max + 1, dim.multiple)


def _picked(sizes: range) -> Sequence[int]:
    last = len(sizes) - 1
    return sorted({sizes[round(last * at / (PICKED - 1))] for at in range(PICKED)})


def _without_assertions(exported: torch.export.ExportedProgram) -> nn.Module:
    program = exported.module()
    graph = program.graph
    for node in reversed(list(graph.nodes)):
        if node.target is torch.ops.aten._assert_scalar.default or node.target == "_guards_fn":
            graph.erase_node(node)
    graph.eliminate_dead_code()
    program.recompile()
    return program


def _answers_alike(
    module: nn.Module, program: nn.Module, inputs: tuple[Tensor, ...], contract: Contract
) -> bool:
    """Whether the program answers as the module does, where answers are compared.

    Where the module itself refuses, nothing is lost.
    """
    try:
        wanted = tensors_of(module(*inputs))
    except Exception:  # noqa: BLE001 - the user's code
        return True
    with contextlib.suppress(Exception):
        return answer_alike(contract, inputs, wanted, tensors_of(program(*inputs)), held_in(module))
    return False
