"""Blobs by the determinant of the Hessian in scale space (Lindeberg, IJCV 1998; Mikolajczyk and Schmid, IJCV 2004).

OpenCV's Python module offers no affine-covariant detector; this is the scale-space half of one, the other is
:func:`pipelines.features.shape.adapt`.
"""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

_STEPS = 3  # scales per octave
_FIRST_SIGMA = 1.2  # of the lowest scale, in pixels of each octave; blobs are found from 2^(1/3) times that on
_CAMERA_SIGMA = 0.5  # blur that a photo is taken to have
_SMALLEST = 16  # pixels of the shorter side of the last octave
_EDGE = 4  # pixels of each octave at the border where nothing is looked for
_MIXED = np.array([[0.25, 0.0, -0.25], [0.0, 0.0, 0.0], [-0.25, 0.0, 0.25]], np.float32)
_SECOND = np.array([1.0, -2.0, 1.0], np.float32)
_SAME = np.array([1.0], np.float32)


def hessian_blobs(image: NDArray[np.uint8], threshold: float) -> tuple[NDArray, NDArray, NDArray]:
    """Maxima over place and scale of the scale-normalised determinant of the Hessian, where it is positive.

    Args:
        image: (H,W) uint8.
        threshold: least determinant, for grey levels from 0 to 1; on a blob of contrast c it is about c^2 / 16.

    Returns:
        Centres (N,2) in pixels, scales sigma (N,) in pixels and determinants (N,), each refined between pixels
        and scales by a parabola. A Gaussian blob of standard deviation s is found at sigma = s.
    """
    base = image.astype(np.float32) / np.float32(255.0)
    base = _blur(base, math.sqrt(_FIRST_SIGMA**2 - _CAMERA_SIGMA**2))
    found = []
    for octave in range(32):
        if min(base.shape) < _SMALLEST:
            break
        levels = [base]
        for step in range(1, _STEPS + 2):
            before, after = (_FIRST_SIGMA * 2.0 ** (s / _STEPS) for s in (step - 1, step))
            levels.append(_blur(levels[-1], math.sqrt(after**2 - before**2)))
        responses = np.stack([_determinant(level, i) for i, level in enumerate(levels)])
        places, values = _refine(responses, _maxima(responses, threshold))
        sigma = _FIRST_SIGMA * 2.0 ** (places[:, 0] / _STEPS)
        found.append(np.column_stack([places[:, 2], places[:, 1], sigma, values]) * [*[2.0**octave] * 3, 1.0])
        base = np.ascontiguousarray(levels[_STEPS][::2, ::2])
    blobs = np.concatenate([np.empty((0, 4)), *found])
    return blobs[:, :2], blobs[:, 2], blobs[:, 3]


def _blur(picture: NDArray, sigma: float) -> NDArray:
    return cv2.GaussianBlur(picture, (0, 0), sigma, borderType=cv2.BORDER_REPLICATE)


def _determinant(level: NDArray, index: int) -> NDArray:
    """Scale-normalised determinant of the Hessian of one level."""
    xx = cv2.sepFilter2D(level, cv2.CV_32F, _SECOND, _SAME)
    yy = cv2.sepFilter2D(level, cv2.CV_32F, _SAME, _SECOND)
    xy = cv2.filter2D(level, cv2.CV_32F, _MIXED)
    sigma = _FIRST_SIGMA * 2.0 ** (index / _STEPS)
    return (xx * yy - xy * xy) * np.float32(sigma**4)


def _maxima(responses: NDArray, threshold: float) -> NDArray[np.intp]:
    """Places (N,3) as (level, row, column) that are over the threshold and the largest of their 27."""
    square = np.ones((3, 3), np.uint8)
    around = [cv2.dilate(response, square) for response in responses]
    places = []
    for level in range(1, len(responses) - 1):
        here = responses[level]
        best = (here > threshold) & (here >= around[level])
        best &= (here > around[level - 1]) & (here > around[level + 1])
        inside = np.zeros_like(best)
        inside[_EDGE:-_EDGE, _EDGE:-_EDGE] = True
        rows, columns = np.nonzero(best & inside)
        places.append(np.column_stack([np.full(len(rows), level), rows, columns]))
    return np.concatenate(places)


def _refine(responses: NDArray, places: NDArray[np.intp]) -> tuple[NDArray, NDArray]:
    """Maxima (N,3) between levels, rows and columns, and the values (N,) there; wandering ones are dropped."""
    level, row, column = places.T

    def at(dl: int, dr: int, dc: int) -> NDArray:
        return responses[level + dl, row + dr, column + dc].astype(np.float64)

    steps = np.eye(3, dtype=int)
    centre = at(0, 0, 0)
    slope = np.stack([(at(*s) - at(*-s)) / 2 for s in steps], axis=1)
    bend = np.empty((len(places), 3, 3))
    for i in range(3):
        bend[:, i, i] = at(*steps[i]) + at(*-steps[i]) - 2 * centre
        for j in range(i):
            plus, minus = steps[i] + steps[j], steps[i] - steps[j]
            bend[:, i, j] = bend[:, j, i] = (at(*plus) + at(*-plus) - at(*minus) - at(*-minus)) / 4
    solvable = np.abs(np.linalg.det(bend)) > 1e-30
    offset = np.full((len(places), 3), np.inf)
    offset[solvable] = -np.linalg.solve(bend[solvable], slope[solvable][:, :, None])[:, :, 0]
    good = (np.abs(offset) < 1.0).all(axis=1)
    offset = offset[good]
    return places[good] + offset, centre[good] + 0.5 * (slope[good] * offset).sum(axis=1)
