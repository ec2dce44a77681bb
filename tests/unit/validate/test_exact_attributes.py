"""Float attributes are read as the numbers that were rounded for them: those that a node holds, those that
it leaves to ONNX's defaults, and the number that fills a tensor."""

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from onnxproof.graph import OnnxGraph
from onnxproof.validate.exact.checkpoint import Weights
from onnxproof.validate.exact.constants import prove_constants
from onnxproof.validate.exact.known import Known, Recorded

SELU = (1.6732632423543772848170429916717, 1.0507009873554804934193349852946)
DRAWN = 0.73182645391123457
"""A number of too many digits to be read as a decimal."""
KNOWN = Known(Weights({}, {}), lambda: Recorded(scalars=(DRAWN,)))


def found(*nodes: onnx.NodeProto, opset: int = 18, known: Known = KNOWN, **more: Any) -> dict[Any, float]:
    """The attributes with an exact value of their own, as ``prove_constants`` gives them."""
    imports = [helper.make_opsetid("", opset), helper.make_opsetid("own", 1)]
    proto = helper.make_model(helper.make_graph(nodes, "g", [], []), opset_imports=imports, **more)
    return dict(prove_constants(OnnxGraph(proto), known).attributes)


def filling(number: Any, dtype: Any = np.float32) -> onnx.NodeProto:
    value = numpy_helper.from_array(np.array([number], dtype))
    return helper.make_node("ConstantOfShape", ["shape"], ["y"], value=value)


def selu(**attributes: Any) -> onnx.NodeProto:
    return helper.make_node("Selu", ["x"], ["y"], **attributes)


@pytest.mark.parametrize(
    ("node", "opset", "exact"),
    [
        pytest.param(selu(), 18, {"alpha": SELU[0], "gamma": SELU[1]}, id="selu"),
        pytest.param(
            selu(alpha=SELU[0], gamma=SELU[1]), 18, {"alpha": SELU[0], "gamma": SELU[1]}, id="selu-as-written"
        ),
        pytest.param(selu(alpha=1.6), 18, {"alpha": 1.6, "gamma": SELU[1]}, id="selu-with-another-alpha"),
        pytest.param(
            selu(), 5, {"alpha": 1.6732, "gamma": 1.0507}, id="selu-of-an-opset-with-other-defaults"
        ),
        pytest.param(helper.make_node("LeakyRelu", ["x"], ["y"]), 18, {"alpha": 0.01}, id="leaky-relu"),
        pytest.param(helper.make_node("HardSigmoid", ["x"], ["y"]), 18, {"alpha": 0.2}, id="hard-sigmoid"),
        pytest.param(helper.make_node("LRN", ["x"], ["y"], size=3), 18, {"alpha": 1e-4}, id="lrn"),
        pytest.param(
            helper.make_node("LayerNormalization", ["x", "s"], ["y"]), 18, {"epsilon": 1e-5}, id="an-epsilon"
        ),
        pytest.param(helper.make_node("Elu", ["x"], ["y"]), 18, {}, id="a-default-that-is-exact"),
        pytest.param(
            helper.make_node("Elu", ["x"], ["y"], alpha=DRAWN), 18, {"alpha": DRAWN}, id="of-the-run"
        ),
        pytest.param(helper.make_node("Own", ["x"], ["y"], domain="own"), 18, {}, id="no-schema"),
        pytest.param(filling(0.3), 18, {"value": 0.3}, id="what-fills-a-tensor"),
        pytest.param(filling(DRAWN), 18, {"value": DRAWN}, id="what-fills-a-tensor-of-the-run"),
        pytest.param(filling(0.5), 18, {}, id="what-fills-a-tensor-exactly"),
        pytest.param(filling(3, np.int64), 18, {}, id="an-integer-that-fills-a-tensor"),
        pytest.param(filling(0.3, np.float64), 18, {}, id="a-double-that-fills-a-tensor"),
        pytest.param(filling(0.3, np.float16), 18, {}, id="a-half-of-a-model-in-float32"),
    ],
)
def test_an_attribute_is_the_number_that_was_rounded_for_it(
    node: onnx.NodeProto, opset: int, exact: dict[str, float]
) -> None:
    assert found(node, opset=opset) == {("y", name): value for name, value in exact.items()}


def test_a_number_that_nobody_writes_is_what_the_file_holds() -> None:
    known = Known(Weights({}, {}))
    assert found(filling(DRAWN), known=known) == {}
    assert found(helper.make_node("Elu", ["x"], ["y"], alpha=DRAWN), known=known) == {}


def test_a_model_in_half_precision_fills_with_its_own_numbers() -> None:
    held = Known(Weights({"w": np.zeros(3, np.float32)}, {}, {"w": "float16"}))
    assert found(filling(0.3, np.float16), known=held) == {("y", "value"): 0.3}


def test_a_function_has_the_defaults_of_its_own_opset() -> None:
    body = [helper.make_node("Selu", ["a"], ["b"])]
    own = helper.make_function("own", "F", ["a"], ["b"], body, [helper.make_opsetid("", 5)])
    call = helper.make_node("F", ["x"], ["y"], domain="own")
    assert found(call, functions=[own]) == {("b", "alpha"): 1.6732, ("b", "gamma"): 1.0507}


def test_one_name_with_two_values_is_left_as_the_file_holds_it() -> None:
    def branch(**attributes: Any) -> onnx.GraphProto:
        node = helper.make_node("LeakyRelu", ["x"], ["out"], **attributes)
        told = helper.make_tensor_value_info("out", onnx.TensorProto.FLOAT, None)
        return helper.make_graph([node], "branch", [], [told])

    node = helper.make_node("If", ["c"], ["y"], then_branch=branch(), else_branch=branch(alpha=0.7))
    assert found(node) == {}
    node = helper.make_node("If", ["c"], ["y"], then_branch=branch(), else_branch=branch(alpha=0.01))
    assert found(node) == {("out", "alpha"): 0.01}
