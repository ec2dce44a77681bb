"""Match the rows of a file to PyTorch's candidates, so that errors are measured between the same things.

A file whose graph ends in NMS returns one row for each detection, in any order. Each row is measured against
the oracle's nearest candidate before NMS. So if NMS keeps the other of two boxes that nearly coincide, the
numbers have no error; the decisions show the difference.

A row may depend on an earlier open decision, the choice of the proposals. If that came out otherwise, no
candidate of PyTorch corresponds to the row, and it is held back from the measurement. So is a row that scores
below half of the graph's threshold: PyTorch tells no candidates of so low a score. The decisions judge every
row, held back or not.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxproof.runtime.readings.boxes import Candidates, Cuts
from onnxproof.runtime.readings.carried import CarriedReading
from onnxproof.runtime.readings.graph_nms import Proposals
from onnxproof.runtime.readings.oriented import OrientedNms
from onnxproof.runtime.readings.rows import (
    MaskReading,
    OpenRegions,
    RowReading,
    candidates_from,
    nearest_candidates,
    rows_from,
)
from onnxproof.validate.compare.carried import carried_quantities
from onnxproof.validate.compare.comparer import error_bound, exact
from onnxproof.validate.compare.margins import Margins
from onnxproof.validate.compare.masks import mask_rows_comparable
from onnxproof.validate.compare.turned import oriented_quantities
from onnxproof.validate.legs.leg import Answer, Arrays
from onnxproof.validate.measure import REACH

Array = NDArray[Any]

MASKS = 3
"""The position of the masks among the outputs, if the network has masks."""

LEVEL_EPSILON = 1e-6
"""torchvision's LevelMapper adds this before it rounds a level down."""


@dataclass(frozen=True, slots=True, eq=False)
class Paired:
    """The outputs of the three legs, with matching rows in the same order.

    ``quantities`` are the numbers that the task's margins are measured in. The file has ``rows`` rows;
    ``held_back`` of them are left out.
    """

    outputs: tuple[Arrays, Arrays, Arrays]
    quantities: tuple[Arrays, Arrays, Arrays]
    rows: int
    held_back: int


def with_open_regions(oracle: Answer, reference: Answer, candidate: Answer, reading: RowReading) -> Answer:
    """The reference's answer. Its margins also say where the choice of the proposals is open.

    Finding that is slow. If all three legs return the same rows, it is not done, and the answer is unchanged.
    """
    stage = reading.graph.proposals
    if stage is None or _same_rows(oracle, reference, candidate, reading):
        return reference
    regions = _open_proposals(oracle.margins, reference.margins, stage)
    told = {"open_boxes": regions.boxes, "open_causes": np.array(regions.causes, dtype=str)}
    return replace(reference, margins={**reference.margins, **told})


def _same_rows(oracle: Answer, reference: Answer, candidate: Answer, reading: RowReading) -> bool:
    """Whether the legs' rows are the same candidates, in any order, and are no further apart than float error
    alone can move them."""
    chosen = []
    for answer in (oracle, reference):
        indices = rows_from(answer.outputs, reading, answer.margins).detections.indices
        chosen.append(np.sort(answer.margins["candidate_ids"][indices]))
    truth, wanted = (candidates_from(answer.margins, reading) for answer in (oracle, reference))
    assert truth is not None
    assert wanted is not None
    found = rows_from(candidate.outputs, reading, {}).detections
    nearest, distances = nearest_candidates(truth, found.boxes, found.scores, found.labels)
    if not np.isfinite(distances).all():
        return False
    chosen.append(np.sort(oracle.margins["candidate_ids"][nearest]))
    if not all(np.array_equal(ids, chosen[0]) for ids in chosen):
        return False
    errors = _distances(truth, nearest, wanted, _same_in_reference(oracle, reference, nearest)[0])
    return bool((distances <= REACH * errors.max(initial=0)).all())


