"""Find the names of a network in the names of a checkpoint: under a prefix, tied, or given up since.

Wrappers put a prefix before all names: DataParallel ``module.``, torch.compile ``_orig_mod.``, a Lightning
module the name of its attribute. Where one prefix makes all names fit, there is no doubt what is meant.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor
from torch.nn.parameter import is_lazy

UNUSED = "num_batches_tracked"
"""How a name ends that no inference reads. PyTorch before 0.4.1 did not save it, and frozen norms do not."""

WRAPPERS = ("module", "_orig_mod", "model", "net", "network", "ema", "ema_model", "teacher", "student")
"""The attributes under which wrappers keep a network. Beside one of them other names may be left out:
those of a loss with weights, for example."""

AVERAGED = ("ema", "teacher", "averaged")
"""What a prefix says of weights that are averaged over the training."""

SHOWN = 3
"""How many names a note spells out."""


@dataclass(frozen=True, slots=True)
class Fit:
    """The tensors by the network's names, as far as there are any, and what was done to find them.

    ``missing`` are names of the network that have no tensor, ``more`` names of the checkpoint that the
    network does not have.
    """

    tensors: Mapping[str, Tensor]
    missing: tuple[str, ...]
    more: tuple[str, ...]
    notes: tuple[str, ...]
    prefix: str = ""

    @property
    def whole(self) -> bool:
        """Whether every name has its tensor, and every tensor its name."""
        return not self.missing and not self.more


def fits(stored: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> tuple[Fit, ...]:
    """The ways in which the stored names are the expected ones: all whole ones, or else the nearest."""
    tied = _tied(expected)
    found = [_fit(stored, expected, tied, *change) for change in _changes(stored, expected)]
    whole = tuple(fit for fit in found if fit.whole)
    if whole and not whole[0].prefix:
        return whole[:1]
    of_one_shape = tuple(fit for fit in whole if _alike(fit.tensors, expected))
    return of_one_shape or whole[:1] or (min(found, key=lambda fit: (len(fit.missing), len(fit.more))),)


def is_averaged(prefix: str) -> bool:
    """Whether a prefix says that the weights behind it are averaged."""
    return any(word in part.lower().split("_") for part in prefix.split(".") for word in AVERAGED)


def _changes(stored: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> Iterator[tuple[str, str]]:
    """What to take off the stored names and to put before them: nothing, then what would make a name fit."""
    yield "", ""
    seen = {("", "")}
    last = [name for name in expected if not name.endswith(UNUSED)][-1:]
    for wanted in (*list(expected)[:1], *last):
        for name in stored:
            change = ("", "")
            if name.endswith(f".{wanted}"):
                change = (name.removesuffix(wanted), "")
            elif wanted.endswith(f".{name}"):
                change = ("", wanted.removesuffix(name))
            if change not in seen:
                seen.add(change)
                yield change


def _fit(
    stored: Mapping[str, Tensor],
    expected: Mapping[str, Tensor],
    tied: Mapping[str, tuple[str, ...]],
    off: str,
    on: str,
) -> Fit:
    renamed = {on + name.removeprefix(off): name for name in stored if name.startswith(off)}
    apart = [name for name in stored if not name.startswith(off)]
    tensors = {name: stored[renamed[name]] for name in expected if name in renamed}
    notes = []
    if off:
        others = f" ({in_short(apart)} without it are left out)" if apart else ""
        notes.append(f'the prefix "{off}" was taken off the names in the checkpoint{others}')
    if on:
        notes.append(f'the names in the checkpoint got the prefix "{on}" of the network')
    shared = {name: [one for one in tied[name] if one in tensors] for name in expected if name not in tensors}
    restored = [name for name, others in shared.items() if others]
    tensors |= {name: tensors[shared[name][0]] for name in restored}
    if restored:
        notes.append(f"{in_short(restored)}: not stored, since the network has the tensor under another name")
    gone = [name for name in expected if name not in tensors and name.endswith(UNUSED)]
    tensors |= {name: expected[name] for name in gone}
    missing = tuple(name for name in expected if name not in tensors)
    more = [
        stored_as for name, stored_as in renamed.items() if name not in expected and not name.endswith(UNUSED)
    ]
    if off.removesuffix(".").rpartition(".")[2] not in WRAPPERS:
        more += apart
    return Fit(tensors, missing, tuple(more), tuple(notes), off)


def _alike(tensors: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> bool:
    return all(is_lazy(one) or tensors[name].shape == one.shape for name, one in expected.items())


def _tied(expected: Mapping[str, Tensor]) -> dict[str, tuple[str, ...]]:
    """For each name, the other names of the same tensor in memory."""
    places: dict[object, list[str]] = {}
    for name, tensor in expected.items():
        where: object = name
        if not is_lazy(tensor) and not tensor.is_meta and tensor.numel():
            where = (tensor.data_ptr(), tuple(tensor.shape), tensor.stride(), tensor.dtype)
        places.setdefault(where, []).append(name)
    return {name: tuple(one for one in names if one != name) for names in places.values() for name in names}


def in_short(names: Sequence[str]) -> str:
    """The first names, and how many more there are."""
    more = len(names) - SHOWN
    return ", ".join(names[:SHOWN]) + (f" and {more} more" if more > 0 else "")
