"""How sound the verdict is: healthy exports that it refuses, planted faults that it lets pass.

Every model of ``soundness/subjects.py`` is exported in all ways of ``soundness/healthy.py``, and damaged in
all ways of ``soundness/faults``. Each file goes before our verdict and before the rules of the tools in use
(``soundness/peers.py``), on the same inputs; what a fault really changes is measured in float64. So are the
architectures of other libraries (``soundness/elsewhere``), before our verdict alone, and the faults that
others reported (``reported.py``).

Prints the tables, and with --write puts them and the plots into ``soundness/README.md``,
``soundness/ELSEWHERE.md`` and ``soundness/REPORTED.md``, and the summaries into the project's README. With
--resume, a run that was stopped goes on where it was.
"""

import argparse
import json
import math
import os
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import reported
import torch
from soundness.elsewhere import report as elsewhere
from soundness.elsewhere.catalogue import ARCHITECTURES
from soundness.elsewhere.catalogue import BY_NAME as ARCHITECTURE
from soundness.elsewhere.measure import FileRow, file_rows
from soundness.faults import FAULTS
from soundness.measure import Row, fault_rows, healthy_rows
from soundness.report import by_healthy, by_kind, figures, plot, rules, summary
from soundness.reported import FAULTS as REPORTED
from soundness.subjects import BY_NAME, SUBJECTS

README = Path(__file__).parent / "soundness" / "README.md"
ELSEWHERE = README.with_name("ELSEWHERE.md")
FRONT = Path(__file__).parents[1] / "README.md"
OWN, FOREIGN = "measured", "measured elsewhere"
"""What the marks are called between which a page has measured text."""

PLOT = "![The measured ratio over the true effect; how often each tool is wrong](soundness.png)"
HISTOGRAM = "![How far healthy files part from their networks; what the faults change](elsewhere.png)"
PROCESSES = 2

NAMES = {
    "healthy": [subject.name for subject in SUBJECTS],
    "fault": [subject.name for subject in SUBJECTS],
    "elsewhere": [architecture.name for architecture in ARCHITECTURES],
    "reported": [fault.name for fault in REPORTED],
}
"""The populations, and the names of what is measured in each."""

Task = tuple[str, str]
"""A population and a name."""


@dataclass(frozen=True, slots=True)
class Done:
    """What a task measured: its rows, and the processor's seconds that it took; NaN if nobody counted."""

    rows: Sequence[Any]
    seconds: float


def measure(population: str, name: str) -> Done:
    """Measure one task. The rows of a reported fault are dicts (``reported.py``)."""
    torch.set_num_threads(1)
    start = processor_seconds()
    rows: Sequence[Any]
    with TemporaryDirectory() as folder:
        match population:
            case "healthy":
                rows = list(healthy_rows(BY_NAME[name], Path(folder)))
            case "fault":
                faults = [fault for fault in FAULTS if fault.subject == name]
                rows = list(fault_rows(BY_NAME[name], faults, Path(folder)))
            case "elsewhere":
                rows = list(file_rows(ARCHITECTURE[name], Path(folder)))
            case _:
                rows = [reported.child(name, reported.LIMIT)]
    return Done(rows, processor_seconds() - start)


def processor_seconds() -> float:
    """The processor's seconds of this process and of its children that ended."""
    return sum(os.times()[:4])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    known = sorted({name for names in NAMES.values() for name in names})
    parser.add_argument("--only", nargs="+", metavar="NAME", choices=known, default=known)
    parser.add_argument("--populations", nargs="+", choices=list(NAMES), default=list(NAMES))
    parser.add_argument("--processes", type=int, default=PROCESSES)
    parser.add_argument("--rows", type=Path, help="a file to write all rows into, as JSON")
    parser.add_argument("--resume", type=Path, help="a folder that keeps what is measured; go on from there")
    parser.add_argument("--write", action="store_true", help="put tables and plots into the pages")
    arguments = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    tasks = [
        (population, name)
        for population in arguments.populations
        for name in NAMES[population]
        if name in arguments.only
    ]
    done = gather(tasks, arguments.processes, arguments.resume)

    def rows_of(*populations: str) -> list[Any]:
        return [row for task in tasks if task[0] in populations for row in done[task].rows]

    def head_of(*populations: str) -> str:
        seconds = sum(one.seconds for task, one in done.items() if task[0] in populations)
        return "" if math.isnan(seconds) else f"{seconds / 60:.0f} minutes of one core.\n\n"

    both = {"healthy", "fault"} <= set(arguments.populations)
    own = rows_of("healthy", "fault") if both else []
    foreign, told = rows_of("elsewhere"), rows_of("reported")
    if arguments.rows is not None:
        document = {
            "rows": [asdict(row) for row in own],
            "elsewhere": [asdict(row) for row in foreign],
            "reported": told,
        }
        arguments.rows.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    if own:
        text = head_of("healthy", "fault") + own_text(own)
        print(text)
    if foreign:
        foreign_page = head_of("elsewhere") + foreign_text(foreign)
        print(foreign_page)
    if told:
        print(reported.text_of(told))
    if not arguments.write:
        return
    if arguments.only != known:
        raise SystemExit("--write needs all of a population: leave --only out")
    if own:
        write(text, README)
        write("\n".join(summary(own)), FRONT)
        plot(own, README.with_name("soundness.png"))
    if foreign:
        write(foreign_page, ELSEWHERE)
        write("\n".join(elsewhere.summary(foreign)), FRONT, FOREIGN)
        elsewhere.plot(foreign, README.with_name("elsewhere.png"))
    if told:
        reported.write(reported.text_of(told))