def _open_proposals(oracle: Arrays, reference: Arrays, stage: Proposals) -> OpenRegions:
    """The boxes of the proposals whose choice, or whose level of the pyramid, float error may change."""
    boxes, scores = reference["proposal_boxes"], reference["proposal_scores"]
    # The file does not return its proposals, so its error is assumed to be the largest that is allowed.
    bounds = {
        "box": (1 + REACH) * _largest_difference(oracle["proposal_boxes"], boxes),
        "score": (1 + REACH) * _largest_difference(oracle["proposal_scores"], scores),
    }
    levels = reference["proposal_levels"]
    candidates = Candidates(boxes, scores, levels, None, levels)
    cuts = Cuts(-1.0, stage.iou_threshold, False, stage.top_candidates, stage.max_detections)
    candidates, crowd = _best(candidates, stage.top_candidates, bounds["score"])
    margins = Margins(candidates, cuts, bounds)
    indices = margins.open_indices()
    causes = [
        f"depends on a proposal that is open itself: {margins.open(index)}" for index in indices.tolist()
    ]
    straddling = _between_levels(candidates.boxes, bounds["box"], stage.levels)
    sides = np.maximum(candidates.boxes[straddling, 2:] - candidates.boxes[straddling, :2], 0)
    causes += [
        f"a proposal of {exact(size)} px lies at the border of two levels, {error_bound(bounds['box'])} px"
        for size in np.sqrt(sides.prod(axis=1))
    ]
    causes += [
        f"depends on a proposal that is one of a crowd at the cut after the best {stage.top_candidates}, "
        f"{error_bound(bounds['score'])}"
    ] * len(crowd)
    chosen = np.concatenate((candidates.boxes[indices], candidates.boxes[straddling], crowd.boxes))
    return OpenRegions(chosen / np.tile(reference["resized"], 2), tuple(causes))


def _best(candidates: Candidates, count: int, bound: float) -> tuple[Candidates, Candidates]:
    """The candidates of each group that may be among the ``count`` best, and the crowd at the cut.

    A group keeps at most twice ``count``. The crowd is the rest of those that may be among the best: on a
    black picture every anchor scores the same.
    """
    assert candidates.groups is not None
    kept, crowd = [], []
    for group in np.unique(candidates.groups):
        members = np.flatnonzero(candidates.groups == group)
        if len(members) > count:
            scores = candidates.scores[members]
            last = np.partition(scores, len(scores) - count)[len(scores) - count]
            order = np.argsort(-scores, kind="stable")
            members = members[order[scores[order] >= last - 2 * bound]]
        kept.append(members[: 2 * count])
        crowd.append(members[2 * count :])
    return candidates.take(np.concatenate(kept)), candidates.take(np.concatenate(crowd))


def _between_levels(boxes: Array, bound: float, levels: Sequence[float]) -> Array:
    """The indices of the ``boxes`` [n, 4] whose level may change if a corner moves by ``bound`` px.

    The level of a box is floor(level0 + log2(sqrt(area) / size0)), clipped to the lowest and the highest
    level (Lin et al. 2017, arXiv:1612.03144, equation 1).
    """
    lowest, highest, level0, size0 = levels
    sides = np.maximum(np.subtract(boxes[:, 2:], boxes[:, :2], dtype=np.float64), 0)
    least, most = (np.sqrt(np.maximum(sides + change, 0).prod(axis=1)) for change in (-2 * bound, 2 * bound))
    with np.errstate(divide="ignore"):
        low, high = (
            np.clip(np.floor(level0 + np.log2(size / size0) + LEVEL_EPSILON), lowest, highest)
            for size in (least, most)
        )
    return np.flatnonzero(low != high)


def _largest_difference(a: Array, b: Array) -> float:
    with np.errstate(invalid="ignore"):
        return float(np.nanmax(np.abs(np.subtract(a, b, dtype=np.float64)), initial=0))


