"""Matching with things that were seen several times: points of a map, each with the descriptors of all its views.

A thing is as near as the nearest of its views, and its rival is another thing, not another view of its own; that gives
most of what matching with every photo gives, and one answer where photos give many. Comparing everything with every
view is not needed: the few things whose mean view is nearest are compared view by view.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from descriptors.contract import DescriptorError, Distance
from descriptors.distances import Matches
from descriptors.metrics import metric_of
from descriptors.subspace import LARGE, principal
from descriptors.tiles import largest

_SHORTLIST = 4
"""Things that are compared view by view: the nearest, its rival, and two more, since means only estimate. On validation
scenes three give 1 % fewer matches and six no more."""
_ROWS = 1 << 15
"""Pairs of rows compared at once: 32 MB."""


@dataclass(frozen=True)
class Views:
    """Things by their views.

    Attributes:
        rows: (M,D) float of unit length, or (M,D/8) packed bits, the views of a thing one after the other.
        starts: (P,) first row of each thing; each has at least one.
    """

    rows: NDArray
    starts: NDArray[np.int64]

    @classmethod
    def grouped(cls, rows: NDArray, owner: NDArray[np.integer]) -> tuple[Views, NDArray]:
        """Views in any order by their owners (M,), and the owners (P,), sorted, each once."""
        order = np.argsort(owner, kind="stable")
        owners, starts = np.unique(owner[order], return_index=True)
        return cls(rows[order], starts), owners

    def __len__(self) -> int:
        return len(self.starts)

    @property
    def counts(self) -> NDArray[np.int64]:
        """(P,) views of each thing."""
        return np.diff(self.starts, append=len(self.rows))


def match_views(a: NDArray, things: Views, *, ratio: float, distance: Distance = "l2", threads: int = 1) -> Matches:
    """Descriptors and things that are each other's nearest and pass Lowe's ratio test on both sides.

    As :func:`descriptors.distances.mutual_matches`, but that rivals are sought among shortlists: those of a descriptor
    among the things on its own, those of a thing among the descriptors that have it on theirs.

    Args:
        a: (N,D) of the same kind as the views.
        things: P of them.
        ratio: above 0; 1 or more switches the ratio test off.
        distance: ``l2`` or ``hamming``.
        threads: cores to use.

    Returns:
        ``pairs`` index a and the things.

    Raises:
        DescriptorError: as :func:`descriptors.distances.mutual_matches`.
    """
    if ratio <= 0:
        raise DescriptorError(f"A ratio must be above 0; given was {ratio}.")
    metric = metric_of(distance)
    rows, views = metric.checked(a, things.rows)
    if not len(rows) or not len(things):
        return Matches(np.zeros((0, 2), np.int32), np.zeros(0, np.float32), np.zeros(0, np.float32))
    shortlist = _shortlist(rows, views, things, threads)
    row = np.repeat(np.arange(len(rows)), min(_SHORTLIST, len(things)))
    scores = best_views(rows, views, things, row, shortlist.ravel()).reshape(len(rows), -1)
    order = np.argsort(-scores, axis=1, kind="stable")
    shortlist, scores = np.take_along_axis(shortlist, order, axis=1), np.take_along_axis(scores, order, axis=1)
    every = np.arange(len(rows))
    best_of, rival_of = _two_best(shortlist, scores, len(things))
    thing = shortlist[:, 0]
    i = every[best_of[thing] == every]
    j, mine = thing[i], scores[i, 0]
    second = scores[i, 1] if scores.shape[1] > 1 else np.full(len(i), -np.inf, np.float32)
    ratios = metric.ratios(mine, np.maximum(second, rival_of[j]), rows.shape[1])
    kept = np.flatnonzero(ratios < ratio) if ratio < 1 else np.arange(len(i))
    pairs = np.stack([i[kept], j[kept]], axis=1).astype(np.int32)
    return Matches(pairs, metric.distance(mine[kept], rows.shape[1]), ratios[kept])


def _shortlist(rows: NDArray[np.float32], views: NDArray[np.float32], things: Views, threads: int) -> NDArray[np.int32]:
    """(N,k) things whose mean view is nearest."""
    means = np.add.reduceat(views, things.starts, axis=0)
    means /= np.maximum(np.linalg.norm(means, axis=1, keepdims=True), np.float32(1e-12))
    narrow = principal(rows, means) if len(rows) * len(means) >= LARGE else None
    mine, others = narrow or (rows, means)
    return largest(mine, others, min(_SHORTLIST, len(things)), threads)[0]


def best_views(
    rows: NDArray[np.float32],
    views: NDArray[np.float32],
    things: Views,
    row: NDArray[np.integer],
    thing: NDArray[np.integer],
) -> NDArray[np.float32]:
    """(K,) products of rows with the nearest view of a thing.

    Args:
        rows: (N,D), see :mod:`descriptors.metrics`.
        views: (M,D) of the things, likewise.
        things: P of them.
        row, thing: (K,) indices of what to compare.
    """
    counts = things.counts[thing]
    begin = np.cumsum(counts) - counts
    view = np.arange(counts.sum()) - np.repeat(begin - things.starts[thing], counts)
    owner = np.repeat(row, counts)
    products = np.empty(len(view), np.float32)
    for start in range(0, len(view), _ROWS):
        at = slice(start, start + _ROWS)
        products[at] = np.einsum("nd,nd->n", rows[owner[at]], views[view[at]])
    return np.maximum.reduceat(products, begin)


def _two_best(
    shortlist: NDArray[np.int32], scores: NDArray[np.float32], count: int
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Of each thing (P,), the row that is nearest to it of those that list it, and the score of the next one; -inf
    without one."""
    flat, values = shortlist.ravel(), scores.ravel()
    order = np.lexsort([-values, flat])
    ranked = flat[order]
    starts = np.flatnonzero(np.diff(ranked, prepend=-1))
    best, rival = np.full(count, -1, np.int64), np.full(count, -np.inf, np.float32)
    best[ranked[starts]] = order[starts] // shortlist.shape[1]
    followed = starts[np.diff(starts, append=len(order)) > 1]
    rival[ranked[followed]] = values[order[followed + 1]]
    return best, rival
