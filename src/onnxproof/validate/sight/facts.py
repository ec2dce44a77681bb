"""What the link ``pipeline`` found, as values without tensors."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self


@dataclass(frozen=True, slots=True)
class Cause:
    """Differences of one cause.

    ``stages`` are those whose exchange removes them; there is none if the differences are not explained.
    ``what`` says how many they are, ``why`` the cause, ``picture`` where the first was found. ``tied`` says
    that float error alone explains them.
    """

    stages: tuple[str, ...]
    count: int
    what: str
    why: str
    picture: str
    tied: bool = False


@dataclass(frozen=True, slots=True)
class SeenBox:
    """A detection in the picture's pixels. ``kind`` says how the other pipeline decided otherwise: a key of
    differences.KINDS, or nothing."""

    x0: float
    y0: float
    x1: float
    y1: float
    label: str
    score: float
    kind: str = ""


@dataclass(frozen=True, slots=True)
class SeenPicture:
    """The boxes of both pipelines on one picture of ``width`` by ``height`` pixels."""

    picture: str
    width: int
    height: int
    own: tuple[SeenBox, ...]
    found: tuple[SeenBox, ...]

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """The inverse of ``asdict``."""
        own, found = (tuple(SeenBox(**box) for box in value[leg]) for leg in ("own", "found"))
        return cls(value["picture"], value["width"], value["height"], own, found)


@dataclass(frozen=True, slots=True)
class Sight:
    """The decisions of ``predict`` beside those of the framework's own pipeline, ``own``, on ``pictures``
    pictures. The framework took ``decisions``. ``seen`` are the boxes on a few of the pictures."""

    own: str
    pictures: int
    decisions: int
    matched: int
    causes: tuple[Cause, ...]
    seen: tuple[SeenPicture, ...] = ()

    @property
    def differences(self) -> int:
        """How many decisions differ and are no ties."""
        return sum(cause.count for cause in self.causes if not cause.tied)

    @property
    def ties(self) -> int:
        """How many decisions differ by float error alone."""
        return sum(cause.count for cause in self.causes if cause.tied)

    def to_json(self) -> dict[str, Any]:
        """A JSON object."""
        causes = [{**asdict(cause), "stages": list(cause.stages)} for cause in self.causes]
        return {**asdict(self), "causes": causes, "ties": self.ties, "differences": self.differences}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """The inverse of ``to_json``."""
        causes = tuple(Cause(**{**cause, "stages": tuple(cause["stages"])}) for cause in value["causes"])
        seen = tuple(map(SeenPicture.from_json, value.get("seen", ())))
        return cls(value["own"], value["pictures"], value["decisions"], value["matched"], causes, seen)
