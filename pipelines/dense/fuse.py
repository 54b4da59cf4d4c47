"""Depth maps to one cloud: each photo adds what no photo before it has added.

A point is left to a photo of a better rank if that one's checked depth map holds it too. Whether it does is read from
that map alone, so photos can be fused in any order and again after a kill, with their neighbours' maps on disk.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numba import njit, prange
from numpy.typing import NDArray

from pipelines.dense.agree import Checked
from pipelines.dense.views import View

POINT = np.dtype(
    [(name, "<f4") for name in ("x", "y", "z", "nx", "ny", "nz", "size")]
    + [(name, "u1") for name in ("red", "green", "blue", "views")]
)
"""A point of the cloud: place and normal in the world, side of its photo's pixel at its distance, colour, number of
photos that agree about it."""
_SAME = 0.01
"""Relative difference of depth within which two maps hold the same point."""


def rank(views: Sequence[View], depths: Sequence[float]) -> list[int]:
    """Place of each photo in the order of fusion: those that show the scene in most detail come first.

    Args:
        views: the photos.
        depths: median depth of each, NaN for those without.
    """
    footprint = [depth / view.intrinsics[0, 0] for view, depth in zip(views, depths, strict=True)]
    order = np.argsort(np.nan_to_num(footprint, nan=np.inf), kind="stable")
    place = np.empty(len(views), np.int64)
    place[order] = np.arange(len(views))
    return place.tolist()


def fuse(
    views: Sequence[View],
    index: int,
    before: Sequence[int],
    read: Callable[[int], Checked],
    gain: NDArray[np.float64],
) -> NDArray[np.void]:
    """Points that a photo adds to the cloud.

    Args:
        views: all photos.
        index: the photo.
        before: photos of a better rank that may hold the same points; their maps are read one at a time.
        read: index -> what was checked.
        gain: (3,) factors of its R, G, B.

    Returns:
        (P,) of :data:`POINT`.

    Raises:
        InputError: a picture cannot be read back.
    """
    view, own = views[index], read(index)
    new = own.depth > 0
    for other in before:
        _drop_known(own.depth, read(other).depth, *view.onto(views[other]), _SAME, new)
    rows, columns = np.nonzero(new)
    depth = own.depth[rows, columns].astype(np.float64)
    pixels = np.column_stack([columns, rows, np.ones(len(rows))])
    cam = pixels @ np.linalg.inv(view.intrinsics).T * depth[:, None]
    rotation, shift = view.cam_from_world[:, :3], view.cam_from_world[:, 3]
    world = (cam - shift) @ rotation
    normal = own.normal[rows, columns].astype(np.float64) @ rotation / 127
    points = np.zeros(len(rows), POINT)
    for axis, (place, tilt) in enumerate((("x", "nx"), ("y", "ny"), ("z", "nz"))):
        points[place], points[tilt] = world[:, axis], normal[:, axis]
    colours = np.clip(np.rint(view.read()[rows, columns] * gain), 0, 255)
    for channel, name in enumerate(("red", "green", "blue")):
        points[name] = colours[:, channel]
    points["size"] = np.linalg.norm(cam, axis=1) / view.intrinsics[0, 0]
    points["views"] = own.count[rows, columns] + 1
    return points


@njit(cache=True, parallel=True)
def _drop_known(depth, other, a, b, same, new):  # type: ignore[no-untyped-def]  # pragma: no cover
    height, width = depth.shape
    bottom, right = other.shape[0] - 1, other.shape[1] - 1
    for y in prange(height):
        for x in range(width):
            z = depth[y, x]
            if not new[y, x]:
                continue
            there = a[2, 0] * x + a[2, 1] * y + a[2, 2] + b[2] / z
            if there <= 1e-9:
                continue
            u = (a[0, 0] * x + a[0, 1] * y + a[0, 2] + b[0] / z) / there
            v = (a[1, 0] * x + a[1, 1] * y + a[1, 2] + b[1] / z) / there
            if u < -0.5 or v < -0.5 or u >= right + 0.5 or v >= bottom + 0.5:
                continue
            value = other[int(v + 0.5), int(u + 0.5)]
            if value > 0 and abs(value - z * there) <= same * value:
                new[y, x] = False
