"""A scene with what was recognised in it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pipelines.images.label import cut, label
from pipelines.images.read import read_color_image
from pipelines.recognize.run import Recognised

_SIDE = 1600
_COLOURS = ((0, 200, 255), (255, 140, 0), (120, 230, 60), (255, 80, 160), (170, 120, 255), (255, 225, 50))
"""One for each object, in turn."""


def draw(result: Recognised) -> NDArray[np.uint8]:
    """(H,W,3) RGB: the scene, at most 1,600 px, with each instance's outline, inliers, name and chance.

    Raises:
        InputError: the scene cannot be read any more.
    """
    import cv2

    image = read_color_image(result.scene, _SIDE)
    picture = np.ascontiguousarray(image.pixels)
    if max(picture.shape[:2]) < 800:  # names must be legible
        grown = 800 / max(picture.shape[:2])
        picture = np.asarray(cv2.resize(picture, None, fx=grown, fy=grown, interpolation=cv2.INTER_CUBIC), np.uint8)
    size = np.array([result.scene.width, result.scene.height])
    ratio = np.array(picture.shape[1::-1]) / size
    names = sorted({find.thing.name for find in result.finds})
    thick = max(2, round(max(picture.shape[:2]) / 500))
    for find in result.finds:
        colour = _COLOURS[names.index(find.thing.name) % len(_COLOURS)]
        corners = ((find.instance.corners + 0.5) * ratio - 0.5) * 16
        for width, tint in ((2 * thick + 1, (20, 20, 20)), (thick, colour)):
            cv2.polylines(picture, [np.rint(corners).astype(np.int32)], True, tint, width, cv2.LINE_AA, shift=4)
        for x, y in np.rint((find.instance.scene_xy + 0.5) * ratio - 0.5).astype(int).tolist():
            cv2.circle(picture, (x, y), thick, colour, -1, cv2.LINE_AA)
    for find in result.finds:
        text = f"{cut(find.thing.name)}: {len(find.instance)} inliers, chance 1e{find.instance.log10_chance:.0f}"
        tint = _COLOURS[names.index(find.thing.name) % len(_COLOURS)]
        middle = ((find.instance.corners + 0.5) * ratio).mean(0)
        label(picture, text, middle, max(14, round(max(picture.shape[:2]) / 70)), tint, (20, 20, 20))
    return picture
