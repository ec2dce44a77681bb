"""How near a model's numbers come to where it cuts off."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from contracts import contract
from torch import Tensor, nn
from torch.nn import functional

from onnxproof.tensors import TensorSpec
from onnxproof.validate.legs.cut_offs import CutOffs
from onnxproof.wrappers.family import WrappedModel

INPUTS = {"x": np.array([[-1, 0.25, 2]], np.float32)}


class Net(nn.Module):
    def __init__(self, run: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.run = run

    def forward(self, x: Tensor) -> Tensor:
        return self.run(x)


def cut_offs(run: Callable[[Tensor], Tensor]) -> CutOffs:
    x, y = (TensorSpec(name, "float32", ("batch", 3)) for name in "xy")
    return CutOffs(WrappedModel(Net(run), contract(inputs=(x,), outputs=(y,)), "module"), 1)


def capped_twice(x: Tensor) -> Any:
    return functional.relu6(functional.relu6(2 * x, inplace=True) * 4, inplace=True)


@pytest.mark.parametrize(
    ("run", "margins"),
    [
        pytest.param(torch.relu, {"relu below 0": 1}, id="relu"),
        pytest.param(nn.Hardswish(), {"hardswish below -3": -2, "hardswish above 3": -1}, id="hardswish"),
        pytest.param(lambda x: x.clamp(max=1.5), {"clamp above 1.5": 0.5}, id="one-side"),
        pytest.param(lambda x: x.clamp(max=x.mean()), {"clamp above 0.4166667": 2 - 1.25 / 3}, id="computed"),
        pytest.param(
            lambda x: torch.maximum(torch.tensor(-2.0), x),
            {"maximum below -2": -1},
            id="number-first",
        ),
        pytest.param(lambda x: torch.where(x > 4, 1, x), {"gt above 4": -2, "gt below 4": 5}, id="threshold"),
        pytest.param(
            lambda x: torch.bucketize(x, torch.tensor([0.0, 5.0])).float(),
            {
                "bucketize above 0": 2,
                "bucketize below 0": 1,
                "bucketize above 5": -3,
                "bucketize below 5": 6,
            },
            id="boundaries",
        ),
        pytest.param(
            lambda x: torch.searchsorted(torch.tensor([4.0]), x, right=True).float(),
            {"searchsorted above 4": -2, "searchsorted below 4": 5},
            id="boundaries-first",
        ),
        pytest.param(lambda x: x.floor(), {"floor above 1": 1}, id="the-last-integer-below-the-largest"),
        pytest.param(lambda x: x.ceil(), {"ceil above 1": 1}, id="ceil"),
        pytest.param(lambda x: x.round(), {"round above 1.5": 0.5}, id="halves"),
        pytest.param(lambda x: x.to(torch.int64).float(), {"to above 1": 1}, id="cast-to-integers"),
        pytest.param(lambda x: x.to(torch.float64).float(), {}, id="cast-to-floats"),
        pytest.param(lambda x: x + x.max(1, keepdim=True).values, {}, id="the-largest-along-an-axis"),
        pytest.param(lambda x: x.clamp(max=1e31), {}, id="no-bound"),
    ],
)
def test_margins_are_how_far_numbers_lie_beyond(
    run: Callable[[Tensor], Tensor], margins: dict[str, float]
) -> None:
    ran = cut_offs(run).run(INPUTS)
    assert {str(cut): margin for cut, margin in ran.margins.items()} == pytest.approx(margins)
    np.testing.assert_array_equal(ran.outputs["y"], run(torch.from_numpy(INPUTS["x"])))


@pytest.mark.parametrize(
    "run",
    [
        pytest.param(capped_twice, id="in-place"),
        pytest.param(lambda x: (x / 9).clamp(max=x.mean()).clamp(max=0.5), id="behind-a-computed-bound"),
    ],
)
def test_the_gradient_is_of_the_cut_off_that_was_not_reached(run: Callable[[Tensor], Tensor]) -> None:
    model = cut_offs(run)
    inputs = {"x": INPUTS["x"] / 4}
    *_, (cut, margin) = model.run(inputs).margins.items()
    found, slopes = model.slope(inputs, [cut], ["x"])
    assert cut.upper
    assert found == margin < 0
    assert np.sign(slopes["x"]).tolist() == [[0, 0, 1]]
    assert model.slope(inputs, [cut], ()) == (margin, {})


def test_a_rounded_numbers_step_is_the_one_that_was_sought() -> None:
    model = cut_offs(lambda x: (4 * x).floor())
    (cut,) = model.run(INPUTS).margins
    assert str(cut) == "floor above 7"
    assert model.slope({"x": INPUTS["x"] / 4}, [cut], ())[0] == 2 - 7
