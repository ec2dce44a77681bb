"""The checks on what golden cases say beside numbers: whose they are, and what was proven of the file."""

from onnxproof.runtime.folder import PARITY_FILE
from onnxproof.validate.golden.golden import Golden
from onnxproof.validate.legs.leg import GRAPH
from onnxproof.validate.verdict import Check


def verified_check(golden: Golden) -> Check:
    """Whether the verdict that the bundle was exported with passed."""
    found = golden.about.verdict
    if found == "pass":
        return Check("verified", "pass", "")
    reason = f"the verdict of the export was {found}, so there is nothing that this machine could keep to"
    return Check("verified", "fail" if found == "fail" else "error", f"{reason}; {PARITY_FILE} says why")


def function_check(golden: Golden, other: str | None) -> Check:
    """The function link. A file states the same function on every machine, so it is as it was proven.

    ``other`` says why the file is not known to be the one that was proven. It is None if it is known.
    """
    if golden.about.lowered is not None:
        said = "a file of lower precision does not state the checkpoint's function"
        return Check("function", "skipped", said, leg=GRAPH)
    if other is None and golden.about.links.get("function") == "pass":
        said = "the file is the one whose function was proven by the export"
        return Check("function", "pass", said, leg=GRAPH)
    why = other or "it was not proven when it was exported"
    return Check("function", "skipped", f"{why}, and golden cases evaluate no graph", leg=GRAPH)


def inputs_check(golden: Golden) -> Check:
    """Whether the inputs are those that were recorded: NumPy may draw other numbers from a seed one day."""
    changed = [one for one in golden.cases if one.changed]
    if not changed:
        return Check("inputs", "pass", "", 0.0, 0.0)
    first = changed[0]
    reason = (
        f"{len(changed)} of {len(golden.cases)} golden cases cannot be made anew, first {first.case.name}: "
        f"the seed gives other numbers for {', '.join(first.changed)} here than where they were recorded"
    )
    return Check("inputs", "error", reason, float(len(changed)), 0.0)
