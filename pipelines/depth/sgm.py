"""Semi-global matching over eight paths on a cost volume, and the winner of each pixel.

Source: Hirschmüller, Stereo processing by semiglobal matching and mutual information, PAMI 2008. Sixteen-bit integers,
lines of pixels in parallel: a megapixel with 128 candidates takes about two seconds on two cores, and beside the cost
volume only the sums are kept, two bytes a cell.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit, prange
from numpy.typing import NDArray

from pipelines.core.errors import ConfigError

_PATHS = ((0, 1), (0, -1), (1, 0), (-1, 0), (1, 1), (-1, -1), (1, -1), (-1, 1))
_LARGEST_PENALTY = 4000  # 8 (255 + 4000) still fits in 16 bits
_WALL = np.int16(16000)


@dataclass(frozen=True)
class Penalties:
    """What a change of the candidate along a path costs; in the unit of the cost volume, 0 to 255 a pixel.

    Attributes:
        small: a step to the next candidate (slanted and curved surfaces).
        large: any larger step, where the guide picture is flat.
        edge: change of the guide's grey value between neighbours at which ``large`` has fallen to half.
        least: ``large`` never falls below this.
    """

    small: int = 16
    large: int = 120
    edge: float = 8.0
    least: int = 24

    def __post_init__(self) -> None:
        if not 0 < self.small <= self.least <= self.large <= _LARGEST_PENALTY:
            raise ConfigError(
                "The penalties of semi-global matching cannot be used",
                f"0 < small ({self.small}) <= least ({self.least}) <= large ({self.large}) <= {_LARGEST_PENALTY} "
                "does not hold",
            )

    def by_step(self) -> NDArray[np.int16]:
        """(256,) the penalty of a large step for each change of the guide's grey value."""
        fallen = self.large / (1 + np.arange(256) / max(self.edge, 1e-6))
        return np.rint(np.maximum(fallen, self.least)).astype(np.int16)


@dataclass(frozen=True)
class Winners:
    """The best candidate of each pixel.

    Attributes:
        index: (H,W) float32, place of the best candidate in the volume, between candidates by a parabola.
        margin: (H,W) float32 in 0..1: how much more the best candidate that is no neighbour of the winner costs, as a
            share of its own cost; 0 where the pixel cannot decide.
    """

    index: NDArray[np.float32]
    margin: NDArray[np.float32]


def aggregate(cost: NDArray[np.uint8], guide: NDArray[np.uint8], penalties: Penalties) -> NDArray[np.uint16]:
    """Sum over eight paths of the cheapest way to each pixel and candidate.

    Args:
        cost: (H,W,D) uint8 cost volume, C-contiguous; candidates in order of disparity or depth.
        guide: (H,W) or (H,W,3) uint8 picture; large steps are cheaper where it changes, over any channel.
        penalties: of steps.

    Returns:
        (H,W,D) uint16.

    Raises:
        ConfigError: shapes or types that do not fit together.
    """
    if cost.ndim != 3 or cost.dtype != np.uint8 or guide.shape[:2] != cost.shape[:2] or guide.dtype != np.uint8:
        raise ConfigError(
            "A cost volume cannot be aggregated",
            f"it is {cost.shape} {cost.dtype} and its guide {guide.shape} {guide.dtype}; (H,W,D) and (H,W) or (H,W,3) "
            "of uint8 are needed",
        )
    height, width = cost.shape[:2]
    layers = np.ascontiguousarray(guide.reshape(height, width, -1))
    sums = np.zeros(cost.shape, np.uint16)
    steep = penalties.by_step()
    for dy, dx in _PATHS:
        rows, columns = _starts(height, width, dy, dx)
        _along(np.ascontiguousarray(cost), sums, layers, rows, columns, dy, dx, np.int16(penalties.small), steep)
    return sums


def winners(sums: NDArray[np.uint16]) -> Winners:
    """The best candidate of each pixel of aggregated costs (H,W,D)."""
    return Winners(*_winners(sums))


