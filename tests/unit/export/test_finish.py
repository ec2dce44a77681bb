"""Finishing a graph: axes get the specs' names, traces are stripped, the same graph gives the same bytes."""

from collections.abc import Sequence

import numpy as np
import onnx
import pytest
from contracts import manifest as made
from onnx import TensorProto, helper, numpy_helper

from onnxproof.errors import ExportError
from onnxproof.export.finish import finish, interface_of, stamped
from onnxproof.runtime.manifest import METADATA_KEY, Manifest
from onnxproof.tensors import TensorSpec

INPUTS = (TensorSpec("input", "float32", ("batch", 3)),)
OUTPUTS = (TensorSpec("output", "float32", ("batch", 3)),)


def small_graph(batch: str | int = "s31", name: str = "output") -> onnx.ModelProto:
    axes: Sequence[str | int] = [batch, 3]
    node = helper.make_node("Mul", ["input", "two"], [name], name="mul", doc_string="/home/somebody/model.py")
    graph = helper.make_graph(
        [node],
        "main_graph",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, axes)],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, axes)],
        [numpy_helper.from_array(np.full(3, 2, np.float32), "two")],
        doc_string="traced on a machine",
        value_info=[helper.make_tensor_value_info("between", TensorProto.FLOAT, ["7*h*w + 3"])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], producer_name="pytorch")
    entry = model.graph.node[0].metadata_props.add()
    entry.key, entry.value = "pkg.torch.onnx.stack_trace", "/home/somebody/model.py, line 3"
    return model


def manifest() -> Manifest:
    return made(
        name="mine", task="raw", family="yolox", inputs=INPUTS, outputs=OUTPUTS, dims=(),
        preprocess=None, classes=(), postprocess={}, opset=20, exporter="torchscript", simplify="none",
        checkpoint_sha256=None,
    )  # fmt: skip


def test_axes_carry_the_specs_names() -> None:
    finished = finish(small_graph(), INPUTS, OUTPUTS)
    assert interface_of(finished) == (("input", "float32", ("batch", 3)), ("output", "float32", ("batch", 3)))


def test_an_axis_that_the_graph_froze_stays_visible() -> None:
    finished = finish(small_graph(batch=2), INPUTS, OUTPUTS)
    assert interface_of(finished)[0] == ("input", "float32", (2, 3))


def test_nothing_of_the_machine_is_left() -> None:
    content = stamped(finish(small_graph(), INPUTS, OUTPUTS), manifest()).SerializeToString()
    assert b"somebody" not in content
    assert b"stack_trace" not in content
    assert b"h*w" not in content


def test_initializers_that_nothing_reads_are_dropped() -> None:
    graph = small_graph()
    graph.graph.initializer.add(name="left_behind")
    in_a_body = helper.make_graph([helper.make_node("Neg", ["deep"], ["out"])], "body", [], [])
    graph.graph.initializer.add(name="deep")
    graph.graph.node.append(
        helper.make_node("If", ["input"], ["either"], then_branch=in_a_body, else_branch=in_a_body)
    )
    finished = finish(graph, INPUTS, OUTPUTS)
    assert [tensor.name for tensor in finished.graph.initializer] == ["two", "deep"]


def test_the_given_graph_is_not_changed() -> None:
    graph = small_graph()
    before = graph.SerializeToString(deterministic=True)
    stamped(finish(graph, INPUTS, OUTPUTS), manifest())
    assert graph.SerializeToString(deterministic=True) == before


def test_the_metadata_holds_the_manifest() -> None:
    model = stamped(finish(small_graph(), INPUTS, OUTPUTS), manifest())
    assert {entry.key: entry.value for entry in model.metadata_props} == {
        METADATA_KEY: manifest().to_metadata()
    }


@pytest.mark.parametrize(
    ("graph", "says"),
    [
        pytest.param(small_graph(name="other"), "has the tensors other; expected output", id="another-name"),
        pytest.param(small_graph(), "expected float64", id="another-dtype"),
    ],
)
def test_a_graph_with_another_interface_is_refused(graph: onnx.ModelProto, says: str) -> None:
    wanted = (TensorSpec("output", "float64" if "float64" in says else "float32", ("batch", 3)),)
    with pytest.raises(ExportError, match=says):
        finish(graph, INPUTS, wanted)


def test_an_invalid_graph_is_refused() -> None:
    graph = small_graph()
    graph.graph.node[0].op_type = "NoSuchOperator"
    with pytest.raises(ExportError, match="not valid ONNX"):
        stamped(finish(graph, INPUTS, OUTPUTS), manifest())


def test_an_operator_that_takes_no_bfloat16_yet_says_which_opset_helps() -> None:
    half, weight = TensorProto.BFLOAT16, helper.make_tensor("w", TensorProto.BFLOAT16, [1, 1, 1, 1], [1.0])
    ports = [helper.make_tensor_value_info(name, half, [1, 1, 4, 4]) for name in ("input", "output")]
    node = helper.make_node("Conv", ["input", "w"], ["output"])
    graph = helper.make_graph([node], "main_graph", ports[:1], ports[1:], [weight])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)])
    with pytest.raises(ExportError, match=r"not valid ONNX: .*opset 22 on.*raise export\.opset"):
        stamped(model, manifest())
