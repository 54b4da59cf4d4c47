"""Colours of a model's points, and small pictures of its photos, in one pass over the photos."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from pipelines.core.errors import ReconError
from pipelines.core.maps import Model
from pipelines.core.progress import Progress
from pipelines.core.types import Photo
from pipelines.engine import map_items
from pipelines.images.read import read_color
from pipelines.images.write import thumbnail

_SIDE = 1024
_THUMBNAIL = 320, 80
"""Longer side, px, and JPEG quality."""


def colour_points(
    models: Sequence[Model], photos: Mapping[str, Photo], *, progress: Progress
) -> tuple[list[NDArray[np.uint8]], dict[str, bytes]]:
    """Mean colour over the photos that see a point.

    Args:
        models: whose points to colour.
        photos: by name. A photo that can no longer be read leaves its points grey and is not among the thumbnails.

    Returns:
        Per model (P,3) uint8 RGB, and JPEG thumbnails by photo name.
    """
    sums = [np.zeros((len(model.xyz), 4)) for model in models]
    thumbnails: dict[str, bytes] = {}

    def read(photo: Photo) -> tuple[Photo, NDArray[np.uint8] | None]:
        try:
            return photo, read_color(photo, _SIDE)
        except ReconError:
            return photo, None

    with progress.stage("Colours", len(photos)) as task:
        for photo, pixels in map_items(read, photos.values()):
            task.advance(note=photo.name)
            if pixels is None:
                continue
            thumbnails[photo.name] = thumbnail(pixels, *_THUMBNAIL)
            for model, total in zip(models, sums, strict=True):
                if photo.name in model.names:
                    _add(total, model, model.names.index(photo.name), pixels, photo)
    colours = [
        np.where(total[:, 3:] > 0, total[:, :3] / np.maximum(total[:, 3:], 1), 128).round().astype(np.uint8)
        for total in sums
    ]
    return colours, thumbnails


def _add(total: NDArray, model: Model, image: int, pixels: NDArray[np.uint8], photo: Photo) -> None:
    rows = model.rows_of_images[image]
    height, width = pixels.shape[:2]
    scale = np.array([width / photo.width, height / photo.height])
    xy = np.rint((model.obs_xy[rows] + 0.5) * scale - 0.5).astype(int)
    columns, lines = np.clip(xy[:, 0], 0, width - 1), np.clip(xy[:, 1], 0, height - 1)
    points = model.obs_point[rows]
    np.add.at(total[:, :3], points, pixels[lines, columns])
    np.add.at(total[:, 3], points, 1)
