"""An object's instances in a scene, by geometry: seeds from keypoint frames, homographies, and the test against chance.

Each match of two keypoint frames says by itself where the whole object would lie (Lowe, IJCV 2004, 7.3, collects such
votes in bins; here each vote is asked how many others agree with it). The best seed's supporters get a homography; what
it explains is taken out, and the next instance is looked for among the rest.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from descriptors.contract import Distance
from descriptors.distances import nearest
from pipelines.core.types import Features, Photo
from pipelines.geometry.chance import HOMOGRAPHY, log_false_alarms_of
from pipelines.matching.candidates import first_at_place
from pipelines.pairwise.models import estimate

Array = NDArray[np.float64]
_SEEDS = 400
_ATTEMPTS = 12
"""Seeds that may fail before an object counts as not there (any more)."""
_LOOSE = 0.1
"""Of the object's diagonal: how far supporters of a seed may lie from where it puts them; a frame is a rough guess."""
_TURN, _GROWTH = math.radians(30), math.log(2)
"""How far a match's own rotation and scale may differ from the seed's or the homography's."""
_STEEPEST = 8.0
"""Foreshortening of 8 is a view from 83 degrees off, farther than any descriptor matches."""
_SMALLEST = 12.0
"""Px; a quadrilateral with a shorter side holds no keypoints that could tell."""


@dataclass(frozen=True)
class Matched:
    """What a scene and one object have in common, one match per place of the scene.

    Attributes:
        object_xy, scene_xy: (M,2) px at full resolution, the most distinctive match first.
        shapes: (M,2,2) what carries the object's frame onto the scene's.
        places: (M,) int, the object's keypoint; several orientations of one place have the same number.
    """

    object_xy: Array
    scene_xy: Array
    shapes: Array
    places: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.places)


@dataclass(frozen=True)
class Instance:
    """An object found in a scene.

    Attributes:
        homography: (3,3) px of the object's picture -> px of the scene.
        corners: (4,2) of the picture's outer corners in the scene: top-left, top-right, bottom-right, bottom-left.
        object_xy, scene_xy: (K,2) inlier matches, px.
        log10_chance: log10 of the number of finds as good as this one that chance would give among all objects.
        median_error: px of the scene, of the inliers.
    """

    homography: Array
    corners: Array
    object_xy: Array
    scene_xy: Array
    log10_chance: float
    median_error: float

    def __len__(self) -> int:
        return len(self.object_xy)

    @property
    def probability(self) -> float:
        """That this is no accident: of finds that chance would give NFA of on average, none happens with exp(-NFA)."""
        return math.exp(-(10.0 ** min(self.log10_chance, 3.0)))


def match_frames(scene: Features, thing: Features, *, ratio: float, distance: Distance) -> Matched:
    """Each scene keypoint's nearest one on the object, if it is nearer than any other of the object's by the ratio.

    Not mutual: two instances of an object share its keypoints.
    """
    empty = Matched(np.zeros((0, 2)), np.zeros((0, 2)), np.zeros((0, 2, 2)), np.zeros(0, np.int64))
    if len(thing) < 2 or not len(scene):
        return empty
    found, apart = nearest(scene.descriptors, thing.descriptors, 2, distance=distance)
    with np.errstate(invalid="ignore", divide="ignore"):
        distinct = np.nan_to_num(apart[:, 0] / apart[:, 1], nan=1.0)
    rows = np.flatnonzero(distinct < ratio)
    rows = rows[np.argsort(distinct[rows], kind="stable")]
    scene_places, object_places = first_at_place(scene.frames), first_at_place(thing.frames)
    rows = rows[np.sort(np.unique(scene_places[rows], return_index=True)[1])]
    partner = found[rows, 0]
    there, here = scene.frames[rows].astype(np.float64), thing.frames[partner].astype(np.float64)
    return Matched(
        here[:, :, 2],
        there[:, :, 2],
        there[:, :, :2] @ np.linalg.inv(here[:, :, :2]),
        object_places[partner].astype(np.int64),
    )


def find_instances(
    matched: Matched, thing: Photo, scene: Photo, *, max_error: float, tests: int, limit: float, seed: int
) -> list[Instance]:
    """All instances of one object, the surest first.

    Args:
        matched: see :func:`match_frames`.
        max_error: px of the scene, of an inlier; less where the object is small.
        tests: objects that are looked for, each a chance to err.
        limit: log10 of the number of accidents that is put up with.
        seed: of the robust estimation.
    """
    alive = np.ones(len(matched), bool)
    found: list[Instance] = []
    votes, failures = _votes(matched, alive, thing), 0
    while failures < _ATTEMPTS:
        support = _best_seed(votes, matched)
        if support is None:
            break
        instance = _fit(matched, support, alive, thing, scene, max_error=max_error, tests=tests, seed=seed)
        if instance is None or instance.log10_chance > limit:
            votes = votes[~support[votes.seeds]]
            failures += 1
            continue
        if all(_overlap(instance.corners, other.corners) < 0.5 for other in found):
            found.append(instance)
        errors = _errors(matched, instance.homography)[0]
        side = math.sqrt(abs(_area(instance.corners)))
        alive &= ~((errors < 0.1 * side) & _agrees(matched, _jacobians(instance.homography, matched.object_xy)))
        alive &= ~support
        votes = _votes(matched, alive, thing)
    return sorted(found, key=lambda instance: instance.log10_chance)