def own_text(rows: Sequence[Row]) -> str:
    """What the page says of our own models."""
    short = "\n".join((*(f"- {line}" for line in figures(rows)), "", *summary(rows)))
    tables = {"Tools": rules(), "Healthy files": by_healthy(rows), "Planted faults": by_kind(rows)}
    return f"{short}\n\n{PLOT}\n\n{sections(tables)}"


def foreign_text(rows: Sequence[FileRow]) -> str:
    """What the page says of other libraries' architectures."""
    short = "\n".join(f"- {line}" for line in elsewhere.figures(rows))
    tables = {
        "Healthy files": elsewhere.by_library(rows),
        "Planted faults, by effect": elsewhere.by_effect(rows),
        "Planted faults, by kind": elsewhere.by_kind(rows),
        "Architectures": elsewhere.by_architecture(rows),
        "Not exported": elsewhere.not_exported(rows),
    }
    return f"{short}\n\n{HISTOGRAM}\n\n{sections(tables)}"


def sections(tables: dict[str, Any]) -> str:
    """Tables under their titles."""
    return "\n\n".join("\n".join((f"### {title}", "", *lines)) for title, lines in tables.items())


def gather(tasks: Sequence[Task], processes: int, kept: Path | None) -> dict[Task, Done]:
    """What all tasks measured. Those that ``kept`` has are not measured again."""
    done = {} if kept is None else {task: read(task, kept) for task in tasks if place(task, kept).is_file()}
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        waiting = {pool.submit(measure, *task): task for task in tasks if task not in done}
        for future in as_completed(waiting):
            task = waiting[future]
            if future.exception() is not None:
                pool.shutdown(wait=False, cancel_futures=True)
            done[task] = future.result()
            if kept is not None:
                keep(done[task], place(task, kept))
            told = f"{len(done[task].rows)} rows, {done[task].seconds:.0f} s of the processor"
            print(f"{len(done)} of {len(tasks)}: {' '.join(task)}, {told}", file=sys.stderr, flush=True)
    return done


def place(task: Task, kept: Path) -> Path:
    """Where the rows of a task are kept."""
    return kept / f"{'-'.join(task)}.json"


def keep(done: Done, file: Path) -> None:
    """Write what a task measured."""
    file.parent.mkdir(parents=True, exist_ok=True)
    rows = [row if isinstance(row, dict) else asdict(row) for row in done.rows]
    part = file.with_suffix(".part")
    part.write_text(json.dumps({"processor_seconds": done.seconds, "rows": rows}), encoding="utf-8")
    part.replace(file)


def read(task: Task, kept: Path) -> Done:
    """What a task measured before. Older runs kept the rows alone."""
    document = json.loads(place(task, kept).read_text(encoding="utf-8"))
    if isinstance(document, list):
        document = {"rows": document}
    rows, seconds = document["rows"], document.get("processor_seconds", math.nan)
    kinds: dict[str, Any] = {"elsewhere": FileRow, "reported": dict}
    return Done([kinds.get(task[0], Row)(**row) for row in rows], seconds)


def write(text: str, file: Path, name: str = OWN) -> None:
    """Put what was measured between the marks of a page."""
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    head, found, rest = file.read_text(encoding="utf-8").partition(begin)
    _, closed, tail = rest.partition(end)
    if not found or not closed:
        raise SystemExit(f"{file} has no marks {begin} and {end}: put them where the table belongs")
    file.write_text(f"{head}{begin}\n{text}\n{end}{tail}", encoding="utf-8")


if __name__ == "__main__":
    main()
