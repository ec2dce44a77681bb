"""What a run over labelled pictures finds, as figures of both legs."""

from dataclasses import asdict, dataclass
from typing import Any

from onnxproof.validate.facts import Located


@dataclass(frozen=True, slots=True)
class Figure:
    """One measure of quality, such as mAP, of both legs: shares in [0, 1].

    ``untied_difference`` is the candidate's less the reference's on the pictures without a tie.
    """

    name: str
    reference: float
    candidate: float
    untied_difference: float

    @property
    def difference(self) -> float:
        """The candidate's figure less the reference's."""
        return self.candidate - self.reference


@dataclass(frozen=True, slots=True)
class DatasetFigures:
    """The figures of one leg on ``pictures`` labelled pictures, ``untied`` of them without a tie.

    ``annotations`` counts what is labelled on them, ``decided`` what the reference decided. Detections count
    above ``score_threshold`` (None where nothing is cut for the figures). ``not_answered`` says on which
    picture the file failed first, and why; None where it answered all.
    """

    leg: str
    pictures: int
    annotations: int
    decided: int
    untied: int
    score_threshold: float | None
    figures: tuple[Figure, ...]
    matched: int
    ties: tuple[Located, ...]
    defects: tuple[Located, ...]
    not_answered: str | None

    def to_json(self) -> dict[str, Any]:
        """A JSON object: the findings' numbers, not the findings."""
        return {
            "leg": self.leg,
            "pictures": self.pictures,
            "annotations": self.annotations,
            "score_threshold": self.score_threshold,
            "figures": [{**asdict(figure), "difference": figure.difference} for figure in self.figures],
            "decisions": {
                "reference": self.decided,
                "matched": self.matched,
                "ties": len(self.ties),
                "defects": len(self.defects),
            },
            "untied_pictures": self.untied,
            "not_answered": self.not_answered,
        }
