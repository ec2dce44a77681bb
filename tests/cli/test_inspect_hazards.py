"""inspect shows what the graph says of itself: hazards by name, for bundles and for any ONNX file."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from onnxproof.validate import hazards

Run = Callable[..., CompletedProcess[str]]


def said(ran: CompletedProcess[str]) -> dict[str, dict[str, Any]]:
    """The hazards of a JSON document, by name."""
    assert (ran.returncode, ran.stderr) == (0, "")
    return {entry["name"]: entry for entry in json.loads(ran.stdout)["hazards"]}


def rows(ran: CompletedProcess[str]) -> dict[str, str]:
    assert (ran.returncode, ran.stderr) == (0, "")
    pairs = (line.split("  ", 1) for line in ran.stdout.splitlines())
    return {key: value.strip() for key, value in pairs}


@pytest.fixture
def bundle(small_bundle: Path, tmp_path: Path) -> Path:
    """A copy of the small bundle, to be damaged."""
    copy = tmp_path / "bundle"
    shutil.copytree(small_bundle, copy)
    return copy


def damage(bundle: Path, change: Callable[[onnx.ModelProto], None]) -> Path:
    file = bundle / "model.onnx"
    proto = onnx.load(file)
    change(proto)
    onnx.save(proto, file)
    return file


def plant_nan(proto: onnx.ModelProto) -> None:
    tensor = next(tensor for tensor in proto.graph.initializer if len(tensor.dims) == 4)
    values = numpy_helper.to_array(tensor).copy()
    values.reshape(-1)[0] = np.nan
    tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))


def plant_custom_operator(proto: onnx.ModelProto) -> None:
    node = next(node for node in proto.graph.node if node.op_type == "Sigmoid")
    node.op_type, node.domain = "QuickGelu", "com.microsoft"
    proto.opset_import.append(onnx.helper.make_opsetid("com.microsoft", 1))


def drop_metadata(proto: onnx.ModelProto) -> None:
    del proto.metadata_props[:]


@pytest.mark.parametrize("name", [pytest.param("", id="bundle"), pytest.param("model.onnx", id="lone-model")])
def test_a_healthy_bundle_has_none(run: Run, small_bundle: Path, name: str) -> None:
    found = said(run("inspect", small_bundle / name, "--json"))
    assert {name: entry["status"] for name, entry in found.items() if entry["status"] != "pass"} == {
        "weights": "skipped"
    }
    assert list(found) == [hazard.name for hazard in hazards.HAZARDS]
    assert all(entry["why"] and entry["remedy"] for entry in found.values())
    shown = rows(run("inspect", small_bundle / name))
    assert shown["hazards"] == "14 checks passed"
    assert shown["hazard weights"].endswith("no checkpoint: onnxproof validate BUNDLE --checkpoint PATH does")
    assert [key for key in shown if key.startswith("hazard ")] == ["hazard weights"]


def test_a_hazard_is_shown_with_its_remedy_and_judged_by_nobody(run: Run, bundle: Path) -> None:
    damage(bundle, plant_nan)
    ran = run("inspect", bundle)
    assert "1 NaN. Remedy: find where" in rows(ran)["hazard nonfinite"]
    assert rows(ran)["hazards"] == "13 checks passed"
    assert said(run("inspect", bundle, "--json"))["nonfinite"]["status"] == "fail"


def test_a_file_of_another_maker_has_hazards_too(run: Run, bundle: Path) -> None:
    file = damage(bundle, drop_metadata)
    found = said(run("inspect", file, "--axes", "--json"))
    assert {name for name, entry in found.items() if entry["status"] == "skipped"} == {
        *("metadata", "opset", "sizes", "tracing", "weights", "frozen_axes")
    }
    assert "are not known, and an axis may be frozen there" in found["frozen_axes"]["reason"]
    assert rows(run("inspect", file, "--axes"))["hazard frozen_axes"].startswith("skipped: nothing fixes an")


def test_advice_is_shown_as_such(run: Run, bundle: Path) -> None:
    file = damage(bundle, plant_custom_operator)
    found = said(run("inspect", file, "--json"))["domains"]
    assert (found["status"], found["value"], found["limit"]) == ("pass", 1, None)
    assert rows(run("inspect", file))["hazard domains"].startswith("advice: runs in ONNX Runtime alone")


def test_the_target_decides_what_is_missing(run: Run, small_bundle: Path) -> None:
    assert said(run("inspect", small_bundle, "--json"))["operators"]["status"] == "pass"
    operators = said(run("inspect", small_bundle, "--target", "barracuda", "--json"))["operators"]
    assert (operators["status"], operators["limit"]) == ("fail", 0)
    assert "outside the documentation of barracuda" in operators["reason"]


def test_a_bundles_own_target_is_taken(run: Run, bundle: Path) -> None:
    file = bundle / "manifest.json"
    manifest = json.loads(file.read_text(encoding="utf-8"))
    manifest["job"]["export"]["target"] = "barracuda"
    file.write_text(json.dumps(manifest), encoding="utf-8")
    assert said(run("inspect", bundle, "--json"))["operators"]["status"] == "fail"
    assert said(run("inspect", bundle / "model.onnx", "--json"))["operators"]["status"] == "pass"
    file.write_text("{", encoding="utf-8")
    ran = run("inspect", bundle, "--json")
    by_name = {entry["name"]: entry for entry in json.loads(ran.stdout)["hazards"]}
    assert (ran.returncode, by_name["operators"]["status"]) == (0, "pass")
    assert "manifest.json: it is no JSON" in ran.stderr


def test_a_target_that_is_not_there(run: Run, small_bundle: Path) -> None:
    ran = run("inspect", small_bundle, "--target", "abacus")
    assert (ran.returncode, ran.stdout) == (2, "")
    assert "onnxruntime" in ran.stderr


ALONE = """
import sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition('.')[0] in {blocked!r}:
            raise ModuleNotFoundError(f'No module named {{name!r}}', name=name)
sys.meta_path.insert(0, Blocker())
from onnxproof.cli import main
main()
"""


def alone(blocked: set[str], *arguments: str | Path) -> CompletedProcess[str]:
    """inspect in a process of its own, where some packages are not to be had."""
    code = ALONE.format(blocked=blocked)
    command = [sys.executable, "-c", code, "inspect", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)


def test_without_onnx_it_says_what_brings_it(small_bundle: Path) -> None:
    ran = alone({"onnx", "torch"}, small_bundle)
    assert "pip install 'onnxproof[export]'" in rows(ran)["hazards"]
    assert json.loads(alone({"onnx", "torch"}, small_bundle, "--json").stdout)["hazards"] is None


def test_hazards_need_no_torch(small_bundle: Path) -> None:
    found = said(alone({"torch", "onnxscript", "onnxsim", "rich"}, small_bundle, "--axes", "--json"))
    assert found["frozen_axes"]["reason"].startswith("nothing fixes an axis among")
