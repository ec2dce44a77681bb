"""Fail a file that states the function on every case, for what no case can show."""

from functools import partial
from pathlib import Path

from onnxproof.graph import OnnxGraph
from onnxproof.validate.checks import Check
from onnxproof.validate.exact.known import Known
from onnxproof.validate.legs.exact_graph import ExactLeg
from onnxproof.validate.stated import evaluated, smallest_first, with_other
from onnxproof.validate.trial import Settings, Stated, Trial
from onnxproof.validate.unread_rows import unread_checks
from onnxproof.validate.unseen import unseen_checks


def blind_checks(
    trial: Trial,
    settings: Settings,
    graph: Stated,
    parsed: OnnxGraph,
    file: Path,
    known: Known | None,
    whose: str = "the checkpoint's",
) -> tuple[Check, ...]:
    """Failed checks for rows of tables that no case reads, and for constants of which no case shows what they
    do, where they are not those of ``known``, ``whose`` they are.

    ``parsed`` is the graph of the ``file``, and ``graph`` what that states in the trial.
    """
    checks = unread_checks(
        graph.changed,
        parsed,
        file,
        trial.contract.inputs,
        partial(evaluated, trial, graph),
        leg=graph.leg.name,
        guessed=settings.guessed,
        whose=whose,
    )
    if known is None or not isinstance(graph.leg, ExactLeg):
        return checks
    return checks + unseen_checks(
        parsed,
        file,
        known,
        graph.proven,
        graph.leg,
        partial(with_other, file, graph.proven, settings.threads),
        partial(smallest_first, trial, graph),
        outputs={field.output for field in graph.contract.fields},
        told={one.constant for one in graph.changed if one.moved},
        whose=whose,
    )
