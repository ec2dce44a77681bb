"""A signal comes between any two steps of a writer, in its removals, too: nothing is left."""

import contextlib
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from onnxproof.system import cleaning, files
from onnxproof.system.files import passing_file, replacing, staging_folder, swap, write_new
from onnxproof.system.folders import made_folder
from onnxproof.system.own_folder import Kind, staged_folder
from onnxproof.system.scratch import scratch_folder
from onnxproof.system.signals import Stopped, stopping_raises

SYSTEM = str(Path(files.__file__).parent)
CONTEXTS = contextlib.__file__

ANY = Kind("test", "folders", lambda _: None)

Write = Callable[[Path], None]


@pytest.fixture(autouse=True)
def _interrupted() -> Iterator[None]:
    """Ctrl-C raises, also where the shell started the tests in the background and so has it ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def _writes_a_file(place: Path) -> None:
    with replacing(place / "target") as stream:
        stream.write(b"new")


def _writes_a_new_file(place: Path) -> None:
    write_new(place / "fresh", "new")


def _writes_a_folder(place: Path) -> None:
    with staged_folder(place / "folder", ANY) as staged:
        (staged / "inside").mkdir()
        (staged / "inside" / "file").write_bytes(b"new")
        (staged / "other").write_bytes(b"new")


def _stages_below_folders_of_its_own(place: Path) -> None:
    with staging_folder(place / "a" / "b" / "target") as staged:
        (staged / "file").write_bytes(b"new")


def _makes_folders(place: Path) -> None:
    with made_folder(place / "a" / "b"):
        pass


def _passes_a_file(place: Path) -> None:
    with passing_file(place / "passing", b"new"):
        pass


def _works_in_the_scratch_folder(_: Path) -> None:
    with scratch_folder() as folder:
        (folder / "file").write_bytes(b"new")


WRITERS = (
    *(_writes_a_file, _writes_a_new_file, _makes_folders, _passes_a_file, _works_in_the_scratch_folder),
    pytest.param(_writes_a_folder, marks=pytest.mark.slow),
    pytest.param(_stages_below_folders_of_its_own, marks=pytest.mark.slow),
)

OLD = {"target": b"old", "folder/file": b"old"}


def place_with_old_content(folder: Path) -> Path:
    for name, content in OLD.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def found(folder: Path) -> dict[str, bytes | None]:
    """All that is below a folder: the content of files, and None for empty folders."""
    below = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*")}
    return {
        name: path.read_bytes() if path.is_file() else None
        for name, path in below.items()
        if path.is_file() or not any(path.iterdir())
    }


class SignalAt:
    """Sends this process a signal at one of the steps (lines) that a block takes in ``system``.

    ``steps`` counts them, so that a later block can be stopped at each.
    """

    def __init__(self, at: int | None, number: int = signal.SIGINT) -> None:
        self.at, self.number, self.steps = at, number, 0

    def __call__(self, frame: FrameType, event: str, _: Any) -> Any:
        if not frame.f_code.co_filename.startswith((SYSTEM, CONTEXTS)):
            return None
        if event == "line":
            if self.steps == self.at:
                self.steps += 1
                signal.raise_signal(self.number)
            self.steps += 1
        return self

    @contextlib.contextmanager
    def tracing(self) -> Iterator[None]:
        before = sys.gettrace()
        sys.settrace(self)
        try:
            yield
        finally:
            sys.settrace(before)


def steps_of(write: Write, folder: Path) -> int:
    counted = SignalAt(None)
    with counted.tracing():
        write(place_with_old_content(folder))
    return counted.steps


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # a file that is open then
@pytest.mark.parametrize("write", WRITERS, ids=lambda write: write.__name__.strip("_"))
def test_a_signal_at_any_step_leaves_the_old_or_the_new_and_nothing_else(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    monkeypatch.setattr(os, "fsync", lambda _: None)  # the disk may take its time
    steps = steps_of(write, tmp_path / "whole")
    new = found(tmp_path / "whole")
    assert steps > 10
    place = place_with_old_content(tmp_path / "place")
    for at in range(steps):
        with contextlib.suppress(KeyboardInterrupt), SignalAt(at).tracing():
            write(place)
        cleaning.clean_up_left()  # as at the end of the process
        assert not cleaning._begun
        assert not [*(tmp_path / "tmp").iterdir()], at
        if (left := found(place)) != OLD:
            assert left == new, at
            shutil.rmtree(place)
            place_with_old_content(place)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["ctrl-c", "sigterm"])
@pytest.mark.parametrize("count", [1, 3])
def test_a_signal_inside_of_the_removal_waits_until_it_is_done(
    number: int, count: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    remove = shutil.rmtree

    def removed(*args: Any, **kwargs: Any) -> None:
        for _ in range(count):
            signal.raise_signal(number)
        remove(*args, **kwargs)

    monkeypatch.setattr(shutil, "rmtree", removed)
    monkeypatch.setattr("onnxproof.system.signals.SAME_REQUEST_S", 0.0)
    with (
        pytest.raises((KeyboardInterrupt, Stopped)),
        stopping_raises(),
        staging_folder(tmp_path / "a" / "target") as staged,
    ):
        (staged / "file").write_bytes(b"half")
    assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize("at", [0, 1, 2])
def test_a_signal_between_the_renames_of_a_swap_waits(
    at: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the system does not exchange two names in one step."""
    place = place_with_old_content(tmp_path)
    (place / "staged").mkdir()
    (place / "staged" / "file").write_bytes(b"new")
    rename, renamed = os.rename, []

    def stopped(*args: Any, **kwargs: Any) -> None:
        renamed.append(args)
        if len(renamed) == at + 1:
            signal.raise_signal(signal.SIGINT)
        rename(*args, **kwargs)

    monkeypatch.setattr(files, "exchange", lambda *_: False)
    monkeypatch.setattr(os, "rename", stopped)
    with pytest.raises(KeyboardInterrupt):
        swap(place / "staged", place / "folder")
    assert found(place) == {"target": b"old", "folder/file": b"new", "staged/file": b"old"}


def test_what_a_forked_process_inherits_is_not_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with staging_folder(tmp_path / "target") as staged:
        with monkeypatch.context() as child:
            child.setattr(os, "getpid", lambda: -1)
            cleaning.clean_up_left()
        assert staged.is_dir()
        cleaning.clean_up_left()
        assert not staged.exists()
