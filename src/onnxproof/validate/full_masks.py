"""Which cases have a full padding mask, so that the last step of each tried length is used.

A drawn mask drops a random number of steps. At the largest length it may never be full, and then no case
reads the last row of a position table.
"""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence

from onnxproof.tensors import TensorSpec


def full_masks(
    sizes: Sequence[Mapping[str, int]], designed: int, masks: Sequence[TensorSpec]
) -> tuple[frozenset[int], tuple[int, ...]]:
    """The indices of the cases whose mask is to be full, and of those of which a copy with a full mask is to
    be added.

    ``sizes`` are those of each case; the first ``designed`` of them are of the covering design. Of the cases
    of one length of the masks, the first with several rows is full, which leaves its other rows as they were
    drawn. So is the last with one row if there are two, or if its length is tried nowhere else; else there is
    a copy. ``masks`` are the inputs that are padding masks.
    """
    if not masks:
        return frozenset(), ()
    by_length: dict[tuple[int, ...], list[int]] = defaultdict(list)
    for index, one in enumerate(sizes):
        by_length[tuple(spec.sized(one)[-1] for spec in masks)].append(index)
    full: set[int] = set()
    again: list[int] = []
    for lengths, indices in by_length.items():
        if max(lengths) <= 1:
            continue  # every mask of one step is full
        alone = [index for index in indices if _rows(sizes[index], masks) <= 1]
        full.update([index for index in indices if index not in alone][:1])
        if len(alone) > 1 or (alone and alone[0] >= designed and len(indices) == 1):
            full.add(alone[-1])
        elif alone:
            again.append(alone[0])
    return frozenset(full), tuple(again)


def _rows(sizes: Mapping[str, int], masks: Sequence[TensorSpec]) -> int:
    """The most rows of a mask."""
    return max(math.prod(spec.sized(sizes)[:-1]) for spec in masks)
