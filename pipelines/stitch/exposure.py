"""Exposure and white balance: gains that make overlaps agree, without burning the highlights."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pipelines.core.median import median
from pipelines.stitch.projection import Canvas, Piece

_DARK, _BRIGHT = 12, 243
"""Values outside are clipped or noise and say nothing about exposure."""
_SAMPLES = 4000
"""Pixels of an overlap whose median says how its photos differ."""
_GREY = 3.0
"""Mean difference between the largest and the smallest channel of a photo that has no colour."""
_BURNT = 0.002
"""Share of a photo's pixels that its gain may drive beyond white."""
_REACH, _FADE = 0.15, 0.1
"""How far local gains reach, in photo sides, and the share of overlap around a place at which they are halved."""


def find_gains(
    images: Sequence[NDArray[np.uint8]], masks: Sequence[NDArray[np.uint8]], canvas: Canvas, count: int
) -> NDArray[np.float64]:
    """(count,3) gains that make the colours of overlapping photos agree, 1 on (geometric) average.

    From the median ratio of each overlap, which moving things do not sway; all overlaps together by least squares in
    logarithms, weighted by the square root of their size.
    """
    normal = np.eye(count) * 1e-3
    right = np.zeros((count, 3))
    pieces, good = canvas.pieces, _telling(images, masks)
    for first in range(len(pieces)):
        for second in range(first + 1, len(pieces)):
            i, j = pieces[first].photo, pieces[second].photo
            ratio, pixels = _log_ratio(images, good, canvas, first, second)
            if i == j or pixels < 30:
                continue
            weight = math.sqrt(pixels)
            normal[[i, j], [i, j]] += weight
            normal[[i, j], [j, i]] -= weight
            right[i] -= weight * ratio
            right[j] += weight * ratio
    return np.exp(np.clip(np.linalg.solve(normal, right), -1.2, 1.2))


_View = tuple[slice, slice]


def _common(a: Piece, b: Piece) -> tuple[_View, _View] | None:
    """Where two pieces lie upon each other, in the pixels of either; None if they do not."""
    left, top = max(a.left, b.left), max(a.top, b.top)
    right, bottom = min(a.left + a.width, b.left + b.width), min(a.top + a.height, b.top + b.height)
    if right <= left or bottom <= top:
        return None
    one, two = ((slice(top - p.top, bottom - p.top), slice(left - p.left, right - p.left)) for p in (a, b))
    return one, two


def _telling(images: Sequence[NDArray[np.uint8]], masks: Sequence[NDArray[np.uint8]]) -> list[NDArray[np.uint8]]:
    """Per piece (h,w) 255 where the photo is and none of its channels is clipped."""
    import cv2

    low, high = (_DARK,) * 3, (_BRIGHT,) * 3
    in_range = [np.asarray(cv2.inRange(image, low, high), np.uint8) for image in images]
    return [good & mask for good, mask in zip(in_range, masks, strict=True)]


