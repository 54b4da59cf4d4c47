"""Pairs of photos that see the same points of a model."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix


def sightings(
    image: NDArray[np.integer], point: NDArray[np.integer], shape: tuple[int, int] | None = None
) -> csr_matrix:
    """(photos, points) int32, 1 where a photo sees a point, from the photo and the point of each observation (O,)."""
    from scipy.sparse import csr_matrix

    sees = csr_matrix((np.ones(len(image), np.int32), (image, point)), shape=shape)
    sees.sum_duplicates()
    sees.data[:] = 1
    return sees


def partners(shared: csr_matrix, photo: int, *, most: int, least: int = 1) -> NDArray[np.int32]:
    """Up to ``most`` photos that share most points with one, ``least`` or more each; ``shared`` has the numbers."""
    row = slice(*shared.indptr[photo : photo + 2])
    others, counts = shared.indices[row], shared.data[row]
    known = (others != photo) & (counts >= least)
    others, counts = others[known], counts[known]
    return others[np.lexsort((others, -counts))[:most]]


def pairs_that_share(
    image: NDArray[np.integer], point: NDArray[np.integer], *, neighbours: int, least: int = 1
) -> list[tuple[int, int]]:
    """For each photo the ``neighbours`` with which it shares most points, ``least`` of them or more.

    Args:
        image, point: (O,) indices of the photo and of the point of each observation.

    Returns:
        Pairs (a, b), a < b, in order, each once.
    """
    if not len(image):
        return []
    sees = sightings(image, point)
    shared = (sees @ sees.T).tocsr()
    found: set[tuple[int, int]] = set()
    for photo in range(shared.shape[0]):
        best = partners(shared, photo, most=neighbours, least=least)
        found.update((min(photo, other), max(photo, other)) for other in best.tolist())
    return sorted(found)
