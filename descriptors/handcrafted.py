"""The knowledge-driven family: low-level feature -> pooling -> normalisation, each one replaceable.

A handcrafted descriptor looks at each pixel (here: gradient strength, softly sorted by direction), adds the
pixels up in cells laid over the patch, and normalises the sums. Every stage is linear where it can be, so that a
batch of patches goes through a few matrix products. A new member of the family is a new row of ``_FAMILY``:
another cell layout, number of directions or normalisation.

Sources: Lowe, IJCV 2004 (SIFT, section 6); Arandjelovic and Zisserman, CVPR 2012 (RootSIFT); Mikolajczyk and Schmid,
PAMI 2005 (GLOH); Tola, Lepetit and Fua, PAMI 2010 (DAISY). The layout of the vector is cell by cell, the directions of
a cell together, counter-clockwise on the screen; SIFT's cells go row by row as in OpenCV's SIFT, so the two can be
matched against each other.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from descriptors.contract import DescriptorError, DescriptorSpec, check_patches

# Patches per round: the round's arrays stay in the processor's cache.
_CHUNK = 64
# Changes whenever the code below gives other numbers for the same patch.
_VERSION = 2


def sift_grid(size: int, magnification: float) -> NDArray[np.float32]:
    """Pooling matrix (S*S, 16) of SIFT: 4 x 4 cells of 3 sigma, bilinear between cells, under a Gaussian of 2 cells.

    Cells that reach over the border of the patch (magnification below 7.5) get what lies inside.
    """
    cell = 3.0
    places = magnification * ((2.0 * np.arange(size) + 1.0) / size - 1.0) / cell
    centres = np.arange(4) - 1.5
    window = np.exp(-(places**2) / (2.0 * 2.0**2))
    share = np.maximum(0.0, 1.0 - np.abs(places[:, None] - centres)) * window[:, None]
    return np.einsum("ya,xb->yxab", share, share).reshape(size * size, 16).astype(np.float32)


def log_polar(size: int, magnification: float) -> NDArray[np.float32]:
    """Pooling matrix (S*S, 17) of GLOH: a middle cell, then two rings of 8 sectors, bilinear in radius and angle.

    The borders of the rings are at 6, 11 and 15 fifteenths of the outer radius as in the paper, whose cells are hard;
    here each pixel is shared between the middles of neighbouring cells, and the outer ring fades out 2.5 fifteenths
    beyond its border, which is where the patch ends.
    """
    radius, angle = _polar(size, 17.5)
    place = np.interp(radius, [3.0, 8.5, 13.0, 17.5], [0.0, 1.0, 2.0, 3.0])
    rings = np.maximum(0.0, 1.0 - np.abs(place[:, None] - np.arange(3)))
    sectors = _hats(angle * 8 / math.tau, 8)
    cells = [rings[:, :1], rings[:, 1:2] * sectors, rings[:, 2:] * sectors]
    return np.concatenate(cells, axis=1).astype(np.float32)


def circles(size: int, magnification: float) -> NDArray[np.float32]:
    """Pooling matrix (S*S, 25) of DAISY: Gaussians in the middle and at 8 places of each of three rings.

    The radii are a, 2a and 3a, the standard deviations a/2, a/2 (first ring), a and 3a/2, as in the paper; a patch
    reaches to 4a, so that the outer Gaussians are cut off at two thirds of a standard deviation towards its border and
    at two in the corners.
    """
    radius, angle = _polar(size, 4.0)
    x, y = radius * np.cos(angle), radius * np.sin(angle)
    places = [(0.0, 0.0, 0.5)]
    for ring in (1, 2, 3):
        turns = np.arange(8) * math.tau / 8
        places += [(ring * math.cos(turn), ring * math.sin(turn), ring / 2) for turn in turns]
    cells = [np.exp(-((x - cx) ** 2 + (y - cy) ** 2) / (2 * sigma**2)) / sigma**2 for cx, cy, sigma in places]
    return np.stack(cells, axis=1).astype(np.float32)


def _polar(size: int, half: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Radius and counter-clockwise angle (S*S,) of each pixel of a patch whose half side is ``half``."""
    places = half * ((2.0 * np.arange(size) + 1.0) / size - 1.0)
    down, right = np.meshgrid(places, places, indexing="ij")
    return np.hypot(right, down).ravel(), np.arctan2(-down, right).ravel()


