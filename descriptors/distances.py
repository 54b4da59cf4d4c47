"""Distances between sets of descriptors: nearest neighbours and mutual matches, in bounded memory.

Scores are inner products, see :mod:`descriptors.metrics`; :mod:`descriptors.tiles` finds the largest of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from descriptors.contract import DescriptorError, Distance
from descriptors.metrics import metric_of, same_kind
from descriptors.tiles import largest, mutual_nearest

if TYPE_CHECKING:
    from descriptors.eight_bit import Rounded

_LARGE = 4_000_000
"""Comparisons from which they are searched in eight bits first: sets of 2,000 and more."""


@dataclass(frozen=True)
class Matches:
    """Matches between two sets of descriptors.

    Attributes:
        pairs: (M,2) int32 indices into the first and the second set, sorted by the first; each index at most once.
        distances: (M,) float32, L2 or Hamming.
        ratios: (M,) float32, nearest / second-nearest distance, the larger one of the two sides; 0 where a side has no
            second descriptor.
    """

    pairs: NDArray[np.int32]
    distances: NDArray[np.float32]
    ratios: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.pairs)


class DescriptorSet:
    """The descriptors of one picture, checked, and rounded if need be, once for any number of comparisons.

    Attributes:
        distance: ``l2`` or ``hamming``.
        rows: (N,D) float32, see :mod:`descriptors.metrics`.
    """

    def __init__(self, descriptors: NDArray, distance: Distance = "l2", *, which: str = "given") -> None:
        """Check descriptors (N,D) float of unit length or (N,D/8) packed bits; messages call them the ``which`` set.

        Raises:
            DescriptorError: for NaN or infinity, vectors not of unit length, wrong shapes or types.
        """
        self.distance = distance
        self.rows = metric_of(distance).checked_rows(descriptors, which)

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def nbytes(self) -> int:
        """Memory, of what is made on demand too."""
        return self.rows.nbytes + 2 * self.rows.size

    @cached_property
    def rounded(self) -> Rounded:
        """In eight bits."""
        from descriptors.eight_bit import Rounded

        return Rounded(self.rows)


class Described(NamedTuple):
    """What of a photo is compared.

    Attributes:
        descriptors: (N,D) of the shortlist's descriptor.
        features: (N,F) of the metric network, uint8 or floats of any precision; None where none is used.
    """

    descriptors: NDArray | DescriptorSet
    features: NDArray | None = None


def _two_sets(
    a: NDArray | DescriptorSet, b: NDArray | DescriptorSet, distance: Distance
) -> tuple[DescriptorSet, DescriptorSet]:
    first, second = (
        given if isinstance(given, DescriptorSet) else DescriptorSet(given, distance, which=which)
        for given, which in ((a, "first"), (b, "second"))
    )
    if not first.distance == second.distance == distance:
        raise DescriptorError(f"Sets for {first.distance} and {second.distance} are not compared by {distance}.")
    same_kind(first.rows, second.rows)
    return first, second


def mutual_matches(
    a: NDArray | DescriptorSet, b: NDArray | DescriptorSet, *, ratio: float, distance: Distance = "l2", threads: int = 1
) -> Matches:
    """Mutual nearest neighbours that also pass Lowe's ratio test, from a to b and from b to a.

    A pair is kept if each is the other's nearest and, on both sides, d(nearest) < ratio * d(second nearest).
    The second nearest is the next descriptor whatever its distance, so an exact duplicate of the nearest
    rejects the match. Where a side has no second descriptor, its ratio test is passed. L2 distances below
    0.001 count as 0.001. The function keeps no state and may be called from several threads at once.

    Large sets are searched in eight bits (:mod:`descriptors.eight_bit`) and measured exactly: of two neighbours whose
    distances are all but equal the farther one may be taken for the nearer.

    Args:
        a, b: (N,D) and (M,D) float of unit length (rows of zeros match nothing), or packed uint8 bits for Hamming; sets
            that are compared with many others are made once.
        ratio: above 0; 1 or more switches the ratio test off. Among equal distances the lowest indices match.
        distance: ``l2`` or ``hamming``.
        threads: cores to use for this pair. Over many pairs, one thread a pair and several pairs at once is
            as fast, and leaves other Python work to the waiting core.

    Raises:
        DescriptorError: for NaN or infinity, vectors not of unit length, wrong shapes, types or dimensions.

    Source: Lowe, IJCV 2004, 7.1 (ratio); the test in both directions is that of COLMAP's matcher.
    """
    if not ratio > 0:
        raise DescriptorError(f"The ratio of the ratio test must be above 0; given was {ratio}.")
    metric = metric_of(distance)
    first, second = _two_sets(a, b, distance)
    rows, columns = first.rows, second.rows
    if not len(rows) or not len(columns):
        return Matches(np.empty((0, 2), np.int32), np.empty(0, np.float32), np.empty(0, np.float32))
    if ratio < 1 and len(rows) * len(columns) >= _LARGE:
        # Here, because it takes 0.2 s to import, which small sets are not worth.
        from descriptors import eight_bit

        found = eight_bit.mutual_nearest(first.rounded, second.rounded, max(1, threads))
    else:
        found = mutual_nearest(rows, columns, max(1, threads))
    i, j, ratios = found.i, found.j, metric.ratios(found.products, found.rivals, rows.shape[1])
    kept = np.flatnonzero(ratios < ratio) if ratio < 1 else np.arange(len(i))
    i, j = i[kept], j[kept]
    return Matches(np.stack([i, j], 1).astype(np.int32), metric.exact(rows[i], columns[j]), ratios[kept])


def nearest(
    a: NDArray | DescriptorSet, b: NDArray | DescriptorSet, k: int, *, distance: Distance = "l2", threads: int = 1
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """The k nearest descriptors of b for every descriptor of a, exact, nearest first.

    Memory is that of the answer plus one tile a thread, whatever N and M are. Equal distances come in the
    order of their indices; which of several equals fills the last place is not promised.

    Args:
        a, b: (N,D) and (M,D), as in :func:`mutual_matches`.
        k: how many; the answer has min(k, M) columns.
        distance: ``l2`` or ``hamming``.
        threads: cores to use.

    Returns:
        (N, min(k, M)) int32 indices into b, and float32 distances.

    Raises:
        DescriptorError: as :func:`mutual_matches`, or if k is negative.
    """
    if k < 0:
        raise DescriptorError(f"The number of neighbours must not be negative; given was {k}.")
    first, second = _two_sets(a, b, distance)
    index, scores = largest(first.rows, second.rows, min(k, len(second)), max(1, threads))
    return index, metric_of(distance).distance(scores, first.rows.shape[1])
