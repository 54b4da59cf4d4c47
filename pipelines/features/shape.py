"""Orientation and affine shape of keypoint frames, for detectors that give none. Whole batches at a time.

Sources: Lowe, IJCV 2004, section 5 (dominant orientation); Baumberg, CVPR 2000, and Mikolajczyk and Schmid,
IJCV 2004 (affine adaptation by the second-moment matrix).
"""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from descriptors.frames import extract_patches
from descriptors.handcrafted import gradients

# Frames per round: the gradients of one round stay in the processor's cache.
_CHUNK = 128
_BINS = 36
# Orientation is taken under a Gaussian of 1.5 sigma, cut off at three times that, from gradients at scale sigma.
_ANGLE_REACH = 4.5
_ANGLE_SIZE = 24
# Shape is taken under a Gaussian of 1.5 sigma, cut off at twice that, from gradients at 0.7 sigma.
_SHAPE_REACH = 3.0
_SHAPE_SIZE = 20
_SHAPE_GRADIENT = 0.7
_ROUNDS = 10
# The shape stands when its patch's second moments are this round (smaller over larger axis).
_ROUND = 0.9
# Blobs longer than this are edges.
_LONGEST = 5.0


def orient(image: NDArray[np.uint8], frames: NDArray[np.float32]) -> NDArray[np.float32]:
    """Frames (N,2,3) turned so that their x axis points along the dominant gradient of their neighbourhood.

    One orientation per frame: the highest peak of SIFT's histogram of 36 bins, refined by a parabola.
    """
    return turn(frames, _dominant_angles(image, frames)) if len(frames) else frames


def turn(frames: NDArray, angle: NDArray) -> NDArray:
    """Frames (N,2,3) turned within themselves by angles (N,) in radians: A becomes A R(angle)."""
    cos, sin = np.cos(angle), np.sin(angle)
    rotation = np.array([[cos, -sin], [sin, cos]]).transpose(2, 0, 1)
    turned = frames.copy()
    turned[:, :, :2] = frames[:, :, :2] @ rotation
    return turned


def _dominant_angles(image: NDArray[np.uint8], frames: NDArray[np.float32]) -> NDArray[np.float64]:
    patches = extract_patches(image, frames, patch_size=_ANGLE_SIZE, magnification=_ANGLE_REACH)[:, 0]
    pixels_per_sigma = _ANGLE_SIZE / (2.0 * _ANGLE_REACH)
    window = _window(_ANGLE_SIZE, 1.5 * pixels_per_sigma)
    histogram = np.empty((len(frames), _BINS))
    for start in range(0, len(frames), _CHUNK):
        right, down = gradients(patches[start : start + _CHUNK].astype(np.float32), pixels_per_sigma)
        strength, degrees = cv2.cartToPolar(
            right.reshape(len(right), -1), down.reshape(len(right), -1), None, None, True
        )
        strength *= window.ravel()
        bins = (degrees * (_BINS / 360.0) + 0.5).astype(np.int64) % _BINS
        bins += np.arange(len(right))[:, None] * _BINS
        sums = np.bincount(bins.ravel(), strength.ravel(), len(right) * _BINS)
        histogram[start : start + _CHUNK] = sums.reshape(-1, _BINS)
    smooth = 6.0 * histogram
    for shift, weight in ((1, 4.0), (2, 1.0)):
        smooth += weight * (np.roll(histogram, shift, axis=1) + np.roll(histogram, -shift, axis=1))
    rows, top = np.arange(len(frames)), smooth.argmax(axis=1)
    before, peak, after = (smooth[rows, (top + d) % _BINS] for d in (-1, 0, 1))
    bend = before - 2.0 * peak + after
    offset = np.where(bend < 0, 0.5 * (before - after) / np.where(bend < 0, bend, 1.0), 0.0)
    return (top + offset) * (math.tau / _BINS)


def adapt(image: NDArray[np.uint8], frames: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Affine shape of blobs: each frame becomes the ellipse in which its gradients have no preferred direction.

    Args:
        image: (H,W) uint8.
        frames: (N,2,3), usually circles; their area is kept.

    Returns:
        The adapted frames (N,2,3), and (N,) bool: whether the shape settled, at most 5 times as long as wide.
        The frames' y axis points down the photo (A[0,1] = 0), so that an upright patch stays upright.
    """
    adapted = frames.astype(np.float64)
    active = np.arange(len(frames))
    settled = np.zeros(len(frames), bool)
    for _ in range(_ROUNDS):
        if not len(active):
            break
        moments = _second_moments(image, adapted[active].astype(np.float32))
        values, vectors = np.linalg.eigh(moments)
        low, high = values[:, 0], values[:, 1]
        textured = low > 1e-3 * high
        round_ = textured & (low > _ROUND**2 * high)
        settled[active[round_]] = True
        change = textured & ~round_
        active, values, vectors = active[change], values[change], vectors[change]
        # Of det 1: the square root of the inverse of the moments, over its own area.
        root = (values / np.sqrt(values[:, :1] * values[:, 1:])) ** -0.5
        adapted[active, :, :2] @= (vectors * root[:, None, :]) @ vectors.transpose(0, 2, 1)
        shape = np.linalg.svd(adapted[active, :, :2], compute_uv=False)
        active = active[shape[:, 0] < _LONGEST * shape[:, 1]]
    return _upright(adapted).astype(np.float32), settled


def _second_moments(image: NDArray[np.uint8], frames: NDArray[np.float32]) -> NDArray[np.float64]:
    """Mean outer products (N,2,2) of the gradient, in the frames' own coordinates."""
    patches = extract_patches(image, frames, patch_size=_SHAPE_SIZE, magnification=_SHAPE_REACH)[:, 0]
    pixels_per_sigma = _SHAPE_SIZE / (2.0 * _SHAPE_REACH)
    window = _window(_SHAPE_SIZE, 1.5 * pixels_per_sigma).ravel()
    moments = np.empty((len(frames), 2, 2))
    for start in range(0, len(frames), _CHUNK):
        chunk = patches[start : start + _CHUNK].astype(np.float32)
        right, down = (g.reshape(len(chunk), -1) for g in gradients(chunk, _SHAPE_GRADIENT * pixels_per_sigma))
        own = moments[start : start + _CHUNK]
        own[:, 0, 0], own[:, 1, 1] = (right * right) @ window, (down * down) @ window
        own[:, 0, 1] = own[:, 1, 0] = (right * down) @ window
    return moments


def _upright(frames: NDArray[np.float64]) -> NDArray[np.float64]:
    """Frames (N,2,3) turned within themselves until A[0,1] = 0: the same ellipses, y axis down the photo."""
    return turn(frames, np.arctan2(frames[:, 0, 1], frames[:, 0, 0]))


def _window(size: int, sigma: float) -> NDArray[np.float32]:
    """Gaussian (S,S) around the middle of a patch."""
    falloff = np.exp(-((np.arange(size) - (size - 1) / 2) ** 2) / (2.0 * sigma**2))
    return np.outer(falloff, falloff).astype(np.float32)
