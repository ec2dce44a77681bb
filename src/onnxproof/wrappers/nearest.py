"""Say of which network that a library makes by name a checkpoint has nearly the tensors, and what differs."""

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from inspect import signature
from typing import Any

import torch
from torch import Tensor, nn

from onnxproof.errors import CheckpointError, RequestError
from onnxproof.wrappers.family import Checkpoint
from onnxproof.wrappers.fingerprints import Near, near_variants
from onnxproof.wrappers.fitting import SHOWN, UNUSED, Fit, fits
from onnxproof.wrappers.registry import get_family
from onnxproof.wrappers.weights import saved_by

Tensors = Mapping[str, Tensor]
Make = Callable[[str, int, Mapping[str, Any]], nn.Module]

MOST_BUILT = 3
"""How many networks are built to be compared. Each takes up to a second, without memory for its weights."""

MOST_PREFIXES = 4
"""How many parts of a prefix are taken off."""

CLASSES = 2
"""For the network that is compared. The shapes of its head say nothing."""

CHANGED = "a network that you changed needs a job whose builder makes it (docs/any-model.md)"


def why_nearly(checkpoint: Checkpoint, family: str | None = None) -> CheckpointError | None:
    """What to say of a checkpoint that has most of the tensors of a network that a library makes by name.

    ``family`` asks that family alone. Returns None if there is no such network, or if its library is missing.
    """
    stored = {checkpoint.prefix + name: tensor for name, tensor in checkpoint.state_dict.items()}
    for bare in _bare(stored):
        near = [one for one in near_variants(bare) if family in (None, one.family)]
        built = [one for one in map(_built, near[:MOST_BUILT]) if one is not None]
        told = [(one, network, differences(stored, saved_by(network), one.head)) for one, network in built]
        alike = [entry for entry in told if 2 * entry[2].count < len(saved_by(entry[1]))]
        if not alike:
            continue
        one, network, differ = min(alike, key=lambda entry: entry[2].count)
        called = f"{one.family.partition('_')[0]}'s {one.variant}"
        return CheckpointError(
            f"{checkpoint.file} holds {len(stored)} tensors, nearly those of {called}: {differ.said}. "
            f"{differ.advice(one.family, one.variant, network)}"
        )
    return None


def _bare(stored: Tensors) -> Iterator[Tensors]:
    """The tensors as they are, and without a prefix that most of them have, and without the next."""
    for _ in range(MOST_PREFIXES):
        if not stored:
            return
        yield stored
        first, count = Counter(name.partition(".")[0] for name in stored).most_common(1)[0]
        if 2 * count <= len(stored):
            return
        own = f"{first}."
        stored = {name.removeprefix(own): one for name, one in stored.items() if name.startswith(own)}


def _built(near: Near) -> tuple[Near, nn.Module] | None:
    """The network without memory, or with it if its builder reads a value. Returns None if none is made."""
    try:
        make: Make = get_family(near.family).make  # type: ignore[attr-defined]  # those of the table have it
    except RequestError:
        return None  # its library is missing
    for device in ("meta", "cpu"):
        with suppress(Exception), torch.device(device):  # a library's builder raises any type
            return near, make(near.variant, CLASSES, {})
    return None


class Differences:
    """What a checkpoint lacks of a network's tensors, has besides, and has in other shapes."""

    def __init__(self, fit: Fit, stored: Tensors, expected: Tensors, head: Collection[str]) -> None:
        self.lacks = [f"{name} {list(expected[name].shape)}" for name in fit.missing]
        self.besides = [f"{name} {list(stored[name].shape)}" for name in fit.more]
        self.others = [
            f"{name} is {list(tensor.shape)}, there {list(expected[name].shape)}"
            for name, tensor in fit.tensors.items()
            if name not in head and not name.endswith(UNUSED) and tensor.shape != expected[name].shape
        ]
        self.prefix = fit.prefix

    @property
    def count(self) -> int:
        """How many tensors differ."""
        return len(self.lacks) + len(self.besides) + len(self.others)

    @property
    def said(self) -> str:
        """What differs, in words: "it lacks fc.bias [5]; it has extra.weight [3] besides"."""
        parts = [f'its names begin with "{self.prefix}"'] if self.prefix else []
        parts += [f"it lacks {_several(self.lacks)}"] if self.lacks else []
        parts += [f"it has {_several(self.besides)} besides"] if self.besides else []
        if self.others:
            more = f" and {len(self.others) - 1} more are of another shape" if len(self.others) > 1 else ""
            parts.append(f"{self.others[0]}{more}")
        return "; ".join(parts)

    def advice(self, family: str, variant: str, network: nn.Module) -> str:
        """What to do, for a variant of the family, which ``network`` is."""
        named = f"--set model.family={family} --set model.variant={variant}"
        if not self.count:  # what a wrapper keeps beside the network is left out
            return f"Name it: {named}"
        ways = []
        if self.lacks:
            ways.append("save the network's whole state_dict()")
        if self.besides:
            ways.append("leave out of the file what the network does not read")
        if self.others:
            known = signature(type(network)).parameters
            takes = [name for name in known if name not in ("num_classes", "args", "kwargs")]
            where = f", where NAME is one of {', '.join(takes)}" if takes else ""
            ways.append(
                f"if it was made with arguments, give them: {named} --set model.kwargs.NAME=VALUE{where}"
            )
        text = "; ".join((*ways, CHANGED))
        return text[0].upper() + text[1:]


def differences(stored: Tensors, expected: Tensors, head: Collection[str] = ()) -> Differences:
    """How a checkpoint differs from a network that saves ``expected``, but for the shapes of its head."""
    return Differences(fits(stored, expected)[0], stored, expected, head)


def _several(texts: Sequence[str]) -> str:
    """One text as it is; of several their number and the first of them."""
    more = ", …" if len(texts) > SHOWN else ""
    return texts[0] if len(texts) == 1 else f"{len(texts)} tensors ({', '.join(texts[:SHOWN])}{more})"