@dataclass(frozen=True)
class _Votes:
    """Seeds (S,), rows of the matches, and which matches (S,M) agree with each."""

    seeds: NDArray[np.int64]
    support: NDArray[np.bool_]

    def __getitem__(self, kept: NDArray[np.bool_]) -> _Votes:
        return _Votes(self.seeds[kept], self.support[kept])


def _votes(matched: Matched, alive: NDArray[np.bool_], thing: Photo) -> _Votes:
    seeds = np.flatnonzero(alive)[:_SEEDS]
    near = _LOOSE * math.hypot(thing.width, thing.height)
    size = 0.5 * np.log(np.maximum(np.linalg.det(matched.shapes), 1e-12))
    turn = _turn(matched.shapes)
    support = np.abs(size - size[seeds, None]) < _GROWTH
    support &= np.abs((turn - turn[seeds, None] + np.pi) % (2 * np.pi) - np.pi) < _TURN
    shape = matched.shapes[seeds]
    distance = np.zeros(support.shape)
    for axis in (0, 1):
        moved = sum(
            shape[:, axis, other, None] * (matched.object_xy[:, other] - matched.object_xy[seeds, other, None])
            for other in (0, 1)
        )
        distance += (moved + matched.scene_xy[seeds, axis, None] - matched.scene_xy[:, axis]) ** 2
    support &= distance < (near * np.exp(size[seeds, None])) ** 2
    return _Votes(seeds, support & alive)


def _best_seed(votes: _Votes, matched: Matched) -> NDArray[np.bool_] | None:
    """The matches (M,) that agree with the match that most others agree with; None if fewer than four places do."""
    best, most = None, 3
    counts = votes.support.sum(1)
    for row in np.argsort(-counts, kind="stable"):
        if counts[row] <= most:
            break
        places = len(np.unique(matched.places[votes.support[row]]))
        if places > most:
            best, most = votes.support[row], places
    return best


def _agrees(matched: Matched, shapes: Array) -> NDArray[np.bool_]:
    """(M,) whether each match's own rotation and scale are about those of ``shapes`` (M,2,2)."""
    with np.errstate(divide="ignore", invalid="ignore"):
        rest = _inverse(shapes) @ matched.shapes
        grown = 0.5 * np.log(rest[:, 0, 0] * rest[:, 1, 1] - rest[:, 0, 1] * rest[:, 1, 0])
    return (np.abs(np.nan_to_num(grown, nan=np.inf)) < _GROWTH) & (np.abs(_turn(rest)) < _TURN)


def _turn(shapes: Array) -> Array:
    """(M,) rad, of the rotation nearest to each of (M,2,2)."""
    return np.arctan2(shapes[:, 1, 0] - shapes[:, 0, 1], shapes[:, 0, 0] + shapes[:, 1, 1])


def _inverse(shapes: Array) -> Array:
    """Of (M,2,2); infinite where there is none."""
    (a, b), (c, d) = shapes[:, 0].T, shapes[:, 1].T
    return np.stack([d, -b, -c, a], 1).reshape(-1, 2, 2) / (a * d - b * c)[:, None, None]


def _fit(
    matched: Matched, support: NDArray[np.bool_], alive: NDArray[np.bool_], thing: Photo, scene: Photo,
    *, max_error: float, tests: int, seed: int,
) -> Instance | None:  # fmt: skip
    """A homography from a seed's supporters, grown over all matches, if it could be a picture of the object."""
    import cv2

    a, b = matched.object_xy[support], matched.scene_xy[support]
    spread = math.sqrt(max(np.linalg.det(np.cov(b.T)), 0.0)) if len(b) > 2 else 0.0
    error = min(max_error, max(1.0, 0.2 * math.sqrt(spread)))
    model = estimate("H", a, b, max_error=error, noise=error / 4, seed=seed)
    if model is None:
        return None
    homography = model.matrix
    for _ in range(3):
        inliers = _inliers(matched, homography, alive, error)
        if len(inliers) < 5:
            return None
        refined = cv2.findHomography(matched.object_xy[inliers], matched.scene_xy[inliers], 0)[0]
        if refined is None or not np.isfinite(refined).all():
            return None
        homography = np.asarray(refined, np.float64)
    corners = _corners(homography, thing)
    if corners is None or not plausible(homography, corners, thing, scene):
        return None
    errors, on_object = _errors(matched, homography)
    inliers = _inliers(matched, homography, alive, error)
    if len(inliers) < 5:
        return None
    counted = np.full(len(matched), np.inf)
    counted[inliers] = on_object[inliers]
    chance = log_false_alarms_of(HOMOGRAPHY, counted, (thing.width, thing.height)) + math.log10(max(tests, 1))
    return Instance(
        homography / homography[2, 2],
        corners,
        matched.object_xy[inliers],
        matched.scene_xy[inliers],
        chance,
        float(np.median(errors[inliers])),
    )


