"""What cameras alone leave between overlapping photos: smooth shifts of each photo's pixels, found coarse to fine.

A camera that moved while it turned sees near things in other places than far ones, and no rotation makes them meet.
Each photo is bent a little where it overlaps with others, half of the way each, so that what is seen in both comes to
lie on itself: as-projective-as-possible warps (Zaragoza et al., CVPR 2013) in spirit, B-splines fitted level by level
to scattered data (Lee, Wolberg and Shin, TVCG 1997) in method. Away from overlaps the shifts fade to nothing.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

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
        above = flat[node] * (1 - right) + flat[node + 1] * right
        below = flat[node + width] * (1 - right) + flat[node + width + 1] * right
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
    both = [(i, j, a, b) for (i, j), (a, b) in matches.items()] + [(j, i, b, a) for (i, j), (a, b) in matches.items()]
    for reach in _REACHES:
        for _ in range(_SWEEPS):
            sums = [np.zeros((*one.grid.shape[:2], 3), np.float32) for one in shifts]
            for here, there, x, y in both:
                off = carry(there, here, shifts[there].apply(y)) - shifts[here].apply(x)
                known = np.isfinite(off).all(1)
                sums[here] += _spread(shifts[here], x[known], 0.5 * off[known], reach)
            shifts = [
                Shifts(one.step, one.grid + _smooth(total, reach, _FADE))
                for one, total in zip(shifts, sums, strict=True)
            ]
    return shifts


def _spread(shifts: Shifts, x: Array, off: Array, reach: float) -> NDArray[np.float32]:
    """(h,w,3) sums of weighted vectors and weights at the nodes; what contradicts its neighbours weighs less."""
    alike = _splat(shifts, x, off, np.ones(len(x)))
    around = Shifts(shifts.step, _smooth(alike, reach, 1e-6))
    apart = np.linalg.norm(off - around.at(x), axis=1)
    least = _LEAST * shifts.step * _NODES / 800
    scale = max(least, 2 * float(median(apart))) if len(apart) else least
    return _splat(shifts, x, off, 1 / (1 + (apart / scale) ** 2))


def _splat(shifts: Shifts, x: Array, off: Array, weight: Array) -> NDArray[np.float32]:
    """(h,w,3) each vector (K,2) and weight (K,) shared out among the four nodes around its place."""
    height, width = shifts.grid.shape[:2]
    node, beyond = shifts.cells(x)
    right, down = beyond.T
    shares = np.stack([(1 - right) * (1 - down), right * (1 - down), (1 - right) * down, right * down]) * weight
    places = (node + np.array([[0], [1], [width], [width + 1]])).ravel()
    sums = [
        np.bincount(places, (shares * part).ravel(), minlength=height * width)
        for part in (off[:, 0], off[:, 1], np.ones(len(x)))
    ]
    return np.stack(sums, 1).reshape(height, width, 3).astype(np.float32)


def _smooth(sums: NDArray[np.float32], reach: float, fade: float) -> NDArray[np.float32]:
    """(h,w,2) means of what was spread, drawn to 0 where there is little."""
    import cv2

    wide = cv2.GaussianBlur(sums, (0, 0), reach, borderType=cv2.BORDER_CONSTANT)
    return np.asarray(wide[..., :2] / (wide[..., 2:] + np.float32(fade)), np.float32)
