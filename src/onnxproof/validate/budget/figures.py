"""What a budget is judged by, as values without tensors."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

from onnxproof.validate.budget.drift import Drift
from onnxproof.validate.facts import SHOWN_FINDINGS, Failure


@dataclass(frozen=True, slots=True)
class Moved:
    """How far a quantity of a kept decision moved at most, and on which picture."""

    quantity: str
    largest: float
    case: str


@dataclass(frozen=True, slots=True)
class Changed:
    """A decision that differs: on which picture, and what it is."""

    case: str
    what: str


@dataclass(frozen=True, slots=True)
class Quality:
    """One measure of quality on labelled pictures, such as mAP: the reference's and the file's, in [0, 1]."""

    name: str
    reference: float
    candidate: float


@dataclass(frozen=True, slots=True)
class BudgetTally:
    """What was counted on some pictures. Adding and merging commute, but for which findings are told.

    ``decisions`` counts those that either leg took, ``missing``, ``extra`` and ``flipped`` those that differ.
    """

    pictures: int = 0
    decisions: int = 0
    missing: int = 0
    extra: int = 0
    flipped: int = 0
    moved: tuple[Moved, ...] = ()
    findings: tuple[Changed, ...] = ()

    @property
    def changed(self) -> int:
        """How many decisions differ."""
        return self.missing + self.extra + self.flipped

    def add(self, case: str, drift: Drift) -> "BudgetTally":
        """The tally with one picture more."""
        moved = tuple(Moved(quantity, largest, case) for quantity, largest in drift.moved.items())
        findings = tuple(Changed(case, what) for what in drift.told[:SHOWN_FINDINGS])
        one = BudgetTally(1, drift.decisions, drift.missing, drift.extra, drift.flipped, moved, findings)
        return self.merge(one)

    def merge(self, other: "BudgetTally") -> "BudgetTally":
        """The tally of both sets of pictures."""
        largest: dict[str, Moved] = {}
        for one in (*self.moved, *other.moved):
            before = largest.get(one.quantity)
            if before is None or (one.largest, before.case) > (before.largest, one.case):
                largest[one.quantity] = one
        return BudgetTally(
            self.pictures + other.pictures,
            self.decisions + other.decisions,
            self.missing + other.missing,
            self.extra + other.extra,
            self.flipped + other.flipped,
            tuple(largest[name] for name in sorted(largest)),
            (*self.findings, *other.findings)[:SHOWN_FINDINGS],
        )


@dataclass(frozen=True, slots=True)
class Kept:
    """A part of the network that stays in float32, and why."""

    name: str
    why: str


@dataclass(frozen=True, slots=True)
class Tried:
    """A file that the search tried: how many parts it kept in float32, and what came of it.

    ``share`` is the upper bound on the share of changed decisions at ``confidence``, by which the file was
    judged. ``time`` is the file's time over that of the file in float32, ``size`` its bytes over that file's.
    """

    kept: int
    passed: bool
    changed: int
    decisions: int
    share: float
    box: float
    score: float
    time: float
    size: float
    confidence: float


@dataclass(frozen=True, slots=True)
class Search:
    """How the parts that stay in float32 were found, of ``parts`` that the network has.

    ``ranking`` are the parts that cost most by themselves, the first is kept first. ``tried`` are the files,
    in the order of the parts that they keep. Those that keep a part were judged at ``confidence``, the first
    one at its own, so that all together hold at the budget's.
    """

    parts: int
    confidence: float
    kept: tuple[Kept, ...]
    ranking: tuple[Kept, ...]
    tried: tuple[Tried, ...]


@dataclass(frozen=True, slots=True)
class BudgetFigures:
    """What a file of lower precision did beside the reference.

    ``dependent`` says that the decisions on a picture depend on each other, so that their number proves
    nothing. ``quality`` is empty without labelled pictures. ``not_run`` and ``not_finite`` are the pictures
    that the file did not answer, or answered with NaN or infinity. ``search`` is None if nothing was
    searched.
    """

    leg: str
    reference: str
    tally: BudgetTally
    dependent: bool
    quality: tuple[Quality, ...] = ()
    not_run: tuple[Failure, ...] = ()
    not_finite: tuple[str, ...] = ()
    search: Search | None = None

    def to_json(self) -> dict[str, Any]:
        """A JSON object."""
        document = asdict(self)
        tally = document.pop("tally")
        return {**document, **tally, "changed": self.tally.changed}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """The inverse of ``to_json``."""
        counts = {key: value[key] for key in ("pictures", "decisions", "missing", "extra", "flipped")}
        tally = BudgetTally(
            **counts,
            moved=tuple(Moved(one["quantity"], float(one["largest"]), one["case"]) for one in value["moved"]),
            findings=tuple(Changed(**one) for one in value["findings"]),
        )
        quality = (
            Quality(one["name"], float(one["reference"]), float(one["candidate"])) for one in value["quality"]
        )
        return cls(
            value["leg"],
            value["reference"],
            tally,
            value["dependent"],
            tuple(quality),
            tuple(Failure(**one) for one in value["not_run"]),
            tuple(value["not_finite"]),
            None if value.get("search") is None else _search_from(value["search"]),
        )


def _search_from(value: Mapping[str, Any]) -> Search:
    numbers, sure = ("share", "box", "score", "time", "size", "confidence"), float(value["confidence"])
    tried = ({"confidence": sure, **one} for one in value["tried"])  # older documents have one for all
    return Search(
        value["parts"],
        sure,
        tuple(Kept(**one) for one in value["kept"]),
        tuple(Kept(**one) for one in value["ranking"]),
        tuple(Tried(**{**one, **{key: float(one[key]) for key in numbers}}) for one in tried),
    )
