"""What the file itself shows: its operators, its tensors, its metadata. Each hazard is planted, and found."""

import json
import os
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.defs
import pytest
from contracts import changed
from contracts import manifest as made
from onnx import TensorProto, helper, numpy_helper

from onnxproof.contract import ClassInfo, Preprocess
from onnxproof.errors import ModelFileError
from onnxproof.graph import OnnxGraph, read_proto
from onnxproof.job import ExportTable
from onnxproof.runtime.beside import require_data
from onnxproof.runtime.look import look_at
from onnxproof.runtime.manifest import METADATA_KEY, Frozen
from onnxproof.targets import TARGETS, read_target
from onnxproof.tensors import Dim, TensorSpec
from onnxproof.validate.hazards import HAZARDS, Found, Subject, advice, look_for_hazards

FLOAT, DOUBLE, INT64 = TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.INT64
NAN, INF = float("nan"), float("inf")
NOWHERE = Path("model.onnx")


def node(operator: str, *inputs: str, **attributes: Any) -> onnx.NodeProto:
    """A node that makes "y"."""
    return helper.make_node(operator, list(inputs), ["y"], **attributes)


def graph_of(*nodes: onnx.NodeProto, dtype: int = FLOAT, **held: Any) -> onnx.GraphProto:
    """From x [batch, 4] to y, of the same type; ``held`` are initializers by name."""
    return helper.make_graph(
        list(nodes),
        "sketch",
        [helper.make_tensor_value_info("x", dtype, ["batch", 4])],
        [helper.make_tensor_value_info("y", dtype, None)],
        [numpy_helper.from_array(np.asarray(values), name) for name, values in held.items()],
    )


def model_of(*nodes: onnx.NodeProto, opset: int = 20, dtype: int = FLOAT, **held: Any) -> onnx.ModelProto:
    return helper.make_model(
        graph_of(*nodes, dtype=dtype, **held), opset_imports=[helper.make_opsetid("", opset)]
    )


def look(name: str, proto: onnx.ModelProto, file: Path = NOWHERE, **known: Any) -> Found:
    subject = Subject(OnnxGraph(proto), file, **known)
    (found,) = (Found(hazard, hazard.look(subject)) for hazard in HAZARDS if hazard.name == name)
    assert found.check.name == name
    return found


def outcome(found: Found) -> str:
    return "advice" if found.advice is not None else found.check.status


RELU = node("Relu", "x")


def inside(*nodes: onnx.NodeProto) -> onnx.NodeProto:
    """An If whose branches hold these nodes, the last of which makes "y"."""
    body = helper.make_graph(list(nodes), "branch", [], [helper.make_tensor_value_info("y", FLOAT, None)])
    return helper.make_node("If", ["truth"], ["y"], then_branch=body, else_branch=body)


def with_function(*nodes: onnx.NodeProto) -> onnx.ModelProto:
    """A model that calls a function of its own with these nodes for a body."""
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid("mine", 1)]
    function = helper.make_function("mine", "Twice", ["x"], ["y"], list(nodes), opsets)
    graph = graph_of(helper.make_node("Twice", ["x"], ["y"], domain="mine"))
    return helper.make_model(graph, opset_imports=opsets, functions=[function])


def test_every_hazard_says_why_and_what_to_do() -> None:
    names = [hazard.name for hazard in HAZARDS]
    assert len(set(names)) == len(names) == 15
    assert all(len(hazard.why) > 40 and len(hazard.remedy) > 40 for hazard in HAZARDS)
    assert set(TARGETS) == set(ExportTable.model_fields["target"].annotation.__args__)  # type: ignore[union-attr]


def test_a_clean_file_has_none_and_says_what_could_not_be_looked_for() -> None:
    found = look_for_hazards(Subject(OnnxGraph(model_of(RELU)), NOWHERE))
    assert {entry.check.status for entry in found} == {"pass", "skipped"}
    skipped = {entry.hazard.name for entry in found if entry.check.status == "skipped"}
    assert skipped == {"opset", "weights", "metadata", "tracing"}
    assert advice(found) == ()
    assert all(entry.check.reason for entry in found if entry.check.status == "skipped")


