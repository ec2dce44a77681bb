"""Numbers that are written in half precision, and arrays of bfloat16."""

import math

import ml_dtypes
import numpy as np
import pytest

from onnxproof.seeded import draw, in_dtype
from onnxproof.tensors import TensorSpec
from onnxproof.validate.exact.match import unit
from onnxproof.validate.exact.scalars import written

HALF, BRAIN = np.dtype(np.float16), np.dtype(ml_dtypes.bfloat16)


@pytest.mark.parametrize("dtype", [HALF, BRAIN], ids=str)
@pytest.mark.parametrize(
    "number",
    [
        *(0.1, 1 / 3, 1 / math.sqrt(8), 1 / math.sqrt(48), 8**-0.25, 32**-0.25, -1 / math.sqrt(2), math.pi),
        *(math.sqrt(2 / math.pi), 0.044715),
    ],
)
def test_a_half_is_read_as_the_number_that_was_meant(number: float, dtype: np.dtype[np.generic]) -> None:
    found = written(float(dtype.type(number)), dtype)
    assert found is not None
    assert found.value == pytest.approx(number, rel=1e-12)


def test_a_half_that_is_no_plain_number_is_not_taken_for_one() -> None:
    numbers = np.random.default_rng(0).uniform(0.5, 1, 2000).astype(np.float16)
    read = [written(float(number), HALF) for number in numbers if number]
    plain = sum(found is not None for found in read)
    assert plain < 0.5 * len(read)


def test_units_of_the_halves() -> None:
    assert (unit(HALF), unit(BRAIN), unit(np.dtype(np.float32))) == (2.0**-11, 2.0**-8, 2.0**-24)


def test_bfloat16_rounds_to_nearest_even() -> None:
    random = np.random.default_rng(0)
    values = np.concatenate([random.normal(size=1000), [0.0, -0.0, 1 + 2.0**-8, 1 + 3 * 2.0**-8, 3e38]])
    expected = values.astype(np.float32).astype(ml_dtypes.bfloat16).astype(np.float32)
    np.testing.assert_array_equal(in_dtype(values, "bfloat16"), expected)


def test_an_input_of_bfloat16_is_drawn() -> None:
    drawn = draw(TensorSpec.parse("x", "bfloat16[3, 4] in -1..1"), {}, np.random.default_rng(0))
    assert drawn.dtype == np.float32
    np.testing.assert_array_equal(drawn, in_dtype(drawn, "bfloat16"))
    mask = draw(TensorSpec.parse("x", "bfloat16[3, 4] as mask"), {}, np.random.default_rng(0))
    assert set(np.unique(mask)) <= {0.0, 1.0}
