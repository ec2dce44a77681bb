"""Tell a library's networks by the names and shapes of their tensors, without the library.

``fingerprints.json`` has one line for each network that torchvision and timm make by name: a hash and a
sketch of the names and shapes of its tensors, except those whose shape depends on the number of classes (its
head). The hash finds a network that has exactly these, the sketch one that has most of them.
benchmarks/fingerprints.py writes the file.
"""

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from torch import Tensor

from onnxproof.system.parsed import json_in
from onnxproof.wrappers.fitting import UNUSED

FILE = Path(__file__).with_name("fingerprints.json")
DIGITS = 16
"""Hexadecimal digits of the hash that are kept."""

PARTS = 8
"""The numbers of a sketch. The share of them that two networks have in common is about the share of their
tensors that they have in common (MinHash: A. Broder 1997, On the resemblance and containment of documents).
"""
PART_DIGITS = 3
"""Hexadecimal digits of each number."""
LEAST_PARTS = 3
"""So many numbers of the sketch a similar network has in common at least."""

Shapes = Mapping[str, Sequence[int]]


@dataclass(frozen=True, slots=True)
class _Known:
    """The networks of one family: all heads that any of them has, the variants by head and hash, and one
    network by each sketch."""

    heads: tuple[tuple[str, ...], ...]
    variants: Mapping[tuple[int, str], tuple[str, ...]]
    sketches: Mapping[str, "Near"]


@dataclass(frozen=True, slots=True)
class Near:
    """A network that a library makes by name. ``head`` are the names of its last layer's tensors."""

    family: str
    variant: str
    head: tuple[str, ...]


def fingerprint(shapes: Shapes, head: Collection[str]) -> str:
    """A hash of the names and shapes of all tensors but those of the head and counters of batches."""
    return hashlib.sha256("\n".join(_lines(shapes, head)).encode()).hexdigest()[:DIGITS]


def sketch(shapes: Shapes, head: Collection[str]) -> str:
    """The numbers that tell how similar two networks are, of the same tensors."""
    size = hashlib.sha256().digest_size // PARTS
    hashes = [hashlib.sha256(line.encode()).digest() for line in _lines(shapes, head)]
    least = [min(one[at * size : (at + 1) * size] for one in hashes) for at in range(PARTS)]
    return "".join(part.hex()[-PART_DIGITS:] for part in least)


def _lines(shapes: Shapes, head: Collection[str]) -> list[str]:
    return [
        f"{name} {list(shape)}"
        for name, shape in sorted(shapes.items())
        if name not in head and not name.endswith(UNUSED)
    ]


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


def near_variants(tensors: Mapping[str, Tensor]) -> tuple[Near, ...]:
    """The networks that may have most of these names and shapes, the likeliest first.

    Of several variants with the same tensors there is one.
    """
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    if not _lines(shapes, ()):
        return ()
    own = _parts(sketch(shapes, ()))
    found = [
        (sum(a == b for a, b in zip(own, _parts(told), strict=True)), near)
        for known in _read().values()
        for told, near in known.sketches.items()
    ]
    likely = sorted((entry for entry in found if entry[0] >= LEAST_PARTS), key=lambda entry: -entry[0])
    return tuple(near for _, near in likely)


def _parts(text: str) -> list[str]:
    return [text[at : at + PART_DIGITS] for at in range(0, len(text), PART_DIGITS)]


@cache
def _read() -> Mapping[str, _Known]:
    read = json_in(FILE)
    return {family: _known(family, table) for family, table in read.items()}


def _known(family: str, table: Mapping[str, Mapping[str, Sequence[str]]]) -> _Known:
    heads = tuple(dict.fromkeys(tuple(head) for _, _, *head in table.values()))
    variants: dict[tuple[int, str], list[str]] = {}
    sketches: dict[str, Near] = {}
    for variant, (hash_, told, *head) in table.items():
        variants.setdefault((heads.index(tuple(head)), hash_), []).append(variant)
        if told:
            sketches.setdefault(told, Near(family, variant, tuple(head)))
    return _Known(heads, {key: tuple(names) for key, names in variants.items()}, sketches)
