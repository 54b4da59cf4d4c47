"""A panorama tile by tile: each photo's share of a tile, warped, lit and blended with the others."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipelines.stitch.blend import Blender, Layer
from pipelines.stitch.coarse import Coarse, strips_of
from pipelines.stitch.pixels import Pixels, side_for
from pipelines.stitch.projection import Canvas, Piece
from pipelines.stitch.warp import Finish, View, warp

_ONE_TILE, _LONGEST = 12_000_000, 16_000
"""px of a canvas, and of its longer side, that is blended as a whole."""
_TILE, _TILE_BANDS = 2048, 6
"""Larger panoramas are blended in tiles of this side; the bands reach 4 * 2^6 px beyond them."""
_MOST_BANDS = 8

Box = tuple[int, int, int, int]
"""Left, top, right, bottom, px of the canvas; the last two exclusive."""


class Tile(NamedTuple):
    """Part of the canvas with what bands reach beyond it.

    Attributes:
        left, top, right, bottom: px of the canvas, the last two exclusive.
        outer_left, outer_top: where the part with the surroundings begins.
        width, height: of that part, multiples of 2^bands.
        bands: the widest is 2^bands px wide.
    """

    left: int
    top: int
    right: int
    bottom: int
    outer_left: int
    outer_top: int
    width: int
    height: int
    bands: int

    @property
    def unit(self) -> int:
        """Sides and places of layers are multiples of it, px."""
        return 1 << self.bands

    @property
    def inner(self) -> tuple[slice, slice]:
        """Rows and columns of the tile proper among those with the surroundings."""
        top, left = self.top - self.outer_top, self.left - self.outer_left
        return slice(top, top + self.bottom - self.top), slice(left, left + self.right - self.left)


def tiles_of(canvas: Canvas) -> Iterator[Tile]:
    """The tiles of a canvas, row by row."""
    # The widest band is a twentieth of the panorama's side (OpenCV's rule).
    bands = max(1, math.ceil(math.log2(max(2.0, 0.05 * math.sqrt(canvas.width * canvas.height)))) - 1)
    if canvas.width * canvas.height <= _ONE_TILE and max(canvas.width, canvas.height) <= _LONGEST:
        bands = min(bands, _MOST_BANDS)
        yield _tile(canvas, (0, 0, canvas.width, canvas.height), 4 << bands if canvas.closed else 0, bands)
        return
    bands = min(bands, _TILE_BANDS)
    for top in range(0, canvas.height, _TILE):
        for left in range(0, canvas.width, _TILE):
            right, bottom = min(left + _TILE, canvas.width), min(top + _TILE, canvas.height)
            yield _tile(canvas, (left, top, right, bottom), 4 << bands, bands)


def _tile(canvas: Canvas, box: Box, margin: int, bands: int) -> Tile:
    left, right = box[0] - margin, box[2] + margin
    if not canvas.closed:
        left, right = max(0, left), min(canvas.width, right)
    top, bottom = max(0, box[1] - margin), min(canvas.height, box[3] + margin)
    unit = 1 << bands
    width, height = (-(-extent // unit) * unit for extent in (right - left, bottom - top))
    return Tile(*box, left, top, width, height, bands)


def pieces_of(canvas: Canvas) -> list[Piece]:
    """The pieces; of a panorama that goes all the way round also as they lie one turn to the left and right."""
    turns = (-1, 0, 1) if canvas.closed else (0,)
    return [
        piece._replace(left=piece.left + turn * canvas.width, shift=piece.shift + turn * 2 * math.pi)
        for piece in canvas.pieces
        for turn in turns
    ]


def turned_round(canvas: Canvas, small: Canvas, parts: Sequence[NDArray], step: int) -> list[Coarse]:
    """What is known of each of a smaller canvas's pieces, for :func:`pieces_of`."""
    turns = (-1, 0, 1) if canvas.closed else (0,)
    return [
        Coarse(part, step, piece.left * step + turn * canvas.width, piece.top * step)
        for piece, part in zip(small.pieces, parts, strict=True)
        for turn in turns
    ]


_NEAR = 2
"""Cells beyond its mask that a piece claims where nobody else does."""


def claims_of(seam: Coarse) -> Coarse:
    """How strongly a piece claims each pixel, 0 to 255: the seams' mask, and 1 near it.

    Where three photos meet, and at the panorama's edge, nobody may have a share in the mask.
    """
    import cv2

    wide = np.pad(seam.values, _NEAR + 1)
    near = cv2.dilate(wide, np.ones((2 * _NEAR + 1,) * 2, np.uint8))
    margin = (_NEAR + 1) * seam.step
    return Coarse(np.maximum(wide, np.minimum(near, 1)), seam.step, seam.left - margin, seam.top - margin)


def shown_box(claims: Coarse) -> Box | None:
    """Left, top, right, bottom on the canvas of what a piece claims; None for nothing."""
    import cv2

    left, top, width, height = cv2.boundingRect(claims.values)
    if not width:
        return None
    left, top = claims.left + left * claims.step, claims.top + top * claims.step
    return left, top, left + width * claims.step, top + height * claims.step


