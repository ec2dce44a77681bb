"""A file is written whole or not at all, nothing is left behind, and no input is written over."""

import errno
import os
import stat
import subprocess
import sys
import threading
import types
from pathlib import Path

import numpy as np
import pytest

from onnxproof.errors import RequestError
from onnxproof.runtime import read_arrays, write_arrays
from onnxproof.system import claims
from onnxproof.system.files import (
    check_file,
    check_folder,
    lies_in,
    refuse_inputs,
    replacing,
    staging_folder,
    write_bytes,
    write_json,
    write_text,
)
from onnxproof.system.folders import made_folder
from onnxproof.system.scratch import nameless_file, scratch_folder

LIMIT = 100_000
"""Bytes that a process of ``with_a_full_disk`` can write into one file."""


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def python(code: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    given = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(given, capture_output=True, text=True, check=False, timeout=60)


def with_a_full_disk(code: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    # Nor does what Python compiles of the modules fit: it would leave halves.
    head = "import resource, sys\nsys.dont_write_bytecode = True\n"
    head += f"resource.setrlimit(resource.RLIMIT_FSIZE, ({LIMIT}, {LIMIT}))\n"
    return python(head + code, *arguments)


def killed_while(code: str, *arguments: str | Path) -> None:
    """Run code that waits for standard input, and kill it (SIGKILL) where it does."""
    tail = "print('here', flush=True); sys.stdin.read()\n"
    head = "import sys\nfrom pathlib import Path\n" + "".join(
        f"from onnxproof.system.{room} import *\n" for room in ("files", "scratch")
    )
    lines = head + code.format(wait=tail)
    given = [sys.executable, "-c", lines, *map(str, arguments)]
    with subprocess.Popen(given, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "here\n"
        process.kill()


WRITE = "with replacing(Path(sys.argv[1])) as stream:\n    stream.write(b'half'); stream.flush(); {wait}"
STAGE = """\
with staging_folder(Path(sys.argv[1])) as folder:
    (folder / 'model.onnx').write_bytes(b'half'); {wait}"""


def test_what_is_written_is_there(tmp_path: Path) -> None:
    write_bytes(tmp_path / "a", b"\0\xff")
    write_text(tmp_path / "b", "é")
    write_json(tmp_path / "c", {"é": [1]})
    assert (tmp_path / "a").read_bytes() == b"\0\xff"
    assert (tmp_path / "b").read_bytes() == "é".encode()
    assert (tmp_path / "c").read_text(encoding="utf-8") == '{\n  "é": [\n    1\n  ]\n}\n'
    assert names(tmp_path) == ["a", "b", "c"]


@pytest.mark.parametrize(
    "raised", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt(), ValueError("bad")]
)
@pytest.mark.parametrize("older", [b"old", None])
def test_an_error_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, raised: BaseException, older: bytes | None
) -> None:
    file = tmp_path / "out.json"
    if older is not None:
        file.write_bytes(older)
    with pytest.raises(type(raised)), replacing(file) as stream:
        stream.write(b"half")
        raise raised
    assert [path.read_bytes() for path in tmp_path.iterdir()] == ([] if older is None else [older])


def test_text_that_cannot_be_encoded_leaves_the_old_file(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"name": "good"})
    with pytest.raises(UnicodeEncodeError):
        write_json(tmp_path / "a.json", {"name": "\ud800"})
    assert "good" in (tmp_path / "a.json").read_text(encoding="utf-8")


def test_arrays_on_a_full_disk_leave_the_older_ones(tmp_path: Path) -> None:
    file = tmp_path / "out.npz"
    write_arrays(file, {"x": np.arange(3)})
    code = (
        "import numpy as np\nfrom onnxproof.runtime import write_arrays\n"
        "write_arrays(sys.argv[1], {'x': np.random.default_rng(0).normal(size=100_000)})"
    )
    ran = with_a_full_disk(code, file)
    assert f"RequestError: {file} cannot be written (File too large): name another file" in ran.stderr
    assert read_arrays(file)["x"].tolist() == [0, 1, 2]
    assert names(tmp_path) == ["out.npz"]