def _log_ratio(
    images: Sequence[NDArray[np.uint8]], good: Sequence[NDArray[np.uint8]], canvas: Canvas, first: int, second: int
) -> tuple[NDArray[np.float64], int]:
    """Median (3,) of log(first / second) where both are seen and neither is clipped, and over how many pixels."""
    views = _common(canvas.pieces[first], canvas.pieces[second])
    if views is None:
        return np.zeros(3), 0
    both = np.flatnonzero(good[first][views[0]] & good[second][views[1]])
    if not len(both):
        return np.zeros(3), 0
    some = both[:: max(1, len(both) // _SAMPLES)]
    sides = images[first][views[0]], images[second][views[1]]
    one, two = (np.log(side.reshape(-1, 3)[some].astype(np.float64)) for side in sides)
    ratio = median(one - two, axis=0)
    # A photo without colour must not give its neighbour's colours a cast.
    return np.full(3, ratio.mean()) if _is_grey(np.exp(one)) or _is_grey(np.exp(two)) else ratio, len(both)


def _is_grey(pixels: NDArray) -> bool:
    return float(np.ptp(pixels, axis=1).mean()) < _GREY


def moderated(
    images: Sequence[NDArray[np.uint8]], masks: Sequence[NDArray[np.uint8]], canvas: Canvas, gains: NDArray[np.float64]
) -> NDArray[np.float64]:
    """The gains (N,3), drawn towards 1 until hardly a pixel that was not white becomes so.

    A photo that was exposed less than its neighbours is brightened, and what is bright in it would be burnt out. What
    is left of the difference is for :func:`local_gains`, which act near the overlaps alone.
    """
    shown = []
    for image, mask, piece in zip(images, masks, canvas.pieces, strict=True):
        values = image.reshape(-1, 3)[::4][mask.ravel()[::4] > 0]
        values = values[values.max(1) <= _BRIGHT] if len(values) else values
        if len(values):
            rank = math.ceil((1 - _BURNT) * (len(values) - 1))
            shown.append((piece.photo, np.partition(values, rank, axis=0)[rank].astype(np.float64)))
    for share in np.linspace(1, 0, 21):
        drawn = gains**share
        if all((bright * drawn[photo]).max() <= 255 for photo, bright in shown):
            return drawn
    return np.ones_like(gains)


def local_gains(
    images: Sequence[NDArray[np.uint8]], masks: Sequence[NDArray[np.uint8]], canvas: Canvas
) -> list[NDArray[np.float32]]:
    """Per piece, (h,w) smooth factors under which overlaps agree also where one gain for a whole photo does not
    make them: vignetting, auto exposure beyond what :func:`moderated` leaves. They fade to 1 away from the overlaps.

    Args:
        images: with their gains, on a small canvas.
    """
    import cv2

    # Of all channels alike: what differs in colour from place to place is the scene.
    table = np.log(np.maximum(np.arange(256), 1)).astype(np.float32)
    third = np.full((1, 3), 1 / 3)
    logs = [np.asarray(cv2.transform(cv2.LUT(image, table), third), np.float32) for image in images]
    good = _telling(images, masks)
    reach = _REACH * math.sqrt(float(median([mask.size for mask in masks])))
    sums = [np.zeros_like(log) for log in logs]
    counts = [np.zeros_like(log) for log in logs]
    for first in range(len(images)):
        for second in range(first + 1, len(images)):
            views = _common(canvas.pieces[first], canvas.pieces[second])
            if views is None or canvas.pieces[first].photo == canvas.pieces[second].photo:
                continue
            both = (good[first][views[0]] & good[second][views[1]]) > 0
            half = np.float32(0.5) * (logs[second][views[1]] - logs[first][views[0]]) * both
            for index, view, sign in ((first, views[0], 1), (second, views[1], -1)):
                sums[index][view] += np.float32(sign) * half
                counts[index][view] += both
    out = []
    for total, count in zip(sums, counts, strict=True):
        quarter = tuple(max(1, side // 4) for side in count.shape[::-1])
        shrunk = [cv2.resize(part, quarter, interpolation=cv2.INTER_AREA) for part in (total, count)]
        total4, count4 = (cv2.GaussianBlur(part, (0, 0), reach / 4, borderType=cv2.BORDER_CONSTANT) for part in shrunk)
        mean = total4 / (count4 + np.float32(_FADE))
        mean = cv2.resize(np.clip(mean, -0.7, 0.7), count.shape[::-1], interpolation=cv2.INTER_LINEAR)
        out.append(np.exp(np.asarray(mean, np.float32)))
    return out


def apply_gain(image: NDArray[np.uint8], gain: NDArray[np.float64]) -> NDArray[np.uint8]:
    """(H,W,3) uint8 times (3,), rounded and clipped."""
    import cv2

    table = np.clip(np.rint(np.arange(256)[:, None] * gain), 0, 255).astype(np.uint8)
    return np.asarray(cv2.LUT(image, table[None]), np.uint8)
