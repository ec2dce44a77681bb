"""Any model: many architectures of many libraries, exported with a verdict, beside the exporters in use.

Each architecture and each contestant has a process of its own, with a limit on its time and on its memory.
The peers' files are checked by our links. Libraries that are not installed are skipped by name;
``zoo/requirements.txt`` has those beyond the project's own.

Prints the table, and with --write puts it and the plot into ``zoo/README.md``. What is measured is kept in
``zoo/rows.jsonl``, a row a line, and is not measured again: a run that was stopped goes on where it was. The
libraries take turns, so that a part of the rows shows all of them.
"""

import argparse
import json
import math
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import zip_longest
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from any_model.report import page, plot
from any_model.row import LIBRARY_OF, PEERS, Row, Rows

HOME = Path(__file__).parent
README = HOME / "zoo" / "README.md"
ROWS = README.with_name("rows.jsonl")
BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"

LIMIT_S, MEMORY_GIB = 300.0, 8.0
KILLED_LATE = (-14, 142)
"""How a process ends whose time is up: SIGALRM, as Python and as a shell tell it."""


class Entry(NamedTuple):
    """An architecture: the file that defines it, its name, its library, and whether that is installed."""

    module: str
    name: str
    library: str
    installed: bool


class Task(NamedTuple):
    """One architecture and one contestant."""

    entry: Entry
    contestant: str

    @property
    def key(self) -> tuple[str, str]:
        """How the row of the task is found."""
        return self.entry.name, self.contestant


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", metavar="NAME", help="architectures")
    parser.add_argument(
        "--contestants", nargs="+", choices=("onnxproof", *PEERS), default=("onnxproof", *PEERS)
    )
    parser.add_argument("--jobs", type=int, default=1, help="processes at a time")
    parser.add_argument("--limit", type=float, default=LIMIT_S, help="seconds for a process")
    parser.add_argument("--memory", type=float, default=MEMORY_GIB, help="GiB for a process")
    parser.add_argument("--rows", type=Path, default=ROWS, help="the file that keeps what is measured")
    parser.add_argument(
        "--enough", type=float, default=math.inf, help="seconds after which no process starts"
    )
    parser.add_argument("--python", default=sys.executable, help="what runs each process")
    parser.add_argument("--write", action="store_true", help="put the table and the plot into the page")
    arguments = parser.parse_args()
    entries = listed()
    unknown = set(arguments.only or ()) - {entry.name for entry in entries}
    if unknown:
        raise SystemExit(f"not in the catalogue: {', '.join(sorted(unknown))}")
    chosen = [entry for entry in entries if arguments.only is None or entry.name in arguments.only]
    tasks = [
        Task(entry, contestant)
        for entry in chosen
        for contestant in arguments.contestants
        if LIBRARY_OF.get(contestant, entry.library) == entry.library
    ]
    kept = Rows(arguments.rows)
    missing = [task for task in tasks if task.key not in kept.found]
    late = time.monotonic() + arguments.enough
    with ThreadPoolExecutor(arguments.jobs) as pool:
        for number, row in enumerate(pool.map(lambda task: measured(task, arguments, late), missing), 1):
            if row is None:
                continue
            kept.add(row)
            took = "" if row.seconds is None else f", {row.seconds:.1f} s"
            where = f" ({row.link})" if row.link else ""
            told = f"{row.architecture}, {row.contestant}: {row.outcome}{where}{took}"
            print(f"{number} of {len(missing)}: {told} {row.reason[:160]}", file=sys.stderr, flush=True)
    rows = [kept.found[task.key] for task in tasks if task.key in kept.found]
    text = page(rows, len(tasks))
    print(text)
    if not arguments.write:
        return
    if arguments.only is not None:
        raise SystemExit("--write needs all architectures: leave --only out")
    head, _, rest = README.read_text(encoding="utf-8").partition(BEGIN)
    _, _, tail = rest.partition(END)
    README.write_text(f"{head}{BEGIN}\n{text}\n{END}{tail}", encoding="utf-8")
    plot(rows, README.with_name("zoo.png"))


def listed() -> list[Entry]:
    """The catalogue, the libraries in turn. Another process reads it, because that imports all libraries."""
    command = [sys.executable, "-m", "any_model.child", "list"]
    answer = subprocess.run(command, env=environment(), check=True, capture_output=True, text=True)
    libraries: dict[str, list[Entry]] = {}
    for one in json.loads(answer.stdout.splitlines()[-1]):
        entry = Entry(*one)
        libraries.setdefault(entry.library, []).append(entry)
    return [entry for turn in zip_longest(*libraries.values()) for entry in turn if entry is not None]


def environment() -> dict[str, str]:
    """One thread, and the benchmark's modules on the path."""
    path = os.pathsep.join((str(HOME), os.environ.get("PYTHONPATH", "")))
    return {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", "PYTHONHASHSEED": "0"}


def measured(task: Task, arguments: Any, late: float) -> Row | None:
    """Run one task. Returns None if it is too late to start it."""
    if time.monotonic() > late:
        return None
    entry, contestant = task
    row = Row(entry.name, entry.library, contestant, "skipped")
    if not entry.installed:
        row = replace(row, reason=f"{entry.library} is not installed")
    else:
        with TemporaryDirectory() as folder:
            row = in_process(row, "export", entry, Path(folder), arguments)
            if contestant != "onnxproof" and (Path(folder) / "model.onnx").is_file():
                row = in_process(row, "check", entry, Path(folder), arguments)
            shutil.rmtree(folder, ignore_errors=True)
            Path(folder).mkdir()
    return row


def in_process(row: Row, mode: str, entry: Entry, folder: Path, arguments: Any) -> Row:
    """What a process says of one step; what became of it, if it said nothing."""
    limits = (f"{arguments.limit:g}", f"{arguments.memory:g}")
    steps: Sequence[str] = (mode, entry.module, entry.name, row.contestant, str(folder), *limits)
    command = [arguments.python, "-m", "any_model.child", *steps]
    ended = subprocess.run(command, env=environment(), check=False, capture_output=True, text=True)
    said = folder / "row.json"
    if ended.returncode == 0 and said.is_file():
        return Row.read(said)
    if ended.returncode in KILLED_LATE:
        reason = f"took more than {arguments.limit:g} s"
    else:
        last = ended.stderr.strip().splitlines()[-1:]
        reason = f"the process ended with {ended.returncode}: {' '.join(last)}"
    if mode == "check":
        return replace(Row.read(said), outcome="undecided", reason=f"the check {reason}")
    return replace(row, outcome="none", reason=reason)


if __name__ == "__main__":
    main()
