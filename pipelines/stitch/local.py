"""What cameras alone leave between overlapping photos: smooth shifts of each photo's pixels, found coarse to fine.

A camera that moved while it turned sees near things in other places than far ones, and no rotation makes them meet.
Each photo is bent a little where it overlaps with others, half of the way each, so that what is seen in both comes to
lie on itself: as-projective-as-possible warps (Zaragoza et al., CVPR 2013) in spirit, B-splines fitted level by level
to scattered data (Lee, Wolberg and Shin, TVCG 1997) in method. Away from overlaps the shifts fade to nothing.
"""

from __future__ import annotations

import base64
import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipelines.core.median import median
from pipelines.stitch.adjust import Array

_NODES = 32
"""Grid cells along a photo's longer side."""
_REACHES = (8.0, 4.0, 2.0)
"""Standard deviations of the smoothing, in cells. On nine pairs of the training scenes the median residuals of 1.9 to
5.1 px become 0.4 to 1.8; a last reach of 1 would take more off, but is no wider than the distance between matches."""
_SWEEPS = 3
_FADE = 0.1
"""Matches in the reach of a place that let half of their shift be believed."""
_LEAST = 0.5
"""px at 800 px: a match this far from what its neighbours say counts half, whatever their spread."""
_UNDO = 6


@dataclass(frozen=True)
class Shifts:
    """By how much a photo's pixels are moved before its camera looks along them.

    Attributes:
        step: px of the full-resolution photo between two nodes; the first lies at pixel (0, 0).
        grid: (h,w,2) px, linear in between.
    """

    step: float
    grid: NDArray[np.float32]

    @classmethod
    def none(cls, width: int, height: int) -> Shifts:
        """No shifts, for a photo of a size."""
        step = max(width, height) / _NODES
        return cls(step, np.zeros((math.ceil(height / step) + 1, math.ceil(width / step) + 1, 2), np.float32))

    def packed(self) -> dict[str, Any]:
        """As a JSON value: ``step_px``, ``rows``, ``columns``, and the grid's (rows, columns, 2) x and y in hundredths
        of a px, little-endian 16-bit integers in base64."""
        rows, columns = self.grid.shape[:2]
        whole = np.clip(np.rint(100 * self.grid), -32767, 32767).astype("<i2")
        text = base64.b64encode(whole.tobytes()).decode()
        return {"step_px": self.step, "rows": rows, "columns": columns, "hundredths_px": text}

    @classmethod
    def unpacked(cls, value: dict[str, Any]) -> Shifts:
        """The inverse of :meth:`packed`."""
        whole = np.frombuffer(base64.b64decode(value["hundredths_px"]), "<i2").astype(np.float32)
        return cls(value["step_px"], whole.reshape(value["rows"], value["columns"], 2) / np.float32(100))

    def cells(self, xy: Array) -> tuple[NDArray[np.int64], Array]:
        """(M,) index of the node to the left and above each place, row by row, and (M,2) how far it lies beyond, 0 to
        1."""
        height, width = self.grid.shape[:2]
        place = np.clip(xy / self.step, 0, [width - 1.001, height - 1.001])
        cell = place.astype(np.int64)
        return cell[:, 1] * width + cell[:, 0], place - cell

    def at(self, xy: Array) -> Array:
        """(M,2) px, the shifts of places (M,2)."""
        node, beyond = self.cells(xy)
        right, down = beyond[:, :1], beyond[:, 1:]
        flat, width = self.grid.reshape(-1, 2), self.grid.shape[1]
        corners = flat.take(node + np.array([[0], [1], [width], [width + 1]]), axis=0)
        above = corners[0] * (1 - right) + corners[1] * right
        below = corners[2] * (1 - right) + corners[3] * right
        return above * (1 - down) + below * down

    def apply(self, xy: Array) -> Array:
        """(M,2) px as the camera sees them, of px of the photo."""
        return xy + self.at(xy)

    def undo(self, xy: Array) -> Array:
        """The inverse of :meth:`apply`, by fixed-point iteration: shifts change by far less than a px a px."""
        seen = np.isfinite(xy).all(1, keepdims=True)
        wanted = np.where(seen, xy, 0.0)
        found = wanted + self._back.at(wanted)
        for _ in range(2):
            found = wanted - self.at(found)
        return np.where(seen, found, np.nan)

    @cached_property
    def _back(self) -> Shifts:
        """Nearly the inverse: what undoes the shifts at the nodes."""
        height, width = self.grid.shape[:2]
        across, down = np.meshgrid(np.arange(width), np.arange(height))
        nodes = np.float64(self.step) * np.column_stack([across.ravel(), down.ravel()])
        off = np.zeros_like(nodes)
        for _ in range(_UNDO):
            off = -self.at(nodes + off)
        return Shifts(self.step, off.reshape(self.grid.shape).astype(np.float32))


