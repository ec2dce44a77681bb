"""Write an integer input as a tokenizer writes texts, and padding masks that drop other steps than the last.

A tokenizer puts the id of padding at the steps that the mask drops, and the id of the end at the last step
that it keeps. Numbers that are drawn alone hardly ever hold these ids there, nor any other id that the model
treats specially.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from onnxproof.tensors import TensorSpec

Gaps = Literal["left", "holes", "both"]
"""Which steps a row of a mask drops: the first, some in the middle, or both."""

Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Text:
    """The ids with which texts are written: ``pad`` at the steps that a mask drops, None if it is not known,
    and ``ends`` at the last step that it keeps, each row's in turn."""

    pad: int | None = None
    ends: tuple[int, ...] = ()

    def within(self, spec: TensorSpec) -> "Text":
        """The same without the ids that an input does not take."""
        pad = None if self.pad is None or not takes(spec, self.pad) else self.pad
        return Text(pad, tuple(end for end in self.ends if takes(spec, end)))

    def to_json(self) -> dict[str, Any]:
        """A JSON object."""
        return {"pad": self.pad, "ends": list(self.ends)}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """The inverse of ``to_json``."""
        return cls(value["pad"], tuple(value["ends"]))


def takes(spec: TensorSpec, number: int) -> bool:
    """Whether a number lies in an input's declared range."""
    low, high = spec.range or (0, 1)
    return low <= number <= high


def with_gaps(mask: NDArray[Any], kinds: Sequence[Gaps], random: np.random.Generator) -> NDArray[Any]:
    """A padding mask of the shape and dtype of ``mask``, the rows of which have the kinds of gaps in turn.

    The last step is kept, so each row keeps one. A row that is too short for holes has none.
    """
    steps = mask.shape[-1]
    rows = np.ones((mask.size // steps, steps), bool)
    for at, row in enumerate(rows):
        kind = kinds[at % len(kinds)]
        start = int(random.integers(1, max(steps // 2, 1), endpoint=True)) if kind != "holes" else 0
        row[: min(start, steps - 1)] = False
        inside = np.arange(start + 1, steps - 1)
        if kind != "left" and inside.size:
            count = int(random.integers(1, max(inside.size // 2, 1), endpoint=True))
            row[random.choice(inside, count, replace=False)] = False
    return rows.reshape(mask.shape).astype(mask.dtype)


def shuffled(
    ids: Sequence[int], spec: TensorSpec, sizes: Mapping[str, int], random: np.random.Generator
) -> NDArray[Any]:
    """An integer input that holds these ids alone, one after the other, in a shuffled order."""
    shape = spec.sized(sizes)
    return random.permutation(np.resize(np.array(ids), math.prod(shape))).reshape(shape).astype(spec.dtype)


def texts(
    ids: Mapping[str, Sequence[int]],
    text: Text | None,
    sizes: Mapping[str, int],
    inputs: Sequence[TensorSpec],
    arrays: Mapping[str, NDArray[Any]],
    random: np.random.Generator,
) -> dict[str, NDArray[Any]]:
    """The inputs that have ``ids``, written as texts. ``arrays`` has the padding masks. Nothing if there is
    no ``text``."""
    found = {}
    for spec in inputs:
        if text is not None and spec.name in ids:
            masks = [arrays[mask.name] for mask in inputs if mask.mask and mask.shape == spec.shape]
            shape = spec.sized(sizes) or (1,)
            kept: Mask = masks[0] != 0 if masks else _lengths(shape, random)
            if not masks and text.within(spec).pad is None:
                kept = np.ones(shape, bool)
            found[spec.name] = _written(spec, kept, ids[spec.name], text, random).reshape(spec.sized(sizes))
    return found


def _written(
    spec: TensorSpec, kept: Mask, ids: Sequence[int], text: Text, random: np.random.Generator
) -> NDArray[Any]:
    """An integer input of the shape of ``kept``, which says which steps are kept.

    Each id stands once inside a text: behind its first step, before its last, and not in the first row, as
    far as there is room. All other numbers are drawn.
    """
    low, high = spec.range or (0, 1)
    values = random.integers(int(low), int(high), kept.shape, endpoint=True)
    rows, used = values.reshape(-1, kept.shape[-1]), kept.reshape(-1, kept.shape[-1])
    known = text.within(spec)
    last = used.shape[1] - 1 - used[:, ::-1].argmax(axis=1)
    places = np.argwhere(used)
    outer = (places[:, 1] == used.argmax(axis=1)[places[:, 0]]) | (places[:, 1] == last[places[:, 0]])
    later = 2 * outer + ((places[:, 0] == 0) & (len(rows) > 1))
    order = np.lexsort((random.random(len(places)), later))
    for number, (row, step) in zip(ids, places[order], strict=False):
        rows[row, step] = number
    for row, step in enumerate(last if known.ends else ()):
        rows[row, step] = known.ends[row % len(known.ends)]
    if known.pad is not None:
        rows[~used] = known.pad
    return values.astype(spec.dtype)


def _lengths(shape: Sequence[int], random: np.random.Generator) -> Mask:
    """The steps that texts keep where no mask says it: in each row at least half of them, in the first not
    all."""
    steps = shape[-1]
    lengths = random.integers(max(steps // 2, 1), steps, tuple(shape[:-1]), endpoint=True)
    if lengths.size:
        lengths.flat[0] = min(int(lengths.flat[0]), max(steps - 1, 1))
    return np.asarray(np.arange(steps) < lengths[..., None])
