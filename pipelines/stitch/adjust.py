"""Rotations, focal lengths and distortion of a turning camera from the matches of all pairs together.

A photo's pixel x (from the photo's centre) looks along the ray (u, 1), u = x f / (f^2 + k |x|^2): a pinhole with
Fitzgibbon's one-parameter division model, which goes both ways in closed form. World rays are R^T (u, 1).
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
_STEPS = 40
_AHEAD = 0.05
"""Least depth of a ray of depth 1 after a turn, to count as ahead of the camera."""
_ENOUGH_GAINED = 1e-6
"""Share of the cost: a step that gains less is the last."""
_K_SIGMA = 0.05
"""Prior of the distortion: phones' and compacts' lenses lie within 0.1."""


@dataclass(frozen=True)
class Turned:
    """Cameras that share one centre.

    Attributes:
        rotations: (N,3,3) cam_from_world.
        focals: (G,) px.
        distortions: (G,) k of the division model.
        group: (N,) int, the row of ``focals`` and ``distortions`` of each photo.
    """

    rotations: Array
    focals: Array
    distortions: Array
    group: NDArray[np.int64]

    def focal(self, index: int) -> float:
        """Focal length of a photo, px."""
        return float(self.focals[self.group[index]])

    def distortion(self, index: int) -> float:
        """Division-model k of a photo."""
        return float(self.distortions[self.group[index]])


class Sights(NamedTuple):
    """Matches: photo ``source`` sees at ``x`` what photo ``target`` sees at ``y``.

    Attributes:
        source, target: (M,) int.
        x, y: (M,2) px from the photos' centres.
    """

    source: NDArray[np.int64]
    target: NDArray[np.int64]
    x: Array
    y: Array

    def both_ways(self) -> Sights:
        """Each match from either side."""
        return Sights(
            np.concatenate([self.source, self.target]),
            np.concatenate([self.target, self.source]),
            np.concatenate([self.x, self.y]),
            np.concatenate([self.y, self.x]),
        )

    def by_pair(self, count: int) -> Sights:
        """Those of a pair (of ``count`` photos) one after the other, each way for itself."""
        order = np.argsort(self.source * count + self.target, kind="stable")
        return Sights(self.source[order], self.target[order], self.x[order], self.y[order])


class Prior(NamedTuple):
    """What is known of the focal lengths beforehand.

    Attributes:
        focals: (G,) px.
        sigmas: (G,) standard deviation of their logarithms.
        distortion: whether it is estimated, else 0.
    """

    focals: Array
    sigmas: Array
    distortion: bool = True


def rays(x: Array, focal: Array, k: Array) -> Array:
    """(M,2) places on the plane z = 1 of pixels (M,2) from the centre; ``focal`` and ``k`` are (M,)."""
    return x * (focal / (focal**2 + k * (x**2).sum(1)))[:, None]


def pixels(flat: Array, focal: Array, k: Array) -> Array:
    """(M,2) px from the centre, the inverse of :func:`rays`; NaN beyond the angle that the lens can see."""
    root = 1 - 4 * k * (flat**2).sum(1)
    with np.errstate(invalid="ignore"):
        return flat * (2 * focal / (1 + np.sqrt(np.where(root > 0, root, np.nan))))[:, None]


def _with_derivatives(x: Array, focal: Array, k: Array) -> tuple[Array, Array, Array]:
    """:func:`rays`, and their derivatives (M,2), (M,2) by the logarithm of the focal length and by k."""
    square = (x**2).sum(1)
    whole = focal**2 + k * square
    flat = x * (focal / whole)[:, None]
    return flat, flat * (1 - 2 * focal**2 / whole)[:, None], -flat * (square / whole)[:, None]


def _pixels_by_flat(x: Array, focal: Array, k: Array) -> Array:
    """(M,2,2) derivative of :func:`pixels` at the pixels (M,2) themselves: the inverse of that of :func:`rays`."""
    square = (x**2).sum(1)
    whole = focal**2 + k * square
    bend = 2 * k / whole
    outer = np.einsum("mi,mj->mij", x, x) * (bend / (1 - bend * square))[:, None, None]
    return (np.eye(2) + outer) * (whole / focal)[:, None, None]


def rotation(vectors: Array) -> Array:
    """(N,3) rotation vectors, rad, to (N,3,3) (Rodrigues)."""
    angle = np.linalg.norm(vectors, axis=1)[:, None, None]
    axis = _cross(vectors / np.maximum(angle[:, :, 0], 1e-300))
    return np.eye(3) + np.sin(angle) * axis + (1 - np.cos(angle)) * (axis @ axis)


def _cross(v: Array) -> Array:
    zero = np.zeros(len(v))
    x, y, z = v.T
    return np.stack([zero, -z, y, z, zero, -x, -y, x, zero], 1).reshape(-1, 3, 3)


def carry(cameras: Turned, source: int, target: int, x: Array) -> Array:
    """(M,2) px from the target photo's centre where it sees what the source sees at ``x``; NaN where it cannot look."""
    full = np.ones(len(x))
    flat = rays(x, full * cameras.focal(source), full * cameras.distortion(source))
    p = np.c_[flat, full] @ (cameras.rotations[target] @ cameras.rotations[source].T).T
    ahead = np.where(p[:, 2] > _AHEAD, p[:, 2], np.nan)
    return pixels(p[:, :2] / ahead[:, None], full * cameras.focal(target), full * cameras.distortion(target))


