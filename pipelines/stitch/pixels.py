"""Decoded photos, at the resolution that is asked for, the most recent ones kept."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Sequence

from numpy.typing import NDArray

from pipelines.core.types import Photo
from pipelines.images.read import read_deep

_KEPT = 400 << 20
"""Bytes of decoded photos that are kept for the next tile."""


class Pixels:
    """Decoded photos, the most recent ones kept."""

    def __init__(self, photos: Sequence[Photo]) -> None:
        self._photos = photos
        self._held: OrderedDict[int, NDArray] = OrderedDict()
        whole = sum(3 * photo.width * photo.height for photo in photos)
        self._all_fit = whole <= _KEPT

    def at(self, index: int, side: int) -> NDArray:
        """(H,W,3) RGB uint8 or uint16 with a longer side of about ``side`` px, or of the photo's own if smaller."""
        import cv2

        longest = max(self._photos[index].width, self._photos[index].height)
        if not self._all_fit and side < longest / 2:
            return read_deep(self._photos[index], side)
        if index not in self._held:
            self._held[index] = read_deep(self._photos[index])
            while sum(held.nbytes for held in self._held.values()) > _KEPT and len(self._held) > 1:
                self._held.popitem(last=False)
        self._held.move_to_end(index)
        whole = self._held[index]
        if side >= longest:
            return whole
        size = tuple(max(1, round(edge * side / longest)) for edge in whole.shape[1::-1])
        return cv2.resize(whole, size, interpolation=cv2.INTER_AREA)


def side_for(photo: Photo, density: float, wanted: float) -> int:
    """Longer side at which a photo has ``wanted`` px per unit of the plane, or its own if that is less."""
    longest = max(photo.width, photo.height)
    return min(longest, max(64, math.ceil(longest * wanted / density)))
