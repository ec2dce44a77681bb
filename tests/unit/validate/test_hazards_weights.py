"""The graph's tensors against the checkpoint's: every form that exporters give them is known, and a change in
any of them is found."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from onnxproof.graph import OnnxGraph
from onnxproof.validate.hazards import Found, Subject, Weights
from onnxproof.validate.hazards.weights import CHANGED_WEIGHTS
from onnxproof.validate.verdict import Check

Array = NDArray[Any]
Change = Callable[[Array], Array]
RANDOM = np.random.default_rng(3)
EPSILON = 1e-3


def drawn(*shape: int) -> Array:
    return RANDOM.normal(size=shape).astype(np.float32)


def spread(size: int) -> Array:
    return RANDOM.uniform(0.5, 2, size).astype(np.float32)


TENSORS: dict[str, Array] = {
    "conv.weight": drawn(16, 8, 3, 3),
    "conv.bias": drawn(16),
    "plain.weight": drawn(16, 8, 3, 3),
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
    "gru.weight_ih_l0": drawn(24, 16),
    "attention.in_proj_weight": drawn(48, 16),
}
WEIGHTS = Weights(TENSORS, {"bn": EPSILON, "other": EPSILON})


def exactly(name: str) -> Array:
    return TENSORS[name].astype(np.float64)


def gain(norm: str, epsilon: float = EPSILON) -> Array:
    root: Array = np.sqrt(exactly(f"{norm}.running_var") + epsilon)
    return exactly(f"{norm}.weight") / root


def folded(weight: str, norm: str, epsilon: float = EPSILON) -> Array:
    return (exactly(weight) * gain(norm, epsilon)[:, None, None, None]).astype(np.float32)


def folded_bias(before: Array | float, norm: str) -> Array:
    moved = (before - exactly(f"{norm}.running_mean")) * gain(norm) + exactly(f"{norm}.bias")
    return moved.astype(np.float32)


def in_single(weight: str, norm: str) -> Array:
    """Folded as a graph optimizer does it, every step in float32."""
    root = np.sqrt(TENSORS[f"{norm}.running_var"] + np.float32(EPSILON))
    factor: Array = TENSORS[f"{norm}.weight"] / root
    return TENSORS[weight] * factor[:, None, None, None]


def blocks(name: str, order: list[int]) -> Array:
    parts = np.split(TENSORS[name], len(order))
    return np.concatenate([parts[at] for at in order])[None]


def look_whole(**held: Array) -> Found:
    """What is said of a graph with these initializers beside all of the checkpoint's tensors."""
    return Found(CHANGED_WEIGHTS, look(**{**TENSORS, **held}))


def look(**held: Array) -> Check:
    """What is said of a graph with these initializers; "rnn" and "gru" are read as a recurrence's."""
    nodes = [
        helper.make_node({"rnn": "LSTM", "gru": "GRU"}.get(name, "Add"), ["x", name], [f"{name}.out"])
        for name in held
    ]
    graph = helper.make_graph(
        nodes, "g", [], [], [numpy_helper.from_array(array, name) for name, array in held.items()]
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)])
    return CHANGED_WEIGHTS.look(Subject(OnnxGraph(proto), Path("model.onnx"), weights=WEIGHTS))


FORMS = [
    pytest.param("w", TENSORS["plain.weight"], ["plain.weight"], id="as-it-is"),
    pytest.param("w", TENSORS["head.weight"].T.copy(), ["head.weight"], id="transposed-for-a-matmul"),
    pytest.param("w", TENSORS["conv.bias"].reshape(1, 16, 1, 1), ["conv.bias"], id="a-bias-that-is-added"),
    pytest.param("w", folded("conv.weight", "bn"), ["conv.weight", "bn.weight"], id="folded-in-float64"),
    pytest.param("w", in_single("conv.weight", "bn"), ["conv.weight", "bn.weight"], id="folded-in-float32"),
    pytest.param("w", folded_bias(0, "bn"), ["bn.bias", "bn.running_mean"], id="a-bias-made-by-a-fold"),
    pytest.param(
        "w", folded_bias(exactly("conv.bias"), "bn"), ["conv.bias", "bn.bias"], id="a-bias-with-a-norm-in-it"
    ),
    pytest.param("w", gain("bn").astype(np.float32).reshape(16, 1, 1), ["bn.weight"], id="a-norms-gain"),
    pytest.param(
        "rnn", blocks("rnn.weight_ih_l0", [0, 3, 1, 2]), ["rnn.weight_ih_l0"], id="gates-of-an-lstm"
    ),
    pytest.param("gru", blocks("gru.weight_ih_l0", [1, 0, 2]), ["gru.weight_ih_l0"], id="gates-of-a-gru"),
    pytest.param("w", TENSORS["head.weight"] / np.float32(4), ["head.weight"], id="a-factor-merged-in"),
    pytest.param(
        "w",
        TENSORS["attention.in_proj_weight"][16:32].T.copy(),
        ["attention.in_proj_weight"],
        id="the-key-of-three",
    ),
]


