"""What came of one contestant on one architecture."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, Self

PEERS = ("dynamo", "torchscript", "ultralytics", "optimum-onnx")
"""Plain ``torch.onnx.export`` by its two exporters, and the exporters of two libraries."""

LIBRARY_OF: Mapping[str, str] = {"ultralytics": "ultralytics", "optimum-onnx": "transformers"}
"""The peers that export one library's networks alone."""

Outcome = Literal["right", "wrong", "none", "crash", "undecided", "skipped"]
"""What a contestant made:

- "right": a file that passes all our links;
- "wrong": a file that one of them refuses;
- "none": no file that ONNX Runtime loads;
- "crash": an exception of ours that reached the user;
- "undecided": a file that could not be checked;
- "skipped": not tried.
"""


@dataclass(frozen=True, slots=True)
class Row:
    """One contestant on one architecture.

    ``link`` is the link that failed, ``reason`` says why there is no right file. ``exporter`` is the rung
    that captured the model, ``rungs`` say why those before it did not. ``simplifier`` is "none" if the graph
    was not simplified, ``kept`` then says why. ``seconds`` are those of a cold process, imports included,
    less what the benchmark itself does in it; ``peak_mib`` is the largest memory of any process of it. NaN
    is not valid JSON, so what was not measured is None. ``checked_seconds`` is how long our links took on a
    peer's file. ``cases`` is how many inputs the verdict rests on.
    """

    architecture: str
    library: str
    contestant: str
    outcome: Outcome
    link: str = ""
    reason: str = ""
    exporter: str = ""
    rungs: tuple[str, ...] = ()
    simplifier: str = ""
    kept: str = ""
    seconds: float | None = None
    peak_mib: float | None = None
    checked_seconds: float | None = None
    cases: int = 0

    def write(self, file: Path) -> None:
        """Write the row as JSON; a reader sees the old file or the new one."""
        file.parent.mkdir(parents=True, exist_ok=True)
        part = file.with_suffix(".part")
        part.write_text(json.dumps(asdict(self), indent=1) + "\n", encoding="utf-8")
        part.replace(file)

    @classmethod
    def read(cls, file: Path) -> Self:
        """The row in a file that ``write`` wrote."""
        return cls.of(json.loads(file.read_text(encoding="utf-8")))

    @classmethod
    def of(cls, keys: Mapping[str, Any]) -> Self:
        """The row of a JSON object."""
        return cls(**{**keys, "rungs": tuple(keys["rungs"])})


class Rows:
    """The rows in a file, one JSON object a line. A line that a stopped run left unfinished is not read."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.found: dict[tuple[str, str], Row] = {}
        lines = file.read_text(encoding="utf-8").splitlines(keepends=True) if file.is_file() else []
        if lines and not lines[-1].endswith("\n"):
            lines.pop()
            file.write_text("".join(lines), encoding="utf-8")
        for line in lines:
            keys = json.loads(line)
            self.found[keys["architecture"], keys["contestant"]] = Row.of(keys)

    def add(self, row: Row) -> None:
        """Keep a row, at once."""
        self.found[row.architecture, row.contestant] = row
        with self.file.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(asdict(row)) + "\n")
