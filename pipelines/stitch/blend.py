"""Multi-band blending in floating point (Burt and Adelson, A multiresolution spline, ACM TOG 1983)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_LEAST = 1e-6


@dataclass(frozen=True)
class Layer:
    """A warped photo on a tile.

    Attributes:
        pixels: (h,w,3) float32, going on beyond the photo's edges.
        weight: (h,w) float32, 0 where the photo is not to be seen.
        left, top: px in the tile, multiples of 2^bands.
    """

    pixels: NDArray[np.float32]
    weight: NDArray[np.float32]
    left: int
    top: int


class Blender:
    """Sums layers, band by band.

    Args:
        width, height: of the tile, multiples of 2^bands.
        bands: the widest is 2^bands px wide.
    """

    def __init__(self, width: int, height: int, bands: int) -> None:
        self.bands = bands
        self._sums = [np.zeros((height >> level, width >> level, 3), np.float32) for level in range(bands + 1)]
        self._weights = [np.zeros((height >> level, width >> level), np.float32) for level in range(bands + 1)]

    def add(self, layer: Layer) -> None:
        """Add a layer, whose sides are multiples of 2^bands."""
        import cv2

        pixels, weight = layer.pixels, layer.weight
        for level in range(self.bands + 1):
            height, width = weight.shape
            at = slice(layer.top >> level, (layer.top >> level) + height)
            along = slice(layer.left >> level, (layer.left >> level) + width)
            if level < self.bands:
                smaller = cv2.pyrDown(pixels)
                band = cv2.subtract(pixels, cv2.pyrUp(smaller, dstsize=(width, height)))
            else:
                smaller, band = pixels, pixels
            self._sums[level][at, along] += cv2.multiply(band, cv2.merge([weight] * 3))
            self._weights[level][at, along] += weight
            if level < self.bands:
                pixels, weight = np.asarray(smaller, np.float32), np.asarray(cv2.pyrDown(weight), np.float32)

    def result(self) -> NDArray[np.float32]:
        """(H,W,3) the blended tile; meaningless where no layer had weight."""
        import cv2

        out: NDArray[np.float32] | None = None
        for sums, weights in zip(self._sums[::-1], self._weights[::-1], strict=True):
            band = np.asarray(sums / np.maximum(weights, np.float32(_LEAST))[..., None], np.float32)
            if out is not None:
                band += cv2.pyrUp(out, dstsize=(band.shape[1], band.shape[0]))
            out = band
        assert out is not None
        return out
