"""What a module computes from no input is recorded in float64, also where it asks for float32."""

import numpy as np
import pytest
import torch
from contracts import contract
from torch import Tensor, nn

from onnxproof.tensors import Field, TensorSpec
from onnxproof.validate.exact.known import Source
from onnxproof.validate.exact.record import known_of
from onnxproof.wrappers.family import WrappedModel

LOADED = torch.full((8,), 0.3)
X = TensorSpec("x", "float32", ("batch", 8))
Y = TensorSpec("y", "float32", ("batch", 8))


class Gridded(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        """Add three tables, of which float64 makes other numbers than float32."""
        steps = torch.linspace(-1, 1, 8, dtype=torch.float32) / 3
        places = torch.arange(8).float().sin()
        return x + steps * LOADED + places


@pytest.mark.parametrize(
    ("name", "exact"),
    [
        pytest.param("div", np.linspace(-1, 1, 8) / 3, id="a-grid-in-float32"),
        pytest.param("mul", np.linspace(-1, 1, 8) / 3 * float(np.float32(0.3)), id="with-a-loaded-table"),
        pytest.param("sin", np.sin(np.arange(8)), id="after-a-cast"),
    ],
)
def test_a_table_in_float32_is_known_in_float64_and_as_pytorch_rounds_it(
    name: str, exact: np.ndarray
) -> None:
    held = contract(inputs=(X,), outputs=(Y,), fields=(Field("y", "y", ""),))
    model = WrappedModel(Gridded(), held, "module")
    recorded = known_of(model, {"x": np.zeros((2, 8), np.float32)}).recorded
    assert recorded.missing == ""
    (found,) = (table for table in recorded.tables if table.name == f"what {name} makes of no input")
    assert isinstance(found, Source)
    np.testing.assert_allclose(found.exact, exact, rtol=1e-15, atol=1e-16)
    assert found.single.dtype == np.float32
    assert 0 < np.abs(found.single - exact).max() < 1e-7
