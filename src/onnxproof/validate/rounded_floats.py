"""Tell a float64 model's file that goes through float32 from one that does not.

A cast to float32 does not round where the graph is evaluated in float64: exporters put such casts into files
in half precision wherever they like, and a model in float32 has them where it mixes dtypes. In a file of a
model in float64 it loses half of the digits, and float32's error, in which everything else is measured,
hides that. So such a file is evaluated again with these casts rounded.
"""

from collections.abc import Iterator, Sequence

import numpy as np

from onnxproof.seeded import FLOAT32_EPSILON
from onnxproof.tensors import Field
from onnxproof.validate.cases import volume
from onnxproof.validate.checks import Check
from onnxproof.validate.exact.arrays import Value
from onnxproof.validate.exact.block import Step
from onnxproof.validate.exact.errors import ExactError
from onnxproof.validate.exact.graph import casts_to_float32
from onnxproof.validate.legs.exact_graph import ExactLeg
from onnxproof.validate.policy import EXACT
from onnxproof.validate.pools import channels
from onnxproof.validate.trial import Stated, Trial

CHECK = "casts"

THROUGHOUT = 1e-12
"""The error, as a share of the largest value, up to which a model computes in float64 throughout. One step in
float32 errs 1e-8."""


def casts_checks(trial: Trial, graph: Stated) -> tuple[Check, ...]:
    """A check for each float64 output, if the file casts floats to float32 on the way to it.

    It fails if these casts move the output and the model itself has no step in float32. Looks at one case,
    the smallest of noise on which the graph was evaluated. Empty for other files, and if it does not run.
    """
    outputs = {spec.name for spec in graph.contract.outputs if spec.dtype == "float64"}
    fields = [one for one in graph.contract.fields if one.output in outputs and one.kind == "continuous"]
    if (
        not fields
        or not isinstance(graph.leg, ExactLeg)
        or not any(map(casts_to_float32, graph.leg.graph.nodes))
    ):
        return ()
    return tuple(_checked(trial, graph, graph.leg, fields))


def _checked(trial: Trial, graph: Stated, leg: ExactLeg, fields: Sequence[Field]) -> Iterator[Check]:
    cases = [one for one in trial.cases if one.name in graph.cases]
    if not cases or trial.truth.oracle is None:
        return
    case = min(cases, key=lambda one: (one.kind != "noise", volume((one,))))
    inputs = trial.inputs_of(case)
    lossy: list[str] = []

    def watch(step: Step, read: tuple[Value, ...], wrote: tuple[Value, ...]) -> None:
        before, after = read[0], wrote[0]
        if (
            not casts_to_float32(step)
            or not isinstance(before, np.ndarray)
            or not isinstance(after, np.ndarray)
        ):
            return
        if before.dtype.kind == "f" and not np.array_equal(before, after, equal_nan=True):
            lossy.append(step.label if step.label.startswith("Cast ") else f"Cast {step.label}")

    try:
        wide = leg.graph.run(inputs)
        narrow = leg.graph.with_rounded_casts("f").run(inputs, watch=watch)
    except ExactError:
        return
    truth, own = (one.run(inputs).outputs for one in (trial.truth.oracle, trial.truth.reference))
    for field in fields:
        if field.output not in wide or field.output not in narrow:
            continue
        wanted, reference, stated, rounded = (
            channels(side[field.output], field).astype(np.float64) for side in (truth, own, wide, narrow)
        )
        scale = float(np.abs(wanted).max(initial=0.0))
        if wanted.shape != stated.shape or not 0 < scale < np.inf or not np.isfinite(stated).all():
            continue  # other checks say what is wrong with it
        moved = float(np.abs(rounded - stated).max())
        share = moved / (FLOAT32_EPSILON * scale)
        mixed = not float(np.abs(reference - wanted).max()) <= THROUGHOUT * scale
        if not lossy or share <= EXACT.ratio or mixed:
            why = "PyTorch has steps in float32, too" if mixed else "no cast to float32 loses digits"
            yield Check(CHECK, "pass", why, share if not mixed else None, EXACT.ratio, leg.name, field.name)
            continue
        reason = (
            f"{lossy[0]} rounds float64 to float32, which moves {field.name} by {moved:.2g} in "
            f"{case.name}, where its largest value is {scale:.2g}; PyTorch computes in float64 throughout"
        )
        yield Check(CHECK, "fail", reason, share, EXACT.ratio, leg.name, field.name)
