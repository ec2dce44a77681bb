"""A bundle's manifest.json against its model file: every difference is told by its key."""

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import onnx
import pytest
from contracts import changed
from contracts import manifest as made
from onnx import helper

from onnxproof.contract import ClassInfo
from onnxproof.runtime.manifest import METADATA_KEY
from onnxproof.tensors import Dim, Field, TensorSpec
from onnxproof.validate.agreement import manifest_check

MANIFEST = made(
    name="one",
    task="classification",
    family="module",
    inputs=(TensorSpec("x", "float32", ("batch", 4), (0, 1)),),
    outputs=(TensorSpec("logits", "float32", ("batch", 4)),),
    dims=(Dim("batch", 1, 8),),
    preprocess=None,
    classes=tuple(ClassInfo(name, (1, 2, 3)) for name in "abcd"),
    postprocess={"decode": "none", "outputs": ["logits"], "top_k": 2},
    opset=20,
    exporter="torchscript",
    simplify="none",
    checkpoint_sha256="c0ffee",
    model_sha256="beef",
    versions={"torch": "2.9"},
    job={"name": "one"},
    fields=(Field("logits", "logit", ""),),
)


def written(folder: Path, text: str | bytes | None) -> Path:
    x = helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["batch", 4])
    y = helper.make_tensor_value_info("logits", onnx.TensorProto.FLOAT, ["batch", 4])
    node = helper.make_node("Relu", ["x"], ["logits"])
    proto = helper.make_model(helper.make_graph([node], "g", [x], [y]))
    content = "?" * 40 if isinstance(text, bytes) else text
    if content is not None:
        helper.set_model_props(proto, {METADATA_KEY: content})
    data = proto.SerializeToString()
    if isinstance(text, bytes):
        data = data.replace(b"?" * 40, text)
    (folder / "model.onnx").write_bytes(data)
    return folder / "model.onnx"


def test_a_bundle_that_agrees_passes(tmp_path: Path) -> None:
    check = manifest_check(MANIFEST, written(tmp_path, MANIFEST.to_metadata()))
    assert (check.name, check.status, check.reason) == ("manifest", "pass", "")


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        pytest.param({"name": "two"}, ["name is two, in the model one"], id="name"),
        pytest.param({"family": "yolox"}, ["family is yolox"], id="family"),
        pytest.param(
            {"classes": MANIFEST.contract.classes[::-1]}, ["classes[0] is", "'d'"], id="classes-reversed"
        ),
        pytest.param(
            {"classes": MANIFEST.contract.classes[:3]}, ["classes is a list of 3"], id="a-class-less"
        ),
        pytest.param(
            {
                "classes": (
                    replace(MANIFEST.contract.classes[0], color=(9, 9, 9)),
                    *MANIFEST.contract.classes[1:],
                )
            },
            ["classes[0]", "[9, 9, 9]"],
            id="a-colour",
        ),
        pytest.param({"dims": ()}, ["dims is a list of 0"], id="no-dims"),
        pytest.param({"dims": (Dim("batch", 1, 9),)}, ["dims[0]"], id="other-dims"),
        pytest.param(
            {"task": "raw", "postprocess": {}},
            ["task is raw", "postprocess.top_k is None, in the model 2"],
            id="another-task",
        ),
        pytest.param(
            {"postprocess": {**MANIFEST.contract.reading.to_json(), "top_k": 1}},
            ["postprocess.top_k is 1, in the model 2"],
            id="a-setting",
        ),
        pytest.param({"fields": ()}, ["fields is a list of 0"], id="no-fields"),
        pytest.param({"opset": 18}, ["opset is 18"], id="opset"),
        pytest.param({"exporter": "torch.export"}, ["exporter is torch.export"], id="exporter"),
        pytest.param({"simplify": "onnxsim"}, ["simplify is onnxsim"], id="simplify"),
        pytest.param({"checkpoint_sha256": None}, ["checkpoint_sha256 is None"], id="checkpoint"),
        pytest.param({"versions": {"torch": "1"}}, ["versions.torch is 1"], id="versions"),
        pytest.param(
            {"inputs": (TensorSpec("z", "float32", ("batch", 4), (0, 1)),)},
            ["inputs[0]", "inputs are z, the graph's are x"],
            id="inputs",
        ),
    ],
)
def test_every_key_that_differs_is_told(tmp_path: Path, changes: dict[str, Any], says: list[str]) -> None:
    file = written(tmp_path, MANIFEST.to_metadata())
    check = manifest_check(changed(MANIFEST, **changes), file)
    assert check.status == "fail"
    for words in says:
        assert words in check.reason


@pytest.mark.parametrize(
    ("text", "says"),
    [
        pytest.param(None, "no metadata", id="none"),
        pytest.param("{", "no JSON", id="no-json"),
        pytest.param("[" * 100_000, "nested too deeply", id="nested"),
    ],
)
def test_a_model_without_a_manifest_of_its_own_fails(tmp_path: Path, text: str | None, says: str) -> None:
    check = manifest_check(MANIFEST, written(tmp_path, text))
    assert check.status == "fail"
    assert says in check.reason


def test_metadata_that_is_not_utf8_fails(tmp_path: Path) -> None:
    check = manifest_check(MANIFEST, written(tmp_path, b"\xff" * 40))
    assert (check.status, "utf-8" in check.reason) == ("fail", True)


@pytest.mark.parametrize(
    ("changes", "files", "says"),
    [
        pytest.param(
            {}, {"golden.npz": b"?"}, "has no golden_sha256, although golden.npz is there", id="golden"
        ),
        pytest.param(
            {"golden_sha256": "be"}, {}, "golden.npz, which manifest.json names, is missing", id="gone"
        ),
        pytest.param(
            {"golden_sha256": "be"}, {"golden.npz": b"?"}, "golden.npz is not the file", id="another-golden"
        ),
        pytest.param(
            {"golden_sha256": hashlib.sha256(b"?").hexdigest()},
            {"golden.npz": b"?"},
            "golden.npz",
            id="no-archive",
        ),
        pytest.param(
            {}, {"parity.json": b'{"model_sha256": "0"}'}, "SHA-256 0, manifest.json says beef", id="parity"
        ),
        pytest.param({}, {"parity.json": b"[]"}, "parity.json is no verdict", id="no-verdict"),
        pytest.param({}, {"parity.json": b"{"}, "parity.json cannot be read", id="no-json"),
    ],
)
def test_files_of_another_bundle_fail(
    changes: dict[str, Any], files: dict[str, bytes], says: str, tmp_path: Path
) -> None:
    model = written(tmp_path, MANIFEST.to_metadata())
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    check = manifest_check(changed(MANIFEST, **changes), model)
    assert check.status == "fail"
    assert says in check.reason
    assert "differs from model.onnx" not in check.reason


@pytest.mark.parametrize("sha256", ["beef", None])
def test_the_models_own_verdict_passes(sha256: str | None, tmp_path: Path) -> None:
    (tmp_path / "parity.json").write_text('{"model_sha256": "beef", "verdict": "fail"}', encoding="utf-8")
    own = changed(MANIFEST, model_sha256=sha256)
    assert manifest_check(own, written(tmp_path, MANIFEST.to_metadata())).status == "pass"