def test_the_json_of_what_was_found() -> None:
    said = look("random", model_of(node("RandomNormalLike", "x"))).to_json()
    assert list(said) == ["name", "status", "reason", "value", "limit", "why", "remedy"]
    assert (said["name"], said["status"], said["value"], said["limit"]) == ("random", "fail", 1, 0)


@pytest.mark.parametrize(
    ("opset", "wanted", "status"),
    [
        pytest.param(20, 20, "pass", id="the-one-asked-for"),
        pytest.param(17, 20, "fail", id="an-older-one"),
        pytest.param(20, None, "skipped", id="nobody-asked"),
    ],
)
def test_another_opset(opset: int, wanted: int | None, status: str) -> None:
    check = look("opset", model_of(RELU, opset=opset), opset=wanted).check
    assert check.status == status
    assert check.status != "fail" or "opset 17, the job asks for 20" in check.reason


@pytest.mark.parametrize(
    ("proto", "target", "says"),
    [
        pytest.param(model_of(node("Erf", "x")), "barracuda", "Erf (1 times)", id="in-the-graph"),
        pytest.param(model_of(inside(node("Erf", "x"))), "barracuda", "Erf (2 times), If", id="in-a-branch"),
        pytest.param(with_function(node("Erf", "x")), "barracuda", "Erf (1 times)", id="in-a-function"),
        pytest.param(model_of(node("Erf", "x")), "onnxruntime", None, id="onnxruntime-has-all"),
        pytest.param(model_of(RELU), "barracuda", None, id="documented"),
        pytest.param(model_of(node("Unique", "x")), "tensorrt", "Unique (1 times), at ", id="it-lacks-it"),
        pytest.param(model_of(node("LpPool", "x")), "openvino", "LpPool (1 times)", id="no-version-of-it"),
        pytest.param(model_of(node("GRU", "x")), "sentis", "GRU (1 times)", id="among-the-unsupported"),
        pytest.param(model_of(node("Det", "x")), "onnxruntime-web", None, id="on-another-backend"),
    ],
)
def test_operators_outside_the_targets_list(proto: onnx.ModelProto, target: str, says: str | None) -> None:
    check = look("operators", proto, target=target).check
    assert check.status == ("pass" if says is None else "fail")
    assert says is None or says in check.reason


@pytest.mark.parametrize(
    ("operator", "target", "says"),
    [
        pytest.param("Swish", "tensorrt", "Swish (1 times): the documentation of tensorrt", id="nobody-says"),
        pytest.param("Det", "directml", "so they run on the CPU", id="another-provider-runs-it"),
        pytest.param("Det", "onnxruntime-web", "so they run in WebAssembly", id="another-backend-runs-it"),
        pytest.param("Resize", "tensorrt", "takes Resize with limits: nearest or linear", id="with-limits"),
    ],
)
def test_what_the_documentation_leaves_open_is_advice(operator: str, target: str, says: str) -> None:
    found = look("operators", model_of(node(operator, "x")), target=target)
    assert outcome(found) == "advice"
    assert says in found.check.reason


@pytest.mark.parametrize(
    ("opset", "target", "expected"),
    [
        pytest.param(8, "tensorrt", "fail", id="too-old"),
        pytest.param(9, "tensorrt", "pass", id="the-oldest"),
        pytest.param(24, "tensorrt", "pass", id="the-newest"),
        pytest.param(25, "tensorrt", "fail", id="too-new"),
        pytest.param(24, "openvino", "advice", id="newer-than-the-documentation"),
        pytest.param(25, "onnxruntime", "pass", id="no-end-is-named"),
    ],
)
def test_the_opsets_that_the_target_documents(opset: int, target: str, expected: str) -> None:
    assert outcome(look("opset", model_of(RELU, opset=opset), opset=opset, target=target)) == expected


@pytest.mark.parametrize("name", TARGETS)
def test_each_target_says_where_its_facts_are_from(name: str) -> None:
    target = read_target(name)
    assert target.name == name
    assert target.source
    assert date.fromisoformat(target.read)
    operators = target.operators or frozenset()
    assert not operators & target.unsupported
    assert target.limits.keys() <= operators
    assert target.most is None or target.least < target.most
    known = {schema.name for schema in onnx.defs.get_all_schemas_with_history() if not schema.domain}
    own = {"Affine", "Crop", "ImageScaler", "IsFinite", "ParametricSoftplus", "ScaledTanh"}
    assert operators | target.unsupported <= known | own | {"SimplifiedLayerNormalization"}


