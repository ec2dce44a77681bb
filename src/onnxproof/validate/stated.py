"""Open a file's graph in float64 for the function link, with the exact values of its proven constants."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxproof.graph import OnnxGraph
from onnxproof.runtime.readings.rows import RowReading
from onnxproof.tensors import Field
from onnxproof.validate.cases import Case, fewest, materialise
from onnxproof.validate.exact.constants import Proven, prove_constants
from onnxproof.validate.exact.known import Known
from onnxproof.validate.legs.exact_graph import ExactLeg
from onnxproof.validate.legs.leg import Arrays, Leg, Truth
from onnxproof.validate.legs.pytorch import moved
from onnxproof.validate.pools import channels
from onnxproof.validate.trial import Plan, Stated
from onnxproof.wrappers.family import WrappedModel

Array = NDArray[Any]

EVALUATED = {"quick": 0.5, "normal": 0.25, "thorough": 1.0}
"""The share of the cases' volume on which graphs are evaluated in float64, by effort. The function link needs
no large sample: both sides are exact, so one case of each size and content shows what another would."""

HALF_UNIT = 2.0**-24
"""Half a float32 unit in the last place: how far rounding moves a constant."""

DOUBLE_UNIT = 2.0**-52

DOUBLE_MARGIN = 8.0
"""How many times what one moved run shows float64's rounding may make: every operation rounds, not only the
weights."""

SINGLE_MARGIN = 2.0
"""The same for unproven constants. They are moved as far as rounding to nearest can; most round less."""


def open_graph(
    model: WrappedModel, file: Path, plan: Plan, truth: Truth, known: Known, candidates: Sequence[int]
) -> Stated:
    """The graph of a file. Raises ModelFileError if the file is no ONNX file."""
    proven = prove_constants(OnnxGraph.read(file), known, file)
    threads = plan.settings.threads
    leg = ExactLeg(file, threads, constants=proven.exact, attributes=proven.attributes)
    missing = {
        name: f"the evaluator in float64 has no {lack}"
        for lack in leg.graph.unsupported
        for name in lack.outputs
    }
    missing |= {name: f"no oracle: {reason}" for name, reason in truth.oracle_missing.items()}
    if isinstance(model.contract.reading, RowReading) and missing:
        # Rows are paired by all of their outputs.
        reason = next(iter(missing.values()))
        missing = {spec.name: missing.get(spec.name, reason) for spec in model.contract.outputs}
    fields = tuple(field for field in model.contract.fields if field.output not in missing)
    contract = replace(model.contract, fields=fields)
    cases = fewest(plan.cases, EVALUATED[plan.settings.effort]) if fields else ()
    closer = None if truth.oracle is None else _Closer(model, file, truth.oracle, leg, proven, threads)
    names = frozenset(case.name for case in cases)
    return Stated(leg, tuple(candidates), names, contract, missing, proven, closer)


class _Closer:
    """Measures how far rounding alone moves a graph and the oracle apart, field by field.

    The oracle runs with its weights and float inputs moved by one float64 unit in the last place. The graph
    runs with the constants that are not proven moved by half a float32 unit.
    """

    def __init__(
        self, model: WrappedModel, file: Path, oracle: Leg, leg: ExactLeg, proven: Proven, threads: int
    ) -> None:
        self._model, self._file, self._threads = model, file, threads
        self._oracle, self._leg, self._proven = oracle, leg, proven

    def __call__(self, cases: Sequence[Case], fields: Sequence[Field]) -> Mapping[str, float]:
        random = np.random.default_rng(0)
        moved_oracle = moved(self._model, self._threads, lambda array: _moved(array, DOUBLE_UNIT, random))
        moved_graph = self._moved_graph(random)
        largest = dict.fromkeys((field.name for field in fields), 0.0)
        for case in cases:
            arrays = materialise(case, self._model.contract.inputs, self._model.contract.preprocess)
            near = {name: _moved(array, DOUBLE_UNIT, random) for name, array in arrays.items()}
            pairs = [(DOUBLE_MARGIN, self._oracle.run(arrays).outputs, moved_oracle.run(near).outputs)]
            if moved_graph is not None:
                pairs.append((SINGLE_MARGIN, self._leg.run(arrays).outputs, moved_graph.run(arrays).outputs))
            for field in fields:
                allowed = sum(margin * _difference(a, b, field) for margin, a, b in pairs)
                largest[field.name] = max(largest[field.name], allowed)
        return largest

    def _moved_graph(self, random: np.random.Generator) -> ExactLeg | None:
        """None if every constant is proven."""
        constants = self._leg.graph.constants
        unproven = {
            entry.name: np.asarray(constants[entry.name])
            for entry in self._proven.unproven
            if entry.name in constants
        }
        if not unproven:
            return None
        changed = {name: _moved(array, HALF_UNIT, random) for name, array in unproven.items()}
        constants = {**self._proven.exact, **changed}
        return ExactLeg(self._file, self._threads, constants=constants, attributes=self._proven.attributes)


def _moved(values: Array, unit: float, random: np.random.Generator) -> Array:
    """Floats as float64, each moved up or down by a share of itself; others as they are."""
    if values.dtype.kind != "f":
        return values
    signs = np.where(random.random(values.shape) < 0.5, 1 - unit, 1 + unit)
    return np.asarray(values.astype(np.float64) * signs)


def _difference(a: Arrays, b: Arrays, field: Field) -> float:
    if field.output not in a or field.output not in b or a[field.output].shape != b[field.output].shape:
        return 0.0
    with np.errstate(invalid="ignore"):
        apart = np.abs(channels(a[field.output], field) - channels(b[field.output], field).astype(np.float64))
    return float(np.nanmax(apart, initial=0.0))