def pair_batch(
    oracle: Answer,
    reference: Answer,
    candidate: Answer,
    reading: RowReading,
    sizes: Mapping[str, int],
    pair: Callable[[Answer, Answer, Answer, RowReading], Paired | str],
) -> Paired | str:
    """Pair the rows of each picture of a batch with ``pair``, and put the pairs together.

    Returns in words why it cannot be done: what ``pair`` says, or a row of a picture that is not there.
    """
    if reading.batch is None:
        return pair(oracle, reference, candidate, reading)
    wrong = reading.refuse(candidate.outputs, sizes)
    if wrong is not None:
        return wrong
    legs = [
        [Answer(*part) for part in reading.by_picture(answer.outputs, sizes, answer.margins)]
        for answer in (oracle, reference, candidate)
    ]
    parts: list[Paired] = []
    for picture, answers in enumerate(zip(*legs, strict=True)):
        part = pair(answers[0], answers[1], answers[2], reading)
        if isinstance(part, str):
            return f"picture {picture}: {part}"
        parts.append(part)
    outputs, quantities = (
        [_together([getattr(part, name)[leg] for part in parts]) for leg in range(len(legs))]
        for name in ("outputs", "quantities")
    )
    return Paired(
        (outputs[0], outputs[1], outputs[2]),
        (quantities[0], quantities[1], quantities[2]),
        rows=sum(part.rows for part in parts),
        held_back=sum(part.held_back for part in parts),
    )


def by_output(legs: Sequence[Mapping[str, Array]], names: Sequence[str]) -> list[dict[str, Array]]:
    """The quantities of each leg by the outputs that hold them. ``names`` are the reading's outputs: boxes,
    labels, by which rows were paired, scores and, behind them, masks or the picture of each row."""
    compared = (names[0], *names[2 : 2 + len(legs[0]) - 1])
    return [dict(zip(compared, leg.values(), strict=True)) for leg in legs]


def _together(parts: Sequence[Arrays]) -> Arrays:
    """The arrays of several pictures, by name, one after another."""
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def pair_rows(oracle: Answer, reference: Answer, candidate: Answer, reading: RowReading) -> Paired | str:
    """Match each row of the file to its candidates in the oracle and in the reference.

    If PyTorch has no candidate of a row's class, returns that in words.
    """
    names = reading.outputs
    truth, wanted = (candidates_from(answer.margins, reading) for answer in (oracle, reference))
    assert truth is not None
    assert wanted is not None
    found = rows_from(candidate.outputs, reading, {}).detections
    boxes, scores, labels = found.boxes, found.scores, found.labels
    in_truth, distances = nearest_candidates(truth, boxes, scores, labels)
    # A row with NaN has no distance either, but it must be measured.
    strange = np.isinf(distances) & np.isfinite(boxes).all(axis=1) & np.isfinite(scores)
    if strange.any() or (len(boxes) and not (len(truth) and len(wanted))):
        return (
            f"a row of class {labels[strange][0] if strange.any() else labels[0]}, which PyTorch sees nowhere"
        )
    in_wanted, apart = _same_in_reference(oracle, reference, in_truth)
    # A row may be nearer to a candidate that only the reference has. Then it corresponds to that one.
    nearest, from_wanted = nearest_candidates(wanted, boxes, scores, labels)
    known = np.isin(reference.margins["candidate_ids"], oracle.margins["candidate_ids"])
    apart |= (from_wanted < distances) & ~known[nearest]
    # PyTorch tells no candidate below half of the threshold, so such a row would be measured against another.
    apart |= scores < reading.graph.score_threshold / 2
    regions = rows_from(reference.outputs, reading, reference.margins).open_regions
    hanging = apart | np.array([regions.over(box) is not None for box in boxes], bool)
    errors = _distances(truth, in_truth, wanted, in_wanted)
    measured = np.flatnonzero(~hanging | (~apart & _undisturbed(distances, errors, hanging)))
    in_truth, in_wanted = in_truth[measured], in_wanted[measured]
    legs: list[dict[str, Array]] = [
        {"box": truth.boxes[in_truth], "score": truth.scores[in_truth]},
        {"box": wanted.boxes[in_wanted], "score": wanted.scores[in_wanted]},
        {"box": boxes[measured], "score": scores[measured]},
    ]
    if isinstance(reading, MaskReading):
        answers = (oracle, reference, candidate)
        chosen = (in_truth, in_wanted, measured)
        for leg, masks in zip(legs, _comparable_masks(answers, chosen, reading), strict=True):
            leg["mask"] = masks
    outputs = by_output(legs, names)
    if isinstance(reading, OrientedNms):
        with_angles(legs)
    if isinstance(reading, CarriedReading):
        told = [answer.margins["candidate_carried"] for answer in (oracle, reference)]
        carried = (told[0][in_truth], told[1][in_wanted], candidate.outputs[reading.carried][measured])
        add_carried(outputs, legs, (oracle, reference, candidate), carried, reading)
    return Paired(
        (outputs[0], outputs[1], outputs[2]),
        (legs[0], legs[1], legs[2]),
        rows=len(boxes),
        held_back=len(boxes) - len(measured),
    )


