"""Warped photos to one picture: exposure first, then seams, then multi-band blending; and the crop."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from pipelines.core.errors import ConfigError
from pipelines.core.progress import Progress
from pipelines.core.types import Photo
from pipelines.images.read import read_color
from pipelines.stitch.adjust import Turned
from pipelines.stitch.projection import Canvas, shrunk, warp

_SEAM_PIXELS = 150_000
"""Of a photo, where gains and seams are looked for."""
_BYTES = 60
"""Memory per canvas pixel: the blender's pyramids of 16-bit colours and float weights, one warped photo, the result."""
_DARK, _BRIGHT = 12, 243
"""Values outside are clipped or noise and say nothing about exposure."""


@dataclass(frozen=True)
class Rendered:
    """A panorama.

    Attributes:
        pixels: (H,W,3) RGB.
        mask: (H,W) 255 where there is a photo.
        gains: (N,3) what each photo's colours were multiplied with.
    """

    pixels: NDArray[np.uint8]
    mask: NDArray[np.uint8]
    gains: NDArray[np.float64]


def check_size(canvas: Canvas, max_megapixels: float) -> None:
    """Refuse a canvas that is too large, before memory is taken.

    Raises:
        ConfigError: with the scale that would fit.
    """
    pixels = float(canvas.width) * canvas.height
    most = min(max_megapixels * 1e6, 0.8 * _memory() / _BYTES)
    if pixels <= most and max(canvas.width, canvas.height) < 1 << 30:
        return
    fits = 0.98 * math.sqrt(most / pixels)
    limit = "of memory that is free" if most < max_megapixels * 1e6 else "that --max-megapixels allows"
    raise ConfigError(
        f"The panorama would have {canvas.width:,} x {canvas.height:,} pixels",
        f"{pixels / 1e6:,.0f} megapixels take about {pixels * _BYTES / 1e9:.1f} GB, more than the "
        f"{most * _BYTES / 1e9:.1f} GB {limit}",
        f"--scale {fits:.2g}" + (", or --projection cylinder or sphere" if canvas.name == "plane" else ""),
    )


def _memory() -> float:
    """Bytes that can be had: free ones, and those that the system's file cache would give back."""
    try:
        with open("/proc/meminfo", encoding="ascii") as lines:
            return next(1024.0 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration, ValueError):  # No Linux: let --max-megapixels decide.
        return math.inf


def render(
    photos: Sequence[Photo], cameras: Turned, canvas: Canvas, *, progress: Progress, compensate: bool = True
) -> Rendered:
    """The panorama of photos whose cameras are known.

    Args:
        photos: in the order of the cameras.
        compensate: multiply each photo's colours so that overlaps agree.

    Raises:
        InputError: a photo cannot be read any more.
    """
    small = _small(photos, canvas)
    images, masks = [], []
    with progress.stage("Seams", None):
        read = {piece.photo: read_color(photos[piece.photo], _side(photos[piece.photo], small, canvas))
                for piece in small.pieces}  # fmt: skip
        for piece in small.pieces:
            photo = photos[piece.photo]
            image, mask = warp(read[piece.photo], cameras, piece, small, (photo.width, photo.height))
            images.append(image)
            masks.append(mask)
        gains = find_gains(images, masks, small, len(photos)) if compensate else np.ones((len(photos), 3))
        lit = [apply_gain(image, gains[piece.photo]) for image, piece in zip(images, small.pieces, strict=True)]
        seams = _find_seams(lit, masks, small)
    pixels, mask = _blend(photos, cameras, canvas, gains, seams, progress)
    return Rendered(pixels, mask, gains)


def _small(photos: Sequence[Photo], canvas: Canvas) -> Canvas:
    typical = float(np.median([piece.width * piece.height for piece in canvas.pieces]))
    return shrunk(canvas, min(1.0, math.sqrt(_SEAM_PIXELS / typical)))


def _side(photo: Photo, small: Canvas, canvas: Canvas) -> int:
    """Longer side at which a photo is read for a small canvas: half again of what is drawn of it."""
    return max(64, math.ceil(1.5 * max(photo.width, photo.height) * small.scale / canvas.scale))


def find_gains(
    images: Sequence[NDArray[np.uint8]], masks: Sequence[NDArray[np.uint8]], canvas: Canvas, count: int
) -> NDArray[np.float64]:
    """(count,3) gains that make the colours of overlapping photos agree, 1 on (geometric) average.

    From the median ratio of each overlap, which moving things do not sway; all overlaps together by least squares in
    logarithms, weighted by the square root of their size.
    """
    normal = np.eye(count) * 1e-3
    right = np.zeros((count, 3))
    pieces = canvas.pieces
    for first in range(len(pieces)):
        for second in range(first + 1, len(pieces)):
            i, j = pieces[first].photo, pieces[second].photo
            ratio, pixels = _log_ratio(images, masks, canvas, first, second)
            if i == j or pixels < 30:
                continue
            weight = math.sqrt(pixels)
            normal[[i, j], [i, j]] += weight
            normal[[i, j], [j, i]] -= weight
            right[i] -= weight * ratio
            right[j] += weight * ratio
    return np.exp(np.clip(np.linalg.solve(normal, right), -1.2, 1.2))


