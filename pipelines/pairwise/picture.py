"""Matches as a picture: two photos side by side, inliers coloured by their error, outliers faint."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pipelines.images.read import Image, read_color_image
from pipelines.pairwise.match import PairResult

_WIDTH = 1600
"""Of the picture, px."""
_GAP = 8
_MOST_LINES, _MOST_FAINT = 250, 150
"""More lines hide the photos and each other."""
_PAPER, _INK = (250, 250, 250), (30, 30, 30)
_FAINT = (205, 205, 215)
# Error 0, a quarter of the threshold, the threshold; told apart by colour-blind readers too.
_COLOURS = np.array([[0, 224, 255], [255, 230, 60], [255, 70, 50]], np.float64)


def colours(errors: NDArray[np.float64], max_error: float) -> NDArray[np.uint8]:
    """(N,3) RGB: cyan for error 0, yellow for a quarter of ``max_error``, red for all of it and more."""
    at = np.sqrt(np.clip(errors / max_error, 0, 1)) * 2
    return np.stack([np.interp(at, [0, 1, 2], channel) for channel in _COLOURS.T], 1).astype(np.uint8)


def draw(results: Sequence[PairResult]) -> NDArray[np.uint8]:
    """(H,W,3) RGB: one row of photos for each result, its counts above it, the colours' meaning below all.

    The photos are shrunk to one height, so that two fill the width; never enlarged more than twice.
    """
    sides = [read_color_image(photo, _WIDTH) for photo in results[0].photos]
    heights = [side.pixels.shape[0] for side in sides]
    aspect = sum(side.pixels.shape[1] / height for side, height in zip(sides, heights, strict=True))
    height = max(1, min(round((_WIDTH - _GAP) / aspect), 2 * max(heights), _WIDTH))
    rows = [_row(result, sides, height) for result in results]
    return np.concatenate([*rows, _legend(rows[0].shape[1], results)])


def _row(result: PairResult, sides: Sequence[Image], height: int) -> NDArray[np.uint8]:
    import cv2

    shown = [cv2.resize(side.pixels, (max(1, round(side.pixels.shape[1] * height / side.pixels.shape[0])), height),
                        interpolation=cv2.INTER_AREA) for side in sides]  # fmt: skip
    left = shown[0].shape[1] + _GAP
    canvas = np.full((height, left + shown[1].shape[1], 3), _PAPER, np.uint8)
    canvas[:, : shown[0].shape[1]], canvas[:, left:] = shown
    places = []
    for points, side, picture, shift in zip(result.points, sides, shown, (0, left), strict=True):
        ratio = np.array(picture.shape[1::-1]) / np.array(side.pixels.shape[1::-1])
        places.append((side.from_full(points) + 0.5) * ratio - 0.5 + [shift, 0])
    _lines(canvas, places, result)
    return np.concatenate([_text(canvas.shape[1], result.sentence), canvas])


def _lines(canvas: NDArray[np.uint8], places: Sequence[NDArray], result: PairResult) -> None:
    import cv2

    fixed = [np.rint(place * 8).astype(int) for place in places]  # 3 bits below the pixel
    thick = max(1, round(canvas.shape[1] / 1200))
    outliers, inliers = np.flatnonzero(~result.inliers), np.flatnonzero(result.inliers)
    faint = canvas.copy()
    for index in _spread(outliers, _MOST_FAINT):
        ends = tuple(fixed[0][index]), tuple(fixed[1][index])
        cv2.line(faint, *ends, _FAINT, 1, cv2.LINE_AA, shift=3)
    canvas[:] = cv2.addWeighted(canvas, 0.65, faint, 0.35, 0)
    if result.model is None:
        return
    tints = colours(result.model.errors, result.max_error)
    for index in _spread(inliers, _MOST_LINES):
        ends = tuple(fixed[0][index]), tuple(fixed[1][index])
        cv2.line(canvas, *ends, tints[index].tolist(), thick, cv2.LINE_AA, shift=3)
    for index in inliers:
        for place in fixed:
            cv2.circle(canvas, tuple(place[index]), 12 * thick, tints[index].tolist(), -1, cv2.LINE_AA, shift=3)


def _spread(indices: NDArray, most: int) -> NDArray:
    """At most ``most`` of the indices, evenly."""
    return indices if len(indices) <= most else indices[np.linspace(0, len(indices) - 1, most).astype(int)]


def _text(width: int, text: str) -> NDArray[np.uint8]:
    """A strip of one line of text, as large as the width allows, at most 26 px."""
    from PIL import Image as PillowImage
    from PIL import ImageDraw, ImageFont

    size = 26
    while size > 9 and ImageFont.load_default(size).getlength(text) > width - 16:
        size -= 1
    strip = PillowImage.new("RGB", (width, size + 16), _PAPER)
    ImageDraw.Draw(strip).text((8, 5), text, _INK, ImageFont.load_default(size))
    return np.asarray(strip)


def _legend(width: int, results: Sequence[PairResult]) -> NDArray[np.uint8]:
    thinned = any(result.inliers.sum() > _MOST_LINES for result in results)
    text = f"inliers: distance from the model 0 to {results[0].max_error:.1f} px;  grey: outliers"
    text += f";  at most {_MOST_LINES} lines of each are drawn, and all inliers' points" if thinned else ""
    bar = min(200, width // 4)
    strip = np.full((36, width, 3), _PAPER, np.uint8)
    strip[10:26, 8 : 8 + bar] = colours(np.linspace(0, 1, bar), 1.0)
    words = _text(max(40, width - bar - 16), text)[:36]
    strip[: len(words), bar + 16 : bar + 16 + words.shape[1]] = words[:, : width - bar - 16]
    return strip