def custom(domain: str) -> onnx.ModelProto:
    return model_of(helper.make_node("Gelu", ["x"], ["y"], domain=domain))


@pytest.mark.parametrize(
    ("proto", "target", "expected"),
    [
        pytest.param(custom("com.microsoft"), "onnxruntime", "advice", id="the-runtimes-own"),
        pytest.param(custom("com.microsoft"), "barracuda", "fail", id="the-runtimes-own-elsewhere"),
        pytest.param(custom("mmdeploy"), "onnxruntime", "fail", id="a-librarys"),
        pytest.param(with_function(RELU), "onnxruntime", "pass", id="the-models-own-function"),
    ],
)
def test_custom_domains(proto: onnx.ModelProto, target: str, expected: str) -> None:
    found = look("domains", proto, target=target)
    assert outcome(found) == expected
    assert expected == "pass" or "Gelu (1 times)" in found.check.reason


@pytest.mark.parametrize(
    ("proto", "expected"),
    [
        pytest.param(model_of(node("RandomUniformLike", "x")), "fail", id="in-the-graph"),
        pytest.param(model_of(inside(node("Bernoulli", "x"))), "fail", id="in-a-branch"),
        pytest.param(with_function(node("RandomNormalLike", "x")), "fail", id="in-a-function"),
        pytest.param(model_of(RELU), "pass", id="none"),
    ],
)
def test_random_operators(proto: onnx.ModelProto, expected: str) -> None:
    assert outcome(look("random", proto)) == expected


def norm(**attributes: Any) -> onnx.NodeProto:
    return node("BatchNormalization", "x", *"abcd", **attributes)


NORM: dict[str, Any] = {name: np.ones(4, np.float32) for name in "abcd"}
FIVE = helper.make_node("BatchNormalization", ["x", *"abcd"], ["y", "m", "v", "sm", "sv"])


@pytest.mark.parametrize(
    ("proto", "expected"),
    [
        pytest.param(model_of(norm(training_mode=1), **NORM), "fail", id="norm-in-training"),
        pytest.param(model_of(norm(), **NORM), "pass", id="norm-in-evaluation"),
        pytest.param(
            model_of(
                node("Relu", "x"),
                helper.make_node("Neg", ["w"], ["n"]),
                helper.make_node("BatchNormalization", ["n", *"abcd"], ["s"], training_mode=1),
                w=np.ones((1, 4, 9), np.float32),
                **NORM,
            ),
            "pass",
            id="norm-of-a-weight",
        ),
        pytest.param(model_of(FIVE, opset=9, **NORM), "fail", id="norm-of-old-with-statistics-out"),
        pytest.param(model_of(norm(), opset=9, **NORM), "pass", id="norm-of-old-in-evaluation"),
        pytest.param(
            model_of(node("Dropout", "x", "r", "t"), r=np.float32(0.5), t=np.array(True)),
            "fail",
            id="dropout-switched-on",
        ),
        pytest.param(
            model_of(node("Dropout", "x", "r", "t"), r=np.float32(0.5), t=np.array(False)),
            "advice",
            id="dropout-switched-off",
        ),
        pytest.param(
            model_of(
                helper.make_node("Cast", ["x"], ["t"], to=TensorProto.BOOL),
                node("Dropout", "x", "r", "t"),
                r=np.float32(0.5),
            ),
            "fail",
            id="dropout-that-the-input-switches",
        ),
        pytest.param(model_of(node("Dropout", "x"), opset=11), "advice", id="dropout-of-old-passes-all"),
    ],
)
def test_what_training_left(proto: onnx.ModelProto, expected: str) -> None:
    assert outcome(look("training", proto)) == expected


def test_branches_are_advice() -> None:
    found = look("control_flow", model_of(inside(RELU)))
    assert (outcome(found), found.check.value) == ("advice", 1)
    assert advice([found]) == ("control_flow: the graph branches or loops: If (1 times)",)


CAST = model_of(
    helper.make_node("Cast", ["x"], ["d"], to=DOUBLE), helper.make_node("Cast", ["d"], ["y"], to=FLOAT)
)
LARGE = 2**24 + 1


