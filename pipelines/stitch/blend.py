"""Multi-band blending (Burt and Adelson, A multiresolution spline, ACM TOG 1983).

At the finest level each pixel belongs to one layer, so that there nothing is weighed, only copied, in 16-bit integers
for photos of 8 bit; that level holds three quarters of all pixels. The coarser ones are weighted means in floating
point.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_LEAST = 1e-6
_FINE = 16
"""Integer steps per grey value: rounding stays far below what eight bits show."""


class Blender:
    """Puts layers together, band by band.

    Args:
        width, height: of the tile, multiples of 2^bands.
        bands: the widest is 2^bands px wide.
        deep: keep fractions of grey values, for photos of 16 bit.
    """

    def __init__(self, width: int, height: int, bands: int, *, deep: bool = False) -> None:
        self.bands = bands
        self.scale = 1 if deep else _FINE
        self._finest = np.zeros((height, width, 3), np.float32 if deep else np.int16)
        sizes = [(height >> level, width >> level) for level in range(1, bands + 1)]
        self._sums = [np.zeros((*size, 3), np.float32) for size in sizes]
        self._weights = [np.zeros(size, np.float32) for size in sizes]

    def lit(self, pixels: NDArray, gains: NDArray[np.float32]) -> NDArray:
        """(h,w,3) pixels of 8 or 16 bit times gains (h,w,3), in the unit in which layers are added."""
        import cv2

        unit = self.scale / 257 if pixels.dtype == np.uint16 else float(self.scale)
        depth = cv2.CV_32F if self._finest.dtype == np.float32 else cv2.CV_16S
        out = cv2.multiply(pixels, gains, scale=unit, dtype=depth)
        return np.minimum(out, 255 * self.scale, out=out)

    def add(self, pixels: NDArray, mask: NDArray[np.uint8], left: int, top: int) -> None:
        """Add a layer.

        Args:
            pixels: (h,w,3) as :meth:`lit` gives it, going on beyond what is shown.
            mask: (h,w) 255 where it is shown, 0 elsewhere; layers must not be shown in the same place.
            left, top: px in the tile; like the sides, multiples of 2^bands.
        """
        import cv2

        height, width = mask.shape
        smaller = cv2.pyrDown(pixels)
        band = cv2.subtract(pixels, cv2.pyrUp(smaller, dstsize=(width, height)))
        cv2.copyTo(band, mask, self._finest[top : top + height, left : left + width])
        level, weight = smaller.astype(np.float32), cv2.pyrDown(mask.astype(np.float32))
        for number, (sums, weights) in enumerate(zip(self._sums, self._weights, strict=True), 1):
            height, width = weight.shape
            at = slice(top >> number, (top >> number) + height), slice(left >> number, (left >> number) + width)
            if number < self.bands:
                coarser = np.asarray(cv2.pyrDown(level), np.float32)
                band = cv2.subtract(level, cv2.pyrUp(coarser, dstsize=(width, height)))
            else:
                coarser, band = level, level
            sums[at] += cv2.multiply(band, cv2.merge([weight] * 3))
            weights[at] += weight
            level, weight = coarser, cv2.pyrDown(weight)

    def result(self) -> NDArray:
        """(H,W,3) the tile, grey values times :attr:`scale`; meaningless where no layer was shown."""
        import cv2

        out: NDArray | None = None
        for sums, weights in zip(self._sums[::-1], self._weights[::-1], strict=True):
            band = cv2.divide(sums, cv2.merge([np.maximum(weights, np.float32(_LEAST))] * 3))
            size = weights.shape[::-1]
            out = band if out is None else cv2.add(band, cv2.pyrUp(out, dstsize=size))
        assert out is not None, "there is at least one band"
        if self._finest.dtype == np.int16:
            out = np.rint(out).astype(np.int16)
        size = self._finest.shape[1::-1]
        return cv2.add(self._finest, cv2.pyrUp(out, dstsize=size), dst=self._finest)
