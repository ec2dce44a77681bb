"""Which elements of the outputs are compared: not those of steps that a padding mask drops.

A model leaves undefined what it answers at a padded step. PyTorch's fused transformer layers put zeros there,
for example, and the same layers captured for a file compute numbers that nobody reads. Such elements are left
out of every measurement, in all legs.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import reduce
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxproof.contract import Contract, Reading
from onnxproof.runtime.readings.sets import QuerySet, RowSet
from onnxproof.runtime.tasks.sequence import StepLogits
from onnxproof.tensors import TensorSpec

Arrays = Mapping[str, NDArray[Any]]

Kept = Mapping[str, NDArray[np.bool_]]
"""By the name of an output: where it is compared. The array has the output's axes; an axis of length 1 stands
for all positions. Outputs that are compared everywhere are left out."""


def counted(contract: Contract, inputs: Arrays, outputs: Arrays) -> Kept:
    """Where outputs are compared: those of the model's own run on ``inputs``, both by name."""
    kept: dict[str, NDArray[np.bool_]] = {}
    for output in contract.outputs:
        masks = _masks(contract, output)
        if masks:
            # Masks of the same axes (of two sentences, say) keep what any of them keeps.
            by_axes: dict[tuple[str, ...], list[NDArray[np.bool_]]] = {}
            for mask in masks:
                laid = _laid_out(inputs[mask.name] != 0, mask, output)
                by_axes.setdefault(mask.axis_names, []).append(laid)
            together = [reduce(np.logical_or, same) for same in by_axes.values()]
            kept[output.name] = reduce(np.logical_and, together)
    reading = contract.reading
    if isinstance(reading, StepLogits) and len(reading.outputs) > 1 and reading.outputs[0] not in kept:
        logits, lengths = (outputs[name] for name in reading.outputs)
        steps = np.arange(logits.shape[1])[None, :, None]
        kept[reading.outputs[0]] = steps < lengths[:, None, None]
    return kept


def selects(reading: Reading) -> bool:
    """Whether the network chooses its queries, or its rows, among the places of the picture."""
    return isinstance(reading, RowSet) or (isinstance(reading, QuerySet) and reading.selects)


def select(values: NDArray[Any], kept: NDArray[np.bool_], channels: slice) -> NDArray[Any]:
    """The elements that are compared, [n], of ``values``: the ``channels`` of an output's last axis."""
    if kept.shape[-1] != 1:
        kept = kept[..., channels]
    chosen: NDArray[Any] = values[np.broadcast_to(kept, values.shape)]
    return chosen


def not_compared(contract: Contract) -> Iterator[str]:
    """A note for each output that is not compared everywhere."""
    for output in contract.outputs:
        masks = _masks(contract, output)
        if masks:
            names = " or ".join(mask.name for mask in masks)
            yield f"{output.name} is not compared at steps that {names} drops: nothing defines it there"
    reading = contract.reading
    if selects(reading):
        yield (
            "pictures of one value are not tried: all their places score alike, so nothing decides which of "
            "them the network keeps"
        )
    if isinstance(reading, StepLogits) and len(reading.outputs) > 1:
        logits, lengths = (spec for spec in contract.outputs if spec.name in reading.outputs)
        if not _masks(contract, logits):
            yield f"{logits.name} is not compared behind a sequence's own {lengths.name}"


def likely_masks(contract: Contract) -> Iterator[str]:
    """A note for each input that is named as a padding mask is, and drawn as any zeros and ones."""
    for spec in contract.inputs:
        named = "mask" in spec.name.lower() and len(spec.shape) > 1 and isinstance(spec.shape[-1], str)
        if named and not spec.mask and spec.range in (None, (0, 1)):
            mask = replace(spec, range=None, mask=True)
            yield (
                f"{spec.name} is drawn as any zeros and ones: a row may be zeros alone, where models leave "
                f'undefined what they answer. If it is a padding mask (ones, then zeros), write "{mask}"'
            )


def _masks(contract: Contract, output: TensorSpec) -> list[TensorSpec]:
    """The padding masks that run along axes of the output."""
    return [
        spec
        for spec in contract.inputs
        if spec.mask
        and isinstance(spec.shape[-1], str)
        and all(axis == 1 or axis in output.axis_names for axis in spec.shape)
    ]


def _laid_out(mask: NDArray[np.bool_], spec: TensorSpec, output: TensorSpec) -> NDArray[np.bool_]:
    """The mask with the axes of the output, those that it lacks of length 1.

    Where the output has an axis twice (a map of attention), the mask runs along the first.
    """
    named = mask.reshape([size for size, axis in zip(mask.shape, spec.shape, strict=True) if axis != 1])
    places = [output.shape.index(axis) for axis in spec.axis_names]
    named = named.transpose(np.argsort(places))
    shape = [1] * len(output.shape)
    for place, size in zip(sorted(places), named.shape, strict=True):
        shape[place] = size
    return named.reshape(shape)
