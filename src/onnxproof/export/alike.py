"""Tell whether two runs of PyTorch in float32 took the same way through a model."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from onnxproof.contract import Contract
from onnxproof.counted import counted

ALIKE = 1e-4
"""The largest difference of answers that are alike, as a part of the largest number.

Two orders of the same float32 sums differ by 1e-6 or so; another way through the code differs by more."""


def tensors_of(answer: Any) -> tuple[Tensor, ...]:
    """The tensors that a wrapped module, or a graph of one, returned."""
    return (answer.detach(),) if isinstance(answer, Tensor) else tuple(each.detach() for each in answer)


def answer_alike(
    contract: Contract, inputs: tuple[Tensor, ...], wanted: tuple[Tensor, ...], got: tuple[Tensor, ...]
) -> bool:
    """Whether two answers to the inputs have the same shapes and dtypes, and the same numbers up to rounding.

    ``wanted`` is the module's own. Where outputs are not compared, such as at padded steps, any numbers do.
    """
    if [tensor.shape for tensor in wanted] != [tensor.shape for tensor in got]:
        return False
    return all(map(_close, *_counted(contract, inputs, wanted, got)))


def _counted(
    contract: Contract, inputs: tuple[Tensor, ...], *answers: tuple[Tensor, ...]
) -> Iterator[tuple[Tensor, ...]]:
    """Each of the answers, the module's own first, with zeros where outputs are not compared."""
    given = {spec.name: tensor.numpy() for spec, tensor in zip(contract.inputs, inputs, strict=True)}
    names = [spec.name for spec in contract.outputs]
    kept = counted(
        contract, given, {name: each.numpy() for name, each in zip(names, answers[0], strict=True)}
    )
    for answer in answers:
        yield tuple(
            each.masked_fill(~torch.from_numpy(kept[name]), 0) if name in kept else each
            for name, each in zip(names, answer, strict=True)
        )


def _close(wanted: Tensor, got: Tensor) -> bool:
    if wanted.shape != got.shape or wanted.dtype != got.dtype:
        return False
    if not wanted.is_floating_point() or not wanted.numel():
        return torch.equal(wanted, got)
    scale = float(wanted.abs().nan_to_num(0, 0, 0).max())
    return torch.allclose(got, wanted, rtol=0, atol=ALIKE * scale, equal_nan=True)
