"""In a finished file, what onnxproof folded is held to the bit; what other tools folded is not."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import helper, numpy_helper
from test_exact_fold import INPUT, network, trained
from torch import nn

from onnxproof.export.fold import find_folding
from onnxproof.graph import OnnxGraph
from onnxproof.runtime.manifest import FOLDS_KEY
from onnxproof.validate.exact.checkpoint import Weights
from onnxproof.validate.exact.folded import folded_checks
from onnxproof.validate.exact.known import Known
from onnxproof.validate.verdict import Check

Array = NDArray[Any]
Tensors = Mapping[str, Array]


def folded(module: nn.Module) -> tuple[Tensors, Mapping[str, str]]:
    """The tensors of a module with its batch norms folded, and the norms by their convolutions."""
    folding = find_folding(module, INPUT)
    state = folding.applied().state_dict()
    return {name: tensor.numpy() for name, tensor in state.items()}, dict(folding.folds.keys())


MODULE = network()
HEALTHY, FOLDS = folded(MODULE)


def checked(tensors: Tensors, module: nn.Module = MODULE, told: str | None = None) -> tuple[Check, ...]:
    held = [numpy_helper.from_array(np.ascontiguousarray(array), name) for name, array in tensors.items()]
    model = helper.make_model(helper.make_graph([], "g", [], [], held))
    helper.set_model_props(model, {FOLDS_KEY: json.dumps(FOLDS) if told is None else told})
    known = Known(Weights.of(module), checkpoint=True)
    return folded_checks(OnnxGraph(model), Path("model.onnx"), known)


def by_an_ulp(array: Array) -> Array:
    moved = array.copy()
    moved.flat[3] = np.nextafter(moved.flat[3], np.float32(np.inf))
    return moved


def test_what_was_folded_stands_in_the_file_to_the_bit() -> None:
    (check,) = checked(HEALTHY)
    assert (check.status, check.value) == ("pass", 0)
    assert check.reason == "4 tensors are batch norms folded in float64 and rounded once"


@pytest.mark.parametrize("name", ["0.weight", "0.bias", "3.weight", "3.bias"])
@pytest.mark.parametrize("renamed", [False, True])
def test_a_last_digit_of_one_number_fails(name: str, renamed: bool) -> None:
    moved = by_an_ulp(HEALTHY[name])
    others = {key: array for key, array in HEALTHY.items() if key != name}
    known_as = "of_another_name" if renamed else name
    (check,) = checked({**others, known_as: moved})
    assert (check.status, check.value) == ("fail", 1)
    assert check.reason.startswith(f"{known_as} is not {name} with ")
    assert f"1 of {moved.size} numbers differ" in check.reason


@pytest.mark.parametrize("factor", [1 + 1e-7, 1 + 3e-7, 1 + 1e-6])
def test_a_scale_within_the_roundings_of_a_fold_fails(factor: float) -> None:
    scaled = (HEALTHY["0.weight"].astype(np.float64) * factor).astype(np.float32)
    (check,) = checked({**HEALTHY, "0.weight": scaled})
    assert check.status == "fail"


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"another": HEALTHY["0.weight"].transpose(2, 3, 1, 0)}, id="laid-out-anew"),
        pytest.param({"0.weight": HEALTHY["0.weight"] * np.float32(0.3)}, id="merged-with-a-scale"),
        pytest.param({"another": by_an_ulp(HEALTHY["5.weight"])}, id="a-tensor-that-was-not-folded"),
    ],
)
def test_what_a_simplifier_may_do_passes(change: Tensors) -> None:
    left = {name: array for name, array in HEALTHY.items() if "another" not in change or name != "0.weight"}
    (check,) = checked({**left, **change})
    assert (check.status, check.value) == ("pass", 0)


def test_a_fold_that_is_not_noted_may_be_rounded_by_others() -> None:
    (check,) = checked({**HEALTHY, "0.weight": by_an_ulp(HEALTHY["0.weight"])}, told='{"3":"4"}')
    assert (check.status, check.value) == ("pass", 0)


def test_a_norm_at_rest_may_have_been_merged_with_a_fold() -> None:
    at_rest = nn.BatchNorm2d(8, eps=1e-7)
    module = nn.Sequential(*trained(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8)), at_rest).eval()
    tensors, folds = folded(module)
    assert folds == {"0": "1"}
    gain = np.float32(1) / np.sqrt(np.float32(1) + np.float32(1e-7))
    (check,) = checked({**tensors, "0.weight": tensors["0.weight"] * gain}, module, '{"0":"1"}')
    assert check.status == "pass"


@pytest.mark.parametrize("told", ["{}", "[]", "no JSON", '{"0": 1}', '{"gone": "1", "0": "gone"}'])
def test_a_note_that_says_nothing_is_skipped(told: str) -> None:
    (check,) = checked(HEALTHY, told=told)
    assert check.status == "skipped"


def test_a_file_without_the_note_has_no_such_check() -> None:
    model = onnx.ModelProto(graph=helper.make_graph([], "g", [], []))
    assert folded_checks(OnnxGraph(model), Path("model.onnx"), Known(Weights.of(MODULE))) == ()
