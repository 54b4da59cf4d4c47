"""How the boards compare what a contestant returns: by a distance, or by a metric network that scores a shortlist.

A board asks for distances only; a score counts as a distance with its sign changed. Where a descriptor is compared
with all patches, a metric network is with the nearest of its shortlist: that is how it is used, and the only way that
ends in time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from descriptors import distances
from descriptors.contract import DescriptorError, Distance, PairScorer
from descriptors.distances import Described
from descriptors.rerank import RerankRule, mutual_best, score_pairs
from descriptors.scorers import unit_rows

# Anchors whose distances to all patches are held at a time.
_ROWS = 1024


class Comparison(Protocol):
    """How rows (N,F) that a contestant made of patches are compared."""

    @property
    def rule(self) -> object:
        """What decides which matches are clear; its ``repr`` names it."""
        ...

    def pairs(self, a: NDArray, b: NDArray) -> NDArray[np.float64]:
        """Distances (N,) between rows of a and b (N,F)."""
        ...

    def nearest(self, a: NDArray, b: NDArray) -> tuple[NDArray[np.intp], NDArray[np.float64], NDArray[np.float64]]:
        """Of each row of a (N,F): nearest row of b (M,F), its distance (N,), and the doubt (N,) that the second leaves.

        Empty arrays if b is empty.
        """
        ...

    def doubt(self, near: NDArray[np.float64], second: NDArray[np.float64]) -> NDArray[np.float64]:
        """How little nearest (N,) and second nearest distances (N,) differ: the largest where they are the same."""
        ...

    def nearest_wrong(
        self, a: NDArray, b: NDArray, same: NDArray[np.integer], labels: NDArray[np.integer]
    ) -> NDArray[np.float64]:
        """Distance (N,) from each of a (N,F) to the nearest of b (M,F) whose label (M,) is not ``same`` (N,).

        Infinity where there is none.
        """
        ...

    def matches(self, a: NDArray, b: NDArray) -> tuple[NDArray[np.int32], NDArray[np.bool_]]:
        """Pairs (K,2) of rows nearest to each other, and which (K,) are clear by the contestant's own :attr:`rule`."""
        ...


@dataclass(frozen=True)
class ByDistance:
    """Descriptors: ``distance`` between all rows, ``ratio`` of nearest to second nearest for clear matches."""

    distance: Distance
    ratio: float

    @property
    def rule(self) -> object:
        """See :class:`Comparison`."""
        return self.ratio

    def pairs(self, a: NDArray, b: NDArray) -> NDArray[np.float64]:
        """See :class:`Comparison`."""
        return pair_distances(a, b, self.distance)

    def nearest(self, a: NDArray, b: NDArray) -> tuple[NDArray[np.intp], NDArray[np.float64], NDArray[np.float64]]:
        """See :class:`Comparison`."""
        index, two = distances.nearest(a, b, 2, distance=self.distance)
        near = two.astype(np.float64)
        if not index.shape[1]:
            return np.empty(0, np.intp), np.empty(0), np.empty(0)
        return index[:, 0].astype(np.intp), near[:, 0], self.doubt(near[:, 0], near[:, min(1, near.shape[1] - 1)])

    def doubt(self, near: NDArray[np.float64], second: NDArray[np.float64]) -> NDArray[np.float64]:
        """See :class:`Comparison`: the ratio; two distances of 0 have ratio 1, a lone one has 0."""
        ratio = np.divide(near, second, out=np.ones(len(near)), where=(second > 0) & np.isfinite(second))
        ratio[np.isinf(second) & np.isfinite(near)] = 0.0
        return ratio

    def nearest_wrong(
        self, a: NDArray, b: NDArray, same: NDArray[np.integer], labels: NDArray[np.integer]
    ) -> NDArray[np.float64]:
        """See :class:`Comparison`."""
        found = np.full(len(a), np.inf)
        for first in range(0, len(a), _ROWS):
            rows = slice(first, first + _ROWS)
            apart = distance_matrix(a[rows], b, self.distance)
            apart[same[rows, None] == labels[None]] = np.inf
            found[rows] = apart.min(axis=1, initial=np.inf)
        return found

    def matches(self, a: NDArray, b: NDArray) -> tuple[NDArray[np.int32], NDArray[np.bool_]]:
        """See :class:`Comparison`."""
        found = distances.mutual_matches(a, b, ratio=1.0, distance=self.distance)
        return found.pairs, (found.ratios < self.ratio) | (self.ratio >= 1)


