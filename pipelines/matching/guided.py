"""Matches along epipolar lines: once the geometry of a pair is known, a keypoint has some dozens of candidates.

Among so few, the right one stands out where it would not among ten thousand, and finding it costs next to nothing.
The photos' keypoints lie in cells, so that only those near a line are looked at; every candidate counts for both sides,
so that the nearest neighbours of both photos come out of one pass.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from descriptors.contract import Distance
from descriptors.distances import Matches
from descriptors.metrics import metric_of

_CELL = 16.0
"""Px at least of a cell's side; a photo has at most ``_CELLS`` of them to a side."""
_CELLS = 96


@dataclass(frozen=True)
class Cells:
    """The keypoints of a photo in the order of square cells.

    Attributes:
        index: (N,) int32 which keypoint each row is.
        xy: (N,2) float64 centres, px.
        rows: (N,D) float32 descriptors; their inner product orders neighbours.
        places: (N,) int32 first keypoint at the place of each: the orientations of one point are no rivals.
        corner: (2,) px, of the first cell.
        side: px, of a cell.
        shape: columns and lines of cells.
        starts: (cells + 1,) int32 first row of each cell, line by line.
    """

    index: NDArray[np.int32]
    xy: NDArray[np.float64]
    rows: NDArray[np.float32]
    places: NDArray[np.int32]
    corner: NDArray[np.float64]
    side: float
    shape: tuple[int, int]
    starts: NDArray[np.int32]

    @classmethod
    def of(
        cls, xy: NDArray[np.float32], descriptors: NDArray, places: NDArray[np.int32], distance: Distance = "l2"
    ) -> Cells:
        """Sort keypoints at ``xy`` (N,2) into cells; ``descriptors`` as in :mod:`descriptors.distances`."""
        points = xy.astype(np.float64).reshape(-1, 2)
        corner, end = (points.min(axis=0), points.max(axis=0)) if len(points) else (np.zeros(2), np.zeros(2))
        side = max(_CELL, float((end - corner).max()) / (_CELLS - 1))
        at = np.floor((points - corner) / side).astype(np.int64)
        columns, lines = (at.max(axis=0, initial=0) + 1).tolist()  # of what was rounded above, and not anew
        cell = at[:, 1] * columns + at[:, 0]
        order = np.argsort(cell, kind="stable").astype(np.int32)
        starts = np.searchsorted(cell[order], np.arange(columns * lines + 1)).astype(np.int32)
        rows = metric_of(distance).rows(descriptors[order], "given")
        return cls(order, points[order], rows, places[order], corner, side, (columns, lines), starts)


@dataclass
class _Nearest:
    """Best and second-best score of each keypoint, and which row is the best; -1 without a candidate."""

    best: NDArray[np.float32]
    second: NDArray[np.float32]
    row: NDArray[np.int32]

    @classmethod
    def none(cls, count: int) -> _Nearest:
        best, second = np.full((2, count), -np.inf, np.float32)
        return cls(best, second, np.full(count, -1, np.int32))


def guided_matches(
    a: Cells,
    b: Cells,
    fundamental: NDArray[np.float64],
    *,
    band: float,
    background: float,
    distance: Distance = "l2",
) -> Matches:
    """Mutual nearest neighbours among the keypoints that lie near each other's epipolar line.

    Args:
        a, b: the photos' keypoints.
        fundamental: (3,3), x_b^T F x_a = 0, in pixels.
        band: px from the line, in both photos.
        background: the distance at which a rival is supposed to be if none is nearer: of a few candidates the best is
            not distinctive merely because there is no second.
        distance: of the descriptors.

    Returns:
        Matches of keypoints, whatever their ratios: those are as in :func:`descriptors.distances.mutual_matches`,
        among the candidates.
    """
    near, beside = _Nearest.none(len(a.index)), _Nearest.none(len(b.index))
    lines_b, lines_a = _lines(a.xy, fundamental), _lines(b.xy, fundamental.T)
    middle = b.corner + 0.5 * b.side * np.array(b.shape)
    _search(
        _neighbouring(lines_b, middle), a.xy, a.rows, a.places, lines_b, near.best, near.second, near.row,
        b.xy, b.rows, b.places, lines_a, beside.best, beside.second, beside.row,
        b.starts, b.corner[0], b.corner[1], b.side, b.shape[0], b.shape[1], float(band),
    )  # fmt: skip
    i = np.flatnonzero(near.row >= 0)
    i = i[beside.row[near.row[i]] == i]
    i = i[np.argsort(a.index[i])]
    j = near.row[i]
    dim = a.rows.shape[1]
    metric = metric_of(distance)
    distances = metric.distance(near.best[i], dim)
    rivals = metric.distance(np.maximum(near.second[i], beside.second[j]), dim)
    ratios = (distances / np.minimum(rivals, np.float32(background))).astype(np.float32)
    return Matches(np.stack([a.index[i], b.index[j]], axis=1), distances, ratios)


