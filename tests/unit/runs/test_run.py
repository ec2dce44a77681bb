"""Many jobs in one run: what is done, what is left alone, and what an interrupted run leaves.

The jobs are stand-ins; their processes are real.
"""

import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import stand_in
from documents import mistakes

import onnxproof
import onnxproof.runs.pool
from onnxproof.cli._jobs import told_when_stopped
from onnxproof.errors import RequestError
from onnxproof.runs.plan import plan_export
from onnxproof.runs.pool import Pool
from onnxproof.runs.record import Changes
from onnxproof.runs.run import no_report
from onnxproof.runs.task import Outcome, Task, worst
from onnxproof.system.endings import ending
from onnxproof.system.extras import is_there

pytestmark = pytest.mark.skipif(
    not is_there("torch"), reason="without torch, what exports says at once which extra brings it"
)

JOB = """
name = "{name}"
[model]
family = "module"
task = "raw"
variant = "{variant}"
kwargs.reads = {reads}
[inputs]
x = "float32[batch, 3]"
[dims]
batch = "1..2"
[validate]
threads = 1
"""

START = (
    "import json, sys; sys.path[:] = [{helpers!r}, *json.loads(sys.argv[1])]; "
    "from stand_in import main; main()"
)
HELPERS = str(Path(stand_in.__file__).parent)

MakeJob = Callable[..., Path]


@pytest.fixture(autouse=True)
def _stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnxproof.runs.pool, "START", START.format(helpers=HELPERS))


@pytest.fixture
def job(tmp_path: Path) -> MakeJob:
    """Writes a job file and returns its path."""

    def write(name: str, variant: str = "pass", reads: tuple[str, ...] = (), more: str = "") -> Path:
        file = tmp_path / f"{name}.toml"
        file.write_text(JOB.format(name=name, variant=variant, reads=list(reads)) + more, encoding="utf-8")
        return file

    return write


def export(*jobs: Path, **options: Any) -> dict[str, Outcome]:
    found = onnxproof.export_many(jobs, out=jobs[0].parent / "dist", **options)
    return {one.name: one for one in found}


def states(found: dict[str, Outcome]) -> list[str]:
    return [one.state for one in found.values()]


def log(folder: Path) -> list[str]:
    """The names of the jobs that were done since it was last asked."""
    file = folder / "log"
    text = file.read_text(encoding="utf-8") if file.exists() else ""
    file.unlink(missing_ok=True)
    return sorted(text.split())


@pytest.mark.first_case
@pytest.mark.parametrize("at_once", [3, 1])
def test_one_that_fails_does_not_stop_the_others(job: MakeJob, tmp_path: Path, at_once: int) -> None:
    jobs = [job(name, name) for name in ("pass", "fail", "error", "raise", "crash")]
    jobs.append(tmp_path / "gone.toml")
    found = export(*jobs, at_once=at_once)
    codes = {Path(name).stem: one.exit_code for name, one in found.items()}
    assert codes == {"pass": 0, "fail": 1, "error": 4, "raise": 2, "crash": 3, "gone": 2}
    assert list(codes) == [path.stem for path in jobs]
    assert worst(found.values()) == 2
    assert found["crash"].error is not None
    assert "SIGSEGV" in found["crash"].error.message
    assert found["pass"].verdict is not None
    assert found["pass"].printed == "pass says hello\n"
    assert [one.name for one in sorted((tmp_path / "dist").iterdir())] == [
        ".onnxproof",
        "error",
        "fail",
        "pass",
    ]


def test_the_order_of_exit_codes() -> None:
    def outcome(code: int) -> Outcome:
        return Outcome("x", Path("x"), (), "failed", error=ending(code, "Error", "it failed"))

    order = [0, 4, 1, 3, 2, 70, 143]
    for better, code in itertools.pairwise(order):
        assert worst(map(outcome, (better, code))) == worst(map(outcome, (code, better))) == code
    assert worst([]) == 0


