"""A group of overlapping photos to cameras: first guess, joint adjustment, pairs that contradict the rest left out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipelines.core.types import Photo
from pipelines.images.exif import FOCAL_GUESS
from pipelines.stitch.adjust import Array, Prior, Sights, Turned, adjust, carry, residuals
from pipelines.stitch.guess import first_guess, focal_from_homographies
from pipelines.stitch.overlap import Explained, Fit, Overlap, by_place, settle
from pipelines.stitch.projection import straighten

_MOST, _FEWEST, _ALTOGETHER = 300, 100, 2_000
"""Matches of a pair that are used, between these; and of all pairs together. More say the same again."""
_EXIF_SIGMA, _GUESS_SIGMA = 0.1, 0.6
_ROBUST = 1.0
"""px at 1,600 px where Huber's loss turns linear."""


@dataclass(frozen=True)
class Solved(Explained):
    """A panorama's cameras.

    Attributes:
        cameras: in the order of the members, with a level horizon.
        centres: (N,2) px of the photos.
    """

    cameras: Turned
    centres: Array

    def carry(self, source: int, target: int, xy: Array) -> Array:
        """(M,2) px of one member where it sees what another sees at ``xy``; NaN where it cannot look."""
        return carry(self.cameras, source, target, xy - self.centres[source]) + self.centres[target]


def solve(
    photos: Sequence[Photo],
    members: Sequence[int],
    overlaps: Mapping[tuple[int, int], Overlap],
    *,
    max_error: float,
    distortion: bool,
) -> list[Solved]:
    """Cameras of photos that hang together; several groups if they fall apart, photos that stay alone left out.

    Photos of one size and camera share a lens. Where that contradicts a pair's matches (somebody zoomed, or cropped)
    each photo is given its own, and only what contradicts that too is dropped.

    Args:
        members: photo indices, connected by kept overlaps.
        max_error: threshold of the homographies, px at 1,600 px.
        distortion: estimate it.
    """

    def fit(shared: bool) -> Fit[Turned]:
        return lambda group, kept, scale: _fit(photos, group, kept, scale, distortion, shared)

    settled = settle(photos, members, overlaps, (fit(True), fit(False)), max_error=max_error)
    return [
        Solved(one.members, one.residuals, one.dropped, one.model, _centres(photos, one.members)) for one in settled
    ]


def _fit(
    photos: Sequence[Photo],
    members: Sequence[int],
    kept: Mapping[tuple[int, int], Overlap],
    scale: float,
    distortion: bool,
    shared: bool,
) -> tuple[Turned, dict[tuple[int, int], Array]]:
    mine = [photos[i] for i in members]
    local = by_place(members, kept)
    group, first = _lenses(mine) if shared else (np.arange(len(mine)), mine)
    centres = _centres(photos, members)
    sides = np.array([max(photo.width, photo.height) for photo in mine], np.float64)
    links = [(i, j, overlap.homography, len(overlap)) for (i, j), overlap in local.items()]
    known = np.array([photo.exif.focal_px or 0.0 for photo in first])
    focals = known.copy()
    if not known.all():
        guess = focal_from_homographies(links, centres, sides, guess=FOCAL_GUESS)
        focals = np.where(known > 0, known, guess * np.array([max(photo.width, photo.height) for photo in first]))
    start = first_guess(len(mine), group, links, centres, focals)
    prior = Prior(focals, np.where(known > 0, _EXIF_SIGMA, _GUESS_SIGMA), distortion)
    most = int(np.clip(_ALTOGETHER // len(local), _FEWEST, _MOST))
    some = [_sights(pair, overlap, centres, most) for pair, overlap in local.items()]
    cameras = adjust(start, _joined(some), prior, robust=_ROBUST * scale)
    cameras = Turned(straighten(cameras.rotations), cameras.focals, cameras.distortions, cameras.group)
    left = {}
    for pair, overlap in local.items():
        every = _sights(pair, overlap, centres).both_ways()
        left[members[pair[0]], members[pair[1]]] = np.linalg.norm(residuals(cameras, every), axis=1)
    return cameras, left


def _centres(photos: Sequence[Photo], members: Sequence[int]) -> Array:
    return np.array([[(photos[i].width - 1) / 2, (photos[i].height - 1) / 2] for i in members])


def _lenses(photos: Sequence[Photo]) -> tuple[NDArray[np.int64], list[Photo]]:
    """(N,) which photos share focal length and distortion, and the first photo of each such group.

    Those of one size (either way up), camera and EXIF focal length do, also where EXIF is silent.
    """
    numbers: dict[object, int] = {}
    first: list[Photo] = []
    group = []
    for photo in photos:
        size, focal = tuple(sorted((photo.width, photo.height))), photo.exif.focal_px
        key = (size, photo.exif.make, photo.exif.model, None if focal is None else round(focal, 1))
        if key not in numbers:
            numbers[key] = len(numbers)
            first.append(photo)
        group.append(numbers[key])
    return np.array(group), first


def _sights(pair: tuple[int, int], overlap: Overlap, centres: Array, most: int | None = None) -> Sights:
    """All matches of a pair, or at most ``most`` of them."""
    chosen = np.arange(len(overlap))
    if most is not None and len(overlap) > most:
        chosen = np.arange(most) * len(overlap) // most
    source, target = (np.full(len(chosen), index) for index in pair)
    return Sights(source, target, overlap.a[chosen] - centres[pair[0]], overlap.b[chosen] - centres[pair[1]])


def _joined(parts: Sequence[Sights]) -> Sights:
    return Sights(*(np.concatenate(column) for column in zip(*parts, strict=True)))
