"""The figures of both legs from a run over labelled pictures."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

from onnxproof.validate.facts import Decisions


@dataclass(frozen=True, slots=True)
class Figure:
    """One measure of quality, such as mAP, of both legs: shares in [0, 1].

    ``untied_difference`` is the candidate's minus the reference's on the pictures without a tie.
    """

    name: str
    reference: float
    candidate: float
    untied_difference: float

    @property
    def difference(self) -> float:
        """The candidate's figure minus the reference's."""
        return self.candidate - self.reference


@dataclass(frozen=True, slots=True)
class DatasetFigures:
    """The figures of one leg on ``pictures`` labelled pictures, ``untied`` of them without a tie.

    ``annotations`` counts the labelled objects. Detections count above ``score_threshold``, which is None for
    tasks without one. ``not_answered`` says on which picture the file failed first, and why; it is None if
    the file answered all.
    """

    leg: str
    pictures: int
    annotations: int
    untied: int
    score_threshold: float | None
    figures: tuple[Figure, ...]
    decisions: Decisions
    not_answered: str | None

    def to_json(self) -> dict[str, Any]:
        """A JSON object."""
        return {
            "leg": self.leg,
            "pictures": self.pictures,
            "annotations": self.annotations,
            "score_threshold": self.score_threshold,
            "figures": [{**asdict(figure), "difference": figure.difference} for figure in self.figures],
            "decisions": self.decisions.to_json(),
            "untied_pictures": self.untied,
            "not_answered": self.not_answered,
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """The inverse of ``to_json``."""
        figures = (
            Figure(
                entry["name"],
                float(entry["reference"]),
                float(entry["candidate"]),
                float(entry["untied_difference"]),
            )
            for entry in value["figures"]
        )
        return cls(
            value["leg"],
            value["pictures"],
            value["annotations"],
            value["untied_pictures"],
            value["score_threshold"],
            tuple(figures),
            Decisions.from_json(value["decisions"]),
            value["not_answered"],
        )
