"""onnxproof compare: exit codes, what is printed where, and what it does without torch."""

import hashlib
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

WEIGHT = np.random.default_rng(0).normal(size=(32, 4)).astype(np.float32)
OPTIONS = ("--dim", "batch=1..8", "--threads", "1")

Save = Callable[..., Path]
Run = Callable[..., subprocess.CompletedProcess[str]]
Refuse = Callable[..., None]


@pytest.fixture
def save(tmp_path: Path) -> Save:
    """A file of one MatMul."""

    def save(name: str, scale: float = 1, *, operator: str = "MatMul", input: str = "x") -> Path:
        graph = helper.make_graph(
            [helper.make_node(operator, [input, "weight"], ["y"])],
            "one",
            [helper.make_tensor_value_info(input, TensorProto.FLOAT, ("batch", 32))],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, ("batch", 4))],
            [numpy_helper.from_array(WEIGHT * np.float32(scale), "weight")],
        )
        proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
        file = tmp_path / f"{name}.onnx"
        onnx.save(proto, file)
        return file

    return save


def test_a_pass_says_the_rule_and_the_links(run: Run, save: Save) -> None:
    ran = run("compare", save("a"), save("b", operator="Gemm"), *OPTIONS)
    assert ran.returncode == 0, ran
    said = " ".join(ran.stdout.split())
    assert "B, ort-cpu against A, errors measured from A's graph in float64" in said
    assert "function B computes what A computes, to 0 of float32's own error" in said
    assert "runtime ONNX Runtime errs" in said
    assert "times what A errs in float32" in said
    assert "rule graphs" in ran.stdout
    assert "verdict: pass" in ran.stdout
    assert "torch" not in ran.stdout


def test_a_fault_is_exit_code_1(run: Run, save: Save) -> None:
    ran = run("compare", save("a"), save("b", 1.000002), *OPTIONS)
    assert ran.returncode == 1, ran
    assert "fail: function y" in ran.stdout
    said = " ".join(ran.stdout.split())
    assert "function B does not compute what A computes: they part by" in said
    assert "constants of B that are not A's: weight ([32, 4]) is weight changed by 2.0e-06" in said


def test_names_that_differ_are_paired_as_asked(run: Run, save: Save) -> None:
    other = save("other", input="pixels")
    ran = run("compare", save("a"), other, *OPTIONS, "--map", "pixels=x", "--json")
    document = json.loads(ran.stdout)
    assert (ran.returncode, document["verdict"]) == (0, "pass"), ran
    assert "B's input pixels is A's x" in document["notes"]
    assert document["model_sha256"] == hashlib.sha256(other.read_bytes()).hexdigest()
    assert {link["link"]: link["status"] for link in document["links"]}["function"] == "pass"


def test_json_is_one_document_and_the_folder_holds_it(run: Run, save: Save, tmp_path: Path) -> None:
    ran = run("compare", save("a"), save("b", 1.0001), *OPTIONS, "--json", "--out", tmp_path / "out")
    document = json.loads(ran.stdout)
    assert (ran.returncode, document["verdict"], document["rule"]) == (1, "fail", "graphs")
    links = {link["link"]: link["status"] for link in document["links"]}
    assert links == {"function": "fail", "runtime": "pass", "decisions": "skipped"}
    assert document["function"]["leg"] == "B, onnx-float64"
    assert json.loads((tmp_path / "out" / "comparison.json").read_text(encoding="utf-8")) == document
    assert "verdict: fail" in ran.stderr


def test_an_input_of_another_name_fails_as_an_output_does(run: Run, save: Save) -> None:
    ran = run("compare", save("a"), save("other", input="z"), *OPTIONS)
    assert ran.returncode == 1
    assert "A takes the inputs x, B takes z" in ran.stdout + ran.stderr
    assert "--map NAME_OF_B=NAME_OF_A" in ran.stdout + ran.stderr


def test_what_is_wrong_is_one_line(refuse: Refuse, save: Save, tmp_path: Path) -> None:
    a, broken = save("a"), tmp_path / "broken.onnx"
    broken.write_bytes(b"no model")
    refuse("compare", a, tmp_path / "none.onnx", says=["none.onnx does not exist"])
    refuse("compare", a, broken, says=["broken.onnx", "cannot be loaded"])
    refuse("compare", a, a, "--map", "z=x", says=["--map z=x: B has no input or output z; it has x, y"])
    refuse("compare", a, a, "--dim", "batch", says=["--dim batch", "expected NAME=", "batch=1..8"])
    refuse("compare", a, a, "--dim", "batch=1", "--dim", "batch=2", says=["given twice"])
    refuse("compare", a, a, "--dim", "time=1", says=["no dynamic axis of that name", "batch"])
    refuse("compare", a, a, "--set", "export.opset=18", says=["--job"])
    refuse("compare", a, a, "--job", tmp_path / "none.toml", says=["none.toml does not exist"])
    refuse("compare", a, a, "--images", str(tmp_path / "*.png"), says=["--images", "names no file"])


