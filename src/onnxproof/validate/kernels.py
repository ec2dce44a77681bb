"""The second half of the runtime link: ask each node that ONNX Runtime runs whether it computes what it says.

ONNX Runtime may err more than PyTorch although the file is right: its kernel for an operator is rougher. So
each node of the graph that it runs is compared with itself in float64, on the inputs that it got from ONNX
Runtime, and held to the rounding bound of its operator (bounds/). Three things make that a proof:

- ONNX Runtime's optimizer has not changed what the graph computes: the optimized graph in float64 answers as
  the file's own graph in float64 does.
- The nodes, run one by one, answer bit for bit as the leg does whose errors are in question.
- Every number of every node lies within its bound.

Then the answer is a sequence of right roundings. Its error is that of rough kernels, or of the graph's own
way of computing, which loses digits whatever computes it (once.py).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxproof.contract import Contract
from onnxproof.errors import OnnxproofError
from onnxproof.runtime.readings.carried import CarriedReading
from onnxproof.runtime.readings.padded import PaddedReading
from onnxproof.runtime.readings.rows import RowReading
from onnxproof.runtime.readings.sets import SetReading
from onnxproof.runtime.session import SessionSettings, first_line
from onnxproof.tensors import Field
from onnxproof.validate.bounds import Asked, allowances, has_rule
from onnxproof.validate.bounds.model import SMALLEST, UNITS
from onnxproof.validate.chain import Chain, Ran, aligned, open_chain
from onnxproof.validate.exact.arrays import Array, Value, widen_value
from onnxproof.validate.exact.errors import ExactError
from onnxproof.validate.exact.graph import ExactGraph, leaves_order_open
from onnxproof.validate.legs.leg import Leg
from onnxproof.validate.once import Once, rounded_once
from onnxproof.validate.pools import channels
from onnxproof.validate.roundings import apart, rms

TYPICAL = 4.0
"""How many times a single rounding's rms error a node may err without being mentioned. Kernels of sums in the
order of PyTorch's measure 1 to 3 on varied inputs."""

NUMBERS_AT_ONCE = 1 << 22
"""How many numbers of rows are compared at once: a row may be a mask."""


@dataclass(frozen=True, slots=True)
class NodeError:
    """How far a node is from its exact value on the runtime's own inputs.

    ``error`` and ``bound`` are those of the number that takes most of its bound. ``share`` is the one over
    the other: over 1, no rounding explains the node. ``roughness`` is the rms error over that of a single
    rounding of each number. ``operator`` has its domain if it is not ONNX's own. ``outputs`` are the names
    that the node writes.
    """

    node: str
    operator: str
    error: float
    bound: float
    share: float
    roughness: float
    outputs: tuple[str, ...] = ()

    @property
    def within(self) -> bool:
        """Whether every number lies within its bound."""
        return self.share <= 1


@dataclass(frozen=True, slots=True)
class ChosenRows:
    """Outputs whose rows a graph chose, so that rounding may change their order.

    ``axes`` is how many axes they have up to that of the rows. Of the outputs ``shared`` each number has its
    place: the prototypes of masks, which all rows of a picture share.
    """

    axes: int
    shared: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Asking:
    """What the nodes answered on one case.

    ``within`` says whether it is proven that nothing but rounding parts the runtime from the file; if not,
    ``reason`` says why. ``rough`` are the nodes that err more than a few roundings, the roughest first.
    ``beyond`` is the node that is furthest beyond the bound of its operator; None if there is none, or if no
    bound is known of it. ``entry`` is the node at which most of the outputs' error enters, and
    ``entry_share`` how much of it; None and 0 if there is no error or not all nodes are within their bounds.
    ``once`` says of each field how much of its error the graph makes with each node rounded once.
    ``nodes`` is how many were asked, and ``peak_bytes`` the most bytes that the values of one node took.
    """

    within: bool
    reason: str
    rough: tuple[NodeError, ...] = ()
    beyond: NodeError | None = None
    entry: NodeError | None = None
    entry_share: float = 0.0
    once: tuple[Once, ...] = ()
    nodes: int = 0
    peak_bytes: int = 0


