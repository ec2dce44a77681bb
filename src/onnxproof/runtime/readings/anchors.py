"""Heads of torchvision's one-stage detectors: where their anchors are, and how boxes are coded from them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self

from onnxproof.document import Entry

HEADS = ("retinanet", "fcos", "ssd")

HeadName = Literal["retinanet", "fcos", "ssd"]

Box = tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Pyramid:
    """Anchors on the levels of a feature pyramid.

    A level has ceil(size / reduction) cells along each side. ``base_anchors`` are, for each level, the boxes
    (x0, y0, x1, y1, px) that every one of its cells has, relative to the cell.
    """

    reductions: tuple[int, ...]
    base_anchors: tuple[tuple[Box, ...], ...]

    def count(self, height: int, width: int) -> int:
        """How many anchors an input of ``height`` by ``width`` px has."""
        levels = zip(self.reductions, self.base_anchors, strict=True)
        return sum(-(-height // step) * -(-width // step) * len(bases) for step, bases in levels)

    def to_json(self) -> dict[str, Any]:
        """A JSON object."""
        return {
            "reductions": list(self.reductions),
            "base_anchors": [[list(box) for box in level] for level in self.base_anchors],
        }

    @classmethod
    def read(cls, keys: Mapping[str, Entry]) -> Self:
        """The inverse of ``to_json``, among other keys."""
        reductions = tuple(entry.whole(1) for entry in keys["reductions"].entries())
        return cls(reductions, _boxes(keys["base_anchors"], len(reductions), 4))


@dataclass(frozen=True, slots=True)
class DefaultBoxes:
    """SSD's default boxes.

    For each level, ``grids`` has its rows and columns, ``box_sizes`` its boxes' widths and heights as shares
    of the picture's, and ``steps`` the distance between its centres, px. If ``steps`` is None, the centres
    are spread evenly.
    """

    grids: tuple[tuple[int, int], ...]
    box_sizes: tuple[tuple[Box, ...], ...]
    steps: tuple[float, ...] | None

    def count(self, height: int, width: int) -> int:
        """How many default boxes there are. SSD's input has one size, so the arguments are not used."""
        levels = zip(self.grids, self.box_sizes, strict=True)
        return sum(rows * columns * len(shapes) for (rows, columns), shapes in levels)

    def to_json(self) -> dict[str, Any]:
        """A JSON object."""
        return {
            "grids": [list(grid) for grid in self.grids],
            "box_sizes": [[list(size) for size in level] for level in self.box_sizes],
            "steps": None if self.steps is None else list(self.steps),
        }

    @classmethod
    def read(cls, keys: Mapping[str, Entry]) -> Self:
        """The inverse of ``to_json``, among other keys."""
        grids = []
        for entry in keys["grids"].entries():
            rows, columns = (side.whole(1) for side in entry.entries(2))
            grids.append((rows, columns))
        steps = None
        if keys["steps"].value is not None:
            steps = tuple(step.number() for step in keys["steps"].entries(len(grids)))
        return cls(tuple(grids), _boxes(keys["box_sizes"], len(grids), 2), steps)


@dataclass(frozen=True, slots=True)
class Deltas:
    """Boxes coded as deltas from their anchors.

    A delta is divided by its weight; ``weights`` are those of x, y, width and height. The log of a size is at
    most ``largest_log_scale``.
    """

    weights: tuple[float, ...]
    largest_log_scale: float

    def to_json(self) -> dict[str, Any]:
        """A JSON object."""
        return {"delta_weights": list(self.weights), "largest_log_scale": self.largest_log_scale}

    @classmethod
    def read(cls, keys: Mapping[str, Entry]) -> Self:
        """The inverse of ``to_json``, among other keys."""
        weights = tuple(entry.number() for entry in keys["delta_weights"].entries(4))
        if 0 in weights:
            raise keys["delta_weights"].refused("numbers other than 0")
        return cls(weights, keys["largest_log_scale"].number())


@dataclass(frozen=True, slots=True)
class Distances:
    """Boxes coded as the distances of their sides from the anchor's centre.

    The unit is the anchor's size if ``in_sizes``, otherwise the pixel.
    """

    in_sizes: bool

    def to_json(self) -> dict[str, Any]:
        """A JSON object."""
        return {"distances_in_sizes": self.in_sizes}

    @classmethod
    def read(cls, keys: Mapping[str, Entry]) -> Self:
        """The inverse of ``to_json``, among other keys."""
        return cls(keys["distances_in_sizes"].flag())


@dataclass(frozen=True, slots=True)
class Anchors:
    """A head: where its anchors are, and how its outputs code boxes."""

    head: HeadName
    places: Pyramid | DefaultBoxes
    coder: Deltas | Distances

    def to_json(self) -> dict[str, Any]:
        """A JSON object without "head"."""
        return {**self.places.to_json(), **self.coder.to_json()}

    @classmethod
    def read(cls, keys: Mapping[str, Entry]) -> Self:
        """The inverse of ``to_json``, among other keys."""
        head: Any = keys["head"].text(HEADS)
        places = DefaultBoxes.read(keys) if head == "ssd" else Pyramid.read(keys)
        return cls(head, places, Distances.read(keys) if head == "fcos" else Deltas.read(keys))


def keys_of_head(entry: Entry) -> tuple[str, ...]:
    """The keys of an object that describe its head. Empty if the object has no head."""
    table = entry.free_table()
    if "head" not in table:
        return ()
    head = table["head"].text(HEADS)
    places = ("grids", "box_sizes", "steps") if head == "ssd" else ("reductions", "base_anchors")
    coder = ("distances_in_sizes",) if head == "fcos" else ("delta_weights", "largest_log_scale")
    return ("head", *places, *coder)


def _boxes(entry: Entry, levels: int, numbers: int) -> tuple[tuple[Box, ...], ...]:
    """The boxes of each level. A box is as many numbers as ``numbers`` says."""
    return tuple(
        tuple(tuple(number.number() for number in box.entries(numbers)) for box in level.entries())
        for level in entry.entries(levels)
    )
