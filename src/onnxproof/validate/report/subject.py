"""What a verdict is on, and how it came about: what a report says besides the verdict."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from onnxproof.validate.verdict import Check

KEYS = {
    "function": ("export.simplify", "export.exporter", "export"),
    "runtime": ("validate.providers", "validate.optimization", "validate"),
    "decisions": ("validate.images", "validate"),
    "pipeline": ("predict", "validate.images"),
}
"""The keys of a job that a check of each link is about, the nearest first."""

KEYS_OF_CHECKS = {
    "interface": ("dims",),
    "runs": ("dims",),
    "shapes": ("dims",),
    "opset": ("export.opset", "export"),
    "folding": ("export.fold_batch_norms", "export"),
    "folded": ("export.simplify", "export.fold_batch_norms", "export"),
    "dataset": ("validate.annotations", "validate.images"),
    "changed": ("precision.budget.changed", "precision.budget", "precision", "validate.images"),
    "map_drop": ("precision.budget.map_drop", "precision.budget", "precision", "validate.annotations"),
    "box": ("precision.budget.box_px", "precision.budget", "precision"),
    "score": ("precision.budget.score", "precision.budget", "precision"),
    "batches": ("dims.batch", "dims"),
    "declared_sizes": ("dims",),
}
"""The same of checks that are about other keys than their link."""

ELSE = ("model.checkpoint", "model.family", "model", "name")
"""The keys that name what was exported."""


@dataclass(frozen=True, slots=True)
class Drawing:
    """A picture with decisions drawn on it: PNG bytes, and the picture's name."""

    name: str
    png: bytes


@dataclass(frozen=True, slots=True)
class Subject:
    """What a verdict is on.

    ``name`` is the job's, or else the file's. ``model`` is the path of the ONNX file and ``job`` that of the
    job file, both as reports name them; ``job`` is None if there is none. ``lines`` has the line of each key
    and table in it, from 1. ``made`` are facts on how the file was made, as label and value. ``command`` is
    the command line. ``stages`` are the stages of the work and the seconds that they took.
    """

    name: str
    model: str
    job: str | None = None
    lines: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    made: tuple[tuple[str, str], ...] = ()
    command: str = ""
    stages: tuple[tuple[str, float], ...] = ()
    drawings: tuple[Drawing, ...] = ()

    @property
    def seconds(self) -> float:
        """How long the work took."""
        return sum(seconds for _, seconds in self.stages)

    def place(self, check: Check) -> tuple[str, int | None]:
        """The file that a check is shown on, and its line: the job file's, if there is one."""
        if self.job is None:
            return self.model, None
        keys = (*KEYS_OF_CHECKS.get(check.name, KEYS[check.link]), *ELSE)
        return self.job, next((self.lines[key] for key in keys if key in self.lines), 1)


_QUOTES = ('"""', "'''")
_TABLE = re.compile(r"\s*\[\[?\s*([^\[\]]+?)\s*\]\]?\s*(?:#.*)?")
_KEY = re.compile(r"""\s*((?:[\w-]+|"[^"]*"|'[^']*')(?:\s*\.\s*(?:[\w-]+|"[^"]*"|'[^']*'))*)\s*=(.*)""")


def lines_of(toml: str) -> dict[str, int]:
    """The line of each table and key of a TOML document, from 1, by its dotted name."""
    found: dict[str, int] = {}
    table, until = "", ""
    for number, line in enumerate(toml.splitlines(), start=1):
        if until:
            until = "" if until in line else until
            continue
        if head := _TABLE.fullmatch(line):
            table = _plain(head[1])
            found.setdefault(table, number)
        elif key := _KEY.fullmatch(line):
            name = _plain(key[1])
            found.setdefault(f"{table}.{name}" if table else name, number)
            until = next((quote for quote in _QUOTES if key[2].count(quote) == 1), "")
    return found


def _plain(name: str) -> str:
    return ".".join(part.strip().strip("\"'") for part in name.split("."))
