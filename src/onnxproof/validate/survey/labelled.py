"""The figures of very many labelled pictures, from what was measured of their chunks."""

from collections.abc import Mapping, Sequence

from onnxproof.validate.dataset.figures import DatasetFigures
from onnxproof.validate.dataset.labels import Labels
from onnxproof.validate.dataset.metrics import Measure, extend
from onnxproof.validate.dataset.run import figures_of
from onnxproof.validate.policy import Policy
from onnxproof.validate.survey.gathered import Gathered


def labelled_figures(
    gathered: Gathered,
    measures: Mapping[int, Sequence[Measure]],
    names: Sequence[str],
    labels: Labels,
    policy: Policy,
) -> tuple[DatasetFigures, ...]:
    """The figures of each candidate.

    ``measures`` has what the reference and each candidate decided, by the number of the chunk; those of the
    first chunk are added to. ``names`` are those of the cases, in the pictures' order.
    """
    reference, *candidates = _joined(measures)
    return tuple(
        figures_of(tally.contract, policy, leg, tally, names, labels, reference, candidate)
        for leg, tally, candidate in zip(gathered.about.legs, gathered.tallies, candidates, strict=True)
    )


def _joined(measures: Mapping[int, Sequence[Measure]]) -> list[Measure]:
    """What each leg decided on all pictures, in their order."""
    first, *following = (measures[number] for number in sorted(measures))
    for others in following:
        for own, other in zip(first, others, strict=True):
            extend(own, other)
    return list(first)
