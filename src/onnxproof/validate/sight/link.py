"""Compare ``predict`` with the framework's own pipeline on a job's pictures."""

import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from onnxproof.contract import Contract, Preprocess
from onnxproof.progress import Progress, silent
from onnxproof.runtime.preprocess.lay import transform_of
from onnxproof.runtime.readings.boxes import Candidates, Detections
from onnxproof.runtime.readings.carried import PointRows, PrototypeRows
from onnxproof.runtime.readings.chosen_rows import above, pointed_above
from onnxproof.runtime.readings.instances import Chosen
from onnxproof.runtime.readings.points import PointEvidence
from onnxproof.runtime.readings.prototypes import MaskedCandidates, PrototypeEvidence
from onnxproof.runtime.readings.rows import Rows
from onnxproof.runtime.readings.scored_anchors import ScoredAnchors
from onnxproof.runtime.tasks import get_task
from onnxproof.validate.compare import get_comparer
from onnxproof.validate.compare.matching import compare_detections
from onnxproof.validate.legs.leg import Leg
from onnxproof.validate.sight.differences import DIFFERS, Difference, Tolerance, in_words
from onnxproof.validate.sight.exchange import STAGES, Exchange, Stages, blamed, blamed_keys
from onnxproof.validate.sight.facts import Cause, SeenPicture, Sight
from onnxproof.validate.sight.seen import seen_boxes
from onnxproof.validate.sight.words import UNEXPLAINED, why
from onnxproof.wrappers.own.pipeline import OwnPipeline

MOST_PICTURES = 16
"""On how many of a job's pictures the pipelines are compared: those are spread over all."""

MOST_SEEN = 4
"""Of how many pictures both pipelines' boxes are kept, and of how many more if the pipelines differ there."""

STRAIGHT = 4
"""Numbers of a box that is not oriented. Float error is not looked for in others."""

BOTH = 2.0
"""Ours and the framework's may each err by the bound, to either side."""

LEAST_SHIFT, LEAST_CHANGE = 0.1, 1e-3
"""What is told at least: pixels of the input, and scores. Frameworks fuse and normalise in float32 in another
order than the wrapper does. That moves boxes and scores by less than this, and by more than the file's own
float error. Another filter moves them by more than this."""


