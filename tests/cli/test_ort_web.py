"""ONNX Runtime Web through Node, as a leg of a verdict."""

import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
from clients import CLIENTS, EVERY, WEB, kit_of_every_dtype, need, returned
from commands import run_here
from once import Once
from onnx import numpy_helper

import onnxproof
from onnxproof.errors import ModelFileError
from onnxproof.system.confined import TIME_VARIABLE
from onnxproof.validate.cases import Case, materialise
from onnxproof.validate.legs import ort_web
from onnxproof.validate.legs.ort_web import OrtWebError, OrtWebLeg


@pytest.fixture
def web(monkeypatch: pytest.MonkeyPatch) -> Path:
    """The package of ONNX Runtime Web; the working directory is where Node finds it."""
    need("node", {"Node": shutil.which("node"), "onnxruntime-web in examples/clients": WEB.is_dir()})
    monkeypatch.chdir(CLIENTS)
    found, version = ort_web.package()
    assert (found, version.count(".")) == (WEB, 2)
    return found


def test_what_is_missing_is_told(demo_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(ort_web, "node", lambda: "node")
    monkeypatch.delenv("NODE_PATH", raising=False)
    ran = run_here(["selftest", str(demo_bundle), "--runtime", "ort-web"])
    assert ran.code == 2
    assert "npm install onnxruntime-web" in ran.printed
    monkeypatch.undo()
    monkeypatch.setattr(shutil, "which", lambda name: None)
    ran = run_here(["selftest", str(demo_bundle), "--runtime", "ort-web"])
    assert ran.code == 2
    assert "there is no node on PATH" in ran.printed


def test_a_package_is_found_where_node_looks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    about = tmp_path / "elsewhere" / "onnxruntime-web" / "package.json"
    about.parent.mkdir(parents=True)
    about.write_text(json.dumps({"version": "1.2.3"}), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NODE_PATH", str(tmp_path / "elsewhere"))
    assert ort_web.package() == (about.parent, "1.2.3")


@pytest.mark.slow
def test_the_demo_holds(demo_bundle: Path, web: Path) -> None:
    verdict = onnxproof.selftest(demo_bundle, runtimes=["ort-web"])
    assert verdict.passed, str(verdict)
    (row,) = verdict.runtimes
    assert (row.leg, row.runtime, row.provider) == ("ort-web", "ONNX Runtime Web", "wasm")
    assert "ONNX Runtime Web errs " in str(verdict)
    assert verdict.facts[0].decisions is not None
    assert verdict.facts[0].decisions.reference > 0


@pytest.mark.slow
def test_a_changed_weight_fails(demo_bundle: Path, web: Path, tmp_path: Path) -> None:
    copied = Path(shutil.copytree(demo_bundle, tmp_path / "bundle"))
    model = onnx.load(copied / "model.onnx")
    weight = next(tensor for tensor in model.graph.initializer if len(tensor.dims) == 4)
    weight.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weight) * np.float32(1.001), weight.name))
    onnx.save(model, copied / "model.onnx")
    verdict = onnxproof.selftest(copied, runtimes=["ort-web"])
    failed = {check.name for check in verdict.checks if check.status == "fail" and check.leg == "ort-web"}
    assert "ratio_rms" in failed


@pytest.mark.slow
def test_each_dtype_goes_there_and_back(once: Once, web: Path) -> None:
    leg = OrtWebLeg("ort-web", kit_of_every_dtype(once) / "model.onnx", web, 0)
    assert [(port.name, port.dtype) for port in leg.ports.outputs] == [
        (spec.name, spec.dtype) for spec in EVERY.outputs
    ]
    for batch in (1, 3):
        inputs = materialise(Case("case", {"batch": batch}, "noise", batch), EVERY.inputs, None)
        wanted = returned(inputs)
        found = leg.run(inputs).outputs
        assert list(found) == list(wanted)
        for name, array in wanted.items():
            assert found[name].dtype == array.dtype
            assert np.array_equal(found[name], array)
    with pytest.raises(OrtWebError, match='an "float32", whole'):
        leg.run({**inputs, 'an "float32", whole': np.zeros((3, 4), np.float32)})
    assert np.array_equal(leg.run(inputs).outputs["out"], wanted["out"])


@pytest.mark.slow
def test_what_goes_wrong_is_told(
    once: Once, web: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "model.onnx"
    file.write_bytes(b"no model")
    with pytest.raises(ModelFileError, match="ONNX Runtime Web does not take the file: "):
        OrtWebLeg("ort-web", file, web, 1)
    model = kit_of_every_dtype(once) / "model.onnx"
    leg = OrtWebLeg("ort-web", model, web, 1)
    leg._child.kill()
    inputs = materialise(Case("case", {"batch": 1}, "noise", 0), EVERY.inputs, None)
    with pytest.raises(ModelFileError, match="ONNX Runtime Web crashed, and Node with it"):
        leg.run(inputs)
    monkeypatch.setenv(TIME_VARIABLE, "0.001")
    with pytest.raises(ModelFileError, match=r"ONNX Runtime Web took more than 0\.001 s"):
        OrtWebLeg("ort-web", model, web, 1)
