"""The function link: find the node at which a graph in float64 leaves what the module computes."""

import contextlib
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from onnxproof.errors import CheckError
from onnxproof.progress import Progress, silent
from onnxproof.validate.bisect.mend import find_mended
from onnxproof.validate.bisect.moved import Moved, is_foreign
from onnxproof.validate.bisect.nodes import Graph, dtypes_of
from onnxproof.validate.bisect.origin import Counterpart, expected_of, find_origin, unused
from onnxproof.validate.bisect.replay import Replay
from onnxproof.validate.bisect.repro import Finding, Repro, model_of
from onnxproof.validate.bisect.result import Apart, Leaving, NamedNode
from onnxproof.validate.bisect.truth import Oracle, Truth
from onnxproof.validate.bisect.walk import Walk, walk
from onnxproof.validate.exact.arrays import Value
from onnxproof.validate.exact.block import Step
from onnxproof.validate.exact.constants import Proven
from onnxproof.validate.exact.errors import ExactError, UnsupportedError
from onnxproof.validate.exact.graph import ExactGraph

Array = NDArray[Any]

SINGLE = np.dtype(np.float32)

MOST_TRIED = 32
"""Tensors of the module that are tried in a node's place."""

TRIED_AT_ONCE = 8
"""Of these, how many are fetched by one run of the module, and held."""


class StatedGraph:
    """A graph in float64, with the exact values of the constants that are proven from the checkpoint."""

    def __init__(self, proto: onnx.ModelProto, proven: Proven, file: Path) -> None:
        """Takes the declared sizes of the inputs from the proto, so that a node tells of a wrong one.

        ``proven`` are the proto's constants. ``file`` is what the proto was read from, with its external data
        beside it. Raises ModelFileError if the proto is no valid graph.
        """
        for value in proto.graph.input:
            value.type.tensor_type.ClearField("shape")
        self._proto, self._folder = proto, file.parent
        self.exact = ExactGraph(
            proto,
            constants=proven.exact,
            attributes=proven.attributes,
            folder=self._folder,
            own=proven.own,
        )
        self._moved = Moved(proto, self._folder, self.exact, proven)
        self._unproven = {entry.name: entry for entry in proven.unproven}

    def search(
        self,
        oracle: Oracle,
        truth: Truth,
        arrays: Mapping[str, Array],
        case: str,
        progress: Progress = silent,
    ) -> Finding:
        """Find the node on one case. Raises CheckError if the graph cannot be evaluated."""
        inputs = {port.name: arrays[port.name] for port in self.exact.inputs}
        try:
            walked = walk(self.exact, truth, inputs, self._moved, progress=progress)
        except UnsupportedError as error:
            raise CheckError(f"the evaluator in float64 has no {error}: no node can be compared") from error
        except ExactError as error:
            return Finding(notes=(f"on {case} {error}",))
        foreign = frozenset(name for name, entry in self._unproven.items() if is_foreign(entry))
        step = find_origin(walked, truth, foreign)
        told = Finding(nodes=len(walked.steps), tied=_tied(walked), peak_bytes=walked.peak)
        notes = [
            f"{', '.join(lack.outputs)} is not walked: the evaluator in float64 has no {lack}"
            for lack in self.exact.unsupported
        ]
        if step is None:
            notes += [
                f"{self._unproven[name]}: it is not the checkpoint's, and no output on this case tells it"
                for name in foreign
            ]
            return replace(told, notes=tuple(notes))
        told = replace(told, notes=tuple(notes), reason=walked.reason)
        return self._described(told, step, walked, oracle, truth, arrays, case)

    def _described(
        self,
        told: Finding,
        step: Step,
        walked: Walk,
        oracle: Oracle,
        truth: Truth,
        arrays: Mapping[str, Array],
        case: str,
    ) -> Finding:
        """The finding with what should have come out of the node, and with its repro."""
        graph = Graph(self._proto, self._folder)
        last = step

        def fetch(names: Collection[str], until: Step = last) -> dict[str, Value]:
            return _values(self.exact, arrays, names, until)

        def tried(name: str, candidates: Sequence[Counterpart]) -> Counterpart | None:
            replay = Replay.of(name, walked, unused(walked, truth), self.exact, fetch)
            return _first_right(replay, candidates, oracle, truth, arrays)

        step = find_mended(step, walked, truth, self.exact, graph, fetch) or step
        records = {} if step is walked.failed else expected_of(step, walked, truth, tried)
        node = graph.writer[next(filter(None, step.writes))]
        values = fetch({*step.reads, *step.writes})
        fetched = oracle.fetch(arrays, truth, {found.record.number for found in records.values()})
        expected = {
            name: fetched[found.record.number].reshape(found.shape) for name, found in records.items()
        }
        leaving = tuple(
            Leaving(
                name,
                found.record.path,
                found.record.operation,
                apart(values.get(name), expected[name], walked.places[name].limit),
                walked.places[name].shape,
                expected[name].shape,
            )
            for name, found in records.items()
        )
        dtypes = dtypes_of(self._proto)
        feeds = {name: _stored(values[name], name, dtypes) for name in graph.given(node) if name in values}
        outputs = {name: (dtypes.get(name, SINGLE), array.ndim) for name, array in expected.items()}
        repro = Repro(
            model_of(graph, node, feeds, outputs),
            feeds,
            expected,
            f"{node.operator} {node.label}",
            case,
            "what the file computes before it in float64, rounded to the inputs' dtypes",
            "PyTorch computes them",
        )
        return replace(
            told,
            node=NamedNode(node.label, node.operator, node.outputs),
            leaving=leaving,
            constants=tuple(str(self._unproven[name]) for name in step.reads if name in self._unproven),
            repro=repro,
        )


