"""What follows the winner: which disparities both pictures agree on, what to do with the others, a last smoothing."""

from __future__ import annotations

import numpy as np
from numba import njit, prange
from numpy.typing import NDArray

Disparity = NDArray[np.float32]


def left_right(left: Disparity, right: Disparity) -> NDArray[np.bool_]:
    """(H,W) whether the second picture agrees: its disparity at the match differs by at most one px.

    Args:
        left: (H,W) disparities x_left - x_right of the first picture, NaN where unknown.
        right: (H,W) disparities, same sign, at pixels of the second picture.
    """
    width = left.shape[1]
    column = np.rint(np.arange(width)[None] - np.nan_to_num(left, nan=-2.0 * width)).astype(np.int64)
    inside = (column >= 0) & (column < width) & np.isfinite(left)
    met = np.take_along_axis(right, np.clip(column, 0, width - 1), axis=1)
    return inside & (np.abs(met - left) <= 1.0)


def mismatched(right: Disparity, start: int, count: int) -> NDArray[np.bool_]:
    """(H,W) whether the second picture has a pixel that claims this one of the first as its match.

    A pixel without a trustworthy disparity is mismatched if there is one, and occluded if there is none: what hides
    it, or the picture's border, then claims other pixels.

    Source: Žbontar and LeCun, Stereo matching by training a convolutional neural network, JMLR 2016.

    Args:
        right: (H,W) disparities at pixels of the second picture.
        start, count: disparities that were tried.
    """
    return _mismatched(np.ascontiguousarray(right, np.float32), start, count)


def speckles(values: NDArray[np.float32], valid: NDArray[np.bool_], *, least: int, step: float) -> NDArray[np.bool_]:
    """(H,W) whether a pixel lies in a connected piece of at least ``least`` pixels.

    Neighbours (4) belong together if both are valid and differ by at most ``step``.
    """
    return _speckles(np.ascontiguousarray(values, np.float32), np.ascontiguousarray(valid), least, step)


def fill_background(values: Disparity, valid: NDArray[np.bool_]) -> Disparity:
    """Fill along rows with the farther of the nearest valid values to both sides; then along columns what is left.

    Args:
        values: (H,W) disparities.
        valid: (H,W) pixels to keep.
    """
    filled = _fill_rows(np.where(valid, values, np.nan).astype(np.float32))
    if not np.isfinite(filled).all():
        filled = np.ascontiguousarray(_fill_rows(np.ascontiguousarray(filled.T)).T)
    return filled


def weighted_median(
    values: NDArray[np.float32],
    guide: NDArray[np.uint8],
    *,
    reach: int,
    spread: float,
    where: NDArray[np.bool_] | None = None,
) -> Disparity:
    """Median over a window, neighbours weighted by how much they look like the pixel; steps stay at the guide's edges.

    Source: Ma et al., Constant time weighted median filtering for stereo matching, ICCV 2013.

    Args:
        values: (H,W); NaN are left out.
        guide: (H,W) or (H,W,C) uint8 picture.
        reach: half side of the window, px.
        spread: grey values over which the weight falls to 1/e.
        where: (H,W) pixels to filter, all unless given.
    """
    chosen = np.ones(values.shape, bool) if where is None else np.ascontiguousarray(where)
    return _weighted_median(_float(values), np.isfinite(values), _layers(guide), reach, spread, chosen)


def median(values: NDArray[np.float32], size: int) -> Disparity:
    """Median over a square window of 3 or 5 px a side."""
    import cv2

    return np.asarray(cv2.medianBlur(_float(values), size), np.float32)


def _float(values: NDArray) -> NDArray[np.float32]:
    return np.ascontiguousarray(values, np.float32)