def residuals(cameras: Turned, sights: Sights) -> Array:
    """(M,2) px: where the target would see it, minus where it does.

    Points behind the target camera count as 1e3 px away.
    """
    gs, gt = cameras.group[sights.source], cameras.group[sights.target]
    flat = rays(sights.x, cameras.focals[gs], cameras.distortions[gs])
    turn = cameras.rotations[sights.target] @ cameras.rotations[sights.source].transpose(0, 2, 1)
    place, seen, _ = _targets(np.einsum("mij,mj->mi", turn, _lifted(flat)), cameras.focals[gt], cameras.distortions[gt])
    return np.where(seen[:, None], place - sights.y, 1e3)


def _lifted(flat: Array) -> Array:
    return np.concatenate([flat, np.ones((len(flat), 1))], 1)


def _targets(p: Array, focal: Array, k: Array) -> tuple[Array, NDArray[np.bool_], Array]:
    """(M,2) px at which rays (M,3) are seen, 0 where they are not; (M,) whether they are; (M,) depths, 1 behind."""
    ahead = p[:, 2] > _AHEAD
    z = np.where(ahead, p[:, 2], 1.0)
    place = pixels(p[:, :2] / z[:, None], focal, k)
    seen = ahead & np.isfinite(place[:, 0])
    return np.where(seen[:, None], place, 0.0), seen, z


def linearise(cameras: Turned, sights: Sights) -> tuple[Array, Array, NDArray[np.int64]]:
    """Residuals (M,2), their derivatives (M,2,10) and the columns (M,10) these belong to.

    Columns: 3 N rotations (R <- exp(w) R), G logarithms of focal lengths, G distortions. Each row holds the source's
    and the target's rotation, and for both the focal length and the distortion (two entries of one column add up).
    """
    n, groups = len(cameras.rotations), len(cameras.focals)
    gs, gt = cameras.group[sights.source], cameras.group[sights.target]
    fs, ft, ks, kt = cameras.focals[gs], cameras.focals[gt], cameras.distortions[gs], cameras.distortions[gt]
    flat_s, flat_s_by_f, flat_s_by_k = _with_derivatives(sights.x, fs, ks)
    ray = _lifted(flat_s)
    turn = cameras.rotations[sights.target] @ cameras.rotations[sights.source].transpose(0, 2, 1)
    p = np.einsum("mij,mj->mi", turn, ray)
    place, seen, z = _targets(p, ft, kt)
    _, flat_t_by_f, flat_t_by_k = _with_derivatives(place, ft, kt)
    by_flat = _pixels_by_flat(place, ft, kt)
    onto = np.zeros((len(p), 2, 3))
    onto[:, 0, 0] = onto[:, 1, 1] = 1 / z
    onto[:, :, 2] = -p[:, :2] / (z * z)[:, None]
    by_p = by_flat @ onto
    by_ray = (by_p @ turn)[:, :, :2]
    parts = np.empty((len(p), 2, 10))
    parts[:, :, 0:3] = by_p @ turn @ _cross(ray)
    parts[:, :, 3:6] = -by_p @ _cross(p)
    # flat = rays(place, f, k) stays, so the place moves against what f and k do to the ray.
    for column, matrix, vector in (
        (6, by_ray, flat_s_by_f), (7, -by_flat, flat_t_by_f), (8, by_ray, flat_s_by_k), (9, -by_flat, flat_t_by_k)
    ):  # fmt: skip
        parts[:, :, column] = np.einsum("mij,mj->mi", matrix, vector)
    difference = place - sights.y
    difference[~seen], parts[~seen] = 1e3, 0
    columns = np.concatenate(
        [
            3 * sights.source[:, None] + np.arange(3),
            3 * sights.target[:, None] + np.arange(3),
            np.stack([3 * n + gs, 3 * n + gt, 3 * n + groups + gs, 3 * n + groups + gt], 1),
        ],
        axis=1,
    )
    return difference, parts, columns


