"""Factors that bring photos of different exposure and white balance to one, by the pixels that photos agree about.

Source: Brown and Lowe, Automatic panoramic image stitching using invariant features, IJCV 2007 (gain compensation).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from pipelines.dense.project import places

_DARK, _BRIGHT = 16, 239
"""Grey levels beyond which a pixel says little of the exposure."""
_EVERY = 2
"""Of so many rows and columns one is asked."""
_FEWEST = 50
"""Pixels of them that a ratio needs."""
_PRIOR = 0.03
"""Weight of a factor of one, against that of what a pair says: far ends of a long row of photos may differ."""


def log_ratio(
    picture: NDArray[np.uint8],
    other: NDArray[np.uint8],
    depth: NDArray[np.float32],
    agree: NDArray[np.bool_],
    way: tuple[NDArray[np.float64], NDArray[np.float64]],
) -> NDArray[np.float32]:
    """(3,) logarithm of a photo's R, G, B over another's: the median; NaN if too few pixels tell it.

    Args:
        picture: (H,W,3) uint8.
        other: (h,w,3) uint8.
        depth: (H,W) of the photo, 0 where unknown.
        agree: (H,W) pixels that show the same place in both.
        way: A, b of :func:`pipelines.dense.project.transfer`.
    """
    x, y = places(np.where(agree, 1 / np.maximum(depth, 1e-30), 0).astype(np.float32), 0.0, *way)
    some = np.s_[::_EVERY, ::_EVERY]
    picture, agree = picture[some], agree[some]
    there = cv2.remap(other, x[some], y[some], cv2.INTER_LINEAR)
    low, high = np.minimum(picture, there).min(axis=2), np.maximum(picture, there).max(axis=2)
    telling = agree & (low >= _DARK) & (high <= _BRIGHT)
    if telling.sum() < _FEWEST:
        return np.full(3, np.nan, np.float32)
    return np.median(np.log(picture[telling] / there[telling].astype(np.float32)), axis=0).astype(np.float32)


def gains(ratios: Mapping[int, tuple[Sequence[int], NDArray[np.float32]]]) -> dict[int, NDArray[np.float64]]:
    """(3,) factor of each photo's R, G, B, by least squares in logarithms; their geometric mean is about one.

    Args:
        ratios: photo -> the photos that it was compared with, all of them keys, too, and (N,3) its :func:`log_ratio`
            to each.
    """
    from scipy.sparse import coo_matrix, identity
    from scipy.sparse.linalg import spsolve

    place = {photo: number for number, photo in enumerate(ratios)}
    first = np.array([place[photo] for photo, (others, _) in ratios.items() for _ in others], np.int64)
    second = np.array([place[other] for others, _ in ratios.values() for other in others], np.int64)
    found = np.concatenate([said.reshape(-1, 3) for _, said in ratios.values()]).astype(np.float64)
    known = np.isfinite(found).all(axis=1)
    first, second, found = first[known], second[known], found[known]
    rows = np.arange(len(found))
    ones = np.ones(len(found))
    entries = np.concatenate([-ones, ones]), (np.tile(rows, 2), np.concatenate([first, second]))
    pairs = coo_matrix(entries, shape=(len(found), len(place))).tocsr()
    normal = (pairs.T @ pairs + _PRIOR**2 * identity(len(place))).tocsc()
    logs = np.reshape(spsolve(normal, pairs.T @ found), (len(place), 3))
    return {photo: np.exp(logs[number]) for photo, number in place.items()}
