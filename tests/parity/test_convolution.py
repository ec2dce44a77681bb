"""Convolutions in float64 that PyTorch is not asked for: what PyTorch makes of the same, in both legs."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from onnxproof.validate.exact.operators import convolution as graphs
from onnxproof.wrappers.double import convolution
from onnxproof.wrappers.double.float64 import Float64

CONVOLUTIONS: dict[int, Callable[..., Tensor]] = {
    1: nn.functional.conv1d,
    2: nn.functional.conv2d,
    3: nn.functional.conv3d,
}


def numbers(*shape: int, seed: int = 0) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(size=shape))


@pytest.mark.parametrize(
    ("sizes", "kernel", "strides", "pads", "dilations"),
    [
        ((23,), (5,), (1,), (2,), (1,)),
        ((23,), (4,), (3,), (0,), (2,)),
        ((9, 14), (3, 3), (1, 1), (1, 1), (1, 1)),
        ((9, 14), (3, 5), (2, 1), (0, 2), (1, 2)),
        ((10, 13), (2, 1), (3, 2), (1, 0), (2, 1)),
        ((9, 9), (9, 9), (1, 1), (0, 0), (1, 1)),
        ((5, 6, 7), (3, 2, 3), (1, 2, 1), (1, 0, 2), (1, 1, 2)),
    ],
)
@pytest.mark.parametrize("depthwise", [False, True])
def test_it_is_what_pytorch_makes(
    monkeypatch: pytest.MonkeyPatch,
    depthwise: bool,
    sizes: tuple[int, ...],
    kernel: tuple[int, ...],
    strides: tuple[int, ...],
    pads: tuple[int, ...],
    dilations: tuple[int, ...],
) -> None:
    """At blocks of three positions, so that all have several."""
    monkeypatch.setattr(convolution, "LEAST_COLUMNS", 0)
    monkeypatch.setattr(convolution, "BLOCK", 0)
    monkeypatch.setattr(convolution, "LEAST_BLOCK", 3)
    x, groups = numbers(2, 4, *sizes), 4 if depthwise else 1
    w = numbers(4 if depthwise else 5, 4 // groups, *kernel, seed=1)
    wanted = CONVOLUTIONS[len(sizes)](x, w, None, strides, pads, dilations, groups)
    found = convolution.convolve(x, w, strides, dilations, groups, pads)
    assert found is not None
    assert found.is_contiguous()
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-13)


@pytest.mark.parametrize(
    ("x", "w", "groups"),
    [
        pytest.param(numbers(1, 4, 64, 64).float(), numbers(4, 4, 3, 3).float(), 1, id="float32"),
        pytest.param(numbers(1, 4, 64, 64), numbers(4, 2, 3, 3), 2, id="groups"),
        pytest.param(numbers(1, 4, 2, 64), numbers(4, 4, 3, 3), 1, id="a-kernel-that-does-not-fit"),
        pytest.param(numbers(1, 5, 64, 64), numbers(4, 4, 3, 3), 1, id="other-channels"),
        pytest.param(numbers(1, 4, 8, 8), numbers(4, 4, 3, 3), 1, id="a-few-numbers"),
        pytest.param(numbers(0, 4, 64, 64), numbers(4, 4, 3, 3), 1, id="no-pictures"),
    ],
)
def test_the_rest_is_left_to_pytorch(
    monkeypatch: pytest.MonkeyPatch, x: Tensor, w: Tensor, groups: int
) -> None:
    if x.shape[-1] > 8:
        monkeypatch.setattr(convolution, "LEAST_COLUMNS", 0)
    assert convolution.convolve(x, w, (1, 1), (1, 1), groups) is None


@pytest.mark.parametrize("groups", [1, 8])
def test_both_legs_use_it(monkeypatch: pytest.MonkeyPatch, groups: int) -> None:
    asked: list[Tensor | None] = []
    convolve = convolution.convolve

    def counted(*arguments: Any) -> Tensor | None:
        asked.append(convolve(*arguments))
        return asked[-1]

    monkeypatch.setattr(convolution, "LEAST_COLUMNS", 0)
    monkeypatch.setattr(convolution, "convolve", counted)
    monkeypatch.setattr(graphs, "faster", counted)
    layer = nn.Conv2d(8, 8, 3, stride=2, padding=1, groups=groups)
    x = numbers(2, 8, 16, 18)
    assert layer.bias is not None
    wanted = nn.functional.conv2d(x, layer.weight.double(), layer.bias.double(), 2, 1, groups=groups)
    given = Float64(layer)
    with given.running():
        found, _ = given.result(given.module(given.widen(x)))
    torch.testing.assert_close(found, wanted.detach(), rtol=0, atol=1e-13)
    weight, bias = (tensor.detach().double().numpy() for tensor in (layer.weight, layer.bias))
    of_graph = graphs.convolve(x.numpy(), weight, bias, pads=[1] * 4, strides=[2, 2], group=groups)
    np.testing.assert_allclose(of_graph, wanted.detach().numpy(), rtol=0, atol=1e-13)
    assert [one is not None for one in asked] == [True, True]
