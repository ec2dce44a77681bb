"""The demo's kit on the command line, and the clients of examples/clients that run it."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from commands import run_here
from documents import mistakes
from kits import edit
from once import Once
from programs import program

import onnxproof

CLIENTS = Path(__file__).parents[2] / "examples" / "clients"


@pytest.fixture(scope="module")
def kit(demo_bundle: Path, once: Once) -> Path:
    """The demo's kit; not to be written to."""
    return once("the demo's kit", lambda folder: onnxproof.kit(demo_bundle, out=folder / "kit")) / "kit"


@pytest.fixture(scope="module")
def outputs(kit: Path, once: Once) -> Path:
    """What the client in Python returned; not to be written to."""

    def run(folder: Path) -> None:
        program(CLIENTS / "client.py").main(kit, folder / "outputs")

    return once("what the client in Python returned", run) / "outputs"


def test_the_python_client_passes_in_each_link(kit: Path, outputs: Path) -> None:
    ran = run_here(["judge", str(kit), str(outputs)])
    assert ran.code == 0, ran.printed
    lines = ran.printed.splitlines()
    assert lines[0] == "function   the file is the one whose function was proven by the export"
    version = json.loads((outputs / "outputs.json").read_text(encoding="utf-8"))["runtime"]["version"]
    assert lines[1].startswith(f"runtime    onnxruntime {version} (CPUExecutionProvider) errs ")
    assert " 0 defects on " in lines[2]
    assert lines[3].startswith("verdict: pass (checks: ")


def test_its_documents_fit_their_schemas(kit: Path, outputs: Path) -> None:
    for name, folder in (("kit", kit), ("outputs", outputs)):
        assert mistakes(name, json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))) == []
    ran = run_here(["judge", str(kit), str(outputs), "--json", "--quiet"])
    document = json.loads(ran.printed)
    assert mistakes("parity", document) == []
    verdict = onnxproof.Verdict.from_json(document)
    assert verdict.facts[0].decisions is not None
    assert verdict.facts[0].decisions.reference > 0


def test_the_kit_command_prints_what_to_do_next(demo_bundle: Path, kit: Path, tmp_path: Path) -> None:
    ran = run_here(["kit", str(demo_bundle), "--out", str(tmp_path / "kit"), "--no-model"])
    assert ran.code == 0
    assert f"cases; run them, then: onnxproof judge {tmp_path / 'kit'} OUTPUTS" in ran.printed
    ran = run_here(["kit", str(demo_bundle), "--out", str(tmp_path / "kit"), "--json", "--quiet"])
    assert json.loads(ran.printed) == json.loads((kit / "kit.json").read_text(encoding="utf-8"))
    ran = run_here(["kit", str(demo_bundle), "--out", str(CLIENTS)])
    assert ran.code == 2
    assert "is no kit that onnxproof wrote" in ran.printed


def test_a_kit_is_made_by_the_metadata_in_the_model(demo_bundle: Path, kit: Path, tmp_path: Path) -> None:
    """A manifest that another version writes otherwise does not matter."""
    copied = Path(shutil.copytree(demo_bundle, tmp_path / "bundle"))
    edit(copied / "manifest.json", lambda document: document["versions"].update(more="1"))
    made = onnxproof.kit(copied, out=tmp_path / "kit")
    assert (made / "contract.json").read_bytes() == (kit / "contract.json").read_bytes()
    edit(copied / "manifest.json", lambda document: document.update(golden_sha256="0" * 64))
    with pytest.raises(onnxproof.errors.ModelFileError, match=r"golden\.npz is not the file"):
        onnxproof.kit(copied, out=tmp_path / "kit")


def test_other_decisions_fail_and_reports_say_so(kit: Path, outputs: Path, tmp_path: Path) -> None:
    copied = Path(shutil.copytree(outputs, tmp_path / "outputs"))
    for told in json.loads((copied / "outputs.json").read_text(encoding="utf-8"))["cases"]:
        (output,) = told["outputs"]
        numbers = np.fromfile(copied / output["file"], "<f4").reshape(output["shape"])
        numbers[..., 5] *= 0.5
        numbers.tofile(copied / output["file"])
    edit(
        copied / "outputs.json",
        lambda told: [one.pop("sha256") for case in told["cases"] for one in case["outputs"]],
    )
    report = tmp_path / "report.xml"
    ran = run_here(["judge", str(kit), str(copied), "--junit", str(report)])
    assert ran.code == 1, ran.printed
    assert "decisions  " in ran.printed
    assert " defects on " in ran.printed
    assert "verdict: fail (checks: " in ran.printed
    assert 'name="onnxproof"' in report.read_text(encoding="utf-8")
    ran = run_here(["judge", str(kit), str(copied), "--junit", str(kit / "report.xml")])
    assert ran.code == 2
    assert f"lies in {kit}, which is read" in ran.printed


def test_outputs_that_are_not_there_are_refused(kit: Path, tmp_path: Path) -> None:
    ran = run_here(["judge", str(kit), str(tmp_path)])
    assert ran.code == 2
    assert "give the folder that the host wrote, with outputs.json in it" in ran.printed
    ran = run_here(["judge", str(tmp_path), str(tmp_path)])
    assert ran.code == 2
    assert "kit.json cannot be read" in ran.printed