Carry = Callable[[int, int, Array], Array]
"""(source, target, (M,2) px of the source) -> (M,2) px of the target by their cameras, NaN where it cannot look."""


def fit_shifts(
    carry: Carry, matches: Mapping[tuple[int, int], tuple[Array, Array]], sizes: Sequence[tuple[int, int]]
) -> list[Shifts]:
    """Shifts under which matches meet.

    Args:
        carry: by the cameras alone.
        matches: (i, j) -> places (K,2), (K,2) px of one thing in both photos.
        sizes: (width, height) of each photo, px.
    """
    shifts = [Shifts.none(*size) for size in sizes]
    if not any(len(a) for a, _ in matches.values()):
        return shifts
    links = [(i, j, a, b) for (i, j), (a, b) in matches.items()] + [(j, i, b, a) for (i, j), (a, b) in matches.items()]
    rows, columns = (max(one.grid.shape[side] for one in shifts) for side in (0, 1))
    here = _Spots.of([(shifts[i], i, number, x) for number, (i, _, x, _) in enumerate(links)], rows, columns)
    there = _Spots.of([(shifts[j], j, number, y) for number, (_, j, _, y) in enumerate(links)], rows, columns)
    ends = np.cumsum([0, *(len(x) for _, _, x, _ in links)])
    parts = [slice(begin, end) for begin, end in itertools.pairwise(ends)]
    least = np.array([_LEAST * shifts[i].step * _NODES / 800 for i, _, _, _ in links])
    grids = np.zeros((len(shifts), rows, columns, 2))
    for reach in _REACHES:
        from_there = there.at(grids)
        base, by_shift = _carried(carry, links, parts, there.xy + from_there)
        known = np.isfinite(np.concatenate([base, by_shift.reshape(-1, 4)], 1)).all(1)
        base, by_shift = np.where(known[:, None], base, 0), np.where(known[:, None, None], by_shift, 0)
        counts, smoother = known.astype(np.float64), _Smoother(rows, columns, reach)
        for _ in range(_SWEEPS):
            moved = base + np.einsum("mij,mj->mi", by_shift, there.at(grids) - from_there)
            off = 0.5 * (moved - here.xy - here.at(grids))
            alike = smoother(here.sums(off, counts, len(links), by_link=True), 1e-6)
            apart = np.linalg.norm(off - here.at(alike, by_link=True), axis=1)
            spread = [median(apart[part][known[part]]) if known[part].any() else 0.0 for part in parts]
            scale = np.repeat(np.maximum(least, 2 * np.array(spread)), np.diff(ends))
            # What contradicts its neighbours weighs less.
            weight = counts / (1 + (apart / scale) ** 2)
            grids += smoother(here.sums(off, weight, len(shifts)), _FADE)
    return [
        Shifts(one.step, grid[: one.grid.shape[0], : one.grid.shape[1]].astype(np.float32))
        for one, grid in zip(shifts, grids, strict=True)
    ]


