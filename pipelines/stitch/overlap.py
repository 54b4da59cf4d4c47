"""Which photos overlap: robust homographies, the probabilistic test, and the groups that hang together."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from pipelines.core.groups import hanging_together
from pipelines.core.median import median
from pipelines.core.progress import Progress
from pipelines.core.thresholds import threshold_scale
from pipelines.core.types import Features, Photo
from pipelines.engine import cores, map_items
from pipelines.matching.candidates import first_at_place
from pipelines.pairwise.frontend import FrontEnd
from pipelines.pairwise.models import estimate

ALPHA, BETA = 8.0, 0.3
"""Brown and Lowe, Automatic panoramic image stitching using invariant features, IJCV 2007, eq. 10-13: with p1 = 0.6,
p0 = 0.1, p(overlap) = 1e-6 and p_min = 0.999, a pair overlaps if inliers > 8 + 0.3 x matches in the overlap."""

_ALL_PAIRS, _SIMILAR, _NEIGHBOURS = 30, 10, 2
_CONTRADICTS = 3.0
"""Times the threshold of a homography: a median residual beyond says that a pair does not belong."""

Model = TypeVar("Model")


@dataclass(frozen=True)
class Overlap:
    """A pair of photos that was tested.

    Attributes:
        a, b: (K,2) inlier points in full-resolution px.
        homography: (3,3), x_b ~ H x_a.
        matches: how many matches lie in the overlap that the homography gives.
    """

    a: NDArray[np.float64]
    b: NDArray[np.float64]
    homography: NDArray[np.float64]
    matches: int

    def __len__(self) -> int:
        return len(self.a)

    @property
    def needed(self) -> float:
        """Inliers that an overlap needs more than."""
        return ALPHA + BETA * self.matches

    @property
    def kept(self) -> bool:
        """Whether the pair overlaps."""
        return len(self) > self.needed


def find_overlaps(
    photos: Sequence[Photo],
    features: Sequence[Features],
    front: FrontEnd,
    *,
    max_error: float,
    seed: int,
    progress: Progress,
) -> dict[tuple[int, int], Overlap]:
    """Match pairs of photos and fit a homography to each.

    All pairs of up to thirty photos; of more, each with the ten most similar ones and its neighbours in order.

    Args:
        max_error: px at 1,600 px, of an inlier.

    Returns:
        (i, j), i < j -> tested pair, for all that have a homography; see :attr:`Overlap.kept`.
    """

    places = [first_at_place(one.frames) for one in features]

    def one(pair: tuple[int, int]) -> Overlap | None:
        i, j = pair
        found = front.match(features[i], features[j], threads=1, places=(places[i], places[j]))
        a = features[i].xy[found.pairs[:, 0]].astype(np.float64)
        b = features[j].xy[found.pairs[:, 1]].astype(np.float64)
        scale = threshold_scale(photos[i], photos[j])
        model = estimate("H", a, b, max_error=max_error * scale, noise=scale, seed=seed)
        if model is None or not _possible(model.matrix, photos[i], photos[j]):
            return None
        inside = _inside(a, model.matrix, photos[j]) & _inside(b, np.asarray(np.linalg.inv(model.matrix)), photos[i])
        return Overlap(a[model.inliers], b[model.inliers], model.matrix, int(np.count_nonzero(inside | model.inliers)))

    pairs = _pairs_of(features, seed)
    results: dict[tuple[int, int], Overlap] = {}
    with progress.stage("Matching", len(pairs)) as task:
        workers = 1 if front.is_metric_network else cores()
        for pair, overlap in zip(pairs, map_items(one, pairs, workers=workers), strict=True):
            if overlap is not None:
                results[pair] = overlap
            task.advance(note=f"{photos[pair[0]].name} – {photos[pair[1]].name}")
    return results


def _pairs_of(features: Sequence[Features], seed: int) -> list[tuple[int, int]]:
    count = len(features)
    if count <= _ALL_PAIRS:
        return list(combinations(range(count), 2))
    from pipelines.pairs.retrieval import build_index, similar_pairs

    index = build_index(count, lambda photo: features[photo], seed=seed)
    near = {(i, i + step) for step in range(1, _NEIGHBOURS + 1) for i in range(count - step)}
    return sorted(near | similar_pairs(index, _SIMILAR))


def _possible(homography: NDArray[np.float64], a: Photo, b: Photo) -> bool:
    """Whether a homography can be that of two photos of one scene: not mirrored, not squeezed to a line."""
    centre = np.array([(a.width - 1) / 2, (a.height - 1) / 2, 1.0])
    if abs(np.linalg.det(homography)) < 1e-12:
        return False
    x, y, w = homography @ centre
    if abs(w) < 1e-9:
        return False
    # Area scale at the photo's centre: det(H) / w^3 of the map in pixels.
    area = np.linalg.det(homography) / w**3
    return bool(1 / 400 < area < 400) and bool(np.hypot(x / w, y / w) < 50 * max(b.width, b.height))


def carried(homography: NDArray[np.float64], points: NDArray[np.floating]) -> NDArray[np.float64]:
    """(K,2) where a homography carries points (K,2); not finite at the horizon."""
    at = np.c_[points, np.ones(len(points))] @ homography.T
    with np.errstate(divide="ignore", invalid="ignore"):
        return at[:, :2] / at[:, 2:]


def _inside(points: NDArray[np.float64], homography: NDArray, photo: Photo) -> NDArray[np.bool_]:
    x, y = carried(homography, points).T
    return (x >= 0) & (y >= 0) & (x < photo.width) & (y < photo.height)


def components(count: int, pairs: Mapping[tuple[int, int], Overlap]) -> list[list[int]]:
    """Photos that hang together by kept pairs, the largest group first; single photos are groups of one."""
    return hanging_together(count, (pair for pair, overlap in pairs.items() if overlap.kept))


@dataclass(frozen=True)
class Explained:
    """Photos that a model explains.

    Attributes:
        members: their indices.
        residuals: (i, j) photo indices -> (K,) px at full resolution, of all of the pair's inliers, both ways.
        dropped: (i, j, median px) of pairs with one of the photos that contradicted the others.
    """

    members: tuple[int, ...]
    residuals: Mapping[tuple[int, int], NDArray[np.float64]]
    dropped: tuple[tuple[int, int, float], ...]

    @property
    def rms(self) -> float:
        """Root mean square of all residuals, px."""
        every = np.concatenate(list(self.residuals.values()))
        return float(np.sqrt((every**2).mean()))


@dataclass(frozen=True)
class Settled(Explained, Generic[Model]):
    """Photos and the model that explains them, as the fit gave it."""

    model: Model


Fit = Callable[
    [Sequence[int], Mapping[tuple[int, int], Overlap], float], tuple[Model, Mapping[tuple[int, int], NDArray]]
]
"""(members, their overlaps, px of the photos at a px of 1,600) -> model and residuals of each pair."""


def settle(
    photos: Sequence[Photo],
    members: Sequence[int],
    overlaps: Mapping[tuple[int, int], Overlap],
    fits: Sequence[Fit[Model]],
    *,
    max_error: float,
    dropped: Sequence[tuple[int, int, float]] = (),
) -> list[Settled[Model]]:
    """Models of photos that hang together, without the pairs that contradict the rest; several groups if they fall
    apart, photos that stay alone left out.

    Args:
        members: photo indices, connected by kept overlaps.
        fits: tried in this order before a pair is dropped.
        max_error: threshold of the homographies, px at 1,600 px.
        dropped: pairs that were dropped before.
    """
    kept = {pair: one for pair, one in overlaps.items() if one.kept and pair[0] in members and pair[1] in members}
    lost, ways = list(dropped), list(fits)
    scale = threshold_scale(*(photos[i] for i in members))
    while True:
        model, left = ways[0](members, kept, scale)
        medians = {pair: float(median(values)) for pair, values in left.items()}
        worst = max(medians, key=medians.__getitem__)
        if medians[worst] <= _CONTRADICTS * max_error * scale:
            mine = tuple(one for one in lost if one[0] in members or one[1] in members)
            return [Settled(tuple(members), left, mine, model)]
        if len(ways) > 1:
            del ways[0]
            continue
        lost.append((*worst, medians[worst]))
        del kept[worst]
        groups = [[members[i] for i in group] for group in components(len(members), by_place(members, kept))]
        if len(groups) > 1:
            every = [
                settle(photos, group, kept, fits, max_error=max_error, dropped=lost)
                for group in groups
                if len(group) > 1
            ]
            return [one for several in every for one in several]


def by_place(members: Sequence[int], pairs: Mapping[tuple[int, int], Overlap]) -> dict[tuple[int, int], Overlap]:
    """Pairs of photos by the photos' places among the members."""
    place = {photo: index for index, photo in enumerate(members)}
    return {(place[i], place[j]): overlap for (i, j), overlap in pairs.items()}


def why_alone(index: int, photos: Sequence[Photo], features: Sequence[Features],
              pairs: Mapping[tuple[int, int], Overlap]) -> str:  # fmt: skip
    """Why a photo overlaps with no other, in plain words."""
    if len(features[index]) < ALPHA:
        return f"only {len(features[index])} keypoints were found in it: it shows no texture"
    mine = {pair: overlap for pair, overlap in pairs.items() if index in pair}
    if not mine:
        return "its matches agree with no other photo"
    pair, best = max(mine.items(), key=lambda item: len(item[1]) / item[1].needed)
    other = photos[pair[0] if pair[1] == index else pair[1]].name
    if best.kept:
        return (
            f"it overlaps with {other} ({len(best)} matches agree), but not as photos of one turning camera do: "
            "the camera moved, or the photo was bent"
        )
    return (
        f"no overlap: at best {len(best)} of its {best.matches} matches with {other} agree, "
        f"and more than {best.needed:.0f} are needed"
    )