def test_a_stopped_run_counts_what_failed_apart() -> None:
    made = Outcome("a", Path("a"), (), "made")
    failed = replace(made, state="failed", error=ending(3, "Error", "it failed"))
    assert told_when_stopped([made, made], 3).startswith("stopped: 2 of 3 jobs are done, and")
    waiting = replace(made, state="not run")
    assert told_when_stopped([made, failed, waiting], 3).startswith(
        "stopped: 1 of 3 jobs are done and 1 failed,"
    )


def test_what_is_up_to_date_is_left_alone(job: MakeJob, tmp_path: Path) -> None:
    jobs = [job("a"), job("b", "fail")]
    assert states(export(*jobs)) == ["made", "made"]
    assert log(tmp_path) == ["a", "b"]
    again = export(*jobs)
    assert states(again) == ["up to date", "up to date"]
    assert (again["a"].exit_code, again["b"].exit_code) == (0, 1)
    assert log(tmp_path) == []
    assert states(export(*jobs, force=True)) == ["made", "made"]
    assert log(tmp_path) == ["a", "b"]


@pytest.mark.slow
def test_a_verdict_of_error_is_tried_again(job: MakeJob, tmp_path: Path) -> None:
    jobs = [job("a"), job("b", "error")]
    export(*jobs)
    log(tmp_path)
    again = export(*jobs)
    assert states(again) == ["up to date", "made"]
    assert "tried again" in again["b"].reason