def _hats(place: NDArray[np.float64], count: int) -> NDArray[np.float64]:
    """Shares (N, count) of the two nearest of ``count`` places on a circle, ``place`` (N,) in their units."""
    apart = np.abs((place[:, None] - np.arange(count) + count / 2) % count - count / 2)
    return np.maximum(0.0, 1.0 - apart)


def gradients(patches: NDArray[np.float32], sigma: float) -> tuple[NDArray, NDArray]:
    """Gradients (N,S,S) float32 of patches (N,S,S) to the right and down: central differences after a Gaussian blur.

    Outside the patch its edge pixels go on.

    Args:
        patches: (N,S,S) float32.
        sigma: standard deviation of the Gaussian in pixels.
    """
    blur, slope = _filters(patches.shape[1], sigma)
    # One small product per patch: bitwise the same in any batch, and too small for the linear algebra library to
    # start threads of its own, which get in each other's way when several photos are in work at once.
    return blur @ patches @ slope.T, slope @ patches @ blur.T


@lru_cache(maxsize=64)
def _filters(size: int, sigma: float) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Matrices (S,S) that blur a column of S pixels, and that blur it and take its central difference."""
    radius = math.ceil(4.0 * sigma) + 1
    offsets = np.arange(-radius, radius + 1)
    kernel = np.exp(-(offsets**2) / (2.0 * sigma**2))
    kernel /= kernel.sum()
    matrices = []
    for weights in (kernel, np.convolve(kernel, [-1.0, 0.0, 1.0], "same")):
        matrix = np.zeros((size, size))
        rows, columns = np.meshgrid(np.arange(size), offsets, indexing="ij")
        np.add.at(matrix, (rows, np.clip(rows + columns, 0, size - 1)), np.broadcast_to(weights, rows.shape))
        matrices.append(matrix.astype(np.float32))
    return matrices[0], matrices[1]


def clipped_l2(sums: NDArray[np.float32]) -> NDArray[np.float32]:
    """SIFT's normalisation of (N,D): unit length, no element over 0.2, unit length again."""
    return _unit(np.minimum(_unit(sums), np.float32(0.2)))


def root(sums: NDArray[np.float32]) -> NDArray[np.float32]:
    """RootSIFT's normalisation of (N,D): SIFT's, then the square root of each element's share of the sum."""
    sift = clipped_l2(sums)
    return _unit(np.sqrt(sift / sift.sum(axis=1, keepdims=True)))


