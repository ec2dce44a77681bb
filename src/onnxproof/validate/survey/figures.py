"""What came of many pictures, as a verdict tells it."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Self

from onnxproof.validate.facts import Facts, Failure
from onnxproof.validate.facts_json import function_from_json, function_to_json, restored


@dataclass(frozen=True, slots=True)
class PictureFigures:
    """What one candidate did on many pictures.

    ``facts`` counts ``facts.cases`` pictures; each failure is named up to a number, and ``more_not_run`` and
    ``more_misshapen`` count the others. ``unread`` pictures could not be used; ``first_unread`` names some.
    Each runtime had ``threads`` threads in each worker. ``processors`` are the kinds that took part.
    """

    facts: Facts
    unread: int
    first_unread: tuple[Failure, ...]
    more_not_run: int
    more_misshapen: int
    threads: int
    processors: tuple[str, ...] = field(default=())

    @property
    def leg(self) -> str:
        """The candidate's name."""
        return self.facts.leg

    @property
    def pictures(self) -> int:
        """On how many pictures it was compared."""
        return self.facts.cases

    @property
    def text(self) -> str:
        """On what it was compared, in words."""
        return f"{self.pictures} pictures, {self.threads} thread{'s' if self.threads > 1 else ''} a runtime"

    def to_json(self) -> dict[str, Any]:
        """A JSON object."""
        decisions = self.facts.decisions
        return {
            "leg": self.leg,
            "pictures": self.pictures,
            "unread": self.unread,
            "first_unread": [asdict(failure) for failure in self.first_unread],
            "more_not_run": self.more_not_run,
            "more_misshapen": self.more_misshapen,
            "threads": self.threads,
            "processors": list(self.processors),
            "decisions": None if decisions is None else decisions.to_json(),
            "facts": function_to_json(self.facts),
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """The inverse of ``to_json``."""
        found = {} if value["decisions"] is None else value["decisions"]["findings"]
        leg = value["facts"]["leg"]
        findings = {kind: [{"leg": leg, **one} for one in found[kind]] for kind in found}
        return cls(
            function_from_json(value["facts"], findings),
            value["unread"],
            tuple(restored(Failure, failure) for failure in value["first_unread"]),
            value["more_not_run"],
            value["more_misshapen"],
            value["threads"],
            tuple(value["processors"]),
        )
