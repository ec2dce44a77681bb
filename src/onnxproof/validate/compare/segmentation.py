"""Class maps, compared pixel by pixel."""

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from onnxproof.runtime.readings.adjustable import Array
from onnxproof.runtime.tasks.segmentation import ClassMaps, PixelLogits, Segments
from onnxproof.validate.compare.comparer import Comparison, Finding, error_bound, exact


class _Segmentation:
    def quantities(self, evidence: Segments) -> Mapping[str, Array]:
        return {"confidence": evidence.confidence}

    def thin(
        self, reference: Segments, candidate: Segments, reading: ClassMaps | PixelLogits
    ) -> tuple[Segments, Segments]:
        """The pixels at which the legs differ or only the candidate is NaN, and the number of the others."""
        apart = (reference.labels != candidate.labels) | _lost(reference, candidate)
        alike = int(apart.size - apart.sum())
        return _at(reference, apart, alike), _at(candidate, apart, alike)

    def differ(self, reference: Segments, candidate: Segments) -> bool:
        return not np.array_equal(reference.labels, candidate.labels)

    def compare(
        self,
        reference: Segments,
        candidate: Segments,
        reading: ClassMaps | PixelLogits,
        bounds: Mapping[str, float],
    ) -> Comparison:
        """A pixel is matched if both legs give it the same class.

        A pixel of another class is a tie if the reference's lead is at most twice the bound, and the
        candidate's confidence moved by no more than the bound. If no probability moves by more than the
        bound, neither does the largest one, which is the confidence. A pixel whose confidence is NaN only in
        the candidate is a defect.

        The pixels of one picture that differ for the same reason are one finding.
        """
        bound = bounds["confidence"]
        lost = _lost(reference, candidate)
        flipped = (reference.labels != candidate.labels) & ~lost
        gaps = np.full(flipped.shape, np.inf) if reference.gaps is None else reference.gaps
        with np.errstate(invalid="ignore"):
            moves = np.abs(np.subtract(candidate.confidence, reference.confidence, dtype=np.float64))
        narrow = flipped & (gaps <= 2 * bound)
        ties, wide, moved = narrow & (moves <= bound), flipped & ~narrow, narrow & ~(moves <= bound)
        defects = (
            *_finding(wide, lambda: _lead(reference, gaps, wide, bound)),
            *_finding(moved, lambda: _move(reference, candidate, moves, moved, bound)),
            *_finding(lost, lambda: "their confidence is NaN"),
        )
        matched = reference.alike + int(flipped.size - (flipped | lost).sum())
        return Comparison(matched, _finding(ties, lambda: _lead(reference, gaps, ties, bound)), defects)

    def margins(
        self, evidence: Segments, decisions: Segments, reading: ClassMaps | PixelLogits
    ) -> Mapping[str, Array]:
        """Half the lead of each pixel's class over the next: two probabilities move towards each other."""
        return {} if evidence.gaps is None else {"confidence": evidence.gaps / 2}

    def count(self, decisions: Segments) -> int:
        return int(decisions.labels.size)


COMPARER = _Segmentation()


def _at(segments: Segments, where: NDArray[np.bool_], alike: int) -> Segments:
    gaps = None if segments.gaps is None else segments.gaps[where]
    return Segments(segments.labels[where], segments.confidence[where], gaps, alike)


def _lost(reference: Segments, candidate: Segments) -> NDArray[np.bool_]:
    """The pixels whose confidence is NaN only in the candidate."""
    lost: NDArray[np.bool_] = np.isnan(candidate.confidence) & ~np.isnan(reference.confidence)
    return lost


def _finding(pixels: NDArray[np.bool_], cause: Callable[[], str]) -> tuple[Finding, ...]:
    """The pixels as one finding. Empty if there are none."""
    count = int(pixels.sum())
    if not count:
        return ()
    return (Finding(f"{count} pixel{'' if count == 1 else 's'} of another class", cause()),)


def _lead(reference: Segments, gaps: Array, pixels: NDArray[np.bool_], bound: float) -> str:
    """The cause: the widest lead, or NaN if one of the leads is NaN."""
    widest = int(gaps[pixels].argmax())
    return (
        f"confidence {exact(reference.confidence[pixels][widest])} leads the next class by "
        f"{gaps[pixels][widest]:.3g}{_at_most(pixels)}, {error_bound(bound, each=True)}"
    )


def _move(
    reference: Segments, candidate: Segments, moves: Array, pixels: NDArray[np.bool_], bound: float
) -> str:
    """The cause: the largest change of a confidence, or NaN if one of the changes is NaN."""
    longest = int(moves[pixels].argmax())
    before, after = (exact(leg.confidence[pixels][longest]) for leg in (reference, candidate))
    return (
        f"the confidence moved by {moves[pixels][longest]:.3g} from {before} to {after}{_at_most(pixels)}, "
        f"{error_bound(bound)}"
    )


def _at_most(pixels: NDArray[np.bool_]) -> str:
    """The words after a number that is the largest of several. Empty if there is only one."""
    return " at most" if pixels.sum() > 1 else ""
