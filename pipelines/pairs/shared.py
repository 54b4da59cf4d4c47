"""Pairs of photos that see the same points of a model."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def pairs_that_share(
    image: NDArray[np.integer], point: NDArray[np.integer], *, neighbours: int, least: int = 1
) -> list[tuple[int, int]]:
    """For each photo the ``neighbours`` with which it shares most points, ``least`` of them or more.

    Args:
        image, point: (O,) indices of the photo and of the point of each observation.

    Returns:
        Pairs (a, b), a < b, in order, each once.
    """
    from scipy.sparse import csr_matrix

    if not len(image):
        return []
    sees = csr_matrix((np.ones(len(image), np.int32), (image, point)))
    sees.sum_duplicates()
    sees.data[:] = 1
    shared = (sees @ sees.T).tocsr()
    found: set[tuple[int, int]] = set()
    for photo in range(shared.shape[0]):
        row = slice(*shared.indptr[photo : photo + 2])
        others, counts = shared.indices[row], shared.data[row]
        known = (others != photo) & (counts >= least)
        others, counts = others[known], counts[known]
        best = others[np.lexsort((others, -counts))[:neighbours]]
        found.update((min(photo, other), max(photo, other)) for other in best.tolist())
    return sorted(found)