def _log_ratio(
    images: Sequence[NDArray[np.uint8]], masks: Sequence[NDArray[np.uint8]], canvas: Canvas, first: int, second: int
) -> tuple[NDArray[np.float64], int]:
    """Median (3,) of log(first / second) where both are seen and neither is clipped, and over how many pixels."""
    a, b = canvas.pieces[first], canvas.pieces[second]
    left, top = max(a.left, b.left), max(a.top, b.top)
    right, bottom = min(a.left + a.width, b.left + b.width), min(a.top + a.height, b.top + b.height)
    if right <= left or bottom <= top:
        return np.zeros(3), 0
    views = [(slice(top - p.top, bottom - p.top), slice(left - p.left, right - p.left)) for p in (a, b)]
    one, two = images[first][views[0]], images[second][views[1]]
    good = (masks[first][views[0]] > 0) & (masks[second][views[1]] > 0)
    for side in (one, two):
        good &= (side.min(2) >= _DARK) & (side.max(2) <= _BRIGHT)
    pixels = int(good.sum())
    if not pixels:
        return np.zeros(3), 0
    return np.median(np.log(one[good].astype(np.float64) / two[good]), axis=0), pixels


def apply_gain(image: NDArray[np.uint8], gain: NDArray[np.float64]) -> NDArray[np.uint8]:
    """(H,W,3) uint8 times (3,), rounded and clipped."""
    table = np.clip(np.rint(np.arange(256)[:, None] * gain), 0, 255).astype(np.uint8)
    return np.stack([table[:, channel][image[..., channel]] for channel in range(3)], -1)


def _find_seams(
    images: Sequence[NDArray[np.uint8]], masks: Sequence[NDArray[np.uint8]], canvas: Canvas
) -> list[NDArray[np.uint8]]:
    """Masks that share out the canvas among the pieces: graph cuts through where overlapping photos agree
    (Kwatra et al., Graphcut textures, SIGGRAPH 2003, as OpenCV has it)."""
    import cv2

    if len(images) == 1:
        return list(masks)
    finder = cv2.detail.GraphCutSeamFinder("COST_COLOR_GRAD")
    corners = [(piece.left, piece.top) for piece in canvas.pieces]
    warped = [image.astype(np.float32) for image in images]
    found = finder.find(warped, corners, [mask.copy() for mask in masks])  # type: ignore[misc,arg-type]
    return [np.asarray(mask.get() if hasattr(mask, "get") else mask, np.uint8) for mask in found]


def _blend(
    photos: Sequence[Photo],
    cameras: Turned,
    canvas: Canvas,
    gains: NDArray[np.float64],
    seams: Sequence[NDArray[np.uint8]],
    progress: Progress,
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Full-resolution photos, one at a time, into the blender (Burt and Adelson, A multiresolution spline, 1983)."""
    import cv2

    blender = cv2.detail.MultiBandBlender(0, _bands(canvas))
    blender.prepare((0, 0, canvas.width, canvas.height))
    with progress.stage("Blending", len(canvas.pieces)) as task:
        for piece, seam in zip(canvas.pieces, seams, strict=True):
            photo = photos[piece.photo]
            longest = max(photo.width, photo.height)
            needed = min(longest, math.ceil(1.2 * longest * canvas.scale / cameras.focal(piece.photo)))
            image, mask = warp(read_color(photo, needed), cameras, piece, canvas, (photo.width, photo.height))
            # Enlarged by less than they grew, neighbours' masks would leave a gap; they overlap by a pixel instead.
            grown = cv2.dilate(seam, np.ones((3, 3), np.uint8))
            own = np.asarray(cv2.resize(grown, (piece.width, piece.height), interpolation=cv2.INTER_LINEAR), np.uint8)
            blender.feed(apply_gain(image, gains[piece.photo]).astype(np.int16), own & mask, (piece.left, piece.top))
            task.advance(note=photo.name)
    pixels, mask = blender.blend(None, None)  # type: ignore[call-overload]
    return np.clip(pixels, 0, 255).astype(np.uint8), np.asarray(mask, np.uint8)


def _bands(canvas: Canvas) -> int:
    """Bands whose widest is a twentieth of the panorama's side (OpenCV's rule)."""
    return max(1, math.ceil(math.log2(max(2.0, 0.05 * math.sqrt(canvas.width * canvas.height)))) - 1)


def crop(rendered: Rendered) -> Rendered:
    """The panorama cut to the largest upright rectangle without border."""
    left, top, right, bottom = largest_rectangle(rendered.mask > 0)
    part = slice(top, bottom), slice(left, right)
    return replace(rendered, pixels=rendered.pixels[part], mask=rendered.mask[part])


def largest_rectangle(inside: NDArray[np.bool_], most: int = 700) -> tuple[int, int, int, int]:
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
