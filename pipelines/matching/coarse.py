"""Coarse to fine: the largest keypoints of a pair are matched first, all others along the lines of their geometry.

Large keypoints are found again most often and spread over the photo (Wu, Towards linear-time incremental structure from
motion, 3DV 2013, preemptive matching); the search along lines is COLMAP's guided matching. A pair whose large keypoints
show no geometry beyond chance is matched all with all, so that none is given up for the sake of speed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from descriptors.contract import Distance
from descriptors.distances import DescriptorSet, Matches, mutual_matches
from pipelines.core.maps import TwoView
from pipelines.matching.candidates import Candidates, one_per_place
from pipelines.matching.guided import Cells, guided_matches

_ENOUGH = 40
"""Verified matches of large keypoints from which the lines of their geometry are trusted."""
_BACKGROUND = 1.1
"""Where a rival is supposed to be: this times the median distance of the large keypoints' rivals."""
_STRICTER = 0.95
"""On the ratio test among the few candidates near a line."""
_TRUSTED = "CALIBRATED"
"""Lines are trusted where both focal lengths are known: most photos show planes, which leave a fundamental matrix open,
but not an essential one. Of the five photos of the validation scene piazza_san_marco, which have no EXIF, lines of a
fundamental matrix left three unregistered."""

Geometry = Callable[[NDArray[np.int32]], TwoView | None]
"""Matches (K,2) of a pair to their geometry, None if they have none or chance would give it."""


@dataclass(frozen=True)
class Prepared:
    """The keypoints of a photo, ready to be matched with many others.

    Attributes:
        xy: (N,2) their centres, px.
        cells: all of them.
        descriptors: (N,D) in the order of the keypoints.
        places: (N,) see :func:`pipelines.matching.candidates.first_at_place`.
        large: (L,) int32 the largest, the largest first.
        of_large: their descriptors.
    """

    xy: NDArray[np.float32]
    cells: Cells
    descriptors: NDArray
    places: NDArray[np.int32]
    large: NDArray[np.int32]
    of_large: DescriptorSet

    @property
    def nbytes(self) -> int:
        """Memory, about."""
        return self.cells.rows.nbytes + self.cells.xy.nbytes + self.descriptors.nbytes + self.of_large.nbytes


def prepare(
    frames: NDArray[np.float32], descriptors: NDArray, places: NDArray[np.int32], first: int, distance: Distance
) -> Prepared:
    """Args: frames: (N,2,3); first: how many keypoints are large."""
    size = np.linalg.det(frames[:, :, :2].astype(np.float64))
    large = np.argsort(-np.abs(size), kind="stable")[:first].astype(np.int32)
    xy = frames[:, :, 2].copy()
    of_large = DescriptorSet(descriptors[large], distance)
    return Prepared(xy, Cells.of(xy, descriptors, places, distance), descriptors, places, large, of_large)


@dataclass(frozen=True)
class Rule:
    """What counts as a match.

    Attributes:
        ratio: largest ratio of distinct matches, among all keypoints.
        waiting: largest ratio of all that are returned.
        band: px from an epipolar line.
        distance: of the descriptors.
    """

    ratio: float
    waiting: float
    band: float
    distance: Distance


def coarse_to_fine(a: Prepared, b: Prepared, geometry: Geometry, rule: Rule) -> Candidates:
    """Match a pair of photos; ``geometry`` estimates that of its matches."""
    large = _large_alone(a, b, rule)
    first = Candidates.of(large, rule.ratio)
    view = geometry(first.matches)
    if view is not None and len(view) >= _ENOUGH and view.config == _TRUSTED and view.fundamental is not None:
        return _along_lines(a, b, view.fundamental, large, rule)
    if len(a.large) == len(a.places) and len(b.large) == len(b.places):
        return first
    every = mutual_matches(a.descriptors, b.descriptors, ratio=rule.waiting, distance=rule.distance)
    return Candidates.of(one_per_place(every, a.places, b.places), rule.ratio)


def along_lines(a: Prepared, b: Prepared, fundamental: NDArray[np.float64], rule: Rule) -> Candidates:
    """Match a pair of photos whose geometry is known: ``fundamental`` (3,3), x_b^T F x_a = 0, of their ``xy``."""
    return _along_lines(a, b, fundamental, _large_alone(a, b, rule), rule)


def _large_alone(a: Prepared, b: Prepared, rule: Rule) -> Matches:
    found = mutual_matches(a.of_large, b.of_large, ratio=rule.waiting, distance=rule.distance)
    pairs = np.stack([a.large[found.pairs[:, 0]], b.large[found.pairs[:, 1]]], axis=1)
    return one_per_place(Matches(pairs, found.distances, found.ratios), a.places, b.places)


def _along_lines(a: Prepared, b: Prepared, fundamental: NDArray[np.float64], large: Matches, rule: Rule) -> Candidates:
    background = _BACKGROUND * _usual_rival(large)
    guided = guided_matches(
        a.cells, b.cells, fundamental, band=rule.band, background=background, distance=rule.distance
    )
    near = guided.ratios < rule.waiting
    kept = Matches(guided.pairs[near], guided.distances[near], guided.ratios[near])
    return Candidates.of(one_per_place(kept, a.places, b.places), _STRICTER * rule.ratio, guided=True)


def _usual_rival(found: Matches) -> float:
    """Median distance of the second-nearest descriptor."""
    known = found.ratios > 0
    return float(np.median(found.distances[known] / found.ratios[known])) if known.any() else np.inf
