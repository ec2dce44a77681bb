"""Boxes with scores and classes, and what is kept of them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxproof.runtime.nms import nms
from onnxproof.runtime.tasks._task import Array


@dataclass(frozen=True, slots=True)
class Candidates:
    """All boxes of one picture before the threshold and NMS.

    ``boxes`` float [n, 4] (x0, y0, x1, y1, input pixels), ``scores`` float [n] in [0, 1], ``labels``
    int64 [n], ``gaps`` float [n]: the score's lead over the next class (infinite with one class),
    None where the layout does not tell it. ``groups`` int64 [n]: within which of them the best are
    chosen before NMS (a level of the feature pyramid, say), None where all take part.
    """

    boxes: Array
    scores: Array
    labels: NDArray[np.int64]
    gaps: Array | None
    groups: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(self.scores)

    def take(self, indices: Array) -> "Candidates":
        """The candidates at the given indices (or under a mask)."""
        gaps, groups = (None if of is None else of[indices] for of in (self.gaps, self.groups))
        return Candidates(self.boxes[indices], self.scores[indices], self.labels[indices], gaps, groups)

    def quantities(self) -> Mapping[str, Array]:
        """What margins are measured in: coordinates in pixels, and scores."""
        return {"box": self.boxes, "score": self.scores}

    def thin(self, post: Mapping[str, Any]) -> "Candidates":
        """Those that a comparison can need: half the threshold is far below any bound."""
        # ">=" so that a threshold of 0 keeps what scores 0 here and a trifle more in another leg.
        return self.take(self.scores >= post["score_threshold"] / 2)

    def decide(self, post: Mapping[str, Any]) -> "Detections":
        """The detections; see ``decide``."""
        return decide(self, post)


@dataclass(frozen=True, slots=True)
class Detections:
    """What is left after the threshold and NMS, best score first.

    ``boxes`` float [n, 4] (x0, y0, x1, y1, pixels), ``scores`` float [n], ``labels`` int64 [n],
    ``indices`` int64 [n]: which candidates they were.
    """

    boxes: Array
    scores: Array
    labels: NDArray[np.int64]
    indices: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.scores)


def decide(candidates: Candidates, post: Mapping[str, Any]) -> Detections:
    """The candidates whose score is above ``post["score_threshold"]``, less what NMS suppresses at
    ``post["iou_threshold"]``, over all classes where ``post["class_agnostic"]``.

    Where ``post`` has them, ``top_candidates`` is how many of each group enter NMS, the best first, and
    ``max_detections`` how many of all leave it.
    """
    above = np.flatnonzero(candidates.scores > post["score_threshold"])
    if candidates.groups is not None and "top_candidates" in post:
        above = _best_of_groups(candidates, above, post["top_candidates"])
    classes = None if post["class_agnostic"] else candidates.labels[above]
    kept = above[nms(candidates.boxes[above], candidates.scores[above], post["iou_threshold"], classes)]
    kept = kept[: post.get("max_detections")]
    return Detections(candidates.boxes[kept], candidates.scores[kept], candidates.labels[kept], kept)


def _best_of_groups(candidates: Candidates, indices: Array, count: int) -> Array:
    """The ``count`` best of each group among ``indices``, in the order of ``indices``."""
    assert candidates.groups is not None
    groups = candidates.groups[indices]
    order = np.lexsort((-candidates.scores[indices], groups))
    starts = np.flatnonzero(np.diff(groups[order], prepend=-1))
    ranks = np.arange(len(order)) - np.repeat(starts, np.diff(starts, append=len(order)))
    return indices[np.sort(order[ranks < count])]
