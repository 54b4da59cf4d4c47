"""Which photo shows which part of the canvas: graph cuts through where overlapping photos agree."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pipelines.stitch.projection import Canvas

_SHUT = 6
"""Columns on each side of the cut of a full circle that one photo shows alone."""


def find_seams(
    images: Sequence[NDArray[np.uint8]], masks: Sequence[NDArray[np.uint8]], canvas: Canvas
) -> list[NDArray[np.uint8]]:
    """Masks that share out the canvas among its pieces.

    Kwatra et al., Graphcut textures, SIGGRAPH 2003, as OpenCV has it. Where a panorama that goes all the way round is
    cut open, one photo is shown on both sides, so that the ends meet.

    Args:
        images, masks: (h,w,3) and (h,w) of each piece, their exposures made equal.
    """
    import cv2

    masks = [mask.copy() for mask in masks]
    if canvas.closed:
        _shut(masks, canvas)
    if len(images) == 1:
        return masks
    finder = cv2.detail.GraphCutSeamFinder("COST_COLOR_GRAD")
    corners = [(piece.left, piece.top) for piece in canvas.pieces]
    found = finder.find([image.astype(np.float32) for image in images], corners, masks)  # type: ignore[misc,arg-type]
    return [np.asarray(mask.get() if hasattr(mask, "get") else mask, np.uint8) for mask in found]


def _shut(masks: list[NDArray[np.uint8]], canvas: Canvas) -> None:
    """Beside the cut, leave only the photo that covers most of both sides, wherever it covers them."""
    shown: dict[int, list[tuple[int, slice]]] = {}
    for index, piece in enumerate(canvas.pieces):
        if piece.left < _SHUT:
            shown.setdefault(piece.photo, []).append((index, slice(0, min(piece.width, _SHUT - piece.left))))
        if piece.left + piece.width > canvas.width - _SHUT:
            begin = max(0, canvas.width - _SHUT - piece.left)
            shown.setdefault(piece.photo, []).append((index, slice(begin, piece.width)))
    if not shown:
        return
    cover = {
        photo: sum(int((masks[i][:, columns] > 0).sum()) for i, columns in parts) for photo, parts in shown.items()
    }
    best = max(cover, key=lambda photo: cover[photo])
    taken = np.zeros((canvas.height, canvas.width), bool)
    for index, columns in shown.pop(best):
        piece = canvas.pieces[index]
        at = slice(piece.top, piece.top + piece.height), slice(piece.left + columns.start, piece.left + columns.stop)
        taken[at] |= masks[index][:, columns] > 0
    for index, columns in (part for parts in shown.values() for part in parts):
        piece = canvas.pieces[index]
        at = slice(piece.top, piece.top + piece.height), slice(piece.left + columns.start, piece.left + columns.stop)
        masks[index][:, columns][taken[at]] = 0