def _errors(matched: Matched, homography: Array) -> tuple[Array, Array]:
    """(M,), (M,) distance of each match from the homography, in px of the scene and of the object.

    Chance is told on the object: a scene that lies beside the object, or is larger than it, then proves nothing.
    """
    carried = np.c_[matched.object_xy, np.ones(len(matched))] @ homography.T
    ahead = carried[:, 2] * np.sign(homography[2, 2] or 1.0) > 1e-9
    with np.errstate(divide="ignore", invalid="ignore"):
        in_scene = np.linalg.norm(carried[:, :2] / carried[:, 2:] - matched.scene_xy, axis=1)
        back = np.c_[matched.scene_xy, np.ones(len(matched))] @ np.linalg.inv(homography).T
        on_object = np.linalg.norm(back[:, :2] / back[:, 2:] - matched.object_xy, axis=1)
    bad = ~ahead | ~np.isfinite(in_scene) | ~np.isfinite(on_object)
    in_scene[bad] = on_object[bad] = np.inf
    return in_scene, on_object


def _jacobians(homography: Array, xy: Array) -> Array:
    """(M,2,2) what the homography does to the neighbourhood of each point (M,2)."""
    carried = np.c_[xy, np.ones(len(xy))] @ homography.T
    w = np.where(np.abs(carried[:, 2]) > 1e-12, carried[:, 2], 1e-12)
    at = carried[:, :2] / w[:, None]
    return (homography[None, :2, :2] - at[:, :, None] * homography[None, 2:, :2]) / w[:, None, None]


def _inliers(matched: Matched, homography: Array, alive: NDArray[np.bool_], max_error: float) -> NDArray[np.int64]:
    """Rows that the homography explains in place, rotation and scale; of each of the object's places the best."""
    errors, _ = _errors(matched, homography)
    good = alive & (errors <= max_error) & _agrees(matched, _jacobians(homography, matched.object_xy))
    rows = np.flatnonzero(good)
    rows = rows[np.argsort(errors[rows], kind="stable")]
    return np.sort(rows[np.unique(matched.places[rows], return_index=True)[1]])


def _corners(homography: Array, thing: Photo) -> Array | None:
    """(4,2) outer corners in the scene; None if one of them lies behind the camera."""
    w, h = thing.width - 0.5, thing.height - 0.5
    carried = np.array([[-0.5, -0.5, 1], [w, -0.5, 1], [w, h, 1], [-0.5, h, 1]]) @ homography.T
    if (np.abs(carried[:, 2]) < 1e-9).any() or len(set(np.sign(carried[:, 2]))) > 1:
        return None
    return carried[:, :2] / carried[:, 2:]


def _area(corners: Array) -> float:
    """Signed area, px^2; above 0 if the corners go clockwise on the screen."""
    x, y = corners.T
    return 0.5 * float((x * np.roll(y, -1) - np.roll(x, -1) * y).sum())


def plausible(homography: Array, corners: Array, thing: Photo, scene: Photo) -> bool:
    """Whether corners (4,2) can be those of a flat picture in a scene: convex, not mirrored, not needle-thin, not
    seen from the side, its middle in the scene."""
    sides = np.roll(corners, -1, axis=0) - corners
    turns = sides[:, 0] * np.roll(sides[:, 1], -1) - sides[:, 1] * np.roll(sides[:, 0], -1)
    lengths = np.linalg.norm(sides, axis=1)
    if not (turns > 0).all() or lengths.min() < _SMALLEST:
        return False
    if max(lengths[0] / lengths[2], lengths[2] / lengths[0], lengths[1] / lengths[3], lengths[3] / lengths[1]) > 4:
        return False
    if lengths.max() > 20 * max(scene.width, scene.height):
        return False
    middle = np.array([[(thing.width - 1) / 2, (thing.height - 1) / 2]])
    stretch = np.linalg.svd(_jacobians(homography, middle)[0], compute_uv=False)
    if stretch[0] > _STEEPEST * max(stretch[1], 1e-12):
        return False
    inside = (corners.max(0) > 0).all() and corners.min(0)[0] < scene.width and corners.min(0)[1] < scene.height
    return bool(inside)


def _overlap(a: Array, b: Array) -> float:
    """Intersection over union of two convex quadrilaterals (4,2)."""
    import cv2

    both = cv2.intersectConvexConvex(a.astype(np.float32), b.astype(np.float32))[0]
    return float(both / max(abs(_area(a)) + abs(_area(b)) - both, 1e-9))


def without_shadows(found: list[tuple[int, Instance]]) -> list[tuple[int, Instance]]:
    """Finds, the surest first, without those that lie where a surer one does: another edition of the same cover."""
    kept: list[tuple[int, Instance]] = []
    for index, instance in sorted(found, key=lambda item: item[1].log10_chance):
        if all(_overlap(instance.corners, other.corners) < 0.5 for _, other in kept):
            kept.append((index, instance))
    return kept
