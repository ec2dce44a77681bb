"""The tables that two files look integer inputs up in."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from onnxproof.graph import OnnxGraph
from onnxproof.validate.checks import Check
from onnxproof.validate.legs.onnx_runtime import OrtLeg
from onnxproof.validate.table_ranges import Guess, guesses, in_both
from onnxproof.validate.unread_rows import TABLES


@dataclass(frozen=True, slots=True)
class Tables:
    """What the files' graphs suggest for their inputs' ranges, by name."""

    a: Mapping[str, Guess]
    b: Mapping[str, Guess]

    @classmethod
    def of(cls, a: Path, b: Path, leg: OrtLeg) -> "Tables":
        """The tables of the files A and B. ``leg`` is A's."""
        names = [port.name for port in leg.ports.inputs]
        ours, theirs = (guesses(OnnxGraph.read(file), file, names) for file in (a, b))
        return cls(ours, theirs)

    @property
    def ranges(self) -> dict[str, Guess]:
        """The ranges that hold in both files."""
        return in_both(self.a, self.b)

    def checks(self, leg: str, guessed: frozenset[str]) -> tuple[Check, ...]:
        """A failed check for each table of B that has fewer rows than A's, if nobody declared the ids."""
        pairs = [(name, self.a[name], self.b[name]) for name in self.a if name in self.b and name in guessed]
        return tuple(
            Check(
                TABLES,
                "fail",
                f"B looks {name} up in the {theirs.rows} rows of {theirs.table}, A in the {ours.rows} of "
                f"{ours.table}; if no id is above {theirs.high}, declare the range of {name}",
                ours.high - theirs.high,
                0,
                leg,
            )
            for name, ours, theirs in pairs
            if ours.table and theirs.table and theirs.high < ours.high
        )
