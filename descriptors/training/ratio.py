"""Which nearest / second-nearest ratio to keep: ``python -m descriptors.training.ratio NAME --data DIR``.

Photos of the validation scenes are matched in pairs, mutual nearest neighbours of DoG keypoints; a match counts as
right where it agrees with the epipolar geometry of the known poses. Printed are precision and recall for a row
of thresholds, the one with the best F1, and the one that is advised for the registry's ``ratio``. Of a metric network
likewise the margin of its scores, and with that margin the lowest score.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from descriptors.contract import Descriptor, DescriptorError, DescriptorSpec, PairScorer, PairScorerSpec
from descriptors.datasets.photos import detect_dog
from descriptors.datasets.scenes import read_grey, read_tracks, scene_folders
from descriptors.distances import Described
from descriptors.frames import extract_patches
from descriptors.rerank import RerankRule, mutual_best

_SHARED, _KEYPOINTS = 20, 1200
_TOLERANCE = 3.0
"""Epipolar distance of a right match at most, px; the poses leave out a small distortion."""
THRESHOLDS = tuple(round(0.6 + 0.025 * step, 3) for step in range(17))


@dataclass(frozen=True)
class Row:
    """One threshold: share of kept matches that are right, share of all right matches that are kept, and their F1."""

    ratio: float
    precision: float
    recall: float

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall."""
        return 2 * self.precision * self.recall / max(self.precision + self.recall, 1e-12)


@dataclass(frozen=True)
class PhotoPair:
    """Two photos (H,W) uint8 of a validation scene and the fundamental matrix (3,3) from first to second pixels."""

    first: NDArray[np.uint8]
    second: NDArray[np.uint8]
    fundamental: NDArray[np.float64]


def fundamental_matrix(k: tuple[NDArray, NDArray], cam_from_world: tuple[NDArray, NDArray]) -> NDArray[np.float64]:
    """F with x2ᵀ F x1 = 0 from two K (3,3), in COLMAP's pixels, and two poses (3,4); F is in ours."""
    (r1, t1), (r2, t2) = ((p[:, :3], p[:, 3]) for p in cam_from_world)
    rotation = r2 @ r1.T
    x, y, z = t2 - rotation @ t1
    essential = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]]) @ rotation
    shift = np.array([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1]])
    inverse = [np.linalg.inv(matrix) @ shift for matrix in k]
    return inverse[1].T @ essential @ inverse[0]


def epipolar_distance(first: NDArray, second: NDArray, fundamental: NDArray[np.float64]) -> NDArray[np.float64]:
    """Larger of the two distances (N,) in px between points (N,2), (N,2) and each other's epipolar lines."""
    a, b = (np.c_[points, np.ones(len(points))] for points in (first, second))
    in_second, in_first = a @ fundamental.T, b @ fundamental
    residual = np.abs(np.einsum("ni,ni->n", b, in_second))
    lengths = np.minimum(np.hypot(*in_second[:, :2].T), np.hypot(*in_first[:, :2].T))
    return residual / np.maximum(lengths, 1e-12)


def validation_pairs(data_dir: Path, *, per_scene: int) -> list[PhotoPair]:
    """Random photo pairs of every validation scene that see :data:`_SHARED` points in common at least."""
    pairs = []
    for number, folder in enumerate(scene_folders(data_dir, validation=True)):
        stored = read_tracks(folder, "names", "K", "cam_from_world", "xyz", "obs_image", "obs_point")
        names, k, pose = stored["names"], stored["K"], stored["cam_from_world"]
        seen = np.zeros((len(names), len(stored["xyz"])), np.int32)
        seen[stored["obs_image"], stored["obs_point"]] = 1
        candidates = np.argwhere(np.triu(seen @ seen.T >= _SHARED, 1))
        rng = np.random.default_rng([60, number])
        for i, j in rng.permutation(candidates)[:per_scene]:
            first, second = (read_grey(folder / "images" / str(names[n])) for n in (i, j))
            pairs.append(PhotoPair(first, second, fundamental_matrix((k[i], k[j]), (pose[i], pose[j]))))
    return pairs


def match_with_ratio(first: NDArray, second: NDArray, spec: DescriptorSpec) -> tuple[NDArray, NDArray]:
    """Mutual nearest neighbours of descriptors (N,D) and (M,D): index pairs (K,2) and the ratio (K,) of each.

    Raises:
        DescriptorError: fewer than two descriptors on the second side.
    """
    if len(second) < 2:
        raise DescriptorError(f"a ratio needs two neighbours at least; given were {len(second)} descriptors.")
    if spec.distance == "hamming":
        bits = [2.0 * np.unpackbits(side, axis=1).astype(np.float32) - 1 for side in (first, second)]
        distance = (spec.dim - bits[0] @ bits[1].T) / 2
    else:
        distance = np.sqrt(np.maximum(2 - 2 * first @ second.T, 1e-9))
    best = distance.argmin(axis=1)
    mutual = np.flatnonzero(distance.argmin(axis=0)[best] == np.arange(len(first)))
    two = np.partition(distance[mutual], 1, axis=1)[:, :2]
    return np.stack([mutual, best[mutual]], 1), two[:, 0] / np.maximum(two[:, 1], 1e-9)


