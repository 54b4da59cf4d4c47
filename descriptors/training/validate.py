"""Figures on the validation scenes, on which nothing is trained: verification of track pairs, and matching of views.

``python -m descriptors.training.validate NAME --data DIR`` prints those of a descriptor of the registry.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from descriptors import registry
from descriptors.datasets.photos import WarpRange, change_light, detect_dog, random_homography
from descriptors.datasets.sources import Given, validation_tracks
from descriptors.datasets.tracks import PatchCutter
from descriptors.distances import nearest as shortest
from descriptors.frames import extract_patches
from descriptors.training.sampling import distinct, farthest_pairs

Describe = Callable[[NDArray[np.uint8]], NDArray[np.float32]]
Features = Callable[[NDArray[np.uint8]], NDArray]
Score = Callable[[NDArray, NDArray], NDArray[np.float32]]


@dataclass(frozen=True)
class Figures:
    """What a descriptor reaches on the validation set.

    Attributes:
        fpr95: false positives among pairs of other points of the same scene, at 95 % recall of far-apart pairs.
        rank1: share of points whose far-apart view is the nearest among the points of their scene.
        matching: mean average precision of nearest-neighbour matching, ranked by the ratio, over made views
            of validation photos (viewpoint, light, blur and JPEG), DoG keypoints.
    """

    fpr95: float
    rank1: float
    matching: float

    def worse_than(self, untrained: Figures) -> bool:
        """Whether every one of them is worse than with random weights, FPR95 by more than a few pairs make."""
        return (
            self.fpr95 > untrained.fpr95 + 0.01 and self.rank1 < untrained.rank1 and self.matching < untrained.matching
        )

    def said(self) -> str:
        """In one line."""
        return f"matching {self.matching:.3f}, rank 1 {self.rank1:.3f}, FPR95 {100 * self.fpr95:.2f} %"


@dataclass(frozen=True)
class _MadePair:
    patches: tuple[NDArray[np.uint8], NDArray[np.uint8]]
    correct: NDArray[np.bool_]


class ValidationSet:
    """Patches of the validation scenes, cut once."""

    def __init__(
        self, given: Given, *, patch_size: int, magnification: float, points: int = 400, keypoints: int = 400
    ) -> None:
        """Cut the patches: ``points`` track pairs and two photos with one made view each, from every scene."""
        self._sides: list[tuple[NDArray[np.uint8], NDArray[np.uint8]]] = []
        self._made: list[_MadePair] = []
        for number, tracks in enumerate(validation_tracks(given, magnification=magnification)):
            rng = np.random.default_rng([95, number])
            chosen = distinct(tracks, rng.choice(len(tracks), min(points, len(tracks)), replace=False), reach=3)
            cutter = PatchCutter(tracks.images)
            first, second = (
                cutter.cut(tracks.obs_image[rows], tracks.frames[rows], patch_size=patch_size,
                           magnification=magnification)
                for rows in farthest_pairs(tracks, chosen)
            )  # fmt: skip
            self._sides.append((first, second))
            for image in rng.choice(len(tracks.images), min(2, len(tracks.images)), replace=False):
                self._made.append(_made_pair(tracks.images[image], keypoints, patch_size, magnification, rng))

    def figures(self, describe: Describe) -> Figures:
        """Figures of a descriptor given as a function (N,1,S,S) uint8 → (N,D) of unit length or (N,D/8) packed bits."""
        describe = partial(as_vectors, describe)
        positive, negative, first_rank = [], [], []
        for sides in self._sides:
            a, b = (describe(side) for side in sides)
            similar = a @ b.T
            true = similar.diagonal().copy()
            positive.append(true)
            first_rank.append(similar.argmax(axis=1) == np.arange(len(a)))
            negative.append(similar[~np.eye(len(a), dtype=bool)])
        matching = [
            average_precision(*nearest(describe(p.patches[0]), describe(p.patches[1])), p.correct) for p in self._made
        ]
        return Figures(
            fpr95=_fpr95(np.concatenate(positive), np.concatenate(negative)),
            rank1=float(np.concatenate(first_rank).mean()),
            matching=float(np.mean(matching)),
        )

    def scored_figures(self, features: Features, score: Score, shortlist: Describe, *, candidates: int = 4) -> Figures:
        """Figures of a metric network: of ``candidates`` random others a point, and of that long a shortlist.

        Args:
            features: (N,1,S,S) uint8 → (N,F).
            score: (K,F), (K,F) → (K,), larger = more alike.
            shortlist: descriptor whose nearest neighbours are scored for rank 1 and matching.
        """
        positive, negative, first_rank, matching = [], [], [], []
        for number, (a, b) in enumerate(self._sides):
            first, second, rows = features(a), features(b), np.arange(len(a))
            positive.append(score(first, second))
            drawn = np.random.default_rng([96, number])
            shifts = np.concatenate([drawn.permutation(len(a) - 1) for _ in range(len(a))]).reshape(len(a), -1) + 1
            others = (rows[:, None] + shifts[:, :candidates]) % len(a)
            negative.append(_score_all(first, second, others, score).reshape(-1))
            near = shortest(shortlist(a), shortlist(b), candidates)[0]
            best = _score_all(first, second, near, score).argmax(axis=1)
            first_rank.append(near[rows, best] == rows)
        for pair in self._made:
            near = shortest(shortlist(pair.patches[0]), shortlist(pair.patches[1]), candidates)[0]
            scores = _score_all(features(pair.patches[0]), features(pair.patches[1]), near, score)
            ranked = np.sort(scores.astype(np.float64), axis=1)
            behind = ranked[:, -2:].min(axis=1) - ranked[:, -1]
            chosen = near[np.arange(len(near)), scores.argmax(axis=1)]
            matching.append(average_precision(chosen, behind, pair.correct))
        return Figures(
            fpr95=_fpr95(np.concatenate(positive), np.concatenate(negative)),
            rank1=float(np.concatenate(first_rank).mean()),
            matching=float(np.mean(matching)),
        )


def _fpr95(positive: NDArray[np.float32], negative: NDArray[np.float32]) -> float:
    """Share of the others (M,) that are not below what 95 % of the matches (N,) reach; all of them where none is told
    apart, for numbers are none any more."""
    return float(1 - (negative < np.quantile(positive, 0.05)).mean())


def _score_all(first: NDArray, second: NDArray, others: NDArray[np.integer], score: Score) -> NDArray[np.float32]:
    """Scores (N,K) of each of ``first`` (N,F) against the rows ``others`` (N,K) of ``second``."""
    count, width = others.shape
    rows = np.repeat(np.arange(count), width)
    return score(first[rows], second[others.reshape(-1)]).reshape(count, width)


def as_vectors(describe: Callable[[NDArray[np.uint8]], NDArray], patches: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Descriptors (N,D) of unit length; of bits ±1 / sqrt(D), whose distances are the roots of Hamming distances."""
    described = describe(patches)
    if described.dtype != np.uint8:
        return described
    bits = np.unpackbits(described, axis=1)
    return (2 * bits.astype(np.float32) - 1) / np.float32(np.sqrt(bits.shape[1]))


