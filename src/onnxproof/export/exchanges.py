"""Operators of a captured program in others that torch.onnx translates, without tracing the program again.

PyTorch defines each of them by the others (torch/_decomp, native_functions.yaml): they are composites.
"""

import operator
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, fx

aten = torch.ops.aten


def exchange(node: fx.Node) -> bool:
    """Exchange a node's operator for those that define it. Returns False if it is not one of those here."""
    target: Any = node.target
    name = target._schema.name.partition("::")[2]
    return name in EXCHANGES and EXCHANGES[name](node)


def _given(node: fx.Node) -> dict[str, Any]:
    """The arguments of a node by name, with the operator's defaults."""
    target: Any = node.target
    arguments = target._schema.arguments
    return {
        one.name: node.args[at] if at < len(node.args) else node.kwargs.get(one.name, one.default_value)
        for at, one in enumerate(arguments)
    }


def _put(node: fx.Node, target: Any, *arguments: Any, **options: Any) -> bool:
    node.target, node.args, node.kwargs = target, arguments, options
    return True


def _converted(node: fx.Node) -> bool:
    """``to``: nothing where the dtype stays, else ``_to_copy``."""
    x, made = node.args[0], node.meta.get("val")
    if not isinstance(x, fx.Node) or not isinstance(made, Tensor):
        return False
    if x.meta["val"].dtype == made.dtype and all(user.op != "output" for user in node.users):
        node.replace_all_uses_with(x)
        node.graph.erase_node(node)
        return True
    return _put(node, aten._to_copy.default, x, dtype=made.dtype)


def _normalised(node: fx.Node) -> bool:
    """``batch_norm`` in evaluation mode."""
    given = _given(node)
    if given["training"] or given["running_mean"] is None:
        return False
    made = node.meta["val"]
    with node.graph.inserting_before(node):
        whole = node.graph.call_function(
            aten._native_batch_norm_legit_no_training.default,
            tuple(
                given[name]
                for name in ("input", "weight", "bias", "running_mean", "running_var", "momentum", "eps")
            ),
        )
    whole.meta = {**node.meta, "val": (made, made.new_empty(0), made.new_empty(0))}
    return _put(node, operator.getitem, whole, 0)


def _averaged(node: fx.Node) -> bool:
    """``adaptive_avg_pool2d`` to one cell: the mean."""
    return list(node.args[1]) == [1, 1] and _put(node, aten.mean.dim, node.args[0], [-1, -2], True)  # type: ignore[arg-type]


def _transposed(axes: int) -> Callable[[fx.Node], bool]:
    """``conv_transpose1d`` to ``3d``: ``convolution``, transposed."""

    def exchanged(node: fx.Node) -> bool:
        given = _given(node)
        sizes = {
            name: [value] * axes if isinstance(value, int) else list(value) * (axes // len(value))
            for name, value in given.items()
            if name in ("stride", "padding", "output_padding", "dilation")
        }
        return _put(
            node,
            aten.convolution.default,
            *(given["input"], given["weight"], given["bias"], sizes["stride"], sizes["padding"]),
            *(sizes["dilation"], True, sizes["output_padding"], given["groups"]),
        )

    return exchanged


def _meshed(node: fx.Node) -> bool:
    """``meshgrid``, rows first: each vector along its own axis, repeated along the others."""
    given = _given(node)
    if given.get("indexing", "ij") != "ij" or any(user.target is not operator.getitem for user in node.users):
        return False
    vectors, graph = given["tensors"], node.graph
    with graph.inserting_before(node):
        sizes = [_size_of(one) for one in vectors]
    for user in list(node.users):
        at: Any = user.args[1]
        shape = [-1 if axis == at else 1 for axis in range(len(vectors))]
        with graph.inserting_before(user):
            along = graph.call_function(aten.view.default, (vectors[at], shape))
        along.meta = {**user.meta, "val": vectors[at].meta["val"].view(shape)}
        _put(user, aten.expand.default, along, sizes)
    graph.erase_node(node)
    return True


def _size_of(vector: fx.Node) -> fx.Node | int:
    """How many elements a vector has: a node if that is no fixed number."""
    size = vector.meta["val"].shape[0]
    if isinstance(size, int):
        return size
    made = vector.graph.call_function(aten.sym_size.int, (vector, 0))
    made.meta = {"val": size}
    return made


def _bitwise(target: Any) -> Callable[[fx.Node], bool]:
    return lambda node: node.target._overloadname == "Tensor" and _put(node, target, *node.args)  # type: ignore[union-attr]


EXCHANGES: Mapping[str, Callable[[fx.Node], bool]] = {
    "__and__": _bitwise(aten.bitwise_and.Tensor),
    "__or__": _bitwise(aten.bitwise_or.Tensor),
    "__xor__": _bitwise(aten.bitwise_xor.Tensor),
    "adaptive_avg_pool2d": _averaged,
    "batch_norm": _normalised,
    "conv_transpose1d": _transposed(1),
    "conv_transpose2d": _transposed(2),
    "conv_transpose3d": _transposed(3),
    "meshgrid": _meshed,
    "to": _converted,
}
