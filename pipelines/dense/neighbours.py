"""Which photos each one is compared with, and how near and far the scene lies in front of it: all from the map."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pipelines.core.maps import Model
from pipelines.dense.views import View
from pipelines.pairs.shared import partners, sightings

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

_BEST_ANGLE = np.radians(9.0)
"""Rays that meet at this angle tell depth well, and the photos still look alike."""
_BELOW, _ABOVE = np.radians(4.0), np.radians(14.0)
"""How fast smaller and larger angles lose their worth."""
_LEAST_SHARED = 8
"""Points of the map that two photos share at least."""
_CANDIDATES = 40
"""Photos with most shared points whose angles are looked at."""
_TAIL = 0.005
"""Share of the points that may lie nearer, or farther, than the range before it is widened."""
_MARGIN = 0.12
"""The range grows by this share of itself to both sides."""
_FEWEST_POINTS = 12


@dataclass(frozen=True)
class Task:
    """What is to be done for one photo.

    Attributes:
        index: of the photo among the views.
        neighbours: indices of the photos it is compared with, the best first.
        near, far: inverse depths (1 / map unit) of the nearest and farthest place that is looked at; near > far > 0.
    """

    index: int
    neighbours: tuple[int, ...]
    near: float
    far: float


def plan(model: Model, views: Sequence[View], count: int) -> list[Task | str]:
    """For each photo its neighbours and depth range, or the reason why its depth cannot be found.

    Args:
        model: the map's.
        views: of the model's photos, in its order.
        count: neighbours of a photo at most.
    """
    sees = sightings(model.obs_image, model.obs_point, (len(views), len(model.xyz)))
    shared = (sees @ sees.T).tocsr()
    tasks: list[Task | str] = []
    for index in range(len(views)):
        others = partners(shared, index, most=_CANDIDATES, least=_LEAST_SHARED)
        worth = np.array([_worth(model, views, sees, index, int(other)) for other in others])
        best = np.lexsort((others, -worth))[:count]
        chosen = tuple(others[best[worth[best] > 0]].tolist())
        if not chosen:
            tasks.append("no other photo shares points of the map with it and was taken from another place")
            continue
        depth_range = _range(model, sees, views[index], [index, *chosen], index)
        tasks.append(Task(index, chosen, *depth_range) if depth_range else "too few points of the map lie before it")
    return tasks


def _points(sees: csr_matrix, index: int) -> NDArray[np.int32]:
    return sees.indices[sees.indptr[index] : sees.indptr[index + 1]]


def _worth(model: Model, views: Sequence[View], sees: csr_matrix, index: int, other: int) -> float:
    """How well a photo serves as a neighbour: shared points, each weighted by the angle of its rays and its scale."""
    xyz = model.xyz[np.intersect1d(_points(sees, index), _points(sees, other), assume_unique=True)]
    first, second = xyz - views[index].centre, xyz - views[other].centre
    far, away = np.linalg.norm(first, axis=1), np.linalg.norm(second, axis=1)
    cosine = np.einsum("ij,ij->i", first, second) / np.maximum(far * away, 1e-30)
    angle = np.arccos(np.clip(cosine, -1, 1))
    width = np.where(angle < _BEST_ANGLE, _BELOW, _ABOVE)
    sizes = views[index].intrinsics[0, 0] / far, views[other].intrinsics[0, 0] / away
    scale = np.minimum(sizes[0] / sizes[1], sizes[1] / sizes[0])
    return float(np.sum(np.exp(-0.5 * ((angle - _BEST_ANGLE) / width) ** 2) * scale * (angle > np.radians(0.3))))


def _range(model: Model, sees: csr_matrix, view: View, group: list[int], index: int) -> tuple[float, float] | None:
    """Inverse depths (nearest, farthest) of the points that the photo sees, or that its neighbours see in its view."""
    points = np.unique(np.concatenate([_points(sees, member) for member in group]))
    cam = model.xyz[points] @ view.cam_from_world[:, :3].T + view.cam_from_world[:, 3]
    ahead = cam[:, 2] > 1e-9
    pixel = cam[ahead] @ view.intrinsics.T
    pixel = pixel[:, :2] / pixel[:, 2:]
    inside = ((pixel >= 0) & (pixel < (view.width, view.height))).all(axis=1)
    own = np.isin(points[ahead], _points(sees, index))
    depth = cam[ahead][inside | own, 2]
    if len(depth) < _FEWEST_POINTS:
        return None
    near, far = 1 / np.quantile(depth, [_TAIL, 1 - _TAIL])
    grown = _MARGIN * (near - far) + 0.01 * near
    return float(near + grown), float(max(far - grown, 0.3 * far))
