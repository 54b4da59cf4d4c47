"""Flat things photographed or scanned part by part - documents, façades, microscope slides: one affine map or
homography per photo, all together by least squares."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from pipelines.core.errors import NoModelError
from pipelines.core.types import Photo
from pipelines.stitch.adjust import Array
from pipelines.stitch.overlap import Explained, Overlap, carried, settle
from pipelines.stitch.projection import Canvas, Piece

_MOST = 400
_ROUNDS, _STEPS = 8, 25
_ROBUST = 1.0
"""px at 1,600 px where a match begins to count linearly."""
_GRID = 8


@dataclass(frozen=True)
class SolvedFlat(Explained):
    """Where the photos of a flat thing lie.

    Attributes:
        plane_from_photo: (N,3,3), in the order of the members. The plane's unit is a pixel of the photo that most
            others overlap with.
    """

    plane_from_photo: Array

    def carry(self, source: int, target: int, xy: Array) -> Array:
        """(M,2) px of one member where it shows what another shows at ``xy``."""
        step = np.asarray(np.linalg.solve(self.plane_from_photo[target], self.plane_from_photo[source]), np.float64)
        return carried(step, xy)


class FlatView(NamedTuple):
    """Photos of a flat thing.

    Attributes:
        plane_from_photo: (N,3,3) homographies, px to the plane's unit.
        sizes: (width, height) of each photo, px.
    """

    plane_from_photo: Array
    sizes: Sequence[tuple[int, int]]

    def photo_px(self, photo: int, plane: Array) -> Array:
        """See :class:`pipelines.stitch.warp.View`."""
        at = np.c_[plane, np.ones(len(plane))] @ np.linalg.inv(self.plane_from_photo[photo]).T
        return at[:, :2] / np.where(at[:, 2] > 1e-9, at[:, 2], np.nan)[:, None]

    def density(self, photo: int) -> float:
        """See :class:`pipelines.stitch.warp.View`."""
        h = self.plane_from_photo[photo]
        w = h[2] @ [(self.sizes[photo][0] - 1) / 2, (self.sizes[photo][1] - 1) / 2, 1.0]
        return float(1 / np.sqrt(max(abs(np.linalg.det(h) / w**3), 1e-12)))


class _Link(NamedTuple):
    """Matches of two photos, by their places among the members: (K,2) and (K,2) normalised px, and x_b ~ H x_a."""

    a: int
    b: int
    x: Array
    y: Array
    homography: Array


def solve_flat(
    photos: Sequence[Photo],
    members: Sequence[int],
    overlaps: Mapping[tuple[int, int], Overlap],
    *,
    model: str,
    max_error: float,
    seed: int,
) -> list[SolvedFlat]:
    """Maps of photos that hang together; several groups if they fall apart.

    Args:
        members: photo indices, connected by kept overlaps.
        model: ``affine``: scanners, microscopes, cameras held square; ``homography``: cameras held at any angle.
        max_error: threshold of the homographies, px at 1,600 px.
        seed: of the choice of matches where there are many.
    """

    def fit(
        group: Sequence[int], kept: Mapping[tuple[int, int], Overlap], scale: float
    ) -> tuple[Array, dict[tuple[int, int], Array]]:
        maps = _fit(photos, group, kept, model, _ROBUST * scale, seed)
        map_of = dict(zip(group, maps, strict=True))
        return maps, {pair: _both_ways(one, map_of[pair[0]], map_of[pair[1]]) for pair, one in kept.items()}

    settled = settle(photos, members, overlaps, (fit,), max_error=max_error)
    return [SolvedFlat(one.members, one.residuals, one.dropped, one.model) for one in settled]


def _both_ways(overlap: Overlap, a: Array, b: Array) -> Array:
    there, back = (np.asarray(np.linalg.solve(*maps), np.float64) for maps in ((b, a), (a, b)))
    apart = (carried(there, overlap.a) - overlap.b, carried(back, overlap.b) - overlap.a)
    return np.nan_to_num(np.linalg.norm(np.concatenate(apart), axis=1), nan=1e3)


def _fit(
    photos: Sequence[Photo],
    members: Sequence[int],
    kept: Mapping[tuple[int, int], Overlap],
    model: str,
    robust: float,
    seed: int,
) -> Array:
    """(N,3,3) maps to the plane."""
    place = {photo: index for index, photo in enumerate(members)}
    side = float(max(max(photos[i].width, photos[i].height) for i in members))
    # Normalised: the photo's middle is 0, its longer side about 1.
    norms = np.stack([
        np.array([[1 / side, 0, -(photos[i].width - 1) / 2 / side], [0, 1 / side, -(photos[i].height - 1) / 2 / side],
                  [0, 0, 1]]) for i in members
    ])  # fmt: skip
    random = np.random.default_rng(seed)
    links = []
    for (i, j), overlap in kept.items():
        some = np.arange(len(overlap))
        if len(some) > _MOST:
            some = np.sort(random.choice(len(some), _MOST, replace=False))
        a, b = place[i], place[j]
        homography = norms[b] @ overlap.homography @ np.linalg.inv(norms[a])
        x, y = carried(norms[a], overlap.a[some]), carried(norms[b], overlap.b[some])
        links.append(_Link(a, b, x, y, homography))
    weight = np.zeros(len(members))
    for link in links:
        weight[[link.a, link.b]] += len(link.x)
    root = int(weight.argmax())
    maps = _affine(len(members), links, root, robust / side)
    if model == "homography":
        maps = _projective(_chained(len(members), links, root), links, root, robust / side)
    return np.linalg.inv(norms[root]) @ maps @ norms


def _affine(count: int, links: Sequence[_Link], root: int, robust: float) -> Array:
    """(N,3,3) affine maps under which matches meet in the plane: linear least squares, reweighted (Huber)."""
    free = [index for index in range(count) if index != root]
    maps = np.tile(np.eye(3), (count, 1, 1))
    weights = [np.ones(len(link.x)) for link in links]
    for _ in range(_ROUNDS):
        matrix, right = np.zeros((3 * count, 3 * count)), np.zeros((3 * count, 2))
        for link, weight in zip(links, weights, strict=True):
            rows = np.zeros((len(link.x), 6))
            rows[:, :3], rows[:, 3:] = np.c_[link.x, np.ones(len(link.x))], -np.c_[link.y, np.ones(len(link.y))]
            at = np.r_[3 * link.a : 3 * link.a + 3, 3 * link.b : 3 * link.b + 3]
            matrix[np.ix_(at, at)] += (rows * weight[:, None]).T @ rows
        fixed = slice(3 * root, 3 * root + 3)
        right -= matrix[:, fixed] @ np.eye(3)[:, :2]
        some = np.concatenate([np.arange(3 * index, 3 * index + 3) for index in free])
        solved = np.linalg.solve(matrix[np.ix_(some, some)] + 1e-12 * np.eye(len(some)), right[some])
        for number, index in enumerate(free):
            maps[index, :2] = solved[3 * number : 3 * number + 3].T
        for number, link in enumerate(links):
            apart = np.linalg.norm(carried(maps[link.a], link.x) - carried(maps[link.b], link.y), axis=1)
            weights[number] = np.minimum(1.0, robust / np.maximum(apart, 1e-12))
    return maps


def _chained(count: int, links: Sequence[_Link], root: int) -> Array:
    """(N,3,3) homographies along the strongest links, from the root."""
    maps = {root: np.eye(3)}
    while len(maps) < count:
        ways = [(len(link.x), link, link.a in maps) for link in links if (link.a in maps) != (link.b in maps)]
        _, link, forward = max(ways, key=lambda way: way[0])
        new, old = (link.b, link.a) if forward else (link.a, link.b)
        step = np.linalg.inv(link.homography) if forward else link.homography
        maps[new] = maps[old] @ step
        maps[new] = maps[new] / maps[new][2, 2]
    return np.stack([maps[index] for index in range(count)])


def _projective(start: Array, links: Sequence[_Link], root: int, robust: float) -> Array:
    """(N,3,3) homographies under which matches meet in the plane: Levenberg-Marquardt with Huber's loss."""
    maps, damping = start, 1e-3
    cost, matrix, gradient = _normal(maps, links, root, robust)
    for _ in range(_STEPS):
        step = -np.linalg.solve(matrix + damping * np.diag(np.diag(matrix) + 1e-9), gradient)
        moved = maps.copy()
        moved.reshape(-1, 9)[:, :8] += step.reshape(-1, 8)
        new = _normal(moved, links, root, robust)
        if not new[0] < cost:
            damping *= 10
            if damping > 1e8:
                break
            continue
        small = cost - new[0] < 1e-7 * cost
        maps, damping = moved, max(damping / 10, 1e-12)
        cost, matrix, gradient = new
        if small:
            break
    return maps