@pytest.mark.parametrize(
    ("proto", "target", "expected"),
    [
        pytest.param(CAST, "barracuda", "fail", id="a-cast-to-double"),
        pytest.param(CAST, "onnxruntime", "pass", id="onnxruntime-has-double"),
        pytest.param(model_of(RELU, dtype=DOUBLE), "barracuda", "fail", id="a-double-input"),
        pytest.param(model_of(RELU, dtype=INT64), "barracuda", "fail", id="an-int64-input"),
        pytest.param(model_of(RELU, dtype=INT64), "sentis", "pass", id="an-int64-input-in-int32"),
        pytest.param(model_of(RELU, dtype=DOUBLE), "openvino", "fail", id="a-double-input-that-is-rounded"),
        pytest.param(
            model_of(node("Equal", "x", "n"), n=np.array([2**31])),
            "sentis",
            "fail",
            id="an-integer-that-int32-has-not",
        ),
        pytest.param(
            model_of(node("Reshape", "x", "s"), s=np.array([0, -1])),
            "barracuda",
            "pass",
            id="a-shape-is-int64",
        ),
        pytest.param(
            model_of(node("Slice", "x", *"abc"), a=[0], b=[2**63 - 1], c=[1]),
            "barracuda",
            "pass",
            id="an-open-end-of-a-slice",
        ),
        pytest.param(
            model_of(node("Gather", "x", "i", axis=1), i=np.array([3])), "barracuda", "pass", id="an-index"
        ),
        pytest.param(
            model_of(node("Equal", "x", "n"), n=np.array([LARGE])),
            "barracuda",
            "fail",
            id="an-integer-that-float32-has-not",
        ),
    ],
)
def test_types_that_the_target_lacks(proto: onnx.ModelProto, target: str, expected: str) -> None:
    assert outcome(look("wide_types", proto, target=target)) == expected


def constant(values: Any) -> onnx.NodeProto:
    tensor = numpy_helper.from_array(np.asarray(values, np.float32))
    return helper.make_node("Constant", [], ["w"], value=tensor)


def holding(operator: str, values: Any, *inputs: str) -> onnx.ModelProto:
    return model_of(node(operator, *(inputs or ("x", "w"))), w=np.asarray(values, np.float32))


@pytest.mark.parametrize(
    ("proto", "expected"),
    [
        pytest.param(holding("Add", [1, 2, NAN, 4]), "fail", id="one-nan"),
        pytest.param(model_of(constant([1, NAN, 3, 4]), node("Add", "x", "w")), "fail", id="in-a-constant"),
        pytest.param(
            model_of(inside(constant([1, NAN, 3, 4]), node("Add", "x", "w"))), "fail", id="in-a-branch"
        ),
        pytest.param(holding("Where", NAN, "c", "x", "w"), "fail", id="a-fill-of-nan"),
        pytest.param(holding("MatMul", [[1], [INF], [2], [3]]), "fail", id="infinity-among-weights"),
        pytest.param(holding("MatMul", [[0], [INF], [0], [0]]), "fail", id="infinity-among-zero-weights"),
        pytest.param(holding("Mul", INF), "fail", id="an-infinite-factor"),
        pytest.param(holding("Add", [[0, -INF, -INF, 0]]), "pass", id="an-attention-mask"),
        pytest.param(holding("Add", [[0, -INF, -INF, 1]]), "fail", id="no-mask-with-other-numbers"),
        pytest.param(holding("Where", -INF, "c", "x", "w"), "pass", id="the-fill-of-a-where"),
        pytest.param(holding("Clip", INF, "x", "", "w"), "pass", id="a-bound-that-is-none"),
        pytest.param(holding("Max", [-INF, 0, 1, 2]), "pass", id="bounds-of-a-maximum"),
        pytest.param(holding("Add", [1, 2, 3, 4]), "pass", id="numbers"),
    ],
)
def test_nan_and_infinity(proto: onnx.ModelProto, expected: str) -> None:
    check = look("nonfinite", proto).check
    assert check.status == expected
    assert expected == "pass" or "NaN" in check.reason or "infinit" in check.reason


def test_a_fill_with_nan_is_found() -> None:
    filled = node("ConstantOfShape", "s", value=helper.make_tensor("v", FLOAT, [1], [NAN]))
    assert look("nonfinite", model_of(filled, s=np.array([2]))).check.status == "fail"


