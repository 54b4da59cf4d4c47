"""Tracks: photos and the places seen in several of them, the one form in which training reads its data."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

# cv2.remap counts the rows of its maps in 16 bits.
_REMAP_ROWS = 32_766
# As in descriptors.frames: what repeated pyrDown leaves, in the level's pixels.
_HALF_OCTAVE_BLUR = math.sqrt(1.0 / 3.0)
_OCTAVES = 6
_SMALLEST = 16
"""Shorter side of the last octave at least, px."""


@dataclass(frozen=True)
class Tracks:
    """Places (points) and their views (observations) in a set of grey photos.

    Observations are sorted by point: those of point p are ``start[p] : start[p + 1]``, two at least.

    Attributes:
        images: I grey photos (H,W) uint8.
        obs_image: (O,) index of the photo of each observation.
        frames: (O,2,3) float32 similarity frames, see DESIGN: pixels, centre of the top-left pixel at (0, 0).
        rays: (O,3) float32 unit vectors from the point to the camera; their angle says how far apart two views are.
        start: (P+1,) first observation of each point.
        place: (P,3) position of the point, in the units of ``radius``; places of different groups do not compare.
        radius: (P,) the keypoint's scale at ``place``; two points nearer than this are one thing to a matcher.
        group: (P,) scene or photo that the point belongs to.
    """

    images: tuple[NDArray[np.uint8], ...]
    obs_image: NDArray[np.int32]
    frames: NDArray[np.float32]
    rays: NDArray[np.float32]
    start: NDArray[np.int64]
    place: NDArray[np.float64]
    radius: NDArray[np.float64]
    group: NDArray[np.int32]

    def __len__(self) -> int:
        """Number of points."""
        return len(self.radius)


def concatenate(parts: Sequence[Tracks]) -> Tracks:
    """Join sets of tracks into one; groups and photos are renumbered so that they stay apart.

    Raises:
        ValueError: nothing was given to join.
    """
    if not parts:
        raise ValueError("there are no tracks to join: give one scene or set of photos at least")
    first_image = np.cumsum([0, *(len(p.images) for p in parts)])
    first_obs = np.cumsum([0, *(len(p.obs_image) for p in parts)])
    first_group = np.cumsum([0, *(int(p.group.max(initial=-1)) + 1 for p in parts)])
    return Tracks(
        images=tuple(image for p in parts for image in p.images),
        obs_image=np.concatenate([p.obs_image + n for p, n in zip(parts, first_image, strict=False)]).astype(np.int32),
        frames=np.concatenate([p.frames for p in parts]),
        rays=np.concatenate([p.rays for p in parts]),
        start=np.concatenate([[0], *(p.start[1:] + n for p, n in zip(parts, first_obs, strict=False))]).astype(
            np.int64
        ),
        place=np.concatenate([p.place for p in parts]),
        radius=np.concatenate([p.radius for p in parts]),
        group=np.concatenate([p.group + n for p, n in zip(parts, first_group, strict=False)]).astype(np.int32),
    )


def of_images(tracks: Tracks, chosen: NDArray[np.bool_]) -> Tracks:
    """The tracks within some of the photos, ``chosen`` (I,); points that fewer than two of them see are left out."""
    point = np.repeat(np.arange(len(tracks)), np.diff(tracks.start))
    keep = chosen[tracks.obs_image]
    keep &= np.bincount(point[keep], minlength=len(tracks))[point] >= 2
    points, counts = np.unique(point[keep], return_counts=True)
    return Tracks(
        images=tuple(image for image, wanted in zip(tracks.images, chosen, strict=True) if wanted),
        obs_image=(np.cumsum(chosen) - 1)[tracks.obs_image[keep]].astype(np.int32),
        frames=tracks.frames[keep],
        rays=tracks.rays[keep],
        start=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        place=tracks.place[points],
        radius=tracks.radius[points],
        group=tracks.group[points],
    )


class PatchCutter:
    """Cuts patches from many photos in one call; keeps the photos' pyramids, which one-photo cutting would rebuild.

    Same geometry, blur levels and border rule as :func:`descriptors.frames.extract_patches`; a test holds
    the two together.
    """

    def __init__(self, images: Sequence[NDArray[np.uint8]]) -> None:
        """Build the pyramids of grey photos (H,W) uint8: ``pyramids``, two levels an octave each."""
        with ThreadPoolExecutor(os.cpu_count()) as pool:  # OpenCV lets go of Python's lock
            self.pyramids = list(pool.map(_pyramid, images))

    def cut(
        self, image: NDArray[np.integer], frames: NDArray[np.float32], *, patch_size: int, magnification: float
    ) -> NDArray[np.uint8]:
        """Patches (N,1,S,S) uint8 at frames (N,2,3) of the photos whose indices (N,) are given."""
        size, count = patch_size, len(frames)
        half = magnification * (2 * np.arange(size, dtype=np.float32) + 1 - size) / size
        longer = np.linalg.norm(frames[:, :, :2].astype(np.float64), ord=2, axis=(1, 2))
        depth = np.array([len(p) - 1 for p in self.pyramids])[image]
        level = np.rint(2 * np.log2(np.maximum(longer * 2 * magnification / size, 1e-6))).astype(np.int64)
        level = np.clip(level, 0, depth)
        scaled = frames * np.exp2(-(level // 2)).astype(np.float32)[:, None, None]
        across = scaled[:, :, 0, None] * half
        down = scaled[:, :, 1, None] * half + scaled[:, :, 2, None]
        maps = across[:, :, None, :] + down[:, :, :, None]
        patches = np.empty((count, size, size), np.uint8)
        order = np.lexsort((level, image))
        key = image[order].astype(np.int64) * 64 + level[order]
        limit = _REMAP_ROWS // size
        for rows in np.split(order, np.flatnonzero(np.diff(key)) + 1) if count else []:
            source = self.pyramids[image[rows[0]]][level[rows[0]]]
            for part in np.split(rows, range(limit, len(rows), limit)):
                map_x, map_y = maps[part, 0].reshape(-1, size), maps[part, 1].reshape(-1, size)
                cut = cv2.remap(source, map_x, map_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
                patches[part] = cut.reshape(-1, size, size)
        return patches[:, None]


def _pyramid(image: NDArray[np.uint8]) -> list[NDArray[np.uint8]]:
    """Two levels an octave. pyrDown keeps every second pixel: x on an octave is x / 2^octave, without a shift."""
    levels: list[NDArray[np.uint8]] = []
    for octave in range(_OCTAVES):
        if octave and min(image.shape) < 2 * _SMALLEST:
            break
        image = cv2.pyrDown(image, borderType=cv2.BORDER_REPLICATE) if octave else image  # type: ignore[assignment]
        blurred = cv2.GaussianBlur(image, (0, 0), _HALF_OCTAVE_BLUR, borderType=cv2.BORDER_REPLICATE)
        levels += [image, blurred]  # type: ignore[list-item]
    return levels