def _normal(maps: Array, links: Sequence[_Link], root: int, robust: float) -> tuple[float, Array, Array]:
    """Cost, normal matrix and gradient by the first eight entries of each map; a strong prior keeps the root's."""
    size, cost = 8 * len(maps), 0.0
    matrix, gradient = np.zeros((size, size)), np.zeros(size)
    for link in links:
        (here, by_a), (there, by_b) = (_derived(maps[link.a], link.x), _derived(maps[link.b], link.y))
        apart = here - there
        distance = np.linalg.norm(apart, axis=1)
        weight = np.minimum(1.0, robust / np.maximum(distance, 1e-12))
        cost += float(np.where(distance <= robust, 0.5 * distance**2, robust * (distance - 0.5 * robust)).sum())
        rows = np.concatenate([by_a, -by_b], axis=2).reshape(-1, 16)
        at = np.r_[8 * link.a : 8 * link.a + 8, 8 * link.b : 8 * link.b + 8]
        heavy = rows * np.repeat(weight, 2)[:, None]
        matrix[np.ix_(at, at)] += heavy.T @ rows
        gradient[at] += heavy.T @ apart.ravel()
    own = np.arange(8 * root, 8 * root + 8)
    matrix[own, own] += 1e12
    gradient[own] = 0
    return cost, matrix, gradient


