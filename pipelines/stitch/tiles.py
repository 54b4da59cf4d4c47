"""A panorama tile by tile: each photo's share of a tile, warped, lit and blended with the others."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from pipelines.core.types import Photo
from pipelines.stitch.blend import Blender, Layer
from pipelines.stitch.pixels import Pixels, side_for
from pipelines.stitch.projection import Canvas, Piece
from pipelines.stitch.warp import View, warp

_ONE_TILE = 12_000_000
_TILE, _TILE_BANDS = 2048, 6
"""Larger panoramas are blended in tiles of this side; the bands reach 4 * 2^6 px beyond them."""
_MOST_BANDS = 8


@dataclass(frozen=True)
class Tile:
    """Part of the canvas, px, and by how far bands reach beyond it; the right and bottom edges are exclusive."""

    left: int
    top: int
    right: int
    bottom: int
    margin: int
    bands: int


def tiles_of(canvas: Canvas) -> Iterator[Tile]:
    # The widest band is a twentieth of the panorama's side (OpenCV's rule).
    bands = max(1, math.ceil(math.log2(max(2.0, 0.05 * math.sqrt(canvas.width * canvas.height)))) - 1)
    if canvas.width * canvas.height <= _ONE_TILE:
        bands = min(bands, _MOST_BANDS)
        yield Tile(0, 0, canvas.width, canvas.height, 4 << bands if canvas.closed else 0, bands)
        return
    bands = min(bands, _TILE_BANDS)
    for top in range(0, canvas.height, _TILE):
        for left in range(0, canvas.width, _TILE):
            right, bottom = min(left + _TILE, canvas.width), min(top + _TILE, canvas.height)
            yield Tile(left, top, right, bottom, 4 << bands, bands)


def blend_tile(
    tile: Tile,
    photos: Sequence[Photo],
    pixels: Pixels,
    view: View,
    canvas: Canvas,
    shares: Sequence[Share],
) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """(h,w,3) the tile's pixels, 0 to 255, and (h,w) 255 where there is a photo."""
    import cv2

    unit = 1 << tile.bands
    left, top = tile.left - tile.margin, max(0, tile.top - tile.margin)
    right, bottom = tile.right + tile.margin, min(canvas.height, tile.bottom + tile.margin)
    if not canvas.closed:
        left, right = max(0, left), min(canvas.width, right)
    width, height = (-(-extent // unit) * unit for extent in (right - left, bottom - top))
    blender = Blender(width, height, tile.bands)
    covered = np.zeros((height, width), np.uint8)
    for share in shares:
        shown, piece = share.box(), share.piece
        if shown is None:
            continue
        reach = 2 * unit
        corner = (left, top)
        low = [max(0, (edge - begin - reach) // unit * unit) for edge, begin in zip(shown[:2], corner, strict=True)]
        high = [
            min(full, -(-(edge - begin + reach) // unit) * unit)
            for edge, begin, full in zip(shown[2:], corner, (width, height), strict=True)
        ]
        if high[0] <= low[0] or high[1] <= low[1]:
            continue
        part = replace(piece, left=left + low[0], top=top + low[1], width=high[0] - low[0], height=high[1] - low[1])
        photo = photos[piece.photo]
        read = pixels.at(piece.photo, side_for(photo, view.density(piece.photo), 1.2 * canvas.scale))
        image, inside = warp(read, view, part, canvas, (photo.width, photo.height))
        unit_value = 1 / 257 if image.dtype == np.uint16 else 1.0
        lit = cv2.multiply(image.astype(np.float32), share.gains(part), scale=unit_value)
        weight = share.weight(part, inside)
        blender.add(Layer(np.asarray(np.clip(lit, 0, 255), np.float32), weight, low[0], low[1]))
        covered[low[1] : high[1], low[0] : high[0]] |= (weight > 0).astype(np.uint8) * np.uint8(255)
    inner = slice(tile.top - top, tile.bottom - top), slice(tile.left - left, tile.right - left)
    return blender.result()[inner], covered[inner]


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

    def box(self) -> tuple[int, int, int, int] | None:
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

    def weight(self, part: Piece, inside: NDArray[np.uint8]) -> NDArray[np.float32]:
        """(h,w) how much a part of the piece is to be seen: 1 where the mask, enlarged, gives it more than half.

        Where three photos meet, and at the panorama's edge, nobody may have half: all that are near share it.
        """
        import cv2

        place, size, flags = self._place(part), (part.width, part.height), cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        grown = cv2.dilate(np.pad(self.seam, 3), np.ones((5, 5), np.uint8))
        wider = place + np.array([[0, 0, 3.0], [0, 0, 3.0]])
        own = cv2.warpAffine(self.seam, place, size, flags=flags, borderMode=cv2.BORDER_CONSTANT)
        near = cv2.warpAffine(grown, wider, size, flags=flags, borderMode=cv2.BORDER_CONSTANT)
        weight = (own > 127).astype(np.float32) + (near > 0).astype(np.float32) * np.float32(1e-3)
        weight[inside == 0] = 0
        return weight

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


def shares_of(
    canvas: Canvas, small: Canvas, seams: Sequence[NDArray[np.uint8]], near: Sequence[NDArray[np.float32]]
) -> list[Share]:
    """The pieces; of a panorama that goes all the way round also as they lie one turn to the left and right."""
    factor, shares = small.scale / canvas.scale, []
    for piece, beside, seam, gain in zip(canvas.pieces, small.pieces, seams, near, strict=True):
        for turn in (-1, 0, 1) if canvas.closed else (0,):
            moved = replace(piece, left=piece.left + turn * canvas.width, shift=piece.shift + turn * 2 * math.pi)
            shares.append(Share(moved, seam, gain, factor, beside.left + turn * canvas.width * factor, beside.top))
    return shares
