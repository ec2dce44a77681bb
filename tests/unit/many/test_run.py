"""Chunks on workers: each once, what a dead worker lost again, and nothing that is in the journal."""

import contextlib
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from pathlib import Path

import pytest
from many_tasks import Collecting, Names

from onnxproof.errors import CheckError, RequestError
from onnxproof.many.chunks import Chunk, chunks_of
from onnxproof.many.engines import Engine, Processes
from onnxproof.many.journal import Journal
from onnxproof.many.run import completed
from onnxproof.many.workers import Workers
from onnxproof.runtime.remote import Place

SIZE = 2
WORK = {"command": "names"}


class Threads:
    """Chunks one after the other in this process."""

    @contextlib.contextmanager
    def opened(self) -> Iterator[Executor]:
        with ThreadPoolExecutor(1) as pool:
            yield pool

    def in_flight(self) -> int:
        return 3

    def is_loss(self, error: BaseException) -> bool:
        return False

    def __str__(self) -> str:
        return "a thread"


def pictures(folder: Path, names: Sequence[str]) -> tuple[Place, ...]:
    for name in names:
        (folder / name).write_bytes(name.encode())
    return tuple(folder / name for name in names)


def names_of(found: Sequence[Chunk], journal: Journal) -> list[str]:
    """What the chunks' results hold, in the chunks' order."""
    ordered = sorted(found, key=lambda chunk: chunk.number)
    return [name for chunk in ordered for name in journal.taken(chunk.name).decode().split()]


def ran(folder: Path, places: Sequence[Place], engine: Engine, resume: str = "journal") -> list[str]:
    journal = Journal(folder / resume, WORK)
    task = Names(str(folder / "log"))
    found = list(completed(task, chunks_of(places, journal.key, SIZE), engine, journal))
    assert len({chunk.number for chunk in found}) == len(found)
    return names_of(found, journal)


def log(folder: Path) -> list[str]:
    file = folder / "log"
    return file.read_text(encoding="utf-8").splitlines() if file.exists() else []


def test_nothing_is_written_where_a_link_in_the_journal_leads(tmp_path: Path) -> None:
    far = tmp_path / "far"
    far.mkdir()
    (far / "mine").write_text("mine")
    (tmp_path / "journal").mkdir()
    (tmp_path / "journal" / "chunks").symlink_to(far)
    with pytest.raises(RequestError, match=r"chunks is a link.*remove the link"):
        Journal(tmp_path / "journal", WORK)
    (tmp_path / "journal" / "chunks").unlink()
    journal = Journal(tmp_path / "journal", WORK)
    (tmp_path / "journal" / "chunks" / "one").symlink_to(far / "mine")
    assert journal.read("one") is None
    journal.write("one", b"result")
    assert journal.read("one") == b"result"
    assert [file.read_text() for file in far.iterdir()] == ["mine"]


def test_what_is_in_the_journal_is_not_done_again(tmp_path: Path) -> None:
    names = [f"{number}.png" for number in range(5)]
    places = pictures(tmp_path, names)
    assert ran(tmp_path, places, Threads()) == names
    assert log(tmp_path).count("0.png 1.png") == 1
    first = len(log(tmp_path))
    assert ran(tmp_path, places, Threads()) == names
    assert len(log(tmp_path)) == first
    # A picture that changed is done again with its chunk, and a chunk that was damaged.
    (tmp_path / "4.png").write_bytes(b"another picture")
    chunk = next(chunks_of(places, Journal(tmp_path / "journal", WORK).key, SIZE))
    (tmp_path / "journal" / "chunks" / chunk.name).write_bytes(b"half a res")
    assert ran(tmp_path, places, Threads()) == names
    assert sorted(log(tmp_path)[first:]) == ["0.png 1.png", "4.png"]


