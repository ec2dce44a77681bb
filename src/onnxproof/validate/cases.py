"""The inputs that a file is tried on: a covering design over sizes and contents, and real pictures.

Of each dimension a few sizes are chosen: its ends, the size beside the smallest, and some between. At least
one case has each of them, and each pair of them of two dimensions, or of a dimension and a kind of content.
The product of all is never built. Rows are chosen greedily, the most uncovered pairs for the least work first
(AETG, Cohen et al. 1997, with the input's volume as the cost), so no case has the largest size of every
dimension.

Of a dimension with few sizes, each size is tried. The cases that are added for this have a new size of every
such dimension at once.

The cases of a kind of content take its contents in turn: pictures without objects are bright, dark and so on.
"""

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from onnxproof.contract import Preprocess
from onnxproof.errors import PictureError
from onnxproof.runtime.preprocess import Transform, prepare, read_picture, to_input
from onnxproof.runtime.remote import Place
from onnxproof.seeded import draw, draw_beside
from onnxproof.tensors import Dim, TensorSpec
from onnxproof.validate.contents import (
    CONSTANT,
    KIND_OF,
    KINDS,
    OF_IDS,
    Content,
    Kind,
    ends_of,
    filled,
    flat,
    gradients,
)
from onnxproof.validate.covering import covering_design
from onnxproof.validate.full_masks import full_masks
from onnxproof.validate.ids_tried import ids_tried
from onnxproof.validate.texts import Gaps, Text, shuffled, texts, with_gaps

Effort = Literal["quick", "normal", "thorough"]

FLAT: tuple[Kind, ...] = ("black", "saturated")
"""Kinds of content of one value."""
VARIED: tuple[Kind, ...] = ("picture", "noise")
"""Kinds whose every pixel matters: the sizes that are tried once are tried with these."""

VALUES_PER_DIM = {"quick": 3, "normal": 4, "thorough": 6}
MOST_SIZES = {"quick": 0, "normal": 64, "thorough": 512}
"""A dimension with no more sizes than this is tried at each of them."""

BATCH = "batch"
MOST_BATCHES = 8
"""The same for the dimension that is called batch. Its size changes no member's answer by itself, and large
batches are what costs most."""

ROW_COST = 3e4
"""What a case costs beside its volume, in elements of an input: every operator is started once more in every
leg."""


@dataclass(frozen=True, slots=True)
class Case:
    """One input: its sizes by axis name, what fills it, and the seed of whatever is random in it.

    ``picture`` is the file that a "picture" case starts from. ``native`` says that it is preprocessed as
    ``predict`` does it, instead of stretched to the sizes. ``replica`` is 0 for the case's own input, or the
    number of an input next to it, on which rounding errors fall differently. ``ids`` has the numbers that an
    integer input holds, each at least once if it has room, by the input's name; masks then drop none. With
    ``text``, these ids stand among others as a tokenizer writes them, and masks drop steps. ``full`` says
    that the longest row of each padding mask drops no step. ``gaps`` are the steps that the rows of masks
    drop, in turn; none if they drop the last ones.
    """

    name: str
    sizes: Mapping[str, int]
    content: Content
    seed: int
    picture: Place | None = None
    native: bool = False
    replica: int = 0
    ids: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    full: bool = False
    text: Text | None = None
    gaps: tuple[Gaps, ...] = ()

    @property
    def kind(self) -> Kind:
        """The kind of its content."""
        return KIND_OF[self.content]

    def to_json(self) -> dict[str, Any]:
        """A JSON object."""
        picture = None if self.picture is None else self.picture.name
        document = {
            "name": self.name,
            "sizes": dict(self.sizes),
            "content": self.content,
            "seed": self.seed,
            "picture": picture,
            "native": self.native,
        }
        ids = {name: list(numbers) for name, numbers in self.ids.items()}
        document |= {"ids": ids} if ids else {}
        if self.text is not None:
            document["text"] = self.text.to_json()
        document |= {"gaps": list(self.gaps)} if self.gaps else {}
        return document | ({"full": True} if self.full else {})

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """The inverse of ``to_json``. ``picture`` is the file's name alone, since JSON has no folder."""
        picture = value["picture"]
        return cls(
            value["name"],
            dict(value["sizes"]),
            value["content"],
            value["seed"],
            None if picture is None else Path(picture),
            value.get("native", False),
            ids={name: tuple(numbers) for name, numbers in value.get("ids", {}).items()},
            full=value.get("full", False),
            text=Text.from_json(value["text"]) if "text" in value else None,
            gaps=tuple(value.get("gaps", ())),
        )


