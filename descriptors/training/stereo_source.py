"""Crops of made stereo pairs to train a matching cost on, and to judge it by, from sources as all training has them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import lru_cache

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from descriptors.datasets.scenes import DataError
from descriptors.datasets.sources import Given, pair_folders, scene_photos, single_photos
from descriptors.datasets.stereo_pairs import (
    Camera,
    PairRange,
    StereoPair,
    cameras,
    exposed,
    made_light,
    read_pair,
    read_photos,
    taken,
)

_HELD_OUT = 10
"""Every how many single photos one is worn by pairs of the validation alone."""
_SPARED = 4
"""Every how many photos of a scene one is worn: neighbours show the same."""
_LONGEST = 720
_JUDGED = 6


@dataclass(frozen=True)
class Crops:
    """Of a batch of pairs.

    Attributes:
        left: (N,1,h+2m,w+2m) standardised pictures; m is the margin that the network sees beyond a pixel.
        right: (N,1,h+2m,w+2m+D-1), the first column D - 1 px to the left of the left picture's.
        disparity: (N,h,w) px.
        seen: (N,h,w) bool, whether both pictures show the place and its disparity is below D - 1.
        guide: (N,h,w,3) uint8 the left picture.
    """

    left: Tensor
    right: Tensor
    disparity: Tensor
    seen: Tensor
    guide: Tensor


@dataclass(frozen=True)
class Cut:
    """How crops are taken.

    Attributes:
        rows, columns: of a crop.
        disparities: that compete at a pixel: 0 to one less.
        margin: pixels that the network sees to each side.
    """

    rows: int
    columns: int
    disparities: int
    margin: int


class StereoSource:
    """Batches of crops; batch ``step`` depends on seed and step alone."""

    def __init__(self, given: Given, looks: PairRange, cut: Cut, *, pairs: int, scenes: int, seed: int) -> None:
        """Name where photos are; they are read at the first batch.

        Args:
            given: sources, as of :mod:`descriptors.datasets.sources`; if rendered pairs are among them, these are taken
                and none are made.
            looks: of the made pairs.
            cut: of the crops.
            pairs: crops of a batch.
            scenes: made pairs in all; each is cut and photographed anew for every crop.
            seed: of pairs and crops.

        Raises:
            DataError: there are no photos.
        """
        paths = [path for number, path in enumerate(single_photos(given)) if number % _HELD_OUT]
        self._paths = (*paths, *scene_photos(given, every=_SPARED))
        if not self._paths:
            raise DataError("There are no photos that made pairs could wear. Give a folder with photos/ or scenes/.")
        self._rendered = pair_folders(given)
        self._looks, self._cut, self._pairs, self._seed = looks, cut, pairs, seed
        self._scenes = len(self._rendered) or scenes
        self._light = lru_cache(maxsize=self._scenes)(self._make)

    def batch(self, step: int) -> Crops:
        """Crops of ``step``. The first batches have one more pair each, until all are made."""
        rng = np.random.default_rng([self._seed, 3, step])
        made = min(self._scenes, max(2 * self._pairs, step))
        return stacked(
            crop(self._light(int(rng.integers(made))), self._looks, self._cut, rng) for _ in range(self._pairs)
        )

    def _make(self, number: int) -> StereoPair:
        if self._rendered:
            return read_pair(self._rendered[number])
        return made_light(_worn(self._paths), self._looks, np.random.default_rng([self._seed, 5, number]))


def judged_crops(given: Given, looks: PairRange, cut: Cut) -> Crops:
    """Whole made pairs, as one crop each, that wear held-out photos; the same for every training."""
    paths = tuple(single_photos(given)[::_HELD_OUT])
    if not paths:
        raise DataError("There are no photos to hold out: made pairs are judged by every tenth of the folder photos/.")
    parts = []
    for number in range(_JUDGED):
        rng = np.random.default_rng([11, number])
        light = made_light(_worn(paths), looks, rng)
        whole = replace(cut, rows=looks.height - 2 * cut.margin, columns=looks.width - 2 * cut.margin - cut.disparities)
        parts.append(crop(light, looks, whole, rng))
    return stacked(parts)


def crop(light: StereoPair, looks: PairRange, cut: Cut, rng: np.random.Generator) -> tuple[NDArray, ...]:
    """A crop of a pair as two cameras take it, upside down every other time: the fields of :class:`Crops`."""
    margin, before = cut.margin, cut.disparities - 1
    height, width = light.disparity.shape
    top = int(rng.integers(margin, height - cut.rows - margin + 1))
    begin = int(rng.integers(before + margin, width - cut.columns - margin + 1))
    end = begin + cut.columns + margin
    rows = slice(top - margin, top + cut.rows + margin)
    one, other = cameras(looks, rng)
    guide = taken(light.left[rows, begin - margin : end], one, rng)
    second = taken(light.right[rows, begin - before - margin : end], other, rng)
    middle = (slice(top, top + cut.rows), slice(begin, begin + cut.columns))
    disparity = light.disparity[middle]
    seen = light.visible[middle] & (disparity < before)
    turn = slice(None, None, -1 if rng.random() < 0.5 else 1)
    inner = guide[margin : margin + cut.rows, margin : margin + cut.columns]
    return (
        _standardised(guide, light.left, one)[None, turn],
        _standardised(second, light.right, other)[None, turn],
        disparity[turn],
        seen[turn],
        inner[turn],
    )


def stacked(parts: Iterable[tuple[NDArray, ...]]) -> Crops:
    """Crops of one size as one batch."""
    columns = zip(*parts, strict=True)
    return Crops(*(torch.from_numpy(np.ascontiguousarray(np.stack(column))) for column in columns))


def _standardised(part: NDArray[np.uint8], picture: NDArray[np.uint8], camera: Camera) -> NDArray[np.float32]:
    """A part of what a camera took, grey, with the mean and deviation of the whole picture taken off."""
    levels = np.clip(exposed(_grey(picture[::3, ::3]).astype(np.float64), camera), 0, 255)
    return ((_grey(part) - levels.mean()) / max(float(levels.std()), 1e-2)).astype(np.float32)


def _grey(colours: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.asarray(cv2.cvtColor(colours, cv2.COLOR_RGB2GRAY), np.uint8)


@lru_cache(maxsize=2)
def _worn(paths: tuple) -> list[NDArray[np.uint8]]:
    """Photos, large ones made smaller: their pixels become about as sharp as those of small ones."""
    photos = read_photos(paths)
    scales = [min(1.0, _LONGEST / max(photo.shape)) for photo in photos]
    return [
        photo
        if scale == 1
        else np.asarray(cv2.resize(photo, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA), np.uint8)
        for photo, scale in zip(photos, scales, strict=True)
    ]
