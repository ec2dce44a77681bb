"""Fail a file that holds other numbers than the checkpoint where no case shows what they do.

What a model decides inside hides the numbers that it decides by: a weight in front of an argmax, a top-k or a
codebook may be far off, and each case still decides alike. So may the weights of an expert or a branch that
no case comes to. The file itself shows which constants these are. With the checkpoint's own numbers in its
place, a constant that matters answers otherwise: then the function link has judged it. If no case answers
otherwise, none tells what it does.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir

from onnxproof.graph import OnnxGraph, Stored, reads
from onnxproof.validate.checks import Check
from onnxproof.validate.exact.arrays import Array
from onnxproof.validate.exact.constants import FLOATS, Proven, replaceable
from onnxproof.validate.exact.errors import ExactError
from onnxproof.validate.exact.known import Known
from onnxproof.validate.exact.later import made
from onnxproof.validate.exact.nearest import ROUNDING, rightful
from onnxproof.validate.exact.scalars import is_near_any
from onnxproof.validate.legs.exact_graph import ExactLeg
from onnxproof.validate.legs.leg import Arrays

UNSEEN = "unseen"

LEAST = 1e-5
"""The least rms difference from the checkpoint's numbers, as a share of their rms, that no rounding to
float32 explains: a hundred units in its last place."""

ROUNDINGS = 16
"""The same in roundings of a constant's own dtype."""

MOST = 16
"""How many constants are looked at."""

SAME = 1e-9
"""Two answers in float64 are the same up to this share of the largest number."""

SHOWN = 3
"""How many constants the reason names."""

DECIDING = frozenset(
    "ArgMax ArgMin Ceil Equal Floor Greater GreaterOrEqual Hardmax Less LessOrEqual NonMaxSuppression "
    "NonZero Round Sign TopK Unique".split()
)
"""Operators whose results do not tell of small changes of what they read."""

WithOther = Callable[[Mapping[str, Array]], ExactLeg]
"""The graph with other values for constants, by name."""


@dataclass(frozen=True, slots=True, eq=False)
class _Suspect:
    """A constant that stands for something else, in words, and the numbers that it should hold."""

    name: str
    shape: tuple[int, ...]
    stands_for: str
    numbers: Array
    share: float

    def __str__(self) -> str:
        return (
            f"{self.name} ({list(self.shape)}) stands for {self.stands_for} and is {self.share:.1e} of its "
            "size from it"
        )


def unseen_checks(
    graph: OnnxGraph,
    file: Path,
    known: Known,
    proven: Proven,
    leg: ExactLeg,
    with_other: WithOther,
    inputs: Callable[[], Iterable[Arrays]],
    *,
    outputs: Collection[str],
    told: Collection[str] = (),
    whose: str = "the checkpoint's",
) -> tuple[Check, ...]:
    """A failed check if constants hold other numbers than ``known`` and no case shows what they do.

    ``leg`` is the graph in float64, ``inputs`` makes those of the cases on which it is evaluated, the
    smallest first. Only constants that lead to ``outputs`` count, and none that other checks have ``told``.
    """
    suspects = _suspects(graph, file, known, proven, frozenset(told), outputs)
    if not suspects:
        return ()
    unseen, cases = _alone(suspects, leg, with_other, inputs(), outputs)
    if (
        not unseen
        and len(suspects) > 1
        and (cases := _together(suspects, leg, with_other, inputs(), outputs))
    ):
        unseen = suspects
    if not unseen or not cases:
        return ()
    named = "; ".join(map(str, unseen[:SHOWN]))
    more = f"; and {len(unseen) - SHOWN} more" if len(unseen) > SHOWN else ""
    on = "the case" if cases == 1 else f"all {cases} cases"
    reason = (
        f"{named}{more}. With {whose} numbers in its place the file answers alike on {on}, so that none "
        "shows what its own do"
    )
    return (Check(UNSEEN, "fail", reason, len(unseen), 0, leg.name),)


def _alone(
    suspects: Sequence[_Suspect],
    leg: ExactLeg,
    with_other: WithOther,
    inputs: Iterable[Arrays],
    outputs: Collection[str],
) -> tuple[Sequence[_Suspect], int]:
    """The constants of which no case shows what they do, and on how many cases they were tried."""
    left = [(one, with_other({one.name: one.numbers})) for one in suspects]
    cases = 0
    for arrays in inputs:
        own = _answered(leg, arrays, outputs)
        if own is None:
            continue
        cases += 1
        left = [(one, other) for one, other in left if _same(own, _answered(other, arrays, outputs))]
        if not left:
            break
    return [one for one, _ in left], cases


def _together(
    suspects: Sequence[_Suspect],
    leg: ExactLeg,
    with_other: WithOther,
    inputs: Iterable[Arrays],
    outputs: Collection[str],
) -> int:
    """On how many cases the file answers alike with the right numbers of all constants, if it decides by
    other numbers then; 0 if it answers otherwise, or if one constant makes up for the other.

    Two classes may be exchanged in a weight and in its bias.
    """
    other = with_other({one.name: one.numbers for one in suspects})
    cases, decides_otherwise = 0, False
    for arrays in inputs:
        before: dict[str, Array] = {}
        after: dict[str, Array] = {}
        own = _answered(leg, arrays, outputs, before)
        if own is None:
            continue
        if not _same(own, _answered(other, arrays, outputs, after)):
            return 0
        cases += 1
        decides_otherwise = decides_otherwise or not _same(before, after)
    return cases if decides_otherwise else 0


