"""How well cameras of a panorama carry one photo onto another, told by points that no contestant has seen.

Checkpoints are AKAZE keypoints (Alcantarilla, Nuevo and Bartoli, BMVC 2013) at full resolution, matched with a ratio
test both ways; recon stitches with DoG and tracked corners, OpenCV's Stitcher with ORB. What no homography within 1 %
of the photo's side explains is taken for a false match.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from pipelines.benchmarks.truth import TrueCamera
from pipelines.core.types import Photo
from pipelines.geometry.similarity import angle_between
from pipelines.images.read import read_gray
from pipelines.pairwise.models import estimate
from pipelines.stitch.local import Shifts

Array = NDArray[np.float64]
_SIDE = 1600
_SMALL = 800
"""Smaller photos are enlarged to this, so that they have keypoints at all."""
_FEWEST, _MOST = 20, 4000
"""Matches of a pair, and keypoints of a photo."""
_LOOSE = 0.01


@dataclass(frozen=True)
class Checkpoints:
    """Places of one thing in two photos, px of their full resolution: (N,2), (N,2)."""

    a: Array
    b: Array


@dataclass(frozen=True)
class SolvedPhoto:
    """Where a contestant puts a photo.

    Attributes:
        focal: px; of the division model with ``k`` (see :mod:`pipelines.stitch.adjust`).
        centre: (2,) px.
        k: 0 for a pinhole.
        cam_from_world: (3,3).
        shifts: by how much its pixels are moved first, or None.
    """

    focal: float
    centre: Array
    k: float
    cam_from_world: Array
    shifts: Shifts | None = None

    def lift(self, xy: Array) -> Array:
        """(N,3) directions in the world."""
        xy = xy if self.shifts is None else self.shifts.apply(xy)
        x = xy - self.centre
        flat = x * (self.focal / (self.focal**2 + self.k * (x**2).sum(1)))[:, None]
        return np.c_[flat, np.ones(len(flat))] @ self.cam_from_world

    def project(self, world: Array) -> Array:
        """(N,2) px, NaN behind the camera; the inverse of :meth:`lift`."""
        xy = self._seen(world)
        return xy if self.shifts is None else self.shifts.undo(xy)

    def _seen(self, world: Array) -> Array:
        view = world @ self.cam_from_world.T
        flat = view[:, :2] / np.where(view[:, 2] > 1e-6, view[:, 2], np.nan)[:, None]
        root = 1 - 4 * self.k * (flat**2).sum(1)
        with np.errstate(invalid="ignore"):
            return flat * (2 * self.focal / (1 + np.sqrt(np.where(root > 0, root, np.nan))))[:, None] + self.centre


def find_checkpoints(photos: Sequence[Photo]) -> dict[tuple[int, int], Checkpoints]:
    """Checkpoints of all pairs that have twenty or more of them and overlap by them.

    Raises:
        InputError: a photo cannot be read.
    """
    described = [_describe(photo) for photo in photos]
    found = {}
    for i, j in combinations(range(len(photos)), 2):
        pair = _match(described[i], described[j], max(photos[i].width, photos[i].height))
        if pair is not None:
            found[i, j] = pair
    return found


def _describe(photo: Photo) -> tuple[Array, NDArray[np.uint8]]:
    import cv2

    image = read_gray(photo, _SIDE)
    pixels, grown = image.pixels, 1.0
    if max(pixels.shape) < _SMALL:
        grown = _SMALL / max(pixels.shape)
        pixels = np.asarray(cv2.resize(pixels, None, fx=grown, fy=grown, interpolation=cv2.INTER_CUBIC), np.uint8)
    keypoints, rows = cv2.xfeatures2d.AKAZE.create(threshold=3e-4).detectAndCompute(pixels, None)
    if rows is None:
        return np.zeros((0, 2)), np.zeros((0, 61), np.uint8)
    strongest = np.argsort([-keypoint.response for keypoint in keypoints], kind="stable")[:_MOST]
    xy = (np.array([keypoints[row].pt for row in strongest]) + 0.5) / grown - 0.5
    return image.to_full(xy).astype(np.float64), np.asarray(rows, np.uint8)[strongest]


def _match(a: tuple[Array, NDArray[np.uint8]], b: tuple[Array, NDArray[np.uint8]], side: int) -> Checkpoints | None:
    from descriptors.distances import mutual_matches

    found = mutual_matches(a[1], b[1], ratio=0.8, distance="hamming")
    if len(found) < _FEWEST:
        return None
    x, y = a[0][found.pairs[:, 0]], b[0][found.pairs[:, 1]]
    model = estimate("H", x, y, max_error=_LOOSE * side, noise=1.0, seed=0)
    if model is None or len(model) < max(_FEWEST, 0.3 * len(x)):
        return None
    return Checkpoints(x[model.inliers], y[model.inliers])


def residuals(solved: Mapping[int, SolvedPhoto], points: Mapping[tuple[int, int], Checkpoints]) -> Array:
    """(N,) px at full resolution: how far from its place each checkpoint is carried, both ways, in all pairs of
    solved photos; what ends behind a camera counts as the photo's width away."""
    out = [np.zeros(0)]
    for (i, j), pair in points.items():
        if i not in solved or j not in solved:
            continue
        for here, there, x, y in ((i, j, pair.a, pair.b), (j, i, pair.b, pair.a)):
            apart = np.linalg.norm(solved[there].project(solved[here].lift(x)) - y, axis=1)
            out.append(np.nan_to_num(apart, nan=2 * float(solved[there].centre[0])))
    return np.concatenate(out)


def against_truth(solved: Mapping[str, SolvedPhoto], truth: Mapping[str, TrueCamera]) -> tuple[float, float] | None:
    """Mean angle in rad between rotations and truth, after the best common turn, and mean relative focal error.

    None if no two of the photos are known.
    """
    names = [name for name in solved if name in truth]
    if len(names) < 2:
        return None
    found = np.stack([solved[name].cam_from_world for name in names])
    meant = np.stack([truth[name].cam_from_world[:, :3] for name in names])
    u, _, vt = np.linalg.svd(np.einsum("nij,nik->jk", found, meant))
    turn = u @ np.diag([1, 1, np.sign(np.linalg.det(u @ vt))]) @ vt
    focals = [abs(solved[name].focal / truth[name].intrinsics[0, 0] - 1) for name in names]
    return float(angle_between(found @ turn, meant).mean()), float(np.mean(focals))
