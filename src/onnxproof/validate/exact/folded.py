"""Hold the tensors that onnxproof folded batch norms into to their bits, in the finished file.

The export notes in the file's metadata which norm it folded into which convolution (export/fold.py). Such a
tensor is the float64 fold, rounded once. Other folds, which an exporter or a simplifier made in float32, are
not noted: they are proven within their roundings (constants.py). A noted tensor that a simplifier merged
with something else is one of those.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx_ir as ir

from onnxproof.graph import OnnxGraph, Stored
from onnxproof.runtime.manifest import FOLDS_KEY
from onnxproof.system.parsed import parse_json
from onnxproof.validate.exact.checkpoint import Array, Norm
from onnxproof.validate.exact.fold_proof import SHOWN, rounded_once
from onnxproof.validate.exact.known import Known
from onnxproof.validate.exact.layouts import places, plain_layouts, sample, shapes_agree, size_of, squeezed
from onnxproof.validate.exact.nearest import CLOSE, SMALLEST
from onnxproof.validate.exact.own import ALMOST
from onnxproof.validate.verdict import Check

NAME = "folded"


@dataclass(frozen=True, slots=True, eq=False)
class _Folded:
    """A tensor with a batch norm folded in. ``before`` is the checkpoint's, or None for a convolution without
    a bias."""

    name: str
    norm: Norm
    before: Array | None
    shape: tuple[int, ...]

    @property
    def is_bias(self) -> bool:
        return len(self.shape) == 1

    def made(self) -> tuple[Array, Array]:
        """Its float64 numbers, and the size of what was added up for each: both in its shape."""
        if self.is_bias:
            before = 0.0 if self.before is None else self.before.astype(np.float64)
            return self.norm.bias(before), self.norm.terms(before)
        assert self.before is not None
        exact: Array = self.before * self.norm.gain.reshape(-1, *[1] * (self.before.ndim - 1))
        return exact, np.abs(exact)


def folded_checks(graph: OnnxGraph, file: Path, known: Known | None) -> tuple[Check, ...]:
    """The check that folded tensors stand in a file as they were folded; none if its metadata notes no folds.

    It fails for a tensor that is such a fold but for its last digits. What is farther from it was merged with
    something else, or changed, and other checks see it. External data is read from beside ``file``. Raises
    UnreadableError if it cannot be.
    """
    told = graph.metadata(FOLDS_KEY)
    if told is None or known is None:
        return ()
    pairs = _read(told)
    wanted = tuple(_wanted(pairs, known))
    held = _held(graph, {one.name for one in wanted})
    at_rest = _at_rest(pairs, known)
    faults: list[str] = []
    exact = 0
    with np.errstate(all="ignore"):
        for one in wanted:
            fault = _fault(one, _candidates(one, held), file)
            if fault == "":
                exact += 1
            elif fault is not None and at_rest.isdisjoint(one.shape):
                faults.append(fault)
    if faults:
        more = f"; and {len(faults) - SHOWN} more" if len(faults) > SHOWN else ""
        return (Check(NAME, "fail", "; ".join(faults[:SHOWN]) + more, float(len(faults)), 0.0),)
    if not exact:
        return (Check(NAME, "skipped", f"none of the {len(pairs)} folds that the file notes stands in it"),)
    reason = f"{exact} tensors are batch norms folded in float64 and rounded once"
    merged = len(wanted) - exact
    if merged:
        reason += f"; {merged} more were merged with something else"
    return (Check(NAME, "pass", reason, 0.0, 0.0),)


def _read(told: str) -> Mapping[str, str]:
    """The norms by the convolutions that they were folded into; none if the text is nothing of ours."""
    try:
        pairs = parse_json(told)
    except ValueError:
        return {}
    if not isinstance(pairs, dict):
        return {}
    return {name: norm for name, norm in pairs.items() if isinstance(norm, str)}


def _wanted(pairs: Mapping[str, str], known: Known) -> Iterator[_Folded]:
    """What the folds make of the checkpoint. A fold of other tensors than the checkpoint's makes nothing."""
    tensors, halves = known.weights.tensors, known.weights.half_of
    norms = {norm.name: norm for norm in known.weights.norms()}
    for convolution, name in pairs.items():
        key, of_bias = f"{convolution}.weight", f"{convolution}.bias"
        norm, weight, bias = norms.get(name), tensors.get(key), tensors.get(of_bias)
        if norm is None or weight is None or weight.ndim < 3 or len(weight) != norm.gain.size:
            continue
        if bias is not None and bias.shape != norm.gain.shape:
            continue
        used = {key, of_bias, *norm.names}
        if any(map(known.is_computed, used)) or not used.isdisjoint(halves):
            continue
        yield _Folded(key, norm, weight, weight.shape)
        yield _Folded(of_bias, norm, bias, norm.gain.shape)


def _held(graph: OnnxGraph, names: set[str]) -> Mapping[str | int, list[Stored]]:
    """The file's float32 tensors: those of these names by name, the others by how many numbers they have."""
    found: dict[str | int, list[Stored]] = defaultdict(list)
    for stored in graph.stored:
        if stored.dtype == ir.DataType.FLOAT:
            found[stored.name if stored.name in names else size_of(stored.shape)].append(stored)
    return found


def _candidates(one: _Folded, held: Mapping[str | int, list[Stored]]) -> Sequence[Stored]:
    """The tensor of its name, or else those of its size. Few numbers are known by nothing but their name."""
    size = size_of(one.shape)
    named = held.get(one.name, ())
    return named or (held.get(size, ()) if size >= SMALLEST else ())


def _at_rest(pairs: Mapping[str, str], known: Known) -> frozenset[int]:
    """The sizes of the norms that are not noted and hardly scale. What is merged with such a one looks like
    itself but for its last digits."""
    noted = {*pairs.values()}
    return frozenset(
        norm.gain.size
        for norm in known.weights.norms()
        if norm.name not in noted and np.all(np.abs(norm.gain - 1) <= ALMOST)
    )


def _fault(one: _Folded, held: Sequence[Stored], file: Path) -> str | None:
    """What is wrong with a folded tensor in the file: "" if nothing is; None if it does not stand there."""
    exact, terms = one.made()
    shape = squeezed(exact).shape
    found: str | None = None
    for stored in held:
        values = squeezed(stored.array(file))
        if values.size != exact.size:
            continue
        spots = places(values.size)
        few = sample(values, spots)
        for layout in plain_layouts(shape):
            if not shapes_agree(layout, shape, values.shape):
                continue
            laid, size = layout.of(exact), layout.of(terms)
            if not _share(few, sample(laid, spots), sample(size, spots)) <= CLOSE:
                continue
            once = rounded_once(values, laid, size)
            if once.all():
                return ""
            share = _share(values, laid, size)
            if share <= ALMOST and found is None:
                count = int(np.count_nonzero(~once))
                found = (
                    f"{stored.name} is not {one.name} with {one.norm.name} folded in in float64 and rounded "
                    f"once: {count} of {values.size} numbers differ, by {share:.1e} of its size"
                )
    return found


def _share(values: Array, exact: Array, terms: Array) -> float:
    """The rms difference of values from exact ones, as a share of the rms of what those are sums of."""
    error, size = float(np.sum((values - exact) ** 2)), float(np.sum(terms**2))
    return float(np.sqrt(error / size)) if size else (0.0 if not error else np.inf)