def plan(
    dims: Sequence[Dim],
    preprocess: Preprocess | None,
    pictures: Sequence[Path],
    effort: Effort,
    seed: int,
    *,
    constant: bool = True,
    inputs: Sequence[TensorSpec] = (),
    opened: Mapping[Path, Case] = MappingProxyType({}),
) -> tuple[Case, ...]:
    """The cases for a model with these dims: the covering design, the sizes that it leaves out if they are to
    be tried, then each picture as predict sees it.

    ``constant`` says whether inputs of one value are among them. ``inputs`` are the model's: at each length
    some padding masks are full, and without pictures the smallest sizes are tried at the ends of the floats'
    ranges. ``opened`` has the native cases of pictures that were opened already. Needs no tensor, no model.
    Opens every other picture; raises PictureError if one cannot be read or does not fit the dims.
    """
    kinds: tuple[Kind, ...] = tuple(KINDS) if preprocess is not None else ("noise",)
    if not pictures:
        kinds = tuple(kind for kind in kinds if kind != "picture")
    if not constant:
        kinds = tuple(kind for kind in kinds if kind not in FLAT)
    factors: dict[str, Sequence[int | Kind]] = {
        dim.name: sizes_of(dim, VALUES_PER_DIM[effort]) for dim in dims
    }
    factors["content"] = kinds
    cases: list[Case] = []
    sources = itertools.cycle(pictures)
    rows = list(covering_design(factors, seed))
    designed = len(rows)
    varied = itertools.cycle([kind for kind in kinds if kind in VARIED])
    rows += ({**sizes, "content": next(varied)} for sizes in sizes_left(dims, factors, MOST_SIZES[effort]))
    turns: dict[Kind, Iterator[Content]] = {kind: itertools.cycle(KINDS[kind]) for kind in kinds}
    if preprocess is not None:
        turns["noise"] = itertools.repeat("noise")
    for number, row in enumerate(rows):
        content = next(turns[row.pop("content")])
        sizes = {name: int(size) for name, size in row.items()}
        picture = next(sources) if content == "picture" else None
        label = "x".join(str(size) for size in sizes.values())
        cases.append(Case(f"{label}-{content}", sizes, content, seed + number, picture))
    cases = _with_full_masks(cases, designed, [spec for spec in inputs if spec.mask], seed)
    whole = [spec for spec in inputs if preprocess is None or spec.name != preprocess.input]
    for tried in ids_tried(dims, whole, inputs, [case.sizes for case in cases], effort, seed):
        if constant or tried.content not in CONSTANT:
            cases.append(Case(tried.name, tried.sizes, tried.content, tried.seed, ids=tried.ids))
    for content in ends_of(inputs) if preprocess is None and constant else ():
        sizes = {dim.name: dim.min for dim in dims}
        label = "x".join(str(size) for size in sizes.values())
        cases.append(Case(f"{label}-{content}", sizes, content, seed + len(cases)))
    if preprocess is not None:
        shown = pictures[:3] if effort == "quick" else pictures
        for picture in shown:
            known = opened.get(picture)
            cases.append(native_case(picture, preprocess, dims)[0] if known is None else known)
        for picture in pictures[len(shown) :]:
            if picture not in opened:
                prepare(picture, preprocess)
    return tuple(cases)


