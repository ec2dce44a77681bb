"""What a damaged file changes, measured in float64."""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from onnxproof.runtime.manifest import METADATA_KEY
from onnxproof.validate.cases import Case, materialise
from onnxproof.validate.exact.errors import UnsupportedError
from onnxproof.validate.exact.graph import ExactGraph, NotRunnableError
from onnxproof.validate.legs.leg import Arrays
from onnxproof.validate.legs.onnx_runtime import OrtLeg
from onnxproof.validate.legs.pytorch import OracleLeg
from onnxproof.validate.measure import Measurement
from onnxproof.wrappers.family import WrappedModel

FLIPPED = 0.01
"""The share of labels, in float64, from which on a fault changes them, and not a number that tips a few."""


def answer(leg: OrtLeg, arrays: Arrays) -> Arrays | None:
    """What a file answers. None if ONNX Runtime cannot run it."""
    try:
        return leg.run(arrays).outputs
    except Exception:  # noqa: BLE001
        # ONNX Runtime's exceptions have no common public base below Exception.
        return None


def parted(model: WrappedModel, cases: Sequence[Case], file: Path, floors: Sequence[Measurement]) -> float:
    """How far a file's graph, with its own constants, parts from the network, both in float64.

    It is the rms over all cases, in units of PyTorch's rms error; the largest over the fields. Infinite if
    the graph does not run on a case, or answers in other shapes or with NaN, or if ONNX Runtime answers NaN
    or nothing where the network answers a number.
    """
    oracle = OracleLeg(model, 1)
    exact = ExactGraph(file)
    runtime = OrtLeg(file, ("CPUExecutionProvider",), 1)
    squares: dict[str, float] = {}
    counts: dict[str, int] = {}
    for case in cases:
        arrays = materialise(case, model.contract.inputs, model.contract.preprocess)
        try:
            found = exact.run(arrays)
        except NotRunnableError:
            return math.inf
        wanted, computed = oracle.run(arrays).outputs, answer(runtime, arrays)
        if computed is None:
            return math.inf
        for field in model.contract.fields:
            a, b = wanted[field.output], found[field.output]
            if a.shape != b.shape or not np.array_equal(np.isnan(a), np.isnan(b)):
                return math.inf
            if np.isnan(computed[field.output]).any() and not np.isnan(a).any():
                return math.inf
            change = np.nan_to_num(np.subtract(b, a, dtype=np.float64))
            squares[field.name] = squares.get(field.name, 0.0) + float((change**2).sum())
            counts[field.name] = counts.get(field.name, 0) + change.size
    return _largest(squares, counts, _units(floors))


def _units(floors: Sequence[Measurement]) -> dict[str, float]:
    """PyTorch's rms error in float32, by the name of the field."""
    return {measured.name: measured.floor_rms for measured in floors}


def _largest(squares: Mapping[str, float], counts: Mapping[str, int], units: Mapping[str, float]) -> float:
    """The largest rms of a field in its unit. Fields without a unit do not count."""
    return max(
        (math.sqrt(squares[name] / max(counts[name], 1)) / units[name] for name in squares if name in units),
        default=0.0,
    )


def _computed(exact: ExactGraph, leg: OrtLeg, arrays: Arrays) -> Arrays | None:
    """What a file computes, in float64. None if ONNX Runtime cannot run it.

    What draws random numbers has no value in float64: such an output is what ONNX Runtime answers.
    """
    try:
        found = exact.run(arrays)
    except UnsupportedError:
        found = {}
    except NotRunnableError:
        if answer(leg, arrays) is not None:
            raise
        return None
    if not exact.unsupported:
        return found
    own = answer(leg, arrays)
    return None if own is None else {**own, **found}


class Effects:
    """What files change in float64 against the healthy one, ``base``, field by field.

    ``floors`` have PyTorch's own errors in float32, which are the units.
    """

    def __init__(
        self, model: WrappedModel, cases: Sequence[Case], base: Path, floors: Sequence[Measurement]
    ) -> None:
        self._model = model
        self._inputs = [materialise(case, model.contract.inputs, model.contract.preprocess) for case in cases]
        self._base = onnx.load(base)
        exact = ExactGraph(self._base)
        self._wanted = [exact.run(arrays) for arrays in self._inputs]
        self._units = _units(floors)

    def of(self, file: Path) -> float:
        """The rms of the change, in units of PyTorch's rms error; the largest over the fields.

        Infinite if it changes names, shapes, metadata or labels, or if the file does not run.
        """
        proto = onnx.load(file)
        if _told(proto) != _told(self._base) or _ports(proto) != _ports(self._base):
            return math.inf
        exact = ExactGraph(file)
        leg = OrtLeg(file, ["CPUExecutionProvider"], 1)
        squares: dict[str, float] = {}
        counts: dict[str, int] = {}
        flips, labels = 0, 0
        for arrays, wanted in zip(self._inputs, self._wanted, strict=True):
            found = _computed(exact, leg, arrays)
            if found is None:
                return math.inf
            for field in self._model.contract.fields:
                a, b = wanted[field.output], found[field.output]
                if a.shape != b.shape:
                    return math.inf
                a, b = (value[..., field.channels] if value.ndim else value for value in (a, b))
                if field.kind == "label":
                    flips, labels = flips + int((a != b).sum()), labels + a.size
                    continue
                same = (a == b) | (np.isnan(a) & np.isnan(b))
                with np.errstate(invalid="ignore"):
                    change = np.where(same, 0, np.subtract(b, a, dtype=np.float64))
                if not np.isfinite(change).all():
                    return math.inf
                squares[field.name] = squares.get(field.name, 0) + float((change**2).sum())
                counts[field.name] = counts.get(field.name, 0) + change.size
        effect = _largest(squares, counts, self._units)
        relabelled = flips > 0 if effect == 0 else flips > FLIPPED * labels
        return math.inf if relabelled else effect


def _told(proto: onnx.ModelProto) -> Any:
    text = next((entry.value for entry in proto.metadata_props if entry.key == METADATA_KEY), "null")
    return json.loads(text)


def _ports(proto: onnx.ModelProto) -> list[tuple[str, int]]:
    return [
        (port.name, port.type.tensor_type.elem_type) for port in (*proto.graph.input, *proto.graph.output)
    ]
