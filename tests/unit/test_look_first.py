"""A wrong request is refused before PyTorch is imported, in the words in which it is refused afterwards."""

import contextlib
import json
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from onnxproof.system.extras import is_there

pytestmark = pytest.mark.skipif(
    not is_there("torch"), reason="without torch, what exports says at once which extra brings it"
)

DRIVER = Path(__file__).parents[1] / "helpers" / "many_runs.py"
Run = Callable[[Path, str], dict[str, Any]]

JOB = """
name = "one"
[model]
family = "yolox"
variant = "nano"
checkpoint = "{checkpoint}"
"""

NET = """
name = "net"
[model]
family = "module"
builder = "nets.py:make"
[inputs]
x = "float32[batch, side]"
[dims]
batch = "1..8"
sied = "1..8"
"""


class Commands:
    """Runs commands in a process that has not imported PyTorch; after one that does, in another process."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None

    def __call__(self, folder: Path, arguments: str) -> dict[str, Any]:
        """What a command in this folder came to, as helpers/many_runs.py tells it."""
        if self._process is None:
            self._process = subprocess.Popen(
                [sys.executable, str(DRIVER)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            )
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        request = json.dumps({"arguments": arguments.split(), "folder": str(folder)})
        process.stdin.write(f"{request}\n")
        process.stdin.flush()
        line = process.stdout.readline()
        ran: dict[str, Any] = json.loads(line) if line else {}
        if ran.get("torch") is not False:
            self.close()
        assert ran, f"{arguments} ended the process"
        return ran

    def close(self) -> None:
        if self._process is not None:
            self._process.communicate()
            self._process = None


@pytest.fixture(scope="module")
def run() -> Iterator[Run]:
    with contextlib.closing(Commands()) as commands:
        yield commands


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder with what people name by mistake."""
    (tmp_path / "junk.pt").write_text("these are notes, and no checkpoint")
    (tmp_path / "page.pt").write_text("<!DOCTYPE html><title>log in</title>")
    (tmp_path / "empty.pt").write_bytes(b"")
    with zipfile.ZipFile(tmp_path / "begins.pt", "w") as archive:
        archive.writestr("begins/data.pkl", b"as no pickle does")
    (tmp_path / "notes.txt").write_text("these are notes")
    (tmp_path / "junk.onnx").write_text("these are notes, and no model")
    (tmp_path / "job.toml").write_text(JOB.format(checkpoint="begins.pt"))
    (tmp_path / "net.toml").write_text(NET)
    (tmp_path / "used.toml").write_text(NET.replace(", side", ", 4").replace("sied", "bacth"))
    (tmp_path / "broken.toml").write_text(JOB.format(checkpoint="junk.pt"))
    (tmp_path / "begins.toml").write_text("somebody's own file")
    (tmp_path / "mine.toml").write_text("somebody's own job")
    (tmp_path / "one.onnx").write_bytes(b"\x3a\x00")  # an empty graph
    for name in ("one", "begins"):
        (tmp_path / "dist" / name).mkdir(parents=True)
        (tmp_path / "dist" / name / "thesis.txt").write_text("years of work")
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        pytest.param("export junk.pt", "cannot be read (it is no PyTorch file)", id="export-junk"),
        pytest.param("export page.pt", "it is a web page", id="export-a-page"),
        pytest.param("export empty.pt", "it ends too early", id="export-nothing"),
        pytest.param("export gone.pt", "gone.pt does not exist", id="export-what-is-not-there"),
        pytest.param("export notes.txt", "notes.txt", id="export-another-kind"),
        pytest.param("export broken.toml", "it is no PyTorch file", id="export-a-job-of-junk"),
        pytest.param("export job.toml", "is no bundle that onnxproof wrote", id="export-over-a-folder"),
        pytest.param("export begins.pt", "is no bundle that onnxproof wrote", id="export-over-its-namesake"),
        pytest.param("init junk.pt", "it is no PyTorch file", id="init-junk"),
        pytest.param("init begins.pt --out begins.toml", "is there already", id="init-over-a-file"),
        pytest.param("init begins.pt --set name=mine", "mine.toml is there already", id="init-over-a-job"),
        pytest.param("init begins.pt --out job.toml", "onnxproof export job.toml", id="init-over-a-real-job"),
        pytest.param("init begins.pt --out notes.txt", "left as it is: name another", id="init-over-notes"),
        pytest.param("init begins.pt --out dist", "dist is a folder, and a job", id="init-over-a-folder"),
        pytest.param("init begins.pt --set nonsense", "expected section.key=value", id="init-nonsense"),
        pytest.param("init begins.pt --set folder=x", "--set folder=…: no key of a job", id="init-a-folder"),
        pytest.param(
            "export begins.pt --set model=yolo11n", "such as model.variant=NAME", id="export-no-section"
        ),
        pytest.param(
            "check one.onnx --against begins.pt --set folder=x",
            "whose paths start at its own folder",
            id="check-a-folder",
        ),
        pytest.param("init begins.pt --set foo.bar=1", "unknown key foo = {bar = 1}", id="init-no-section"),
        pytest.param(
            "export begins.pt --set name=other --set export.opsett=18",
            "the job drafted for begins.pt: unknown key export.opsett = 18; allowed here: ",
            id="export-no-key",
        ),
        pytest.param(
            "check one.onnx --against begins.pt --set validate.effort=much",
            'the job drafted for begins.pt: validate.effort = "much"',
            id="check-no-value",
        ),
        pytest.param("check junk.onnx --against begins.pt", "cannot be loaded", id="check-a-junk-file"),
        pytest.param("check gone.onnx --against begins.pt", "does not exist", id="check-no-file"),
        pytest.param("check junk.onnx --against job.toml", "job.toml is a job", id="check-against-a-job"),
        pytest.param(
            "check one.onnx --against gone.pt", "gone.pt does not exist", id="check-against-what-is-not-there"
        ),
        pytest.param("check one.onnx --against begins.pt --set x", "--set x: expected", id="check-nonsense"),
        pytest.param("validate gone.toml", "gone.toml", id="validate-what-is-not-there"),
        pytest.param("validate job.toml", "dist/one/model.onnx does not exist", id="validate-no-file"),
        pytest.param("validate broken.toml --onnx one.onnx", "no PyTorch file", id="validate-a-job-of-junk"),
        pytest.param(
            "validate job.toml --set model.family=yolocks", 'did you mean "yolox"?', id="validate-no-family"
        ),
        pytest.param("export job.toml --set model.family=yolocks", '"yolox"?', id="export-no-family"),
        pytest.param(
            "export job.toml --set dims.heigth=64",
            "dims.heigth: the family yolox has batch",
            id="export-no-dim",
        ),
        pytest.param(
            "export net.toml",
            "the axis side of input x has no size: add side",
            id="export-an-axis-without-a-size",
        ),
        pytest.param(
            "export used.toml",
            "dims.bacth: no input has the axis bacth; their axes are batch; did you mean",
            id="export-a-dim-of-no-input",
        ),
        pytest.param("bisect job.toml --onnx gone.onnx", "gone.onnx does not exist", id="bisect-no-file"),
        pytest.param("validate job.toml --onnx junk.onnx", "cannot be loaded", id="validate-a-junk-file"),
    ],
)
def test_a_wrong_request_is_refused_without_torch(run: Run, place: Path, arguments: str, says: str) -> None:
    ran = run(place, arguments)
    assert ran["code"] == 2, ran
    assert says in ran["err"]
    assert ran["err"].count("\n") == 1, ran["err"]
    assert (ran["out"], ran["torch"]) == ("", False)
    assert (place / "dist" / "one" / "thesis.txt").read_text() == "years of work"
