"""Which depths several photos agree about, and the surface they agree on.

Source of the test: Schönberger et al., Pixelwise view selection for unstructured multi-view stereo, ECCV 2016: forward
and backward reprojection error, and relative difference of depths.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numba import njit, prange
from numpy.typing import NDArray

from pipelines.dense.exposure import log_ratio
from pipelines.dense.views import View
from pipelines.depth.filters import speckles

_WINDOW = 3
"""Half side, px, of the window that a plane is fitted to."""
_FEWEST = 12
"""Pixels of the window that a normal needs."""
_SAME = 0.01
"""Relative difference of depth within which a pixel of the window belongs to the surface."""
_SPECKLE = 1 / 12000
"""Share of the picture that a piece of surface fills at least."""
_ALIKE_REACH, _ALIKE_STEP, _ALIKE_SPREAD, _ALIKE_SHARE = 16, 4, 8.0, 0.45
"""Half side, px, of a window of which every fourth row and column is asked: of its pixels that look like one (within
grey levels), the share that must have a depth as that one has. Within 4 px a black background kept four times as much
depth, a dark rim around what stands before it."""


@dataclass(frozen=True)
class Checked:
    """Depth of one photo that others agree with.

    Attributes:
        depth: (H,W) float32, 0 where too few agree.
        normal: (H,W,3) int8, in the camera's frame, 127 times unit length, towards the camera; 0 where unknown.
        count: (H,W) uint8 other photos that agree.
        ratios: (N,3) float32 :func:`pipelines.dense.exposure.log_ratio` to each photo that it was compared with.
    """

    depth: NDArray[np.float32]
    normal: NDArray[np.int8]
    count: NDArray[np.uint8]
    ratios: NDArray[np.float32]


def check(
    views: Sequence[View],
    index: int,
    others: Sequence[int],
    read: Callable[[int], NDArray[np.float32]],
    *,
    consistent: int,
    max_pixels: float,
    max_depth: float,
) -> Checked:
    """Keep what enough other photos agree about, as the mean of what they say, smoothed within each surface.

    Photos agree about the sky, or a black cloth, beside a silhouette, too: windows that the edge lies in give it the
    depth of what stands before it. It looks like sky, though, of which most has no depth: what most pixels of its looks
    lack, or nearly most, is dropped.

    Args:
        views: all photos.
        index: the photo.
        others: photos it is compared with, read one at a time.
        read: index -> (H,W) depth, 0 where unknown.
        consistent: photos that must agree, as far as there are so many; one at least.
        max_pixels: largest distance between a pixel and where it comes back to, px.
        max_depth: largest difference of depths, in sides of a pixel at that depth.

    Raises:
        InputError: a picture cannot be read back.
    """
    view, depth = views[index], read(index)
    picture = view.read()
    relative = max_depth / view.intrinsics[0, 0]
    total = np.where(depth > 0, 1 / np.maximum(depth, 1e-30), 0).astype(np.float32)
    count = np.zeros(depth.shape, np.uint8)
    ratios = np.full((len(others), 3), np.nan, np.float32)
    for number, other in enumerate(others):
        there, back = view.onto(views[other]), views[other].onto(view)
        before = count.copy()
        _compare(depth, read(other), *there, *back, max_pixels, relative, total, count)
        ratios[number] = log_ratio(picture, views[other].read(), depth, count > before, there)
    kept = (count >= min(consistent, max(1, len(others)))) & (depth > 0)
    inverse = np.where(kept, total / (count + np.float32(1)), 0).astype(np.float32)
    least = max(16, int(inverse.size * _SPECKLE))
    scale = np.log(np.maximum(inverse, 1e-30)).astype(np.float32)
    kept = speckles(scale, kept, least=least, step=2 * _SAME)
    kept = _as_alike(kept, picture, _ALIKE_REACH, _ALIKE_STEP, _ALIKE_SPREAD, _ALIKE_SHARE)
    inverse[~kept] = 0
    smooth, slope = _planes(inverse, _WINDOW, _FEWEST, np.float32(_SAME))
    depth = np.where(smooth > 0, 1 / np.maximum(smooth, 1e-30), 0).astype(np.float32)
    count[depth == 0] = 0
    return Checked(depth, _normals(smooth, slope, view.intrinsics), count, ratios)


def _normals(
    inverse: NDArray[np.float32], slope: NDArray[np.float32], intrinsics: NDArray[np.float64]
) -> NDArray[np.int8]:
    """Normals from inverse depths and their slopes: on a plane the inverse depth is linear in the pixel, and its
    coefficients are the normal's by the transpose of the intrinsics."""
    height, width = inverse.shape
    x, y = np.arange(width, dtype=np.float32)[None], np.arange(height, dtype=np.float32)[:, None]
    level = inverse - slope[..., 0] * x - slope[..., 1] * y
    normal = np.stack([slope[..., 0], slope[..., 1], level], axis=-1) @ intrinsics.astype(np.float32)
    length = np.linalg.norm(normal, axis=-1, keepdims=True)
    # With a positive inverse depth this normal points away from the camera.
    unit = np.where((length > 0) & (inverse[..., None] > 0), -normal / np.maximum(length, 1e-30), 0)
    return np.rint(127 * unit).astype(np.int8)