def _derived(homography: Array, points: Array) -> tuple[Array, Array]:
    """(K,2) carried points, and their derivatives (K,2,8) by the homography's first eight entries."""
    one = np.c_[points, np.ones(len(points))]
    p = one @ homography.T
    w = np.where(np.abs(p[:, 2]) > 1e-6, p[:, 2], 1e-6)
    at = p[:, :2] / w[:, None]
    by = np.zeros((len(points), 2, 8))
    by[:, 0, 0:3] = by[:, 1, 3:6] = one / w[:, None]
    by[:, :, 6:8] = -at[:, :, None] * points[:, None, :] / w[:, None, None]
    return at, by


def lay_out_flat(maps: Array, sizes: Sequence[tuple[int, int]], scale: float) -> Canvas:
    """The canvas that holds all photos of a flat thing.

    Args:
        maps: (N,3,3) plane_from_photo.
        sizes: (width, height) of each photo.
        scale: canvas px per unit of the plane.

    Raises:
        NoModelError: a photo is seen so obliquely that it has no end.
    """
    boxes = []
    for homography, (width, height) in zip(maps, sizes, strict=True):
        x, y = np.meshgrid(np.linspace(-0.5, width - 0.5, _GRID), np.linspace(-0.5, height - 0.5, _GRID))
        edge = np.c_[x.ravel(), y.ravel()]
        depth = np.c_[edge, np.ones(len(edge))] @ homography[2]
        if (depth < 0.05 * depth.max()).any():
            raise NoModelError(
                "The photos make no picture of one flat thing",
                "one of them would reach beyond the horizon",
                "--mode rotation for a camera that turned, or photos taken more squarely",
            )
        at = carried(homography, edge)
        boxes.append([at.min(0), at.max(0)])
    low, high = np.min([box[0] for box in boxes], axis=0), np.max([box[1] for box in boxes], axis=0)
    width, height = (max(1, math.ceil(extent * scale - 1e-6)) for extent in high - low)
    pieces = []
    for index, (start, end) in enumerate(boxes):
        left, top = (max(0, math.floor((a - b) * scale)) for a, b in zip(start, low, strict=True))
        right, bottom = (
            min(most, math.ceil((a - b) * scale)) for a, b, most in zip(end, low, (width, height), strict=True)
        )
        pieces.append(Piece(index, left, top, max(2, right - left), max(2, bottom - top)))
    origin = low + 0.5 / scale
    return Canvas("flat", scale, (float(origin[0]), float(origin[1])), width, height, tuple(pieces))
