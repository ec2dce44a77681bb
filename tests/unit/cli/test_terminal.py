"""What a file or a pipe is told of long work, and streams that end in no traceback."""

import errno
import io
import json
import os
import sys
import threading
import warnings
from pathlib import Path

import click
import pytest

from onnxproof.cli import _ending
from onnxproof.cli._lines import StageLines, warnings_in_lines
from onnxproof.cli._streams import patient_streams, write_whole
from onnxproof.errors import JobError, RequestError
from onnxproof.system.endings import ending_of


def test_a_stage_is_a_line_and_a_long_one_tells_counts_every_ten_seconds() -> None:
    stream, now = io.StringIO(), [0.0]
    report = StageLines(stream, clock=lambda: now[0])
    for second, (stage, done, total) in {
        0: ("capture", 0, 0),
        700: ("compare 9 cases", 0, 9),
        701: ("compare 9 cases", 1, 9),
        710: ("compare 9 cases", 2, 9),
        719: ("compare 9 cases", 3, 9),
        725: ("compare 9 cases", 4, 9),
        726: ("compare 9 cases", 9, 9),
        727: ("capture", 0, 0),
    }.items():
        now[0] = second
        report(stage, done, total)
    assert stream.getvalue().splitlines() == [
        "capture",
        "compare 9 cases",
        "compare 9 cases: 2 of 9 after 10 s, about 35 s left",
        "compare 9 cases: 4 of 9 after 25 s, about 31 s left",
        "capture",
    ]


def test_a_share_of_the_work_is_told_in_percent() -> None:
    stream, now = io.StringIO(), [0.0]
    report = StageLines(stream, clock=lambda: now[0])
    for second, done in {0: 0, 20: 0, 30: 40}.items():
        now[0] = second
        report("compare 9 cases", done, 100)
    assert stream.getvalue().splitlines() == [
        "compare 9 cases",
        "compare 9 cases: 0 % after 20 s",
        "compare 9 cases: 40 % after 30 s, about 45 s left",
    ]


def stream_of(monkeypatch: pytest.MonkeyPatch, encoding: str) -> io.BytesIO:
    """Standard output with that encoding; what is written there."""
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding=encoding, write_through=True))
    return written


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8", "cp1252"])
def test_text_that_the_encoding_lacks_is_escaped_as_json_escapes_it(
    monkeypatch: pytest.MonkeyPatch, encoding: str
) -> None:
    written = stream_of(monkeypatch, encoding)
    said = {"classes": ["café", "猫", "😀", "\udcff"]}
    with patient_streams():
        click.echo(json.dumps(said, ensure_ascii=False))
    assert json.loads(written.getvalue().decode(encoding)) == said


class Failing(io.StringIO):
    """A stream whose writing fails."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number
        self.tried = 0

    def write(self, text: str) -> int:
        self.tried += 1
        raise OSError(self.number, os.strerror(self.number))


def test_a_reader_that_went_away_is_left_to_what_ends_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", Failing(errno.EPIPE))
    with patient_streams(), pytest.raises(BrokenPipeError):
        click.echo("one")


def test_a_full_disk_is_told_in_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", Failing(errno.ENOSPC))
    with (
        patient_streams(),
        pytest.raises(RequestError, match=r"^standard output cannot be written \(No space"),
    ):
        click.echo("one")


def test_standard_error_that_cannot_be_written_stops_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", Failing(errno.ENOSPC))
    with patient_streams():
        click.echo("one", err=True)


def test_no_stream_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """What there is to print would be lost without a word."""
    monkeypatch.setattr(sys, "stdout", None)
    with patient_streams():
        with pytest.raises(RequestError, match="standard output is closed, and there is something to print"):
            click.echo("one")
        assert not sys.stdout.isatty()
        with pytest.raises(io.UnsupportedOperation):  # nothing was opened, which somebody would have to close
            sys.stdout.fileno()
    assert sys.stdout is None


def test_lines_are_written_at_once_and_parts_when_they_are_flushed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "printed"
    with file.open("w", encoding="utf-8") as stream:
        monkeypatch.setattr(sys, "stdout", stream)
        with patient_streams():
            sys.stdout.write("one")
            assert file.read_text(encoding="utf-8") == ""
            sys.stdout.write(" two\nthree")
            assert file.read_text(encoding="utf-8") == "one two\nthree"
            sys.stdout.write(" four")
            sys.stdout.flush()
            assert file.read_text(encoding="utf-8") == "one two\nthree four"
            sys.stdout.write("\u00e9")
        assert file.read_text(encoding="utf-8") == "one two\nthree four\u00e9"


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no pipes that do not block")
def test_a_pipe_that_is_full_is_waited_for() -> None:
    reads, writes = os.pipe()
    os.set_blocking(writes, False)
    content = os.urandom(2**18)

    def write() -> None:
        write_whole(writes, content)
        os.close(writes)

    writer = threading.Thread(target=write)
    writer.start()
    with os.fdopen(reads, "rb") as stream:
        assert stream.read() == content
    writer.join()


def test_the_lines_of_an_error_are_ours_and_what_came_from_a_file_is_escaped() -> None:
    told = ending_of(JobError("job.toml: the name is 'a\n::error::b'", "job.toml: the task is 'c\rd'"))
    assert told.text == "onnxproof: job.toml: the name is 'a\\n::error::b'\njob.toml: the task is 'c\\rd'"
    assert told.text_of("e\nf").startswith("onnxproof: e\\nf: job.toml: the name")
    assert told.message.count("\n") == 2


@pytest.mark.parametrize(
    ("error", "lines"),
    [
        pytest.param(click.BadParameter("the file 'a\n::error::b' is none"), 1, id="of-a-value"),
        pytest.param(click.UsageError("no such option: --a\n::error::b"), 1, id="of-the-command"),
        pytest.param(
            click.MissingParameter(
                param=click.Argument(["target"], type=click.Choice(["one", "two"])), param_type="argument"
            ),
            3,
            id="of-a-choice",
        ),
    ],
)
def test_the_lines_of_a_usage_error_are_clicks(error: click.ClickException, lines: int) -> None:
    said = _ending.ending_of(error).text.splitlines()
    assert len(said) == lines
    assert not any(line.startswith("::") for line in said)


def test_a_warning_and_a_stage_are_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with warnings_in_lines():
        told = warnings.formatwarning("a\n::error::b", RuntimeWarning, "c.py", 1)
    assert told == "c.py:1: RuntimeWarning: a\\n::error::b\n"
    StageLines(sys.stderr)("run c\n::error::d", 0, 0)
    assert capsys.readouterr().err == "run c\\n::error::d\n"
