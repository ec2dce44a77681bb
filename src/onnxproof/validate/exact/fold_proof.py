"""Prove a folding of batch norms to the bit: every folded tensor is the float64 fold, rounded once."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from onnx import TensorProto, helper

from onnxproof.validate.exact.checkpoint import Array, Norm, Weights
from onnxproof.validate.exact.layouts import same
from onnxproof.validate.exact.match import unit
from onnxproof.validate.verdict import Check

DOUBLE_ROUNDINGS = 8
"""Roundings to float64 by which two computations of one fold may differ. They move the rounding to float32
only if a number lies next to the middle of two floats."""


HALF_KINDS = {"float16": TensorProto.FLOAT16, "bfloat16": TensorProto.BFLOAT16}

SHOWN = 3
"""How many faults a reason spells out."""


@dataclass(frozen=True, slots=True)
class FoldProof:
    """What became of a module's tensors in its folded copy.

    ``folds`` are the pairs of a layer and the norm that was folded into it. ``unchanged`` tensors are equal
    to the bit. ``faults`` says of each other tensor what is wrong with it; a folding without faults is
    proven.
    """

    folds: tuple[tuple[str, str], ...]
    unchanged: int
    faults: tuple[str, ...]


def folding_check(module: Any, folded: Any) -> Check:
    """The check that the folding of a PyTorch module's batch norms is exact."""
    proof = prove_fold(module, folded)
    reason = "; ".join(proof.faults[:SHOWN])
    if not proof.faults:
        count = len(proof.folds)
        reason = f"{count} batch norms folded in float64 and rounded once, {proof.unchanged} tensors equal"
    return Check("folding", "fail" if proof.faults else "pass", reason, float(len(proof.faults)), 0.0)


def prove_fold(module: Any, folded: Any) -> FoldProof:
    """Compare a PyTorch module with a copy whose batch norms are folded, tensor by tensor."""
    before, after = Weights.of(module), Weights.of(folded)
    gone = {norm.name: norm for norm in before.norms() if norm.names.isdisjoint(after.tensors)}
    folds: dict[str, str] = {}
    faults: list[str] = []
    unchanged = 0
    # Weights come before biases, so that a bias is compared with the norm that its weight names.
    for name in sorted(after.tensors, key=lambda name: after.tensors[name].ndim, reverse=True):
        values, own = after.tensors[name], before.tensors.get(name)
        if own is not None and own.shape == values.shape and same(own, values):
            unchanged += 1
            continue
        layer, _, leaf = name.rpartition(".")
        if leaf == "bias" and layer in folds:
            norm = gone[folds[layer]]
            exact, terms = norm.bias(0.0 if own is None else own), norm.terms(0.0 if own is None else own)
            if not _is_rounded_once(values, exact, terms, after.half_of.get(name)):
                faults.append(f"{name} is not {norm.name} folded in in float64 and rounded once")
            continue
        made_with = next(_norms_of(values, own, gone, {*folds.values()}, after.half_of.get(name)), None)
        if made_with is None:
            faults.append(f"{name} is neither the module's nor a fold of it in float64, rounded once")
        else:
            folds[layer] = made_with.name
    missing = before.tensors.keys() - after.tensors.keys()
    kept = {name for norm in folds.values() for name in gone[norm].names}
    faults += [f"{name} is missing, and no fold took it in" for name in sorted(missing - kept)]
    return FoldProof(tuple(folds.items()), unchanged, tuple(faults))


def _norms_of(
    values: Array, own: Array | None, gone: dict[str, Norm], taken: Collection[str], half: str | None
) -> Iterator[Norm]:
    """The norms that a weight may have been folded with. Each norm is folded once, so those that are taken
    come last: norms of an untrained network are all alike."""
    if own is None or own.shape != values.shape or values.ndim < 2:
        return
    for norm in sorted(gone.values(), key=lambda norm: norm.name in taken):
        if norm.gain.size == len(values):
            exact = own * norm.gain.reshape(-1, *[1] * (values.ndim - 1))
            if _is_rounded_once(values, exact, np.abs(exact), half):
                yield norm


def _is_rounded_once(values: Array, exact: Array, terms: Array, half: str | None) -> bool:
    return values.shape == exact.shape and bool(rounded_once(values, exact, terms, half).all())


def rounded_once(values: Array, exact: Array, terms: Array, half: str | None = None) -> Array:
    """Of which numbers each is the float nearest to the exact one, give or take what float64 rounds.

    All are of one shape. ``terms`` is the size of what was added up for each exact number. ``half`` names the
    dtype of numbers in half precision. PyTorch rounds float64 to float32 before these.
    """
    kind = values.dtype if half is None else helper.tensor_dtype_to_np_dtype(HALF_KINDS[half])
    slack = DOUBLE_ROUNDINGS * unit(np.dtype(np.float64)) * terms
    if half is not None:
        slack += unit(np.dtype(np.float32)) * np.abs(exact)
    low, high = ((exact + side * slack).astype(kind).astype(values.dtype) for side in (-1, 1))
    once: Array = (low <= values) & (values <= high)
    return once