class Warped(NamedTuple):
    """Part of a photo on a tile: the part, whose corner is in px of the canvas, its (h,w,3) pixels times their gains as
    layers hold them, and (h,w) how strongly it claims each pixel."""

    part: Piece
    pixels: NDArray
    claims: NDArray[np.uint8]


def part_of(tile: Tile, piece: Piece, box: Box | None) -> Piece | None:
    """The part of a piece to be warped for a tile: its box, grown by what bands reach and to the tile's units."""
    if box is None:
        return None
    reach = 2 * tile.unit
    corner, full = (tile.outer_left, tile.outer_top), (tile.width, tile.height)
    low = [max(0, (edge - begin - reach) // tile.unit * tile.unit) for edge, begin in zip(box[:2], corner, strict=True)]
    high = [
        min(most, -(-(edge - begin + reach) // tile.unit) * tile.unit)
        for edge, begin, most in zip(box[2:], corner, full, strict=True)
    ]
    if high[0] <= low[0] or high[1] <= low[1]:
        return None
    return piece._replace(
        left=corner[0] + low[0], top=corner[1] + low[1], width=high[0] - low[0], height=high[1] - low[1]
    )


def warp_part(
    part: Piece | None, claims: Coarse, gains: Coarse, *, pixels: Pixels, view: View, canvas: Canvas, deep: bool
) -> Warped | None:
    """A part as it lies on the canvas, for a picture of 16 bit if ``deep``; None for none."""
    if part is None:
        return None

    photo = pixels.photos[part.photo]
    read = pixels.at(part.photo, side_for(photo, view.density(part.photo), 1.2 * canvas.scale))
    finish = Finish(claims, gains, np.float32 if deep else np.uint8)
    return Warped(part, *warp(read, view, part, canvas, (photo.width, photo.height), finish))


def blend_tile(
    tile: Tile, warped: Sequence[Warped], pool: ThreadPoolExecutor, picture: NDArray, covered: NDArray[np.uint8]
) -> None:
    """Write a tile's pixels.

    Args:
        warped: the parts on this tile.
        picture: (h,w,3), the tile's part of it.
        covered: (h,w), written 255 where there is a photo.
    """
    import cv2

    owner = np.zeros((tile.height, tile.width), np.uint8 if len(warped) < 256 else np.uint16)
    list(pool.map(lambda rows: _share_out(tile, warped, rows, owner), strips_of(tile.height, tile.width)))
    cut = [_layer(number, tile, one, owner) for number, one in enumerate(warped, 1)]
    blender = Blender(owner, tile.bands, pool)
    blender.add([layer for layer in cut if layer is not None])
    rows, columns = tile.inner

    def write(strip: slice) -> None:
        top, bottom = strip.start - rows.start, strip.stop - rows.start
        blender.write(strip, columns, picture[top:bottom])
        covered[top:bottom] = cv2.inRange(owner[strip, columns], 1, len(warped))  # type: ignore[call-overload]

    inner = (
        slice(rows.start + one.start, rows.start + one.stop) for one in strips_of(rows.stop - rows.start, tile.width)
    )
    for _ in pool.map(write, inner):
        pass


def _share_out(tile: Tile, warped: Sequence[Warped], rows: slice, owner: NDArray) -> None:
    """Give each pixel in some rows of a tile to the layer that claims it most strongly, the first of equal ones."""
    most = np.zeros((rows.stop - rows.start, tile.width), np.uint8)
    for number, one in enumerate(warped, 1):
        at = _at(tile, one.part)
        top, bottom = max(rows.start, at[0].start), min(rows.stop, at[0].stop)
        if top >= bottom:
            continue
        claim = one.claims[top - at[0].start : bottom - at[0].start]
        here = most[top - rows.start : bottom - rows.start, at[1]]
        np.copyto(owner[top:bottom, at[1]], number, where=claim > here, casting="unsafe")
        np.maximum(here, claim, out=here)


def _layer(number: int, tile: Tile, warped: Warped, owner: NDArray) -> Layer | None:
    """What is shown of a part and what bands need around it; None for nothing."""
    import cv2

    rows, columns = _at(tile, warped.part)
    box = cv2.boundingRect(cv2.inRange(owner[rows, columns], number, number))  # type: ignore[call-overload]
    if not box[2]:
        return None
    low = [max(0, (begin - 2 * tile.unit) // tile.unit * tile.unit) for begin in box[:2]]
    high = [
        min(full, -(-(begin + length + 2 * tile.unit) // tile.unit) * tile.unit)
        for begin, length, full in zip(box[:2], box[2:], warped.claims.shape[::-1], strict=True)
    ]
    pixels = warped.pixels[low[1] : high[1], low[0] : high[0]]
    return Layer(number, columns.start + low[0], rows.start + low[1], pixels)


def _at(tile: Tile, part: Piece) -> tuple[slice, slice]:
    """Rows and columns of a part on the tile with its surroundings."""
    left, top = part.left - tile.outer_left, part.top - tile.outer_top
    return slice(top, top + part.height), slice(left, left + part.width)
