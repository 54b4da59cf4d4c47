"""Keypoint frames and the patches they cut: the one place of magnification, rotation, anti-aliasing and border rule.

A frame (2,3) is ``[A | t]``: ``t`` is the keypoint's centre in pixels (x right, y down, centre of the
top-left pixel at (0, 0)), and ``A`` maps the unit circle to the circle or ellipse of the keypoint's
scale sigma. For a similarity frame ``A = sigma * [[cos a, -sin a], [sin a, cos a]]``; a positive angle
turns clockwise on the screen, as in OpenCV.

A patch of S x S pixels covers u in [-m, m]^2 of the frame's own coordinates, m being the magnification:
patch pixel (i, j) (row, column) is the photo at ``A u + t`` with ``u = m * ((2j + 1)/S - 1, (2i + 1)/S - 1)``.
"""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from descriptors.contract import DescriptorError

# Blur levels per octave. With two, a patch is sampled at 0.84 to 1.19 times the step that its level is blurred
# for: neither aliasing nor visible blur.
_LEVELS_PER_OCTAVE = 2
# cv2.pyrDown blurs with variance 1 and halves; repeated, that converges to this blur, in pixels of each level, which
# is also about what a lens and a sensor leave in a photo. A level between two octaves is blurred on to sqrt(2) times
# as much.
_LEVEL_SIGMA = math.sqrt(1.0 / 3.0)
# cv2.remap addresses rows and columns of maps and pictures with 16 bits.
_REMAP_LIMIT = 32_766
# Patch pixels per cv2.remap call: the maps and the patches of one call stay in the cache, and the product that makes
# the maps is too small for the linear algebra library to start threads for it.
_CHUNK_PIXELS = 32_768


def frames_from_keypoints(xy: ArrayLike, sigma: ArrayLike, angle: ArrayLike = 0.0) -> NDArray[np.float32]:
    """Similarity frames of keypoints.

    Args:
        xy: (N,2) centres in pixels.
        sigma: (N,) or scalar, scale in pixels (standard deviation of the blur, half of OpenCV's SIFT size).
        angle: (N,) or scalar, radians, clockwise on the screen.

    Returns:
        (N,2,3) float32.
    """
    centre = np.asarray(xy, np.float32).reshape(-1, 2)
    sigma = np.broadcast_to(np.asarray(sigma, np.float64), len(centre))
    angle = np.broadcast_to(np.asarray(angle, np.float64), len(centre))
    cos, sin = sigma * np.cos(angle), sigma * np.sin(angle)
    frames = np.empty((len(centre), 2, 3), np.float32)
    frames[:, 0, 0], frames[:, 0, 1] = cos, -sin
    frames[:, 1, 0], frames[:, 1, 1] = sin, cos
    frames[:, :, 2] = centre
    return frames


def centres(frames: NDArray) -> NDArray:
    """Centres (N,2) of frames (N,2,3), in pixels."""
    return frames[:, :, 2]


def scales(frames: NDArray) -> NDArray:
    """Scales (N,) of frames (N,2,3) in pixels: sigma, or for an ellipse the radius of the circle of equal area."""
    return np.sqrt(np.abs(frames[:, 0, 0] * frames[:, 1, 1] - frames[:, 0, 1] * frames[:, 1, 0]))


def angles(frames: NDArray) -> NDArray:
    """Angles (N,) of frames (N,2,3) in radians, in (-pi, pi]: of the rotation nearest to A (its polar factor)."""
    return np.arctan2(frames[:, 1, 0] - frames[:, 0, 1], frames[:, 0, 0] + frames[:, 1, 1])


def scale_frames(frames: NDArray, factor: float | tuple[float, float]) -> NDArray[np.float32]:
    """Frames (N,2,3) of a resized photo in pixels of the other resolution, as (N,2,3) float32.

    Args:
        frames: frames in pixels of the photo they were found in.
        factor: size of the wanted resolution over size of the given one: one number, or (width, height)
            where rounding to whole pixels made the two differ.

    A pixel is a square around its centre, so ``x_to = (x_from + 0.5) * factor - 0.5``.
    """
    ratio = np.broadcast_to(np.asarray(factor, np.float64), 2)
    scaled = frames * ratio[:, None]
    scaled[:, :, 2] += 0.5 * ratio - 0.5
    return scaled.astype(np.float32)


def extract_patches(
    image: NDArray[np.uint8], frames: NDArray, *, patch_size: int, magnification: float
) -> NDArray[np.uint8]:
    """Cut one patch per frame out of a photo.

    Each patch is sampled bilinearly from the level of a blur pyramid that suits its sampling step (for an
    ellipse, the step along its longer axis), so that large keypoints do not alias. Outside, the photo goes on
    with its nearest edge pixel; frames may lie partly or wholly outside. Affine frames use the whole of A.

    Args:
        image: (H,W) uint8.
        frames: (N,2,3), see the module docstring.
        patch_size: side S of the patches in pixels.
        magnification: half side of a patch in units of the frame.

    Returns:
        (N,1,S,S) uint8; a patch depends on its own frame only.

    Raises:
        DescriptorError: image or frames of another shape or type, frames that are not finite, or a photo
            whose longer side is over 32,766 pixels.
    """
    image, frames = _check(image, frames)
    patches = np.empty((len(frames), patch_size * patch_size), np.uint8)
    if len(frames):
        _Sampler(image, patch_size, magnification).fill(patches, frames)
    return patches.reshape(-1, 1, patch_size, patch_size)


