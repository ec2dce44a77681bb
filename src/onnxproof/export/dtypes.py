"""Operators in which torch's exporter forgets a dtype, as others that it translates rightly."""

import torch
from torch import fx

aten = torch.ops.aten


def state_dtypes(program: torch.export.ExportedProgram) -> None:
    """Exchange them in the program, in place: sums of booleans, and means in a dtype of their own."""
    graph = program.graph_module.graph
    for node in list(graph.nodes):
        if node.target is aten.add.Tensor and _are_booleans(node):
            node.target, node.kwargs = aten.logical_or.default, {}
        elif node.target in (aten.mean.default, aten.mean.dim) and node.kwargs.get("dtype") is not None:
            _convert_first(node)
    program.graph_module.recompile()


def _are_booleans(node: fx.Node) -> bool:
    """Whether an addition is of two tensors of booleans: then it is ``or``, which ONNX's Add is not."""
    return all(
        isinstance(one, fx.Node)
        and isinstance(one.meta.get("val"), torch.Tensor)
        and one.meta["val"].dtype == torch.bool
        for one in node.args
    )


def _convert_first(node: fx.Node) -> None:
    """``mean`` in a dtype: PyTorch converts the numbers, torch's exporter the rounded mean."""
    x = node.args[0]
    assert isinstance(x, fx.Node)
    dtype = node.kwargs["dtype"]
    with node.graph.inserting_before(node):
        converted = node.graph.call_function(aten._to_copy.default, (x,), {"dtype": dtype})
    converted.meta = {**node.meta, "val": x.meta["val"].to(dtype)}
    node.args = (converted, *node.args[1:])
    node.kwargs = {name: value for name, value in node.kwargs.items() if name != "dtype"}
