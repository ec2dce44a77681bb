"""The reports that commands write: which, where, and that they are refused before the work."""

import json
import os
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from xml.etree import ElementTree

import pytest
from verdicts import failing, passing

from onnxproof.validate.verdict import Verdict

Run = Callable[..., CompletedProcess[str]]
Refuse = Callable[..., None]

ONE_OF_EACH = ("html", "junit", "sarif", "markdown")


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A job whose verdict is made by hand, in the working directory."""
    monkeypatch.chdir(tmp_path)
    for name in ("GITHUB_ACTIONS", "GITHUB_STEP_SUMMARY", "GITHUB_WORKSPACE"):
        monkeypatch.delenv(name, raising=False)
    with zipfile.ZipFile(tmp_path / "model.pth", "w") as checkpoint:  # in the form of one
        checkpoint.writestr("model/data.pkl", b"")
    file = tmp_path / "job.toml"
    file.write_text(
        'name = "small"\n[model]\nfamily = "yolox"\ncheckpoint = "model.pth"\n[dims]\nbatch = "1..2"\n',
        encoding="utf-8",
    )
    return Path("job.toml")


def write_model() -> None:
    """The job's file, without which ``validate`` has nothing to do."""
    Path("dist", "small").mkdir(parents=True)
    Path("dist", "small", "model.onnx").touch()


def answer(monkeypatch: pytest.MonkeyPatch, verdict: Verdict) -> None:
    write_model()
    monkeypatch.setattr("onnxproof.validation.validate", lambda *_, **__: verdict)


@pytest.fixture
def never(monkeypatch: pytest.MonkeyPatch) -> None:
    def work(*_: object, **__: object) -> None:
        raise AssertionError("the request was found wrong only after the work had begun")

    monkeypatch.setattr("onnxproof.validation.validate", work)
    monkeypatch.setattr("onnxproof.pipeline.export", work)


