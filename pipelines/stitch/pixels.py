"""Decoded photos, at the resolution that is asked for, the most recent ones kept."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from pipelines.core.cache import BYTES, ReadCache
from pipelines.core.types import Photo
from pipelines.images.formats import to_8_bit
from pipelines.images.read import Image, read_deep, read_gray


class Pixels:
    """Decoded photos, the most recent ones kept; threads may share it.

    Photos that all fit into what is kept are decoded once, however often they are asked for.

    Args:
        photos: in the order of the numbers that they are asked for by.
        whole: the place of a photo among these -> its pixels; by default they are read, and kept.
    """

    def __init__(self, photos: Sequence[Photo], whole: Callable[[int], NDArray] | None = None) -> None:
        self.photos = photos
        self._whole = whole or ReadCache(lambda index: read_deep(photos[index]))
        self._all_fit = sum(3 * photo.width * photo.height for photo in photos) <= BYTES

    def at(self, index: int, side: int) -> NDArray:
        """(H,W,3) RGB uint8 or uint16 with a longer side of about ``side`` px, or of the photo's own if smaller."""
        longest = max(self.photos[index].width, self.photos[index].height)
        if not self._all_fit and side < longest / 2:
            return read_deep(self.photos[index], side)
        return shrunk_picture(self._whole(index), side)

    def grey(self, index: int, side: int) -> Image:
        """A photo in grey, (H,W) uint8, its longer side at most ``side`` px."""
        if not self._all_fit:
            return read_gray(self.photos[index], side)
        import cv2

        whole = self._whole(index)
        small = shrunk_picture(to_8_bit(cv2.cvtColor(whole, cv2.COLOR_RGB2GRAY)), side)
        return Image(small, (whole.shape[1] / small.shape[1], whole.shape[0] / small.shape[0]))

    def subset(self, members: Sequence[int]) -> Pixels:
        """Some of the photos, in another order; what is decoded already is not decoded again."""
        return Pixels([self.photos[index] for index in members], lambda place: self._whole(members[place]))


def shallow(pixels: NDArray) -> NDArray[np.uint8]:
    """Pixels of 8 or 16 bit in 8 bit."""
    return pixels if pixels.dtype == np.uint8 else (pixels // 257).astype(np.uint8)


def shrunk_picture(picture: NDArray, side: int) -> NDArray:
    """A picture (H,W) or (H,W,C), its longer side at most ``side`` px."""
    import cv2

    longest = max(picture.shape[:2])
    if side >= longest:
        return picture
    size = tuple(max(1, round(edge * side / longest)) for edge in picture.shape[1::-1])
    while 2 * size[0] <= picture.shape[1] and not (picture.shape[0] % 2 or picture.shape[1] % 2):
        # Means of four pixels are the same in the end, and OpenCV takes them ten times as fast as others.
        half = picture.shape[1] // 2, picture.shape[0] // 2
        picture = np.asarray(cv2.resize(picture, half, interpolation=cv2.INTER_AREA), picture.dtype)
    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), picture.dtype)


def side_for(photo: Photo, density: float, wanted: float) -> int:
    """Longer side at which a photo has ``wanted`` px per unit of the plane, or its own if that is less."""
    longest = max(photo.width, photo.height)
    return min(longest, max(64, math.ceil(longest * wanted / density)))
