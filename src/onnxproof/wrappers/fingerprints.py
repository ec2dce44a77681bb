"""Tell a library's networks by the names and shapes of their tensors, without the library.

``fingerprints.json`` has one line for each network that torchvision and timm make by name: a hash of the
names and shapes of its tensors, except those whose shape depends on the number of classes (its head).
benchmarks/fingerprints.py writes the file.
"""

import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from torch import Tensor

from onnxproof.wrappers.fitting import UNUSED

FILE = Path(__file__).with_name("fingerprints.json")
DIGITS = 16
"""Hexadecimal digits of the hash that are kept."""

Shapes = Mapping[str, Sequence[int]]


@dataclass(frozen=True, slots=True)
class _Known:
    """The networks of one family: all heads that any of them has, and the variants by head and hash."""

    heads: tuple[tuple[str, ...], ...]
    variants: Mapping[tuple[int, str], tuple[str, ...]]


def fingerprint(shapes: Shapes, head: Collection[str]) -> str:
    """A hash of the names and shapes of all tensors but those of the head and counters of batches."""
    lines = [
        f"{name} {list(shape)}"
        for name, shape in sorted(shapes.items())
        if name not in head and not name.endswith(UNUSED)
    ]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:DIGITS]


def known_families() -> tuple[str, ...]:
    """The families whose networks the file has."""
    return tuple(_read())


def variants_of(family: str, tensors: Mapping[str, Tensor]) -> tuple[str, ...]:
    """The variants of a family whose tensors have these names and shapes. Returns () if there is none."""
    known = _read().get(family)
    if known is None:
        return ()
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    return tuple(
        variant
        for at, head in enumerate(known.heads)
        if all(name in shapes for name in head)
        for variant in known.variants.get((at, fingerprint(shapes, head)), ())
    )


@cache
def _read() -> Mapping[str, _Known]:
    return {family: _known(table) for family, table in json.loads(FILE.read_text("utf-8")).items()}


def _known(table: Mapping[str, Mapping[str, Sequence[str]]]) -> _Known:
    heads = tuple(dict.fromkeys(tuple(head) for _, *head in table.values()))
    variants: dict[tuple[int, str], list[str]] = {}
    for variant, (hash_, *head) in table.items():
        variants.setdefault((heads.index(tuple(head)), hash_), []).append(variant)
    return _Known(heads, {key: tuple(names) for key, names in variants.items()})