def _first_right(
    replay: Replay,
    candidates: Sequence[Counterpart],
    oracle: Oracle,
    truth: Truth,
    arrays: Mapping[str, Array],
) -> Counterpart | None:
    """The first candidate that makes all right behind it; else the first of those that make most right."""
    best: Counterpart | None = None
    most = 0
    for at in range(0, MOST_TRIED if replay.behind else 0, TRIED_AT_ONCE):
        part = candidates[at : at + TRIED_AT_ONCE]
        fetched = oracle.fetch(arrays, truth, {one.record.number for one in part})
        for one in part:
            tried = replay.tried(fetched[one.record.number].reshape(one.shape))
            if tried.whole:
                return one
            if tried.ties > most:
                best, most = one, tried.ties
    return best


def apart(found: Value, wanted: Array, share: float) -> Apart | None:
    """How far a value is from what it should be; None if it has another shape. ``share`` is what rounding
    allows, as a share of the rms."""
    if not isinstance(found, np.ndarray) or found.shape != wanted.shape:
        return None
    with np.errstate(invalid="ignore", over="ignore"):
        one, other = found.astype(np.float64), wanted.astype(np.float64)
        error = np.abs(one - other)
        # Equal infinities, as in attention masks, are no error; a NaN in place of a number is one.
        error[(one == other) | (np.isnan(one) & np.isnan(other))] = 0.0
        error = np.nan_to_num(error, nan=math.inf, posinf=math.inf)
        scale = _rms(other[np.isfinite(other)])
        return Apart(_rms(error), float(error.max(initial=0.0)), share * scale, scale)


def _rms(values: Array) -> float:
    return math.sqrt(float(np.mean(np.square(values)))) if values.size else 0.0


def _tied(walked: Walk) -> int:
    """How many nodes give a value that has a counterpart."""
    tied = {name for name, place in walked.places.items() if place.status == "tied"}
    return sum(not tied.isdisjoint(step.writes) for step in walked.steps)


class _EnoughError(Exception):
    """Ends a run whose rest is not needed."""


def _values(
    graph: ExactGraph, inputs: Mapping[str, Array], names: Collection[str], until: Step
) -> dict[str, Value]:
    """Values of a run by name. It ends at the node ``until``, or before it if it does not run so far."""
    found: dict[str, Value] = {name: array for name, array in inputs.items() if name in names}

    def watch(step: Step, _: tuple[Value, ...], computed: tuple[Value, ...]) -> None:
        found.update((name, one) for name, one in zip(step.writes, computed, strict=True) if name in names)
        if step is until:
            raise _EnoughError

    with contextlib.suppress(ExactError, _EnoughError):
        graph.run({port.name: inputs[port.name] for port in graph.inputs}, watch=watch)
    return found


def _stored(value: Value, name: str, dtypes: Mapping[str, np.dtype[Any]]) -> Value:
    """A value as the file's runtime would get it: floats in the dtype that the graph declares."""
    if not isinstance(value, np.ndarray) or value.dtype != np.float64:
        return value
    with np.errstate(over="ignore"):
        return value.astype(dtypes.get(name, SINGLE))