MANY = np.arange(512, dtype=np.float32).reshape(4, 128)


def test_unused_and_duplicate_initializers_are_advice() -> None:
    both = [helper.make_node("MatMul", ["x", name], [f"of_{name}"]) for name in ("one", "two")]
    proto = model_of(*both, node("Add", "of_one", "of_two"), one=MANY, two=MANY, idle=MANY + 1)
    found = look("waste", proto)
    assert (outcome(found), found.check.value) == ("advice", 2 * MANY.nbytes)
    assert "nothing reads idle" in found.check.reason
    assert "two hold what others hold" in found.check.reason


def test_what_a_branch_reads_is_used_and_a_few_bytes_are_not_told() -> None:
    assert outcome(look("waste", model_of(inside(node("MatMul", "x", "w")), w=MANY))) == "pass"
    small = model_of(node("Add", "x", "a"), a=np.float32(1), b=np.float32(1))
    assert outcome(look("waste", small)) == "pass"


@pytest.fixture
def beside(tmp_path: Path) -> Path:
    """A model whose weights lie in another file beside it."""
    proto = model_of(node("MatMul", "x", "w"), w=MANY)
    file = tmp_path / "folder" / "model.onnx"
    file.parent.mkdir()
    onnx.save(proto, file, save_as_external_data=True, location="weights.bin", size_threshold=0)
    return file


def relocated(proto: onnx.ModelProto, **changes: str) -> onnx.ModelProto:
    tensor = proto.graph.initializer[0]
    told = {entry.key: entry.value for entry in tensor.external_data} | changes
    del tensor.external_data[:]
    tensor.external_data.extend(
        onnx.StringStringEntryProto(key=key, value=value) for key, value in told.items()
    )
    return proto


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        pytest.param({"location": "/weights.bin"}, "outside of its folder", id="absolute"),
        pytest.param({"location": "C:\\weights.bin"}, "outside of its folder", id="absolute-on-windows"),
        pytest.param({"location": "../weights.bin"}, "outside of its folder", id="escaping"),
        pytest.param({"location": "a/../../weights.bin"}, "outside of", id="escaping-by-a-detour"),
        pytest.param({"location": "other.bin"}, "is missing", id="missing"),
        pytest.param({"location": "."}, "is a folder, not a file", id="a-folder"),
        pytest.param({"location": ""}, "names no file", id="nameless"),
        pytest.param({"length": "8"}, "gives it 8 bytes, and the tensor takes 2048", id="another-length"),
        pytest.param({"offset": "4096"}, "is cut off", id="cut-short"),
    ],
)
def test_external_data_that_strays(beside: Path, changes: dict[str, str], says: str) -> None:
    proto = relocated(read_proto(beside, weights=False), **changes)
    check = look("external_data", proto, beside).check
    assert check.status == "fail"
    assert says in check.reason


def test_a_link_out_of_the_folder_strays(beside: Path) -> None:
    weights = beside.parent / "weights.bin"
    weights.rename(beside.parents[1] / "elsewhere.bin")
    weights.symlink_to(beside.parents[1] / "elsewhere.bin")
    assert "outside of" in look("external_data", read_proto(beside, weights=False), beside).check.reason


def test_external_data_in_its_place_is_advice_and_is_read(beside: Path) -> None:
    proto = read_proto(beside, weights=False)
    assert outcome(look("external_data", proto, beside)) == "advice"
    assert look("nonfinite", proto, beside).check.status == "pass"
    data = np.fromfile(beside.parent / "weights.bin", np.float32)
    data[7] = NAN
    data.tofile(beside.parent / "weights.bin")
    assert "w has 1 NaN" in look("nonfinite", proto, beside).check.reason


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no such pipes here")
def test_a_pipe_in_the_place_of_the_weights_is_told_as_one(beside: Path) -> None:
    weights = beside.parent / "weights.bin"
    weights.unlink()
    os.mkfifo(weights)
    with pytest.raises(ModelFileError, match=r"weights\.bin is a pipe, not a file: put the weights there"):
        require_data(beside, look_at(beside))


def test_what_cannot_be_read_is_no_pass(beside: Path) -> None:
    (beside.parent / "weights.bin").unlink()
    check = look("nonfinite", read_proto(beside, weights=False), beside).check
    assert (check.status, "is missing" in check.reason) == ("skipped", True)