@njit(cache=True, parallel=True)
def _compare(depth, other, a, b, back_a, back_b, max_pixels, max_depth, total, count):  # type: ignore[no-untyped-def]  # pragma: no cover
    height, width = depth.shape
    bottom, right = other.shape[0] - 1, other.shape[1] - 1
    for y in prange(height):
        for x in range(width):
            z = depth[y, x]
            if z <= 0:
                continue
            w = 1.0 / z
            there = a[2, 0] * x + a[2, 1] * y + a[2, 2] + b[2] * w
            if there <= 1e-9:
                continue
            u = (a[0, 0] * x + a[0, 1] * y + a[0, 2] + b[0] * w) / there
            v = (a[1, 0] * x + a[1, 1] * y + a[1, 2] + b[1] * w) / there
            if u < 0 or v < 0 or u > right or v > bottom:
                continue
            expected = z * there
            left, top = min(int(u), right - 1), min(int(v), bottom - 1)
            s, t = u - left, v - top
            found = 0.0
            weight = 0.0
            for dy in range(2):
                for dx in range(2):
                    value = other[top + dy, left + dx]
                    if value > 0 and abs(value - expected) <= max_depth * expected:
                        share = (s if dx else 1 - s) * (t if dy else 1 - t) + 1e-6
                        found += share / value
                        weight += share
            if weight < 0.25:
                continue
            met = weight / found
            back = back_a[2, 0] * u + back_a[2, 1] * v + back_a[2, 2] + back_b[2] / met
            if back <= 1e-9:
                continue
            dx = (back_a[0, 0] * u + back_a[0, 1] * v + back_a[0, 2] + back_b[0] / met) / back - x
            dy = (back_a[1, 0] * u + back_a[1, 1] * v + back_a[1, 2] + back_b[1] / met) / back - y
            if dx * dx + dy * dy <= max_pixels * max_pixels:
                count[y, x] += 1
                total[y, x] += 1.0 / (met * back)


@njit(cache=True, parallel=True)
def _as_alike(kept, picture, reach, step, spread, share):  # type: ignore[no-untyped-def]  # pragma: no cover
    """(H,W) which kept pixels have the ``share`` of those around that look like them kept, too; one weighs less by
    exp(-1) for ``spread`` grey levels of difference. ``reach`` is a multiple of ``step``."""
    height, width = kept.shape
    fall = np.exp(-np.arange(3 * 256) / (3 * spread)).astype(np.float32)
    enough = np.zeros((height, width), np.bool_)
    for line in prange(height):
        y = np.int64(line)  # numba counts parallel lines without a sign
        for x in range(width):
            if not kept[y, x]:
                continue
            balance = np.float32(0)
            for v in range(max(y - reach, y % step), min(y + reach + 1, height), step):
                for u in range(max(x - reach, x % step), min(x + reach + 1, width), step):
                    change = np.int64(0)
                    for channel in range(3):
                        change += abs(np.int64(picture[v, u, channel]) - np.int64(picture[y, x, channel]))
                    balance += fall[change] * (1 - share if kept[v, u] else -share)
            enough[y, x] = balance >= 0
    return enough


@njit(cache=True, parallel=True)
def _planes(inverse, reach, fewest, same):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Inverse depth (H,W) and its slopes (H,W,2), from a plane through the window's pixels of the same surface."""
    height, width = inverse.shape
    smooth = np.zeros((height, width), np.float32)
    slope = np.zeros((height, width, 2), np.float32)
    for line in prange(height):
        y = np.int64(line)  # numba counts parallel lines without a sign
        for x in range(width):
            middle = inverse[y, x]
            if middle <= 0:
                continue
            members = 0
            n, sx, sy, sxx, sxy, syy, sw, sxw, syw = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
            for dy in range(max(-reach, -y), min(reach, height - 1 - y) + 1):
                for dx in range(max(-reach, -x), min(reach, width - 1 - x) + 1):
                    value = inverse[y + dy, x + dx] - middle
                    if inverse[y + dy, x + dx] <= 0 or abs(value) > same * middle * max(abs(dx), abs(dy), 1):
                        continue
                    near = 1.0 / (1.0 + 0.25 * (dx * dx + dy * dy))
                    n += near
                    sx, sy, sw = sx + near * dx, sy + near * dy, sw + near * value
                    sxx, sxy, syy = sxx + near * dx * dx, sxy + near * dx * dy, syy + near * dy * dy
                    sxw, syw = sxw + near * dx * value, syw + near * dy * value
                    members += 1
            if members < fewest:
                continue
            mx, my, mw = sx / n, sy / n, sw / n
            cxx, cxy, cyy = sxx / n - mx * mx, sxy / n - mx * my, syy / n - my * my
            cxw, cyw = sxw / n - mx * mw, syw / n - my * mw
            determinant = cxx * cyy - cxy * cxy
            if determinant < 1e-3:
                continue
            slope[y, x, 0] = (cyy * cxw - cxy * cyw) / determinant
            slope[y, x, 1] = (cxx * cyw - cxy * cxw) / determinant
            smooth[y, x] = middle + mw - slope[y, x, 0] * mx - slope[y, x, 1] * my
    return smooth, slope
