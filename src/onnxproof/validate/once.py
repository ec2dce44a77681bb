"""What a graph errs if each of its nodes is computed exactly and rounded once: the price of its way.

No kernel does better. E[x^2] - E[x]^2 is a variance in exact arithmetic; in float32 the difference keeps few
of the digits of x^2 if the mean is large against the deviation. A checkpoint that computes the variance of
what is left of x without its mean keeps them. A file that computes it the other way is worse in any runtime,
so it is the file that is at fault and not a kernel.

Decisions are held: where a node writes integers, booleans, or steps such as Round, it writes here what it
writes without rounding. So the error is that of roundings alone, in the same rows.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from onnxproof.tensors import Field
from onnxproof.validate.bounds.model import TINY, UNITS
from onnxproof.validate.chain import Chain
from onnxproof.validate.exact.arrays import Array, Value
from onnxproof.validate.exact.block import Step
from onnxproof.validate.pools import channels
from onnxproof.validate.roundings import apart, rms

STEPS = frozenset("Ceil Floor Hardmax MaxRoiPool Mod Round Shrink Sign ThresholdedRelu".split())
"""Operators of floats whose result jumps: rounding must not decide it here."""

SUMS = frozenset(("Add", "Sub", "Sum"))
"""Operators whose result may be much smaller than what they read."""

CANCELLED = 0.1
"""What a sum leaves of the largest number that it reads, and is then said to cancel."""


@dataclass(frozen=True, slots=True)
class Lost:
    """The node at which most digits are lost.

    ``before`` is the error of what it reads, ``after`` of what it writes, rms, as shares of the numbers' own
    rms. ``read`` and ``written`` are their largest magnitudes.
    """

    node: str
    operator: str
    before: float
    after: float
    read: float
    written: float

    def __str__(self) -> str:
        known = self.node.startswith(f"{self.operator} of ")
        name = self.node if known else f"{self.operator} {self.node}"
        kept = f"to {self.after:.1g} of its size" if self.after < 1 else "to no digit"
        errs = f"it reads what is right to {self.before:.1g} of its size, and writes what is right {kept}"
        if self.operator in SUMS and self.written <= CANCELLED * self.read:
            return f"{name} cancels, of {self.read:.3g} it leaves {self.written:.3g}: {errs}"
        if self.written < TINY:
            return f"{name} underflows to {self.written:.3g}: {errs}"
        return f"{name} loses them: {errs}"


@dataclass(frozen=True, slots=True)
class Once:
    """What each node rounded once makes of one field's error, on one case.

    ``share`` is the rms error of the graph so rounded over that of the runtime. ``lost`` is where most of
    its digits are lost; None if no node is worse than what it reads. ``case`` is the case's name.
    """

    field: str
    share: float
    lost: Lost | None
    case: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class _Known:
    """A value that is off: by what share of itself, and how far, rms; ``largest`` is its largest magnitude.

    ``step`` wrote it.
    """

    share: float
    far: float
    largest: float
    step: Step


def rounded_once(
    chain: Chain,
    feeds: Mapping[str, Array],
    whole: Mapping[str, Array],
    fields: Sequence[Field],
    kinds: Mapping[str, np.dtype[Any]],
) -> tuple[Once, ...]:
    """How much of the error of ``whole``, the runtime's answer, comes of rounding each node once.

    ``kinds`` are the dtypes of what the nodes write. Raises what ``ExactGraph.run_node`` raises.
    """
    exact: dict[str, Value] = dict(feeds)
    once: dict[str, Value] = dict(feeds)
    known: dict[str, _Known] = {}
    for at, step in enumerate(chain.steps):
        wanted = chain.computed(step, exact)
        moved = any(name in known for name in step.reads)
        rounded = _rounded(step, wanted, chain.computed(step, once) if moved else wanted, kinds)
        for name, one, other in zip(step.writes, rounded, wanted, strict=True):
            if one is not other:
                known |= _off(name, one, other, step)
        chain.keep(at, step, wanted, exact)
        chain.keep(at, step, rounded, once)
    found = []
    for field in fields:
        name = field.output
        stated, own, made = (channels(np.asarray(held[name]), field) for held in (exact, once, whole))
        total = rms(apart(made, stated)) if made.shape == stated.shape else math.inf
        share = rms(apart(own, stated)) / total if 0 < total < math.inf else 0.0
        found.append(Once(field.name, share, _lost(name, known)))
    return tuple(found)


def _rounded(
    step: Step, wanted: Sequence[Value], computed: Sequence[Value], kinds: Mapping[str, np.dtype[Any]]
) -> tuple[Value, ...]:
    """What a node writes: ``computed``, rounded to its dtypes; ``wanted`` where rounding must not decide."""
    held = step.proto.op_type in STEPS or any(
        isinstance(other, np.ndarray) and np.shape(one) != other.shape
        for one, other in zip(computed, wanted, strict=True)
    )
    return tuple(
        other
        if held or not isinstance(other, np.ndarray) or other.dtype.kind != "f"
        else _narrow(np.asarray(one), kinds.get(name, other.dtype))
        for name, one, other in zip(step.writes, computed, wanted, strict=True)
    )


def _narrow(value: Array, kind: np.dtype[Any]) -> Array:
    with np.errstate(all="ignore"):
        return value.astype(kind)


def _off(name: str, one: Array, other: Array, step: Step) -> dict[str, _Known]:
    """What is known of a value that is off; empty if it is not."""
    far = rms(apart(one, other))
    if not far:
        return {}
    size = np.abs(np.where(np.isfinite(other), other, 0.0))
    whole = rms(size)
    return {name: _Known(far / whole if whole else math.inf, far, float(size.max()), step)}


def _lost(output: str, known: Mapping[str, _Known]) -> Lost | None:
    """The node that makes the most of what its inputs are off by, on the way back from an output.

    The way follows the input that is off most: of a sum the one that is off farthest, else the one of which
    the error is the largest share.
    """
    found: Lost | None = None
    name = output
    worst = 1.0
    while name in known:
        value = known[name]
        given = [known[one] for one in value.step.reads if one in known]
        before = max((one.share for one in given), default=0.0)
        times = value.share / max(before, UNITS["float32"])
        if times > worst:
            operator = value.step.proto.op_type
            read = max((one.largest for one in given), default=0.0)
            least = max(before, UNITS["float32"])
            found = Lost(value.step.label, operator, least, value.share, read, value.largest)
            worst = times
        sums = value.step.proto.op_type in SUMS
        name = max(
            (one for one in value.step.reads if one in known),
            key=lambda one: known[one].far if sums else known[one].share,
            default="",
        )
    return found
