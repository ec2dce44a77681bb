"""Where a leg of a verdict ran: a row of the table of runtimes."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Self


@dataclass(frozen=True, slots=True)
class RuntimeRow:
    """Where a leg ran, or why it did not.

    ``leg`` is its name in the verdict's facts and checks. ``runtime`` is the runtime's name for people, and
    ``version`` its version. ``provider`` is ONNX Runtime's execution provider, OpenVINO's device or the
    browser's backend. ``level`` is ONNX Runtime's level of graph optimization, or the precision. ``absent``
    says why nothing was run, and what to do; it is empty if the leg ran. ``note`` names what the runtime
    computes otherwise by design.
    """

    leg: str
    runtime: str
    version: str = ""
    provider: str = ""
    level: str = ""
    absent: str = ""
    note: str = ""

    @property
    def where(self) -> str:
        """The provider and the level, in a few words."""
        return ", ".join(filter(None, (self.provider.removesuffix("ExecutionProvider"), self.level)))

    def to_json(self) -> dict[str, Any]:
        """A JSON object with a key for each field."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """The inverse of ``to_json``; other keys are ignored."""
        return cls(**{field.name: value[field.name] for field in fields(cls)})
