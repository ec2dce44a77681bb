"""Panoptic segments, compared as sets by their queries, and pixel by pixel.

A file's queries stand in the order of the reference's. So a segment's counterpart is that of the same query.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from onnxproof.runtime.readings.adjustable import Array
from onnxproof.runtime.tasks.panoptic import Panorama, Queries, QueryMasks, assign
from onnxproof.validate.compare.comparer import Comparison, Finding, error_bound
from onnxproof.validate.compare.query_masks import copy_queries

STEEPEST = 0.25
"""The steepest slope of the sigmoid: a probability moves by no more than this share of its logit's move."""


class _Panoptic:
    def quantities(self, evidence: Queries) -> Mapping[str, Array]:
        return {"probability": evidence.probabilities, "mask": evidence.masks}

    def thin(self, reference: Queries, candidate: Queries, reading: QueryMasks) -> tuple[Queries, Queries]:
        return copy_queries(reference), copy_queries(candidate)

    def differ(self, reference: Panorama, candidate: Panorama) -> bool:
        labels = ([(one.query, one.label) for one in leg.segments] for leg in (reference, candidate))
        return next(labels) != next(labels) or not np.array_equal(reference.owners, candidate.owners)

    def compare(
        self, reference: Queries, candidate: Queries, reading: QueryMasks, bounds: Mapping[str, float]
    ) -> Comparison:
        """A segment is matched if both legs have it, with the same class.

        With p the bound of a probability and m that of a mask's logit, a product of the two moves by at most
        w = p + m / 4. A segment that only one leg has, or that has another class, is a tie if

        - the reference's probability is within p of the threshold, or leads the next class by at most 2 p;
        - or the share of its pixels that it keeps may lie on either side of the threshold, if every pixel
          whose product is within 2 w of another's, or within w of the mask's threshold, goes either way.

        A pixel of another segment is a tie if the reference's products of the two queries that are largest
        there are within 2 w of each other, or if it is open whether one of the two counts. The candidate must
        not have moved by more than the bounds. The pixels of a segment that is told already are not told
        again. A number that is NaN only in the candidate is a defect.
        """
        ours, theirs = assign(reference, reading), assign(candidate, reading)
        labels = [{one.query: one.label for one in leg.segments} for leg in (ours, theirs)]
        view = _View.of(reference, candidate, reading, bounds)
        ties: list[Finding] = []
        defects: list[Finding] = []
        told = {query for query in {*labels[0], *labels[1]} if labels[0].get(query) != labels[1].get(query)}
        for query in sorted(told):
            is_tie, cause = view.explain(query)
            before, after = (_told(leg.get(query)) for leg in labels)
            (ties if is_tie else defects).append(
                Finding(f"segment of query {query}: {before}, now {after}", cause)
            )
        matched = len({*labels[0]} - told)
        for is_tie, finding in view.pixels(ours.owners, theirs.owners, told):
            (ties if is_tie else defects).append(finding)
        lost = _lost(reference, candidate, view.queries)
        if lost:
            defects.append(Finding(f"{lost} number{'' if lost == 1 else 's'} of queries that count", "NaN"))
        return Comparison(matched, tuple(ties), tuple(defects))

    def margins(self, evidence: Queries, decisions: Panorama, reading: QueryMasks) -> Mapping[str, Array]:
        """How far the probabilities lie from the threshold and from the next class; and twice the lead of
        each pixel's product, which is what a mask's logits have to move at least."""
        probabilities = evidence.probabilities.astype(np.float64)
        best = np.sort(probabilities, axis=1)[:, -2:]
        near = np.abs(best[:, 1] - reading.score_threshold)
        margins = {"probability": np.concatenate((near, (best[:, 1] - best[:, 0]) / 2))}
        kept = evidence.kept(reading)
        if len(kept) > 1:
            weighted = np.partition(evidence.weighted(kept, reading).astype(np.float64), -2, axis=0)
            margins["mask"] = (weighted[-1] - weighted[-2]) / 2 / STEEPEST
        return margins

    def count(self, decisions: Panorama) -> int:
        return len(decisions.segments)


COMPARER = _Panoptic()


