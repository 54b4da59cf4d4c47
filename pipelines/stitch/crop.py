"""The largest upright rectangle inside a panorama."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

_MOST = 400
"""Blocks along a mask's longer side."""


def largest_rectangle(inside: NDArray[np.bool_]) -> tuple[int, int, int, int]:
    """Left, top, right, bottom (the last two exclusive) of the largest rectangle within a mask.

    Masks with a side of more than 400 px are looked at in blocks that are inside as a whole, so that the rectangle
    is never too large, and at most a block too small on each side. Linear in the number of blocks.
    """
    block = max(1, math.ceil(max(inside.shape) / _MOST))
    height, width = (size // block for size in inside.shape)
    if not height or not width:
        return 0, 0, inside.shape[1], inside.shape[0]
    coarse = inside[: height * block, : width * block].reshape(height, block, width, block).min((1, 3))
    best, box = 0, (0, 0, 0, 0)
    columns = np.arange(width)
    # Of the tallest rectangle that stands on each place of a row: its height, and how far it reaches at that height.
    up, left, right = np.zeros(width, int), np.zeros(width, int), np.full(width, width)
    for row, free in enumerate(coarse):
        up = np.where(free, up + 1, 0)
        here = np.maximum.accumulate(np.where(free, 0, columns + 1))
        left = np.where(free, np.maximum(left, here), 0)
        here = np.minimum.accumulate(np.where(free, width, columns)[::-1])[::-1]
        right = np.where(free, np.minimum(right, here), width)
        area = up * (right - left)
        at = int(area.argmax())
        if area[at] > best:
            best, box = int(area[at]), (int(left[at]), row + 1 - int(up[at]), int(right[at]), row + 1)
    if not best:
        return 0, 0, inside.shape[1], inside.shape[0]
    west, north, east, south = (edge * block for edge in box)
    return west, north, east, south
