"""A panorama tile by tile: each photo's share of a tile, warped, lit and blended with the others."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from pipelines.stitch.blend import Blender
from pipelines.stitch.pixels import Pixels, side_for
from pipelines.stitch.projection import Canvas, Piece
from pipelines.stitch.warp import View, warp

_ONE_TILE, _LONGEST = 12_000_000, 16_000
"""px of a canvas, and of its longer side, that is blended as a whole."""
_TILE, _TILE_BANDS = 2048, 6
"""Larger panoramas are blended in tiles of this side; the bands reach 4 * 2^6 px beyond them."""
_MOST_BANDS = 8

Box = tuple[int, int, int, int]
"""Left, top, right, bottom, px of the canvas; the last two exclusive."""


@dataclass(frozen=True)
class Tile:
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


@dataclass(frozen=True)
class Share:
    """What is shown of a piece, and its gains (h,w,3): found on a canvas ``factor`` times as large, where they begin at
    pixel ``left``, ``top``."""

    piece: Piece
    seam: NDArray[np.uint8]
    gain: NDArray[np.float32]
    factor: float
    left: float
    top: float

    def box(self) -> Box | None:
        """Left, top, right, bottom on the canvas of what is shown, two pixels of the mask more; None for nothing."""
        rows, columns = np.flatnonzero(self.seam.any(1)), np.flatnonzero(self.seam.any(0))
        if not len(rows):
            return None
        return (
            math.floor((columns[0] - 2 + self.left) / self.factor),
            math.floor((rows[0] - 2 + self.top) / self.factor),
            math.ceil((columns[-1] + 3 + self.left) / self.factor),
            math.ceil((rows[-1] + 3 + self.top) / self.factor),
        )

    def claim(self, part: Piece, inside: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """(h,w) how strongly a part of the piece claims each pixel: the mask, enlarged, and 1 near it.

        Where three photos meet, and at the panorama's edge, nobody may have a share in the mask.
        """
        import cv2

        place, size, flags = self._place(part), (part.width, part.height), cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        grown = cv2.dilate(np.pad(np.maximum(self.seam, 1) * (self.seam > 0), 3), np.ones((5, 5), np.uint8))
        wider = place + np.array([[0, 0, 3.0], [0, 0, 3.0]])
        own = cv2.warpAffine(self.seam, place, size, flags=flags, borderMode=cv2.BORDER_CONSTANT)
        near = cv2.warpAffine(grown, wider, size, flags=flags, borderMode=cv2.BORDER_CONSTANT)
        return np.maximum(own, np.minimum(near, 1)) & inside

    def gains(self, part: Piece) -> NDArray[np.float32]:
        """(h,w,3) the gains of a part of the piece."""
        import cv2

        size, flags = (part.width, part.height), cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        out = cv2.warpAffine(self.gain, self._place(part), size, flags=flags, borderMode=cv2.BORDER_REPLICATE)
        return np.asarray(out, np.float32)

    def _place(self, part: Piece) -> NDArray[np.float64]:
        """(2,3) from the pixels of a part to those of the masks."""
        f = self.factor
        return np.array(
            [[f, 0, (part.left + 0.5) * f - 0.5 - self.left], [0, f, (part.top + 0.5) * f - 0.5 - self.top]]
        )


def box_of(piece: Piece) -> Box:
    """All of a piece."""
    return piece.left, piece.top, piece.left + piece.width, piece.top + piece.height


def pieces_of(canvas: Canvas) -> list[Piece]:
    """The pieces; of a panorama that goes all the way round also as they lie one turn to the left and right."""
    turns = (-1, 0, 1) if canvas.closed else (0,)
    return [
        replace(piece, left=piece.left + turn * canvas.width, shift=piece.shift + turn * 2 * math.pi)
        for piece in canvas.pieces
        for turn in turns
    ]


def shares_of(
    canvas: Canvas, small: Canvas, seams: Sequence[NDArray[np.uint8]], near: Sequence[NDArray[np.float32]]
) -> list[Share]:
    """What is shown of :func:`pieces_of`, by seams and gains on a smaller canvas."""
    factor = small.scale / canvas.scale
    turns = (-1, 0, 1) if canvas.closed else (0,)
    places = [
        (beside.left + turn * canvas.width * factor, beside.top, seam, gain)
        for beside, seam, gain in zip(small.pieces, seams, near, strict=True)
        for turn in turns
    ]
    return [
        Share(piece, seam, gain, factor, left, top)
        for piece, (left, top, seam, gain) in zip(pieces_of(canvas), places, strict=True)
    ]


@dataclass(frozen=True)
class Warped:
    """Part of a photo on a tile: the part, whose corner is in px of the canvas, its (h,w,3) pixels, and (h,w) 255 where
    the photo is."""

    part: Piece
    pixels: NDArray
    inside: NDArray[np.uint8]


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
    return replace(
        piece, left=corner[0] + low[0], top=corner[1] + low[1], width=high[0] - low[0], height=high[1] - low[1]
    )


def warp_part(part: Piece | None, pixels: Pixels, view: View, canvas: Canvas) -> Warped | None:
    """A part as it lies on the canvas; None for none."""
    if part is None:
        return None
    photo = pixels.photos[part.photo]
    read = pixels.at(part.photo, side_for(photo, view.density(part.photo), 1.2 * canvas.scale))
    return Warped(part, *warp(read, view, part, canvas, (photo.width, photo.height)))


def blend_tile(
    tile: Tile, shares: Sequence[Share], warped: Sequence[Warped | None], pool: ThreadPoolExecutor, *, deep: bool
) -> tuple[NDArray, NDArray[np.uint8], int]:
    """(h,w,3) the tile's pixels, (h,w) 255 where there is a photo, and by how much the pixels are too large.

    Args:
        warped: of each share, the part on this tile.
        pool: where layers are lit while others are added.
        deep: keep fractions of grey values.
    """
    layers = [(share, one) for share, one in zip(shares, warped, strict=True) if one is not None]
    masks, covered = _shared_out(tile, layers)
    blender = Blender(tile.width, tile.height, tile.bands, deep=deep)

    def lit(share: Share, one: Warped, box: tuple[slice, slice]) -> NDArray:
        part = replace(one.part, left=one.part.left + box[1].start, top=one.part.top + box[0].start,
                       width=box[1].stop - box[1].start, height=box[0].stop - box[0].start)  # fmt: skip
        return blender.lit(one.pixels[box], share.gains(part))

    boxes = [_shown(mask, tile.unit) for mask in masks]
    work = [
        (pool.submit(lit, share, one, box), mask[box], _at(tile, one.part), box)
        for (share, one), mask, box in zip(layers, masks, boxes, strict=True)
        if box is not None
    ]
    for pixels, mask, (rows, columns), box in work:
        blender.add(pixels.result(), mask, columns.start + box[1].start, rows.start + box[0].start)
    return blender.result()[tile.inner], covered[tile.inner], blender.scale


def _shared_out(
    tile: Tile, layers: Sequence[tuple[Share, Warped]]
) -> tuple[list[NDArray[np.uint8]], NDArray[np.uint8]]:
    """Per layer (h,w) 255 where no other one claims a pixel more strongly, each pixel once; and where any does."""
    most = np.zeros((tile.height, tile.width), np.uint8)
    claims = [share.claim(one.part, one.inside) for share, one in layers]
    for (_, one), claim in zip(layers, claims, strict=True):
        at = _at(tile, one.part)
        np.maximum(most[at], claim, out=most[at])
    masks, taken = [], np.zeros_like(most)
    for (_, one), claim in zip(layers, claims, strict=True):
        at = _at(tile, one.part)
        mask = np.where((claim == most[at]) & (claim > 0) & (taken[at] == 0), 255, 0).astype(np.uint8)
        taken[at] |= mask
        masks.append(mask)
    return masks, taken


def _shown(mask: NDArray[np.uint8], unit: int) -> tuple[slice, slice] | None:
    """Rows and columns, multiples of ``unit``, of what is shown and what bands need around it; None for nothing."""
    import cv2

    left, top, width, height = cv2.boundingRect(mask)
    if not width:
        return None
    reach = 2 * unit
    ends = zip((top, left), (top + height, left + width), mask.shape, strict=True)
    rows, columns = (
        slice(max(0, (low - reach) // unit * unit), min(full, -(-(high + reach) // unit) * unit))
        for low, high, full in ends
    )
    return rows, columns


def _at(tile: Tile, part: Piece) -> tuple[slice, slice]:
    """Rows and columns of a part on the tile with its surroundings."""
    left, top = part.left - tile.outer_left, part.top - tile.outer_top
    return slice(top, top + part.height), slice(left, left + part.width)