def write_checkpoint(file: Path, content: bytes) -> None:
    """Write a file in the form of a checkpoint."""
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("net/data.pkl", content)


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a job and its bundle, not to be written to. It may be copied elsewhere."""
    folder = tmp_path_factory.mktemp("exported")
    (folder / "data.bin").write_bytes(b"as it was")
    (folder / "model").mkdir()
    write_checkpoint(folder / "model" / "net.pth", b"as it was")
    (folder / "model" / "classes.json").write_text("[]", encoding="utf-8")
    (folder / "pictures").mkdir()
    (folder / "pictures" / "0.png").write_bytes(b"as it was")
    text = JOB.format(name="a", variant="pass", reads=["data.bin"]).replace(
        'variant = "pass"', 'variant = "pass"\ncheckpoint = "model"'
    )
    text = text.replace("[validate]", '[validate]\nimages = "pictures/*.png"')
    (folder / "a.toml").write_text(text, encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(onnxproof.runs.pool, "START", START.format(helpers=HELPERS))
        assert states(export(folder / "a.toml")) == ["made"]
    return folder


def change_job(folder: Path) -> None:
    file = folder / "a.toml"
    file.write_text(file.read_text(encoding="utf-8").replace("1..2", "1..3"), encoding="utf-8")


def change_read(folder: Path) -> None:
    (folder / "data.bin").write_bytes(b"changed")


def change_checkpoint(folder: Path) -> None:
    write_checkpoint(folder / "model/net.pth", b"trained further")


def change_classes(folder: Path) -> None:
    (folder / "model/classes.json").write_text('["cat"]', encoding="utf-8")


def drop_classes(folder: Path) -> None:
    (folder / "model/classes.json").unlink()


def add_beside(folder: Path) -> None:
    (folder / "model/norm_stats.json").write_text("{}", encoding="utf-8")


def add_picture(folder: Path) -> None:
    (folder / "pictures/1.png").write_bytes(b"another")


def change_picture(folder: Path) -> None:
    (folder / "pictures/0.png").write_bytes(b"another")


def empty_model(folder: Path) -> None:
    (folder / "dist/a/model.onnx").write_bytes(b"")


def drop_verdict(folder: Path) -> None:
    (folder / "dist/a/parity.json").unlink()


def drop_record(folder: Path) -> None:
    (folder / "dist/.onnxproof/a.json").unlink()


def break_record(folder: Path) -> None:
    """As a later format might be."""
    later = {"format": 99, "asked": [], "files": {}, "versions": {}, "bundle": {}}
    (folder / "dist/.onnxproof/a.json").write_text(json.dumps(later), encoding="utf-8")


def older_package(folder: Path) -> None:
    file = folder / "dist/.onnxproof/a.json"
    document = json.loads(file.read_text(encoding="utf-8"))
    assert "numpy" in document["versions"]
    document["versions"]["numpy"] = "1.0"
    file.write_text(json.dumps(document), encoding="utf-8")


def older_code(folder: Path) -> None:
    file = folder / "dist/.onnxproof/a.json"
    document = json.loads(file.read_text(encoding="utf-8"))
    document["versions"]["onnxproof's code"] = "0" * 64
    file.write_text(json.dumps(document), encoding="utf-8")


@pytest.mark.parametrize(
    ("change", "because"),
    [
        (change_job, "batch was 1..2, and is 1..3"),
        (change_read, "data.bin changed"),
        (change_checkpoint, "net.pth changed"),
        (change_classes, "classes.json changed"),
        (add_beside, "norm_stats.json is new"),
        (add_picture, "1.png is new"),
        (change_picture, "0.png changed"),
        (drop_classes, "classes.json is gone"),
        (empty_model, "model.onnx in the bundle is not as it was written"),
        (drop_verdict, "parity.json in the bundle is not as it was written"),
        (drop_record, "nothing says what the bundle there was made from"),
        (break_record, "nothing says what the bundle there was made from"),
        (older_package, "numpy was 1.0, and is"),
        (older_code, "onnxproof's code was 000000000000, and is"),
    ],
)
def test_what_changed_is_said(
    exported: Path, tmp_path: Path, change: Callable[[Path], None], because: str
) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(exported, folder)
    (task,) = plan_export([folder / "a.toml"], out=folder / "dist")
    assert isinstance(task, Task)
    assert Changes().since(task) is None
    change(folder)
    (task,) = plan_export([folder / "a.toml"], out=folder / "dist")
    assert isinstance(task, Task)
    assert because in (Changes().since(task) or "")


def test_a_model_of_somebody_elses_in_the_bundle_is_left_alone(exported: Path, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(exported, folder)
    model = folder / "dist/a/model.onnx"
    model.write_bytes(b"quantised")
    (refused,) = plan_export([folder / "a.toml"], out=folder / "dist")
    assert isinstance(refused, Outcome)
    assert (refused.state, refused.exit_code) == ("failed", 2)
    assert refused.error is not None
    assert "holds another model.onnx than onnxproof wrote" in refused.error.message
    assert model.read_bytes() == b"quantised"


def test_what_changed_is_made_again(job: MakeJob, tmp_path: Path) -> None:
    (tmp_path / "data.bin").write_bytes(b"as it was")
    jobs = [job("a", reads=("data.bin",)), job("b")]
    export(*jobs)
    log(tmp_path)
    change_read(tmp_path)
    again = export(*jobs)
    assert states(again) == ["made", "up to date"]
    assert again["a"].reason == "../../data.bin changed"
    assert log(tmp_path) == ["a"]
    assert states(export(*jobs)) == ["up to date", "up to date"]


@pytest.mark.slow
def test_what_does_not_matter_changes_nothing(job: MakeJob, tmp_path: Path) -> None:
    (tmp_path / "data.bin").write_bytes(b"as it was")
    file = job("a", reads=("data.bin",))
    export(file, job("b"))
    file.write_text("# a comment\n" + file.read_text(encoding="utf-8"), encoding="utf-8")
    os.utime(tmp_path / "data.bin", (1, 1))
    assert states(export(file)) == ["up to date"]


@pytest.mark.slow
def test_a_bundle_without_a_verdict_is_not_one_with(job: MakeJob, tmp_path: Path) -> None:
    file = job("a")
    assert export(file, validate=False)["a"].verdict is None
    assert states(export(file, validate=False)) == ["up to date"]
    again = export(file)
    assert states(again) == ["made"]
    assert "validate was False, and is True" in again["a"].reason


def test_fail_fast_stops(job: MakeJob, tmp_path: Path) -> None:
    found = export(job("a"), job("b", "fail"), job("c"), fail_fast=True)
    assert states(found) == ["made", "made", "not run"]
    assert "b did not pass" in found["c"].reason
    assert worst(found.values()) == 1
    assert log(tmp_path) == ["a", "b"]
    assert states(export(tmp_path / "gone.toml", job("c"), fail_fast=True)) == ["failed", "not run"]
    assert log(tmp_path) == []


def test_fail_fast_ends_what_runs(job: MakeJob, tmp_path: Path) -> None:
    (tmp_path / "hold").touch()
    found = export(job("a", "wait"), job("b", "raise"), at_once=2, fail_fast=True)
    assert states(found) == ["not run", "failed"]
    assert sorted((tmp_path / "dist").glob("*")) == []


def test_two_jobs_for_one_bundle_are_refused_before_the_work(job: MakeJob, tmp_path: Path) -> None:
    one = job("a")
    other = tmp_path / "other.toml"
    other.write_text(one.read_text(encoding="utf-8"), encoding="utf-8")
    with pytest.raises(RequestError, match=r"a\.toml and .*other\.toml would both write .*dist/a"):
        export(one, job("b"), other)
    assert log(tmp_path) == []
    (tmp_path / "dist").mkdir()
    (tmp_path / "dist/b").symlink_to("a")
    with pytest.raises(RequestError, match="would both write"):
        export(one, job("b"))


@pytest.mark.parametrize(
    "content", ["mine", "{}", '{"format": 1}', None], ids=["text", "json", "other", "folder"]
)
def test_a_record_replaces_nothing_of_somebody_elses(
    job: MakeJob, tmp_path: Path, content: str | None
) -> None:
    place = tmp_path / "dist/.onnxproof/a.json"
    place.parent.mkdir(parents=True)
    if content is None:
        place.mkdir()
    else:
        (tmp_path / "mine").write_text(content, encoding="utf-8")
        place.symlink_to(tmp_path / "mine")
    with pytest.raises(RequestError, match=r"a\.json is there and is (no record|not a file)"):
        export(job("a"), job("b"))
    assert log(tmp_path) == []
    assert content is None or place.read_text(encoding="utf-8") == content


def test_a_file_where_the_records_would_lie_is_told(job: MakeJob, tmp_path: Path) -> None:
    (tmp_path / "dist").mkdir()
    (tmp_path / "dist/.onnxproof").write_text("mine", encoding="utf-8")
    with pytest.raises(RequestError, match=r"dist/\.onnxproof is there and is not a folder"):
        export(job("a"))
    assert log(tmp_path) == []


@pytest.mark.slow
def test_a_matrix_and_a_choice_of_it(job: MakeJob, tmp_path: Path) -> None:
    file = job("a", more='[matrix]\nexport.opset = [18, 20]\nmodel.variant = ["pass", "fail"]\n')
    found = export(file, only=["*-opset_18-*"])
    assert {name: one.exit_code for name, one in found.items()} == {
        "a-opset_18-variant_pass": 0,
        "a-opset_18-variant_fail": 1,
    }
    assert found["a-opset_18-variant_fail"].axes == (("export.opset", "18"), ("model.variant", "fail"))
    assert states(export(file)) == ["up to date", "up to date", "made", "made"]
    with pytest.raises(RequestError, match="no job has such a name; there are: a-opset_18"):
        export(file, only=["b*"])


@pytest.mark.slow
def test_each_job_has_its_own_baseline(job: MakeJob, tmp_path: Path) -> None:
    export(job("a"), job("b"))
    older = tmp_path / "dist"
    jobs = [job("a"), job("c")]
    found = onnxproof.export_many(jobs, out=tmp_path / "new", baseline=older)
    assert [one.state for one in found] == ["made", "made"]
    with pytest.raises(RequestError, match="is one verdict, and there are several jobs"):
        onnxproof.export_many(jobs, out=tmp_path / "new", baseline=older / "a")


def test_many_are_validated(job: MakeJob, tmp_path: Path) -> None:
    found = onnxproof.validate_many([job("a"), job("b", "fail"), tmp_path / "gone"])
    assert [one.exit_code for one in found] == [0, 1, 2]
    assert log(tmp_path) == ["a", "b"]


def test_no_more_start_than_fit_into_memory(job: MakeJob) -> None:
    def task(needed: int) -> Task:
        return Task("export", "x", Path("x"), None, (), None, {}, needed)

    pool = Pool(4, no_report)
    pool._room = 10
    assert pool._fits(task(4), [task(6)])
    assert not pool._fits(task(5), [task(6)])
    pool._room = None
    assert pool._fits(task(5), [task(6)])


@pytest.mark.slow
def test_the_threads_of_a_job_do_not_depend_on_how_many_run(job: MakeJob) -> None:
    alone, beside = (export(job("a"), job("b"), at_once=at_once, force=True) for at_once in (1, 2))
    for name in "ab":
        one, other = alone[name].verdict, beside[name].verdict
        assert one is not None
        assert other is not None
        assert one == other
        assert one.environment["threads"] == 1


COMMAND = """
import onnxproof.runs.pool
onnxproof.runs.pool.START = {start!r}
from onnxproof.cli import main
main()
"""


def command(*arguments: str | Path) -> "subprocess.Popen[str]":
    code = COMMAND.format(start=START.format(helpers=HELPERS))
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # A process in the background inherits SIGINT as ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def wait_for(file: Path) -> str:
    until = time.monotonic() + 60
    while time.monotonic() < until:
        if file.exists() and (text := file.read_text(encoding="utf-8")):
            return text
        time.sleep(0.02)
    raise AssertionError(f"{file} is not there")


def is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.first_case
@pytest.mark.parametrize(
    ("sent", "whole_group", "code"),
    [
        pytest.param(signal.SIGTERM, False, 143, id="SIGTERM"),
        pytest.param(signal.SIGINT, True, 130, id="Ctrl-C", marks=pytest.mark.slow),
        pytest.param(signal.SIGKILL, False, -9, id="SIGKILL", marks=pytest.mark.slow),
    ],
)
def test_an_interrupted_run_goes_on_where_it_stopped(
    job: MakeJob, tmp_path: Path, sent: signal.Signals, whole_group: bool, code: int
) -> None:
    (tmp_path / "hold").touch()
    jobs = [job("a"), job("b", "wait"), job("c")]
    arguments: list[str | Path] = ["export", *jobs, "--out", tmp_path / "dist"]
    running = command(*arguments)
    child = int(wait_for(tmp_path / "b.pid"))
    (os.killpg if whole_group else os.kill)(running.pid, sent)
    _, errors = running.communicate(timeout=60)
    assert running.returncode == code, errors
    if code > 0:
        assert "stopped: 1 of 3 jobs are done, and the same command goes on" in errors
        assert sorted(path.name for path in (tmp_path / "dist").iterdir()) == [".onnxproof", "a"]
    until = time.monotonic() + 30
    while is_running(child) and time.monotonic() < until:
        time.sleep(0.02)
    assert not is_running(child)
    assert log(tmp_path) == ["a", "b"]
    (tmp_path / "hold").unlink()
    ran = command(*arguments, "--json")
    out, errors = ran.communicate(timeout=60)
    assert ran.returncode == 0, errors
    told = json.loads(out)
    assert mistakes("many", told) == []
    record = json.loads((tmp_path / "dist/.onnxproof/b.json").read_text(encoding="utf-8"))
    assert mistakes("made-from", record) == []
    assert [(one["name"], one["done"]) for one in told["jobs"]] == [
        ("a", "up to date"),
        ("b", "exported"),
        ("c", "exported"),
    ]
    assert log(tmp_path) == ["b", "c"]
    assert sorted(path.name for path in (tmp_path / "dist").iterdir()) == [".onnxproof", "a", "b", "c"]
