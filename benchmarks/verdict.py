"""How sound the verdict is: healthy exports that it refuses, planted faults that it lets pass.

Every model of ``soundness/subjects.py`` is exported in all ways of ``soundness/healthy.py``, and damaged in
all ways of ``soundness/faults``. Each file goes before our verdict and before the rules of the tools in use
(``soundness/peers.py``), on the same inputs; what a fault really changes is measured in float64. Prints the
tables, and with --write puts them and the plot into ``soundness/README.md``.
"""

import argparse
import json
import os
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
from soundness.report import by_healthy, by_kind, figures, plot, summary
from soundness.subjects import BY_NAME, SUBJECTS

README = Path(__file__).parent / "soundness" / "README.md"
BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"
PROCESSES = 2


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
    parser.add_argument(
        "--populations", nargs="+", choices=("healthy", "fault"), default=("healthy", "fault")
    )
    parser.add_argument("--processes", type=int, default=PROCESSES)
    parser.add_argument("--rows", type=Path, help="a file to write all rows into, as JSON")
    parser.add_argument("--write", action="store_true", help="put tables and plot into soundness/README.md")
    arguments = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    start = time.perf_counter()
    tasks = [(population, subject) for subject in arguments.subjects for population in arguments.populations]
    rows = gather(tasks, arguments.processes, arguments.rows)
    minutes = (time.perf_counter() - start) / 60
    text = render(rows, minutes)
    print(text)
    if arguments.write:
        write(text)
        plot(rows, README.with_name("soundness.png"))


def gather(tasks: Sequence[tuple[str, str]], processes: int, file: Path | None) -> list[Row]:
    """The rows of all tasks, in the order of the tasks; written into ``file``, too, as they come."""
    done: dict[tuple[str, str], list[Row]] = {}
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        waiting = {pool.submit(measure, *task): task for task in tasks}
        for future in as_completed(waiting):
            task = waiting[future]
            done[task], seconds = future.result()
            if file is not None:
                rows = [asdict(row) for task in tasks for row in done.get(task, [])]
                file.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
            print(
                f"{len(done)} of {len(tasks)}: {' '.join(task)}, {len(done[task])} rows, {seconds:.0f} s",
                flush=True,
            )
    return [row for task in tasks for row in done[task]]


def render(rows: Sequence[Row], minutes: float) -> str:
    """The measured part of the README."""
    parts = [
        f"Measured in {minutes:.0f} minutes.",
        *(f"- {line}" for line in figures(rows)),
        "",
        *summary(rows),
    ]
    parts += ["", "### Healthy files", "", *by_healthy(rows), "", "### Planted faults", "", *by_kind(rows)]
    return "\n".join(parts)


def write(text: str) -> None:
    """Put the measured part between the marks of the README."""
    whole = README.read_text(encoding="utf-8")
    head, _, rest = whole.partition(BEGIN)
    _, _, tail = rest.partition(END)
    README.write_text(f"{head}{BEGIN}\n{text}\n{END}{tail}", encoding="utf-8")


if __name__ == "__main__":
    main()