def _check(image: NDArray, frames: NDArray) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    if not isinstance(image, np.ndarray) or image.ndim != 2 or image.dtype != np.uint8 or image.size == 0:
        given = f"{getattr(image, 'shape', type(image).__name__)} {getattr(image, 'dtype', '')}".strip()
        raise DescriptorError(f"patches are cut from a grey photo (H, W) of uint8; given was {given}.")
    if max(image.shape) > _REMAP_LIMIT:
        raise DescriptorError(
            f"the photo is {image.shape[1]} x {image.shape[0]} pixels; at most {_REMAP_LIMIT} a side can be sampled. "
            "Reduce it first and scale the frames with scale_frames."
        )
    frames = np.asarray(frames, np.float32)
    if frames.ndim != 3 or frames.shape[1:] != (2, 3):
        raise DescriptorError(f"frames have the shape (N, 2, 3); given was {frames.shape}.")
    bad = ~np.isfinite(frames).all(axis=(1, 2))
    if bad.any():
        raise DescriptorError(
            f"{bad.sum()} of {len(frames)} frames are not finite, the first is number {bad.argmax()}."
        )
    return image, frames


class _Sampler:
    """One photo's blur pyramid, built as far as the frames need it, and the sampling grid of a patch."""

    def __init__(self, image: NDArray[np.uint8], patch_size: int, magnification: float) -> None:
        self.octaves: list[NDArray] = [image]
        self.max_level = _LEVELS_PER_OCTAVE * int(math.log2(max(image.shape)))
        self.step = 2.0 * magnification / patch_size
        u = magnification * ((2.0 * np.arange(patch_size) + 1.0) / patch_size - 1.0)
        ux, uy = np.meshgrid(u, u)
        self.grid = np.stack([ux.ravel(), uy.ravel(), np.ones(ux.size)]).astype(np.float32)

    def fill(self, patches: NDArray[np.uint8], frames: NDArray[np.float32]) -> None:
        """Write the patch of each frame (N,2,3) into its row of patches (N,S*S)."""
        levels = self._levels(frames)
        order = np.argsort(levels, kind="stable")
        firsts = np.flatnonzero(np.diff(levels[order], prepend=-1))
        chunk_size = max(1, _CHUNK_PIXELS // self.grid.shape[1])
        for members in np.split(order, firsts[1:]):
            octave = int(levels[members[0]]) // _LEVELS_PER_OCTAVE
            picture = self._picture(int(levels[members[0]]))
            for start in range(0, len(members), chunk_size):
                chunk = members[start : start + chunk_size]
                patches[chunk] = self._sample(picture, frames[chunk] * np.float32(0.5**octave))

    def _levels(self, frames: NDArray[np.float32]) -> NDArray[np.intp]:
        """Pyramid level (N,) of each frame: half octaves of its sampling step along its longer axis."""
        a, b, c, d = (frames[:, 0, 0], frames[:, 0, 1], frames[:, 1, 0], frames[:, 1, 1])
        longer = 0.5 * (np.hypot(a + d, c - b) + np.hypot(a - d, c + b))  # the larger singular value
        level = np.rint(_LEVELS_PER_OCTAVE * np.log2(np.maximum(longer * self.step, 1e-6)))
        return np.clip(level, 0, self.max_level).astype(np.intp)

    def _picture(self, level: int) -> NDArray:
        """The photo blurred for a sampling step of 2^(level/2); x_picture = x / 2^octave."""
        octave, between = divmod(level, _LEVELS_PER_OCTAVE)
        while len(self.octaves) <= octave:
            self.octaves.append(cv2.pyrDown(self.octaves[-1], borderType=cv2.BORDER_REPLICATE))
        picture = self.octaves[octave]
        if not between:
            return picture
        sigma = _LEVEL_SIGMA * math.sqrt(4.0 ** (between / _LEVELS_PER_OCTAVE) - 1.0)
        return cv2.GaussianBlur(picture, (0, 0), sigma, borderType=cv2.BORDER_REPLICATE)

    def _sample(self, picture: NDArray, frames: NDArray[np.float32]) -> NDArray:
        """Patches (n,S*S) of frames (n,2,3) in pixels of the picture, many a cv2.remap call: one patch per map row."""
        n, points = len(frames), self.grid.shape[1]
        xy = frames.reshape(-1, 3) @ self.grid
        shape = (n, points) if points <= _REMAP_LIMIT else (-1, math.isqrt(points))
        map_x, map_y = (np.ascontiguousarray(xy[axis::2]).reshape(shape) for axis in (0, 1))
        sampled = cv2.remap(picture, map_x, map_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        return sampled.reshape(n, points)