@pytest.mark.parametrize(("name", "array", "stands_for"), FORMS)
def test_forms_that_exporters_make_are_the_checkpoints(
    name: str, array: Array, stands_for: list[str]
) -> None:
    check = look(**{name: array})
    assert check.status == "pass", check.reason
    count = len(TENSORS)
    found = int(check.reason.partition(" of ")[0])
    assert len(stands_for) <= found < count


def one_number(array: Array) -> Array:
    changed = array.copy()
    changed.reshape(-1)[np.argmax(np.abs(array))] *= np.float32(1.01)
    return changed


def one_channel(array: Array) -> Array:
    changed = array.copy()
    changed[3] *= 2
    return changed


def scaled(array: Array) -> Array:
    return array * np.float32(1.00001)


def to_half(array: Array) -> Array:
    return array.astype(np.float16).astype(np.float32)


def stored_in_half(array: Array) -> Array:
    return array.astype(np.float16)


def to_brain(array: Array) -> Array:
    return (array.view(np.uint32) & np.uint32(0xFFFF0000)).view(np.float32)


CHANGES = [one_number, one_channel, scaled, to_half, stored_in_half, to_brain]
CHANGED = {
    "copied": (TENSORS["plain.weight"], "plain.weight changed by"),
    "transposed": (TENSORS["head.weight"].T.copy(), "head.weight changed by"),
    "folded": (folded("conv.weight", "bn"), "conv.weight with bn folded in changed by"),
    "folded-bias": (folded_bias(0, "bn"), "a bias of zeros with bn folded in changed by"),
}


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__.replace("_", "-"))
@pytest.mark.parametrize("form", CHANGED)
def test_a_changed_tensor_is_named_with_the_size_of_the_change(form: str, change: Change) -> None:
    array, says = CHANGED[form]
    assert look_whole(w=array).clean
    found = look_whole(w=change(array))
    assert (found.check.status, found.check.value, found.check.limit) == ("pass", 1, None)
    assert found.advice is not None
    assert f"w is {says}" in found.advice


def test_the_size_is_that_of_the_change() -> None:
    reason = look_whole(w=TENSORS["plain.weight"] * np.float32(1.001)).advice or ""
    assert "changed by 1.0e-03 of its size, in 1152 of 1152 numbers" in reason
    assert "in 1 of 1152 numbers" in (look_whole(w=one_number(TENSORS["plain.weight"])).advice or "")


@pytest.mark.parametrize("epsilon", [2e-3, 1e-5], ids=["doubled", "the-default"])
def test_a_fold_with_another_epsilon_is_a_change(epsilon: float) -> None:
    found = look_whole(w=folded("conv.weight", "bn", epsilon))
    assert "conv.weight with bn folded in" in (found.advice or "")


def test_a_norms_statistic_that_moved_is_found_in_the_fold() -> None:
    moved = folded_bias(0, "bn")
    moved[5] += np.float32(0.01)
    assert "in 1 of 16 numbers" in (look_whole(w=moved).advice or "")


def test_tensors_that_changed_places_are_found_by_their_names() -> None:
    swapped = {"conv.weight": TENSORS["plain.weight"], "plain.weight": TENSORS["conv.weight"]}
    found = look_whole(**swapped)
    assert found.check.value == 2
    assert "conv.weight holds the numbers of plain.weight" in (found.advice or "")


def test_a_fold_that_kept_the_name_is_no_change() -> None:
    assert look(**{"conv.weight": folded("conv.weight", "bn")}).status == "pass"


FACTORS = drawn(10, 2), drawn(2, 16) * np.float32(1e-4)
COMPUTED = [
    pytest.param(
        TENSORS["head.weight"] * (np.abs(TENSORS["head.weight"]) > 0.3),
        {"head.mask": drawn(10, 16)},
        id="pruned",
    ),
    pytest.param(
        TENSORS["head.weight"] + FACTORS[0] @ FACTORS[1],
        {"a": FACTORS[0], "b": FACTORS[1]},
        id="with-a-low-rank-product",
    ),
    pytest.param(
        TENSORS["head.weight"] * np.float32(1 - 5e-6), {"norm.running_var": spread(10)}, id="a-frozen-norm"
    ),
]


@pytest.mark.parametrize(("array", "others"), COMPUTED)
@pytest.mark.parametrize("around", ["", "net.2."], ids=["at-the-top", "inside"])
def test_what_is_computed_from_several_tensors_is_no_damage(
    array: Array, others: dict[str, Array], around: str
) -> None:
    """The others are in no graph: they went into the weight."""
    known = {"head.weight": TENSORS["head.weight"], **others}
    weights = Weights({f"{around}{name}": values for name, values in known.items()} | {"far.0.w": MANY}, {})
    stored = [
        numpy_helper.from_array(array.astype(np.float32), "w"),
        numpy_helper.from_array(MANY, "far.0.w"),
    ]
    graph = OnnxGraph(helper.make_model(helper.make_graph([], "g", [], [], stored)))
    found = Found(CHANGED_WEIGHTS, CHANGED_WEIGHTS.look(Subject(graph, Path("model.onnx"), weights=weights)))
    assert found.clean, found.check.reason
    alone = Weights({f"{around}head.weight": TENSORS["head.weight"], "far.0.w": MANY}, {})
    damaged = CHANGED_WEIGHTS.look(Subject(graph, Path("model.onnx"), weights=alone))
    assert "head.weight changed by" in damaged.reason


