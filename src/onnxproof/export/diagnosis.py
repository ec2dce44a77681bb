"""Name the lines of a model that torch.export cannot follow, by its draft mode.

Draft mode runs the module with real values beside the symbols. Where a value or a size decides, it notes the
line and goes on the way of the example, so that it finds every such line in one run. The file that it would
give is not used: it answers as the example did, whatever its input.
"""

import linecache
import tempfile
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import nn

from onnxproof.export.examples import capture_sizes, example_inputs
from onnxproof.export.followed import STEPS, shapes_of
from onnxproof.export.quiet import quiet
from onnxproof.export.stand_ins import followable
from onnxproof.system.scratch import scratch_folder
from onnxproof.system.usercode import Place, innermost_line
from onnxproof.wrappers.family import WrappedModel

SHOWN = 5
"""How many lines are told."""

LONGEST = 80
"""How many characters of a line are told."""

ADVICE = {
    "DATA_DEPENDENT_ERROR": (
        "goes by a tensor's values, which a graph cannot: write it with tensor operations (torch.where), or "
        "torch.cond"
    ),
    "GUARD_ADDED": ("holds for some of the declared sizes only: narrow [dims], or write it for all sizes"),
}
"""What to do, by the name of torch's ``FailureType``. The type itself is not imported: it takes a second."""


def diagnosis(model: WrappedModel, module: nn.Module) -> tuple[str, ...]:
    """The lines that torch.export cannot follow, in words, and what to do.

    Raises what torch.export raises.
    """
    before = tempfile.tempdir
    with quiet(), torch.no_grad(), followable(), scratch_folder() as folder:
        tempfile.tempdir = str(folder)  # draft_export leaves a log there
        try:
            program = torch.export.draft_export(
                module,
                example_inputs(model.contract.inputs, capture_sizes(model.contract.dims, STEPS)),
                dynamic_shapes=shapes_of(model.contract.inputs, model.contract.dims, module),
            )
        finally:
            tempfile.tempdir = before
    report: Any = program._report  # type: ignore[attr-defined]
    told = list(dict.fromkeys(_told(report)))
    more = (f"  and {len(told) - SHOWN} more",) if len(told) > SHOWN else ()
    return (*(f"  {line}" for line in told[:SHOWN]), *more)


def _told(report: Any) -> Iterator[str]:
    """A line for each failure that has advice and a place."""
    for failure in report.failures:
        place = _place(failure.data, report.str_to_filename)
        advice = ADVICE.get(failure.failure_type.name)
        if advice is None or place is None:
            continue
        code = linecache.getline(place.file, place.line).strip()
        shown = code if len(code) <= LONGEST else f"{code[:LONGEST]} …"
        yield f"{place}: `{shown}` {advice}"


def _place(data: Mapping[str, Any], files: Mapping[Any, str]) -> Place | None:
    """The line of the model's code behind a failure. Returns None if it is not known."""
    stack = data.get("user_stack") or data.get("stack") or ()
    names = [(files.get(frame["filename"], files.get(str(frame["filename"]), "")), frame) for frame in stack]
    return innermost_line([Place(name, int(frame["line"]), frame["name"]) for name, frame in names if name])
