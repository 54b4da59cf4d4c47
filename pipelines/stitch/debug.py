"""Every stage of stitching as a numbered picture, for those who want to know why."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipelines.core.types import Photo
from pipelines.images.label import cut, label
from pipelines.images.read import read_color_image
from pipelines.images.write import write_picture
from pipelines.stitch.overlap import Overlap
from pipelines.stitch.pixels import shallow, shrunk_picture
from pipelines.stitch.projection import Canvas
from pipelines.store.files import make_folder

_SIDE = 700
_TINTS = np.array(
    [[230, 85, 60], [60, 160, 230], [90, 200, 90], [240, 190, 50], [170, 110, 220], [70, 210, 200], [240, 120, 180]]
)


class Debug:
    """Writes ``001-matches-a-b.jpg`` and so on into a folder.

    Args:
        folder: made if it is not there.

    Raises:
        OutputError: the folder cannot be written.
    """

    def __init__(self, folder: Path) -> None:
        self._folder, self._number = make_folder(folder), 0

    def save(self, stage: str, pixels: NDArray[np.uint8]) -> None:
        """Write the next picture, (H,W,3) RGB.

        Raises:
            OutputError: it cannot be written.
        """
        self._number += 1
        name = re.sub(r"[^\w.-]+", "_", stage)
        write_picture(self._folder / f"{self._number:03}-{name}.jpg", pixels)

    def overlaps(self, photos: Sequence[Photo], overlaps: Mapping[tuple[int, int], Overlap]) -> None:
        """The inliers of each overlap, photos side by side, and the graph of all pairs that were tested."""
        for (i, j), overlap in sorted(overlaps.items()):
            if overlap.kept:
                stem = f"matches-{Path(photos[i].name).stem}-{Path(photos[j].name).stem}"
                self.save(stem, _side_by_side(photos[i], photos[j], overlap))
        self.save("graph", _graph([Path(photo.name).stem for photo in photos], overlaps))

    def rendering(
        self,
        photos: Sequence[Photo],
        canvas: Canvas,
        images: Sequence[NDArray[np.uint8]],
        lit: Sequence[NDArray[np.uint8]],
        masks: Sequence[NDArray[np.uint8]],
        seams: Sequence[NDArray[np.uint8]],
    ) -> None:
        """Each warped photo; all with and without their gains; the seams."""
        for image, mask, piece in zip(images, masks, canvas.pieces, strict=True):
            self.save(f"warp-{Path(photos[piece.photo].name).stem}", np.where(mask[..., None] > 0, image, 128))
        self.save("gains-before", _laid(canvas, images, masks))
        self.save("gains-after", _laid(canvas, lit, masks))
        shown = _laid(canvas, lit, seams).astype(np.float64)
        tints = [np.broadcast_to(_TINTS[piece.photo % len(_TINTS)], image.shape).astype(np.uint8)
                 for image, piece in zip(images, canvas.pieces, strict=True)]  # fmt: skip
        tint = _laid(canvas, tints, seams)
        self.save("seams", np.where(tint > 0, 0.6 * shown + 0.4 * tint, shown).astype(np.uint8))

    def blended(self, pixels: NDArray) -> None:
        """The panorama, made small."""
        self.save("blend", shrunk_picture(shallow(pixels), 2000))


def _laid(canvas: Canvas, images: Sequence[NDArray[np.uint8]], masks: Sequence[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    out = np.zeros((canvas.height, canvas.width, 3), np.uint8)
    for image, mask, piece in zip(images, masks, canvas.pieces, strict=True):
        at = out[piece.top : piece.top + piece.height, piece.left : piece.left + piece.width]
        part = slice(0, at.shape[0]), slice(0, at.shape[1])
        at[mask[part] > 0] = image[part][mask[part] > 0]
    return out


def _side_by_side(a: Photo, b: Photo, overlap: Overlap) -> NDArray[np.uint8]:
    import cv2

    sides = [read_color_image(photo, _SIDE) for photo in (a, b)]
    height = max(side.pixels.shape[0] for side in sides)
    canvas = np.full((height, sum(side.pixels.shape[1] for side in sides) + 6, 3), 245, np.uint8)
    left, places = 0, []
    for side, points in zip(sides, (overlap.a, overlap.b), strict=True):
        canvas[: side.pixels.shape[0], left : left + side.pixels.shape[1]] = side.pixels
        places.append(np.rint(side.from_full(points) + np.array([left, 0])).astype(int))
        left += side.pixels.shape[1] + 6
    for number, (start, end) in enumerate(zip(*places, strict=True)):
        tint = _TINTS[number % len(_TINTS)].tolist()
        if number < 150:
            cv2.line(canvas, start.tolist(), end.tolist(), tint, 1, cv2.LINE_AA)
        for place in (start, end):
            cv2.circle(canvas, place.tolist(), 2, tint, -1, cv2.LINE_AA)
    return canvas


def _graph(names: Sequence[str], overlaps: Mapping[tuple[int, int], Overlap]) -> NDArray[np.uint8]:
    """Photos on a circle; pairs that overlap joined by lines with their inliers, pairs that do not by faint ones."""
    import cv2

    side = 900
    canvas = np.full((side, side, 3), 250, np.uint8)
    turn = 2 * math.pi / max(1, len(names))
    at = [
        (round(side / 2 + 360 * math.sin(turn * i)), round(side / 2 - 360 * math.cos(turn * i)))
        for i in range(len(names))
    ]
    for (i, j), overlap in overlaps.items():
        tint, width = ((20, 130, 150), 3) if overlap.kept else ((215, 215, 220), 1)
        cv2.line(canvas, at[i], at[j], tint, width, cv2.LINE_AA)
    for (i, j), overlap in overlaps.items():
        if overlap.kept:
            middle = ((at[i][0] + at[j][0]) / 2, (at[i][1] + at[j][1]) / 2)
            label(canvas, str(len(overlap)), middle, 15, (20, 60, 80), (250, 250, 250))
    for (x, y), name in zip(at, names, strict=True):
        cv2.circle(canvas, (x, y), 7, (200, 85, 60), -1, cv2.LINE_AA)
        label(canvas, cut(name, 24), (x, y + 24 if y > side / 2 else y - 24), 15, (30, 30, 30), (250, 250, 250))
    return canvas
