"""Tell from a TorchScript trace whether a value depends on the inputs' contents, or only on their sizes."""

from collections.abc import Iterator
from typing import Any

OF_SIZES = frozenset({"aten::size", "aten::dim", "aten::numel", "aten::len", "prim::shape", "prim::dtype"})
"""Operations that read the sizes of their first input, and not its contents."""

SIZED_BY_DATA = frozenset(
    {
        *("aten::nonzero", "aten::nonzero_numpy", "aten::argwhere", "aten::masked_select"),
        *("aten::_unique", "aten::_unique2", "aten::unique_dim", "aten::unique_consecutive"),
        *("aten::bincount", "torchvision::nms"),
    }
)
"""Operations whose result is as long as the contents of their inputs say."""

SELECTING = frozenset({"aten::index", "aten::where", "aten::repeat_interleave"})
"""Operations whose result is as long as the contents of some of their inputs say, if those are masks or
counts."""

TENSORS = frozenset({"Tensor", "List[Tensor]"})
"""Types of a trace's values of which only the sizes count for the sizes of what is made of them."""


def depends_on_data(value: Any, inputs: int) -> bool:
    """Whether a value of a trace depends on what the first ``inputs`` of its graph's inputs hold.

    Parameters and constants are no data. The sizes of a tensor depend on data if an operation made it as
    long as the contents of another tensor say.
    """
    return any(not of_sizes for of_sizes in _reached(value, inputs))


def depends_on_inputs(value: Any, inputs: int) -> bool:
    """Whether a value depends on the contents or the sizes of the first ``inputs`` of its graph's inputs."""
    return any(True for _ in _reached(value, inputs))


def _reached(value: Any, inputs: int) -> Iterator[bool]:
    """For each input that a value depends on: True if it depends only on the input's sizes there."""
    seen = set()
    waiting = [(value, False)]
    while waiting:
        value, of_sizes = waiting.pop()
        if (value.unique(), of_sizes) in seen:
            continue
        seen.add((value.unique(), of_sizes))
        node = value.node()
        kind, read = node.kind(), list(node.inputs())
        if kind == "prim::Param":
            if value.offset() < inputs:
                yield of_sizes
        elif kind in OF_SIZES:
            waiting += ((each, True) for each in read[:1])
        elif not of_sizes or kind in SIZED_BY_DATA:
            waiting += ((each, False) for each in read)
        elif kind in SELECTING:
            waiting += ((each, at == 0) for at, each in enumerate(read))
        else:
            # A number among the inputs may be a size: its value counts. Of tensors only the sizes do.
            waiting += ((each, str(each.type()) in TENSORS) for each in read)
