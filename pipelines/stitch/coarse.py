"""The canvas in strips that fit into the processor's cache, and what is smooth over it in cells of several pixels."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

_STRIP = 60_000
"""px that are worked on at once."""


class Coarse(NamedTuple):
    """Values in cells, linear between the cells' middles; beyond the outermost ones they go on.

    Attributes:
        values: (h,w) or (h,w,C).
        step: canvas px along a cell's side.
        left, top: px of the canvas at which the first cell begins.
    """

    values: NDArray
    step: int
    left: int
    top: int

    def part(self, left: int, top: int, width: int, height: int) -> NDArray:
        """(height,width) or (height,width,C), one value for each pixel of a part of the canvas."""
        import cv2

        rows, skip_rows = self._cells(top - self.top, height, self.values.shape[0])
        columns, skip_columns = self._cells(left - self.left, width, self.values.shape[1])
        some = np.ascontiguousarray(self.values[rows][:, columns])
        if self.step > 1:
            size = some.shape[1] * self.step, some.shape[0] * self.step
            some = cv2.resize(some, size, interpolation=cv2.INTER_LINEAR)
        return some[skip_rows : skip_rows + height, skip_columns : skip_columns + width]

    def _cells(self, begin: int, length: int, count: int) -> tuple[slice | NDArray[np.int64], int]:
        """The cells along one side that ``length`` px from ``begin`` lie between, and how many px these begin later."""
        first, last = begin // self.step - 1, (begin + length - 1) // self.step + 2
        skip = begin - first * self.step
        if first >= 0 and last <= count:
            return slice(first, last), skip
        return np.clip(np.arange(first, last), 0, count - 1), skip


def strips_of(height: int, width: int) -> Iterator[slice]:
    """Rows of a picture in strips of about :data:`_STRIP` px, each beginning with an even one."""
    rows = max(1, _STRIP // max(1, width) // 2) * 2
    for top in range(0, height, rows):
        yield slice(top, min(top + rows, height))
