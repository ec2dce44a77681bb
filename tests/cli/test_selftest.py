"""A bundle tests itself where it is deployed, and fails after each tampering."""

import hashlib
import importlib
import json
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from commands import run_here
from onnx import numpy_helper

import onnxproof
from onnxproof.errors import ModelFileError, RequestError
from onnxproof.runtime import session
from onnxproof.runtime.manifest import GOLDEN_KEY
from onnxproof.validate.verdict import Verdict

ROOT = Path(__file__).parents[2]
MODULE = importlib.import_module("onnxproof.selftest")
"""The package's attribute of that name is the function."""

CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"


@pytest.fixture
def copied(demo_bundle: Path, tmp_path: Path) -> Path:
    """A copy of the demo's bundle to tamper with."""
    return Path(shutil.copytree(demo_bundle, tmp_path / "bundle"))


def edit(bundle: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change manifest.json."""
    file = bundle / "manifest.json"
    document = json.loads(file.read_text(encoding="utf-8"))
    change(document)
    file.write_text(json.dumps(document), encoding="utf-8")


def hashed(bundle: Path) -> None:
    """Make manifest.json name the checksums of the files as they are."""
    for key, name in (("model_sha256", "model.onnx"), ("golden_sha256", "golden.npz")):
        found = hashlib.sha256((bundle / name).read_bytes()).hexdigest()
        edit(bundle, lambda document, key=key, found=found: document.update({key: found}))  # type: ignore[misc]


def edit_model(bundle: Path, change: Callable[[onnx.ModelProto], object]) -> None:
    proto = onnx.load(bundle / "model.onnx")
    change(proto)
    onnx.save(proto, bundle / "model.onnx")


def edit_index(bundle: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change the index of the golden cases, and make the manifest name the checksum anew."""
    with zipfile.ZipFile(bundle / "golden.npz") as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    index = json.loads(members["index.json"])
    change(index)
    with zipfile.ZipFile(bundle / "golden.npz", "w") as archive:
        for name, content in {**members, "index.json": json.dumps(index).encode()}.items():
            archive.writestr(name, content)
    hashed(bundle)


def failed(verdict: Verdict) -> set[str]:
    """The names of the checks that failed."""
    return {check.name for check in verdict.checks if check.status == "fail"}


def reason(verdict: Verdict, name: str) -> str:
    return next(check.reason for check in verdict.checks if check.name == name)


def scale_a_weight(proto: onnx.ModelProto) -> None:
    """Scale the first convolution's weights by 1.001."""
    tensor = next(tensor for tensor in proto.graph.initializer if len(tensor.dims) == 4)
    values = numpy_helper.to_array(tensor) * np.float32(1.001)
    tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))


def swap_classes_in_metadata(proto: onnx.ModelProto) -> None:
    for entry in proto.metadata_props:
        if entry.key == "onnxproof":
            entry.value = json.dumps(swapped(json.loads(entry.value)), sort_keys=True, separators=(",", ":"))


def swapped(document: dict[str, Any]) -> dict[str, Any]:
    """A manifest whose first two classes are each other's."""
    classes = document["classes"]
    classes[0]["name"], classes[1]["name"] = classes[1]["name"], classes[0]["name"]
    return document


def test_the_demo_passes_and_says_each_link(demo_bundle: Path) -> None:
    ran = run_here(["selftest", str(demo_bundle), "--threads", "1"])
    assert ran.code == 0, ran.printed
    assert "function   the file is the one whose function was proven by the export" in ran.printed
    assert "runtime    ONNX Runtime errs " in ran.printed
    assert "decisions  " in ran.printed
    assert " 0 defects on " in ran.printed
    assert "verdict: pass (checks: " in ran.printed
    assert "note:" not in ran.printed


def test_its_document_is_a_verdict(demo_bundle: Path) -> None:
    ran = run_here(["selftest", str(demo_bundle), "--json", "--quiet"])
    assert ran.code == 0
    verdict = onnxproof.Verdict.from_json(json.loads(ran.printed))
    assert {one.link: one.status for one in verdict.links} == dict.fromkeys(
        ("function", "runtime", "decisions"), "pass"
    )
    (facts,) = verdict.facts
    assert facts.decisions is not None
    assert facts.decisions.reference > 0
    assert {case.content for case in verdict.cases} == {"picture", "noise"}
    assert verdict.environment["providers"] == [CPU]


