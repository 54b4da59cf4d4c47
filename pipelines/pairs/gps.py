"""Which photos were taken close to each other, by the positions in their EXIF."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pipelines.core.types import Photo
from pipelines.geometry.earth import earth_centred


def positions(photos: Sequence[Photo]) -> NDArray[np.float64]:
    """(N,3) earth-centred positions on the ellipsoid in metres; NaN for photos without GPS.

    Altitude is left out: phones measure it to some ten metres, drones from their start. Chords between points on
    the ellipsoid differ from the way along it by less than a millimetre in a kilometre.
    """
    found = np.full((len(photos), 3), np.nan)
    for row, photo in enumerate(photos):
        if photo.exif.gps is not None:
            found[row] = earth_centred(np.array([[*photo.exif.gps[:2], 0.0]]))[0]
    return found


def close_pairs(where: NDArray[np.float64], k: int, max_distance: float = 0.0) -> set[tuple[int, int]]:
    """Pairs (i, j), i < j, of photos with their k nearest others.

    Args:
        where: (N,3) metres, NaN where unknown; such photos are in no pair.
        k: nearest others of each photo; which of several at the same distance count is left open.
        max_distance: metres, 0 for any distance.
    """
    from scipy.spatial import cKDTree

    known = np.flatnonzero(np.isfinite(where).all(1))
    if len(known) < 2:
        return set()
    tree = cKDTree(where[known])
    # One more, since a photo is its own nearest; where several share its spot it may miss itself.
    distances, found = tree.query(where[known], min(k + 1, len(known)))
    pairs = set()
    for photo in range(len(known)):
        near = found[photo][distances[photo] <= max_distance] if max_distance else found[photo]
        others = [other for other in near.tolist() if other != photo][:k]
        pairs |= {(min(photo, other), max(photo, other)) for other in others}
    return {(int(known[i]), int(known[j])) for i, j in pairs}
