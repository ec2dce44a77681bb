"""How sound the verdict is: healthy exports that it refuses, planted faults that it lets pass.

Every model of ``soundness/subjects.py`` is exported in all ways of ``soundness/healthy.py``, and damaged in
all ways of ``soundness/faults``. Each file goes before our verdict and before the rules of the tools in use
(``soundness/peers.py``), on the same inputs; what a fault really changes is measured in float64. Prints the
tables, and with --write puts them and the plot into ``soundness/README.md``, and the summary into the
project's README.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from soundness.faults import FAULTS
from soundness.measure import Row, fault_rows, healthy_rows
from soundness.report import by_healthy, by_kind, figures, plot, rules, summary
from soundness.subjects import BY_NAME, SUBJECTS

README = Path(__file__).parent / "soundness" / "README.md"
FRONT = Path(__file__).parents[1] / "README.md"
BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"
PLOT = "![The measured ratio over the true effect; how often each tool is wrong](soundness.png)"
PROCESSES = 2
POPULATIONS = ("healthy", "fault")


def measure(population: str, subject: str) -> tuple[list[Row], float]:
    """All rows of one subject in one population, and the seconds that they took."""
    torch.set_num_threads(1)
    start = time.perf_counter()
    with TemporaryDirectory() as folder:
        if population == "healthy":
            rows = list(healthy_rows(BY_NAME[subject], Path(folder)))
        else:
            faults = [fault for fault in FAULTS if fault.subject == subject]
            rows = list(fault_rows(BY_NAME[subject], faults, Path(folder)))
    return rows, time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = [subject.name for subject in SUBJECTS]
    parser.add_argument("--subjects", nargs="+", choices=names, default=names)
    parser.add_argument("--populations", nargs="+", choices=POPULATIONS, default=POPULATIONS)
    parser.add_argument("--processes", type=int, default=PROCESSES)
    parser.add_argument("--rows", type=Path, help="a file to write all rows into, as JSON")
    parser.add_argument("--resume", type=Path, help="a folder that keeps what is measured; go on from there")
    parser.add_argument("--read", type=Path, help="such a file, to be shown in place of measuring")
    parser.add_argument("--write", action="store_true", help="put tables and plot into the READMEs")
    arguments = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    if arguments.read is not None:
        document = json.loads(arguments.read.read_text(encoding="utf-8"))
        minutes, rows = document["minutes"], [Row(**row) for row in document["rows"]]
    else:
        start = time.perf_counter()
        tasks = [(population, name) for name in arguments.subjects for population in arguments.populations]
        rows = gather(tasks, arguments.processes, arguments.resume)
        minutes = (time.perf_counter() - start) / 60
    if arguments.rows is not None:
        document = {"minutes": minutes, "rows": [asdict(row) for row in rows]}
        arguments.rows.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    short = "\n".join((*(f"- {line}" for line in figures(rows)), "", *summary(rows)))
    tables = {"Tools": rules(), "Healthy files": by_healthy(rows), "Planted faults": by_kind(rows)}
    long = "\n\n".join("\n".join((f"### {title}", "", *lines)) for title, lines in tables.items())
    text = f"In {minutes:.0f} minutes, with {PROCESSES} processes.\n\n{short}\n\n{PLOT}\n\n{long}"
    print(text)
    if arguments.write:
        write(text, README)
        write("\n".join(summary(rows)), FRONT)
        plot(rows, README.with_name("soundness.png"))


def gather(tasks: Sequence[tuple[str, str]], processes: int, kept: Path | None) -> list[Row]:
    """The rows of all tasks, in the order of the tasks. Those that ``kept`` has are not measured again."""
    done = {} if kept is None else {task: read(task, kept) for task in tasks if place(task, kept).is_file()}
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        waiting = {pool.submit(measure, *task): task for task in tasks if task not in done}
        for future in as_completed(waiting):
            task = waiting[future]
            if future.exception() is not None:
                pool.shutdown(wait=False, cancel_futures=True)
            done[task], seconds = future.result()
            if kept is not None:
                kept.mkdir(parents=True, exist_ok=True)
                document = json.dumps([asdict(row) for row in done[task]])
                place(task, kept).write_text(document, encoding="utf-8")
            told = f"{len(done)} of {len(tasks)}: {' '.join(task)}, {len(done[task])} rows, {seconds:.0f} s"
            print(told, file=sys.stderr, flush=True)
    return [row for task in tasks for row in done[task]]


def place(task: tuple[str, str], kept: Path) -> Path:
    """Where the rows of a task are kept."""
    return kept / f"{'-'.join(task)}.json"


def read(task: tuple[str, str], kept: Path) -> list[Row]:
    """The rows of a task that were measured before."""
    return [Row(**row) for row in json.loads(place(task, kept).read_text(encoding="utf-8"))]


def write(text: str, file: Path) -> None:
    """Put what was measured between the marks of a page."""
    whole = file.read_text(encoding="utf-8")
    head, begin, rest = whole.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not begin or not end:
        raise SystemExit(f"{file} has no marks {BEGIN} and {END}: put them where the table belongs")
    file.write_text(f"{head}{BEGIN}\n{text}\n{END}{tail}", encoding="utf-8")


if __name__ == "__main__":
    main()