def _suspects(
    graph: OnnxGraph,
    file: Path,
    known: Known,
    proven: Proven,
    told: frozenset[str],
    outputs: Collection[str],
) -> list[_Suspect]:
    """The constants that hold other numbers than they should by more than rounding, those in which the least
    differs first."""
    leading = _leading_to(graph, outputs)
    held = {name for at, origin in proven.origins.items() if at in leading for name in origin.names}
    held |= {name for one in proven.unproven for near in one.near if near.close for name in near.names}
    missing = known.weights.tensors.keys() - held
    rounding = {one.name: one.rounding for one in proven.unproven if not one.rounded}
    rounding |= dict.fromkeys(_under_another_name(proven, known), 0.0)
    multiplied = frozenset(_multiplied(proven, known))
    wanted = ((rounding.keys() | multiplied) & replaceable(graph) & leading) - told
    found = []
    for stored in graph.stored if wanted else ():
        if stored.name not in wanted or stored.dtype not in FLOATS:
            continue
        values = _numbers(stored, file)
        right: tuple[str, Array] | None
        if stored.name in multiplied:
            origin = proven.origins[stored.name]
            exact = np.asarray(made(proven.exact.get(stored.name, values)), np.float64)
            right = f"{origin.text} without that factor", exact / origin.factor
        else:
            right = rightful(stored.name, values, known, missing)
        if right is None:
            continue
        what, numbers = right
        with np.errstate(all="ignore"):
            share = float(np.sqrt(np.mean((values - numbers) ** 2) / np.mean(numbers**2)))
        if share > max(LEAST, ROUNDINGS * rounding.get(stored.name, 0.0)):
            found.append(_Suspect(stored.name, stored.shape, what, numbers, share))
    return sorted(found, key=lambda one: one.share)[:MOST]


def _numbers(stored: Stored, file: Path) -> Array:
    values = stored.array(file)
    return values if values.dtype.kind == "f" else values.astype(np.float32)


def _under_another_name(proven: Proven, known: Known) -> Iterator[str]:
    """The constants that bear the name of a tensor of the checkpoint and hold the numbers of another."""
    for name, origin in proven.origins.items():
        if origin.copied and name in known.weights.tensors and name not in origin.names:
            yield name


def _multiplied(proven: Proven, known: Known) -> Iterator[str]:
    """The constants that are multiplied by a number that the module does not compute with."""
    for name, origin in proven.origins.items():
        if origin.factor != 1 and not is_near_any(origin.factor, ROUNDING, known.recorded.scalars):
            yield name


def _leading_to(graph: OnnxGraph, outputs: Collection[str]) -> frozenset[str]:
    """The names of the values of the graph itself from which outputs are computed."""
    left: list[ir.Value] = [value for value in graph.outputs if value.name in outputs]
    seen: set[ir.Value] = set()
    while left:
        value = left.pop()
        if value in seen:
            continue
        seen.add(value)
        node = value.producer()
        if node is not None:
            left += reads(node)
    return frozenset(str(value.name) for value in seen)


def _answered(
    leg: ExactLeg, arrays: Arrays, outputs: Collection[str], read: dict[str, Array] | None = None
) -> Mapping[str, Array] | None:
    """The outputs of a graph by name; None if it does not run. ``read`` is filled with what it decides by."""

    def watch(step: Any, values: tuple[Any, ...], results: tuple[Any, ...]) -> None:
        if read is not None and (step.proto.op_type in DECIDING or _cuts_off(step, values, results)):
            read.update(
                (name, value)
                for name, value in zip(step.reads, values, strict=True)
                if isinstance(value, np.ndarray)
            )

    try:
        with np.errstate(all="ignore"):
            found = leg.evaluate(arrays, None if read is None else watch)
    except ExactError:
        return None
    return {name: found[name] for name in outputs if name in found}


def _cuts_off(step: Any, values: tuple[Any, ...], results: tuple[Any, ...]) -> bool:
    """Whether a node casts floats to integers or to bool."""
    return bool(step.proto.op_type == "Cast" and values[0].dtype.kind == "f" != results[0].dtype.kind)


def _same(one: Mapping[str, Array], other: Mapping[str, Array] | None) -> bool:
    return (
        other is not None
        and one.keys() == other.keys()
        and all(_equal(array, other[name]) for name, array in one.items())
    )


def _equal(one: Array, other: Array) -> bool:
    if one.shape != other.shape or one.dtype.kind != "f":
        return np.array_equal(one, other)
    sound = np.isfinite(one)
    if not np.array_equal(one[~sound], other[~sound], equal_nan=True):
        return False
    if not sound.any():
        return True
    return bool(np.max(np.abs(one[sound] - other[sound])) <= SAME * np.max(np.abs(one[sound])))