@dataclass(frozen=True)
class ByScore:
    """A metric network: rows are its features, then its shortlist's descriptors; those alone if they are one."""

    scorer: PairScorer

    @property
    def rule(self) -> RerankRule:
        """See :class:`Comparison`."""
        return RerankRule.of(self.scorer.spec)

    def pairs(self, a: NDArray, b: NDArray) -> NDArray[np.float64]:
        """See :class:`Comparison`."""
        every = np.arange(len(a))
        return -score_pairs(self.scorer, self._features(a), self._features(b), every, every).astype(np.float64)

    def nearest(self, a: NDArray, b: NDArray) -> tuple[NDArray[np.intp], NDArray[np.float64], NDArray[np.float64]]:
        """See :class:`Comparison`."""
        near, apart = self._shortlisted(a, b)
        if not near.shape[1]:
            return np.empty(0, np.intp), np.empty(0), np.empty(0)
        best = apart.argmin(axis=1)
        two = np.sort(apart, axis=1)
        return near[np.arange(len(a)), best], two[:, 0], self.doubt(two[:, 0], two[:, min(1, two.shape[1] - 1)])

    def doubt(self, near: NDArray[np.float64], second: NDArray[np.float64]) -> NDArray[np.float64]:
        """See :class:`Comparison`: minus the lead in score."""
        return near - second

    def nearest_wrong(
        self, a: NDArray, b: NDArray, same: NDArray[np.integer], labels: NDArray[np.integer]
    ) -> NDArray[np.float64]:
        """See :class:`Comparison`; among its shortlist, which is longer than the patches of one label."""
        near, apart = self._shortlisted(a, b)
        return np.where(labels[near] == same[:, None], np.inf, apart).min(axis=1, initial=np.inf)

    def matches(self, a: NDArray, b: NDArray) -> tuple[NDArray[np.int32], NDArray[np.bool_]]:
        """See :class:`Comparison`."""
        found = mutual_best(self.scorer, self._described(a), self._described(b), self.rule)
        return found.pairs, self.rule.keeps(found)

    def _shortlisted(self, a: NDArray, b: NDArray) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
        """Rows of b (N,K) that are near to each of a, and how far they are by the network."""
        one, other = self._described(a), self._described(b)
        near = distances.nearest(one.descriptors, other.descriptors, self.scorer.spec.candidates)[0].astype(np.intp)
        first = np.repeat(np.arange(len(a)), near.shape[1])
        score = score_pairs(self.scorer, self._features(a), self._features(b), first, near.reshape(-1))
        return near, -score.astype(np.float64).reshape(near.shape)

    def _features(self, rows: NDArray) -> NDArray:
        return rows[:, : self.scorer.spec.width]

    def _described(self, rows: NDArray) -> Described:
        spec = self.scorer.spec
        return Described(unit_rows(rows[:, 0 if spec.embeds else spec.width :]), self._features(rows))


def pair_distances(a: NDArray, b: NDArray, distance: Distance) -> NDArray[np.float64]:
    """Distances (N,) between rows of a and b (N,D), in the descriptor's own metric.

    Raises:
        DescriptorError: shapes differ.
    """
    if a.shape != b.shape:
        raise DescriptorError(f"Pairs need two arrays of one shape; given were {a.shape} and {b.shape}.")
    if distance == "hamming":
        return np.bitwise_count(a ^ b).sum(axis=1).astype(np.float64)
    return np.linalg.norm(a.astype(np.float64) - b.astype(np.float64), axis=1)


def distance_matrix(a: NDArray, b: NDArray, distance: Distance) -> NDArray[np.float32]:
    """Distances (N,M) between all rows of a (N,D) and b (M,D): for boards' small sets only."""
    if distance == "hamming":
        ones, others = (np.unpackbits(x, axis=1).astype(np.float32) for x in (a, b))
        return ones.sum(1)[:, None] + others.sum(1)[None] - 2 * ones @ others.T
    square = np.square(a).sum(1)[:, None] + np.square(b).sum(1)[None] - 2 * a @ b.T
    return np.sqrt(np.maximum(square, 0))