def test_sizes_between_the_declared_steps_are_refused_before_anything_runs(
    refuse: Refuse, small_bundle: Path
) -> None:
    model = small_bundle / "model.onnx"
    says = ["height is declared as 64..96 step 32", 'write --dim "height=64..96 step 32"']
    for a in (small_bundle, model):
        refuse("compare", a, model, "--quiet", "--dim", "height=64..96", says=says)


def test_sizes_that_a_cannot_run_are_exit_code_4(run: Run, save: Save) -> None:
    file = save("free")
    free = onnx.load(file)
    free.graph.input[0].type.tensor_type.shape.dim[1].dim_param = "features"
    onnx.save(free, file)
    assert run("compare", file, save("b"), "--dim", "features=32", *OPTIONS).returncode == 0
    ran = run("compare", file, file, "--dim", "features=1..8", *OPTIONS)
    assert (ran.returncode, ran.stdout) == (4, ""), ran
    assert "A itself cannot run" in ran.stderr


@pytest.mark.slow
def test_without_torch_two_runs_of_a_judge(save: Save, small_bundle: Path) -> None:
    code = (
        "import sys\nsys.modules['torch'] = None\nfrom onnxproof.cli import main\n"
        "try:\n    main()\n"
        "finally:\n    print(sys.modules['torch'], 'pydantic' in sys.modules, file=sys.stderr)"
    )
    small = small_bundle / "model.onnx"
    for a, b, options in ((save("a"), save("b"), OPTIONS), (small, small, ("--effort", "quick"))):
        ran = subprocess.run(
            [sys.executable, "-c", code, "compare", a, b, *options],
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert ran.returncode == 0, ran
        assert ran.stderr.splitlines()[-1] == "None False"
        said = " ".join(ran.stdout.split())
        assert "B, ort-cpu against A, errors measured from A moved by an ulp" in said
        assert "rule two-runs" in said
        assert "function not shown: torch is not installed" in said
        assert "verdict: pass" in said


@pytest.mark.slow
def test_a_job_judges_both(run: Run, small_job: Path, small_bundle: Path) -> None:
    model = small_bundle / "model.onnx"
    ran = run("compare", model, model, "--job", small_job, "--dim", "batch=1..2", "--json")
    assert ran.returncode == 0, ran
    document = json.loads(ran.stdout)
    assert document["rule"] == "oracle"
    assert document["baseline"]["verdict"] == "pass"
    for links in (document["links"], document["baseline"]["links"]):
        assert [link["status"] for link in links] == ["pass", "pass", "pass"]
    assert any("B's rms error over A's own: box_xy 1," in note for note in document["notes"])
    assert {entry["leg"] for entry in document["measurements"]} == {"B, ort-cpu"}


@pytest.mark.slow
def test_a_bundle_brings_its_checkpoint_and_its_lone_file_does_not(
    run: Run, small_bundle: Path, tmp_path: Path
) -> None:
    model = small_bundle / "model.onnx"
    damaged = onnx.load(model)
    tensor = next(entry for entry in damaged.graph.initializer if len(entry.dims) == 4)
    values = numpy_helper.to_array(tensor) * np.float32(1.001)
    tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    onnx.save(damaged, tmp_path / "damaged.onnx")
    for source, rule in ((small_bundle, "oracle"), (model, "graphs")):
        ran = run(
            "compare", source, tmp_path / "damaged.onnx", "--effort", "quick", "--threads", "1", "--json"
        )
        document = json.loads(ran.stdout)
        assert (ran.returncode, document["rule"]) == (1, rule), ran.stderr
        assert "function" in {check["name"] for check in document["checks"] if check["status"] == "fail"}
        assert document["links"][0]["status"] == "fail"


@pytest.mark.slow
def test_a_broken_a_is_told_by_its_checkpoint_alone(
    run: Run, small_job: Path, small_bundle: Path, tmp_path: Path
) -> None:
    """B equals A, and both are broken: only PyTorch knows."""
    model = small_bundle / "model.onnx"
    damaged = onnx.load(model)
    weights = [tensor for tensor in damaged.graph.initializer if len(tensor.dims) == 4]
    for tensor in weights[:8]:
        values = numpy_helper.to_array(tensor).astype(np.float16).astype(np.float32)
        tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    broken = tmp_path / "broken.onnx"
    onnx.save(damaged, broken)
    sizes = ("--dim", "batch=1..2", "--dim", "height=64", "--dim", "width=96")
    alone = run("compare", broken, broken, *sizes, "--effort", "quick", "--threads", "1")
    assert alone.returncode == 0
    assert "A fault that A has too is not seen" in " ".join(alone.stdout.split())
    told = run("compare", broken, broken, "--job", small_job, *sizes, "--json")
    assert told.returncode == 1
    document = json.loads(told.stdout)
    assert document["baseline"]["verdict"] == "fail"
    assert any(note.startswith("A itself does not pass") for note in document["notes"])
    mended = run("compare", broken, model, "--job", small_job, *sizes, "--json")
    assert mended.returncode == 0
    assert json.loads(mended.stdout)["baseline"]["verdict"] == "fail"