def test_a_stopped_run_goes_on_where_it_was(tmp_path: Path) -> None:
    places = pictures(tmp_path, [f"{number}.png" for number in range(8)])
    journal = Journal(tmp_path / "journal", WORK)
    run = completed(Names(str(tmp_path / "log")), chunks_of(places, journal.key, SIZE), Threads(), journal)
    next(run)
    run.close()  # as Ctrl-C does
    done = len(list((tmp_path / "journal" / "chunks").iterdir()))
    assert 1 <= done < 4
    before = len(log(tmp_path))
    assert len(ran(tmp_path, places, Threads())) == 8
    assert len([line for line in log(tmp_path)[before:] if line != "open"]) == 4 - done


def test_an_error_of_the_work_ends_the_run(tmp_path: Path) -> None:
    places = pictures(tmp_path, ["0.png", "1.png", "raise.png"])
    with pytest.raises(CheckError, match=r"raise\.png is bad"):
        ran(tmp_path, places, Threads())


def test_a_worker_that_is_killed_loses_nothing(tmp_path: Path) -> None:
    """Two processes; the first that meets one picture dies with SIGKILL."""
    names = ["0.png", "1.png", "kill-once.png", "3.png", "4.png", "5.png", "6.png"]
    places = pictures(tmp_path, names)
    assert ran(tmp_path, places, Processes(2)) == names
    assert (tmp_path / "log.kill-once.png").exists()
    lines = [line for line in log(tmp_path) if line != "open"]
    assert sorted(set(lines)) == sorted(["0.png 1.png", "kill-once.png 3.png", "4.png 5.png", "6.png"])


@pytest.mark.slow
def test_a_picture_that_always_kills_its_worker_is_named(tmp_path: Path) -> None:
    names = ["0.png", "1.png", "2.png", "kill.png", "4.png", "5.png"]
    places = pictures(tmp_path, names)
    with pytest.raises(CheckError, match=r"2\.png … .*kill\.png \(2 pictures\) died 3 times"):
        ran(tmp_path, places, Processes(2))
    kept = {file.read_bytes().partition(b"\n")[2] for file in (tmp_path / "journal" / "chunks").iterdir()}
    assert b"0.png 1.png" in kept


@pytest.mark.parametrize(
    ("files", "work", "says"),
    [
        pytest.param({"notes.txt": "mine"}, WORK, "holds files and no journal.json", id="others-files"),
        pytest.param({"journal.json": "[" * 100_000}, WORK, "nested too deeply", id="nested"),
        pytest.param({"journal.json": '{"work": 1, "format": 1}'}, WORK, "no object", id="no-work"),
        pytest.param({"journal.json": "{}"}, WORK, r"wrote \(it has no work\)", id="another-journal"),
        pytest.param({"journal.json": "[]"}, WORK, r"wrote \(it is no object\)", id="a-list"),
        pytest.param({}, {"command": "names", "size": 1}, "differs in size", id="other-work"),
    ],
)
def test_a_folder_of_something_else_is_refused(
    tmp_path: Path, files: dict[str, str], work: dict[str, object], says: str
) -> None:
    folder = tmp_path / "resume"
    if files:
        folder.mkdir()
        for name, text in files.items():
            (folder / name).write_text(text, encoding="utf-8")
    else:
        Journal(folder, WORK)
    before = {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()}
    with pytest.raises(RequestError, match=says):
        Journal(folder, work)
    assert {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()} == before


@pytest.mark.parametrize(("count", "dask"), [(0, None), (-1, None), (2, "tcp://host:8786")])
def test_wrong_workers_are_refused(count: int, dask: str | None) -> None:
    with pytest.raises(RequestError, match="--workers"):
        Workers(count, dask)


def test_a_worker_of_our_own_collects_once_its_work_is_open(tmp_path: Path) -> None:
    """Imports and models leave the collector nothing to find."""
    journal = Journal(tmp_path / "journal", WORK)
    chunks = chunks_of(pictures(tmp_path, ["a.png", "b.png"]), journal.key, 1)
    found = list(completed(Collecting(), chunks, Processes(1), journal))
    assert names_of(found, journal) == ["False", "True"] * 2
