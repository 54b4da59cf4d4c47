"""Photos to one picture: exposure first, then seams, then blending."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from pipelines.core.progress import Progress
from pipelines.core.types import Photo
from pipelines.stitch.crop import largest_rectangle
from pipelines.stitch.debug import Debug
from pipelines.stitch.exposure import apply_gain, find_gains, local_gains, moderated
from pipelines.stitch.pixels import Pixels, side_for
from pipelines.stitch.projection import Canvas, shrunk
from pipelines.stitch.seams import find_seams
from pipelines.stitch.tiles import blend_tile, shares_of, tiles_of
from pipelines.stitch.warp import View, warp

_SEAM_PIXELS, _SEAM_PIXELS_OF_ALL = 60_000, 1_500_000
"""Of a photo, where gains and seams are looked for (OpenCV takes 100,000), and of all photos."""


@dataclass(frozen=True)
class Rendered:
    """A panorama.

    Attributes:
        pixels: (H,W,3) RGB, uint16 if a photo was of 16 bit and that was asked for, else uint8.
        mask: (H,W) 255 where there is a photo.
        gains: (N,3) what each photo's colours were multiplied with.
        left, top: where it was cut from the canvas, px.
    """

    pixels: NDArray
    mask: NDArray[np.uint8]
    gains: NDArray[np.float64]
    left: int = 0
    top: int = 0


def render(
    photos: Sequence[Photo],
    view: View,
    canvas: Canvas,
    *,
    progress: Progress,
    compensate: bool = True,
    deep: bool = False,
    debug: Debug | None = None,
) -> Rendered:
    """The panorama of photos whose places are known.

    Args:
        photos: in the order of the view.
        compensate: multiply each photo's colours so that overlaps agree.
        deep: 16 bit out, if a photo has them.
        debug: shown warped photos, gains and seams.

    Raises:
        InputError: a photo cannot be read any more.
    """
    small = _small(photos, canvas)
    pixels = Pixels(photos)
    images, masks, has_depth = [], [], False
    with progress.stage("Seams", None):
        for piece in small.pieces:
            photo = photos[piece.photo]
            read = pixels.at(piece.photo, side_for(photo, view.density(piece.photo), 1.5 * small.scale))
            has_depth |= read.dtype == np.uint16
            image, mask = warp(_shallow(read), view, piece, small, (photo.width, photo.height))
            images.append(image)
            masks.append(mask)
        gains = np.ones((len(photos), 3))
        lit = images
        if compensate:
            gains = moderated(images, masks, small, find_gains(images, masks, small, len(photos)))
            lit = [apply_gain(image, gains[piece.photo]) for image, piece in zip(images, small.pieces, strict=True)]
            near = local_gains(lit, masks, small)
            lit = [
                np.clip(image * gain[..., None], 0, 255).astype(np.uint8) for image, gain in zip(lit, near, strict=True)
            ]
        else:
            near = [np.ones(mask.shape, np.float32) for mask in masks]
        seams = find_seams(lit, masks, small)
        if debug is not None:
            debug.rendering(photos, small, images, lit, masks, seams)
    deep = deep and has_depth
    picture = np.zeros((canvas.height, canvas.width, 3), np.uint16 if deep else np.uint8)
    covered = np.zeros((canvas.height, canvas.width), np.uint8)
    near = [
        gain[..., None] * gains[piece.photo].astype(np.float32) for gain, piece in zip(near, small.pieces, strict=True)
    ]
    tiles, shares = list(tiles_of(canvas)), shares_of(canvas, small, seams, near)
    with progress.stage("Blending", len(tiles)) as task:
        for tile in tiles:
            out, mask = blend_tile(tile, photos, pixels, view, canvas, shares)
            at = slice(tile.top, tile.bottom), slice(tile.left, tile.right)
            picture[at], covered[at] = _stored(out, deep), mask
            picture[at][mask == 0] = 0
            task.advance()
    return Rendered(picture, covered, gains)


def _shallow(pixels: NDArray) -> NDArray[np.uint8]:
    return pixels if pixels.dtype == np.uint8 else (pixels // 257).astype(np.uint8)


def _stored(out: NDArray[np.float32], deep: bool) -> NDArray:
    if deep:
        return np.clip(out * np.float32(257) + np.float32(0.5), 0, 65535).astype(np.uint16)
    return np.clip(out + np.float32(0.5), 0, 255).astype(np.uint8)


def _small(photos: Sequence[Photo], canvas: Canvas) -> Canvas:
    typical = float(np.median([piece.width * piece.height for piece in canvas.pieces]))
    return shrunk(canvas, min(1.0, math.sqrt(min(_SEAM_PIXELS, _SEAM_PIXELS_OF_ALL / len(canvas.pieces)) / typical)))


def crop(rendered: Rendered) -> Rendered:
    """The panorama cut to the largest upright rectangle without border."""
    left, top, right, bottom = largest_rectangle(rendered.mask > 0)
    part = slice(top, bottom), slice(left, right)
    return replace(
        rendered,
        pixels=rendered.pixels[part],
        mask=rendered.mask[part],
        left=rendered.left + left,
        top=rendered.top + top,
    )