def test_each_report_is_written_and_changes_nothing_else(
    run: Run, job: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer(monkeypatch, failing())
    plain = run("validate", job)
    asked = [part for name in ONE_OF_EACH for part in (f"--{name}", f"reports/{name}")]
    ran = run("validate", job, *asked)
    assert (ran.returncode, ran.stdout, ran.stderr) == (1, plain.stdout, plain.stderr)
    assert sorted(path.name for path in Path("reports").iterdir()) == sorted(ONE_OF_EACH)
    suite = ElementTree.parse("reports/junit").find("testsuite")
    assert suite is not None
    assert (suite.get("name"), suite.get("failures")) == ("small", "1")
    (sarif,) = json.loads(Path("reports/sarif").read_text(encoding="utf-8"))["runs"]
    place = sarif["results"][0]["locations"][0]["physicalLocation"]
    assert place["artifactLocation"]["uri"] == "job.toml"
    assert place["region"] == {"startLine": 4}
    assert Path("reports/markdown").read_text(encoding="utf-8").startswith("# small: fail\n")


def test_json_stays_one_document(run: Run, job: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answer(monkeypatch, failing())
    ran = run("validate", job, "--json", "--quiet", "--junit", "junit.xml", "--github")
    assert (ran.returncode, json.loads(ran.stdout)["verdict"]) == (1, "fail")
    assert [line.partition(" ")[0] for line in ran.stderr.splitlines()] == ["::error", "::error"]


def test_github_is_told_by_itself_in_its_workflows(
    run: Run, job: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    answer(monkeypatch, failing())
    summary = tmp_path / "summary.md"
    summary.write_text("of a step before, without an end", encoding="utf-8")
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    monkeypatch.setenv("GITHUB_WORKSPACE", str(tmp_path.parent))
    ran = run("validate", job)
    assert f"::error file={tmp_path.name}/job.toml,line=4,title=onnxproof small" in ran.stderr
    assert "::error file=" not in ran.stdout
    assert summary.read_text(encoding="utf-8").startswith("of a step before, without an end\n# small: fail\n")
    before = summary.read_bytes()
    assert "::error" not in run("validate", job, "--no-github").stderr
    assert summary.read_bytes() == before


def test_a_summary_that_cannot_be_written_changes_no_exit_code(
    run: Run, job: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    answer(monkeypatch, passing())
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path))
    ran = run("validate", job, "--github")
    assert ran.returncode == 0
    assert "the step summary cannot be written" in ran.stderr


@pytest.mark.usefixtures("never")
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no pipes in folders")
@pytest.mark.parametrize(
    ("summary", "says"),
    [
        pytest.param("job.toml", "is read by this command", id="over-the-job"),
        pytest.param("linked.toml", "is the same file as", id="over-the-job-by-a-link"),
        pytest.param("pipe", "pipe is a pipe, not a file", id="a-pipe-that-nobody-reads"),
        pytest.param("report.xml", "is written by --junit, too", id="over-a-report"),
    ],
)
@pytest.mark.parametrize("command", ["export", "validate"])
def test_a_summary_that_would_lose_a_file_or_wait_for_ever_is_refused(
    refuse: Refuse, job: Path, monkeypatch: pytest.MonkeyPatch, command: str, summary: str, says: str
) -> None:
    if command == "validate":
        write_model()
    Path("linked.toml").symlink_to(job)
    os.mkfifo("pipe")
    before = job.read_bytes()
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", summary)
    refuse(command, job, "--github", "--junit", "report.xml", says=["GITHUB_STEP_SUMMARY", says])
    assert job.read_bytes() == before


@pytest.mark.usefixtures("never")
@pytest.mark.parametrize(
    "asked",
    [
        pytest.param(("validate", "--out", "new", "--junit", "new"), id="a-folder-of-the-verdict"),
        pytest.param(("validate", "--out", "new/er", "--junit", "new"), id="a-folder-above"),
        pytest.param(("validate", "--junit", "new", "--sarif", "new/x"), id="a-folder-of-a-report"),
        pytest.param(
            ("export", "--out", "out", "--sarif", "new/x", "--junit", "new"), id="the-other-way-round"
        ),
        pytest.param(("export", "--out", "new", "--junit", "new/small"), id="the-bundle"),
        pytest.param(("export", "--out", "new", "--junit", "new"), id="a-folder-of-the-bundle"),
    ],
)
def test_a_report_in_the_place_of_a_folder_that_is_written_is_refused_at_once(
    refuse: Refuse, job: Path, asked: tuple[str, ...]
) -> None:
    write_model()
    command, *arguments = asked
    refuse(command, job, *arguments, says=("--junit new", "is a folder that this command writes into, too"))
    assert not Path("new").exists()


@pytest.mark.usefixtures("never")
@pytest.mark.parametrize("command", ["export", "validate"])
@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        pytest.param(("--junit", "job.toml"), ("job.toml", "is read", "--junit"), id="over-the-job"),
        pytest.param(("--sarif", "model.pth"), ("model.pth", "is read", "--sarif"), id="over-the-checkpoint"),
        pytest.param(
            ("--markdown", "folder"), ("folder", "cannot be written", "it is a folder"), id="a-folder"
        ),
        pytest.param(("--junit", "job.toml/x"), ("cannot be written", "--junit"), id="below-a-file"),
        pytest.param(("--junit", "one", "--sarif", "./one"), ("--junit", "--sarif", "too"), id="two-in-one"),
        pytest.param(
            ("--junit", "bundle/junit.xml"),
            ("writes into the bundle", "name another place"),
            id="in-a-bundle",
        ),
    ],
)
def test_what_cannot_be_written_is_refused_at_once(
    refuse: Refuse, job: Path, command: str, arguments: tuple[str, ...], says: tuple[str, ...]
) -> None:
    Path("folder").mkdir()
    Path("bundle").mkdir()
    for name in ("manifest.json", "model.onnx"):
        Path("bundle", name).write_bytes(b"")
    if command == "validate":
        write_model()
    refuse(command, job, *arguments, says=says)
    assert job.read_text(encoding="utf-8").startswith("name")


@pytest.mark.usefixtures("never")
@pytest.mark.parametrize("kind", ONE_OF_EACH)
def test_a_file_of_the_users_is_not_replaced(refuse: Refuse, job: Path, kind: str) -> None:
    write_model()
    Path("notes").write_text("# Notes\n", encoding="utf-8")
    refuse("validate", job, f"--{kind}", "notes", says=("notes", "no report of onnxproof's", "another file"))
    assert Path("notes").read_text(encoding="utf-8") == "# Notes\n"


def test_reports_of_an_earlier_run_and_empty_files_are_replaced(
    run: Run, job: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = [part for name in ONE_OF_EACH for part in (f"--{name}", name)]
    for name in ONE_OF_EACH:
        Path(name).touch()
    answer(monkeypatch, failing())
    for _ in range(2):
        assert run("validate", job, *asked).returncode == 1
    assert all(Path(name).stat().st_size > 100 for name in ONE_OF_EACH)


@pytest.mark.usefixtures("never")
def test_a_report_is_not_written_into_the_bundle_that_export_writes(refuse: Refuse, job: Path) -> None:
    refuse("export", job, "--junit", "dist/small/junit.xml", says=("--junit", "lies in the bundle"))


@pytest.mark.usefixtures("never")
def test_without_a_verdict_there_is_nothing_to_report(refuse: Refuse, job: Path) -> None:
    says = ("--sarif reports a verdict", "leave out --no-validate")
    refuse("export", job, "--no-validate", "--sarif", "x", says=says)


@pytest.mark.usefixtures("never")
def test_a_report_is_not_the_document_of_out(refuse: Refuse, job: Path) -> None:
    write_model()
    says = ("--junit", "this command's own output")
    refuse("validate", job, "--out", "there", "--junit", "there/parity.json", says=says)