def test_numbers_in_another_order_were_computed_from_no_other_tensor() -> None:
    """The other is in no graph: the model never reads it."""
    moved = TENSORS["head.weight"].copy()
    moved[[3, 4]] = moved[[4, 3]]
    graph = OnnxGraph(
        helper.make_model(helper.make_graph([], "g", [], [], [numpy_helper.from_array(moved.T, "w")]))
    )
    weights = Weights({"head.weight": TENSORS["head.weight"], "unread.weight": drawn(5, 5)}, {})
    found = Found(CHANGED_WEIGHTS, CHANGED_WEIGHTS.look(Subject(graph, Path("model.onnx"), weights=weights)))
    assert "w holds the numbers of head.weight in another order" in (found.advice or "")


MANY = drawn(12, 12)
OTHERS = [
    pytest.param(np.arange(256, dtype=np.float32).reshape(1, 16, 16), id="a-grid"),
    pytest.param(np.ones((16,), np.float32), id="ones"),
    pytest.param(np.zeros((16, 8, 3, 3), np.float32), id="zeros"),
    pytest.param(drawn(16, 8, 3, 3), id="another-runs-weights"),
    pytest.param(TENSORS["head.weight"] @ TENSORS["plain.weight"].reshape(16, 72), id="two-weights-merged"),
    pytest.param(np.array([0.5, 0.25, 0.25], np.float32), id="too-few-numbers-to-be-known"),
]


@pytest.mark.parametrize("array", OTHERS)
def test_what_is_like_nothing_is_not_judged(array: Array) -> None:
    assert look(w=array, known=TENSORS["plain.weight"]).status == "pass"
    alone = look(w=array)
    assert alone.status == "skipped"
    assert "none of the checkpoint's 15 tensors" in alone.reason


def test_another_runs_weights_under_the_same_name_are_told() -> None:
    check = look(**{"conv.weight": drawn(16, 8, 3, 3), "known": TENSORS["plain.weight"]})
    assert check.status == "pass"
    assert "1 bear the name of one that they are not like" in check.reason


def test_changed_tensors_in_constants_are_found_too() -> None:
    tensor = numpy_helper.from_array(one_channel(TENSORS["plain.weight"]))
    graph = helper.make_graph([helper.make_node("Constant", [], ["w"], value=tensor)], "g", [], [])
    weights = Weights({"plain.weight": TENSORS["plain.weight"]}, {})
    subject = Subject(OnnxGraph(helper.make_model(graph)), Path("model.onnx"), weights=weights)
    assert "w is plain.weight changed" in (Found(CHANGED_WEIGHTS, CHANGED_WEIGHTS.look(subject)).advice or "")


def test_a_file_whose_data_is_gone_is_no_pass(tmp_path: Path) -> None:
    graph = helper.make_graph([], "g", [], [], [numpy_helper.from_array(TENSORS["plain.weight"], "w")])
    file = tmp_path / "model.onnx"
    onnx.save(helper.make_model(graph), file, save_as_external_data=True, location="w.bin", size_threshold=0)
    proto = onnx.load(file, load_external_data=False)
    assert proto.graph.initializer[0].data_location == TensorProto.EXTERNAL
    assert CHANGED_WEIGHTS.look(Subject(OnnxGraph(proto), file, weights=WEIGHTS)).status == "pass"
    (tmp_path / "w.bin").unlink()
    assert CHANGED_WEIGHTS.look(Subject(OnnxGraph(proto), file, weights=WEIGHTS)).status == "skipped"


@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf])
def test_a_tensor_with_one_number_that_is_none_is_changed(number: float) -> None:
    damaged = TENSORS["plain.weight"].copy()
    damaged[2, 3, 1, 1] = number
    assert "in 1 of 1152 numbers" in (look_whole(w=damaged).advice or "")


def test_a_single_number_is_known_by_its_name_alone() -> None:
    weights = Weights({"scale": np.array(2.5, np.float32), "plain.weight": TENSORS["plain.weight"]}, {})

    def of(**held: Any) -> Check:
        stored = [
            numpy_helper.from_array(np.asarray(value, np.float32), name) for name, value in held.items()
        ]
        proto = helper.make_model(helper.make_graph([], "g", [], [], stored))
        return CHANGED_WEIGHTS.look(Subject(OnnxGraph(proto), Path("model.onnx"), weights=weights))

    known = TENSORS["plain.weight"]
    assert of(scale=2.5, known=known).reason.startswith("2 of the checkpoint's 2")
    assert "scale is scale changed" in of(scale=2.51, known=known).reason
    assert "changed" not in of(scale=5, known=known).reason
    assert "changed" not in of(other=2.51, known=known).reason


def test_a_model_without_weights_passes() -> None:
    subject = Subject(
        OnnxGraph(helper.make_model(helper.make_graph([], "g", [], []))), Path("m"), weights=Weights({}, {})
    )
    assert CHANGED_WEIGHTS.look(subject).status == "pass"