def _with_full_masks(
    cases: Sequence[Case], designed: int, masks: Sequence[TensorSpec], seed: int
) -> list[Case]:
    """The cases, some with full masks, and copies with full masks behind them."""
    full, again = full_masks([case.sizes for case in cases], designed, masks)
    copies = [
        replace(cases[index], name=f"{cases[index].name}-full", seed=seed + len(cases) + number, full=True)
        for number, index in enumerate(again)
    ]
    return [replace(case, full=True) if index in full else case for index, case in enumerate(cases)] + copies


def fewest(cases: Sequence[Case], share: float) -> tuple[Case, ...]:
    """Cases, in their order, that have every size, every kind of content and full masks at every length.

    They are chosen greedily, the most that no chosen case has for the least volume first. Then the smallest
    of the others are added while all of them stay within a ``share`` of the volume of all cases. Those of ids
    are small, and each shows what no other does: they are chosen beside these.
    """
    of_ids = {case.name for case in cases if case.kind in OF_IDS}
    volumes = {case.name: volume((case,)) for case in cases if case.name not in of_ids}
    left: dict[str, set[Any]] = {
        case.name: {("content", case.kind), *case.sizes.items(), *_lengths(case)}
        for case in cases
        if case.name not in of_ids
    }
    wanted: set[Any] = set().union(*left.values())
    chosen: set[str] = set()
    while wanted:
        best = max(left, key=lambda name: (len(left[name] & wanted) / volumes[name], -volumes[name]))
        chosen.add(best)
        wanted -= left.pop(best)
    spent = sum(volumes[name] for name in chosen)
    for name in sorted(left, key=lambda name: volumes[name]):
        spent += volumes[name]
        if spent > share * sum(volumes.values()):
            break
        chosen.add(name)
    return tuple(case for case in cases if case.name in chosen | of_ids)


def _lengths(case: Case) -> Iterator[tuple[str, str, int]]:
    """The sizes at which a case has full masks."""
    if case.full:
        yield from (("full", name, size) for name, size in case.sizes.items() if name != BATCH)


def native_case(picture: Place, preprocess: Preprocess, dims: Sequence[Dim]) -> tuple[Case, Transform]:
    """The case of a picture as ``predict`` sees it, and the transform that preprocessing applied."""
    array, transform = prepare(picture, preprocess)
    height, width = array.shape[2:] if preprocess.layout == "NCHW" else array.shape[1:3]
    sizes = {dim.name: dim.min for dim in dims}
    sizes |= {preprocess.height.name: height, preprocess.width.name: width}
    return Case(f"{picture.name}", sizes, "picture", 0, picture, native=True), transform


def case_or_reason(picture: Place, preprocess: Preprocess, dims: Sequence[Dim]) -> Case | str:
    """``native_case`` of a picture, or why it cannot be used."""
    try:
        return native_case(picture, preprocess, dims)[0]
    except PictureError as error:
        return str(error)


def sizes_of(dim: Dim, count: int) -> tuple[int, ...]:
    """Up to ``count`` of a dim's sizes: both ends, one step above the smallest, and some between.

    The sizes between are spaced evenly on a logarithmic scale.
    """
    steps_low, steps_high = dim.min // dim.multiple, dim.max // dim.multiple
    if steps_high - steps_low < count:
        steps = set(range(steps_low, steps_high + 1))
    else:
        steps = {steps_low, steps_low + 1, steps_high}
        for k in range(1, count - 2):
            between = steps_low * (steps_high / steps_low) ** (k / (count - 2))
            steps.add(min(max(round(between), steps_low + 2), steps_high - 1))
    return tuple(step * dim.multiple for step in sorted(steps)) if dim.min % dim.multiple == 0 else (dim.min,)


