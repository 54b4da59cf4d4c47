"""More matches once a pose is known: each point of the map that should be seen is looked for where it should be."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from descriptors.metrics import metric_of
from descriptors.views import Views, best_views
from pipelines.core.types import Features
from pipelines.localize.pose import Fit, project

_NEAR = 8
"""Keypoints, the nearest to a projected point, that are compared with it."""
_RATIO = 0.9
"""Largest ratio of the best to the second-best of them: where so few compete, a looser test than among all will do."""


def guided_matches(
    features: Features,
    places: NDArray[np.int32],
    fit: Fit,
    points: tuple[NDArray[np.float64], Views, NDArray[np.intp]],
    *,
    radius: float,
    limit: float,
) -> NDArray[np.int64]:
    """Keypoints that lie where a point of the map is expected and look like it.

    Args:
        features: of the query, N of them.
        places: (N,) first keypoint at the place of each, see :func:`pipelines.matching.candidates.first_at_place`.
        fit: the pose.
        points: (P,3) points of the map, their views, and the indices of those that are looked for.
        radius: px around the expected place.
        limit: largest distance from the nearest view, see :func:`view_distances`.

    Returns:
        (M,2) keypoint and point; no point and no place twice.
    """
    from scipy.spatial import cKDTree

    xyz, views, sought = points
    seen, _ = project(fit.camera, fit.cam_from_world, xyz[sought])
    size = (fit.camera.width, fit.camera.height)
    inside = np.isfinite(seen).all(axis=1) & (seen > 0).all(axis=1) & (seen < size).all(axis=1)
    wanted = sought[inside]
    if not len(wanted) or not len(features):
        return np.empty((0, 2), np.int64)
    count = min(_NEAR, len(features))
    apart, near = cKDTree(features.xy).query(seen[inside], k=count, distance_upper_bound=radius)
    apart, near = apart.reshape(-1, count), near.reshape(-1, count).clip(0, len(features) - 1)
    distances = np.full(apart.shape, np.inf)
    row, column = np.nonzero(np.isfinite(apart))
    distances[row, column] = view_distances(features.descriptors[near[row, column]], views, wanted[row])
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


def view_distances(rows: NDArray, views: Views, things: NDArray[np.integer]) -> NDArray[np.float32]:
    """(N,) distances of descriptors (N,D) from the nearest view of the thing of each: L2, or bits that differ."""
    if not len(rows):
        return np.empty(0, np.float32)
    metric = metric_of("hamming" if views.rows.dtype == np.uint8 else "l2")
    mine, others = metric.checked(rows, views.rows)
    every = np.arange(len(mine))
    return metric.distance(best_views(mine, others, views, every, things), mine.shape[1])
