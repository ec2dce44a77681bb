"""A graph's float constants against the checkpoint: every form that exporters make is known with its exact
value, and what is only near to one is not."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from onnxproof.graph import OnnxGraph
from onnxproof.validate.exact.checkpoint import Weights
from onnxproof.validate.exact.constants import Proven, prove_constants
from onnxproof.validate.exact.known import Known, Recorded, Source
from onnxproof.validate.exact.later import made

Array = NDArray[Any]
RANDOM = np.random.default_rng(5)
EPSILON = 1e-3
SINGLE = np.float32


def drawn(*shape: int) -> Array:
    return RANDOM.normal(size=shape).astype(np.float32)


def spread(size: int) -> Array:
    return RANDOM.uniform(0.5, 2, size).astype(np.float32)


TENSORS: dict[str, Array] = {
    "conv.weight": drawn(16, 8, 3, 3),
    "conv.bias": drawn(16),
    "lone.bias": drawn(16),
    "zero.bias": np.zeros(16, np.float32),
    "plain.weight": drawn(16, 8, 3, 3),
    "transposed.weight": drawn(8, 16, 2, 2),
    "bn.weight": spread(16),
    "bn.bias": drawn(16),
    "bn.running_mean": drawn(16),
    "bn.running_var": spread(16),
    "other.weight": spread(16),
    "other.bias": drawn(16),
    "other.running_mean": drawn(16),
    "other.running_var": spread(16),
    "head.weight": drawn(10, 16),
    "rnn.weight_ih_l0": drawn(32, 16),
    "rnn.bias_ih_l0": drawn(32),
    "rnn.bias_hh_l0": drawn(32),
    "gru.weight_ih_l0": drawn(24, 16),
    "gru.weight_ih_l0_reverse": drawn(24, 16),
    "attention.in_proj_weight": drawn(48, 16),
}
PLACES, HALVES = np.arange(40.0)[:, None], np.arange(0, 16, 2)
ANGLES = PLACES / 10000 ** (HALVES / 16)
IN_SINGLE = np.sin(PLACES.astype(SINGLE) * np.exp(HALVES.astype(SINGLE) * SINGLE(-np.log(10000) / 16)))
ELSEWHERE = np.sin(PLACES.astype(SINGLE) / SINGLE(10000) ** (HALVES.astype(SINGLE) / SINGLE(16)))
TABLE = Source("what sin makes of no input", np.sin(ANGLES), IN_SINGLE, True)
NORMED = (
    TENSORS["plain.weight"]
    / np.sqrt(np.sum(TENSORS["plain.weight"].astype(np.float64) ** 2, (1, 2, 3)))[:, None, None, None]
)
COMPUTED = Source("what _weight_norm makes of no input", NORMED, NORMED.astype(np.float32), True)
KNOWN = Known(
    Weights(TENSORS, {"bn": EPSILON, "other": EPSILON}),
    lambda: Recorded((TABLE, COMPUTED), (0.12345678901234567, 1e-12)),
)


def wide(name: str) -> Array:
    return TENSORS[name].astype(np.float64)


def gain(norm: str = "bn", epsilon: float = EPSILON) -> Array:
    root: Array = np.sqrt(wide(f"{norm}.running_var") + epsilon)
    return wide(f"{norm}.weight") / root


def gain_in_single(norm: str = "bn") -> Array:
    """As graph optimizers compute it, every step in float32."""
    root = np.sqrt(TENSORS[f"{norm}.running_var"] + SINGLE(EPSILON))
    factor: Array = TENSORS[f"{norm}.weight"] / root
    return factor


def channels(factor: Array) -> Array:
    return factor.reshape(-1, 1, 1, 1)


def bias(before: Array | float, norm: str = "bn", epsilon: float = EPSILON) -> Array:
    return (before - wide(f"{norm}.running_mean")) * gain(norm, epsilon) + wide(f"{norm}.bias")


def bias_in_single(before: Array, norm: str = "bn") -> Array:
    moved: Array = (before - TENSORS[f"{norm}.running_mean"]) * gain_in_single(norm) + TENSORS[f"{norm}.bias"]
    return moved


def gates(name: str, order: list[int]) -> Array:
    parts = np.split(TENSORS[name], len(order))
    whole: Array = np.concatenate([parts[at] for at in order])
    return whole


def prove(known: Known = KNOWN, **held: Array) -> Proven:
    graph = helper.make_graph(
        [], "g", [], [], [numpy_helper.from_array(array, name) for name, array in held.items()]
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)])
    return prove_constants(OnnxGraph(proto), known)


LSTM, GRU = [0, 3, 1, 2], [1, 0, 2]
COPIES = [
    pytest.param(TENSORS["plain.weight"], "plain.weight", id="as-it-is"),
    pytest.param(TENSORS["head.weight"].T.copy(), "head.weight, transposed", id="transposed"),
    pytest.param(
        TENSORS["plain.weight"].transpose(2, 3, 1, 0).copy(), "plain.weight, transposed", id="channels-last"
    ),
    pytest.param(TENSORS["plain.weight"].reshape(16, 72), "plain.weight", id="reshaped"),
    pytest.param(TENSORS["conv.bias"].reshape(1, 16, 1, 1), "conv.bias", id="unsqueezed"),
    pytest.param(
        TENSORS["plain.weight"][:, :, ::-1, ::-1].copy(), "plain.weight, flipped", id="a-flipped-kernel"
    ),
    pytest.param(gates("rnn.weight_ih_l0", LSTM)[None], "in ONNX's order", id="gates-of-an-lstm"),
    pytest.param(
        np.stack([gates("gru.weight_ih_l0", GRU), gates("gru.weight_ih_l0_reverse", GRU)]),
        "gru.weight_ih_l0, its gates in ONNX's order, then gru.weight_ih_l0_reverse",
        id="both-directions-of-a-gru",
    ),
    pytest.param(
        np.concatenate([gates("rnn.bias_ih_l0", LSTM), gates("rnn.bias_hh_l0", LSTM)])[None],
        "rnn.bias_ih_l0, its gates in ONNX's order, then rnn.bias_hh_l0",
        id="both-biases-in-one",
    ),
    pytest.param(
        TENSORS["attention.in_proj_weight"][16:32].T.copy(),
        "attention.in_proj_weight[16:32] of axis 0, transposed",
        id="the-key-of-three",
    ),
    pytest.param(TENSORS["plain.weight"][:, 2:5].copy(), "plain.weight[2:5] of axis 1", id="a-slice"),
    pytest.param(
        np.concatenate([TENSORS["head.weight"], TENSORS["rnn.weight_ih_l0"]]),
        "head.weight, then rnn.weight_ih_l0",
        id="one-behind-the-other",
    ),
    pytest.param(
        np.concatenate([TENSORS["head.weight"].T, TENSORS["gru.weight_ih_l0"].T], 1),
        "head.weight, then gru.weight_ih_l0",
        id="side-by-side",
    ),
]


@pytest.mark.parametrize(("array", "says"), COPIES)
def test_the_checkpoints_own_numbers_are_exact_as_they_are(array: Array, says: str) -> None:
    proven = prove(w=array)
    assert not proven.unproven
    assert says in proven.origins["w"].text
    assert "w" not in proven.exact
    assert proven.farthest == 0


def scaled_query(dtype: type) -> Array:
    scaled: Array = (TENSORS["head.weight"] * dtype(1 / np.sqrt(24))).astype(np.float32)
    return scaled


FOLDS = [
    pytest.param(wide("conv.weight") * channels(gain()), "bn's gain", 1, id="weight-in-float64"),
    pytest.param(
        (wide("conv.weight") * channels(gain()), TENSORS["conv.weight"] * channels(gain_in_single())),
        "conv.weight times bn's gain",
        4,
        id="weight-in-float32",
    ),
    pytest.param(
        (wide("transposed.weight") * gain()[:, None, None], None),
        "transposed.weight times bn's gain",
        1,
        id="a-transposed-convolution",
    ),
    pytest.param(
        (wide("head.weight").T * gain()[:, None], TENSORS["head.weight"].T * gain_in_single()[:, None]),
        "head.weight times bn's gain",
        4,
        id="a-linear-layer-behind-a-norm",
    ),
    pytest.param(
        (wide("conv.weight") * channels(gain()) / 2, None),
        "bn's gain times 0.5",
        1,
        id="and-a-scale-merged-in",
    ),
    pytest.param((bias(0), None), "a bias of zeros with bn folded in", 1, id="a-bias-made-by-a-fold"),
    pytest.param(
        (bias(wide("conv.bias")), bias_in_single(TENSORS["conv.bias"])),
        "conv.bias with bn folded in",
        6,
        id="a-bias-in-float32",
    ),
    pytest.param(
        (bias(wide("conv.bias")) / 2, None), "with bn folded in times 0.5", 1, id="a-bias-and-a-scale"
    ),
    pytest.param((gain().reshape(16, 1, 1), gain_in_single().reshape(16, 1, 1)), "bn's gain", 3, id="a-gain"),
    pytest.param((np.sqrt(wide("bn.running_var") + EPSILON), None), "bn's deviation", 1, id="a-deviation"),
    pytest.param((1 / wide("other.weight"), None), "1 / other.weight", 1, id="a-reciprocal"),
    pytest.param(
        (wide("head.weight") / np.sqrt(24), scaled_query(np.float32)),
        "head.weight times sqrt(1 / 24)",
        2,
        id="a-scale-of-attention",
    ),
    pytest.param((wide("conv.bias") * gain(), None), "conv.bias times bn's gain", 1, id="a-bias-and-a-gain"),
    pytest.param((wide("conv.bias") + wide("lone.bias"), None), "conv.bias plus lone.bias", 1, id="a-sum"),
    pytest.param((wide("conv.bias") / 3, None), "conv.bias times 1 / 3", 1, id="a-scaled-bias"),
    pytest.param((wide("head.weight") / 4, None), "head.weight times 0.25", 0, id="a-power-of-two"),
    pytest.param((np.sin(ANGLES), IN_SINGLE), "what sin makes", 40, id="a-table-of-pytorch"),
    pytest.param((np.sin(ANGLES).T[:, None], None), "what sin makes", 1, id="a-table-rounded-once"),
    pytest.param(
        (np.sin(ANGLES), ELSEWHERE),
        "what sin makes",
        40,
        id="a-table-of-another-program",
    ),
    pytest.param(
        (NORMED * channels(gain()), None), "_weight_norm makes of no input times bn's", 1, id="computed"
    ),
    pytest.param((NORMED[3:9], None), "[3:9] of axis 0", 1, id="a-slice-of-what-is-computed"),
    pytest.param((np.full((2, 3), 0.1), None), "0.1", 1, id="a-decimal"),
    pytest.param(
        (np.array(0.12345678901234567), None), repr(0.12345678901234567), 1, id="a-scalar-of-the-run"
    ),
    pytest.param((np.array([0.485 / 0.229, 1 / 3]), None), "1 / 3, 485 / 229", 1, id="fractions"),
    pytest.param((np.array(np.sqrt(2 / np.pi)), None), "pi)", 1, id="a-named-constant"),
    pytest.param(
        (np.array(24**-0.25), SINGLE(1) / np.sqrt(np.sqrt(SINGLE(24)))), "24^(1/4)", 2, id="fourth-root"
    ),
]


@pytest.mark.parametrize(("folded", "says", "roundings"), FOLDS)
def test_what_was_computed_is_known_with_its_exact_value(
    folded: Array | tuple[Array, Array | None], says: str, roundings: float
) -> None:
    exact, stored = folded if isinstance(folded, tuple) else (folded, None)
    held = np.asarray(exact if stored is None else stored, np.float32)
    proven = prove(w=held)
    assert not proven.unproven
    assert says in proven.origins["w"].text
    assert proven.origins["w"].ulps <= roundings / 2 + 1e-9
    found = made(proven.exact.get("w", held))
    assert found.shape == held.shape
    np.testing.assert_allclose(found, exact, rtol=1e-14, atol=1e-14)


EXACT = [
    np.arange(60, dtype=np.float32).reshape(3, 20) + 0.5,
    np.ones((3, 3), SINGLE),
    np.triu(np.full((9, 9), np.finfo(SINGLE).min), 1),
    np.triu(np.full((9, 9), SINGLE(-np.inf)), 1),
]


@pytest.mark.parametrize("array", EXACT, ids=["a-grid", "ones", "a-mask", "an-infinite-mask"])
def test_numbers_that_need_no_rounding_are_exact(array: Array) -> None:
    proven = prove(w=array)
    assert (proven.unproven, dict(proven.exact)) == ((), {})


def by_ulps(count: int) -> Callable[[Array], Array]:
    def change(array: Array) -> Array:
        changed = array.copy()
        flat = changed.reshape(-1)
        at = int(np.argmax(np.abs(flat)))
        flat[at] += count * np.spacing(np.abs(flat[at]))
        return changed

    return change


def swapped(array: Array) -> Array:
    changed = array.copy()
    changed[[2, 5]] = changed[[5, 2]]
    return changed


NEAR_MISSES = [
    pytest.param(by_ulps(4)(TENSORS["plain.weight"]), id="a-weight-by-4-ulp"),
    pytest.param(by_ulps(1)(TENSORS["plain.weight"]), id="a-weight-by-1-ulp"),
    pytest.param(by_ulps(1)(TENSORS["conv.bias"]), id="a-bias-by-1-ulp"),
    pytest.param(by_ulps(4)((wide("conv.weight") * channels(gain())).astype(SINGLE)), id="a-fold-by-4-ulp"),
    pytest.param(by_ulps(16)(bias_in_single(TENSORS["conv.bias"])), id="a-folded-bias-by-16-ulp"),
    pytest.param(by_ulps(4)(scaled_query(np.float64)), id="a-scaled-weight-by-4-ulp"),
    pytest.param(by_ulps(400)(TABLE.single), id="a-table"),
    pytest.param(swapped(TENSORS["plain.weight"]), id="two-channels-swapped"),
    pytest.param(swapped((wide("conv.weight") * channels(gain())).astype(SINGLE)), id="swapped-in-a-fold"),
    pytest.param(gates("rnn.weight_ih_l0", [0, 1, 3, 2])[None], id="gates-in-another-order"),
    pytest.param((wide("conv.weight") * channels(gain("bn", 1e-5))).astype(SINGLE), id="the-wrong-epsilon"),
    pytest.param(bias(wide("conv.bias"), "bn", 1e-5).astype(SINGLE), id="the-wrong-epsilon-in-a-bias"),
    pytest.param(
        ((wide("conv.bias") + wide("bn.running_mean")) * gain() + wide("bn.bias")).astype(SINGLE),
        id="a-bias-with-the-mean's-sign-wrong",
    ),
    pytest.param(
        ((wide("conv.bias") - wide("bn.running_mean")) * gain() - wide("bn.bias")).astype(SINGLE),
        id="a-bias-with-beta's-sign-wrong",
    ),
    pytest.param(TENSORS["plain.weight"].astype(np.float16), id="rounded-to-half"),
    pytest.param(
        (TENSORS["plain.weight"].view(np.uint32) & np.uint32(0xFFFF0000)).view(SINGLE),
        id="rounded-to-bfloat16",
    ),
    pytest.param(TENSORS["plain.weight"] * SINGLE(1.00001), id="scaled-a-little"),
    pytest.param(drawn(16, 8, 3, 3), id="another-runs-weights"),
    pytest.param(drawn(16), id="another-runs-bias"),
    pytest.param(np.array(0.7318264539, SINGLE), id="a-number-that-nobody-writes"),
    pytest.param(np.nextafter(SINGLE(3), SINGLE(4)).reshape(1), id="a-bound-just-above-a-short-number"),
]


@pytest.mark.parametrize("array", NEAR_MISSES)
def test_what_is_only_near_is_not_proven(array: Array) -> None:
    proven = prove(w=array)
    assert [entry.name for entry in proven.unproven] == ["w"]
    assert proven.unproven[0].shape == array.shape
    assert not proven.origins
    assert not proven.exact


def test_half_precision_counts_as_rounding_only_in_a_model_that_is_in_it() -> None:
    rounded = {name: array.astype(np.float16) for name, array in TENSORS.items()}
    gain16 = rounded["bn.weight"] / np.sqrt(rounded["bn.running_var"] + np.float16(EPSILON))
    weight, tenth = rounded["conv.weight"] * channels(gain16), np.array(0.1, np.float16)
    assert [entry.name for entry in prove(w=weight, tenth=tenth).unproven] == ["w", "tenth"]
    tensors = {name: array.astype(np.float32) for name, array in rounded.items()}
    proven = prove(
        Known(Weights(tensors, {"bn": EPSILON}, dict.fromkeys(tensors, "float16"))), w=weight, tenth=tenth
    )
    assert not proven.unproven
    assert proven.origins["w"].text == "conv.weight times bn's gain"
    assert made(proven.exact["tenth"]) == 0.1


@pytest.mark.parametrize("number", [np.nan, np.inf])
def test_a_number_that_is_none_is_not_proven(number: float) -> None:
    for array in (TENSORS["plain.weight"], (wide("conv.weight") * channels(gain())).astype(SINGLE)):
        damaged = array.copy()
        damaged[2, 3, 1, 1] = number
        assert prove(w=damaged).unproven


def test_the_module_does_not_run_for_what_is_known_without() -> None:
    def refuse() -> Recorded:
        raise AssertionError("the module ran")

    weights = KNOWN.weights
    fold = (wide("conv.weight") * channels(gain())).astype(SINGLE)
    proven = prove(Known(weights, refuse), w=TENSORS["plain.weight"], f=fold, one=np.ones(3, SINGLE))
    assert not proven.unproven


def test_constants_in_nodes_and_bodies_are_proven_and_attributes_told() -> None:
    body = helper.make_graph(
        [helper.make_node("Constant", [], ["inner"], value=numpy_helper.from_array(TENSORS["plain.weight"]))],
        "body",
        [],
        [helper.make_tensor_value_info("inner", onnx.TensorProto.FLOAT, None)],
    )
    nodes = [
        helper.make_node("Constant", [], ["tenth"], value_float=0.1),
        helper.make_node("Constant", [], ["several"], value_floats=[0.1, 0.2, 0.5]),
        helper.make_node("LeakyRelu", ["x"], ["y"], alpha=0.01),
        helper.make_node("Elu", ["y"], ["z"], alpha=0.5),
        helper.make_node("If", ["c"], ["out"], then_branch=body, else_branch=body),
    ]
    proto = helper.make_model(helper.make_graph(nodes, "g", [], []))
    proven = prove_constants(OnnxGraph(proto), KNOWN)
    assert not proven.unproven
    assert proven.origins["inner"].text == "plain.weight"
    assert made(proven.exact["tenth"]) == 0.1
    assert made(proven.exact["several"]).tolist() == [0.1, 0.2, 0.5]
    assert proven.attributes == {("y", "alpha"): 0.01}


@pytest.mark.parametrize(
    ("size", "alpha", "exact"),
    [
        pytest.param(64, SINGLE(64**-0.25) ** 2, 0.125, id="two-factors"),
        pytest.param(64, SINGLE(0.125) * SINGLE(1 + 1e-6), None, id="no-rounding"),
        pytest.param(256, np.nextafter(SINGLE(256**-0.5), SINGLE(1)), None, id="factors-that-are-exact"),
    ],
)
def test_the_factor_of_a_fused_product_is_that_of_attention(
    size: int, alpha: Any, exact: float | None
) -> None:
    assert alpha != SINGLE(size**-0.5)
    fused = helper.make_node("FusedMatMul", ["a", "b"], ["y"], domain="com.microsoft", alpha=float(alpha))
    other = helper.make_node("Elu", ["y"], ["z"], alpha=float(alpha))
    proto = helper.make_model(helper.make_graph([fused, other], "g", [], []))
    found = prove_constants(OnnxGraph(proto), KNOWN).attributes
    assert found == ({} if exact is None else {("y", "alpha"): exact})


def branch(value: float) -> onnx.GraphProto:
    nodes = [
        helper.make_node("Constant", [], ["number"], value_float=value),
        helper.make_node("LeakyRelu", ["number"], ["out"], alpha=value),
    ]
    return helper.make_graph(
        nodes, "branch", [], [helper.make_tensor_value_info("out", onnx.TensorProto.FLOAT, [])]
    )


def test_a_name_that_means_two_constants_is_given_no_value() -> None:
    node = helper.make_node("If", ["c"], ["y"], then_branch=branch(0.1), else_branch=branch(0.7))
    proven = prove_constants(OnnxGraph(helper.make_model(helper.make_graph([node], "g", [], []))), KNOWN)
    assert [entry.name for entry in proven.unproven] == ["number"]
    assert (dict(proven.exact), dict(proven.attributes)) == ({}, {})


def test_a_sparse_constant_and_one_of_a_function_that_is_not_called_are_given_no_value() -> None:
    values = numpy_helper.from_array(np.array([0.1, 0.7], SINGLE), "sparse")
    places = numpy_helper.from_array(np.array([1, 5]), "places")
    idle = helper.make_function(
        "own",
        "Idle",
        [],
        ["tenth"],
        [helper.make_node("Constant", [], ["tenth"], value_float=0.1)],
        [helper.make_opsetid("", 20)],
    )
    graph = helper.make_graph([], "g", [], [])
    graph.sparse_initializer.append(helper.make_sparse_tensor(values, places, [8]))
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid("own", 1)]
    proven = prove_constants(
        OnnxGraph(helper.make_model(graph, functions=[idle], opset_imports=opsets)), KNOWN
    )
    assert not proven.exact
    assert {entry.name for entry in proven.unproven} == {"sparse", "tenth"}


def test_external_data_is_read_from_beside_the_file(tmp_path: Path) -> None:
    graph = helper.make_graph([], "g", [], [], [numpy_helper.from_array(TENSORS["plain.weight"], "w")])
    file = tmp_path / "model.onnx"
    onnx.save(helper.make_model(graph), file, save_as_external_data=True, location="w.bin", size_threshold=0)
    assert prove_constants(OnnxGraph.read(file), KNOWN, file).origins["w"].text == "plain.weight"


def one_number(array: Array) -> Array:
    changed = array.copy()
    changed.reshape(-1)[7] *= SINGLE(1.5)
    return changed


FOLDED = (wide("conv.weight") * channels(gain())).astype(SINGLE)


def test_a_weight_that_equals_what_it_is_computed_from_is_the_computed_one() -> None:
    """Weight norm at initialization gives back its direction, up to the rounding of the length. Two programs
    round it to neighbours, and one of them hits the direction's own numbers."""
    raw = {"w.parametrizations.weight.original1": TENSORS["conv.weight"]}
    computed = wide("conv.weight") * channels(1 + 2e-8 * RANDOM.uniform(-1, 1, 16))
    by_pytorch = np.nextafter(TENSORS["conv.weight"], SINGLE(9))
    table = Source("what _weight_norm makes of no input", computed, by_pytorch, True)
    known = Known(Weights(raw, {}), lambda: Recorded((table,)))
    proven = prove(known, folded=TENSORS["conv.weight"], **raw)
    np.testing.assert_array_equal(made(proven.exact["folded"]), computed)
    # Under its own name it is the tensor itself.
    assert list(proven.exact) == ["folded"]


