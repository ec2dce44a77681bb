"""Have torch.onnx trace a program a second time only where that changes something.

Before it translates a program, torch.onnx traces it once more: operators that it has no translation of are
decomposed, and those that write to their argument are replaced by ones that do not. That is a third to a
half of what an export costs, and changes nothing in a program of operators that all have a translation and
write to nothing. Such a program is translated as it is; if that fails, as torch.onnx would have.
"""

import contextlib
import copy
import operator
from collections.abc import Collection, Iterator
from typing import Any

import torch
from torch import Tensor, fx

from onnxproof.export.exchanges import DROPOUTS, exchange
from onnxproof.export.promotions import values_known
from onnxproof.export.unread import sources_unread

ASSERTIONS = {
    torch.ops.aten.sym_constrain_range_for_size.default,
    torch.ops.aten._assert_async.default,
    torch.ops.aten._assert_async.msg,
    torch.ops.aten._assert_scalar.default,
    torch.ops.aten._assert_tensor_metadata.default,
}
"""What torch.onnx drops before it translates."""

OF_SIZES = {"_operator", "operator", "math", "torch"}
"""The modules whose functions compute with symbolic sizes in a program: ``operator.mul``, for example."""

OWN_RESULT = {
    *("conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d", "linear"),
    *("batch_norm", "group_norm", "layer_norm", "instance_norm", "matmul", "bmm", "cat"),
    *("add", "sub", "mul", "div"),
}
"""Operators whose result is new memory: nothing else is changed by writing to it."""


def translate(program: torch.export.ExportedProgram, **options: Any) -> torch.onnx.ONNXProgram:
    """``torch.onnx.export`` of a captured program. Raises what that raises."""
    with _second_trace_spared() as spared:
        try:
            return _export(program, **options)
        except Exception:
            if not spared:
                raise
    return _export(program, **options)


def _export(program: torch.export.ExportedProgram, **options: Any) -> torch.onnx.ONNXProgram:
    with values_known(), sources_unread():
        made = torch.onnx.export(program, dynamo=True, verbose=False, **options)
    assert made is not None
    return made


@contextlib.contextmanager
def _second_trace_spared() -> Iterator[list[bool]]:
    """Inside, torch.onnx takes a program as it is where it can. The list gets an entry for each such program.

    Does nothing if this version of torch.onnx traces in another place.
    """
    spared: list[bool] = []
    try:
        from torch.onnx._internal.exporter import _decomp, _fx_passes  # noqa: PLC0415 - another torch may lack it

        passes: Any = _fx_passes
        decompose, translated = passes.decompose_with_registry, _decomp.get_onnx_implemented_overloads
    except (ImportError, AttributeError):
        yield spared
        return

    def as_it_is(program: torch.export.ExportedProgram, registry: Any) -> torch.export.ExportedProgram:
        ready = functional(program, set(translated(registry)))
        if ready is None:
            traced: torch.export.ExportedProgram = decompose(program, registry)
            return traced
        spared.append(True)
        return ready

    passes.decompose_with_registry = as_it_is
    try:
        yield spared
    finally:
        passes.decompose_with_registry = decompose


def functional(
    program: torch.export.ExportedProgram, translated: Collection[Any]
) -> torch.export.ExportedProgram | None:
    """The program, with operators that write to nothing and are all among those ``translated``.

    Returns None if that needs more than to exchange ``relu_`` and its like for ``relu``.
    """
    if any(name for name, _ in program.graph_module.named_modules()):
        return None
    module = copy.deepcopy(program.graph_module)
    for node, original in zip(module.graph.nodes, program.graph_module.graph.nodes, strict=True):
        node.name = original.name  # which a copy changes if it is that of one of Python's builtins: "input"
    for node in list(module.graph.nodes):
        if node.op in ("placeholder", "output"):
            continue
        if node.op != "call_function":
            return None
        if isinstance(node.target, torch._ops.OpOverload):
            if node.target in ASSERTIONS:
                continue
            if node.target in DROPOUTS and exchange(node):
                continue
            if node.target._schema.is_mutable:
                node.target = _without_writing(node)
            if node.target not in translated and not (node.target is not None and exchange(node)):
                return None
        elif getattr(node.target, "__module__", None) not in OF_SIZES:
            return None
    module.recompile()
    ready = copy.copy(program)
    ready._graph_module = module
    return ready


def _without_writing(node: fx.Node) -> Any:
    """The operator that returns what this one writes to its first argument.

    Returns None if there is none, or if somebody else may see what is written.
    """
    target: Any = node.target
    schema = target._schema
    written = [one for one in schema.arguments if one.alias_info is not None and one.alias_info.is_write]
    name = schema.name.partition("::")[2]
    packet = getattr(torch.ops.aten, name.removesuffix("_"), None)
    x = node.args[0] if node.args else None
    if (
        not name.endswith("_")
        or packet is None
        or name == "copy_"  # which spreads a smaller tensor, and copy does not
        or len(written) != 1
        or written[0].name != schema.arguments[0].name
        or not isinstance(x, fx.Node)
        or set(x.users) != {node}
        or not _is_new(x)
        or not _of_one_dtype(node)
    ):
        return None
    return getattr(packet, target._overloadname, None)


def _is_new(node: fx.Node) -> bool:
    """Whether a value is new memory, and no view of another one."""
    if node.target is operator.getitem and isinstance(node.args[0], fx.Node):
        return _is_new(node.args[0])
    if not isinstance(node.target, torch._ops.OpOverload):
        return False
    schema = node.target._schema
    if any(one.alias_info is not None for one in (*schema.returns, *schema.arguments)):
        # What wrote in place was exchanged already if it could be.
        return False
    composite = torch._C._dispatch_has_kernel_for_dispatch_key(
        _dispatched(schema), torch._C.DispatchKey.CompositeImplicitAutograd
    )
    return not composite or schema.name.partition("::")[2] in OWN_RESULT


def _dispatched(schema: Any) -> str:
    """The name by which an operator is dispatched."""
    return f"{schema.name}.{schema.overload_name}" if schema.overload_name else str(schema.name)


def _of_one_dtype(node: fx.Node) -> bool:
    """Whether all tensors that go into and out of a node have one dtype: in place, the result keeps that of
    what is written to."""
    values = [one.meta.get("val") for one in (node, *node.all_input_nodes)]
    return len({value.dtype for value in values if isinstance(value, Tensor)}) == 1
