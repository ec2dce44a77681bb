"""Many jobs on the command line: the table, the document, the reports; and real exports beside each other."""

import json
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from xml.etree import ElementTree

import pytest
import stand_in
from documents import mistakes

import onnxproof.runs.pool

Run = Callable[..., CompletedProcess[str]]
Refuse = Callable[..., None]

JOB = """
name = "{name}"
[model]
family = "module"
task = "classification"
builder = "net.py:make"
[inputs]
x = "float32[batch, 16] in -1..1"
[dims]
batch = "1..2"
[export]
exporter = "torchscript"
simplify = "none"
[validate]
effort = "quick"
threads = 1
"""

NET = """
import torch
from torch import nn


def make(width=8):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(16, width), nn.ReLU(), nn.Linear(width, 3))
"""

MATRIX = """extends = "a.toml"
name = "wide"
[matrix]
model.variant = ["pass", "fail"]
export.opset = [18, 20]
"""


@pytest.fixture
def jobs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, with a job and a matrix of jobs."""
    monkeypatch.chdir(tmp_path)
    for name in ("GITHUB_ACTIONS", "GITHUB_STEP_SUMMARY", "GITHUB_WORKSPACE"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "net.py").write_text(NET, encoding="utf-8")
    (tmp_path / "a.toml").write_text(JOB.format(name="a"), encoding="utf-8")
    (tmp_path / "wide.toml").write_text(MATRIX, encoding="utf-8")
    return tmp_path


@pytest.fixture
def _stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """Jobs are done by a stand-in; their processes are real."""
    folder = str(Path(stand_in.__file__).parent)
    start = f"import json, sys; sys.path[:] = [{folder!r}, *json.loads(sys.argv[1])]; "
    monkeypatch.setattr(onnxproof.runs.pool, "START", start + "from stand_in import main; main()")


@pytest.mark.usefixtures("_stand_in")
def test_one_table_one_document_and_one_report_tell_of_all(run: Run, jobs: Path) -> None:
    asked = ("export", "a.toml", "wide.toml", "gone.toml", "--jobs", "2")
    ran = run(*asked, "--junit", "junit.xml", "--markdown", "all.md", "--sarif", "all.sarif")
    assert ran.returncode == 2, ran.stderr
    lines = [line.split() for line in ran.stdout.splitlines()]
    assert lines[0] == "6 jobs: 3 pass, 2 fail, 1 failed".split()
    assert ["pass", "pass", "pass"] in lines
    assert ["fail", "fail", "fail"] in lines
    assert "gone.toml: exit code 2: job file gone.toml does not exist" in ran.stderr
    assert "a printed: a says hello" in ran.stderr
    suites = ElementTree.parse("junit.xml").getroot()
    assert len(suites) == 6
    assert (jobs / "all.md").read_text(encoding="utf-8").startswith("# 6 jobs: 3 pass, 2 fail, 1 failed")
    (sarif,) = json.loads((jobs / "all.sarif").read_text(encoding="utf-8"))["runs"]
    assert len(sarif["results"]) == 3

    again = run(*asked, "--json", "--quiet")
    assert again.returncode == 2
    assert again.stderr == (
        "onnxproof: gone.toml: job file gone.toml does not exist: give the path of a .toml file\n"
    )
    told = json.loads(again.stdout)
    assert mistakes("many", told) == []
    assert told["exit_code"] == 2
    assert [(one["done"], one["exit_code"]) for one in told["jobs"]] == [
        ("up to date", 0),
        ("up to date", 0),
        ("up to date", 0),
        ("up to date", 1),
        ("up to date", 1),
        ("failed", 2),
    ]
    assert told["jobs"][1]["matrix"] == {"model.variant": "pass", "export.opset": "18"}
    assert told["jobs"][3]["parity"]["verdict"] == "fail"
    assert told["jobs"][5]["error"]["type"] == "JobError"


@pytest.mark.usefixtures("_stand_in")
def test_many_verdicts_are_written_by_name(run: Run, jobs: Path) -> None:
    ran = run(
        "validate", "a.toml", "wide.toml", "--only", "a", "--only", "*variant_fail*", "--out", "verdicts"
    )
    assert ran.returncode == 1, ran.stderr
    assert sorted(path.parent.name for path in Path("verdicts").rglob("parity.json")) == [
        "a",
        "wide-variant_fail-opset_18",
        "wide-variant_fail-opset_20",
    ]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("export", "a.toml", "a.toml"), "a.toml is given twice: both would write dist/a"),
        (("export", "wide.toml", "--junit", "dist/wide-variant_pass-opset_18/x.xml"), "lies in the bundle"),
        (("export", "wide.toml", "--junit", "wide.toml"), "--junit"),
        (("export", "wide.toml", "--no-validate", "--junit", "x.xml"), "leave out --no-validate"),
        (("export", "wide.toml", "--only", "x"), "no job has such a name"),
        (("export", "wide.toml", "--baseline", "net.py"), "is one verdict, and there are several jobs"),
        (("validate", "wide.toml", "--onnx", "x.onnx"), "--onnx is for one file"),
        (("validate", "a.toml", "a.toml", "--out", "x"), "two of the jobs have one name"),
        (("bisect", "wide.toml"), "makes 4 jobs, and one is expected here"),
    ],
    ids=lambda value: value if isinstance(value, str) else value[0],
)
def test_what_is_wrong_with_the_whole_is_refused_before_the_work(
    refuse: Refuse, jobs: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], says: str
) -> None:
    monkeypatch.setattr(onnxproof.runs.pool, "START", "raise SystemExit('the work has begun')")
    refuse(*arguments, says=[says])
    assert not (jobs / "dist").exists()


@pytest.mark.slow
def test_a_bundle_is_the_same_beside_others_and_alone(run: Run, jobs: Path) -> None:
    widths = MATRIX.partition("model.variant")[0] + "model.kwargs.width = [8, 9]\n"
    (jobs / "wide.toml").write_text(widths, encoding="utf-8")
    together = run("export", "a.toml", "wide.toml", "--jobs", "2")
    assert together.returncode == 0, together.stderr
    assert "3 jobs: 3 pass" in together.stdout
    alone = run("export", "a.toml", "--out", "alone")
    assert alone.returncode == 0, alone.stderr
    for name in ("model.onnx", "manifest.json", "parity.json", "README.md"):
        assert (jobs / "dist/a" / name).read_bytes() == (jobs / "alone/a" / name).read_bytes(), name
    (jobs / "net.py").write_text(NET.replace("seed(0)", "seed(1)"), encoding="utf-8")
    again = run("export", "a.toml", "--jobs", "1")
    assert "a: pass, " in again.stderr
    assert "(../../net.py changed)" in again.stderr
    assert "up to date" in run("export", "a.toml", "--jobs", "1").stdout
