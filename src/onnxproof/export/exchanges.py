"""Operators of a captured program in others that torch.onnx translates, without tracing the program again.

PyTorch defines each of them by the others (torch/_decomp, native_functions.yaml): they are composites.
"""

import operator
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, fx

aten = torch.ops.aten

LAST = 2**63 - 1
"""The end of a slice that goes to the last element."""

IN_THEIR_OWN = (torch.float32, torch.float64)
"""The dtypes in which PyTorch computes what is given in them."""


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
    """``batch_norm`` in evaluation mode, or by the batch's own statistics if it keeps none."""
    given = _given(node)
    named: tuple[str, ...]
    if given["running_mean"] is None:
        target = aten._native_batch_norm_legit.no_stats
        named = ("input", "weight", "bias", "training", "momentum", "eps")
    elif not given["training"]:
        target = aten._native_batch_norm_legit_no_training.default
        named = ("input", "weight", "bias", "running_mean", "running_var", "momentum", "eps")
    else:
        return False
    made = node.meta["val"]
    with node.graph.inserting_before(node):
        whole = node.graph.call_function(target, tuple(given[name] for name in named))
    whole.meta = {**node.meta, "val": (made, made.new_empty(0), made.new_empty(0))}
    return _put(node, operator.getitem, whole, 0)


def _passed_on(node: fx.Node) -> bool:
    """A dropout in evaluation mode: nothing."""
    x = node.args[0]
    if not isinstance(x, fx.Node) or _given(node)["train"] or any(user.op == "output" for user in node.users):
        return False
    node.replace_all_uses_with(x)
    node.graph.erase_node(node)
    return True


def _varied(node: fx.Node) -> bool:
    """``var`` and ``std``: the variance, its root, and the axes that are kept."""
    given, x = _given(node), node.args[0]
    if not isinstance(x, fx.Node) or x.meta["val"].dtype not in IN_THEIR_OWN or not x.meta["val"].ndim:
        return False  # PyTorch sums half precision in float32
    if "correction" in given:
        correction = 1 if given["correction"] is None else given["correction"]
    else:
        correction = int(given["unbiased"])
    rank = x.meta["val"].ndim
    axes = sorted(axis % rank for axis in given.get("dim") or range(rank))
    steps: list[tuple[Any, tuple[Any, ...]]] = [(torch.ops.prims.var.default, (axes, float(correction)))]
    if node.target._schema.name == "aten::std":  # type: ignore[union-attr]
        steps.append((aten.sqrt.default, ()))
    if given.get("keepdim"):
        steps += ((aten.unsqueeze.default, (axis,)) for axis in axes)
    value, made = x.meta["val"].mean(axes), x
    *first, (last, rest) = steps
    for target, arguments in first:
        with node.graph.inserting_before(node):
            made = node.graph.call_function(target, (made, *arguments))
        value = value.unsqueeze(*arguments) if target is aten.unsqueeze.default else value
        made.meta = {**node.meta, "val": value}
    return _put(node, last, made, *rest)


def _as_shaped(node: fx.Node) -> bool:
    """``reshape_as``: ``reshape`` to the other's sizes."""
    x, other = node.args
    assert isinstance(other, fx.Node)
    with node.graph.inserting_before(node):
        sizes = [_size_of(other, axis) for axis in range(other.meta["val"].ndim)]
    return _put(node, aten.reshape.default, x, sizes)


def _differed(node: fx.Node) -> bool:
    """``diff``, once: all but the first, less all but the last."""
    given = _given(node)
    made, axis, graph = node.meta["val"], given["dim"], node.graph
    if given["n"] != 1 or made.dtype == torch.bool:
        return False
    joined: Any = [part for part in (given["prepend"], given["self"], given["append"]) if part is not None]
    whole = made.new_empty([size + (at == axis % made.ndim) for at, size in enumerate(made.shape)])
    with graph.inserting_before(node):
        x = joined[0] if len(joined) == 1 else graph.call_function(aten.cat.default, (joined, axis))
        before = graph.call_function(aten.slice.Tensor, (x, axis, 0, -1))
        after = graph.call_function(aten.slice.Tensor, (x, axis, 1, LAST))
    if len(joined) > 1:
        x.meta = {**node.meta, "val": whole}
    before.meta, after.meta = dict(node.meta), dict(node.meta)
    return _put(node, aten.sub.Tensor, after, before)


def _padded(node: fx.Node) -> bool:
    """``conv1d`` to ``3d`` with "same" or "valid" padding: ``convolution``, if both sides get as much."""
    given = _given(node)
    if given["padding"] not in ("same", "valid"):
        return False
    kernel = given["weight"].meta["val"].shape[2:]
    axes = len(kernel)
    stride, dilation = ([*given[name]] * (axes // len(given[name])) for name in ("stride", "dilation"))
    spread = given["padding"] == "same"
    both = [(size - 1) * step if spread else 0 for size, step in zip(kernel, dilation, strict=True)]
    if any(size % 2 for size in both):
        return False
    return _put(
        node,
        aten.convolution.default,
        *(given["input"], given["weight"], given["bias"], stride, [size // 2 for size in both]),
        *(dilation, False, [0] * axes, given["groups"]),
    )


def _taken_out(node: fx.Node) -> bool:
    """``item``: the number in a tensor of one element."""
    return _put(node, aten._local_scalar_dense.default, *node.args)


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
        sizes = [_size_of(one, 0) for one in vectors]
    for user in list(node.users):
        at: Any = user.args[1]
        shape = [-1 if axis == at else 1 for axis in range(len(vectors))]
        with graph.inserting_before(user):
            along = graph.call_function(aten.view.default, (vectors[at], shape))
        along.meta = {**user.meta, "val": vectors[at].meta["val"].view(shape)}
        _put(user, aten.expand.default, along, sizes)
    graph.erase_node(node)
    return True


def _size_of(value: fx.Node, axis: int) -> fx.Node | int:
    """The size of a tensor's axis: a node if that is no fixed number."""
    size = value.meta["val"].shape[axis]
    if isinstance(size, int):
        return size
    made = value.graph.call_function(aten.sym_size.int, (value, axis))
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
    "conv1d": _padded,
    "conv2d": _padded,
    "conv3d": _padded,
    "conv_transpose1d": _transposed(1),
    "conv_transpose2d": _transposed(2),
    "conv_transpose3d": _transposed(3),
    "diff": _differed,
    "dropout_": _passed_on,
    "feature_dropout": _passed_on,
    "feature_dropout_": _passed_on,
    "item": _taken_out,
    "meshgrid": _meshed,
    "reshape_as": _as_shaped,
    "std": _varied,
    "to": _converted,
    "var": _varied,
}

DROPOUTS = {aten.dropout_.default, aten.feature_dropout.default, aten.feature_dropout_.default}
"""What only returns its argument in evaluation mode, although some of these could write to it."""
