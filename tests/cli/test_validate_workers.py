"""validate --images: any number of workers, stopped or not, on one machine or by Dask, gives one verdict."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from many_tasks import Names
from once import Once

from onnxproof.many.chunks import chunks_of
from onnxproof.many.journal import Journal
from onnxproof.many.run import completed

Refuse = Callable[..., None]


def command(*arguments: str | Path) -> list[str]:
    return [sys.executable, "-m", "onnxproof", *map(str, arguments)]


def validated(bundle: Path, checkpoint: Path, pictures: Path, out: Path, *arguments: str | Path) -> bytes:
    """The parity.json of a run of its own."""
    given = ("validate", bundle, "--checkpoint", checkpoint, "--images", pictures, "--out", out, *arguments)
    ran = subprocess.run(command(*given), capture_output=True, text=True, check=False, timeout=300)
    assert ran.returncode in (0, 1), ran.stderr
    return (out / "parity.json").read_bytes()


@pytest.fixture(scope="module")
def many_pictures(small_job: Path, once: Once) -> Path:
    """Seventy links to the small job's pictures: three chunks."""

    def make(folder: Path) -> None:
        sources = sorted((small_job.parent / "pictures").glob("*.png"))
        for number in range(70):
            (folder / f"{number:02}.png").symlink_to(sources[number % len(sources)])

    return once("many pictures", make)


@pytest.fixture(scope="module")
def by_one(small_bundle: Path, small_job: Path, many_pictures: Path, once: Once) -> bytes:
    """The parity.json of one worker on this machine."""

    def make(folder: Path) -> None:
        checkpoint = small_job.parent / "model"
        validated(small_bundle, checkpoint, many_pictures, folder / "out", "--workers", "1")

    return (once("what one worker says of many pictures", make) / "out" / "parity.json").read_bytes()


@pytest.mark.slow
def test_workers_and_a_stop_change_no_byte(
    small_bundle: Path, small_job: Path, many_pictures: Path, by_one: bytes, tmp_path: Path
) -> None:
    checkpoint = small_job.parent / "model"
    document = json.loads(by_one)
    (told,) = document["pictures"]
    assert (told["pictures"], told["unread"], told["threads"]) == (70, 0, 1)
    assert told["decisions"]["reference"] > 0
    assert [check["status"] for check in document["checks"] if check["name"] == "pictures"] == ["pass"]
    # Stopped after the first chunk, and gone on with by two workers.
    work = tmp_path / "work"
    given = (
        "validate",
        small_bundle,
        "--checkpoint",
        checkpoint,
        "--images",
        many_pictures,
        "--workers",
        "1",
    )
    with subprocess.Popen(
        command(*given, "--resume", work, "--quiet"), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    ) as running:
        began = time.monotonic()
        while not list(work.glob("chunks/*")) and time.monotonic() - began < 240:
            time.sleep(0.05)
        running.send_signal(signal.SIGTERM)
        running.communicate()
    assert running.returncode == 143
    kept = {file.name: file.stat().st_mtime_ns for file in work.glob("chunks/*")}
    assert 1 <= len(kept) <= 3
    two = validated(
        small_bundle, checkpoint, many_pictures, tmp_path / "two", "--workers", "2", "--resume", work
    )
    assert {name: (work / "chunks" / name).stat().st_mtime_ns for name in kept} == kept
    assert two == by_one


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        pytest.param(("--workers", "2"), "name them with --images", id="no-pictures"),
        pytest.param(("--images", "empty"), "holds no picture", id="empty"),
        pytest.param(("--images", "empty/*.png"), "matches no file", id="pattern"),
    ],
)
def test_what_cannot_be_shared_out_is_refused(
    small_bundle: Path,
    tmp_path: Path,
    refuse: Refuse,
    monkeypatch: pytest.MonkeyPatch,
    arguments: Sequence[str],
    says: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    refuse("validate", small_bundle, *arguments, says=[says])


DASK = "import sys; from distributed.cli.dask_{0} import main; sys.exit(main())"


@pytest.fixture
def scheduler(tmp_path: Path) -> Iterator[tuple[str, list[subprocess.Popen[bytes]]]]:
    """A scheduler and two workers, started by hand; its address, and the processes."""
    pytest.importorskip("distributed")
    file = tmp_path / "scheduler.json"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}

    def start(kind: str, *arguments: str) -> subprocess.Popen[bytes]:
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        given = [sys.executable, "-c", DASK.format(kind), *arguments, "--scheduler-file", str(file)]
        return subprocess.Popen(given, env=environment, cwd=tmp_path, **quiet)  # type: ignore[call-overload,no-any-return]

    running = [start("scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard")]
    try:
        began = time.monotonic()
        while not file.exists() and time.monotonic() - began < 60:
            time.sleep(0.1)
        running += [start("worker", "--nthreads", "1", "--no-dashboard", "--no-nanny") for _ in range(2)]
        yield json.loads(file.read_text(encoding="utf-8"))["address"], running
    finally:
        for process in running:
            process.kill()
            process.wait()


@pytest.mark.slow
def test_dask_gives_the_same_and_loses_nothing_with_a_worker(
    scheduler: tuple[str, list[subprocess.Popen[bytes]]],
    small_bundle: Path,
    small_job: Path,
    many_pictures: Path,
    by_one: bytes,
    tmp_path: Path,
) -> None:
    from onnxproof.many.engines import Dask

    address, _ = scheduler
    checkpoint = small_job.parent / "model"
    by_dask = validated(small_bundle, checkpoint, many_pictures, tmp_path / "dask", "--dask", address)
    assert by_dask == by_one
    # One of the two workers is killed in the middle of its work.
    names = [f"{number}.png" for number in range(7)]
    names[3] = "kill-once.png"
    places = tuple(tmp_path / name for name in names)
    for place in places:
        place.write_bytes(b"")
    journal = Journal(tmp_path / "journal", {"command": "names"})
    engine = Dask(address)
    try:
        found = list(
            completed(Names(str(tmp_path / "log")), chunks_of(places, journal.key, 2), engine, journal)
        )
    finally:
        engine.close()
    assert (tmp_path / "log.kill-once.png").exists()
    told = [journal.taken(chunk.name).decode() for chunk in sorted(found, key=lambda chunk: chunk.number)]
    assert " ".join(told).split() == names
