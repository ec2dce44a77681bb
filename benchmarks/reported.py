"""Faults that others reported: what the verdict and the tools in use say of each.

Every fault of ``soundness/reported`` is rebuilt as a small network with a healthy and a damaged file; both go
before our verdict and before the rules of ``soundness/peers.py``. Each runs in a process of its own, with a
limit on its time. What was measured is kept in a folder under a hash of the sources, so that a run that was
stopped goes on where it was. Prints the table; --write puts it into ``soundness/REPORTED.md``.
"""

import argparse
import hashlib
import importlib.metadata
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import gettempdir
from typing import Any

from soundness.peers import PEERS
from soundness.reported import FAULTS, MODULES

import onnxproof

BENCHMARKS = Path(__file__).parent
PAGE = BENCHMARKS / "soundness" / "REPORTED.md"
BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"
PACKAGE = Path(onnxproof.__file__).parent
SOURCES = (
    *sorted(PACKAGE.rglob("*.py")),
    *(BENCHMARKS / "soundness" / name for name in ("fault.py", "measure.py", "peers.py")),
    *(BENCHMARKS / "soundness" / "reported" / name for name in ("effect.py", "fault.py", "measure.py")),
)
DEFINED_IN = {fault.name: Path(str(module.__file__)) for module in MODULES for fault in module.FAULTS}
PACKAGES = ("torch", "torchvision", "onnx", "onnxruntime", "onnxscript", "onnxsim", "polygraphy")
LIMIT = 300
"""Seconds that one fault may take, imports included."""

PROCESSES = 2
Row = dict[str, Any]
"""A row of ``soundness.reported.measure``; or a name, and ``error`` where it could not be measured."""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = [fault.name for fault in FAULTS]
    parser.add_argument("--only", nargs="+", metavar="NAME", choices=names, default=names)
    parser.add_argument("--write", action="store_true", help="put the table into soundness/REPORTED.md")
    parser.add_argument("--cache", type=Path, default=Path(gettempdir()) / "onnxproof-reported")
    parser.add_argument("--processes", type=int, default=PROCESSES)
    parser.add_argument("--limit", type=int, default=LIMIT, metavar="SECONDS", help="for one fault")
    arguments = parser.parse_args()
    arguments.cache.mkdir(parents=True, exist_ok=True)
    kept = kept_rows(arguments.cache)
    with ThreadPoolExecutor(arguments.processes) as pool:
        rows = list(pool.map(lambda name: row_of(name, kept[name], arguments.limit), arguments.only))
    text = text_of(rows)
    print(text)
    if arguments.write:
        write(text)


def text_of(rows: Sequence[Row]) -> str:
    """What the page says of the rows."""
    return "\n".join((*summary(rows), "", *table(rows), "", *misses(rows)))


def kept_rows(folder: Path) -> dict[str, Path]:
    """Where each fault's row is kept: its name, and a hash of what it depends on, sources and versions."""
    digest = hashlib.sha256()
    for file in SOURCES:
        digest.update(file.read_bytes())
    digest.update(" ".join(f"{name} {importlib.metadata.version(name)}" for name in PACKAGES).encode())
    places = {}
    for name, file in DEFINED_IN.items():
        own = digest.copy()
        own.update(file.read_bytes())
        places[name] = folder / f"{name}-{own.hexdigest()[:16]}.json"
    return places


def row_of(name: str, kept: Path, limit: int) -> Row:
    """The row of a fault: the one that is kept, or a new one."""
    if kept.is_file():
        row: Row = json.loads(kept.read_text(encoding="utf-8"))
        return row
    row = child(name, limit)
    print(f"{name}: {row.get('error') or row['damaged']}", file=sys.stderr, flush=True)
    if "error" not in row:
        part = kept.with_suffix(".part")
        part.write_text(json.dumps(row), encoding="utf-8")
        part.replace(kept)
    return row


def child(name: str, limit: int) -> Row:
    """Measure a fault in a process of its own."""
    paths = (str(PACKAGE.parent), str(BENCHMARKS), os.environ.get("PYTHONPATH", ""))
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(filter(None, paths))}
    command = [sys.executable, "-m", "soundness.reported", name]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=limit, env=environment
        )
    except subprocess.TimeoutExpired:
        return {"name": name, "error": f"not done after {limit} s"}
    if done.returncode:
        said = done.stderr.strip().splitlines()
        return {"name": name, "error": said[-1] if said else f"exit code {done.returncode}"}
    row: Row = json.loads(done.stdout.splitlines()[-1])
    return row


def summary(rows: Sequence[Row]) -> Iterator[str]:
    """How many were found, by us and by each tool."""
    done = [row for row in rows if "error" not in row]
    yield f"- faults: {len(rows)}, measured {len(done)}"
    passed = sum(row["healthy"] == "pass" for row in done)
    yield f"- onnxproof: {sum(map(caught, done))} damaged files refused, {passed} healthy files passed"
    for peer in PEERS:
        refused = sum(not row["peers"][peer.name] for row in done)
        accepted = sum(row["peers_healthy"][peer.name] for row in done)
        yield f"- {peer.name}: {refused} damaged files refused, {accepted} healthy files passed"


def caught(row: Row) -> bool:
    """Whether our verdict refuses the damaged file."""
    return bool(row["damaged"] != "pass")


def table(rows: Sequence[Row]) -> Iterator[str]:
    """A line for each fault."""
    heads = " | ".join(peer.name for peer in PEERS)
    yield f"| fault | source | made | effect | healthy | damaged | by | {heads} |"
    yield f"| --- | --- | --- | ---: | --- | --- | --- |{' --- |' * len(PEERS)}"
    for row in rows:
        if "error" in row:
            yield f"| {row['name']} |  |  |  | {row['error']} |  |  |{'  |' * len(PEERS)}"
            continue
        peers = " | ".join("–" if row["peers"][peer.name] else "found" for peer in PEERS)
        effect = "∞" if row["effect"] is None else f"{row['effect']:.2g}"
        by = ", ".join(row["found"])
        yield (
            f"| {row['name']} | {row['source']} | {row['made']} | {effect} | {row['healthy']} "
            f"| {row['damaged']} | {by} | {peers} |"
        )


def misses(rows: Sequence[Row]) -> Iterator[str]:
    """What came out wrong."""
    for row in rows:
        if "error" in row:
            yield f"- not measured: {row['name']}: {row['error']}"
            continue
        if row["healthy"] != "pass":
            yield f"- false alarm: {row['name']}: {', '.join(row['alarms'])}"
        if not caught(row):
            yield f"- missed: {row['name']}"


def write(text: str) -> None:
    """Put what was measured between the marks of the page."""
    head, begin, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not begin or not end:
        raise SystemExit(f"{PAGE} has no marks {BEGIN} and {END}: put them where the table belongs")
    PAGE.write_text(f"{head}{BEGIN}\n{text}\n{END}{tail}", encoding="utf-8")


if __name__ == "__main__":
    main()
