"""Thresholds in pixels are told for photos of a usual size; on a larger one the same error takes more pixels."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pipelines.core.maps import Camera
    from pipelines.core.types import Photo

_USUAL_SIDE = 1600


def threshold_scale(*pictures: Photo | Camera) -> float:
    """What thresholds at 1,600 px are multiplied by for these photos or cameras, of which the largest counts."""
    return max(1.0, max(max(picture.width, picture.height) for picture in pictures) / _USUAL_SIDE)