def nearest(first: NDArray[np.float32], second: NDArray[np.float32]) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Nearest of ``second`` (M,D) for each of ``first`` (N,D), unit vectors: index (N,) and distance ratio (N,)."""
    similar = first @ second.T
    best = similar.argmax(axis=1)
    rows = np.arange(len(first))
    top = similar[rows, best].copy()
    similar[rows, best] = -np.inf
    near, next_near = (np.sqrt(np.maximum(2 - 2 * s.astype(np.float64), 1e-9)) for s in (top, similar.max(axis=1)))
    return best, near / next_near


def average_precision(best: NDArray[np.intp], ratio: NDArray[np.float64], correct: NDArray[np.bool_]) -> float:
    """Average precision of matches ranked by ratio; ``correct`` (N,M) says which matches are true.

    Divided by the number of rows that have a true match at all, so that what is not found counts.
    """
    possible = int(correct.any(axis=1).sum())
    if not possible:
        return 0.0
    hit = correct[np.arange(len(best)), best][np.argsort(ratio, kind="stable")]
    precision = np.cumsum(hit) / np.arange(1, len(hit) + 1)
    return float(precision[hit].sum() / possible)


def _made_pair(
    image: NDArray[np.uint8], keypoints: int, patch_size: int, magnification: float, rng: np.random.Generator
) -> _MadePair:
    height, width = image.shape
    homography = random_homography(image.shape, WarpRange(rotation=0.8, tilt=2.2), rng)
    view = cv2.warpPerspective(image, homography, (width, height), flags=cv2.INTER_AREA)
    view = change_light(view, WarpRange(gamma=0.4, shade=0.2, blur=2.0), rng)  # type: ignore[arg-type]
    frames = detect_dog(image, keypoints), detect_dog(view, keypoints)
    projected = cv2.perspectiveTransform(frames[0][:, None, :, 2].astype(np.float64), homography)
    apart = np.linalg.norm(projected - frames[1][None, :, :, 2], axis=2)
    cut = [
        extract_patches(photo, frame, patch_size=patch_size, magnification=magnification)
        for photo, frame in zip((image, view), frames, strict=True)
    ]
    return _MadePair((cut[0], cut[1]), apart < 3)


def main() -> None:
    """Print the figures of one descriptor."""
    parser = argparse.ArgumentParser(description="Verification and matching on the validation scenes.")
    parser.add_argument("name", help="descriptor of the registry, or a file")
    parser.add_argument("--data", type=Path, required=True, help="folder with scenes/")
    parser.add_argument("--magnification", type=float, help="instead of the descriptor's own")
    given = parser.parse_args()
    descriptor = registry.load(given.name)
    magnification = given.magnification or descriptor.spec.magnification
    patches = ValidationSet(given.data, patch_size=descriptor.spec.patch_size, magnification=magnification)
    figures = patches.figures(descriptor.describe)
    print(f"{given.name}, magnification {magnification}: {figures.said()}")


if __name__ == "__main__":
    main()