FILLED = Source("what scalar_tensor makes of no input", np.array(-np.inf), np.array(-np.inf, SINGLE), True)
CAUSAL = np.triu(np.full((5, 5), -np.inf), 1)
MASK = Source("what masked_fill makes of no input", CAUSAL, CAUSAL.astype(SINGLE), True)
MASKED = Known(Weights(TENSORS, {}), lambda: Recorded((FILLED, MASK)))


def test_an_infinite_number_is_proven_by_an_equal_one() -> None:
    held = {"mask": MASK.single, "fill": FILLED.single}
    proven = prove(MASKED, **held)
    assert not proven.unproven
    for name, array in held.items():
        np.testing.assert_array_equal(proven.exact.get(name, array), array)


def test_a_finite_number_is_not_proven_by_an_infinite_one() -> None:
    """A mask's -inf is in many models, and it is as far from any finite number as can be."""
    finite = np.where(np.isinf(MASK.single), drawn(5, 5), 0)
    (scale, whole) = prove(MASKED, scale=np.array(0.7318264539, SINGLE), whole=finite).unproven
    assert (scale.name, whole.name) == ("scale", "whole")


DAMAGED = [
    pytest.param(
        one_number(TENSORS["plain.weight"]),
        r"is plain.weight changed by .* in 1 of 1152 numbers",
        id="copied",
    ),
    pytest.param(
        one_number(TENSORS["head.weight"].T.copy()),
        "is head.weight changed by .* in 1 of 160",
        id="transposed",
    ),
    pytest.param(
        one_number(FOLDED), "is conv.weight with bn folded in changed by .* in 1 of 1152", id="folded"
    ),
    pytest.param(
        one_number(bias(0).astype(SINGLE)),
        "is a bias of zeros with bn folded in changed by .* in 1 of 16",
        id="folded-bias",
    ),
    pytest.param(
        one_number(np.stack([gates("gru.weight_ih_l0", GRU), gates("gru.weight_ih_l0_reverse", GRU)])),
        r"is gru.weight_ih_l0 changed by .* in 1 of 384 numbers$",
        id="one-direction",
    ),
    pytest.param(
        one_number(np.concatenate([gates("rnn.bias_ih_l0", LSTM), gates("rnn.bias_hh_l0", LSTM)])[None]),
        r"is rnn.bias_ih_l0 changed by .* in 1 of 32 numbers$",
        id="one-bias-of-two",
    ),
    pytest.param(
        TENSORS["plain.weight"].astype(np.float16),
        "is plain.weight changed by 2.* of its size, in 11.. of 1152",
        id="rounded-to-half",
    ),
    pytest.param(
        swapped(TENSORS["plain.weight"]), "is the numbers of plain.weight in another order", id="swapped"
    ),
    pytest.param(drawn(16, 8, 3, 3), r"^w \(\[16, 8, 3, 3\]\)$", id="another-runs"),
    pytest.param(np.array(0.7318264539, SINGLE), r"^w \(a single number\)$", id="a-number"),
]


