"""One file against another without a checkpoint: healthy pairs pass, planted faults do not, and nothing
passes because nothing was compared. The files are made here, by hand."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from contracts import changed
from contracts import manifest as made
from networks import (
    BIAS,
    CLASSES,
    DOUBLE,
    FAULTS,
    FEATURES,
    FIRST,
    HEALTHY,
    SECOND,
    TWICE,
    labelled,
    nan_for_some,
    network,
    renamed,
    scores,
)
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from onnxproof import comparison as without_torch
from onnxproof.contract import ClassInfo
from onnxproof.errors import CheckError, ModelFileError, RequestError
from onnxproof.graph import OnnxGraph
from onnxproof.runtime.manifest import METADATA_KEY
from onnxproof.tensors import Dim, Field, TensorSpec
from onnxproof.validate.legs.leads import Lead, find_lead
from onnxproof.validate.legs.moved_weights import TwoRuns, move_weights, weights_in
from onnxproof.validate.verdict import Check, Verdict

Array = NDArray[Any]

Compare = Callable[..., Verdict]


@pytest.fixture
def compare(tmp_path: Path) -> Compare:
    def compare(a: onnx.ModelProto, b: onnx.ModelProto, **more: Any) -> Verdict:
        for name, proto in (("a", a), ("b", b)):
            onnx.save(proto, tmp_path / f"{name}.onnx")
        options = {"dims": {"batch": "1..64"}, "threads": 1, **more}
        return without_torch.compare(tmp_path / "a.onnx", tmp_path / "b.onnx", **options)

    return compare


def failed(verdict: Verdict) -> set[str]:
    return {check.name for check in verdict.checks if check.status == "fail"}


def test_a_file_is_as_good_as_itself(compare: Compare) -> None:
    verdict = compare(network(), network())
    assert verdict.passed, verdict.checks
    (facts,) = verdict.facts
    (measured,) = facts.fields
    # Not 0: it errs as far from A with moved weights as A does.
    assert measured.ratio_rms == measured.ratio_max == 1
    assert measured.count > 0
    assert verdict.pairing is not None
    assert verdict.model_sha256 == verdict.pairing.a_sha256


@pytest.mark.parametrize("b", HEALTHY)
def test_a_healthy_pair_passes(compare: Compare, b: onnx.ModelProto) -> None:
    verdict = compare(network(), b)
    assert verdict.passed, verdict.checks
    assert 0.2 < verdict.facts[0].fields[0].ratio_rms < 2


@pytest.mark.parametrize(("b", "checks"), FAULTS)
def test_a_fault_is_found(compare: Compare, b: onnx.ModelProto, checks: str) -> None:
    verdict = compare(network(), b)
    assert verdict.status == "fail"
    assert set(checks.split()) <= failed(verdict), verdict.checks


def test_nan_is_found(compare: Compare) -> None:
    a, b = renamed(network(), "answer"), nan_for_some(network())
    verdict = compare(a, b)
    assert "finite" in failed(verdict)
    assert "that A does not have" in next(c.reason for c in verdict.checks if c.status == "fail")


def test_a_lost_output_is_found(compare: Compare) -> None:
    verdict = compare(network(tail=DOUBLE, outputs=TWICE), network())
    assert {"interface", "shapes"} <= failed(verdict)


def test_swapped_outputs_are_found(compare: Compare) -> None:
    swapped = network(tail=DOUBLE, outputs=TWICE)
    for name in ("scores", "more"):
        swapped.graph.node.append(helper.make_node("Identity", [name], [f"{name}_"]))
    for output, name in zip(swapped.graph.output, ("more_", "scores_"), strict=True):
        output.name = name
    straight = network(tail=DOUBLE, outputs=TWICE)
    for name, output in zip(("scores", "more"), straight.graph.output, strict=True):
        other = "more_" if name == "scores" else "scores_"
        straight.graph.node.append(helper.make_node("Identity", [name], [other]))
        output.name = other
    assert "ratio_rms" in failed(compare(straight, swapped))


def test_labels_flip_only_where_a_is_not_sure(compare: Compare) -> None:
    same = compare(labelled(), labelled(FIRST, gemm=True))
    assert same.passed, same.checks
    noise = np.random.default_rng(1).normal(scale=0.1, size=FIRST.shape).astype(np.float32)
    assert failed(compare(labelled(), labelled(FIRST * (1 + noise)))) == {"flips"}


def test_a_toss_up_is_no_fault(compare: Compare) -> None:
    """All classes have the same weights but for rounding: which of them leads is chance."""
    alike = np.repeat(SECOND[:, :1], CLASSES, axis=1)
    towards = np.random.default_rng(1).choice([-9, 9], alike.shape).astype(np.float32)
    verdict = compare(labelled(second=alike), labelled(second=np.nextafter(alike, towards)))
    assert verdict.facts[0].labels[0].flips > 0
    assert verdict.passed, verdict.checks


def test_where_nothing_can_be_compared_the_verdict_is_no_pass(compare: Compare) -> None:
    """Both answer nothing but NaN."""
    nan = network(second=np.full_like(SECOND, np.nan))
    verdict = compare(nan, nan)
    assert verdict.status != "pass"
    assert [check.status for check in verdict.checks if check.name == "compared"] == ["error"]


def test_the_document_says_the_rule(compare: Compare) -> None:
    verdict = compare(network(), network(FIRST * np.float32(2)))
    document = json.loads(json.dumps(verdict.to_json()))
    assert document["rule"] == "two-runs"
    assert "without PyTorch" in document["rule_text"]
    assert document["verdict"] == "fail"
    assert document["baseline"] is None
    assert any(note.startswith("rule two-runs") for note in document["notes"])
    assert verdict.facts[0].reference == "A"
    assert "PyTorch" not in " ".join(check.reason for check in verdict.checks)


def test_what_is_assumed_is_said(compare: Compare) -> None:
    verdict = compare(network(axes=(None, FEATURES)), network(), dims={})
    assert verdict.passed
    told = " ".join(verdict.notes)
    assert "x_0=1..4" in told
    assert "0..1" in told
    ranged = compare(network(), network(), inputs={"x": f"float32[batch, {FEATURES}] in -1..1"})
    assert "assumed" not in " ".join(ranged.notes)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        pytest.param({"dims": {"n": "1..2"}}, ["--dim n=1..2", "there are: batch"], id="no-such-axis"),
        pytest.param({"dims": {"batch": "few"}}, ['"few"', "expected a size"], id="no-range"),
        pytest.param({"inputs": {"y": "float32[1]"}}, ["no input of that name", "x"], id="no-such-input"),
        pytest.param({"inputs": {"x": "int64[batch, 32]"}}, ["the file has float32"], id="another-dtype"),
        pytest.param({"inputs": {"x": "float32[batch, 8]"}}, ["fixed axes"], id="another-size"),
        pytest.param({"images": "*.nothing"}, ["--images", "names no file"], id="no-pictures"),
        pytest.param({"set": ["export.opset=18"]}, ["--job"], id="no-job-to-change"),
    ],
)
def test_a_request_that_does_not_fit_is_refused(
    compare: Compare, options: dict[str, Any], words: list[str]
) -> None:
    with pytest.raises(RequestError) as caught:
        compare(network(), network(), **options)
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize(
    ("names", "says"),
    [
        pytest.param(("z", "scores"), "A takes the inputs x, B takes z", id="an-input"),
        pytest.param(("x", "logits"), "--map logits=scores", id="an-output"),
    ],
)
def test_a_file_of_other_names_fails_whichever_it_is(
    compare: Compare, names: tuple[str, str], says: str
) -> None:
    verdict = compare(network(), network(names=names))
    (interface,) = [check for check in verdict.checks if check.name == "interface" and check.status == "fail"]
    assert verdict.status == "fail"
    assert says in interface.reason
    assert "--map" in interface.reason
    assert type(verdict).from_json(verdict.to_json()) == verdict


def test_sizes_that_a_does_not_take_are_refused(compare: Compare) -> None:
    free = network(axes=("batch", "features"))
    with pytest.raises(CheckError, match="--dim NAME=RANGE"):
        compare(free, free)
    assert compare(free, free, dims={"features": str(FEATURES)}).passed


@pytest.mark.parametrize("content", [None, b"", b"no model"], ids=["missing", "empty", "broken"])
def test_what_is_no_model_is_refused(tmp_path: Path, content: bytes | None) -> None:
    onnx.save(network(), tmp_path / "a.onnx")
    if content is not None:
        (tmp_path / "b.onnx").write_bytes(content)
    with pytest.raises(ModelFileError, match=r"b\.onnx"):
        without_torch.compare(tmp_path / "a.onnx", tmp_path / "b.onnx")


MANIFEST = made(
    name="mine",
    task="classification",
    family="module",
    inputs=(TensorSpec("x", "float32", ("batch", FEATURES), (-1, 1)),),
    outputs=(TensorSpec("scores", "float32", ("batch", CLASSES)),),
    dims=(Dim("batch", 1, 8),),
    preprocess=None,
    classes=tuple(ClassInfo(name, (0, 0, 0)) for name in "abcd"),
    postprocess={"decode": "none", "outputs": ["scores"], "top_k": 2},
    opset=18,
    exporter="torchscript",
    simplify="none",
    checkpoint_sha256=None,
    fields=(Field("scores", "logit", ""),),
)


LABELLED = {"decode": "none", "outputs": ["scores"], "score_threshold": 0.5}


def stamped(proto: onnx.ModelProto, **changes: Any) -> onnx.ModelProto:
    text = changed(MANIFEST, **changes).to_metadata()
    helper.set_model_props(proto, {METADATA_KEY: text})
    return proto


def metadata_check(verdict: Verdict) -> Check:
    return next(check for check in verdict.checks if check.name == "metadata")


def test_what_onnxproof_wrote_brings_its_task(compare: Compare) -> None:
    verdict = compare(stamped(network()), stamped(network(gemm=True), opset=20), dims={})
    assert verdict.passed, verdict.checks
    (facts,) = verdict.facts
    assert [field.name for field in facts.fields] == ["logit"]
    assert facts.decisions is not None
    assert facts.decisions.matched > 0
    assert metadata_check(verdict).status == "pass"


def test_a_defect_in_the_decisions_is_found(compare: Compare) -> None:
    verdict = compare(stamped(network()), stamped(network(second=SECOND[:, ::-1].copy())), dims={})
    assert "decisions" in failed(verdict)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        pytest.param(
            {"postprocess": {**MANIFEST.contract.reading.to_json(), "top_k": 1}},
            "top_k 2 is now 1",
            id="top-k",
        ),
        pytest.param(
            {"classes": MANIFEST.contract.classes[::-1]}, "classes differ at 4 places", id="classes-permuted"
        ),
        pytest.param({"classes": MANIFEST.contract.classes[:3]}, "classes", id="a-class-less"),
        pytest.param(
            {"task": "multilabel", "postprocess": LABELLED},
            "task classification is now multilabel",
            id="another-task",
        ),
    ],
)
def test_metadata_that_tells_a_host_otherwise_is_found(
    compare: Compare, changes: dict[str, Any], words: str
) -> None:
    verdict = compare(stamped(network()), stamped(network(), **changes), dims={})
    assert failed(verdict) == {"metadata"}
    assert words in metadata_check(verdict).reason


def test_files_of_two_tasks_are_told_as_such_and_not_run(compare: Compare) -> None:
    other = stamped(network(names=("x", "labels")), task="multilabel", postprocess=LABELLED)
    verdict = compare(stamped(network()), other, dims={})
    assert (verdict.status, verdict.cases) == ("fail", ())
    assert verdict.checks[0].reason.startswith("A is a file of the task classification, B of multilabel")
    assert type(verdict).from_json(verdict.to_json()) == verdict


def test_metadata_that_one_file_lacks_is_no_fault(compare: Compare) -> None:
    verdict = compare(stamped(network()), network(), dims={})
    assert verdict.passed
    assert metadata_check(verdict).status == "skipped"


def test_a_manifest_declares_its_inputs(compare: Compare) -> None:
    with pytest.raises(RequestError, match="declares its inputs itself"):
        compare(stamped(network()), network(), dims={}, inputs={"x": "float32[batch, 32]"})


def test_weights_move_by_one_unit() -> None:
    proto = network()
    assert move_weights(proto, weights_in(OnnxGraph(proto)), np.random.default_rng(0)) == 2
    moved = {tensor.name: numpy_helper.to_array(tensor) for tensor in proto.graph.initializer}
    assert np.array_equal(moved["bias"], BIAS)
    for name, before in (("first", FIRST), ("second", SECOND)):
        up, down = (np.nextafter(before, np.float32(end)) for end in (np.inf, -np.inf))
        assert ((moved[name] == up) | (moved[name] == down)).all()
        assert 0.3 < float((moved[name] == up).mean()) < 0.7


def test_weights_behind_a_transpose_and_in_constants_move_too() -> None:
    proto = network()
    weight = helper.make_node("Constant", [], ["kept_apart"], value=numpy_helper.from_array(SECOND.T.copy()))
    turn = helper.make_node("Transpose", ["kept_apart"], ["second"], perm=[1, 0])
    del proto.graph.initializer[2]
    proto.graph.node.insert(0, weight)
    proto.graph.node.insert(1, turn)
    assert move_weights(proto, weights_in(OnnxGraph(proto)), np.random.default_rng(0)) == 2
    assert not np.array_equal(numpy_helper.to_array(proto.graph.node[0].attribute[0].t), SECOND.T)


def test_zeros_and_infinities_stay() -> None:
    pruned = SECOND.copy()
    pruned[:4] = 0
    pruned[4] = np.inf
    proto = network(second=pruned)
    move_weights(proto, weights_in(OnnxGraph(proto)), np.random.default_rng(0))
    moved = numpy_helper.to_array(proto.graph.initializer[2])
    assert np.array_equal(moved[:5], pruned[:5])
    assert not np.array_equal(moved[5:], pruned[5:])


LABEL = Field("label", "label", "class", kind="label")


def test_a_labels_lead_is_read_where_one_argmax_makes_it() -> None:
    assert find_lead(OnnxGraph(labelled()), LABEL) == Lead("scores", 1)
    assert find_lead(OnnxGraph(network()), dataclasses.replace(LABEL, output="scores")) is None


def test_without_an_argmax_only_what_flips_in_a_is_open(tmp_path: Path) -> None:
    """The class by comparison: scores[0] > scores[1], which no ArgMax tells."""
    tail = [
        helper.make_node("Split", ["scores"], ["s0", "s1", "s2", "s3"], axis=1, num_outputs=4),
        helper.make_node("Greater", ["s0", "s1"], ["label"]),
    ]
    proto = network(tail=tail, outputs=[scores("label", TensorProto.BOOL, ("batch", 1))])
    onnx.save(proto, tmp_path / "a.onnx")
    runs = TwoRuns(tmp_path / "a.onnx", (LABEL,), ("CPUExecutionProvider",), 1, 0)
    x = np.random.default_rng(0).random((64, FEATURES)).astype(np.float32)
    exact, wanted = runs.run({"x": x})
    agree = exact.outputs["label"] == wanted.outputs["label"]
    assert agree.any()
    assert np.array_equal(np.isinf(exact.margins["label"]), agree.reshape(-1))
