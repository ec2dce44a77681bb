"""Tell what the capture of the model froze, as the file's own metadata keeps it."""

from onnxproof.validate.hazards._hazard import Hazard, Subject, advised, failed, listed, passed, skipped
from onnxproof.validate.verdict import Check

NAME = "tracing"


def look_for_frozen_values(subject: Subject) -> Check:
    """Whether a trace froze what Python computed and the model computes otherwise elsewhere.

    What is shown to be harmless is advice. "skipped" if the file does not say what its capture froze.
    """
    frozen = None if subject.manifest is None else subject.manifest.frozen
    if frozen is None:
        return skipped(NAME, "the file does not tell what its capture froze")
    wrong = [f"{one.place}: {one.reason}" for one in frozen if not one.harmless]
    if wrong:
        return failed(NAME, listed(wrong, "; "), len(wrong))
    if frozen:
        return advised(NAME, listed([f"{one.place}: {one.reason}" for one in frozen], "; "), len(frozen))
    return passed(NAME)


TRACING = Hazard(
    NAME,
    "TorchScript records operations on tensors; a condition, a number or a length that Python computed from "
    "them is kept as it was for one input, so the file takes one way where the model takes several",
    "write the line with tensor operations (torch.where, x.shape in an operation), let torch.export capture "
    "the model, or fix the size in [dims]",
    look_for_frozen_values,
)
