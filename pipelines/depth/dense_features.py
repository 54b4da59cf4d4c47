"""A descriptor of the zoo for every pixel, by name: networks fully convolutionally, others on a grid of patches."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import descriptors
from descriptors import registry
from descriptors.contract import Descriptor, DescriptorSpec
from descriptors.dense import FORMS, DenseNetwork
from descriptors.headers import read_header
from descriptors.runtime import WEIGHTS
from pipelines.core.errors import ConfigError
from pipelines.depth.cost import DenseDescriber

_GRID = 2
"""Pixels between the patches of a descriptor that has no convolutional form; vectors between them are interpolated."""
_REACH = 8.0
"""Half side of such a patch in pixels of the picture: 17 px, as much as the zoo's networks see when zoomed twofold."""


class GridDescriber:
    """Any descriptor, one patch after the other at every second pixel, interpolated between.

    Bits become numbers ±1 / √D, so that a dot product of 1 - 2 h / D tells the Hamming distance h.

    Attributes:
        name: of the descriptor.
    """

    def __init__(self, descriptor: Descriptor) -> None:
        self.name = descriptor.spec.name
        self._descriptor = descriptor

    @property
    def fingerprint(self) -> str:
        """That of the descriptor, and of the grid."""
        return f"{self._descriptor.fingerprint}-{_GRID}-{_REACH:g}"

    def describe(self, gray: NDArray[np.uint8]) -> NDArray[np.float32]:
        """(H,W,C) float32 vectors of unit length of a picture (H,W) uint8."""
        import cv2

        height, width = gray.shape
        columns = np.arange(0, width + _GRID - 1, _GRID)
        rows = np.arange(0, height + _GRID - 1, _GRID)
        grid = np.stack([self._line(gray, float(y), columns) for y in rows])
        at_x, at_y = np.meshgrid(
            np.arange(width, dtype=np.float32) / _GRID, np.arange(height, dtype=np.float32) / _GRID
        )
        dense = np.empty((height, width, grid.shape[2]), np.float32)
        for first in range(0, grid.shape[2], 4):  # OpenCV maps at most four channels
            part = np.ascontiguousarray(grid[:, :, first : first + 4])
            mapped = np.asarray(cv2.remap(part, at_x, at_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE))
            dense[:, :, first : first + 4] = mapped.reshape(height, width, -1)
        return dense / np.maximum(np.linalg.norm(dense, axis=2, keepdims=True), 1e-6)

    def _line(self, gray: NDArray[np.uint8], y: float, columns: NDArray[np.int64]) -> NDArray[np.float32]:
        from descriptors.frames import extract_patches, frames_from_keypoints

        spec = self._descriptor.spec
        places = np.stack([columns.astype(np.float64), np.full(len(columns), y)], axis=1)
        frames = frames_from_keypoints(places, sigma=_REACH / spec.magnification)
        patches = extract_patches(gray, frames, patch_size=spec.patch_size, magnification=spec.magnification)
        return _as_vectors(self._descriptor.describe(patches), spec)


def _as_vectors(described: NDArray, spec: DescriptorSpec) -> NDArray[np.float32]:
    if spec.kind == "float":
        return described
    return ((2.0 * np.unpackbits(described, axis=1) - 1) / np.sqrt(spec.dim)).astype(np.float32)


@lru_cache(maxsize=4)
def dense_describer(name: str) -> DenseDescriber:
    """The dense describer of a name of the zoo (or a weights file, or a user's ``.py``).

    Args:
        name: as ``--descriptor`` takes it.

    Raises:
        DescriptorError: no descriptor has the name, or its weights are missing.
        ConfigError: a metric network, which describes nothing.
    """
    if name in registry.scorer_names():
        raise ConfigError(
            f"{name} cannot be the matching cost of every pixel",
            "a metric network scores one pair of patches at a time",
            "--descriptor census, swift, l2net, rootsift or any other of `recon descriptors`",
        )
    spec = descriptors.spec(name)
    network = architecture(spec)
    if network in FORMS:
        return DenseNetwork(spec, network)
    return GridDescriber(descriptors.load(name))


def architecture(spec: DescriptorSpec) -> str:
    """Name of the network whose floats a descriptor is, empty if it is none."""
    if not spec.weights or spec.kind != "float":
        return ""
    path = WEIGHTS / spec.weights
    return read_header(path).get("network", "") if Path(path).is_file() else ""
