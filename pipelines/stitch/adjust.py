"""Rotations, focal lengths and distortion of a turning camera from the matches of all pairs together.

A photo's pixel x (from the photo's centre) looks along the ray (u, 1), u = x f / (f^2 + k |x|^2): a pinhole with
Fitzgibbon's one-parameter division model, which goes both ways in closed form. World rays are R^T (u, 1).
"""

from __future__ import annotations

import itertools
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
_STEPS = 40
_AHEAD = 0.05
"""Least depth of a ray of depth 1 after a turn, to count as ahead of the camera."""
_ENOUGH_GAINED = 1e-6
"""Share of the cost: a step that gains less is the last."""
_NEAR = 0.1
"""Share of the cost: after a step that gains less the minimum is near."""
_K_SIGMA = 0.05
"""Prior of the distortion: phones' and compacts' lenses lie within 0.1."""


class Turned(NamedTuple):
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

    def pairs(self) -> NDArray[np.int64]:
        """(K,) where among the sights those of another pair, or way, begin than that of the sight before."""
        other = (np.diff(self.source, prepend=-1) != 0) | (np.diff(self.target, prepend=-1) != 0)
        return np.flatnonzero(other)


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


def linearise(cameras: Turned, sights: Sights) -> tuple[Array, Array]:
    """Residuals (2,M) as those of :func:`residuals`, and their derivatives (2,10,M).

    By the source's rotation (R <- exp(w) R), the target's, the logarithms of the source's and the target's focal
    length, and their distortions: what :func:`columns` names.
    """
    gs, gt = cameras.group[sights.source], cameras.group[sights.target]
    fs, ft, ks, kt = cameras.focals[gs], cameras.focals[gt], cameras.distortions[gs], cameras.distortions[gt]
    starts = sights.pairs()
    turns = cameras.rotations[sights.target[starts]] @ cameras.rotations[sights.source[starts]].transpose(0, 2, 1)
    turn = turns.reshape(-1, 9).T.repeat(np.diff([*starts, len(gs)]), axis=1).reshape(3, 3, -1)
    x = np.ascontiguousarray(sights.x.T)
    square = x[0] ** 2 + x[1] ** 2
    whole = fs**2 + ks * square
    flat = x * (fs / whole)
    flat_by_log, flat_by_k = 1 - 2 * fs**2 / whole, -square / whole  # times flat
    p = turn[:, 0] * flat[0] + turn[:, 1] * flat[1] + turn[:, 2]
    place, seen, z = _targets(p.T, ft, kt)
    place = np.ascontiguousarray(place.T)
    q = p[:2] / z
    square = place[0] ** 2 + place[1] ** 2
    whole = ft**2 + kt * square
    q_by_log, q_by_k = 1 - 2 * ft**2 / whole, -square / whole  # times q
    # The place moves with q by bend place place^T + stretch, the inverse of the derivative of :func:`rays`.
    stretch, bend = whole / ft, 2 * kt / (ft * (1 - 2 * kt * square / whole))
    parts = np.empty((2, 10, len(z)))
    for axis, out in enumerate(parts):
        by_q = bend * place[axis] * place
        by_q[axis] += stretch
        by_size = by_q[0] * q[0] + by_q[1] * q[1]
        by_p = by_q[0] / z, by_q[1] / z, -by_size / z  # times p this is 0: nothing moves where p only grows
        for i, j, k in ((0, 1, 2), (1, 2, 0), (2, 0, 1)):
            out[3 + i] = p[j] * by_p[k] - p[k] * by_p[j]
        # Turning the source by w turns p by -T w, as T has carried it.
        np.negative(np.einsum("ijm,im->jm", turn, out[3:6]), out=out[0:3])
        # p is the sum of what T makes of flat, which grows with f and k, and of this, which does not.
        by_rest = turn[0, 2] * by_p[0] + turn[1, 2] * by_p[1] + turn[2, 2] * by_p[2]
        out[6], out[8] = -flat_by_log * by_rest, -flat_by_k * by_rest
        # q stays, so the place moves against what f and k do to the ray.
        out[7], out[9] = -q_by_log * by_size, -q_by_k * by_size
    difference = place - sights.y.T
    if not seen.all():
        difference[:, ~seen], parts[:, :, ~seen] = 1e3, 0
    return difference, parts


def columns(cameras: Turned, source: NDArray[np.int64], target: NDArray[np.int64]) -> NDArray[np.int64]:
    """(K,10) what :func:`linearise` derives by, among 3 N rotations, G logarithms of focal lengths, G distortions; two
    entries of one column add up."""
    n, groups = len(cameras.rotations), len(cameras.focals)
    gs, gt = 3 * n + cameras.group[source], 3 * n + cameras.group[target]
    turned = [3 * one[:, None] + np.arange(3) for one in (source, target)]
    return np.concatenate([*turned, np.stack([gs, gt, gs + groups, gt + groups], 1)], axis=1)


