"""Multi-band blending (Burt and Adelson, A multiresolution spline, ACM TOG 1983), so that little memory is touched.

At the finest level each pixel belongs to one layer. Where bands are weighed and added up, level by level from the
coarsest, the blended picture's difference from each layer's own is all that is kept: enlarged, it is what the next
finer level adds to the layer. Away from the seams it is nothing, and pixels come out as they went in.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipelines.stitch.coarse import strips_of

_LEAST = 0.01
"""Weight, of 255, that a layer has also where its share is far: there all are blended alike."""
_FINE = 16
"""Integer steps per grey value of levels of photos of 8 bit: rounding stays far below what eight bits show."""


class Layer(NamedTuple):
    """A layer on its tile.

    Attributes:
        number: among the owners of the tile's pixels.
        left, top: px of the tile; like the sides, multiples of 2^bands.
        pixels: (h,w,3) uint8, or float32 in units of 8 bit, going on beyond what is shown.
    """

    number: int
    left: int
    top: int
    pixels: NDArray

    def at(self, level: int = 0) -> tuple[slice, slice]:
        """Rows and columns of the tile, or of it made smaller by 2^level."""
        height, width = self.pixels.shape[:2]
        return (slice(self.top >> level, (self.top + height) >> level),
                slice(self.left >> level, (self.left + width) >> level))  # fmt: skip

    def rows(self, rows: slice, level: int = 0) -> tuple[slice, slice] | None:
        """Those rows of the tile (made smaller by 2^level) that the layer is in: as rows of the rows, and as rows of
        the layer; None for none."""
        own = self.at(level)[0]
        top, bottom = max(rows.start, own.start), min(rows.stop, own.stop)
        if top >= bottom:
            return None
        return slice(top - rows.start, bottom - rows.start), slice(top - own.start, bottom - own.start)


class Pyramid(NamedTuple):
    """A layer from the half size on: pictures (h,w,3) int16 or float32, later their differences from the blended one;
    and weights (h,w), up to 255."""

    pictures: list[NDArray]
    weights: list[NDArray]


def light(pixels: NDArray, gains: NDArray[np.float32], out: NDArray) -> None:
    """Write pixels (h,w,3) of 8 or 16 bit times gains (h,w,3) to ``out``, uint8 or float32 in units of 8 bit."""
    import cv2

    unit = 1 / 257 if pixels.dtype == np.uint16 else 1.0
    cv2.multiply(pixels, gains, dst=out, scale=unit, dtype=cv2.CV_8U if out.dtype == np.uint8 else cv2.CV_32F)
    if out.dtype == np.float32:
        np.minimum(out, 255, out=out)


class Blender:
    """Puts layers together, band by band.

    Args:
        owner: (H,W) unsigned, the number of the layer that is shown, 0 for none; sides are multiples of 2^bands.
        bands: the widest is 2^bands px wide.
        pool: threads that share the work.
    """

    def __init__(self, owner: NDArray, bands: int, pool: ThreadPoolExecutor) -> None:
        self._owner, self._bands, self._pool = owner, bands, pool
        self._layers: list[tuple[Layer, Pyramid]] = []

    def add(self, layers: list[Layer]) -> None:
        """Blend the layers."""
        self._layers = list(zip(layers, self._pool.map(self._pyramid, layers), strict=True))
        height, width = self._owner.shape
        for level in range(self._bands, 0, -1):
            list(self._pool.map(partial(self._blend, level), strips_of(height >> level, width >> level)))

    def _shown(self, layer: Layer, rows: slice, columns: slice) -> NDArray[np.uint8]:
        import cv2

        return np.asarray(cv2.inRange(self._owner[rows, columns], layer.number, layer.number), np.uint8)  # type: ignore[call-overload]

    def _pyramid(self, layer: Layer) -> Pyramid:
        import cv2

        picture = cv2.pyrDown(layer.pixels)
        if picture.dtype == np.uint8:
            picture = np.multiply(picture, np.int16(_FINE), dtype=np.int16)
        pictures, weights = [picture], [cv2.pyrDown(self._shown(layer, *layer.at()))]
        for _ in range(1, self._bands):
            pictures.append(cv2.pyrDown(pictures[-1]))
            weights.append(cv2.pyrDown(weights[-1].astype(np.float32)))
        return Pyramid(pictures, weights)

    def _blend(self, level: int, rows: slice) -> None:
        """Blend some rows of a level, and leave the differences from it in the layers' pictures."""
        import cv2

        size = rows.stop - rows.start, self._owner.shape[1] >> level
        total, weights = np.zeros((*size, 3), np.float32), np.zeros(size, np.float32)
        here = []
        for layer, pyramid in self._layers:
            among = layer.rows(rows, level)
            if among is None:
                continue
            at, own = (among[0], layer.at(level)[1]), (among[1], slice(0, layer.pixels.shape[1] >> level))
            picture = pyramid.pictures[level - 1][own]
            here.append((at, picture))
            value = picture if level == self._bands else cv2.add(picture, _twice(pyramid.pictures[level], own))
            weight = pyramid.weights[level - 1][own].astype(np.float32)
            weight += np.float32(_LEAST)
            total[at] += cv2.multiply(value, cv2.merge([weight] * 3), dtype=cv2.CV_32F)
            weights[at] += weight
        np.maximum(weights, np.float32(_LEAST), out=weights)
        blended = cv2.divide(total, cv2.merge([weights] * 3), dst=total)
        for at, picture in here:
            picture[:] = cv2.subtract(
                blended[at], picture, dtype=cv2.CV_16S if picture.dtype == np.int16 else cv2.CV_32F
            )

    def write(self, rows: slice, columns: slice, out: NDArray) -> None:
        """Write rows, from an even one on, and columns of the tile to (h,w,3) ``out`` of 8 or 16 bit.

        What no layer is shown in is left as it was. Threads may write several at once.
        """
        import cv2

        for layer, pyramid in self._layers:
            among = layer.rows(rows)
            if among is None:
                continue
            shown = self._shown(layer, slice(rows.start + among[0].start, rows.start + among[0].stop), columns)
            left, _, width, _ = cv2.boundingRect(shown)
            if not width:
                continue
            begin, end = columns.start + left - layer.left, columns.start + left + width - layer.left
            wide = slice(begin // 2 * 2, -(-end // 2) * 2)
            narrow = slice(begin - wide.start, end - wide.start)
            whole = slice(among[1].start, -(-among[1].stop // 2) * 2)
            apart = _twice(pyramid.pictures[0], (whole, wide))[: among[1].stop - whole.start, narrow]
            pixels = _stored(layer.pixels[among[1], begin:end], apart, out.dtype)
            cv2.copyTo(pixels, shown[:, left : left + width], out[among[0], left : left + width])


def _twice(half: NDArray, at: tuple[slice, slice]) -> NDArray:
    """A part, even sides from even places on, of a picture that is enlarged to twice its size."""
    import cv2

    low = [max(0, side.start // 2 - 1) for side in at]
    high = [min(most, -(-side.stop // 2) + 1) for side, most in zip(at, half.shape, strict=False)]
    large = cv2.pyrUp(half[low[0] : high[0], low[1] : high[1]])
    rows, columns = (slice(side.start - 2 * begin, side.stop - 2 * begin) for side, begin in zip(at, low, strict=True))
    return large[rows, columns]


def _stored(pixels: NDArray, apart: NDArray, depth: np.dtype) -> NDArray:
    """A layer's pixels and what is added to them, as a picture holds them."""
    import cv2

    if pixels.dtype == np.uint8:
        return np.asarray(cv2.addWeighted(pixels, 1.0, apart, 1 / _FINE, 0.0, dtype=cv2.CV_8U), np.uint8)
    scale = np.float32(257 if depth == np.uint16 else 1)
    return np.clip(cv2.add(pixels, apart) * scale + np.float32(0.5), 0, 255 * scale).astype(depth)
