"""Photos to one picture: exposure first, then seams, then blending."""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipelines.core.median import median
from pipelines.core.progress import Progress
from pipelines.engine import core_pool
from pipelines.stitch.crop import largest_rectangle
from pipelines.stitch.exposure import apply_gain, find_gains, local_gains, moderated
from pipelines.stitch.pixels import Pixels, shallow, side_for
from pipelines.stitch.projection import Canvas, Piece, shrunk
from pipelines.stitch.seams import find_seams
from pipelines.stitch.tiles import (
    blend_tile,
    claims_of,
    part_of,
    pieces_of,
    shown_box,
    tiles_of,
    turned_round,
    warp_part,
)
from pipelines.stitch.warp import View, warp

if TYPE_CHECKING:
    from pipelines.stitch.debug import Debug

_SEAM_PIXELS, _SEAM_PIXELS_OF_ALL = 40_000, 1_500_000
"""Of a photo, where gains and seams are looked for (OpenCV takes 100,000), and of all photos."""


class Rendered(NamedTuple):
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
    pixels: Pixels,
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
        pixels: of the photos, in the order of the view.
        compensate: multiply each photo's colours so that overlaps agree.
        deep: 16 bit out, if a photo has them.
        debug: shown warped photos, gains and seams.

    Raises:
        InputError: a photo cannot be read any more.
    """
    tiles, pieces = list(tiles_of(canvas)), pieces_of(canvas)
    with core_pool() as pool:
        with progress.stage("Seams", None):
            step = _step(canvas)
            small = shrunk(canvas, step)
            images, masks, has_depth = _warped_small(pixels, view, small, pool)
            deep = deep and has_depth
            lit, gains, near = _compensated(images, masks, small, len(pixels.photos), compensate)
            seams = find_seams(lit, masks, small)
        if debug is not None:
            debug.rendering(pixels.photos, small, images, lit, masks, seams)
        picture = np.zeros((canvas.height, canvas.width, 3), np.uint16 if deep else np.uint8)
        covered = np.zeros((canvas.height, canvas.width), np.uint8)
        claims = [claims_of(one) for one in turned_round(canvas, small, seams, step)]
        boxes, factors = [shown_box(one) for one in claims], turned_round(canvas, small, near, step)
        warped_part = partial(warp_part, pixels=pixels, view=view, canvas=canvas, deep=deep)
        with progress.stage("Blending", len(tiles)) as task:
            for tile in tiles:
                parts = [part_of(tile, piece, box) for piece, box in zip(pieces, boxes, strict=True)]
                warped = list(pool.map(warped_part, parts, claims, factors))
                at = slice(tile.top, tile.bottom), slice(tile.left, tile.right)
                blend_tile(tile, [one for one in warped if one is not None], pool, picture[at], covered[at])
                task.advance()
    return Rendered(picture, covered, gains)


def _warped_small(
    pixels: Pixels, view: View, small: Canvas, pool: ThreadPoolExecutor
) -> tuple[list[NDArray[np.uint8]], list[NDArray[np.uint8]], bool]:
    """Each piece on the small canvas, 8 bit, its mask, and whether any photo has 16 bit."""

    def one(piece: Piece) -> tuple[NDArray, NDArray[np.uint8], bool]:
        photo = pixels.photos[piece.photo]
        read = pixels.at(piece.photo, side_for(photo, view.density(piece.photo), 1.5 * small.scale))
        return *warp(shallow(read), view, piece, small, (photo.width, photo.height)), read.dtype == np.uint16

    images, masks, depths = zip(*pool.map(one, small.pieces), strict=True)
    return list(images), list(masks), any(depths)


def _compensated(
    images: list[NDArray[np.uint8]], masks: list[NDArray[np.uint8]], small: Canvas, count: int, wanted: bool
) -> tuple[list[NDArray[np.uint8]], NDArray[np.float64], list[NDArray[np.float32]]]:
    """The pieces with their exposures made to agree, the photos' gains (N,3), and all gains (h,w,3) of each piece."""
    import cv2

    if not wanted:
        return images, np.ones((count, 3)), [np.ones((*mask.shape, 3), np.float32) for mask in masks]
    gains = moderated(images, masks, small, find_gains(images, masks, small, count))
    own = [gains[piece.photo].astype(np.float32) for piece in small.pieces]
    lit = [apply_gain(image, gain) for image, gain in zip(images, own, strict=True)]
    near = [cv2.merge([part] * 3) for part in local_gains(lit, masks, small)]
    both = [np.asarray(cv2.multiply(*one, dtype=cv2.CV_8U), np.uint8) for one in zip(lit, near, strict=True)]
    return both, gains, [part * gain for part, gain in zip(near, own, strict=True)]


def _step(canvas: Canvas) -> int:
    """px of the canvas in one of those where gains and seams are looked for."""
    typical = float(median([piece.width * piece.height for piece in canvas.pieces]))
    wanted = min(_SEAM_PIXELS, _SEAM_PIXELS_OF_ALL / len(canvas.pieces))
    return max(2, round(math.sqrt(typical / wanted)))


def crop(rendered: Rendered) -> Rendered:
    """The panorama cut to the largest upright rectangle without border."""
    left, top, right, bottom = largest_rectangle(rendered.mask > 0)
    part = slice(top, bottom), slice(left, right)
    return rendered._replace(
        pixels=rendered.pixels[part],
        mask=rendered.mask[part],
        left=rendered.left + left,
        top=rendered.top + top,
    )
