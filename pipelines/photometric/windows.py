"""Small windows of one photo laid over another: affine maps by grey values, whatever brightness and contrast.

Lucas and Kanade's method in its inverse compositional form (Baker and Matthews, Lucas-Kanade 20 years on, IJCV 2004).
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from pipelines.images.read import Image

_RADIUS = 6
"""Px of the working resolution: what is compared is a window of twice this and one."""
_STEPS = 6
_FARTHEST = 1.5
"""Px of the working resolution that a place may move; what is farther off is another thing."""
_ALIKE = 0.9
"""Least correlation of the two windows, once they lie over each other."""
_AREA = 9.0
"""Largest change of area between two photos that a window is carried over."""
_CHUNK = 250
"""Windows that are worked on at once: all that is made of them stays in the processor's cache."""


def _square(radius: int) -> NDArray[np.float32]:
    axis = np.arange(-radius, radius + 1, dtype=np.float32)
    return np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)


_WINDOW, _BLOCK = _square(_RADIUS), _square(_RADIUS + 1)
BLOCK = len(_BLOCK)
"""Pixels of a block: a window and one more px to each side, from which its slopes are taken."""
_WEIGHTS = np.exp(-(_WINDOW**2).sum(axis=1) / np.float32(2 * (0.6 * _RADIUS) ** 2))
_WEIGHTS /= _WEIGHTS.sum()


def cut_blocks(image: Image, xy: NDArray[np.float32]) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """The surroundings of places (N,2), px of the photo, as :func:`lay_over` wants them.

    Returns:
        (N, :data:`BLOCK`) grey values, and (N,) whether the photo shows them all.
    """
    at = _to_working(xy, image)
    blocks = np.zeros((len(xy), BLOCK), np.uint8)
    for part in _chunks(len(xy)):
        x, y = at[part, :1], at[part, 1:]
        blocks[part] = _sampled(image.pixels, x + _BLOCK[:, 0], y + _BLOCK[:, 1])
    return blocks, _inside(at, image.pixels.shape, _RADIUS + 1)