def test_a_reader_sees_the_old_file_until_the_new_one_is_whole(tmp_path: Path) -> None:
    file = tmp_path / "out"
    file.write_bytes(b"old")
    with replacing(file) as stream:
        stream.write(b"new")
        stream.flush()
        assert file.read_bytes() == b"old"
    assert file.read_bytes() == b"new"


def test_a_file_keeps_its_mode_and_a_new_one_follows_the_umask(tmp_path: Path) -> None:
    (tmp_path / "plain").write_bytes(b"")
    write_bytes(tmp_path / "new", b"")
    assert (tmp_path / "new").stat().st_mode == (tmp_path / "plain").stat().st_mode
    (tmp_path / "new").chmod(0o600)
    write_bytes(tmp_path / "new", b"again")
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o600


def test_a_link_stays_and_its_file_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "far").mkdir()
    (tmp_path / "far" / "file").write_bytes(b"old")
    (tmp_path / "link").symlink_to(tmp_path / "far" / "file")
    write_bytes(tmp_path / "link", b"new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "far" / "file").read_bytes() == b"new"
    assert names(tmp_path / "far") == ["file"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes to what is write-protected")
def test_a_write_protected_file_is_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"precious")
    file.chmod(0o444)
    with pytest.raises(PermissionError):
        write_bytes(file, b"new")
    assert file.read_bytes() == b"precious"


def test_a_folder_in_the_files_place(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError):
        write_bytes(tmp_path, b"")


SCRATCH = """\
from pathlib import Path
from onnxproof.system.files import write_bytes
from onnxproof.system.scratch import scratch_folder
with scratch_folder() as folder:
    write_bytes(folder / 'a', bytes(200_000))
"""


def test_a_full_folder_for_temporary_files_is_told(tmp_path: Path) -> None:
    code = f"import tempfile; tempfile.tempdir = {str(tmp_path)!r}\n"
    ran = with_a_full_disk(code + SCRATCH)
    assert "RequestError: the folder for temporary files " in ran.stderr, ran.stderr
    assert f"{tmp_path} cannot be written (File too large)" in ran.stderr
    assert "environment variable TMPDIR" in ran.stderr
    assert names(tmp_path) == []


def test_no_folder_for_temporary_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "gone"))
    for make in (scratch_folder().__enter__, nameless_file):
        with pytest.raises(RequestError, match=r"gone cannot be written \(No such file .* TMPDIR"):
            make()


class _LibraryError(Exception):
    """What a library raises of its own."""


@pytest.mark.parametrize("free", [0, 10**9], ids=["full", "with-room"])
def test_a_librarys_own_error_is_told_by_what_is_left_of_the_disk(
    free: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda path: types.SimpleNamespace(free=free))
    expected = pytest.raises(_LibraryError) if free else pytest.raises(RequestError, match="No space left")
    with expected, scratch_folder():
        raise _LibraryError("cannot write")
    for passes in (RequestError("the job is wrong"), OSError(errno.ENOSPC, "no room", "/elsewhere")):
        with pytest.raises(type(passes)) as raised, scratch_folder():
            raise passes
        assert raised.value is passes


def test_a_device_and_a_pipe_are_written_to(tmp_path: Path) -> None:
    write_bytes(Path(os.devnull), b"gone")
    assert stat.S_ISCHR(Path(os.devnull).stat().st_mode)
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    got: list[bytes] = []
    reader = threading.Thread(target=lambda: got.append(pipe.read_bytes()))
    reader.start()
    write_bytes(pipe, b"through")
    reader.join()
    assert got == [b"through"]
    assert stat.S_ISFIFO(pipe.stat().st_mode)


