"""Homography, fundamental or essential matrix of two photos, robustly, and which of them explains the matches.

Convention: x_b ~ H x_a and x_b^T F x_a = 0 in pixels, the centre of the top-left pixel at (0, 0).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipelines.geometry.chance import ESSENTIAL, FUNDAMENTAL, HOMOGRAPHY, Family
from pipelines.geometry.residuals import sampson_error

Points = NDArray[np.float64]


@dataclass(frozen=True)
class PairModel:
    """A model of two photos.

    Attributes:
        kind: ``H``, ``F`` or ``E``.
        matrix: (3,3) H, F or E.
        errors: (N,) first-order distance (Sampson) of every match from the model, px.
        inliers: (N,) bool, the matches no farther than the threshold.
        gric: the score by which models are compared, smaller is better; see :func:`gric`.
    """

    kind: str
    matrix: NDArray[np.float64]
    errors: NDArray[np.float64]
    inliers: NDArray[np.bool_]
    gric: float

    def __len__(self) -> int:
        return int(self.inliers.sum())


def homography_error(a: Points, b: Points, homography: NDArray[np.float64]) -> NDArray[np.float64]:
    """First-order distance (N,) in px of the matches (N,2), (N,2) from x_b ~ H x_a, both photos' noise counted.

    Source: Chum, Pajdla, Sturm, The geometric error for homographies, CVIU 2005 (Sampson's approximation).
    """
    h = homography / np.linalg.norm(homography)
    x, y, u, v = a[:, 0], a[:, 1], b[:, 0], b[:, 1]
    p, q, w = (h[row, 0] * x + h[row, 1] * y + h[row, 2] for row in range(3))
    # Two algebraic equations, c = (p - u w, q - v w), and their derivatives by x, y, u, v.
    c = np.stack([p - u * w, q - v * w])
    first = np.stack([h[0, 0] - u * h[2, 0], h[0, 1] - u * h[2, 1], -w, np.zeros_like(w)])
    second = np.stack([h[1, 0] - v * h[2, 0], h[1, 1] - v * h[2, 1], np.zeros_like(w), -w])
    aa, bb, ab = (first**2).sum(0), (second**2).sum(0), (first * second).sum(0)
    determinant = np.maximum(aa * bb - ab**2, 1e-300)
    square = (bb * c[0] ** 2 - 2 * ab * c[0] * c[1] + aa * c[1] ** 2) / determinant
    return np.sqrt(np.maximum(square, 0))


def gric(errors: NDArray[np.float64], noise: float, dimension: int, parameters: int) -> float:
    """Geometric robust information criterion of a model of 4-dimensional matches: the smallest is the best model.

    Args:
        errors: (N,) distances from the model, px.
        noise: standard deviation of the keypoints' places, px.
        dimension: of the model's manifold: 2 for a homography, 3 for an epipolar geometry.
        parameters: of the model: 8 for H, 7 for F, 5 for E.

    Source: Torr, An assessment of information criteria for motion model selection, CVPR 1997.
    """
    count = max(len(errors), 1)
    residual = np.minimum((errors / noise) ** 2, 2.0 * (4 - dimension))
    return float(residual.sum() + math.log(4) * dimension * count + math.log(4 * count) * parameters)


def _options(max_error: float, seed: int):  # type: ignore[no-untyped-def]
    import cv2

    options = cv2.UsacParams()
    options.threshold = max_error
    options.confidence = 0.9999
    options.maxIterations = 20000
    options.randomGeneratorState = seed
    options.score = cv2.SCORE_METHOD_MAGSAC
    options.loMethod = cv2.LOCAL_OPTIM_SIGMA
    return options


_Cameras = tuple[NDArray[np.float64], NDArray[np.float64]]
_Found = tuple[NDArray[np.float64], NDArray[np.float64]] | None


def _homography(a: Points, b: Points, cameras: _Cameras | None, max_error: float, seed: int) -> _Found:
    import cv2

    matrix, _ = cv2.findHomography(a, b, _options(max_error, seed))
    if matrix is None:
        return None
    found = np.asarray(matrix, np.float64)
    return found, homography_error(a, b, found)


def _fundamental(a: Points, b: Points, cameras: _Cameras | None, max_error: float, seed: int) -> _Found:
    import cv2

    matrix, _ = cv2.findFundamentalMat(a, b, _options(max_error, seed))
    if matrix is None or matrix.shape != (3, 3):
        return None
    found = np.asarray(matrix, np.float64)
    return found, _epipolar_error(a, b, found)


def _essential(a: Points, b: Points, cameras: _Cameras | None, max_error: float, seed: int) -> _Found:
    import cv2

    assert cameras is not None, "an essential matrix is one of calibrated cameras"
    straight = np.zeros(5)
    matrix, _ = cv2.findEssentialMat(a, b, *cameras, straight, straight, _options(max_error, seed))
    if matrix is None or matrix.shape != (3, 3):
        return None
    first, second = (np.linalg.inv(camera) for camera in cameras)
    return matrix / np.linalg.norm(matrix), _epipolar_error(a, b, second.T @ matrix @ first)


def _epipolar_error(a: Points, b: Points, fundamental: NDArray[np.float64]) -> NDArray[np.float64]:
    one = np.ones((len(a), 1))
    return sampson_error(np.hstack([a, one]), np.hstack([b, one]), fundamental)


class _Kind(NamedTuple):
    """How a kind of model is estimated, how many matches that takes, its size in Torr's criterion, and its chance."""

    estimate: Callable[[Points, Points, _Cameras | None, float, int], _Found]
    minimum: int
    dimension: int
    parameters: int
    family: Family


KINDS: Mapping[str, _Kind] = {
    "H": _Kind(_homography, 4, 2, 8, HOMOGRAPHY),
    "F": _Kind(_fundamental, 8, 3, 7, FUNDAMENTAL),
    "E": _Kind(_essential, 6, 3, 5, ESSENTIAL),
}


def estimate(
    kind: str, a: Points, b: Points, cameras: _Cameras | None = None, *, max_error: float, noise: float, seed: int
) -> PairModel | None:
    """A model of one kind from matches with outliers, by MAGSAC++ (OpenCV's USAC).

    Args:
        kind: a key of :data:`KINDS`.
        a, b: (N,2), (N,2) matched points, px.
        cameras: (3,3), (3,3) calibration matrices; only E needs them.
        max_error: largest distance of an inlier, px.
        noise: standard deviation of the keypoints' places, px, for the criterion.
        seed: of the sampling.

    Returns:
        The model, or None if there are too few matches or they give none.
    """
    import cv2

    row = KINDS[kind]
    a, b = np.ascontiguousarray(a, np.float64), np.ascontiguousarray(b, np.float64)
    if len(a) < row.minimum:
        return None
    try:
        found = row.estimate(a, b, cameras, max_error, seed)
    except cv2.error:  # OpenCV's solvers refuse some degenerate sets, e.g. all points in one place.
        return None
    if found is None or not all(np.isfinite(part).all() for part in found):
        return None
    matrix, errors = found
    return PairModel(kind, matrix, errors, errors <= max_error, gric(errors, noise, row.dimension, row.parameters))