def lay_over(
    image: Image, blocks: NDArray[np.uint8], xy: NDArray[np.float32], affine: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Where a photo shows what the middles of blocks show.

    Args:
        image: the photo in grey, at the working resolution.
        blocks: (N, :data:`BLOCK`) of other photos, at their working resolutions.
        xy: (N,2) px of the photo, places to begin with.
        affine: (N,2,2) maps of offsets in the other photos to offsets in this one, px of the working resolutions; to
            begin with, and to be finite.

    Returns:
        (N,2) px of the photo, and (N,) whether they are to be believed; the places to begin with where not.
    """
    pixels, start = image.pixels.astype(np.float32), _to_working(xy, image)
    moved, good = xy.copy(), np.zeros(len(xy), bool)
    for part in _chunks(len(xy)):
        at, good[part] = _laid_over(pixels, blocks[part], start[part], affine[part])
        moved[part] = np.where(good[part, None], _to_full(at, image), xy[part])
    return moved, good


def _laid_over(
    pixels: NDArray[np.float32], blocks: NDArray[np.uint8], start: NDArray[np.float32], affine: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    area = np.abs(_determinant(affine))
    usable = (area > 1 / _AREA) & (area < _AREA)
    identity = np.eye(2, dtype=np.float32)
    affine = np.where(usable[:, None, None], affine, identity)
    window, slopes = _linearised(blocks)
    at = start.copy()
    for _ in range(_STEPS):
        step = (slopes @ (_seen(pixels, at, affine) - window)[..., None])[..., 0]
        # The photo's window is moved by the inverse of what would move the block's.
        turn = identity + step[:, 2:].reshape(-1, 2, 2) / np.float32(_RADIUS)
        usable &= np.abs(_determinant(turn)) > 0.1
        turn[~usable] = identity
        affine = affine @ _inverse(turn)
        at = at - (affine @ step[:, :2, None])[..., 0]
        usable &= np.isfinite(at).all(axis=1) & np.isfinite(affine).all(axis=(1, 2))
        at[~usable], affine[~usable] = start[~usable], identity
    alike = (_seen(pixels, at, affine) * window) @ _WEIGHTS
    near = np.linalg.norm(at - start, axis=1) < _FARTHEST
    return at, usable & (alike > _ALIKE) & near & _inside(at, pixels.shape, _RADIUS)


def _determinant(matrix: NDArray) -> NDArray:
    """(N,) of (N,2,2); for so small ones LAPACK takes ten times as long."""
    return matrix[:, 0, 0] * matrix[:, 1, 1] - matrix[:, 0, 1] * matrix[:, 1, 0]


def _inverse(matrix: NDArray) -> NDArray:
    (a, b), (c, d) = matrix.transpose(1, 2, 0)
    adjugate = np.stack([d, -b, -c, a], axis=1).reshape(-1, 2, 2)
    return adjugate / _determinant(matrix)[:, None, None]


def _seen(pixels: NDArray[np.float32], at: NDArray[np.float32], affine: NDArray[np.float32]) -> NDArray[np.float32]:
    x, y = (at[:, i, None] + (affine[:, i, :1] * _WINDOW[:, 0] + affine[:, i, 1:] * _WINDOW[:, 1]) for i in (0, 1))
    return _even(_sampled(pixels, x, y))


def _linearised(blocks: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The windows (N,W) within blocks, made even, and what gives the step (N,6,W) by which they differ from another:
    two of the place, then four of the affine map's change at ``_RADIUS``."""
    side = 2 * _RADIUS + 3
    grey = blocks.reshape(-1, side, side).astype(np.float32)
    window = np.ascontiguousarray(grey[:, 1:-1, 1:-1]).reshape(len(blocks), -1)
    across = (0.5 * (grey[:, 1:-1, 2:] - grey[:, 1:-1, :-2])).reshape(len(blocks), -1)
    down = (0.5 * (grey[:, 2:, 1:-1] - grey[:, :-2, 1:-1])).reshape(len(blocks), -1)
    x, y = _WINDOW.T / np.float32(_RADIUS)
    slopes = np.stack([across, down, across * x, across * y, down * x, down * y], axis=1)
    slopes /= _spread(window - (window @ _WEIGHTS)[:, None])[:, None, None]
    window = _even(window)
    # What brightness and contrast would do is taken out of the slopes.
    slopes -= (slopes @ _WEIGHTS)[..., None]
    slopes -= (slopes @ (window * _WEIGHTS)[..., None]) * window[:, None]
    weighted = slopes * _WEIGHTS
    normal = weighted @ slopes.transpose(0, 2, 1)
    diagonal = np.arange(6)
    normal[:, diagonal, diagonal] *= np.float32(1.001)
    normal[:, diagonal, diagonal] += np.float32(1e-5)
    return window, np.linalg.inv(normal) @ weighted


def _even(windows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Windows (N,W) with weighted mean 0 and spread 1."""
    centred = windows - (windows @ _WEIGHTS)[:, None]
    return centred / _spread(centred)[:, None]


def _spread(centred: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.sqrt((centred * centred) @ _WEIGHTS) + np.float32(1e-3)


def _sampled(pixels: NDArray, x: NDArray[np.float32], y: NDArray[np.float32]) -> NDArray:
    """(N,W) values of a photo at places (N,W)."""
    return cv2.remap(pixels, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def _inside(at: NDArray[np.float32], shape: tuple[int, ...], margin: int) -> NDArray[np.bool_]:
    return np.asarray(((at >= margin) & (at <= np.array(shape[1::-1]) - 1 - margin)).all(axis=1))


def _to_working(xy: NDArray[np.float32], image: Image) -> NDArray[np.float32]:
    return ((xy + 0.5) / image.scale - 0.5).astype(np.float32)


def _to_full(xy: NDArray[np.float32], image: Image) -> NDArray[np.float32]:
    return ((xy + 0.5) * image.scale - 0.5).astype(np.float32)


def _chunks(count: int) -> list[slice]:
    return [slice(start, start + _CHUNK) for start in range(0, count, _CHUNK)]
