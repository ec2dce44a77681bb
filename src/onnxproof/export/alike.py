"""Tell whether two runs of PyTorch took the same way through a model."""

from collections.abc import Iterator
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from onnxproof.contract import Contract
from onnxproof.counted import counted

ALIKE = {"float32": 1e-4, "float16": 2e-2, "bfloat16": 0.15}
"""The largest difference of answers that are alike, as a part of the largest number, by the dtype in which
the model is held.

Two orders of the same float32 sums differ by 1e-6 or so; another way through the code differs by more. In
half precision it is 20 units in the last place."""


def tensors_of(answer: Any) -> tuple[Tensor, ...]:
    """The tensors that a wrapped module, or a graph of one, returned."""
    return (answer.detach(),) if isinstance(answer, Tensor) else tuple(each.detach() for each in answer)


def answer_alike(
    contract: Contract,
    inputs: tuple[Tensor, ...],
    wanted: tuple[Tensor, ...],
    got: tuple[Tensor, ...],
    held: str,
) -> bool:
    """Whether two answers to the inputs have the same shapes and dtypes, and the same numbers up to rounding.

    ``wanted`` is the module's own, and ``held`` the dtype in which it is held. Where outputs are not
    compared, such as at padded steps, any numbers do.
    """
    if [tensor.shape for tensor in wanted] != [tensor.shape for tensor in got]:
        return False
    pairs = zip(*_counted(contract, inputs, wanted, got), strict=True)
    return all(_close(one, other, ALIKE[held]) for one, other in pairs)


def _counted(
    contract: Contract, inputs: tuple[Tensor, ...], *answers: tuple[Tensor, ...]
) -> Iterator[tuple[Tensor, ...]]:
    """Each of the answers, the module's own first, with zeros where outputs are not compared."""
    given = {spec.name: _array(tensor) for spec, tensor in zip(contract.inputs, inputs, strict=True)}
    names = [spec.name for spec in contract.outputs]
    kept = counted(
        contract, given, {name: _array(each) for name, each in zip(names, answers[0], strict=True)}
    )
    for answer in answers:
        yield tuple(
            each.masked_fill(~torch.from_numpy(kept[name]), 0) if name in kept else each
            for name, each in zip(names, answer, strict=True)
        )


def _array(tensor: Tensor) -> NDArray[Any]:
    """A tensor as an array; NumPy has no bfloat16, so its numbers are held in float32."""
    return (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy()


def _close(wanted: Tensor, got: Tensor, tolerance: float) -> bool:
    if wanted.shape != got.shape or wanted.dtype != got.dtype:
        return False
    if not wanted.is_floating_point() or not wanted.numel():
        return torch.equal(wanted, got)
    scale = float(wanted.abs().nan_to_num(0, 0, 0).max())
    return torch.allclose(got, wanted, rtol=0, atol=tolerance * scale, equal_nan=True)
