"""Kernels that carry pixels with depth from one pinhole photo into another."""

from __future__ import annotations

import cv2
import numpy as np
from numba import njit, prange
from numpy.typing import NDArray


def transfer(
    intrinsics: NDArray[np.float64],
    cam_from_world: NDArray[np.float64],
    other_intrinsics: NDArray[np.float64],
    other_from_world: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """A (3,3) and b (3,) with: pixel x at inverse depth w of one photo is A x + b w, up to scale, in another.

    With depth z, z (A x + b w) is the other photo's homogeneous pixel times its depth there.
    """
    rotation = other_from_world[:, :3] @ cam_from_world[:, :3].T
    shift = other_from_world[:, 3] - rotation @ cam_from_world[:, 3]
    return other_intrinsics @ rotation @ np.linalg.inv(intrinsics), other_intrinsics @ shift


def places(
    inverse: NDArray[np.float32], offset: float, a: NDArray[np.float64], b: NDArray[np.float64]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """(H,W) columns and rows in another photo of all pixels at inverse depth ``inverse + offset``; NaN behind it."""
    x, y = np.empty(inverse.shape, np.float32), np.empty(inverse.shape, np.float32)
    _places(inverse, np.float32(offset), a.astype(np.float32), b.astype(np.float32), x, y)
    return x, y


def warp(
    picture: NDArray[np.uint8],
    inverse: NDArray[np.float32],
    offset: float,
    a: NDArray[np.float64],
    b: NDArray[np.float64],
) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """What another photo shows of a surface in front of this one.

    Args:
        picture: (h,w) uint8, the other photo.
        inverse: (H,W) inverse depth of the surface at this photo's pixels.
        offset: added to it.
        a, b: from :func:`transfer`.

    Returns:
        (H,W) uint8, linearly interpolated, and (H,W) bool, where the other photo has a pixel.
    """
    x, y = places(inverse, offset, a, b)
    seen = (x >= 0) & (y >= 0) & (x <= picture.shape[1] - 1) & (y <= picture.shape[0] - 1)
    out = cv2.remap(picture, np.where(seen, x, -2), np.where(seen, y, -2), cv2.INTER_LINEAR)
    return np.asarray(out, np.uint8), seen


@njit(cache=True, parallel=True, fastmath=True)
def _places(inverse, offset, a, b, xs, ys):  # type: ignore[no-untyped-def]  # pragma: no cover
    height, width = inverse.shape
    for y in prange(height):
        row0 = a[0, 1] * y + a[0, 2]
        row1 = a[1, 1] * y + a[1, 2]
        row2 = a[2, 1] * y + a[2, 2]
        for x in range(width):
            w = inverse[y, x] + offset
            depth = a[2, 0] * x + row2 + b[2] * w
            if depth > np.float32(1e-6):
                xs[y, x] = (a[0, 0] * x + row0 + b[0] * w) / depth
                ys[y, x] = (a[1, 0] * x + row1 + b[1] * w) / depth
            else:
                xs[y, x] = np.nan
                ys[y, x] = np.nan