def _unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Rows of unit length; a row of zeros (a patch without any gradient) becomes the vector of equal elements."""
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    flat = length[:, 0] < 1e-3
    if flat.any():
        vectors = np.where(flat[:, None], np.float32(1.0), vectors)
        length = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / length


class Recipe(NamedTuple):
    """One point of the family.

    Attributes:
        pooling: (patch size, magnification) to the pooling matrix (S*S, cells).
        normalise: sums (N, cells * directions) of gradient strength per cell and direction to unit vectors.
        blur: standard deviation in units of sigma of the blur before the gradients are taken.
        directions: number of bins that the gradients' directions are shared between.
    """

    pooling: Callable[[int, float], NDArray[np.float32]]
    normalise: Callable[[NDArray[np.float32]], NDArray[np.float32]]
    blur: float
    directions: int = 8


# SIFT takes its gradients from the photo blurred by the keypoint's own sigma. A part of that blur is in the patch
# already, the camera's and the pyramid's; of the rest, this agrees best with OpenCV's SIFT on the validation scenes
# (mean cosine 0.995 over 29,904 keypoints; 0.994 at 0.85, 0.995 at 0.95).
_BLUR = 0.9

_FAMILY: dict[str, Recipe] = {
    "sift": Recipe(sift_grid, clipped_l2, _BLUR),
    "rootsift": Recipe(sift_grid, root, _BLUR),
    # As its paper has it, but without the reduction to 128 numbers, which would have to be learnt.
    "gloh": Recipe(log_polar, clipped_l2, _BLUR, directions=16),
    # 8 directions are as good (matching on the validation scenes 0.489 with 8 and with 16) and take half the time.
    "rootgloh": Recipe(log_polar, root, _BLUR),
    "rootdaisy": Recipe(circles, root, _BLUR),
}


@dataclass(frozen=True)
class Handcrafted:
    """A descriptor of the family; keeps the contract of :class:`descriptors.contract.Descriptor`."""

    spec: DescriptorSpec
    recipe: Recipe

    @property
    def fingerprint(self) -> str:
        """Digest of name, sampling and code version."""
        parts = (self.spec.name, self.spec.patch_size, self.spec.magnification, self.recipe.blur, _VERSION)
        return hashlib.sha256(repr(parts).encode()).hexdigest()

    def describe(self, patches: NDArray) -> NDArray[np.float32]:
        """Describe patches (N,1,S,S) uint8 or float32 in 0..255 as (N,D) float32 of unit length.

        Raises:
            DescriptorError: patches of another shape or type.
        """
        check_patches(patches, self.spec)
        described = np.empty((len(patches), self.spec.dim), np.float32)
        for start in range(0, len(patches), _CHUNK):
            chunk = patches[start : start + _CHUNK, 0].astype(np.float32)
            described[start : start + _CHUNK] = self.recipe.normalise(self._pool(*self._gradient(chunk)))
        return described

    def _gradient(self, patches: NDArray[np.float32]) -> tuple[NDArray, NDArray]:
        """Strength and direction (n, S*S) of the gradient of patches (n,S,S); directions in bins, 0 to their number."""
        n = len(patches)
        sigma = self.recipe.blur * self.spec.patch_size / (2.0 * self.spec.magnification)
        right, down = gradients(patches, sigma)
        strength, degrees = cv2.cartToPolar(right.reshape(n, -1), -down.reshape(n, -1), angleInDegrees=True)
        degrees *= np.float32(self.recipe.directions / 360.0)
        return strength, degrees

    def _pool(self, strength: NDArray, direction: NDArray) -> NDArray[np.float32]:
        """Sums (n, cells * directions) over cells of the strength, shared between the two nearest directions.

        The share of direction o is a hat function over [o - 1, o + 1]: the ramp clip(direction - o + 1, 0, 1) less
        the next one.
        """
        (n, points), directions = strength.shape, self.recipe.directions
        hats = np.empty((n, directions, points), np.float32)
        ramp = first = np.clip(direction, 0.0, 1.0)
        for o in range(1, directions):
            following = np.clip(direction - np.float32(o), 0.0, 1.0)
            np.subtract(ramp, following, out=hats[:, o])
            ramp = following
        np.subtract(ramp, first - np.float32(1.0), out=hats[:, 0])
        hats *= strength[:, None, :]
        return (hats @ self._pooling).transpose(0, 2, 1).reshape(n, -1)

    @cached_property
    def _pooling(self) -> NDArray[np.float32]:
        return self.recipe.pooling(self.spec.patch_size, self.spec.magnification)


def load(spec: DescriptorSpec) -> Handcrafted:
    """The handcrafted descriptor that ``spec`` names.

    Raises:
        DescriptorError: the family has no member of that name.
    """
    if spec.name not in _FAMILY:
        raise DescriptorError(f"There is no handcrafted descriptor {spec.name!r}. Known are: {', '.join(_FAMILY)}.")
    return Handcrafted(spec, _FAMILY[spec.name])