def test_arrays_are_written_to_a_device_and_a_pipe(tmp_path: Path) -> None:
    """Although a ZIP archive's writer goes back in its file."""
    write_arrays(os.devnull, {"x": np.arange(3)})
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    got: list[bytes] = []
    reader = threading.Thread(target=lambda: got.append(pipe.read_bytes()))
    reader.start()
    write_arrays(pipe, {"x": np.arange(3)})
    reader.join()
    (tmp_path / "read.npz").write_bytes(got[0])
    assert read_arrays(tmp_path / "read.npz")["x"].tolist() == [0, 1, 2]


def test_a_name_of_the_greatest_length(tmp_path: Path) -> None:
    write_bytes(tmp_path / ("x" * 255), b"")
    with staging_folder(tmp_path / ("ü" * 127)) as folder:
        assert folder.is_dir()
    assert names(tmp_path) == ["x" * 255]


def test_what_a_killed_process_left_is_swept_by_the_next_to_the_same_target(tmp_path: Path) -> None:
    file, target, other = tmp_path / "out.npz", tmp_path / "small", tmp_path / "other"
    killed_while(WRITE, file)
    killed_while(STAGE, target)
    killed_while(STAGE, other)
    assert len(names(tmp_path)) == 5
    write_bytes(file, b"whole")
    with staging_folder(target) as folder:
        assert names(folder) == []
    assert names(tmp_path) == [".other.onnxproof-0", ".other.onnxproof-0.new", "out.npz"]


def test_what_a_live_process_holds_is_not_swept(tmp_path: Path) -> None:
    target = tmp_path / "small"
    with staging_folder(target) as first:
        (first / "mine").write_bytes(b"")
        killed_while(STAGE, target)
        with staging_folder(target) as second:
            assert second != first
            assert names(first) == ["mine"]
        assert names(first) == ["mine"]
        assert len(names(tmp_path)) == 2
    assert names(tmp_path) == []


def test_two_writers_of_one_file_at_once(tmp_path: Path) -> None:
    file = tmp_path / "out"
    with replacing(file) as first, replacing(file) as second:
        first.write(b"first")
        second.write(b"second")
    assert file.read_bytes() == b"first"
    assert names(tmp_path) == ["out"]


def test_many_processes_at_one_target_lose_nothing(tmp_path: Path) -> None:
    """Each takes what no lock protects for a leftover, so a gap between making and locking would show."""
    file, target = tmp_path / "out", tmp_path / "small"
    code = """\
import sys
from pathlib import Path
from onnxproof.system.files import staging_folder, write_bytes
for turn in range(60):
    write_bytes(Path(sys.argv[1]), sys.argv[3].encode() * 1000)
    with staging_folder(Path(sys.argv[2])) as folder:
        (folder / "x").write_text(sys.argv[3])
        assert (folder / "x").read_text() == sys.argv[3]
"""
    given = [sys.executable, "-c", code, str(file), str(target)]
    running = [subprocess.Popen([*given, letter], stderr=subprocess.PIPE) for letter in "abcd"]
    assert [process.communicate(timeout=60)[1] for process in running] == [b""] * 4
    assert file.read_bytes() in [letter * 1000 for letter in (b"a", b"b", b"c", b"d")]
    assert names(tmp_path) == ["out"]


def test_without_locks_nothing_is_swept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    killed_while(STAGE, tmp_path / "small")
    before = names(tmp_path)
    monkeypatch.setattr(claims, "_lock", lambda descriptor: None)
    for _ in range(2 * claims.SLOTS):
        with staging_folder(tmp_path / "small"):
            pass
    assert names(tmp_path) == before