def test_golden_cases_keep_to_their_budget(demo_bundle: Path) -> None:
    file = demo_bundle / "golden.npz"
    assert file.stat().st_size <= 10**6
    manifest = json.loads((demo_bundle / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["golden_sha256"] == hashlib.sha256(file.read_bytes()).hexdigest()
    with zipfile.ZipFile(file) as archive:
        index = json.loads(archive.read("index.json"))
    assert index["verdict"] == "pass"
    assert max(case["sizes"]["batch"] for case in index["cases"]) > 1


def test_another_model_file_is_caught(copied: Path) -> None:
    edit_model(copied, scale_a_weight)
    verdict = onnxproof.selftest(copied)
    assert {"checksum", "golden", "ratio_rms"} <= failed(verdict)
    assert "model.onnx is not the file that manifest.json describes" in reason(verdict, "checksum")
    assert {one.link: one.status for one in verdict.links}["function"] == "fail"


def test_changed_weights_show_in_the_numbers_whatever_the_manifest_says(copied: Path) -> None:
    edit_model(copied, scale_a_weight)
    hashed(copied)
    verdict = onnxproof.selftest(copied)
    assert "checksum" not in failed(verdict)
    assert {"golden", "ratio_rms", "ratio_max"} <= failed(verdict)
    worst = max(check.value or 0 for check in verdict.checks if check.name == "ratio_rms")
    assert worst > 50


def test_changed_metadata_is_caught(copied: Path) -> None:
    edit_model(copied, swap_classes_in_metadata)
    hashed(copied)
    verdict = onnxproof.selftest(copied)
    assert failed(verdict) == {"manifest", "golden"}
    assert "manifest.json differs from model.onnx: classes[0]" in reason(verdict, "manifest")
    assert "other metadata" in reason(verdict, "golden")


def test_a_class_list_that_is_swapped_everywhere_is_caught(copied: Path) -> None:
    edit_model(copied, swap_classes_in_metadata)
    edit(copied, swapped)
    hashed(copied)
    verdict = onnxproof.selftest(copied)
    assert failed(verdict) == {"golden"}
    assert "was recorded for another model" in reason(verdict, "golden")
    assert verdict.facts == ()


def test_a_swapped_class_list_in_the_manifest_is_caught(copied: Path) -> None:
    edit(copied, swapped)
    assert failed(onnxproof.selftest(copied)) == {"manifest"}


def test_missing_metadata_is_caught(copied: Path) -> None:
    edit_model(copied, lambda proto: proto.ClearField("metadata_props"))
    verdict = onnxproof.selftest(copied)
    assert {"checksum", "manifest", "golden"} <= failed(verdict)
    assert "carries no metadata" in reason(verdict, "manifest")


def test_a_changed_golden_case_is_caught(copied: Path) -> None:
    content = bytearray((copied / "golden.npz").read_bytes())
    content[len(content) // 2] ^= 1
    (copied / "golden.npz").write_bytes(content)
    verdict = onnxproof.selftest(copied)
    assert failed(verdict) == {"golden"}
    assert "golden.npz is not the file that manifest.json describes" in reason(verdict, "golden")
    hashed(copied)
    with pytest.raises(ModelFileError, match="cannot be read"):
        onnxproof.selftest(copied)


def test_a_missing_golden_file_is_caught(copied: Path) -> None:
    (copied / "golden.npz").unlink()
    ran = run_here(["selftest", str(copied)])
    assert ran.code == 1
    assert "golden.npz, which manifest.json names, is missing" in ran.printed


def test_a_manifest_of_another_bundle_is_caught(copied: Path) -> None:
    edit(copied, lambda document: document.update(name="other", model_sha256="0" * 64))
    assert {"checksum", "manifest"} <= failed(onnxproof.selftest(copied))


def test_a_verdict_of_the_export_that_was_not_pass_is_told(copied: Path) -> None:
    edit_index(copied, lambda index: index.update(verdict="fail"))
    verdict = onnxproof.selftest(copied)
    assert failed(verdict) == {"verified"}
    assert "the verdict of the export was fail" in reason(verdict, "verified")


def one_case_fewer(index: dict[str, Any]) -> None:
    del index["cases"][-1]


def one_case_alone(index: dict[str, Any]) -> None:
    del index["cases"][1:]


def another_name(index: dict[str, Any]) -> None:
    index["cases"][0]["name"] = "another"


@pytest.mark.parametrize("change", [one_case_fewer, one_case_alone, another_name])
def test_other_golden_cases_than_the_model_tells_are_caught(
    copied: Path, tmp_path: Path, change: Callable[[dict[str, Any]], object]
) -> None:
    """All checksums are made anew; only the model is as it was."""
    edit_index(copied, change)
    archive = onnxproof.package(copied, out=tmp_path / "digits.zip").path
    for bundle in (copied, archive):
        verdict = onnxproof.selftest(bundle)
        assert failed(verdict) == {"golden"}
        assert "does not hold the cases that model.onnx was verified on" in reason(verdict, "golden")
        assert verdict.facts == ()
    with pytest.raises(ModelFileError, match="does not hold the cases"):
        onnxproof.kit(copied, out=tmp_path / "kit")


def test_a_model_of_an_older_onnxproof_does_not_tell_its_cases(copied: Path) -> None:
    def forget(proto: onnx.ModelProto) -> None:
        (told,) = (entry for entry in proto.metadata_props if entry.key == GOLDEN_KEY)
        assert json.loads(told.value)["cases"] > 1
        proto.metadata_props.remove(told)

    edit_model(copied, forget)
    sha256 = hashlib.sha256((copied / "model.onnx").read_bytes()).hexdigest()
    edit_index(copied, lambda index: index.update(model_sha256=sha256))
    assert onnxproof.selftest(copied).passed


def test_versions_that_differ_are_noted(demo_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MODULE, "VERSION", "1.0.0")
    verdict = onnxproof.selftest(demo_bundle)
    assert verdict.passed
    assert any(note.endswith("; here is 1.0.0") for note in verdict.notes)
    assert verdict.environment["versions"]["onnxruntime"] == "1.0.0"


def test_golden_cases_that_the_manifest_no_longer_names_are_caught(copied: Path) -> None:
    edit(copied, lambda document: document.pop("golden_sha256"))
    for told in ("golden.npz is there", "model.onnx tells of golden cases"):
        verdict = onnxproof.selftest(copied)
        assert failed(verdict) == {"golden"}
        assert reason(verdict, "golden").startswith(f"manifest.json has no golden_sha256, although {told}")
        (copied / "golden.npz").unlink(missing_ok=True)


def test_a_bundle_without_golden_cases_is_refused() -> None:
    ran = run_here(["selftest", str(ROOT / "release" / "tiny")])
    assert ran.code == 2
    assert "has no golden cases to test itself by" in ran.printed


def test_what_is_no_bundle_is_refused(copied: Path) -> None:
    with pytest.raises(ModelFileError, match="is a model, not a bundle"):
        onnxproof.selftest(copied / "model.onnx")
    with pytest.raises(ModelFileError, match="does not exist: give the folder that export wrote"):
        onnxproof.selftest(copied / "nowhere")
    (copied / "model.onnx").unlink()
    with pytest.raises(ModelFileError, match=r"model\.onnx does not exist"):
        onnxproof.selftest(copied)


def test_a_provider_that_is_not_there_is_refused_by_name(demo_bundle: Path) -> None:
    ran = run_here(["selftest", str(demo_bundle), "--provider", "NoneExecutionProvider"])
    assert ran.code == 2
    assert (
        'execution provider "NoneExecutionProvider" is not in this ONNX Runtime; there are: ' in ran.printed
    )


@pytest.mark.skipif(CUDA in ort.get_available_providers(), reason="ONNX Runtime has CUDA")
@pytest.mark.filterwarnings("ignore:Specified provider")
def test_a_provider_that_does_not_start_is_refused(
    demo_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ONNX Runtime itself then takes the CPU."""
    monkeypatch.setattr(session, "require_providers", lambda providers: None)
    monkeypatch.setattr(MODULE, "require_providers", lambda providers: None)
    with pytest.raises(RequestError, match=rf'"{CUDA}" .* does not start .* \({CPU} would run'):
        onnxproof.selftest(demo_bundle, providers=[CUDA])


@pytest.mark.skipif("AzureExecutionProvider" not in ort.get_available_providers(), reason="not built in")
def test_a_provider_that_runs_none_of_the_nodes_is_refused(demo_bundle: Path) -> None:
    with pytest.raises(RequestError, match=r"runs none of the file's \d+ nodes \(\d+ on CPU"):
        onnxproof.selftest(demo_bundle, providers=["AzureExecutionProvider", CPU])