def _carried(
    carry: Carry, links: Sequence[tuple[int, int, Array, Array]], parts: Sequence[slice], seen: Array
) -> tuple[Array, Array]:
    """(M,2) where each link's first photo sees what its second sees at ``seen``, and (M,2,2) derivatives by that."""
    every = np.empty((len(seen), 3, 2))
    for (here, there, _, _), part in zip(links, parts, strict=True):
        points = seen[part, None] + np.array([[0.0, 0], [1, 0], [0, 1]])
        every[part] = carry(there, here, points.reshape(-1, 2)).reshape(-1, 3, 2)
    return every[:, 0], (every[:, 1:] - every[:, :1]).transpose(0, 2, 1)


class _Spots(NamedTuple):
    """Places among the nodes of their photos' grids, all of one shape.

    Attributes:
        xy: (M,2) px.
        of_photo, of_link: (4,M) nodes around each place, in the grids of all photos, and of all links, one after the
            other.
        shares: (4,M) by how much each counts, 1 altogether.
        shape: rows and columns of a grid.
    """

    xy: Array
    of_photo: NDArray[np.int64]
    of_link: NDArray[np.int64]
    shares: Array
    shape: tuple[int, int]

    @classmethod
    def of(cls, places: Sequence[tuple[Shifts, int, int, Array]], rows: int, columns: int) -> _Spots:
        """Places (K,2) px of several photos: (shifts of that photo, number of the photo, of the link, places)."""
        every = [
            (np.full(len(xy), photo), np.full(len(xy), link), *shifts.cells(xy), np.full(len(xy), shifts.grid.shape[1]))
            for shifts, photo, link, xy in places
        ]
        photo, link, node, beyond, width = (np.concatenate(part) for part in zip(*every, strict=True))
        right, down = beyond.T
        shares = np.stack([(1 - right) * (1 - down), right * (1 - down), (1 - right) * down, right * down])
        nodes = node // width * columns + node % width + np.array([[0], [1], [columns], [columns + 1]])
        of_photo, of_link = (owner * (rows * columns) + nodes for owner in (photo, link))
        return cls(np.concatenate([xy for *_, xy in places]), of_photo, of_link, shares, (rows, columns))

    def at(self, grids: Array, *, by_link: bool = False) -> Array:
        """(M,2) what (N,h,w,2) grids of the photos or the links hold there."""
        around = grids.reshape(-1, 2).take(self.of_link if by_link else self.of_photo, axis=0)
        return (self.shares[:, :, None] * around).sum(0)

    def sums(self, vectors: Array, weight: Array, count: int, *, by_link: bool = False) -> Array:
        """(count,3,h,w) sums of vectors (M,2) times weights (M,), and of weights, shared out among the nodes."""
        places, shares = (self.of_link if by_link else self.of_photo).ravel(), self.shares * weight
        size = self.shape[0] * self.shape[1]
        sums = [
            np.bincount(places, (shares if part is None else shares * part).ravel(), minlength=count * size)
            for part in (vectors[:, 0], vectors[:, 1], None)
        ]
        return np.stack([one.reshape(count, *self.shape) for one in sums], 1)


class _Smoother:
    """Gaussian means over grids of one shape; nothing lies beyond them."""

    def __init__(self, rows: int, columns: int, reach: float) -> None:
        self._down, self._across = (
            np.exp(-0.5 * ((np.arange(n)[:, None] - np.arange(n)) / reach) ** 2) / (math.sqrt(math.tau) * reach)
            for n in (rows, columns)
        )

    def __call__(self, sums: Array, fade: float) -> Array:
        """(N,h,w,2) means of (N,3,h,w) sums, drawn to 0 where there is little."""
        wide = self._down @ sums @ self._across
        return np.moveaxis(wide[:, :2] / (wide[:, 2:] + fade), 1, -1)
