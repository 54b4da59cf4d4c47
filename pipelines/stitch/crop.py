"""The largest upright rectangle inside a panorama."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray


def largest_rectangle(inside: NDArray[np.bool_], most: int = 400) -> tuple[int, int, int, int]:
    """Left, top, right, bottom (the last two exclusive) of the largest rectangle within a mask.

    Masks with a side of more than ``most`` px are looked at in blocks that are inside as a whole, so that the rectangle
    is never too large, and at most a block too small on each side. Linear in the number of blocks.
    """
    block = max(1, math.ceil(max(inside.shape) / most))
    height, width = (size // block for size in inside.shape)
    if not height or not width:
        return 0, 0, inside.shape[1], inside.shape[0]
    coarse = inside[: height * block, : width * block].reshape(height, block, width, block).min((1, 3))
    best, box = 0, (0, 0, 0, 0)
    up = np.zeros(width, np.int64)
    for row in range(height):
        up = np.where(coarse[row], up + 1, 0)
        stack: list[tuple[int, int]] = []  # (first column, height), heights ascending
        for column, tall in enumerate([*up.tolist(), 0]):
            start = column
            while stack and stack[-1][1] >= tall:
                start, high = stack.pop()
                if high * (column - start) > best:
                    best, box = high * (column - start), (start, row + 1 - high, column, row + 1)
            stack.append((start, tall))
    if not best:
        return 0, 0, inside.shape[1], inside.shape[0]
    left, top, right, bottom = (edge * block for edge in box)
    return left, top, right, bottom
