"""Tell a file of another model by the sizes of its weights."""

from collections import Counter
from collections.abc import Iterable
from math import prod

from onnxproof.graph import OnnxGraph
from onnxproof.wrappers.family import WrappedModel

LEAST = 512
"""Numbers of a tensor that counts. Smaller ones are biases, norms and settings, which exporters fold."""

SHARE = 0.75
"""The share of the numbers that must have a counterpart of the same size. Exporters cut some weights into
pieces (the projections of attention), and add tables of positions."""


def weights_of(model: WrappedModel) -> tuple[int, ...]:
    """How many numbers each weight of a model has."""
    held = (*model.module.parameters(), *model.module.buffers())
    return tuple({id(one): one.numel() for one in held if one.ndim > 1}.values())


def another_model(graph: OnnxGraph, sizes: Iterable[int]) -> str | None:
    """Why the file is not the model's whose weights have these many numbers. Returns None if it may be.

    Compares how many numbers the weights have: folding, transposing and renaming do not change that.
    """
    theirs, ours = (
        Counter(size for size in side if size >= LEAST)
        for side in ((prod(one.shape) for one in graph.stored if len(one.shape) > 1), sizes)
    )
    both = theirs & ours
    common = sum(size * count for size, count in both.items())
    totals = [sum(size * count for size, count in side.items()) for side in (theirs, ours)]
    if min(totals) and common / max(totals) >= SHARE:
        return None
    return (
        f"it holds {sum(theirs.values())} weights with {totals[0]:,} numbers, the checkpoint "
        f"{sum(ours.values())} with {totals[1]:,}, and only {sum(both.values())} of them are of one size"
    )