@dataclass(frozen=True, slots=True)
class _View:
    """Both legs' products, of the queries that count in either or may count.

    ``queries`` are their numbers; ``weighted`` and ``found`` [k, h, w] are the reference's products and the
    candidate's. ``open`` says of which it is open whether they count.
    """

    reference: Queries
    candidate: Queries
    reading: QueryMasks
    queries: NDArray[np.int64]
    weighted: Array
    found: Array
    open: NDArray[np.bool_]
    probability: float
    product: float

    @classmethod
    def of(
        cls, reference: Queries, candidate: Queries, reading: QueryMasks, bounds: Mapping[str, float]
    ) -> "_View":
        probability = bounds["probability"]
        is_open = _open(reference, candidate, reading, probability)
        queries = np.union1d(
            np.union1d(reference.kept(reading), candidate.kept(reading)), np.flatnonzero(is_open)
        ).astype(np.int64)
        weighted = reference.weighted(queries, reading).astype(np.float64)
        found = candidate.weighted(queries, reading).astype(np.float64)
        product = probability + STEEPEST * bounds["mask"]
        return cls(
            reference, candidate, reading, queries, weighted, found, is_open[queries], probability, product
        )

    def explain(self, query: int) -> tuple[bool, str]:
        """Whether float error may have made or removed a query's segment, and the cause."""
        at = int(np.searchsorted(self.queries, query))
        row = self.reference.probabilities[query].astype(np.float64)
        best = np.sort(row)[-2:]
        told = (
            f"probability {best[1]:.9g} leads the next class by {best[1] - best[0]:.3g} and is "
            f"{abs(best[1] - self.reading.score_threshold):.3g} from the threshold, "
            f"{error_bound(self.probability)}"
        )
        if self.open[at]:
            return True, told
        low, high = self._share(at)
        cut = self.reading.overlap_threshold
        told = f"it keeps {low:.3g} to {high:.3g} of its pixels, and the threshold is {cut}"
        if low <= cut <= high and self._moved(at) <= self.product:
            return True, told
        return False, told

    def _moved(self, at: int) -> float:
        """How far a query's products moved at most."""
        return float(np.abs(self.found[at] - self.weighted[at]).max(initial=0))

    def _share(self, at: int) -> tuple[float, float]:
        """The least and the largest share of its pixels that a query may keep."""
        others = np.delete(self.weighted, at, axis=0)
        counted = np.delete(self.open, at)
        own, w = self.weighted[at], 2 * self.product
        rival = others.max(axis=0, initial=-np.inf)
        certain = others[~counted].max(axis=0, initial=-np.inf)
        least, most = int((own > rival + w).sum()), int((own >= certain - w).sum())
        limit = self.reading.mask_threshold
        wide = int((own >= limit - self.product).sum())
        narrow = int((own >= limit + self.product).sum())
        return (least / wide if wide else 0.0), (most / narrow if narrow else np.inf)

    def pixels(
        self, ours: NDArray[np.int64], theirs: NDArray[np.int64], told: set[int]
    ) -> Iterator[tuple[bool, Finding]]:
        """The pixels of other segments, as at most one tie and one defect.

        Those of the queries that are ``told`` already are left out.
        """
        known = np.array(sorted(told), np.int64)
        apart = (ours != theirs) & ~np.isin(ours, known) & ~np.isin(theirs, known)
        if not apart.any():
            return
        rows, columns = np.nonzero(apart)
        first, second = (
            _largest(values, np.isin(self.queries, leg.kept(self.reading)))[apart]
            for values, leg in ((self.weighted, self.reference), (self.found, self.candidate))
        )
        lead = np.abs(self.weighted[first, rows, columns] - self.weighted[second, rows, columns])
        moved = np.abs(self.found - self.weighted)
        moved = np.maximum(moved[first, rows, columns], moved[second, rows, columns])
        near = (lead <= 2 * self.product) & (moved <= self.product)
        excused = near | self.open[first] | self.open[second]
        for chosen, is_tie in ((excused, True), (~excused, False)):
            count = int(chosen.sum())
            if count:
                cause = (
                    f"their queries' products are {float(lead[chosen].max()):.3g} apart at most, "
                    f"{error_bound(self.product, each=True)}"
                )
                yield is_tie, Finding(f"{count} pixel{'' if count == 1 else 's'} of another segment", cause)


def _largest(weighted: Array, kept: NDArray[np.bool_]) -> NDArray[np.int64]:
    """The row of the largest product of each pixel, [h, w], among those that are kept."""
    found: NDArray[np.int64] = np.where(kept[:, None, None], weighted, -np.inf).argmax(axis=0)
    return found


def _lost(reference: Queries, candidate: Queries, queries: NDArray[np.int64]) -> int:
    """How many numbers of these queries are NaN in the candidate alone."""
    return sum(
        int((np.isnan(there[queries]) & ~np.isnan(here[queries])).sum())
        for here, there in (
            (reference.probabilities, candidate.probabilities),
            (reference.masks, candidate.masks),
        )
    )


def _open(reference: Queries, candidate: Queries, reading: QueryMasks, bound: float) -> NDArray[np.bool_]:
    """Of which queries it is open whether they count, or as what: bool [q]."""
    rows = reference.probabilities.astype(np.float64)
    best = np.sort(rows, axis=1)[:, -2:]
    moved = np.abs(candidate.probabilities.astype(np.float64) - rows).max(axis=1)
    near = np.abs(best[:, 1] - reading.score_threshold) <= bound
    close = best[:, 1] - best[:, 0] <= 2 * bound
    may_count = best[:, 1] + bound > reading.score_threshold
    found: NDArray[np.bool_] = (near | (close & may_count)) & (moved <= bound)
    return found


def _told(label: int | None) -> str:
    return "none" if label is None else f"class {label}"
