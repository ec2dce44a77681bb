"""Define a hazard, the subject that it is looked for in, and what was found."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from onnxproof.contract import Contract
from onnxproof.errors import ModelFileError
from onnxproof.graph import OnnxGraph
from onnxproof.runtime.loading import read_metadata
from onnxproof.runtime.manifest import METADATA_KEY, Manifest
from onnxproof.targets import DEFAULT
from onnxproof.validate.conditions import Seen
from onnxproof.validate.exact.checkpoint import Weights
from onnxproof.validate.exact.constants import Proven
from onnxproof.validate.exact.known import Known
from onnxproof.validate.looked_up import ChangedRows
from onnxproof.validate.verdict import Check

NO_CHECKPOINT = "inspect reads no checkpoint: onnxproof validate BUNDLE --checkpoint PATH does"
"""Why a hazard is skipped that is looked for in what the checkpoint holds."""

Watch = Callable[[Any, tuple[Any, ...], tuple[Any, ...]], None]
"""``exact.block.Watch``: called with a Step, the values that it read and those that it wrote. To import it
needs torch, and hazards need none."""


@dataclass(frozen=True, eq=False)
class Subject:
    """A file, and what it should be.

    ``graph`` has no external data; that is read from beside ``file`` when it is needed. ``opset`` is the
    requested one, ``contract`` the model's own, ``weights`` the checkpoint's tensors, ``proven`` what the
    file's constants are of these, ``known`` what constants the model's files may hold. ``evaluate`` runs the
    graph in float64 on one case of the function link after the other, and calls the watch after each node.
    ``seen`` has what the graph's conditions were when the link ran it. Each of these seven is None if it is
    not at hand. ``chosen`` are the settings of decisions that the file may state otherwise. ``changed`` are
    the rows of looked-up tables that are not the checkpoint's, for which the verdict has cases.
    """

    graph: OnnxGraph
    file: Path
    target: str = DEFAULT
    opset: int | None = None
    contract: Contract | None = None
    weights: Weights | None = None
    proven: Proven | None = None
    known: Known | None = None
    evaluate: Callable[[Watch], Iterator[None]] | None = None
    seen: Seen | None = None
    chosen: frozenset[str] = frozenset()
    changed: tuple[ChangedRows, ...] = ()

    @cached_property
    def told(self) -> str | None:
        """The text of onnxproof's metadata; None if the file has none."""
        return self.graph.metadata(METADATA_KEY)

    @cached_property
    def manifest(self) -> Manifest | None:
        """The manifest in the file's metadata; None if there is none, or none that can be read."""
        if self.told is None:
            return None
        try:
            return read_metadata({METADATA_KEY: self.told}, self.file)
        except ModelFileError:
            return None

    @property
    def declared(self) -> Contract | None:
        """The model's contract, or else the metadata's; None if there is neither."""
        if self.contract is not None:
            return self.contract
        return None if self.manifest is None else self.manifest.contract


Look = Callable[[Subject], Check]


@dataclass(frozen=True, slots=True)
class Hazard:
    """A named check on the graph. ``why`` says what harm its finding does, ``remedy`` what to do."""

    name: str
    why: str
    remedy: str
    look: Look


@dataclass(frozen=True, slots=True)
class Found:
    """The outcome of looking for a hazard."""

    hazard: Hazard
    check: Check

    @property
    def advice(self) -> str | None:
        """What is worth knowing although it changes no decision; None if there is nothing."""
        counted = self.check.limit is None and bool(self.check.value)
        return self.check.reason if self.check.status == "pass" and counted else None

    @property
    def clean(self) -> bool:
        """Whether there is nothing to say."""
        return self.check.status == "pass" and self.advice is None

    def to_json(self) -> dict[str, Any]:
        """A JSON object: the check's name, status, reason, value and limit; the hazard's why and remedy."""
        check, hazard = self.check, self.hazard
        return {
            "name": check.name,
            "status": check.status,
            "reason": check.reason,
            "value": check.value,
            "limit": check.limit,
            "why": hazard.why,
            "remedy": hazard.remedy,
        }


def passed(name: str, reason: str = "") -> Check:
    """The check if nothing was found. ``reason`` says what was looked at."""
    return Check(name, "pass", reason, 0, 0)


def advised(name: str, reason: str, count: float) -> Check:
    """The check if what was found changes no decision: a pass with a note."""
    return Check(name, "pass", reason, count)


def failed(name: str, reason: str, count: float = 1) -> Check:
    """The check if what was found can change a decision."""
    return Check(name, "fail", reason, count, 0)


def skipped(name: str, reason: str) -> Check:
    """The check if it could not be made; ``reason`` says why."""
    return Check(name, "skipped", reason)


SHOWN = 3
"""How many names a reason spells out."""


def listed(names: Sequence[str], separator: str = ", ") -> str:
    """The first SHOWN names, and how many more there are."""
    more = len(names) - SHOWN
    return separator.join(names[:SHOWN]) + (f" and {more} more" if more > 0 else "")


def counted(names: Iterator[str]) -> str:
    """Names with the count of each, in alphabetical order."""
    found = sorted(names)
    return ", ".join(f"{name} ({found.count(name)} times)" for name in sorted(set(found)))
