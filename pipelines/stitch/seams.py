"""Which photo shows which part of the canvas: graph cuts through where overlapping photos agree."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pipelines.stitch.projection import Canvas, shrunk

_SHUT = 6
"""Columns on each side of the cut of a full circle that one photo shows alone."""
_BAND = 4
"""px on each side of a rough seam in which the final one is looked for."""


def find_seams(
    images: Sequence[NDArray[np.uint8]], masks: Sequence[NDArray[np.uint8]], canvas: Canvas
) -> list[NDArray[np.uint8]]:
    """Masks that share out the canvas among its pieces.

    Kwatra et al., Graphcut textures, SIGGRAPH 2003, as OpenCV has it, first on pictures half as large and then in a
    band around the seams found there (Lombaert et al., A multilevel banded graph cuts method, ICCV 2005): a third of
    the time. Where a panorama that goes all the way round is cut open, one photo is shown on both sides, so that the
    ends meet.

    Args:
        images, masks: (h,w,3) and (h,w) of each piece, their exposures made equal.
    """
    import cv2

    masks = [mask.copy() for mask in masks]
    if canvas.closed:
        _shut(masks, canvas)
    if len(images) == 1:
        return masks
    half = shrunk(canvas, 2)
    sizes = [(piece.width, piece.height) for piece in half.pieces]
    rough = _cut(
        [_resized(image, size, cv2.INTER_AREA) for image, size in zip(images, sizes, strict=True)],
        [_resized(mask, size, cv2.INTER_NEAREST) for mask, size in zip(masks, sizes, strict=True)],
        half,
    )
    return _cut(images, _bands(rough, masks, canvas), canvas)


def _resized(picture: NDArray[np.uint8], size: tuple[int, int], how: int) -> NDArray[np.uint8]:
    import cv2

    return np.asarray(cv2.resize(picture, size, interpolation=how), np.uint8)


def _cut(
    images: Sequence[NDArray[np.uint8]], masks: Sequence[NDArray[np.uint8]], canvas: Canvas
) -> list[NDArray[np.uint8]]:
    import cv2

    finder = cv2.detail.GraphCutSeamFinder("COST_COLOR_GRAD")
    # Its time goes by how far the pictures reach into each other, whatever their masks show: they are cut to those.
    boxes = [_shown(mask) for mask in masks]
    found = finder.find(
        [image[box].astype(np.float32) for image, box in zip(images, boxes, strict=True)],  # type: ignore[misc]
        [(piece.left + x.start, piece.top + y.start) for piece, (y, x) in zip(canvas.pieces, boxes, strict=True)],
        [mask[box] for mask, box in zip(masks, boxes, strict=True)],  # type: ignore[misc]
    )
    shares = [np.zeros_like(mask) for mask in masks]
    for share, box, part in zip(shares, boxes, found, strict=True):
        share[box] = np.asarray(part.get() if hasattr(part, "get") else part, np.uint8)
    return shares


def _shown(mask: NDArray[np.uint8]) -> tuple[slice, slice]:
    """Rows and columns of what a mask shows and of what the gradients there are taken from."""
    import cv2

    left, top, width, height = cv2.boundingRect(mask)
    return slice(max(0, top - 1), top + height + 1), slice(max(0, left - 1), left + width + 1)


def _bands(
    rough: Sequence[NDArray[np.uint8]], masks: Sequence[NDArray[np.uint8]], canvas: Canvas
) -> list[NDArray[np.uint8]]:
    """Each piece's rough share and a band around it; what nobody has a share in stays with all who show it."""
    import cv2

    grown = np.ones((2 * _BAND + 1,) * 2, np.uint8)
    taken = np.zeros((canvas.height, canvas.width), np.uint8)
    wide = []
    for share, mask, piece in zip(rough, masks, canvas.pieces, strict=True):
        at = slice(piece.top, piece.top + piece.height), slice(piece.left, piece.left + piece.width)
        large = _resized(share, (piece.width, piece.height), cv2.INTER_LINEAR)
        own = np.asarray(cv2.dilate((large > 127).astype(np.uint8) * np.uint8(255), grown), np.uint8) & mask
        taken[at] |= own
        wide.append(own)
    return [
        own | (mask & ~taken[piece.top : piece.top + piece.height, piece.left : piece.left + piece.width])
        for own, mask, piece in zip(wide, masks, canvas.pieces, strict=True)
    ]


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
