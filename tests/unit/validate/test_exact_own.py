"""In a file of onnxproof's own, what was taken from the checkpoint is the checkpoint's to the bit. No
rounding excuses another last digit there; what a fold or the forward makes of a tensor stays excused."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from onnxproof.graph import OnnxGraph
from onnxproof.runtime.manifest import METADATA_KEY
from onnxproof.validate.exact.checkpoint import Weights
from onnxproof.validate.exact.constants import Proven, prove_constants
from onnxproof.validate.exact.known import Known, Recorded, Source

Array = NDArray[Any]
RANDOM = np.random.default_rng(7)
SINGLE = np.float32


def drawn(*shape: int) -> Array:
    return RANDOM.normal(size=shape).astype(SINGLE)


def untrained(name: str, size: int) -> dict[str, Array]:
    ones, zeros = np.ones(size, SINGLE), np.zeros(size, SINGLE)
    parts = {"weight": ones, "bias": zeros, "running_mean": zeros, "running_var": ones}
    return {f"{name}.{part}": array for part, array in parts.items()}


TENSORS: dict[str, Array] = {
    "conv.weight": drawn(16, 8, 3, 3),
    "conv.bias": drawn(16),
    "fc.weight": drawn(12, 20),
    "lone.weight": drawn(6, 9),
    "norm.weight": np.ones(20, SINGLE),
    "few.bias": drawn(5),
    "normed.weight_v": drawn(10, 7),
    **untrained("bn", 16),
    **untrained("fine", 6),
}
SIZE = np.sqrt(np.sum(TENSORS["normed.weight_v"].astype(np.float64) ** 2, 1, keepdims=True))
NORMED = TENSORS["normed.weight_v"] / SIZE * SIZE.astype(SINGLE)
COMPUTED = Source("what _weight_norm makes of no input", NORMED, NORMED.astype(SINGLE), True)
WEIGHTS = Weights(TENSORS, {"bn": 1e-5, "fine": 1e-6})
KNOWN = Known(WEIGHTS, lambda: Recorded((COMPUTED,)), checkpoint=True)


def prove(name: str, array: Array, known: Known = KNOWN, own: bool = True) -> Proven:
    held = [numpy_helper.from_array(array, name)]
    model = helper.make_model(helper.make_graph([], "g", [], [], held))
    if own:
        helper.set_model_props(model, {METADATA_KEY: "{}"})
    return prove_constants(OnnxGraph(model), known)


def times(array: Array, factor: float) -> Array:
    scaled: Array = (array.astype(np.float64) * factor).astype(SINGLE)
    return scaled


@pytest.mark.parametrize("factor", [1 + 1e-6, 1 + 1e-7])
@pytest.mark.parametrize(
    ("name", "laid"),
    [
        pytest.param("conv.weight", TENSORS["conv.weight"], id="a-weight-beside-untrained-norms"),
        pytest.param("conv.bias", TENSORS["conv.bias"], id="a-bias"),
        pytest.param("few.bias", TENSORS["few.bias"], id="a-bias-of-few-numbers"),
        pytest.param("unnamed", TENSORS["fc.weight"].T.copy(), id="transposed-without-its-name"),
    ],
)
def test_a_tensor_that_nobody_rounded_is_not_excused(name: str, laid: Array, factor: float) -> None:
    (entry,) = prove(name, times(laid, factor)).unproven
    assert entry.own
    assert entry.changed


def test_a_norm_of_ones_is_not_taken_for_a_one_that_was_computed() -> None:
    (entry,) = prove("norm.weight", times(TENSORS["norm.weight"], 1 + 1e-7)).unproven
    assert entry.changed


@pytest.mark.parametrize(
    ("known", "own"),
    [
        pytest.param(KNOWN, False, id="a-file-from-elsewhere"),
        pytest.param(Known(WEIGHTS, lambda: Recorded((COMPUTED,))), True, id="another-file-to-compare-with"),
        pytest.param(
            Known(WEIGHTS, lambda: Recorded(missing="no"), checkpoint=True), True, id="a-forward-unknown"
        ),
    ],
)
def test_a_tensor_that_others_may_have_rounded_is_excused(known: Known, own: bool) -> None:
    proven = prove("conv.weight", times(TENSORS["conv.weight"], 1 + 1e-6), known, own)
    assert [entry.changed for entry in proven.unproven] == [False]


GAIN = SINGLE(1) / np.sqrt(SINGLE(1) + SINGLE(1e-5))


@pytest.mark.parametrize(
    ("name", "array"),
    [
        pytest.param("conv.weight", TENSORS["conv.weight"], id="itself"),
        pytest.param("conv.weight", TENSORS["conv.weight"] * GAIN, id="folded-in-float32-under-its-name"),
        pytest.param("conv.bias", TENSORS["conv.bias"] * GAIN, id="a-bias-folded-in-float32"),
        pytest.param(
            "normed.weight_v",
            np.nextafter(TENSORS["normed.weight_v"], SINGLE(9)),
            id="computed-by-a-parametrization",
        ),
    ],
)
def test_what_a_fold_or_the_forward_makes_is_proven(name: str, array: Array) -> None:
    assert not prove(name, array).unproven


def test_two_folds_that_hardly_scale_may_have_rounded_a_tensor() -> None:
    twice = TENSORS["lone.weight"] * (SINGLE(1) / np.sqrt(SINGLE(1) + SINGLE(1e-6))) ** 2
    (entry,) = prove("lone.weight", twice.astype(SINGLE)).unproven
    assert not entry.changed


NORM = {
    "bn.weight": drawn(16) + SINGLE(2),
    "bn.bias": drawn(16),
    "bn.running_mean": drawn(16),
    "bn.running_var": np.abs(drawn(16)) + SINGLE(0.5),
}
TRAINED = Known(
    Weights({"conv.weight": TENSORS["conv.weight"], **NORM}, {"bn": 1e-5}),
    lambda: Recorded(()),
    checkpoint=True,
)
FACTOR = NORM["bn.weight"] / np.sqrt(NORM["bn.running_var"].astype(np.float64) + 1e-5)
FOLDED = {
    "weight": TENSORS["conv.weight"] * FACTOR.reshape(-1, 1, 1, 1),
    "bias": NORM["bn.bias"] - NORM["bn.running_mean"] * FACTOR,
}


@pytest.mark.parametrize("part", FOLDED)
def test_a_fold_that_was_changed_is_not_excused(part: str) -> None:
    once = FOLDED[part].astype(SINGLE)
    assert not prove("folded", once, TRAINED).unproven
    (entry,) = prove("folded", times(once, 1 + 1e-6), TRAINED).unproven
    assert entry.own
    assert entry.changed
    (other,) = prove("folded", times(once, 1 + 1e-6), TRAINED, own=False).unproven
    assert not other.changed