def ask_nodes(
    leg: Leg,
    file: Path,
    inputs: Mapping[str, Array],
    exact: ExactGraph,
    settings: SessionSettings,
    limits: Sequence[tuple[Field, float]],
    *,
    rows: ChosenRows | None = None,
) -> Asking:
    """Ask the nodes of a file as ONNX Runtime runs it on one input.

    ``leg`` is the one whose answers are in question; it runs ``file`` under ``settings``. ``exact`` is the
    file's graph in float64. ``limits`` has the fields that are asked after, and by how much the optimizer may
    move each: what it folds is rounded to float32 again. ``rows`` is None if the graph chooses none. Never
    raises for what the file or ONNX Runtime do; the reason says it.
    """
    feeds = {name: aligned(array) for name, array in inputs.items()}
    outputs = tuple(dict.fromkeys(field.output for field, _ in limits))
    try:
        with open_chain(file, settings, outputs, exact.own) as chain:
            return _asked(chain, leg, feeds, exact, limits, rows)
    except (OnnxproofError, ExactError) as error:
        return Asking(False, f"the nodes could not be asked: {error}")
    except Exception as error:  # noqa: BLE001
        # ONNX Runtime's exceptions have no common public base below Exception.
        return Asking(False, f"the nodes could not be run one by one: {first_line(error)}")


def rows_chosen(contract: Contract) -> ChosenRows | None:
    """The rows that the graph of a contract chooses; None if it chooses none."""
    reading = contract.reading
    if isinstance(reading, PaddedReading):
        return ChosenRows(2, frozenset(reading.shared if isinstance(reading, CarriedReading) else ()))
    if isinstance(reading, RowReading):
        return ChosenRows(1)
    return ChosenRows(2) if isinstance(reading, SetReading) and reading.any_order else None


def _asked(
    chain: Chain,
    leg: Leg,
    feeds: Mapping[str, Array],
    exact: ExactGraph,
    limits: Sequence[tuple[Field, float]],
    rows: ChosenRows | None,
) -> Asking:
    lacking = next((step for step in chain.steps if step.lack is not None), None)
    if lacking is not None:
        return Asking(False, f"the evaluator in float64 has no {lacking.lack}")
    stated = chain.exact.run(feeds)
    wanted = exact.run(feeds)
    moved = _moved(stated, wanted, limits)
    if moved is not None and (rows is None or not _same_rows(stated, wanted, limits, rows)):
        return Asking(False, moved)
    answered = leg.run(feeds).outputs
    whole = {name: answered[name] for name in chain.outputs}
    kinds: dict[str, np.dtype[Any]] = {}
    walked = _walk(chain, feeds, whole, kinds)
    if walked.reason:
        return walked
    once = rounded_once(chain, feeds, whole, [field for field, _ in limits], kinds)
    return replace(_entered(chain, feeds, stated, whole, walked), once=once)


def _moved(
    optimized: Mapping[str, Array], file: Mapping[str, Array], limits: Sequence[tuple[Field, float]]
) -> str | None:
    """How the optimized graph differs from the file's in float64; None if it does not."""
    for field, limit in limits:
        if field.output not in optimized or field.output not in file:
            return f"{field.output} is not evaluated in float64"
        one, other = optimized[field.output], file[field.output]
        if one.shape != other.shape:
            return f"ONNX Runtime's optimizer makes {field.output} {list(one.shape)} of {list(other.shape)}"
        largest = float(np.max(np.abs(apart(channels(one, field), channels(other, field))), initial=0.0))
        if not largest <= limit:
            return (
                f"ONNX Runtime's optimizer changes what the graph computes: {field.name} moves by "
                f"{largest:.3g} in float64 (limit {limit:.3g})"
            )
    return None