def curve(descriptor: Descriptor, pairs: Sequence[PhotoPair]) -> list[Row]:
    """Precision and recall of mutual nearest neighbours over the pairs, for each of ``THRESHOLDS``."""
    ratios, right = [], []
    for pair in pairs:
        frames = [detect_dog(photo, _KEYPOINTS) for photo in (pair.first, pair.second)]
        described = [
            descriptor.describe(_patches(photo, of_photo, descriptor.spec))
            for photo, of_photo in zip((pair.first, pair.second), frames, strict=True)
        ]
        rows, ratio = match_with_ratio(described[0], described[1], descriptor.spec)
        ratios.append(ratio)
        right.append(_right(pair, frames, rows))
    return rows_of(np.concatenate(ratios), np.concatenate(right))


@dataclass(frozen=True)
class ScoredPairs:
    """Mutual best matches of a metric network over photo pairs: ``scores``, ``leads`` and ``right``, each (K,)."""

    scores: NDArray[np.float32]
    leads: NDArray[np.float32]
    right: NDArray[np.bool_]

    def margins(self) -> list[Row]:
        """Precision and recall at margins from 0 up to where nine of ten are dropped; ``ratio`` is minus the margin."""
        found = self.leads[np.isfinite(self.leads)]
        return rows_of(-self.leads, self.right, -np.r_[np.quantile(found, np.linspace(0.9, 0, 19)), 0.0])

    def thresholds(self, margin: float) -> list[Row]:
        """Likewise at lowest scores, of those that have the margin; ``ratio`` is minus the score."""
        kept = self.leads >= margin
        limits = -np.quantile(self.scores[kept], np.linspace(0.9, 0, 19))
        return rows_of(-self.scores[kept], self.right[kept], limits)


def scored_pairs(scorer: PairScorer, shortlist: Descriptor, pairs: Sequence[PhotoPair]) -> ScoredPairs:
    """Mutual best matches of a metric network over the pairs."""
    found, right = [], []
    for pair in pairs:
        frames = [detect_dog(photo, _KEYPOINTS) for photo in (pair.first, pair.second)]
        sides = [
            Described(
                shortlist.describe(_patches(photo, of_photo, shortlist.spec)),
                scorer.features(_patches(photo, of_photo, scorer.spec)),
            )
            for photo, of_photo in zip((pair.first, pair.second), frames, strict=True)
        ]
        found.append(
            mutual_best(
                scorer, sides[0], sides[1], RerankRule.of(scorer.spec), distance=shortlist.spec.distance, threads=2
            )
        )
        right.append(_right(pair, frames, found[-1].pairs))
    return ScoredPairs(
        np.concatenate([one.scores for one in found]), np.concatenate([one.leads for one in found]),
        np.concatenate(right),
    )  # fmt: skip


def _patches(photo: NDArray[np.uint8], frames: NDArray, spec: DescriptorSpec | PairScorerSpec) -> NDArray[np.uint8]:
    return extract_patches(photo, frames, patch_size=spec.patch_size, magnification=spec.magnification)


def _right(pair: PhotoPair, frames: Sequence[NDArray], rows: NDArray) -> NDArray[np.bool_]:
    first, second = (of_photo[rows[:, side], :, 2] for side, of_photo in enumerate(frames))
    return epipolar_distance(first, second, pair.fundamental) < _TOLERANCE


def rows_of(ratios: NDArray, right: NDArray[np.bool_], thresholds: Iterable[float] = THRESHOLDS) -> list[Row]:
    """Precision and recall at each threshold of matches with ``ratios`` (K,) of which some are ``right`` (K,)."""
    table = []
    for threshold in thresholds:
        kept = ratios <= threshold
        hit = int((kept & right).sum())
        table.append(Row(float(threshold), hit / max(int(kept.sum()), 1), hit / max(int(right.sum()), 1)))
    return table


def advised(table: Sequence[Row], *, slack: float = 0.01) -> float:
    """The largest ratio whose F1 is within ``slack`` of the best: robust estimators forgive wrong matches sooner."""
    best = max(row.f1 for row in table)
    return max(row.ratio for row in table if row.f1 >= best - slack)


def main() -> None:
    """Print the table for one descriptor, or those of a metric network's margin and, with that, its threshold."""
    from descriptors import registry

    parser = argparse.ArgumentParser(description="Precision and recall over the ratio threshold on validation scenes.")
    parser.add_argument("name", help="descriptor or metric network of the registry")
    parser.add_argument("--data", type=Path, required=True, help="folder with scenes/")
    parser.add_argument("--pairs", type=int, default=3, help="photo pairs of each scene")
    given = parser.parse_args()
    pairs = validation_pairs(given.data, per_scene=given.pairs)
    scorer = registry.scorer_for(given.name)
    if scorer is None:
        _print(given.name, "ratio", 1, curve(registry.load(given.name), pairs))
        return
    found = scored_pairs(scorer, registry.load(registry.shortlist(given.name)), pairs)
    margins = found.margins()
    _print(given.name, "margin", -1, margins)
    _print(given.name, "threshold", -1, found.thresholds(-advised(margins)))


def _print(name: str, what: str, sign: int, table: Sequence[Row]) -> None:
    print(f"{name}: {what}  precision  recall  F1")
    for row in table:
        print(f"  {sign * row.ratio:.3f}  {row.precision:.3f}  {row.recall:.3f}  {row.f1:.3f}")
    best = max(table, key=lambda row: row.f1)
    print(f"best F1 at {what} {sign * best.ratio:.3f}; advised: {sign * advised(table):.3f}")


if __name__ == "__main__":
    main()