@pytest.mark.parametrize("plant", ["folder", "link", "file"])
def test_what_others_put_at_a_hidden_name_is_left_alone(tmp_path: Path, plant: str) -> None:
    kept = tmp_path / "kept"
    kept.mkdir()
    (kept / "file").write_bytes(b"precious")
    name = tmp_path / ".out.onnxproof-0"
    if plant == "folder":
        name.mkdir()
    elif plant == "link":
        name.symlink_to(kept / "file")
    else:
        name.with_name(f"{name.name}.new").symlink_to(kept)
        name.write_bytes(b"")
    write_bytes(tmp_path / "out", b"new")
    with staging_folder(tmp_path / "out") as folder:
        (folder / "x").write_bytes(b"")
    assert (kept / "file").read_bytes() == b"precious"
    assert (tmp_path / "out").read_bytes() == b"new"


def test_parents_that_were_made_for_nothing_go_again(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no"), staging_folder(tmp_path / "a" / "b" / "small"):
        raise ValueError("no")
    assert names(tmp_path) == []
    with staging_folder(tmp_path / "a" / "b" / "small") as folder:
        folder.rename(tmp_path / "a" / "b" / "small")
    assert names(tmp_path / "a" / "b") == ["small"]


def test_folders_that_hold_nothing_in_the_end_go_again(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    with pytest.raises(OSError, match="full"), made_folder(tmp_path / "mine" / "a" / "b"):
        raise OSError("the disk is full")
    assert list(tmp_path.iterdir()) == [tmp_path / "mine"]
    with pytest.raises(OSError, match="full"), made_folder(tmp_path / "mine"):
        raise OSError("the disk is full")
    assert (tmp_path / "mine").is_dir()
    with pytest.raises(OSError, match="full"), made_folder(tmp_path / "c" / "d"):
        (tmp_path / "c" / "half.png").touch()
        raise OSError("the disk is full")
    assert list((tmp_path / "c").iterdir()) == [tmp_path / "c" / "half.png"]


def test_scratch_is_swept_and_private(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    killed_while("with scratch_folder() as folder:\n    (folder / 'x').write_bytes(b''); {wait}")
    monkeypatch.setattr("tempfile.tempdir", None)
    assert len(names(tmp_path)) == 2
    with scratch_folder() as folder:
        assert folder.parent == tmp_path
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert names(folder) == []
    assert names(tmp_path) == []


def test_an_input_is_known_by_every_spelling(tmp_path: Path) -> None:
    picture = tmp_path / "a.png"
    picture.write_bytes(b"")
    (tmp_path / "sub").mkdir()
    (tmp_path / "linked").symlink_to(tmp_path)
    os.link(picture, tmp_path / "hard")
    spellings = ["a.png", "sub/../a.png", "linked/a.png", "hard"]
    for spelling in spellings:
        with pytest.raises(RequestError, match=r"would be overwritten: name another place with --draw"):
            refuse_inputs([tmp_path / spelling], [tmp_path / "none", picture], "--draw")
    refuse_inputs([tmp_path / "b.png"], [picture, tmp_path / "b.png"])


def test_what_lies_in_a_folder(tmp_path: Path) -> None:
    (tmp_path / "in" / "deep").mkdir(parents=True)
    (tmp_path / "linked").symlink_to(tmp_path / "in")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "link").symlink_to(tmp_path / "in" / "deep")
    for path in ("in", "in/deep", "in/deep/none", "linked/deep", "out/link/x", "out/../in"):
        assert lies_in(tmp_path / path, tmp_path / "linked"), path
    for path in ("out", "in/..", "in/../out", "innards"):
        assert not lies_in(tmp_path / path, tmp_path / "in"), path


def test_a_folder_is_tried_without_being_made(tmp_path: Path) -> None:
    check_folder(tmp_path / "a" / "b")
    assert names(tmp_path) == []
    (tmp_path / "file").write_bytes(b"")
    for below in ("file", "file/a", "file/a/b"):
        with pytest.raises(RequestError, match=r"cannot be written .* name another folder with --out"):
            check_folder(tmp_path / below)


def test_a_dash_is_no_file_to_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RequestError, match="--sarif - is not standard output here: name a file"):
        check_file(Path("-"), "--sarif")
    assert not list(tmp_path.iterdir())
