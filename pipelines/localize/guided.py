"""More matches once a pose is known: each point of the map that should be seen is looked for where it should be."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pipelines.colmap import FittedPose
from pipelines.core.types import Features
from pipelines.localize.pose import project

_NEAR = 8
"""Keypoints, the nearest to a projected point, that are compared with it."""
_RATIO = 0.9
"""Largest ratio of the best to the second-best of them: where so few compete, a looser test than among all will do."""


def guided_matches(
    features: Features,
    places: NDArray[np.int32],
    fit: FittedPose,
    points: tuple[NDArray[np.float64], NDArray],
    *,
    radius: float,
    limit: float,
) -> NDArray[np.int64]:
    """Keypoints that lie where a point of the map is expected and look like it.

    Args:
        features: of the query, N of them.
        places: (N,) first keypoint at the place of each, see :func:`pipelines.matching.match.first_at_place`.
        fit: the pose.
        points: (P,3) points of the map and (P,D) a descriptor of each, of the query's kind.
        radius: px around the expected place.
        limit: largest descriptor distance, see :func:`paired_distances`.

    Returns:
        (M,2) keypoint and point; no point and no place twice.
    """
    from scipy.spatial import cKDTree

    xyz, described = points
    seen, _ = project(fit.camera, fit.cam_from_world, xyz)
    size = (fit.camera.width, fit.camera.height)
    wanted = np.flatnonzero(np.isfinite(seen).all(axis=1) & (seen > 0).all(axis=1) & (seen < size).all(axis=1))
    if not len(wanted) or not len(features):
        return np.empty((0, 2), np.int64)
    count = min(_NEAR, len(features))
    apart, near = cKDTree(features.xy).query(seen[wanted], k=count, distance_upper_bound=radius)
    apart, near = apart.reshape(-1, count), near.reshape(-1, count).clip(0, len(features) - 1)
    distances = paired_distances(features.descriptors[near.ravel()], np.repeat(described[wanted], count, axis=0))
    distances = np.where(np.isfinite(apart.ravel()), distances, np.inf).reshape(-1, count)
    best = distances.argmin(axis=1)
    rows = np.arange(len(wanted))
    place = places[near]
    # Other orientations of the same place are no competitors.
    rivals = np.where(place == place[rows, best][:, None], np.inf, distances).min(axis=1)
    least = distances[rows, best]
    kept = (least <= limit) & (least < _RATIO * rivals)
    table = np.column_stack([place[rows, best], wanted])[kept]
    order = np.argsort(least[kept], kind="stable")
    _, first = np.unique(table[order, 0], return_index=True)
    return table[order][first].astype(np.int64)


def paired_distances(a: NDArray, b: NDArray) -> NDArray[np.float64]:
    """(N,) distances between the rows of two sets of descriptors: L2, or the number of differing bits."""
    if a.dtype == np.uint8:
        return np.bitwise_count(a ^ b).sum(axis=1).astype(np.float64)
    return np.linalg.norm(a.astype(np.float64) - b.astype(np.float64), axis=1)
