"""Rows that a file's graph has chosen are told from others and taken apart; graphs out of order run."""

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from onnxproof.runtime.port import Port
from onnxproof.tensors import TensorSpec
from onnxproof.validate.exact.graph import ExactGraph
from onnxproof.validate.likeness import likest_rows, names_in_order
from onnxproof.validate.unpacked import UnpackedRows, unpack

NAMES = ("boxes", "labels", "scores", "counts")


def rows(count: int = 5, pad: int = 3) -> NDArray[np.float32]:
    random = np.random.default_rng(0)
    made = np.zeros((1, count + pad, 6), np.float32)
    made[0, :count] = random.uniform(1, 90, (count, 6))
    made[0, :count, 4] = np.sort(random.uniform(0.3, 1, count))[::-1]
    made[0, :count, 5] = np.arange(count) % 3
    return made


def parts(packed: NDArray[np.float32]) -> dict[str, NDArray[np.generic]]:
    return dict(UnpackedRows("output0", NAMES).arrays(packed))


@pytest.mark.parametrize("single", [True, False], ids=["one-output", "four-outputs"])
def test_rows_are_alike_whatever_their_order(single: bool) -> None:
    wanted = rows()
    ours = {"rows": wanted} if single else parts(wanted)
    turned = wanted[:, [1, 0, 2, 4, 3, 5, 6, 7]]
    found = likest_rows({"output0": turned}, ours)
    assert found is not None
    assert found.error == 0
    assert (found.unpacked is None) == single
    other = wanted.copy()
    other[0, :5, 5] += 1
    found = likest_rows({"output0": other}, ours)
    assert found is not None
    assert not found.alike()


def test_what_has_no_rows_of_that_size_is_left_out() -> None:
    assert likest_rows({"output0": rows(4)}, {"rows": rows(5)}) is None


@pytest.mark.parametrize("opset", [11, 17])
def test_a_graph_takes_rows_apart_as_the_arrays_are(opset: int) -> None:
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 8, 6])
    packed = helper.make_tensor_value_info("packed", TensorProto.FLOAT, [1, 8, 6])
    nodes = [helper.make_node("Identity", ["x"], ["packed"])]
    model = helper.make_model(
        helper.make_graph(nodes, "g", [value], [packed]), opset_imports=[helper.make_opsetid("", opset)]
    )
    unpack(model, UnpackedRows("output0", NAMES), "packed")
    onnx.checker.check_model(model)
    found = ExactGraph(model).run({"x": rows()})
    for name, wanted in parts(rows()).items():
        np.testing.assert_array_equal(found[name], wanted)


def test_what_rows_carry_is_taken_apart_too() -> None:
    """Keypoints behind the class, and prototypes in an output of their own."""
    points = np.arange(48, dtype=np.float32).reshape(1, 8, 6)
    packed, shared = np.concatenate((rows(), points), axis=-1), np.ones((1, 2, 4, 4), np.float32)
    boxes = parts(rows())
    ours = {**boxes, "keypoints": points.reshape(1, 8, 2, 3), "prototypes": shared}
    found = likest_rows({"output0": packed, "output1": shared}, ours)
    assert found is not None
    assert (found.error, found.names) == (0, {"output1": "prototypes"})
    assert found.unpacked == UnpackedRows("output0", NAMES, ("keypoints", (2, 3)))
    value, out = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 8, 12]) for name in ("x", "p"))
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["p"])], "g", [value], [out])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    unpack(model, found.unpacked, "p")
    onnx.checker.check_model(model)
    told = ExactGraph(model).run({"x": packed})
    for name, wanted in found.unpacked.arrays(packed).items():
        np.testing.assert_array_equal(told[name], wanted)
    moved = packed.copy()
    moved[..., 6] += 30
    other = likest_rows({"output0": moved, "output1": shared}, ours)
    assert other is not None
    assert not other.alike()
    assert likest_rows({"output0": packed}, ours) is None


def test_points_of_chosen_rows_are_taken_apart() -> None:
    wanted, points = rows(8, 0), np.arange(48, dtype=np.float32).reshape(1, 8, 2, 3)
    packed = np.concatenate((wanted, points.reshape(1, 8, 6)), axis=-1)
    found = likest_rows({"output0": packed}, {"rows": wanted, "keypoints": points})
    assert found is not None
    assert found.error == 0
    assert found.unpacked is not None
    for name, part in {"rows": wanted, "keypoints": points}.items():
        np.testing.assert_array_equal(found.unpacked.arrays(packed)[name], part)
    assert likest_rows({"output0": packed}, {"rows": wanted, "keypoints": points[:, :, :1]}) is None


def test_names_go_by_order_if_kinds_and_ranks_agree() -> None:
    ours = (TensorSpec("output0", "float32", ("batch", 7, 189)),)
    assert names_in_order(ours, (Port("out", "float32", (1, 6, 189)),)) == {"out": "output0"}
    assert names_in_order(ours, (Port("out", "float32", (1, 6)),)) is None
    assert names_in_order(ours, (Port("a", "float32", (1, 6, 9)), Port("b", "float32", (1,)))) is None


def test_a_graph_whose_nodes_are_out_of_order_is_evaluated_as_runtimes_do() -> None:
    value, out = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [2]) for name in ("x", "y"))
    nodes = [
        helper.make_node("Add", ["middle", "one"], ["y"]),
        helper.make_node("Mul", ["x", "one"], ["middle"]),
    ]
    one = numpy_helper.from_array(np.array([2, 3], np.float32), "one")
    model = helper.make_model(helper.make_graph(nodes, "g", [value], [out], [one]))
    found = ExactGraph(model).run({"x": np.array([1, 1], np.float32)})
    np.testing.assert_array_equal(found["y"], [4, 6])
