"""A constant in double that a module computed in float32 is what it computes in float64."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from onnxproof.graph import OnnxGraph
from onnxproof.validate.exact.checkpoint import Weights
from onnxproof.validate.exact.constants import Proven, prove_constants
from onnxproof.validate.exact.known import Known, Recorded, Source

Array = NDArray[Any]
SINGLE = np.float32
THIRDS = np.arange(1, 9) / 3


def table(exact: Any, single: Any) -> Source:
    return Source("what mul makes of no input", np.array(exact), np.array(single), True)


RANK = 7 * float(SINGLE(0.3))
"""The rank of the 0.3-quantile of eight numbers, as PyTorch's float32 has it: 27 significant bits."""

KNOWN = Known(
    Weights({"held": np.array(0.7, SINGLE)}, {}),
    lambda: Recorded(
        (
            table(2.1, RANK),
            table(0.3, 0.3),
            table(THIRDS, THIRDS.astype(SINGLE)),
            table(1.1, 1.1),
        )
    ),
)


def prove(array: Array, known: Known = KNOWN) -> Proven:
    proto = helper.make_model(helper.make_graph([], "g", [], [], [numpy_helper.from_array(array, "w")]))
    return prove_constants(OnnxGraph(proto), known)


@pytest.mark.parametrize(
    ("held", "exact"),
    [
        pytest.param(RANK, 2.1, id="computed-with-a-float32"),
        pytest.param(float(SINGLE(0.3)), 0.3, id="a-float32-that-was-widened"),
        pytest.param(THIRDS.astype(SINGLE).astype(np.float64), THIRDS, id="a-tensor-that-was-widened"),
    ],
)
def test_the_exact_value_takes_its_place(held: Any, exact: Any) -> None:
    proven = prove(np.array(held, np.float64))
    assert proven.unproven == ()
    found = proven.exact["w"]
    assert isinstance(found, np.ndarray)
    np.testing.assert_array_equal(found, exact)
    assert 0 < proven.farthest <= 0.5


@pytest.mark.parametrize(
    "held",
    [
        pytest.param(np.nextafter(RANK, 3), id="a-bit-beside-it"),
        pytest.param(2.2, id="another-number"),
        pytest.param(1.1, id="computed-in-double"),
        pytest.param(float(SINGLE(0.7)), id="the-checkpoint's-own"),
        pytest.param(float(SINGLE(0.123)), id="a-float32-that-the-module-does-not-compute"),
        pytest.param(7.0, id="a-short-number"),
    ],
)
def test_another_number_is_what_the_file_holds(held: float) -> None:
    proven = prove(np.array(held, np.float64))
    assert proven.unproven == ()
    assert np.array_equal(np.asarray(proven.exact.get("w", held)), held)
