"""What happens to training patches: frames are jittered before cutting, grey values changed after it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Jitter:
    """Geometric disturbance of each view by itself: what a detector gets wrong.

    The defaults are wider than what DoG gets wrong at most keypoints: on made views of validation photos a tenth of the
    keypoints that a match is possible for are turned by 0.2 to 0.35 radians against each other, a sixth are larger by a
    factor of 1.2 to 1.5, and there a network trained with half of these numbers lost most.

    Attributes:
        shift: standard deviation of the centre, in units of sigma.
        scale: standard deviation of the logarithm of the scale.
        angle: standard deviation of the angle, radians.
        shear: standard deviation of the logarithm of the stretch along a random direction.
        turns: quarter turns and flips, the same for both views of a pair.
    """

    shift: float = 0.25
    scale: float = 0.16
    angle: float = 0.2
    shear: float = 0.1
    turns: bool = True


@dataclass(frozen=True)
class Light:
    """Disturbance of the grey values of each view by itself; the shares are probabilities.

    Attributes:
        gamma: standard deviation of the logarithm of the exponent, on half of the patches.
        slope: standard deviation of the logarithm of a linear change of light across the patch, on half of them.
        blur_share, blur: share, and largest standard deviation in patch px.
        jpeg_share, jpeg: share, and range of qualities.
        noise_share, noise: share, and largest standard deviation in units of the patch's contrast.
        clip_share: share of patches with their highlights or shadows cut off.
    """

    gamma: float = 0.5
    slope: float = 0.4
    blur_share: float = 0.33
    blur: float = 2.6
    jpeg_share: float = 0.2
    jpeg: tuple[int, int] = (8, 50)
    noise_share: float = 0.3
    noise: float = 0.3
    clip_share: float = 0.1


def turn_frames(frames: NDArray[np.float32], turns: NDArray[np.integer]) -> NDArray[np.float32]:
    """Frames (N,2,3) turned by ``turns % 4`` quarters, and mirrored where ``turns >= 4``; ``turns`` is (N,) in 0..7."""
    quarter = np.array([[[1, 0], [0, 1]], [[0, -1], [1, 0]], [[-1, 0], [0, -1]], [[0, 1], [-1, 0]]], np.float32)
    mirrored = quarter @ np.array([[-1, 0], [0, 1]], np.float32)
    turned = frames.copy()
    turned[:, :, :2] = frames[:, :, :2] @ np.concatenate([quarter, mirrored])[turns]
    return turned


def jitter_frames(frames: NDArray[np.float32], jitter: Jitter, rng: np.random.Generator) -> NDArray[np.float32]:
    """Frames (N,2,3) disturbed each by itself; turns are left to :func:`turn_frames`."""
    count = len(frames)
    angle, axis = rng.normal(0, jitter.angle, count), rng.uniform(0, math.pi, count)
    stretch, scale = rng.normal(0, jitter.shear, count), rng.normal(0, jitter.scale, count)
    eigen = np.exp(np.stack([scale + stretch, scale - stretch], 1))
    away = _rotations(axis)
    change = _rotations(angle) @ (away * eigen[:, None]) @ away.transpose(0, 2, 1)
    moved = frames.copy()
    moved[:, :, 2] += np.einsum("nij,nj->ni", frames[:, :, :2], rng.normal(0, jitter.shift, (count, 2)))
    moved[:, :, :2] = frames[:, :, :2] @ change
    return moved.astype(np.float32)


def change_patches(patches: NDArray[np.uint8], light: Light, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Patches (N,1,S,S) uint8 seen in another light and through a worse lens, each by itself."""
    count, size = len(patches), patches.shape[-1]
    grey: NDArray[np.float32] = patches[:, 0].astype(np.float32)
    gamma = np.exp(np.where(rng.random(count) < 0.5, rng.normal(0, light.gamma, count), 0)).astype(np.float32)
    grey = np.float32(255) * (grey / np.float32(255)) ** gamma[:, None, None]
    grey *= _slopes(count, size, light.slope, rng)
    _blur(grey, light, rng)
    contrast = grey.std(axis=(1, 2)) + 1
    noise = np.where(rng.random(count) < light.noise_share, rng.uniform(0, light.noise, count), 0) * contrast
    noisy = np.flatnonzero(noise)
    grain = rng.standard_normal((len(noisy), size, size), np.float32)
    grey[noisy] += noise[noisy, None, None].astype(np.float32) * grain
    _clip(grey, light, rng)
    stored = np.clip(grey, 0, 255).astype(np.uint8)
    _compress(stored, light, rng)
    return stored[:, None]


def _slopes(count: int, size: int, deviation: float, rng: np.random.Generator) -> NDArray[np.float32]:
    u = (2 * np.arange(size, dtype=np.float32) + 1 - size) / size
    on = rng.random(count) < 0.5
    gx, gy = (np.where(on, rng.normal(0, deviation, count), 0).astype(np.float32) for _ in range(2))
    return np.exp(gx[:, None] * u)[:, None, :] * np.exp(gy[:, None] * u)[:, :, None]


def _blur(grey: NDArray[np.float32], light: Light, rng: np.random.Generator) -> None:
    # cv2 blurs many patches in one call as the channels of one picture; a handful of strengths a batch is enough.
    chosen = np.flatnonzero(rng.random(len(grey)) < light.blur_share)
    for members in np.array_split(rng.permutation(chosen), 8):
        if len(members):
            channels = np.ascontiguousarray(grey[members].transpose(1, 2, 0))
            blurred = cv2.GaussianBlur(
                channels, (0, 0), rng.uniform(0.3, light.blur), borderType=cv2.BORDER_REFLECT_101
            )
            grey[members] = blurred.reshape(channels.shape).transpose(2, 0, 1)


def _clip(grey: NDArray[np.float32], light: Light, rng: np.random.Generator) -> None:
    chosen = np.flatnonzero(rng.random(len(grey)) < light.clip_share)
    for members, share in ((chosen[::2], 1), (chosen[1::2], -1)):
        if len(members):
            edge = grey[members].mean(axis=(1, 2)) + share * rng.uniform(0.3, 1.5) * grey[members].std(axis=(1, 2))
            bound = edge[:, None, None]
            grey[members] = np.minimum(grey[members], bound) if share > 0 else np.maximum(grey[members], bound)


def _compress(stored: NDArray[np.uint8], light: Light, rng: np.random.Generator) -> None:
    # One sheet of patches a quality, rolled so that the 8-pixel blocks do not always start at the patch's corner.
    chosen = np.flatnonzero(rng.random(len(stored)) < light.jpeg_share)
    for members in np.array_split(rng.permutation(chosen), 8):
        if len(members):
            dy, dx = rng.integers(0, 8, 2)
            sheet = np.roll(stored[members].reshape(-1, stored.shape[-1]), (dy, dx), (0, 1))
            quality = int(rng.integers(light.jpeg[0], light.jpeg[1] + 1))
            code = cv2.imencode(".jpg", sheet, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
            back = np.roll(np.asarray(cv2.imdecode(code, cv2.IMREAD_GRAYSCALE)), (-dy, -dx), (0, 1))
            stored[members] = back.reshape(-1, *stored.shape[1:])


def _rotations(angle: NDArray[np.float64]) -> NDArray[np.float64]:
    cos, sin = np.cos(angle), np.sin(angle)
    return np.stack([np.stack([cos, -sin], 1), np.stack([sin, cos], 1)], 1)
