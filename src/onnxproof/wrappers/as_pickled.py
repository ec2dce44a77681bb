"""Whether a network is the one that a checkpoint was pickled from, as far as the pickle tells.

A pickled module names the class of each of its parts, and has its settings: strides, eps, a slope. The names
and shapes of tensors tell none of that. An archive of TorchScript names the classes, and has the settings in
its code, which is not read.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from torch import nn

from onnxproof.wrappers.held import class_of, near_surface

SCRIPTED = "__torch__."
"""What TorchScript puts before the names of classes."""

MANGLED = re.compile(r"___torch_mangle_\d+\.")

TORCH = "torch.nn.modules."
"""Where the classes lie whose settings are known."""

HARMLESS = frozenset({"Identity", "Dropout", "Dropout1d", "Dropout2d", "Dropout3d", "AlphaDropout"})
"""Classes that hand their input on in evaluation mode."""

NO_MATTER = frozenset({"inplace", "momentum", "p", "dropout", "name", "padding_idx", "return_indices"})
"""Settings that change nothing in evaluation mode, or that an exported file cannot have."""


@dataclass(frozen=True, slots=True)
class AsPickled:
    """In what a network is not as it was pickled.

    ``wrong`` are parts that compute otherwise. ``unknown`` are parts whose classes have code of their own, so
    that nobody can tell. ``scripted`` is True for an archive of TorchScript.
    """

    wrong: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()
    scripted: bool = False

    def notes(self, called: str) -> Iterator[str]:
        """What the verdict says of it."""
        if self.scripted:
            yield (
                "the checkpoint is an archive of TorchScript, whose code was not read: the network is "
                f"{called} by its classes, and by the names and shapes of its tensors, and nobody looked at "
                "its constants (eps, strides). To prove the archive's own network, load it in a builder "
                "(docs/checkpoints.md)"
            )
        if self.unknown:
            first, *more = self.unknown
            rest = f" (and {len(more)} more)" if more else ""
            yield f"the checkpoint names classes whose own code was not run: {first}{rest}"


def as_pickled(network: nn.Module, held: Any, prefix: str) -> AsPickled:
    """Compare a network with the module in ``held`` (``Checkpoint.held``) whose tensors it got.

    ``prefix`` is what stands before the network's names there, such as "model.".
    """
    places = [part for part in prefix.split(".") if part]
    for root in near_surface(held, _has_children):
        there = _descended(root, places)
        names = {name for name, _ in network.named_children()}
        if there is not None and names & set(_children(there)):
            around = [_class(_descended(root, places[:depth])) for depth in range(len(places))]
            found = _compared(network, there)
            outer = [f"{name}, around the network" for name in around if name and not _is_torchs(name)]
            scripted = str(class_of(root)).startswith(SCRIPTED)
            return replace(found, unknown=(*outer, *found.unknown), scripted=scripted)
    return AsPickled()


def _is_torchs(name: str) -> bool:
    return name.partition(".")[0] == "torch"


def _compared(network: nn.Module, root: Any) -> AsPickled:
    wrong: list[str] = []
    unknown: list[str] = []
    for name, module in network.named_modules():
        there = _descended(root, [part for part in name.split(".") if part])
        saved = None if there is None else _class(there)
        if saved is None:
            continue
        here = f"{type(module).__module__}.{type(module).__qualname__}"
        was, now = saved.rpartition(".")[2], type(module).__name__
        called = name or "the network"
        if was == now:
            wrong += [f"{called} has {text}" for text in _settings(module, vars(there))]
        elif {was, now} <= HARMLESS:
            continue
        elif saved.startswith(TORCH) and here.startswith(TORCH):
            wrong.append(f"{called} is {was}, expected {now}")
        else:
            unknown.append(f"{saved} in place of {here} ({called})")
    return AsPickled(tuple(wrong), tuple(unknown))


def _settings(module: nn.Module, saved: Mapping[str, Any]) -> Iterator[str]:
    """The settings of a part of PyTorch's own that were others when it was saved."""
    for name in getattr(module, "__constants__", ()):
        if name in NO_MATTER or name not in saved or not hasattr(module, name):
            continue
        was, now = _plain(saved[name]), _plain(getattr(module, name))
        if was is not None and now is not None and not _same(was, now):
            yield f"{name} = {saved[name]}, expected {getattr(module, name)}"


def _plain(value: Any) -> tuple[Any, ...] | None:
    """A setting as a tuple. Returns None for what is no number and no text."""
    items = tuple(value) if isinstance(value, list | tuple) else (value,)
    return items if all(isinstance(item, int | float | str) for item in items) else None


def _same(one: tuple[Any, ...], other: tuple[Any, ...]) -> bool:
    """Whether two settings are the same: 1 is (1, 1)."""
    longest = max(len(one), len(other))
    return (one * longest if len(one) == 1 else one) == (other * longest if len(other) == 1 else other)


def _has_children(held: Any) -> bool:
    return bool(_children(held))


def _children(module: Any) -> Mapping[str, Any]:
    """The parts of a pickled module by name. TorchScript keeps them among its attributes."""
    attributes = vars(module) if class_of(module) is not None else {}
    parts = attributes.get("_modules", attributes)
    if not isinstance(parts, Mapping):
        return {}
    return {name: part for name, part in parts.items() if class_of(part) is not None}


def _descended(module: Any, places: list[str]) -> Any:
    for place in places:
        module = _children(module).get(place)
        if module is None:
            return None
    return module


def _class(module: Any) -> str | None:
    named = class_of(module)
    return None if named is None else MANGLED.sub("", named).removeprefix(SCRIPTED)
