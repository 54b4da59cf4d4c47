"""Batches of patch pairs from tracks and single photos, made on the CPU or, from data that lies there, on a GPU."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from descriptors.datasets.photos import WarpRange, load_photos
from descriptors.datasets.sources import Given, single_photos, training_tracks
from descriptors.datasets.tracks import PatchCutter, Tracks, concatenate
from descriptors.training.augment import change_patches, jitter_frames, turn_frames
from descriptors.training.recipes import Data
from descriptors.training.resident import TensorCutter, change_tensor
from descriptors.training.sampling import ProgressiveSampler, view_pairs

View = tuple[PatchCutter, NDArray[np.integer], NDArray[np.float32]]
"""Photos, index of the photo (N,) and frame (N,2,3) of one side of some pairs."""


class PairSource:
    """Batches of patch pairs; batch ``step`` depends on seed and step alone: a resumed training goes on alike."""

    def __init__(self, given: Given, data: Data, *, patch_size: int, seed: int) -> None:
        """Load the training scenes and photos of the sources and build their pyramids, once in a process."""
        cv2.setNumThreads(1)  # one thread cuts ahead while the network has the others: more would only be in its way
        sources = hashable(given)
        loaded = (
            (_scenes(sources, data.magnification), data.scenes),
            (_photos(sources, data.views, data.keypoints, data.warp, seed), data.photos),
        )
        self.data, self.size, self.seed = data, patch_size, seed
        self._parts: list[tuple[Tracks, PatchCutter, ProgressiveSampler]] = []
        for part, (p1, p2) in loaded:
            if part is not None:
                sampler = ProgressiveSampler(part[0], sequential=p1, random=p2, block=data.block, seed=seed)
                self._parts.append((*part, sampler))

    def batch(self, step: int) -> NDArray[np.uint8]:
        """Patches (2N,1,S,S) uint8: rows i and N + i are a pair; N is at most the sum of the recipe's counts."""
        rng = np.random.default_rng([self.seed, 3, step])
        cut = [
            cutter.cut(image, frames, patch_size=self.size, magnification=self.data.magnification)
            for cutter, image, frames in self.views(step, rng)
        ]
        return change_patches(np.concatenate(cut), self.data.light, rng)

    def views(self, step: int, rng: np.random.Generator) -> list[View]:
        """What is to be cut for batch ``step``: the first sides of all pairs, then the second in the same order."""
        sides: tuple[list[View], list[View]] = ([], [])
        for tracks, cutter, sampler in self._parts:
            points = sampler.points(step)
            turns = rng.integers(0, 8, len(points)) if self.data.jitter.turns else np.zeros(len(points), np.int64)
            for side, rows in zip(sides, view_pairs(tracks, points, rng), strict=True):
                frames = turn_frames(jitter_frames(tracks.frames[rows], self.data.jitter, rng), turns)
                side.append((cutter, tracks.obs_image[rows], frames))
        return sides[0] + sides[1]


class ResidentSource:
    """The same pairs, cut and changed on a GPU on which the photos lie. Other random numbers change the patches."""

    def __init__(self, source: PairSource, device: torch.device) -> None:
        """Bring the pyramids of ``source`` to ``device``, once in a process."""
        self._source, self._device = source, device

    def batch(self, step: int) -> Tensor:
        """Patches (2N,1,S,S) float32 on the device, whole numbers in 0..255; rows as of :class:`PairSource`."""
        source = self._source
        views = source.views(step, np.random.default_rng([source.seed, 3, step]))
        cut = [
            _resident(cutter, str(self._device)).cut(
                image, frames, patch_size=source.size, magnification=source.data.magnification
            )
            for cutter, image, frames in views
        ]
        generator = torch.Generator(self._device).manual_seed(1_000_003 * source.seed + step)
        return change_tensor(torch.cat(cut), source.data.light, generator)


def hashable(given: Given) -> tuple[str, ...]:
    """Sources as a tuple of texts."""
    listed: Sequence[str | Path] = [given] if isinstance(given, str | Path) else given
    return tuple(str(one) for one in listed)


# The whole zoo is trained in one process: most networks see the same photos.
@lru_cache(maxsize=1)
def _scenes(given: tuple[str, ...], magnification: float) -> tuple[Tracks, PatchCutter] | None:
    found = training_tracks(given, magnification=magnification)
    if not found:
        return None
    tracks = concatenate(found)
    return tracks, PatchCutter(tracks.images)


@lru_cache(maxsize=1)
def _photos(
    given: tuple[str, ...], views: int, keypoints: int, limits: WarpRange, seed: int
) -> tuple[Tracks, PatchCutter] | None:
    paths = single_photos(given)
    if not paths:
        return None
    tracks = load_photos(paths, views=views, keypoints=keypoints, limits=limits, seed=seed)
    return tracks, PatchCutter(tracks.images)


@lru_cache(maxsize=2)
def _resident(cutter: PatchCutter, device: str) -> TensorCutter:
    return TensorCutter(cutter.pyramids, torch.device(device))
