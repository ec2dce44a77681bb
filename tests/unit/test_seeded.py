"""Seeded arrays: the spec's dtype, shape and range; masks as padding leaves them; the same every time."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from onnxproof.seeded import draw
from onnxproof.tensors import TensorSpec

SIZES = {"batch": 50, "time": 7}


def drawn(text: str, seed: int = 0) -> NDArray[Any]:
    return draw(TensorSpec.parse("x", text), SIZES, np.random.default_rng(seed))


@pytest.mark.parametrize(
    ("text", "dtype", "low", "high"),
    [
        pytest.param("float32[batch, time] in -2..3", "float32", -2, 3, id="floats-fill-the-range"),
        pytest.param("float32[batch, time]", "float32", 0, 1, id="floats-without-a-range"),
        pytest.param("int64[batch, time] in 0..4", "int64", 0, 4, id="both-ends-of-an-integer-range"),
        pytest.param("uint8[batch, time] in 0..255", "uint8", 0, 255, id="bytes"),
        pytest.param("bool[batch, time]", "bool", 0, 1, id="bools"),
    ],
)
def test_values_have_the_dtype_and_fill_the_range(text: str, dtype: str, low: float, high: float) -> None:
    values = drawn(text)
    assert values.dtype == dtype
    assert values.shape == (50, 7)
    assert low <= values.min() <= low + (high - low) * 0.05
    assert high - (high - low) * 0.05 <= values.max() <= high


def test_a_mask_is_ones_then_zeros_and_never_all_zeros() -> None:
    mask = drawn("int64[batch, time] as mask")
    assert mask.dtype == np.int64
    assert (np.diff(mask, axis=-1) <= 0).all()
    lengths = mask.sum(axis=-1)
    assert lengths.min() == 1
    assert lengths.max() == 7


def test_a_full_mask_has_its_longest_row_full_and_the_others_as_they_were() -> None:
    spec = TensorSpec.parse("x", "int64[batch, time] as mask")
    sizes = {"batch": 3, "time": 40}
    drawn, full = (draw(spec, sizes, np.random.default_rng(1), full=full) for full in (False, True))
    (longest,) = np.flatnonzero((drawn != full).any(axis=1))
    assert longest == drawn.sum(axis=1).argmax()
    assert full[longest].all()
    assert not np.delete(full, longest, axis=0).all(axis=1).any()


def test_a_mask_of_one_step_attends_to_it() -> None:
    spec = TensorSpec.parse("x", "bool[batch, time] as mask")
    assert draw(spec, {"batch": 3, "time": 1}, np.random.default_rng(0)).all()


def test_the_same_seed_gives_the_same_values_and_another_others() -> None:
    text = "float32[batch, time]"
    assert np.array_equal(drawn(text), drawn(text))
    assert not np.array_equal(drawn(text), drawn(text, seed=1))


@pytest.mark.parametrize("text", ["int64[batch, time] as mask", "float32[batch] in 0..1", "bool[]"])
def test_specs_survive_their_own_text_and_json(text: str) -> None:
    spec = TensorSpec.parse("x", text)
    assert TensorSpec.parse("x", str(spec)) == spec
    assert TensorSpec.from_json(spec.to_json()) == spec
