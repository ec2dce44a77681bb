"""Find the longest inputs on which PyTorch runs a model, where a default allows longer ones.

A configuration tells how many rows a table of positions has, and some networks count positions from behind
the padding token's number: of 66 rows they reach 64.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxproof.contract import Contract
from onnxproof.seeded import draw
from onnxproof.tensors import Dim, TensorSpec
from onnxproof.validate.legs.leg import Arrays
from onnxproof.validate.legs.pytorch import TorchLeg
from onnxproof.wrappers.family import WrappedModel

SEED = 0


@dataclass(frozen=True, slots=True)
class Narrowed:
    """A dim with the sizes that PyTorch runs. ``most`` is the largest by default, and ``reason`` what PyTorch
    says of larger ones than ``dim`` has."""

    dim: Dim
    most: int
    reason: str

    def __str__(self) -> str:
        """The dim in words, for a note."""
        return (
            f"PyTorch runs {self.dim.name} up to {self.dim.max}, not up to {self.most}, which is the default "
            f"({self.reason}): larger sizes are not tried"
        )


def longest(model: WrappedModel, threads: int, given: Collection[str] = ()) -> tuple[Narrowed, ...]:
    """The dims whose largest size PyTorch cannot run, with those that it runs, found by bisection.

    ``given`` are the names of dims that are not narrowed. Only lengths of integer inputs are tried, such as
    the number of tokens: others do not index tables. Empty if all sizes run, or not even the smallest.
    """
    leg, contract = TorchLeg(model, threads), model.contract
    found = []
    for dim in contract.dims:
        if dim.fixed or dim.name in given or not _is_length(dim, contract):
            continue
        reason = _refusal(leg, contract, {dim.name: dim.max})
        if reason is None or _refusal(leg, contract, {}) is not None:
            continue
        low, high = dim.min // dim.multiple, dim.max // dim.multiple
        while high - low > 1:
            middle = (low + high) // 2
            said = _refusal(leg, contract, {dim.name: middle * dim.multiple})
            low, high, reason = (middle, high, reason) if said is None else (low, middle, said)
        found.append(Narrowed(replace(dim, max=low * dim.multiple), dim.max, reason))
    return tuple(found)


def _is_length(dim: Dim, contract: Contract) -> bool:
    return any(dim.name in spec.shape[1:] and "int" in spec.dtype for spec in contract.inputs)


def _refusal(leg: TorchLeg, contract: Contract, sizes: Mapping[str, int]) -> str | None:
    """What PyTorch says to inputs of these sizes, and the smallest of other dims. None if it runs them."""
    smallest = {dim.name: dim.min for dim in contract.dims}
    for arrays in _contents(contract, {**smallest, **sizes}):
        try:
            leg.run(arrays)
        except Exception as error:  # noqa: BLE001 - the model's own code runs here
            return str(error).strip().partition("\n")[0]
    return None


def _contents(contract: Contract, sizes: Mapping[str, int]) -> Iterator[Arrays]:
    """Seeded inputs, then with all integers at their highest and at their lowest; masks keep every step.

    Which positions a network reads may depend on how many of the tokens are padding.
    """
    random = np.random.default_rng(SEED)
    drawn = {spec.name: draw(spec, sizes, random) for spec in contract.inputs}
    for end in (None, 1, 0):
        yield {spec.name: _at(spec, drawn, end) for spec in contract.inputs}


def _at(spec: TensorSpec, drawn: Arrays, end: int | None) -> NDArray[Any]:
    array = drawn[spec.name]
    if spec.mask:
        return np.ones_like(array)
    if end is None or "int" not in spec.dtype:
        return array
    return np.full_like(array, int((spec.range or (0.0, 1.0))[end]))