def adjust(start: Turned, sights: Sights, prior: Prior, *, robust: float) -> Turned:
    """Least squares of all cameras over all matches with Huber's loss (Levenberg-Marquardt on rotations).

    Args:
        start: first guess.
        sights: matches, each once; they are used both ways.
        prior: of the focal lengths; of the distortion it is 0 +- 0.05.
        robust: px beyond which a match counts linearly.

    Returns:
        The cameras; the common turn of all is left as it was, but for rounding.
    """
    both = sights.both_ways().by_pair(len(start.rotations))
    cameras, damping, failed = start, 1e-3, False
    cost = _cost(residuals(cameras, both), cameras, prior, robust)
    matrix, gradient = _normal(cameras, both, prior, robust)
    for _ in range(_STEPS):
        scaled = matrix + damping * np.diag(np.diag(matrix) + 1e-9)
        step = -np.asarray(np.linalg.solve(scaled, gradient), np.float64)
        moved = _moved(cameras, step)
        new_cost = _cost(residuals(moved, both), moved, prior, robust)
        if not new_cost < cost:
            damping, failed = damping * 10, True
            if damping > 1e8:
                break
            continue
        small = cost - new_cost < _ENOUGH_GAINED * cost
        cameras, cost = moved, new_cost
        if small:
            break
        matrix, gradient = _normal(cameras, both, prior, robust)
        # What has just failed is not tried again at once.
        damping, failed = damping if failed else max(damping / 10, 1e-12), False
    return cameras


def _moved(cameras: Turned, step: Array) -> Turned:
    n, groups = len(cameras.rotations), len(cameras.focals)
    return replace(
        cameras,
        rotations=rotation(step[: 3 * n].reshape(-1, 3)) @ cameras.rotations,
        focals=cameras.focals * np.exp(np.clip(step[3 * n : 3 * n + groups], -0.5, 0.5)),
        distortions=cameras.distortions + step[3 * n + groups :],
    )


def _cost(difference: Array, cameras: Turned, prior: Prior, robust: float) -> float:
    """Huber's loss of residuals (M,2), the priors included (their residuals are of unit variance, like pixels)."""
    distance = np.sqrt((difference**2).sum(1))
    off = np.log(cameras.focals / prior.focals) / prior.sigmas
    bent = cameras.distortions / _bend(prior)
    cost = np.where(distance <= robust, 0.5 * distance**2, robust * (distance - 0.5 * robust)).sum()
    return float(cost + 0.5 * (off**2).sum() + 0.5 * (bent**2).sum())


def _bend(prior: Prior) -> float:
    return _K_SIGMA if prior.distortion else 1e-9


def _normal(cameras: Turned, sights: Sights, prior: Prior, robust: float) -> tuple[Array, Array]:
    """Normal matrix and gradient of :func:`_cost`, of sights pair by pair."""
    difference, parts, columns = linearise(cameras, sights)
    n, groups = len(cameras.rotations), len(cameras.focals)
    size = 3 * n + 2 * groups
    distance = np.linalg.norm(difference, axis=1)
    weight = np.minimum(1.0, robust / np.maximum(distance, 1e-12))
    # All sights of a pair share their columns, so that each pair adds one small matrix.
    starts = np.flatnonzero(np.diff(sights.source * n + sights.target, prepend=-1))
    weighted = parts * weight[:, None, None]
    matrix, gradient = np.zeros((size, size)), np.zeros(size)
    for begin, end in itertools.pairwise([*starts, len(parts)]):
        own, scaled = parts[begin:end].reshape(-1, 10), weighted[begin:end].reshape(-1, 10)
        column = columns[begin]
        np.add.at(matrix, (column[:, None], column), scaled.T @ own)
        np.add.at(gradient, column, scaled.T @ difference[begin:end].ravel())
    off = np.log(cameras.focals / prior.focals) / prior.sigmas
    at = 3 * n + np.arange(groups)
    matrix[at, at] += 1 / prior.sigmas**2
    gradient[at] += off / prior.sigmas
    sigma = _bend(prior)
    bent = cameras.distortions / sigma
    matrix[at + groups, at + groups] += 1 / sigma**2
    gradient[at + groups] += bent / sigma
    return matrix, gradient