def winners_from_right(sums: NDArray[np.uint16]) -> NDArray[np.float32]:
    """Best candidate (H,W) of each pixel of the *second* picture of a rectified pair, from the first one's sums.

    The candidates must be disparities 0, 1, 2, … more than that of the volume's first: the pixel x of the second
    picture meets candidate k at x + k of the first (the caller takes the first candidate off, see
    :func:`pipelines.depth.filters.left_right`).
    """
    return _winners_from_right(sums)


def _starts(height: int, width: int, dy: int, dx: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Pixels whose predecessor on a path lies outside, one for each line."""
    rows, columns = np.mgrid[:height, :width]
    before_y, before_x = rows - dy, columns - dx
    outside = (before_y < 0) | (before_y >= height) | (before_x < 0) | (before_x >= width)
    return rows[outside], columns[outside]


# The arithmetic stays in 16 bits, which the compiler only sees if every sum says so: sixteen candidates at a time.
@njit(cache=True)
def _step(row, out, before, here, low, small, most):  # type: ignore[no-untyped-def]  # pragma: no cover
    best = np.int16(32000)
    for d in range(row.shape[0]):
        down, same, up = before[d], before[d + 1], before[d + 2]
        near = np.int16((down if down < up else up) + small)
        way = same if same < near else near
        way = way if way < most else most
        value = np.int16(np.int16(row[d]) + np.int16(way - low))
        here[d + 1] = value
        out[d] = np.uint16(out[d] + np.uint16(value))
        best = value if value < best else best
    return best


@njit(cache=True, parallel=True)
def _along(cost, sums, guide, rows, columns, dy, dx, small, steep):  # type: ignore[no-untyped-def]  # pragma: no cover
    height, width, candidates = cost.shape
    for line in prange(rows.shape[0]):
        y, x = rows[line], columns[line]
        before = np.full(candidates + 2, _WALL, np.int16)
        here = np.full(candidates + 2, _WALL, np.int16)
        before[1:-1] = 0
        low = np.int16(0)
        last_y, last_x = y, x
        while 0 <= x < width and 0 <= y < height:
            change = np.int64(0)
            for channel in range(guide.shape[2]):
                change = max(change, abs(np.int64(guide[y, x, channel]) - np.int64(guide[last_y, last_x, channel])))
            low = _step(cost[y, x], sums[y, x], before, here, low, small, np.int16(low + steep[change]))
            before, here = here, before
            last_y, last_x = y, x
            x += dx
            y += dy


@njit(cache=True, parallel=True)
def _winners(sums):  # type: ignore[no-untyped-def]  # pragma: no cover
    height, width, candidates = sums.shape
    index = np.empty((height, width), np.float32)
    margin = np.empty((height, width), np.float32)
    for y in prange(height):
        for x in range(width):
            row = sums[y, x]
            low = np.uint16(65535)
            for d in range(candidates):
                low = row[d] if row[d] < low else low
            best = 0
            while row[best] != low:
                best += 1
            other = np.uint16(65535)
            for d in range(best - 1):
                other = row[d] if row[d] < other else other
            for d in range(best + 2, candidates):
                other = row[d] if row[d] < other else other
            place = float(best)
            if 0 < best < candidates - 1:
                lower, middle, upper = float(row[best - 1]), float(row[best]), float(row[best + 1])
                bend = lower - 2 * middle + upper
                if bend > 0:
                    place += 0.5 * (lower - upper) / bend
            index[y, x] = place
            margin[y, x] = 0.0 if other == 0 or candidates < 4 else (float(other) - float(row[best])) / float(other)
    return index, margin


@njit(cache=True, parallel=True)
def _winners_from_right(sums):  # type: ignore[no-untyped-def]  # pragma: no cover
    height, width, candidates = sums.shape
    index = np.empty((height, width), np.float32)
    for y in prange(height):
        for x in range(width):
            reach = min(candidates, width - x)
            best = 0
            for d in range(1, reach):
                if sums[y, x + d, d] < sums[y, x + best, best]:
                    best = d
            place = float(best)
            if 0 < best < reach - 1:
                lower = float(sums[y, x + best - 1, best - 1])
                middle = float(sums[y, x + best, best])
                upper = float(sums[y, x + best + 1, best + 1])
                bend = lower - 2 * middle + upper
                if bend > 0:
                    place += 0.5 * (lower - upper) / bend
            index[y, x] = place
    return index
