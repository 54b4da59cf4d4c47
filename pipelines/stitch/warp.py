"""Photos as they lie on the canvas, of a camera that turned or of a flat thing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from pipelines.stitch.adjust import Array, Turned, pixels
from pipelines.stitch.blend import light
from pipelines.stitch.coarse import Coarse, strips_of
from pipelines.stitch.local import Shifts
from pipelines.stitch.projection import PROJECTIONS, Canvas, Piece

_STEP = 16
"""Canvas px between the nodes at which the map is computed; between them it is linear to some 0.03 px."""
_NOWHERE = -1e6


class View(Protocol):
    """What photo shows which part of the canvas's plane."""

    def photo_px(self, photo: int, plane: Array) -> Array:
        """(M,2) px of the full-resolution photo for points (M,2) of the plane, NaN where it cannot look."""
        ...

    def density(self, photo: int) -> float:
        """Photo px per unit of the plane at the photo's middle."""
        ...


class TurnedView(NamedTuple):
    """A camera that turned, seen through a projection.

    Attributes:
        cameras: of the photos.
        projection: a key of :data:`pipelines.stitch.projection.PROJECTIONS`.
        sizes: (width, height) of each photo, px.
    """

    cameras: Turned
    projection: str
    sizes: Sequence[tuple[int, int]]

    def photo_px(self, photo: int, plane: Array) -> Array:
        """See :class:`View`."""
        view = PROJECTIONS[self.projection].lift(plane) @ self.cameras.rotations[photo].T
        ahead = view[:, 2] > 0.02
        flat = view[:, :2] / np.where(ahead, view[:, 2], np.nan)[:, None]
        f, k = self.cameras.focal(photo), self.cameras.distortion(photo)
        return pixels(flat, np.full(len(flat), f), np.full(len(flat), k)) + (np.array(self.sizes[photo]) - 1) / 2

    def density(self, photo: int) -> float:
        """See :class:`View`."""
        return self.cameras.focal(photo)


class ShiftedView(NamedTuple):
    """Photos whose pixels are shifted a little before their camera looks along them.

    Attributes:
        view: the cameras alone.
        shifts: of each photo.
    """

    view: View
    shifts: Sequence[Shifts]

    def photo_px(self, photo: int, plane: Array) -> Array:
        """See :class:`View`."""
        return self.shifts[photo].undo(self.view.photo_px(photo, plane))

    def density(self, photo: int) -> float:
        """See :class:`View`."""
        return self.view.density(photo)


class Finish(NamedTuple):
    """What is made of a warped photo besides.

    Attributes:
        claims: how strongly it claims the canvas's pixels, 0 to 255; where it does not at all it is only to be blended
            with others, and need not be sharp.
        gains: three factors for each pixel.
        depth: type of the pixels, see :func:`pipelines.stitch.blend.light`.
    """

    claims: Coarse
    gains: Coarse
    depth: type


def warp(
    photo: NDArray, view: View, piece: Piece, canvas: Canvas, size: tuple[int, int], finish: Finish | None = None
) -> tuple[NDArray, NDArray[np.uint8]]:
    """A photo, or part of it, as it lies on the canvas.

    Strip by strip, so that what is needed in between stays in the processor's cache.

    Args:
        photo: (H,W,3) uint8, uint16 or float32, at any resolution.
        piece: the part of the canvas to fill.
        size: (width, height) of the full-resolution photo.
        finish: None leaves the pixels as they are.

    Returns:
        (h,w,3) pixels of the piece, mirrored beyond the photo's edges, and (h,w) mask, 255 (or its claims) where the
        photo is.
    """
    import cv2

    ratio = np.array(photo.shape[1::-1]) / size
    edge = 0.5 * ratio - 0.5  # where the photo's outermost pixels' centres lie at this resolution
    low, high = (*edge, 0, 0), (*(ratio * size - 1 - edge), 0, 0)
    places = _places(view, piece, canvas, ratio)
    out = np.empty((piece.height, piece.width, 3), photo.dtype if finish is None else finish.depth)
    mask = np.empty((piece.height, piece.width), np.uint8)
    strips = list(strips_of(piece.height, piece.width))
    unlit = None if finish is None else np.empty((strips[0].stop, piece.width, 3), photo.dtype)
    for rows in strips:
        part = piece.left, piece.top + rows.start, piece.width, rows.stop - rows.start
        at = places.part(*part)
        cv2.inRange(at, low, high, mask[rows])
        if finish is None or unlit is None:
            _remap(photo, at, cv2.INTER_CUBIC, out[rows])
            continue
        mask[rows] &= finish.claims.part(*part)
        left, _, width, _ = cv2.boundingRect(mask[rows])
        kept = unlit[: part[3]]
        for columns, how in (
            (slice(0, left), cv2.INTER_LINEAR),
            (slice(left, left + width), cv2.INTER_CUBIC),
            (slice(left + width, None), cv2.INTER_LINEAR),
        ):
            _remap(photo, at[:, columns], how, kept[:, columns])
        light(kept, finish.gains.part(*part), out[rows])
    return out, mask


def _remap(photo: NDArray, places: NDArray[np.float32], how: int, out: NDArray) -> None:
    import cv2

    if places.size:
        cv2.remap(photo, places, None, how, dst=out, borderMode=cv2.BORDER_REFLECT)  # type: ignore[call-overload]


def _places(view: View, piece: Piece, canvas: Canvas, ratio: NDArray) -> Coarse:
    """Where the pixels of a piece lie in the photo at ``ratio`` of its resolution, px; far off if nowhere."""
    counts = [-(-side // _STEP) + 2 for side in (piece.width, piece.height)]
    # A node stands in the middle of its cell; one cell more on each side.
    across, along = ((np.arange(count) - 0.5) * _STEP - 0.5 for count in counts)
    across = canvas.origin[0] + (piece.left + across) / canvas.scale - piece.shift
    along = canvas.origin[1] + (piece.top + along) / canvas.scale
    plane = np.stack(np.meshgrid(across, along), -1).reshape(-1, 2)
    nodes = (view.photo_px(piece.photo, plane) + 0.5) * ratio - 0.5
    nodes = np.clip(np.nan_to_num(nodes, nan=_NOWHERE), _NOWHERE, -_NOWHERE)
    return Coarse(
        nodes.reshape(counts[1], counts[0], 2).astype(np.float32), _STEP, piece.left - _STEP, piece.top - _STEP
    )