def _lines(xy: NDArray[np.float64], matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """Lines (N,3) of points: u x + v y + w is the distance in px; NaN where there is none."""
    lines = xy[:, :1] * matrix[:, 0] + xy[:, 1:] * matrix[:, 1] + matrix[:, 2]
    with np.errstate(divide="ignore", invalid="ignore"):
        return lines / np.hypot(lines[:, :1], lines[:, 1:2])


def _neighbouring(lines: NDArray[np.float64], middle: NDArray[np.float64]) -> NDArray[np.intp]:
    """An order of lines in which candidates of one are mostly those of the next, so that they stay in the cache."""
    u, v, w = lines.T
    flat = np.abs(u) <= np.abs(v)
    distance = (u * middle[0] + v * middle[1] + w) * np.where(flat, np.sign(v), np.sign(u))
    order = np.lexsort([distance, flat])
    return order[np.isfinite(distance[order])]


@njit(cache=True, nogil=True, fastmath={"reassoc", "contract", "nsz"})
def _dot(a, i, b, j):  # type: ignore[no-untyped-def]  # pragma: no cover
    total = np.float32(0)
    for k in range(a.shape[1]):
        total += a[i, k] * b[j, k]
    return total


@njit(cache=True, nogil=True)
def _search(  # type: ignore[no-untyped-def]  # pragma: no cover
    order, xy_a, rows_a, places_a, lines_b, best_a, second_a, row_a,
    xy_b, rows_b, places_b, lines_a, best_b, second_b, row_b, starts, left, top, side, columns, rows, band,
):  # fmt: skip
    """Fill best, second and row of both sides. One function of plain arrays: in tuples each use of them costs more than
    the product of two descriptors."""
    for i in order:
        u, v, w = lines_b[i, 0], lines_b[i, 1], lines_b[i, 2]
        # Along the line in steps of a cell: over columns where it is rather horizontal, over rows of cells otherwise.
        flat = abs(u) <= abs(v)
        if flat:
            slope, offset, start, across, steps, others = -u / v, -w / v, left, top, columns, rows
        else:
            slope, offset, start, across, steps, others = -v / u, -w / u, top, left, rows, columns
        margin = band * np.sqrt(1.0 + slope * slope)
        for step in range(steps):
            one = offset + slope * (start + step * side)
            two = one + slope * side
            first = max(np.floor((min(one, two) - margin - across) / side), 0.0)
            last = min(np.floor((max(one, two) + margin - across) / side), others - 1.0)
            for other in range(int(first), int(last) + 1):
                cell = other * columns + step if flat else step * columns + other
                for j in range(starts[cell], starts[cell + 1]):
                    if abs(u * xy_b[j, 0] + v * xy_b[j, 1] + w) > band:
                        continue
                    # NaN lies near no line: the comparison must hold to go on.
                    if not abs(lines_a[j, 0] * xy_a[i, 0] + lines_a[j, 1] * xy_a[i, 1] + lines_a[j, 2]) <= band:
                        continue
                    score = _dot(rows_a, i, rows_b, j)
                    # Another orientation of the best one's place is no rival of it.
                    if score > best_a[i]:
                        if row_a[i] < 0 or places_b[row_a[i]] != places_b[j]:
                            second_a[i] = best_a[i]
                        best_a[i], row_a[i] = score, j
                    elif score > second_a[i] and places_b[row_a[i]] != places_b[j]:
                        second_a[i] = score
                    if score > best_b[j]:
                        if row_b[j] < 0 or places_a[row_b[j]] != places_a[i]:
                            second_b[j] = best_b[j]
                        best_b[j], row_b[j] = score, i
                    elif score > second_b[j] and places_a[row_b[j]] != places_a[i]:
                        second_b[j] = score