@pytest.mark.parametrize("content", [b"no graph at all", b""], ids=["text", "nothing"])
def test_a_file_without_a_graph_is_refused(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "model.onnx"
    file.write_bytes(content)
    with pytest.raises(ModelFileError, match="is no ONNX file"):
        OnnxGraph.read(file)


BATCH, SIDE = Dim("batch", 1, 8), Dim("side", 64, 128, 32)
PREPROCESS = Preprocess("x", "NCHW", "float32", 255, "crop", 128, SIDE, SIDE)
MANIFEST = made(
    name="one",
    task="detection",
    family="module",
    inputs=(TensorSpec("x", "float32", ("batch", 3, "side", "side"), (0, 255)),),
    outputs=(TensorSpec("y", "float32", ("batch", "n", 8)),),
    dims=(BATCH,),
    preprocess=PREPROCESS,
    classes=tuple(ClassInfo(name, (1, 2, 3)) for name in ("cat", "dog", "owl")),
    postprocess={
        "decode": "none",
        "outputs": ["y"],
        "strides": [8, 16, 32],
        "score_threshold": 0.45,
        "iou_threshold": 0.45,
        "class_agnostic": False,
    },
    opset=20,
    exporter="torchscript",
    simplify="none",
    checkpoint_sha256=None,
)


def carrying(text: str | None) -> onnx.ModelProto:
    x = helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["batch", 3, "side", "side"])
    y = helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ["batch", "n", 8])
    proto = helper.make_model(helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", [x], [y]))
    if text is not None:
        helper.set_model_props(proto, {METADATA_KEY: text})
    return proto


def telling(**changes: Any) -> str:
    return changed(MANIFEST, **changes).to_metadata()


def deciding(**changes: Any) -> str:
    return reading_as({**MANIFEST.contract.reading.to_json(), **changes})


def reading_as(postprocess: dict[str, Any]) -> str:
    """The metadata with any object in the reading's place."""
    return json.dumps({**json.loads(MANIFEST.to_metadata()), "postprocess": postprocess})


def prepared(**changes: Any) -> str:
    return telling(preprocess=replace(PREPROCESS, **changes))


CAT, DOG, OWL = MANIFEST.contract.classes


@pytest.mark.parametrize(
    ("text", "status", "says"),
    [
        pytest.param(telling(), "pass", "", id="the-models"),
        pytest.param(
            deciding(score_threshold=0.6),
            "fail",
            "by score_threshold 0.6 unless told another, and is judged by 0.45: export it again",
            id="a-setting-that-users-replace",
        ),
        pytest.param(telling(name="other", versions={"torch": "1"}), "pass", "", id="provenance-is-free"),
        pytest.param(
            telling(classes=(replace(CAT, color=(9, 9, 9)), DOG, OWL)),
            "pass",
            "",
            id="a-colour-decides-nothing",
        ),
        pytest.param(deciding(strides=[8, 32, 16]), "fail", "another strides", id="other-strides"),
        pytest.param(deciding(anchors=[]), "fail", 'unknown key "anchors"', id="a-key-too-many"),
        pytest.param(
            reading_as({"decode": "none"}),
            "fail",
            "lacks the key 'outputs'",
            id="keys-of-it-missing",
        ),
        pytest.param(
            telling(classes=(CAT, OWL, DOG)), "fail", 'class 1 is "owl", the model\'s is "dog"', id="permuted"
        ),
        pytest.param(telling(classes=(CAT, DOG)), "fail", "2 classes, the model has 3", id="a-class-less"),
        pytest.param(prepared(divide_by=1), "fail", "divide_by 1, the model 255", id="not-scaled"),
        pytest.param(
            telling(
                inputs=(TensorSpec("x", "float32", ("batch", "side", "side", 3), (0, 255)),),
                preprocess=replace(PREPROCESS, layout="NHWC"),
            ),
            "fail",
            "layout NHWC, the model NCHW",
            id="another-layout",
        ),
        pytest.param(prepared(resize="stretch"), "fail", "resize stretch", id="another-resize"),
        pytest.param(
            prepared(height=Dim("side", 64, 256, 32)), "fail", "height 64..256 step 32", id="taller"
        ),
        pytest.param(telling(preprocess=None), "fail", "preprocess is missing", id="no-picture"),
        pytest.param(telling(task="raw", postprocess={}), "fail", "task is raw", id="another-task"),
        pytest.param(telling(dims=(Dim("batch", 1, 16),)), "fail", "dims are batch 1..16", id="other-dims"),
        pytest.param(
            telling(inputs=(TensorSpec("x", "float32", ("batch", 3, "side", "side"), (0, 1)),)),
            "fail",
            "in 0..1, the model's are",
            id="another-range",
        ),
        pytest.param(
            telling(
                outputs=(TensorSpec("z", "float32", ("batch", "n", 8)),),
                postprocess={**MANIFEST.contract.reading.to_json(), "outputs": ["z"]},
            ),
            "fail",
            "outputs are z, the graph's are y",
            id="another-output",
        ),
        pytest.param("[]", "fail", "no manifest", id="no-table"),
        pytest.param('{"format": 1}', "fail", "no manifest", id="no-manifest"),
        pytest.param("{", "fail", "no manifest", id="no-json"),
        pytest.param(None, "skipped", "no metadata", id="none"),
    ],
)
def test_metadata_of_another_model_is_told(text: str | None, status: str, says: str) -> None:
    check = look("metadata", carrying(text), contract=MANIFEST.contract).check
    assert check.status == status
    assert says in check.reason
    assert bool(check.reason) == bool(says)


@pytest.mark.parametrize(
    ("chosen", "said"),
    [
        pytest.param({"score_threshold"}, "advice", id="for-this-verdict"),
        pytest.param({"iou_threshold"}, "fail", id="another-one"),
    ],
)
def test_a_threshold_that_was_chosen_for_the_verdict_may_be_another(chosen: set[str], said: str) -> None:
    text = deciding(score_threshold=0.6)
    found = look("metadata", carrying(text), contract=MANIFEST.contract, chosen=frozenset(chosen))
    assert outcome(found) == said
    assert "by score_threshold 0.6 unless told another" in found.check.reason


def test_a_chosen_threshold_excuses_nothing_else() -> None:
    text = telling(classes=(CAT, OWL, DOG))
    found = look("metadata", carrying(text), contract=MANIFEST.contract, chosen=frozenset({"classes"}))
    assert outcome(found) == "fail"


def test_without_the_model_metadata_is_held_against_the_graph() -> None:
    assert look("metadata", carrying(telling(classes=(CAT,)))).check.status == "pass"
    wide = telling(inputs=(TensorSpec("x", "float32", ("batch", 4, "side", "side"), (0, 255)),))
    assert "x is float32[batch, 4, side, side] in 0..255, in the graph float32[batch, 3, side, side]" in (
        look("metadata", carrying(wide)).check.reason
    )
    assert look("opset", carrying(telling(opset=17))).check.status == "fail"


def test_hazards_come_in_their_order() -> None:
    found = look_for_hazards(Subject(OnnxGraph(carrying(telling())), NOWHERE))
    assert [entry.hazard.name for entry in found] == [hazard.name for hazard in HAZARDS]


HARMLESS = Frozen("nets/a.py:3 (in forward)", "reads 3", harmless=True)
WRONG = Frozen("nets/a.py:7 (in forward)", "reads True, and elsewhere False", harmless=False)


@pytest.mark.parametrize(
    ("frozen", "said", "reason"),
    [
        pytest.param(None, "skipped", "the file does not tell what its capture froze", id="of-before"),
        pytest.param((), "pass", "", id="nothing"),
        pytest.param((HARMLESS,), "advice", "nets/a.py:3 (in forward): reads 3", id="harmless"),
        pytest.param(
            (HARMLESS, WRONG), "fail", "nets/a.py:7 (in forward): reads True, and elsewhere False", id="wrong"
        ),
    ],
)
def test_what_the_capture_froze(frozen: tuple[Frozen, ...] | None, said: str, reason: str) -> None:
    found = look("tracing", carrying(telling(frozen=frozen)))
    assert outcome(found) == said
    assert found.check.reason == reason


def test_metadata_that_is_no_manifest_tells_nothing_of_the_capture() -> None:
    assert look("tracing", carrying("{")).check.status == "skipped"
