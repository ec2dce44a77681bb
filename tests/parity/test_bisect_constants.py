"""bisect on constants: a number that an exporter wrote between casts, and a weight off by its last digit."""

import json
from pathlib import Path

import numpy as np
import onnx
from node_faults import Planter
from once import Once
from onnx import helper, numpy_helper
from test_bisect_expected import FOLDED, Export

import onnxproof
from onnxproof.runtime.manifest import FOLDS_KEY


def spelled_out(proto: onnx.ModelProto) -> onnx.ModelProto:
    """The graph with the places computed as exporters compute them at sizes that vary: a range of integers,
    cast, plus a half, times four. ``proto`` has them as one constant."""
    made = onnx.ModelProto()
    made.CopyFrom(proto)
    (columns,) = [node for node in made.graph.node if node.op_type == "Constant"]
    np.testing.assert_array_equal(numpy_helper.to_array(columns.attribute[0].t), 4 * np.arange(8) + 2)
    name = columns.output[0]
    made.graph.node.remove(columns)
    whole = {"first": 0, "last": 8, "step": 1}
    floats = {"half": 0.5, "stride": 4.0}
    made.graph.initializer.extend(
        numpy_helper.from_array(np.array(value, np.int64), key) for key, value in whole.items()
    )
    made.graph.initializer.extend(
        numpy_helper.from_array(np.array(value, np.float32), key) for key, value in floats.items()
    )
    nodes = [
        helper.make_node("Range", ["first", "last", "step"], ["places"], name="range"),
        helper.make_node("Cast", ["places"], ["floats"], name="cast", to=onnx.TensorProto.FLOAT),
        helper.make_node("Add", ["floats", "half"], ["middles"], name="add_half"),
        helper.make_node("Mul", ["middles", "stride"], [name], name="times_stride"),
    ]
    rest = list(made.graph.node)
    del made.graph.node[:]
    made.graph.node.extend([*nodes, *rest])
    return made


def test_the_node_that_reads_a_changed_number_is_named_and_not_the_cast_before_it(
    tmp_path: Path, once: Once
) -> None:
    export = Export(tmp_path, once, "places", FOLDED)
    proto = spelled_out(export.proto)
    assert export.bisected(proto).result.status == "nothing"
    planter = Planter(proto, 2)
    planter.rewrite(1, np.zeros((), np.float32))
    (node,) = export.bisected(planter.proto).result.nodes
    assert node.name == "add_half"


def test_a_last_digit_that_no_output_tells_is_told_by_the_check_that_fails(
    tmp_path: Path, once: Once
) -> None:
    export = Export(tmp_path, once, "relu", FOLDED)
    damaged = onnx.ModelProto()
    damaged.CopyFrom(export.proto)
    weight = max(damaged.graph.initializer, key=lambda tensor: len(tensor.dims))
    values = numpy_helper.to_array(weight).copy()
    values.flat[0] = np.nextafter(values.flat[0], np.float32(9))
    weight.CopyFrom(numpy_helper.from_array(values, weight.name))
    convolution = weight.name.removesuffix(".weight")
    norm = f"{convolution.removesuffix('0')}1"
    helper.set_model_props(damaged, {FOLDS_KEY: json.dumps({convolution: norm})})
    onnx.save(damaged, tmp_path / "damaged.onnx")
    found = onnxproof.bisect(tmp_path / "job.toml", onnx=tmp_path / "damaged.onnx", set=FOLDED)
    assert found.status == "nothing"
    (note,) = found.notes
    assert "validate fails by the check folded" in note
    assert f"{weight.name} is not" in note
