"""Compare the graph's tensors with the checkpoint's.

``validate/exact/constants.py`` says what each constant of the graph is. One that it cannot prove, but that
lies so near to a tensor of the checkpoint that chance is out of the question, was changed. That is advice:
the numbers of the verdict say whether it matters. What is like nothing (a grid, a constant, a product of
two weights that a simplifier made) is not judged. Neither is what may have been computed from several of
the checkpoint's tensors: a weight under a mask, with a low-rank product added, with another library's norm
folded in. Such a computation leaves tensors of the same part of the model that are not found in the graph.
It changes the numbers: of a tensor that holds the checkpoint's own in another order it says nothing.
"""

from collections.abc import Set
from dataclasses import dataclass, field

from onnxproof.graph import UnreadableError
from onnxproof.validate.exact.constants import Origin, Proven, Unproven, prove_constants
from onnxproof.validate.exact.known import Known
from onnxproof.validate.hazards._hazard import (
    NO_CHECKPOINT,
    Hazard,
    Subject,
    advised,
    listed,
    passed,
    skipped,
)
from onnxproof.validate.verdict import Check

NAME = "weights"


@dataclass(frozen=True, slots=True)
class _Changed:
    """What is told of a changed tensor, and which of the checkpoint's it stands for. ``reordered`` says that
    it holds that one's numbers in another order."""

    what: str
    names: frozenset[str]
    reordered: bool = False

    def computed(self, missing: Set[str]) -> bool:
        """Whether it may have been computed from others: tensors of the same part of the model, or of a part
        beside it, are not in the graph."""
        if self.reordered:
            return False
        parts = [name.rpartition(".")[0].rpartition(".")[0] for name in self.names]
        return any(not part or other.startswith(f"{part}.") for part in parts for other in missing)


@dataclass(slots=True)
class _Tally:
    """What was found of the checkpoint's tensors, and in what form."""

    shapes: dict[str, tuple[int, ...]]
    rows: dict[str, str]
    """What is told of the rows of a constant, by its name."""
    found: set[str] = field(default_factory=set)
    folded: int = 0
    copied: int = 0
    unlike: int = 0
    changed: list[_Changed] = field(default_factory=list)

    def add_proven(self, name: str, shape: tuple[int, ...], origin: Origin) -> None:
        """Count a constant that is known."""
        self.found |= origin.names
        if not origin.names:
            return
        if origin.copied:
            self.copied += 1
        else:
            self.folded += 1
        if origin.copied and self.shapes.get(name) == shape and name not in origin.names:
            what = f"{name} holds the numbers of {min(origin.names)}"
            self.changed.append(_Changed(what, origin.names | {name}))

    def add_unproven(self, constant: Unproven) -> None:
        """Count a constant that is not known to the bit."""
        bears_name = self.shapes.get(constant.name) == constant.shape
        near = [entry for entry in constant.near if entry.close or not entry.differing]
        told = self.rows.get(constant.name, "")
        if constant.reordered:
            what = f"{constant.name} holds the numbers of {constant.reordered} in another order{told}"
            self.found.add(constant.reordered)
            self.changed.append(_Changed(what, frozenset([constant.reordered]), reordered=True))
        elif not near:
            self.unlike += bears_name
        for entry in near:
            self.found |= entry.names
            if entry.differing:
                self.changed.append(_Changed(f"{constant.name} is {entry}{told}", entry.names))
            elif entry.folded:
                self.folded += 1
            else:
                self.copied += 1


def look_for_changed_weights(subject: Subject) -> Check:
    """Whether every tensor that is the checkpoint's holds the checkpoint's numbers; advice if one does not.

    "skipped" if the checkpoint is not at hand, or if none of its tensors is found.
    """
    if subject.weights is None:
        return skipped(NAME, NO_CHECKPOINT)
    total = len(subject.weights.tensors)
    if not total:
        return passed(NAME, "the model has no weights")
    try:
        proven = subject.proven or prove_constants(subject.graph, Known(subject.weights), subject.file)
    except UnreadableError as error:
        return skipped(NAME, f"not all tensors can be read: {error}")
    tally = _count(subject, proven)
    told = f"{len(tally.found)} of the checkpoint's {total} tensors found"
    missing = subject.weights.tensors.keys() - tally.found
    changed = [entry.what for entry in tally.changed if not entry.computed(missing)]
    if changed:
        return advised(NAME, f"{listed(changed)}; {told}", len(changed))
    if not tally.found:
        return skipped(
            NAME, f"none of the checkpoint's {total} tensors stands in the file in a form that is known"
        )
    told += f", {tally.copied} copied, {tally.folded} with a batch norm folded in"
    if tally.unlike:
        told += f"; {tally.unlike} bear the name of one that they are not like"
    return passed(NAME, told)


def _count(subject: Subject, proven: Proven) -> _Tally:
    assert subject.weights is not None
    rows = {one.constant: f" ({one})" for one in subject.changed}
    tally = _Tally({name: array.shape for name, array in subject.weights.tensors.items()}, rows)
    shapes = {stored.name: stored.shape for stored in subject.graph.stored}
    for name, origin in proven.origins.items():
        tally.add_proven(name, shapes[name], origin)
    for constant in proven.unproven:
        tally.add_unproven(constant)
    return tally


CHANGED_WEIGHTS = Hazard(
    NAME,
    "the file computes with other numbers than the checkpoint: rounded, scaled, of another run, or damaged; "
    "this is advice and never fails, and the check function says whether it matters",
    "export again from this checkpoint, and compare after each step that rewrites the file (converters, "
    "quantizers, optimizers)",
    look_for_changed_weights,
)