def adjust(start: Turned, sights: Sights, prior: Prior, *, robust: float) -> Turned:
    """Least squares of all cameras over all matches with Huber's loss.

    Levenberg-Marquardt on rotations, damped by how much of what a step promises comes true (Nielsen, Damping parameter
    in Marquardt's method, 1999); beside the minimum with the loss's own second derivatives.

    Args:
        start: first guess.
        sights: matches, each once; they are used both ways.
        prior: of the focal lengths; of the distortion it is 0 +- 0.05.
        robust: px beyond which a match counts linearly.

    Returns:
        The cameras; the common turn of all is left as it was, but for rounding.
    """
    both = sights.both_ways().by_pair(len(start.rotations))
    cameras, here = start, _around(start, both, prior, robust)
    damping, growth, gained, failed = 1e-3, 2.0, 1.0, False
    for _ in range(_STEPS):
        bend = here.bend if gained < _NEAR and not failed else here.bend + here.straight
        ridge = damping * np.diag(np.diag(here.bend + here.straight) + 1e-9)
        step = -np.asarray(np.linalg.solve(bend + ridge, here.slope), np.float64)
        moved = _moved(cameras, step)
        there = _around(moved, both, prior, robust)
        failed = not there.cost < here.cost
        if failed:
            damping, growth = damping * growth, growth * 2
            if damping > 1e8:
                break
            continue
        kept = (here.cost - there.cost) / -float(step @ here.slope + 0.5 * step @ bend @ step)
        gained = (here.cost - there.cost) / here.cost
        cameras, here = moved, there
        if gained < _ENOUGH_GAINED:
            break
        damping, growth = damping * max(0.1, 1 - (2 * kept - 1) ** 3), 2.0
    return cameras


def _moved(cameras: Turned, step: Array) -> Turned:
    n, groups = len(cameras.rotations), len(cameras.focals)
    return cameras._replace(
        rotations=rotation(step[: 3 * n].reshape(-1, 3)) @ cameras.rotations,
        focals=cameras.focals * np.exp(np.clip(step[3 * n : 3 * n + groups], -0.5, 0.5)),
        distortions=cameras.distortions + step[3 * n + groups :],
    )


class _Around(NamedTuple):
    """Huber's loss of some cameras, priors included, and of those near them.

    Attributes:
        cost: of themselves.
        slope: (P,) first derivatives.
        bend: (P,P) second derivatives (Gauss-Newton). Where the loss is linear it does not bend along a residual, only
            across it; far from the minimum steps by this are too long.
        straight: (P,P) what the bend lacks along those residuals. With it, it is that of weighted least squares, under
            which every step comes nearer, but each only by some factor.
    """

    cost: float
    slope: Array
    bend: Array
    straight: Array


def _around(cameras: Turned, sights: Sights, prior: Prior, robust: float) -> _Around:
    """Of sights pair by pair."""
    difference, parts = linearise(cameras, sights)
    n, groups = len(cameras.rotations), len(cameras.focals)
    distance = np.sqrt((difference**2).sum(0))
    weight = np.minimum(1.0, robust / np.maximum(distance, 1e-12))
    outward = difference * np.where(distance > robust, np.sqrt(weight) / np.maximum(distance, 1e-12), 0.0)
    along = outward[0] * parts[0] + outward[1] * parts[1]
    weighted = parts * weight
    # All sights of a pair share their columns, so that each pair adds one small matrix.
    starts = sights.pairs()
    at = columns(cameras, sights.source[starts], sights.target[starts])
    slopes, whole, missing = np.empty((len(at), 10)), np.empty((len(at), 10, 10)), np.empty((len(at), 10, 10))
    for pair, (begin, end) in enumerate(itertools.pairwise([*starts, len(distance)])):
        (own, own2), (scaled, scaled2) = parts[:, :, begin:end], weighted[:, :, begin:end]
        slopes[pair] = scaled @ difference[0, begin:end] + scaled2 @ difference[1, begin:end]
        whole[pair] = scaled @ own.T + scaled2 @ own2.T
        missing[pair] = along[:, begin:end] @ along[:, begin:end].T
    size = 3 * n + 2 * groups
    slope, bend, straight = np.zeros(size), np.zeros((size, size)), np.zeros((size, size))
    np.add.at(slope, at, slopes)
    np.add.at(bend, (at[:, :, None], at[:, None]), whole - missing)
    np.add.at(straight, (at[:, :, None], at[:, None]), missing)
    off = np.log(cameras.focals / prior.focals) / prior.sigmas
    at = 3 * n + np.arange(groups)
    slope[at] += off / prior.sigmas
    bend[at, at] += 1 / prior.sigmas**2
    sigma = _K_SIGMA if prior.distortion else 1e-9
    bent = cameras.distortions / sigma
    slope[at + groups] += bent / sigma
    bend[at + groups, at + groups] += 1 / sigma**2
    # The priors' residuals are of unit variance, like pixels.
    loss = np.where(distance <= robust, 0.5 * distance**2, robust * (distance - 0.5 * robust)).sum()
    return _Around(float(loss + 0.5 * (off**2).sum() + 0.5 * (bent**2).sum()), slope, bend, straight)