def _same_rows(
    optimized: Mapping[str, Array],
    file: Mapping[str, Array],
    limits: Sequence[tuple[Field, float]],
    rows: ChosenRows,
) -> bool:
    """Whether both graphs chose the same rows, in any order: each is within all limits of one of the other's.

    What the rows share is the same in its place.
    """
    if not all(field.output in graph for graph in (optimized, file) for field, _ in limits):
        return False
    near: NDArray[np.bool_] | None = None
    fields = [
        (channels(optimized[f.output], f), channels(file[f.output], f), f, limit) for f, limit in limits
    ]
    for one, other, field, limit in sorted(fields, key=lambda entry: entry[0].size):
        if one.shape != other.shape or one.ndim < rows.axes:
            return False
        if field.output in rows.shared:
            if not np.max(np.abs(apart(one, other)), initial=0.0) <= limit:
                return False
            continue
        pictures, count = (1, *one.shape[:1]) if rows.axes == 1 else one.shape[:2]
        if near is None:
            near = np.ones((pictures, count, count), bool)
        flat = [array.reshape(pictures, count, -1) for array in (one, other)]
        picture, here, there = np.nonzero(near)
        step = max(NUMBERS_AT_ONCE // max(flat[0].shape[2], 1), 1)
        for start in range(0, len(here), step):
            chosen = slice(start, start + step)
            at, i, j = picture[chosen], here[chosen], there[chosen]
            moved = np.abs(apart(flat[0][at, i], flat[1][at, j])).max(axis=-1, initial=0.0)
            near[at, i, j] = moved <= limit
    return near is None or bool(np.all(near.any(axis=-1)) and np.all(near.any(axis=-2)))


def _walk(
    chain: Chain, feeds: Mapping[str, Array], whole: Mapping[str, Array], kinds: dict[str, np.dtype[Any]]
) -> Asking:
    """Hold every node to its bound, and what the nodes answer to the whole session's answer.

    ``kinds`` is filled with the dtypes of what the nodes write.
    """
    found: list[NodeError] = []
    peak = 0
    for ran in chain.walk(feeds):
        judged, size = judge_node(chain.exact, ran)
        peak = max(peak, size)
        found.append(judged)
        for name, value in zip(ran.step.writes, ran.outputs, strict=True):
            if isinstance(value, np.ndarray):
                kinds[name] = value.dtype
            if name in whole and not np.array_equal(whole[name], value, equal_nan=value.dtype.kind == "f"):
                reason = f"{judged.node}, run by itself, does not answer as it does in the whole session"
                return Asking(False, reason, nodes=len(found), peak_bytes=peak)
    rough = sorted((node for node in found if node.roughness > TYPICAL), key=lambda node: -node.roughness)
    walked = Asking(True, "", tuple(rough), nodes=len(found), peak_bytes=peak)
    furthest = max(found, key=lambda node: node.share, default=None)
    if furthest is None or furthest.within:
        return walked
    known = has_rule(next(step for step in chain.steps if step.label == furthest.node))
    return replace(
        walked, within=False, reason=_told(furthest, known=known), beyond=furthest if known else None
    )


def _told(node: NodeError, *, known: bool) -> str:
    """Why a node is not within its bound."""
    if math.isinf(node.share):
        told = "answers other numbers than its operator says"
    else:
        told = f"errs {node.error:.3g}, {node.share:.3g} times what rounding can do ({node.bound:.3g})"
    unknown = "" if known else "; no wider bound is known of that operator"
    return f"{node.operator} {node.node} {told} on its own inputs{unknown}"


def _entered(
    chain: Chain,
    feeds: Mapping[str, Array],
    stated: Mapping[str, Array],
    whole: Mapping[str, Array],
    walked: Asking,
) -> Asking:
    """Find the node at which half of the outputs' error is reached: the nodes before it run in ONNX Runtime,
    it and the others in float64."""

    def error(answer: Mapping[str, Array]) -> float:
        return max((rms(apart(answer[name], stated[name])) for name in chain.outputs), default=0.0)

    total = error(whole)
    if not total or not math.isfinite(total):
        return walked
    low, high, below, above = 0, len(chain.steps), 0.0, total
    while high - low > 1:
        middle = (low + high) // 2
        reached = error(chain.answer(feeds, middle))
        if reached >= total / 2:
            high, above = middle, reached
        else:
            low, below = middle, reached
    entry = next(
        judge_node(chain.exact, ran)[0] for at, ran in enumerate(chain.walk(feeds)) if at == high - 1
    )
    return replace(walked, entry=entry, entry_share=min(1.0, (above - below) / total))


def judge_node(graph: ExactGraph, ran: Ran) -> tuple[NodeError, int]:
    """How far a node that was run is from its exact value, and how many bytes its values took.

    Raises what ``ExactGraph.run_node`` raises.
    """
    inputs = tuple(map(widen_value, ran.inputs))
    exact = graph.run_node(ran.step, inputs)
    if leaves_order_open(ran.step):
        axis = ran.step.attributes.get("axis", -1)
        ran, exact = replace(ran, outputs=_by_index(ran.outputs, axis)), _by_index(exact, axis)
    unit = max((_unit(value) for value in ran.outputs), default=UNITS["float32"])
    judged = NodeError(ran.step.label, _operator(ran), 0.0, 0.0, 0.0, 0.0, ran.step.writes)
    permitted = allowances(Asked(graph, ran.step, inputs, exact, unit))
    size = sum(map(_nbytes, (*ran.inputs, *ran.outputs, *inputs, *exact, *permitted)))
    for found, wanted, bound in zip(ran.outputs, exact, permitted, strict=True):
        if found is None:
            continue
        one = _judge_value(judged, found, wanted, bound, unit)
        if not one.share <= judged.share:
            judged = one
    return judged, size


def _by_index(outputs: tuple[Value, ...], axis: int) -> tuple[Value, ...]:
    """The values and indices of a TopK in the order of the indices."""
    values, indices = map(np.asarray, outputs)
    order = np.argsort(indices, axis=axis, kind="stable")
    return np.take_along_axis(values, order, axis), np.take_along_axis(indices, order, axis)


def _judge_value(node: NodeError, found: Value, wanted: Value, bound: Array | None, unit: float) -> NodeError:
    if bound is None or not isinstance(found, np.ndarray) or found.shape != np.shape(wanted):
        share = 0.0 if _equal(found, wanted) else math.inf
        return replace(node, error=share, share=share, roughness=share)
    if not found.size:
        return node
    errors = np.abs(apart(found, wanted))
    # A bound is NaN where what it is computed from is, such as the logarithm of a negative number.
    shares = np.where(errors == 0, 0.0, errors / np.broadcast_to(bound, errors.shape))
    at = int(np.argmax(shares))
    finite = np.where(np.isfinite(wanted), wanted, 0.0)
    once = rms(np.maximum(unit * np.abs(finite), SMALLEST)) / math.sqrt(3)
    return replace(
        node,
        error=float(errors.reshape(-1)[at]),
        bound=float(np.broadcast_to(bound, errors.shape).reshape(-1)[at]),
        share=float(shares.reshape(-1)[at]),
        roughness=rms(errors) / once,
    )


def _equal(found: Value, wanted: Value) -> bool:
    if isinstance(found, list) and isinstance(wanted, list):
        return len(found) == len(wanted) and all(map(_equal, found, wanted))
    if found is None or wanted is None:
        return found is wanted
    one, other = np.asarray(found), np.asarray(wanted)
    return one.shape == other.shape and bool(np.all((one == other) | ((one != one) & (other != other))))


def _unit(value: Value) -> float:
    if isinstance(value, np.ndarray) and value.dtype.kind == "f":
        return UNITS.get(value.dtype.name, UNITS["float32"])
    return 0.0


def _nbytes(value: Any) -> int:
    return value.nbytes if isinstance(value, np.ndarray) else 0


def _operator(ran: Ran) -> str:
    proto = ran.step.proto
    return f"{proto.domain}.{proto.op_type}" if proto.domain else str(proto.op_type)
