"""What matching leaves of a pair: candidates between places of two photos."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from descriptors.distances import Matches


@dataclass(frozen=True)
class Candidates:
    """Mutual nearest neighbours of a pair of photos, the most distinctive first.

    Attributes:
        pairs: (M,2) int32 keypoint indices.
        distinct: how many of them, from the first on, pass the ratio test; the others wait for a geometry.
        guided: they were looked for along the lines of a first geometry, which chance would not give.
    """

    pairs: NDArray[np.int32]
    distinct: int
    guided: bool = False

    @classmethod
    def of(cls, found: Matches, ratio: float, *, guided: bool = False) -> Candidates:
        """Args: found: the most distinctive first; ratio: up to which they are distinct."""
        return cls(found.pairs, int(np.count_nonzero(found.ratios < ratio)), guided)

    @property
    def matches(self) -> NDArray[np.int32]:
        """(distinct,2) the matches proper: those that passed the ratio test."""
        return self.pairs[: self.distinct]


def first_at_place(frames: NDArray[np.float32]) -> NDArray[np.int32]:
    """Index of the first keypoint at the place of each: DoG gives a point once for each of its orientations.

    Args:
        frames: (N,2,3).

    Returns:
        (N,) int32; keypoints with the same centre have the same value.
    """
    _, first, inverse = np.unique(frames[:, :, 2], axis=0, return_index=True, return_inverse=True)
    return first[inverse.reshape(-1)].astype(np.int32)


def one_per_place(found: Matches, places_a: NDArray[np.int32], places_b: NDArray[np.int32]) -> Matches:
    """Matches between places instead of keypoints: all orientations of a point are one point of the scene.

    Otherwise each would make a 3D point of its own, seen by few photos. Of the matches of a place the most
    distinctive is kept; that order is the result's.
    """
    pairs = np.column_stack([places_a[found.pairs[:, 0]], places_b[found.pairs[:, 1]]])
    order = np.lexsort([pairs[:, 1], pairs[:, 0], found.distances, found.ratios])
    for side in (0, 1):
        _, best = np.unique(pairs[order, side], return_index=True)
        order = order[np.sort(best)]
    return Matches(pairs[order], found.distances[order], found.ratios[order])