def add_carried(
    outputs: Sequence[dict[str, Array]],
    quantities: Sequence[dict[str, Array]],
    answers: Sequence[Answer],
    carried: Sequence[Array],
    reading: CarriedReading,
) -> None:
    """Add to each leg's outputs and quantities what its rows carry, in ``carried``, and what they share."""
    for own, leg, answer, values in zip(outputs, quantities, answers, carried, strict=True):
        own[reading.carried] = values
        own.update({name: answer.outputs[name] for name in reading.shared})
        leg.update(carried_quantities(reading, own))


def with_angles(legs: Sequence[dict[str, Array]]) -> None:
    """Make two quantities of each leg's oriented boxes [n, 5]."""
    for leg in legs:
        leg.update(oriented_quantities(leg["box"]))


def _same_in_reference(oracle: Answer, reference: Answer, in_truth: Array) -> tuple[Array, NDArray[np.bool_]]:
    """The indices in the reference of the oracle's candidates ``in_truth``, and whether the reference lacks
    them. An index is 0 if the candidate is lacking."""
    ids = reference.margins["candidate_ids"]
    places = {identity: place for place, identity in enumerate(ids.tolist())}
    found = [places.get(identity, -1) for identity in oracle.margins["candidate_ids"][in_truth].tolist()]
    places_found = np.array(found, np.int64)
    return np.maximum(places_found, 0), places_found < 0


def _distances(truth: Candidates, in_truth: Array, wanted: Candidates, in_wanted: Array) -> Array:
    """The distance of the same candidates in the two PyTorch legs, as in ``nearest_candidates``."""
    extent = float(np.nanmax(np.abs(truth.boxes), initial=1.0))
    moved = np.abs(np.subtract(truth.boxes[in_truth], wanted.boxes[in_wanted])).max(axis=1, initial=0)
    changed = np.abs(np.subtract(truth.scores[in_truth], wanted.scores[in_wanted]))
    distances: Array = moved / extent + changed
    return distances


def _undisturbed(candidate: Array, reference: Array, hanging: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Which rows are, in both legs, no further from the oracle's than float error alone can move them.

    The limit is REACH times the largest error, in the reference, of rows that depend on no open decision. If
    there are none, it is REACH times the median error of all rows.
    """
    if not len(hanging):
        return hanging
    sure = reference[~hanging] if not hanging.all() else np.median(reference, keepdims=True)
    limit = REACH * float(sure.max(initial=0))
    near: NDArray[np.bool_] = np.maximum(candidate, reference) <= limit
    return near


def _comparable_masks(
    answers: tuple[Answer, Answer, Answer], chosen: tuple[Array, Array, Array], reading: MaskReading
) -> list[Array]:
    """For each leg the masks [k, 1, H, W] of the rows that all legs return and paste at the same pixels.

    ``chosen`` are the matching rows: indices into the candidates of the two PyTorch legs, and into the file's
    rows.
    """
    legs = [rows_from(answer.outputs, reading, answer.margins).detections for answer in answers]
    numbers = [{index: number for number, index in enumerate(leg.indices.tolist())} for leg in legs]
    found = [
        [number[index] for number, index in zip(numbers, row, strict=True)]
        for row in zip(*(indices.tolist() for indices in chosen), strict=True)
        if all(index in number for number, index in zip(numbers, row, strict=True))
    ]
    rows = np.array(found, np.int64).reshape(-1, len(legs)).T
    alike = mask_rows_comparable(
        [leg.boxes[row] for leg, row in zip(legs, rows, strict=True)], reading.mask_side
    )
    name = reading.outputs[MASKS]
    return [answer.outputs[name][row[alike]] for answer, row in zip(answers, rows, strict=True)]
