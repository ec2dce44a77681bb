"""Work in a forked process: its result, its errors, its end."""

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn

import pytest

from onnxproof.errors import ExportError, JobError
from onnxproof.export.child import CAN_FORK, Apart, ChildError, RaisedThereError, run_apart
from onnxproof.system.scratch import scratch_folder

pytestmark = pytest.mark.skipif(not CAN_FORK, reason="this system cannot fork")


def test_the_result_comes_back() -> None:
    here = os.getpid()
    there, large = run_apart(lambda: (os.getpid(), b"x" * 5_000_000), 60)
    assert there != here
    assert large == b"x" * 5_000_000


def test_work_in_the_meantime_goes_on_until_the_result_begins_to_come() -> None:
    steps = 0

    def meanwhile() -> Iterator[None]:
        nonlocal steps
        while True:
            time.sleep(0.02)
            steps += 1
            yield

    def work() -> bytes:
        time.sleep(0.2)
        return bytes(2**25)

    large = run_apart(work, 60, meanwhile())  # a pipe holds 64 KiB: it is read in hundreds of parts
    assert len(large) == 2**25
    assert 0 < steps < 250


@pytest.mark.parametrize("error", [ExportError("no"), JobError("no")], ids=["export", "job"])
def test_an_error_of_ours_is_raised_as_it_is(error: Exception) -> None:
    def work() -> NoReturn:
        raise error

    with pytest.raises(type(error), match=r"^no$") as raised:
        run_apart(work, 60)
    assert isinstance(raised.value.__cause__, RaisedThereError)
    assert "in work" in str(raised.value.__cause__)


def test_an_error_of_another_kind_is_told_with_its_trace() -> None:
    with pytest.raises(RaisedThereError, match=r"^ZeroDivisionError: ") as raised:
        run_apart(lambda: 1 // 0, 60)
    assert "in <lambda>" in str(raised.value)


@pytest.mark.parametrize(
    ("work", "told"),
    [
        pytest.param(os.abort, r"crashed \(SIGABRT\)", id="abort"),
        pytest.param(lambda: os._exit(3), r"crashed \(exit code 3\)", id="exit"),
        pytest.param(
            lambda: os.kill(os.getpid(), 9),
            "SIGKILL, .*memory ran out, or somebody",
            id="killed",
        ),
    ],
)
def test_a_crash_there_is_an_error_here(work: Callable[[], None], told: str) -> None:
    with pytest.raises(ChildError, match=told) as raised:
        run_apart(work, 60)
    assert not raised.value.late


def test_work_that_takes_too_long_is_ended(tmp_path: Path) -> None:
    def work() -> None:
        (tmp_path / "pid").write_text(str(os.getpid()))
        time.sleep(600)

    with pytest.raises(ChildError, match=r"took more than 0\.5 s") as raised:
        run_apart(work, 0.5)
    assert raised.value.late
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


def test_the_files_of_the_parent_stay(tmp_path: Path) -> None:
    with scratch_folder() as folder:
        (folder / "kept").touch()
        run_apart(lambda: (folder / "kept").is_file(), 60)
        assert (folder / "kept").is_file()


def test_results_come_one_after_the_other_and_an_error_after_them() -> None:
    def work() -> Iterator[object]:
        yield os.getpid()
        yield b"x" * 3_000_000
        raise ExportError("no more")

    process = Apart(work)
    assert process.result(60) != os.getpid()
    assert process.result(60) == b"x" * 3_000_000
    with pytest.raises(ExportError, match=r"^no more$"):
        process.result(60)


def test_what_was_handed_over_before_a_crash_is_kept() -> None:
    def work() -> Iterator[str]:
        yield "captured"
        os.abort()

    process = Apart(work)
    assert process.result(60) == "captured"
    with pytest.raises(ChildError, match=r"crashed \(SIGABRT\)"):
        process.result(60)


def test_a_process_ends_when_nobody_holds_it() -> None:
    def work() -> Iterator[int]:
        yield os.getpid()
        time.sleep(600)

    process = Apart(work)
    child = process.result(60)
    del process
    with pytest.raises(ProcessLookupError):
        os.kill(child, 0)


def test_a_forked_copy_leaves_the_process_alone() -> None:
    def work() -> Iterator[int]:
        yield os.getpid()
        time.sleep(0.5)
        yield 2

    process = Apart(work)
    process.result(60)
    assert run_apart(process.end, 60) == 0
    assert process.result(60) == 2
    process.end()