def _layers(guide: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.ascontiguousarray(guide.reshape(*guide.shape[:2], -1))


@njit(cache=True, parallel=True)
def _mismatched(right, start, count):  # type: ignore[no-untyped-def]  # pragma: no cover
    height, width = right.shape
    claimed = np.zeros((height, width), np.bool_)
    for y in prange(height):
        for x in range(width):
            for d in range(start, start + count):
                if 0 <= x - d < width and abs(right[y, x - d] - d) <= 1.0:
                    claimed[y, x] = True
                    break
    return claimed


@njit(cache=True)
def _speckles(values, valid, least, step):  # type: ignore[no-untyped-def]  # pragma: no cover
    height, width = values.shape
    kept = np.zeros((height, width), np.bool_)
    seen = np.zeros((height, width), np.bool_)
    queue = np.empty(height * width, np.int64)
    for start in range(height * width):
        if seen[start // width, start % width] or not valid[start // width, start % width]:
            continue
        first, last = 0, 1
        queue[0] = start
        seen[start // width, start % width] = True
        while first < last:
            y, x = queue[first] // width, queue[first] % width
            first += 1
            for dy, dx in ((0, 1), (0, -1), (1, 0), (-1, 0)):
                v, u = y + dy, x + dx
                if v < 0 or v >= height or u < 0 or u >= width or not valid[v, u] or seen[v, u]:
                    continue
                if abs(values[v, u] - values[y, x]) <= step:
                    seen[v, u] = True
                    queue[last] = v * width + u
                    last += 1
        if last >= least:
            for place in range(last):
                kept[queue[place] // width, queue[place] % width] = True
    return kept


@njit(cache=True, parallel=True)
def _fill_rows(values):  # type: ignore[no-untyped-def]  # pragma: no cover
    height, width = values.shape
    filled = values.copy()
    for y in prange(height):
        begin = 0
        while begin < width:
            if not np.isnan(values[y, begin]):
                begin += 1
                continue
            end = begin
            while end < width and np.isnan(values[y, end]):
                end += 1
            value = np.float32(np.nan)
            if begin > 0:
                value = values[y, begin - 1]
            if end < width and (np.isnan(value) or values[y, end] < value):
                value = values[y, end]
            filled[y, begin:end] = value
            begin = end
    return filled


@njit(cache=True)
def _half_way(values, weights, spare, spare_weights, count, half):  # type: ignore[no-untyped-def]  # pragma: no cover
    """The smallest of ``count`` values at which the weights of those up to it reach ``half``; uses up all the arrays.

    Quicksort of only the side where it lies (Hoare, Algorithm 65: Find, CACM 1961). Both sides are written without a
    branch, which the processor could not foresee.
    """
    below = np.float32(0)
    while True:
        pivot = values[count // 2]
        less, same = np.float32(0), np.float32(0)
        low, high = 0, 0
        for place in range(count):
            value, weight = values[place], weights[place]
            less += weight if value < pivot else np.float32(0)
            same += weight if value == pivot else np.float32(0)
            values[low], weights[low] = value, weight
            spare[high], spare_weights[high] = value, weight
            low += value < pivot
            high += value > pivot
        if below + less >= half:
            count = low
        else:
            below += less + same
            if below >= half:
                return pivot
            values, weights, spare, spare_weights = spare, spare_weights, values, weights
            count = high
        if count == 0:  # by rounding, half lies beyond the largest
            return pivot


@njit(cache=True, parallel=True)
def _weighted_median(values, usable, guide, reach, spread, where):  # type: ignore[no-untyped-def]  # pragma: no cover
    height, width = values.shape
    result = values.copy()
    fall = np.exp(-np.arange(256 * guide.shape[2]) / (spread * guide.shape[2])).astype(np.float32)
    for y in prange(height):
        found, spare = np.empty((2, (2 * reach + 1) ** 2), np.float32)
        weights, spare_weights = np.empty((2, (2 * reach + 1) ** 2), np.float32)
        for x in range(width):
            if not where[y, x]:
                continue
            count, total = 0, np.float32(0)
            for v in range(max(0, y - reach), min(height, y + reach + 1)):
                for u in range(max(0, x - reach), min(width, x + reach + 1)):
                    if not usable[v, u]:
                        continue
                    change = np.int64(0)
                    for channel in range(guide.shape[2]):
                        change += abs(np.int64(guide[v, u, channel]) - np.int64(guide[y, x, channel]))
                    found[count] = values[v, u]
                    weights[count] = fall[change]
                    total += weights[count]
                    count += 1
            if count == 0:
                result[y, x] = np.nan
                continue
            result[y, x] = _half_way(found, weights, spare, spare_weights, count, total / 2)
    return result