@pytest.mark.parametrize(("array", "says"), DAMAGED)
def test_a_damaged_constant_is_named_with_the_size_of_the_damage(array: Array, says: str) -> None:
    (found,) = prove(w=array).unproven
    assert re.search(says, str(found)), str(found)


@pytest.mark.parametrize("numbers", [1, 50, 1152])
def test_a_tensor_that_is_changed_in_a_few_numbers_is_not_rounded(numbers: int) -> None:
    """Else its own rounding would be allowed for, and hide what was changed."""
    weight = TENSORS["conv.weight"].copy()
    weight.reshape(-1)[:numbers] *= np.float32(1.000001)
    (entry,) = prove(w=weight).unproven
    assert entry.changed == (numbers < 100)
    assert not entry.changed or str(entry).endswith(f"in {numbers} of 1152 numbers")


@pytest.mark.parametrize(
    ("held", "says"),
    [
        pytest.param(
            np.full((1, 3, 1, 1), 0.5, SINGLE), "stage.mean holds 0.5, 0.5, 0.5, and the checkpoint's 0.485, "
            "0.456, 0.406", id="other-numbers",
        ),
        pytest.param(
            np.array([0.406, 0.456, 0.485], SINGLE).reshape(1, 3, 1, 1),
            "stage.mean holds its numbers in another channel order (axis 1 reversed)", id="bgr",
        ),
    ],
)  # fmt: skip
def test_a_known_constant_that_by_its_name_is_another_is_told(held: Array, says: str) -> None:
    mean = np.array([0.485, 0.456, 0.406], SINGLE).reshape(1, 3, 1, 1)
    first = drawn(4, 3, 3, 3)
    known = Known(Weights({"stage.mean": mean, "first.weight": first}, {}))
    assert prove(known, **{"stage.mean": held}).otherwise == (says,)
    assert prove(known, **{"stage.mean": mean, "first.weight": first}).otherwise == ()
    (told,) = prove(known, **{"first.weight": np.ascontiguousarray(first[:, ::-1])}).otherwise
    assert told == "first.weight holds its numbers in another channel order (axis 1 reversed)"