def see(
    contract: Contract,
    candidate: Leg,
    reference: Leg,
    own: OwnPipeline,
    pictures: Sequence[Path],
    bounds: Mapping[str, float],
    *,
    sound: bool,
    progress: Progress = silent,
) -> Sight:
    """Compare the decisions on each picture, and trace each difference to the stage that makes it.

    ``candidate`` runs the file, ``reference`` the wrapped network in PyTorch. ``bounds`` say how far float
    error alone moves a quantity of the task. ``sound`` says that the file decides as the checkpoint does on
    the same inputs, so that what its float error alone changes is a tie. A picture is left out if the
    framework gives it to the network in a size that the contract does not declare. Raises whatever the legs
    and the framework raise.
    """
    step = max(1, -(-len(pictures) // MOST_PICTURES))
    shown = [picture for picture in pictures[::step] if _is_declared(contract, own, picture)]
    comparer = get_comparer(contract.task)
    decided, groups = 0, _Groups(sound)
    seen: list[SeenPicture] = []
    for done, picture in enumerate(shown):
        progress("compare with the framework's own pipeline", done, len(shown))
        look = _Look(Exchange(picture, contract, candidate, reference, own), bounds)
        decided += 1 if comparer is None else comparer.count(look.wanted)
        found = look.exchange.run()
        differences = look.differences(found)
        for difference in differences:
            groups.add(look, difference)
        if done < MOST_SEEN or (differences and len(seen) < 2 * MOST_SEEN):
            size = own.read(picture).size
            boxes = seen_boxes(picture.name, size, look.wanted, found, differences, contract.classes)
            seen += [] if boxes is None else [boxes]
    causes = groups.causes()
    of_theirs = sum(difference.key[0] == "own" for found in groups.found.values() for _, difference in found)
    return Sight(own.name, len(shown), decided, decided - min(of_theirs, decided), causes, tuple(seen))


def _is_declared(contract: Contract, own: OwnPipeline, picture: Path) -> bool:
    """Whether the file takes a picture in the size in which the framework gives it to the network."""
    spec = contract.preprocess
    assert spec is not None
    height, width = own.lay(own.read(picture)).shape[:2]
    return spec.height.admits(height) and spec.width.admits(width)


class _Look:
    """One picture: the framework's decisions, and what differs from them."""

    def __init__(self, exchange: Exchange, bounds: Mapping[str, float]) -> None:
        self.exchange = exchange
        self._bounds = {
            "box": max(BOTH * bounds.get("box", 0.0), LEAST_SHIFT),
            "score": max(BOTH * bounds.get("score", 0.0), LEAST_CHANGE),
        }
        self.wanted = exchange.own.predict(exchange.picture)
        self._found: dict[Stages, tuple[Difference, ...] | None] = {}

    def differences(self, found: Any) -> tuple[Difference, ...]:
        """What differs between the framework's decisions and these."""
        return DIFFERS[self.exchange.contract.task](self.wanted, found, self._tolerance())

    def still(self, difference: Difference, stages: Stages) -> bool:
        """Whether a difference is still there with some stages exchanged, or they do not go together."""
        if stages not in self._found:
            self._found[stages] = None
            with suppress(Exception):  # the file may not take what the framework lays in
                self._found[stages] = self.differences(self.exchange.run(stages))
        found = self._found[stages]
        return found is None or difference.is_in(found)

    def still_under(self, difference: Difference, stages: Stages, spec: Preprocess) -> bool:
        """The same if the file's own preprocessing were ``spec``, and not the framework's."""
        others = stages - {"preprocessing"}
        return difference.is_in(self.differences(self.exchange.run(others, spec)))

    def tied(self, stages: Stages) -> bool:
        """Whether float error explains what the framework decides otherwise on its own input: each such
        decision has a margin within the error bound."""
        if stages != {"decoding"}:
            return False
        exchange = self.exchange
        laid = exchange.own.lay(exchange.own.read(exchange.picture))
        ours: Stages = frozenset({"graph", "settings"})
        evidence, reading = exchange.evidence(laid, ours), exchange.reading(ours)
        wanted, found = get_task(exchange.contract.task).decide(evidence, reading), exchange.own.decide(laid)
        if isinstance(evidence, ScoredAnchors):
            evidence = evidence.candidates(reading.cuts)
            wanted = evidence.decide(reading.cuts)
        if isinstance(evidence, PointRows | PrototypeRows):
            evidence, found = evidence.rows, found.detections
        if isinstance(evidence, Rows) and evidence.candidates is not None and _straight(evidence.candidates):
            evidence = evidence.candidates
            wanted = evidence.decide(reading.cuts)
        if isinstance(evidence, PrototypeEvidence | PointEvidence):
            evidence, _ = evidence.rows.candidates(reading.cuts)
            wanted, found = wanted.detections, found.detections  # less those whose mask has no pixel
        if isinstance(evidence, Chosen):
            evidence = pointed_above(evidence, reading.score_threshold / 2).candidates
            wanted, found = wanted.detections, found.detections
        if isinstance(evidence, MaskedCandidates):
            evidence = above(evidence, reading.score_threshold / 2).candidates
            wanted, found = wanted.detections, found.detections
        if isinstance(evidence, Candidates) and _straight(evidence) and isinstance(found, Detections):
            compared, _ = compare_detections(evidence, wanted, found, reading.cuts, self._bounds)
            return not compared.defects
        return False

    def _tolerance(self) -> Tolerance:
        size = self.exchange.own.read(self.exchange.picture).size
        transform = transform_of(size, self.exchange.spec)
        scale = min(transform.scale_x, transform.scale_y)
        edge = math.ceil(1 / scale) if self.exchange.own.coarse_masks else 0
        return Tolerance(self._bounds["box"] / scale, self._bounds["score"], edge)


def _straight(candidates: Candidates) -> bool:
    return bool(candidates.boxes.shape[1] == STRAIGHT)


@dataclass(slots=True)
class _Groups:
    """Differences by their cause."""

    sound: bool
    found: dict[tuple[Stages | None, tuple[str, ...], bool], list[tuple[_Look, Difference]]] = field(
        default_factory=dict
    )

    def add(self, look: _Look, difference: Difference) -> None:
        """Find the cause of a difference."""
        stages = blamed(lambda some: look.still(difference, some))
        keys: tuple[str, ...] = ()
        tied = False
        if stages is not None:
            if "preprocessing" in stages:
                keys = blamed_keys(look.exchange, lambda spec: look.still_under(difference, stages, spec))
            tied = look.tied(stages) or (self.sound and stages == {"graph"})
        self.found.setdefault((stages, keys, tied), []).append((look, difference))

    def causes(self) -> tuple[Cause, ...]:
        """The causes, those of most differences first, ties last."""
        causes = []
        for (stages, keys, tied), found in self.found.items():
            look = found[0][0]
            reason = UNEXPLAINED if stages is None else why(look.exchange, stages, keys)
            causes.append(
                Cause(
                    tuple(stage for stage in STAGES if stage in (stages or ())),
                    len(found),
                    in_words([difference for _, difference in found]),
                    reason,
                    look.exchange.picture.name,
                    tied,
                )
            )
        return tuple(sorted(causes, key=lambda cause: (cause.tied, -cause.count)))
