"""The documents that a bundle carries: their keys, and that they hold wherever the bundle is taken."""

import json
import re
import shutil
import sys
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, NoReturn

import onnx
import pytest

import onnxproof
from onnxproof import Check, Verdict
from onnxproof.runtime.manifest import FOLDS_KEY, GOLDEN_KEY, METADATA_KEY
from onnxproof.source import sha256_of
from onnxproof.targets import TARGETS, read_target

ROOT = Path(__file__).parents[2]
SCENE = ROOT / "examples" / "digits" / "images" / "scene-01.png"

MANIFEST_KEYS = """
    format name task family inputs outputs preprocess classes postprocess opset exporter checkpoint_sha256
    model_sha256 versions
""".split()
PARITY_KEYS = "format verdict model_sha256 links checks decisions cases environment".split()
CHECK_KEYS = "link name status reason value limit leg field".split()
DECISION_KEYS = "matched ties defects".split()
IN_THE_FOLDER_ONLY = {"model_sha256", "golden_sha256", "job"}


def read_json(text: str) -> Any:
    def refuse(constant: str) -> NoReturn:
        raise AssertionError(f"{constant} is no JSON")

    return json.loads(text, parse_constant=refuse)


@pytest.fixture(scope="session")
def manifest(demo_bundle: Path) -> Any:
    return read_json((demo_bundle / "manifest.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="session")
def parity(demo_bundle: Path) -> Any:
    return read_json((demo_bundle / "parity.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="session")
def metadata(demo_bundle: Path) -> Any:
    properties = onnx.load(demo_bundle / "model.onnx").metadata_props
    assert [entry.key for entry in properties] == [METADATA_KEY, FOLDS_KEY, GOLDEN_KEY]
    return read_json(properties[0].value)


def test_the_demos_folds_stand_in_the_file_to_the_bit(parity: Any) -> None:
    (check,) = (check for check in parity["checks"] if check["name"] == "folded")
    assert (check["status"], check["value"], check["link"]) == ("pass", 0, "function")
    assert check["reason"] == "148 tensors are batch norms folded in float64 and rounded once"


def test_a_bundle_is_these_files_and_nothing_lies_beside_it(demo_bundle: Path) -> None:
    names = {path.name for path in demo_bundle.iterdir()}
    assert names == {"README.md", "golden.npz", "model.onnx", "manifest.json", "parity.json", "pictures"}
    assert [path.name for path in demo_bundle.parent.iterdir()] == [demo_bundle.name]


def test_the_manifests_keys(manifest: Any) -> None:
    assert manifest["format"] == 1
    assert set(MANIFEST_KEYS) <= set(manifest)
    assert (manifest["name"], manifest["task"], manifest["family"]) == ("digits-yolox", "detection", "yolox")
    for spec in (*manifest["inputs"], *manifest["outputs"]):
        assert set(spec) == {"name", "dtype", "shape", "range"}
    assert [entry["name"] for entry in manifest["classes"]] == [str(digit) for digit in range(10)]
    assert {"score_threshold", "iou_threshold"} <= set(manifest["postprocess"])
    assert manifest["exporter"] in ("torch.export", "torchscript")
    assert {"onnxproof", "torch", "onnx", "onnxruntime"} <= set(manifest["versions"])


def test_the_verdicts_keys(parity: Any) -> None:
    assert parity["format"] == 2
    assert Verdict.from_json(parity).to_json() == parity
    assert set(PARITY_KEYS) <= set(parity)
    assert parity["verdict"] in ("pass", "fail", "error")
    assert set(parity["decisions"]) == set(DECISION_KEYS)
    assert all(isinstance(count, int) for count in parity["decisions"].values())
    assert parity["cases"]


def test_the_checks_keys(parity: Any) -> None:
    assert parity["checks"]
    for check in parity["checks"]:
        assert list(check) == CHECK_KEYS
        assert check["status"] in ("pass", "fail", "error", "skipped")
        assert check["status"] == "pass" or check["reason"]


def test_a_pass_rests_on_checks_that_passed(parity: Any) -> None:
    statuses = {check["status"] for check in parity["checks"]}
    assert parity["verdict"] == "pass"
    assert "pass" in statuses
    assert statuses <= {"pass", "skipped"}
    measured = [check for check in parity["checks"] if check["limit"] is not None]
    assert all(check["value"] <= check["limit"] for check in measured)


def test_checksums_name_the_files_that_they_are_of(demo_bundle: Path, manifest: Any, parity: Any) -> None:
    model = sha256_of(demo_bundle / "model.onnx")
    assert (manifest["model_sha256"], parity["model_sha256"]) == (model, model)
    folder = (demo_bundle / manifest["job"]["model"]["checkpoint"]).resolve()
    assert folder.samefile(ROOT / "examples" / "digits" / "yolox")
    assert re.fullmatch(r"[0-9a-f]{64}", manifest["checkpoint_sha256"])


def test_the_models_own_metadata_is_the_manifest_less_what_it_cannot_hold(
    manifest: Any, metadata: Any
) -> None:
    assert metadata == {key: value for key, value in manifest.items() if key not in IN_THE_FOLDER_ONLY}


def test_a_lone_model_predicts_as_its_bundle_does(demo_bundle: Path, tmp_path: Path) -> None:
    lone = tmp_path / "renamed.onnx"
    shutil.copy(demo_bundle / "model.onnx", lone)
    expected = onnxproof.load(demo_bundle).predict(SCENE).to_json()
    assert expected["boxes"]
    assert onnxproof.load(lone).predict(SCENE).to_json() == expected


def strings(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [text for key, item in value.items() for text in (key, *strings(item))]
    if isinstance(value, list):
        return [text for item in value for text in strings(item)]
    return [value] if isinstance(value, str) else []


def test_the_manifests_paths_start_at_the_bundle(manifest: Any) -> None:
    texts = strings(manifest)
    assert len(texts) > 50
    for text in texts:
        assert not PurePosixPath(text).is_absolute(), text
        assert not PureWindowsPath(text).is_absolute(), text


def test_nothing_in_the_model_tells_where_it_was_made(demo_bundle: Path, demo_job: Path) -> None:
    content = (demo_bundle / "model.onnx").read_bytes()
    here = {ROOT, Path(sys.prefix), Path(onnx.__file__).parents[1], Path(onnxproof.__file__).parents[1]}
    for path in (*here, Path(sys.base_prefix), Path.home(), demo_job.parent, demo_bundle.parent):
        assert str(path).encode() not in content, path
    assert b"site-packages" not in content
    assert re.search(rb"\w+\.py\b", content) is None


def test_numbers_that_json_has_no_word_for_are_told_in_words() -> None:
    check = Check("flips", "fail", "no margin is known", float("inf"), float("nan"), "ort-cpu", "label")
    verdict = Verdict("fail", (check,), (), (), (), "", {})
    (written,) = read_json(json.dumps(verdict.to_json()))["checks"]
    assert (written["value"], written["limit"]) == ("Infinity", "NaN")


@pytest.mark.parametrize("name", TARGETS)
def test_the_page_counts_what_a_target_lists(name: str) -> None:
    lines = (ROOT / "docs" / "runtimes.md").read_text(encoding="utf-8").splitlines()
    table = lines[lines.index("| `target` | opsets | operators | an operator that is not listed | types |") :]
    row = next(line for line in table if line.startswith(f"| `{name}`"))
    operators = row.split("|")[3]
    target = read_target(name)
    listed = [] if target.operators is None else [len(target.operators)]
    unlisted = [len(target.unsupported)] if target.unsupported else []
    assert [int(number) for number in re.findall(r"\d+", operators)] == [*listed, *unlisted]
