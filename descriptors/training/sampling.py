"""Which points go into a batch, and which two views of each."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from descriptors.datasets.tracks import Tracks


class ProgressiveSampler:
    """L2-Net's progressive sampling: p1 points in sequence, so that all are seen, and p2 at random, all different.

    The sequence is shuffled anew in every pass, in blocks of points of one scene, so that a batch holds negatives
    that look alike. Stateless: batch ``step`` depends on the seed and the step alone.
    """

    def __init__(self, tracks: Tracks, *, sequential: int, random: int, block: int, seed: int) -> None:
        """Sample from all points of ``tracks``; ``sequential`` is p1, ``random`` is p2, ``block`` as above."""
        self._tracks, self._p1, self._p2, self._block, self._seed = tracks, sequential, random, block, seed
        self._pass, self._order = -1, np.empty(0, np.int64)

    def points(self, step: int) -> NDArray[np.int64]:
        """The p1 + p2 points of batch ``step``; of points that are one thing to a matcher only the first is taken.

        More random points fill the gaps, so that all batches have one size: kernels are compiled once. Fewer
        come only where ``tracks`` has no more.
        """
        places = np.arange(step * self._p1, (step + 1) * self._p1)
        size, wanted = len(self._tracks), self._p1 + self._p2
        points = np.concatenate(
            [self._shuffled(int(p))[places[places // size == p] % size] for p in np.unique(places // size)]
        )
        rng = np.random.default_rng([self._seed, 2, step])
        for _ in range(4):
            points = np.concatenate([points, rng.integers(0, size, self._p2 + 16)])
            _, first = np.unique(points, return_index=True)
            points = distinct(self._tracks, points[np.sort(first)])
            if len(points) >= wanted:
                break
        return points[:wanted]

    def _shuffled(self, number: int) -> NDArray[np.int64]:
        if number != self._pass:
            rng = np.random.default_rng([self._seed, 1, number])
            group = self._tracks.group
            order = rng.permutation(len(group))
            order = order[np.argsort(group[order], kind="stable")]
            blocks = [
                block
                for members in np.split(order, np.flatnonzero(np.diff(group[order])) + 1)
                for block in np.split(members, range(self._block, len(members), self._block))
            ]
            self._order = np.concatenate([blocks[i] for i in rng.permutation(len(blocks))])
            self._pass = number
        return self._order


def distinct(tracks: Tracks, points: NDArray[np.int64], *, reach: float = 1.5) -> NDArray[np.int64]:
    """Those of ``points`` (N,) that are no nearer to an earlier one than ``reach`` times the smaller radius."""
    group, place, radius = tracks.group[points], tracks.place[points], tracks.radius[points]
    keep = np.ones(len(points), bool)
    for members in np.split(np.argsort(group, kind="stable"), np.flatnonzero(np.diff(np.sort(group))) + 1):
        apart = np.linalg.norm(place[members, None] - place[None, members], axis=2)
        close = np.tril(apart < reach * np.minimum(radius[members, None], radius[None, members]), -1)
        keep[members[close.any(axis=1)]] = False
    return points[keep]


def view_pairs(
    tracks: Tracks, points: NDArray[np.int64], rng: np.random.Generator, *, tries: int = 3
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Two observations (N,), (N,) of each point: of ``tries`` random pairs the one with the widest angle between."""
    start, count = tracks.start[points], np.diff(tracks.start)[points]
    first = (rng.random((tries, len(points))) * count).astype(np.int64)
    second = (first + 1 + (rng.random((tries, len(points))) * (count - 1)).astype(np.int64)) % count
    first, second = first + start, second + start
    cosine = np.einsum("tnd,tnd->tn", tracks.rays[first], tracks.rays[second])
    best = cosine.argmin(axis=0), np.arange(len(points))
    return first[best], second[best]


def farthest_pairs(tracks: Tracks, points: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The two observations (N,), (N,) of each point whose viewing directions are farthest apart: for validation."""
    first, second = np.empty(len(points), np.int64), np.empty(len(points), np.int64)
    for row, p in enumerate(points):
        rays = tracks.rays[tracks.start[p] : tracks.start[p + 1]]
        a, b = np.unravel_index(np.argmin(rays @ rays.T), (len(rays), len(rays)))
        first[row], second[row] = tracks.start[p] + a, tracks.start[p] + b
    return first, second