def sizes_left(
    dims: Sequence[Dim], tried: Mapping[str, Sequence[Any]], most: int
) -> tuple[dict[str, int], ...]:
    """Sizes of all dims that together have each size that is not ``tried`` of each dim with at most ``most``.

    The batch is tried at each size if it has at most MOST_BATCHES.

    A row has a new size of several dims where that costs less than a row more: large ones beside small ones
    of the others. The other dims have their smallest size.
    """
    smallest = {dim.name: dim.min for dim in dims}
    left = {
        dim.name: sorted(set(range(dim.min, dim.max + 1, dim.multiple)) - set(tried[dim.name]), reverse=True)
        for dim in dims
        if (dim.max - dim.min) // dim.multiple < (min(most, MOST_BATCHES) if dim.name == BATCH else most)
    }
    rows: list[dict[str, int]] = []
    for name in sorted(left, key=lambda name: -len(left[name])):
        free = list(rows)
        for size in left[name]:
            alone = {**smallest, name: size}
            row = min(free, key=_volume, default=None)
            if row is None or _volume({**row, name: size}) - _volume(row) > ROW_COST + _volume(alone):
                rows.append(alone)
                continue
            free = [other for other in free if other is not row]
            row[name] = size
    return tuple(rows)


def _volume(sizes: Mapping[str, int]) -> int:
    return math.prod(sizes.values())


def smallest(cases: Sequence[Case]) -> Case:
    """The case of the least volume, the first if there are several."""
    return min(cases, key=lambda case: volume((case,)))


def volume(cases: Sequence[Case]) -> int:
    """The sum of the cases' input volumes (batch x height x width), which a sweep's time grows with."""
    return sum(_volume(case.sizes) for case in cases)


def work(case: Case) -> float:
    """What a case costs, in elements of an input: its volume, and what every case costs beside it."""
    return ROW_COST + _volume(case.sizes)


def materialise(
    case: Case, inputs: Sequence[TensorSpec], preprocess: Preprocess | None
) -> dict[str, NDArray[Any]]:
    """The arrays of a case, by input name; the same case always gives the same bytes."""
    random = np.random.default_rng(case.seed)
    arrays: dict[str, NDArray[Any]] = {}
    for spec in inputs:
        if preprocess is not None and spec.name == preprocess.input:
            arrays[spec.name] = _pictures(case, spec, preprocess, random)
        elif spec.name in case.ids and case.text is None:
            arrays[spec.name] = shuffled(case.ids[spec.name], spec, case.sizes, random)
        elif case.ids and case.text is None and spec.mask:
            arrays[spec.name] = np.ones_like(draw(spec, case.sizes, random))
        else:
            arrays[spec.name] = draw(filled(spec, case.content), case.sizes, random, full=case.full)
        if spec.mask and case.gaps:
            arrays[spec.name] = with_gaps(arrays[spec.name], case.gaps, random)
    arrays |= texts(case.ids, case.text, case.sizes, inputs, arrays, random)
    if case.replica:
        nearby = np.random.default_rng((case.seed, case.replica))
        for spec in inputs:
            if spec.name in case.ids:
                if case.text is None:
                    arrays[spec.name] = shuffled(case.ids[spec.name], spec, case.sizes, nearby)
                continue
            picture = preprocess is not None and spec.name == preprocess.input
            arrays[spec.name] = draw_beside(arrays[spec.name], spec, nearby, picture=picture)
        arrays |= texts(case.ids, case.text, case.sizes, inputs, arrays, nearby)
    return arrays


def _pictures(
    case: Case, spec: TensorSpec, preprocess: Preprocess, random: np.random.Generator
) -> NDArray[Any]:
    """The input that takes pictures."""
    shape = spec.sized(case.sizes)
    if case.content in CONSTANT and case.content != "alike":
        return flat(case.content, spec, shape)
    if case.kind == "noise":
        return draw(spec, case.sizes, random)
    batch, *sides = shape
    height, width = sides[1:] if preprocess.layout == "NCHW" else sides[:2]
    if case.picture is None:
        return gradients(case.content, (batch, height, width), preprocess, random)
    source = read_picture(case.picture)
    if case.native:
        laid, _ = prepare(source, preprocess)
        return np.repeat(laid, batch, axis=0)
    # Every member of a batch differs, to expose a file that answers for the first picture only.
    turns = itertools.islice(itertools.cycle((None, *Image.Transpose)), batch)
    turned = [source if turn is None else source.transpose(turn) for turn in turns]
    resized = [picture.resize((width, height)) for picture in turned]
    return np.stack([to_input(picture, preprocess) for picture in resized])
