"""One photo to its place in a map: features, similar photos, matches, pose, verdict."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import numpy as np

from pipelines.colmap import FittedPose
from pipelines.core.errors import ConfigError, InputError
from pipelines.core.types import Camera, Features, Photo
from pipelines.geometry.earth import to_places
from pipelines.images.cameras import CameraConfig, camera_prior
from pipelines.localize.guided import guided_matches, paired_distances
from pipelines.localize.map import LocalMap
from pipelines.localize.matching import Correspondences, Near, QueryMatcher
from pipelines.localize.pose import coverage, fit_pose, project, refit, sigmas
from pipelines.localize.result import Evidence, Localisation, MatchedPhoto, Origin, QueryPose, Verdict
from pipelines.localize.verdict import judge
from pipelines.matching.match import first_at_place

_FEW = 20
"""Keypoints below which a query says nothing."""

_OFF_CENTRE = 0.005
"""Sigma of a principal point that is only assumed, as a share of the longer side: 4 to 6 px in sample_data."""
_MAP_CAMERAS = 3
"""Cameras of the map that are tried for a photo without EXIF."""
_AS_MANY, _AS_NEAR = 0.97, 1.1
"""Share of the inliers, and times the error, with which a camera of the map counts as the photo's."""


@dataclass(frozen=True)
class LocalizeConfig:
    """How photos are localised.

    Attributes:
        cameras: given intrinsics and camera model of the queries, if any.
        photos: photos of the map, those that look most alike, that a query is matched with.
        max_error: px at 1,600 px, largest reprojection error of an inlier; scaled with the photo's longer side.
        guided: look for further points of the map where a pose says that they are seen, and refine with them.
        near: match only with photos of the map that were taken near a place, and give no pose away from it.
        map_cameras: a photo without EXIF may be by a camera of the map; without this its focal length is estimated.
    """

    cameras: CameraConfig = field(default_factory=CameraConfig)
    photos: int = 10
    max_error: float = 4.0
    guided: bool = False
    map_cameras: bool = True
    near: Near | None = None

    def __post_init__(self) -> None:
        if self.photos < 1:
            raise ConfigError(f"{self.photos} photos to match with are too few", "it must be 1 or more", "--photos 10")
        if self.near is not None and not (np.isfinite(self.near.centre).all() and self.near.radius > 0):
            raise ConfigError("The place given with --near is none", "", "--near X,Y,Z,RADIUS in units of the map")
        if not 0 < self.max_error <= 100:
            raise ConfigError(
                f"A threshold of {self.max_error:g} px is not possible", "it lies between 0 and 100", "--max-error 4"
            )


@dataclass(frozen=True)
class _Guess:
    """Intrinsics to try."""

    camera: Camera
    origin: Origin

    @property
    def free(self) -> bool:
        """Whether the focal length is fitted with the pose."""
        return self.origin in (Origin.EXIF, Origin.ESTIMATED)


@dataclass(frozen=True)
class Prepared:
    """A query before its pose is asked for.

    Attributes:
        features: of the query.
        numbers: photos of the map that look most like it, best first.
        tables: its matches with points of the map, one table per model.
        seconds: per stage.
    """

    features: Features
    numbers: tuple[int, ...]
    tables: tuple[Correspondences, ...]
    seconds: Mapping[str, float]


class Localizer:
    """A map in memory that answers queries."""

    def __init__(self, target: LocalMap, config: LocalizeConfig, matcher: QueryMatcher | None = None) -> None:
        self._map, self._config = target, config
        self._matcher = matcher or QueryMatcher(target)

    def localize(self, photo: Photo, prepared: Prepared | None = None) -> Localisation:
        """Where a photo was taken, or why that cannot be said. A query that cannot be read is ``not found`` too.

        Args:
            photo: the query.
            prepared: what :meth:`prepare` made of it, if that was done already.

        Raises:
            ConfigError: the given intrinsics do not fit the photo.
        """
        guesses = self._guesses(photo)
        ready = prepared or self.prepare(photo)
        if isinstance(ready, Localisation):
            return ready
        seconds = dict(ready.seconds)
        with _clock(seconds, "pose"):
            answers = [self._place(photo, ready.features, table, guesses) for table in ready.tables]
        best = _held_to(self._config.near, max(answers, key=_merit))
        pose = None if best.pose is None else self._on_earth(best.pose)
        return replace(best, pose=pose, timings=seconds)

    def prepare(self, photo: Photo) -> Prepared | Localisation:
        """A query's features and matches, which do not depend on intrinsics; or why it has none."""
        seconds: dict[str, float] = {}
        try:
            with _clock(seconds, "features"):
                features = self._matcher.describe(photo)
        except InputError as error:
            reason = error.what + (f": {error.why}" if error.why else "")
            return Localisation(photo.name, Verdict.NOT_FOUND, reason, error.try_, timings=seconds)
        if len(features) < _FEW:
            return Localisation(
                photo.name,
                Verdict.NOT_FOUND,
                f"only {len(features)} keypoints were found in it",
                "a sharper photo with more texture in view",
                keypoints=len(features),
                timings=seconds,
            )
        with _clock(seconds, "retrieval"):
            numbers = self._matcher.similar(features, self._config.photos, self._config.near)
        if not numbers:
            reason = "no photo of the map was taken near the given place"
            return Localisation(photo.name, Verdict.NOT_FOUND, reason, "--near with a larger radius", timings=seconds)
        with _clock(seconds, "matching"):
            tables = self._matcher.match(features, numbers)
        return Prepared(features, tuple(numbers), tuple(tables), seconds)

    def _on_earth(self, pose: QueryPose) -> QueryPose:
        """The pose with what the map knows of its world."""
        known = self._map.alignments.get(pose.component)
        if known is None:
            return pose
        if known.origin is None:
            return replace(pose, metric=True)
        latitude, longitude, altitude = to_places(pose.centre[None], known.origin)[0].tolist()
        return replace(pose, metric=True, place=(latitude, longitude, altitude))

    # --- intrinsics -----------------------------------------------------------------------------------------------

    def _guesses(self, photo: Photo) -> list[_Guess]:
        """Intrinsics in the order in which they are tried; the next only where those before it were not found."""
        prior = camera_prior(photo, self._config.cameras)
        if prior.source == "given":
            return [_Guess(prior, Origin.GIVEN)]
        unknown = _Guess(replace(prior, source="guess"), Origin.ESTIMATED)
        if prior.source != "exif":
            return [unknown]
        known = self._same_camera(photo)
        by_map = [_Guess(known, Origin.MAP)] if known is not None else []
        return [*by_map, _Guess(prior, Origin.EXIF), unknown]

    def _same_camera(self, photo: Photo) -> Camera | None:
        """The refined intrinsics of the map's photos of the same make, model, size and EXIF focal length."""
        for part in self._map.components:
            for number, camera in part.cameras.items():
                if self._config.cameras.model in ("", camera.model) and _key(self._map.files.photos[number]) == _key(
                    photo
                ):
                    return camera
        return None

    # --- pose -----------------------------------------------------------------------------------------------------

    def _place(self, photo: Photo, features: Features, table: Correspondences, guesses: list[_Guess]) -> Localisation:
        """The best answer within one model of the map."""
        answers: list[Localisation] = []
        for guess in guesses:
            answers.append(self._try(photo, features, table, guess))
            if answers[-1].verdict is Verdict.FOUND:
                break
        best = max(answers, key=_merit)
        known_lens = photo.exif.focal_px or not self._config.map_cameras
        if best.pose is None or best.pose.origin is not Origin.ESTIMATED or known_lens:
            return best
        # Nothing says what camera it was. If one of the map's explains the photo as well, it was that one: a focal
        # length that need not be estimated makes the pose several times more exact.
        known = {camera: None for camera in table.part.cameras.values() if _fits(camera, photo)}
        for camera in list(known)[:_MAP_CAMERAS]:
            answer = self._try(photo, features, table, _Guess(camera, Origin.MAP))
            if answer.verdict is Verdict.FOUND and _as_good(answer, best):
                return answer
        return best

    def _try(self, photo: Photo, features: Features, table: Correspondences, guess: _Guess) -> Localisation:
        xy = features.xy[table.keypoint].astype(np.float64)
        xyz = table.part.model.xyz[table.point]
        matched = len(np.unique(table.keypoint))
        max_error = self._config.max_error * max(1.0, max(photo.width, photo.height) / 1600)
        fit = fit_pose(
            guess.camera,
            xy,
            xyz,
            max_error=max_error,
            seed=self._map.seed,
            estimate_focal=guess.origin is Origin.ESTIMATED,
            refine_focal=guess.free,
        )
        pose = None if fit is None else _measured(fit, xy, xyz, table, guess)
        verdict, reason, advice = judge(pose, matched)
        if fit is None or pose is None or verdict is Verdict.NOT_FOUND:
            none = np.zeros(len(xy), bool)
            photos, evidence = self._supporting(table, none), Evidence(xy, xyz, none)
            return Localisation(
                photo.name, verdict, reason, advice, keypoints=len(features), photos=photos, evidence=evidence
            )
        photos = self._supporting(table, fit.inliers)
        if self._config.guided:
            more, more_xy, more_xyz = self._guided(features, table, fit, max_error, guess.free)
            again = _measured(more, more_xy, more_xyz, table, guess)
            if again.centre_sigma <= pose.centre_sigma:
                guided = int(more.inliers[len(xy) :].sum())
                pose = replace(again, inliers=pose.inliers, coverage=pose.coverage, guided=guided)
                fit, xy, xyz = more, more_xy, more_xyz
        return Localisation(
            photo.name, verdict, reason, advice, pose, len(features), photos, evidence=Evidence(xy, xyz, fit.inliers)
        )

    def _guided(
        self, features: Features, table: Correspondences, fit: FittedPose, max_error: float, free_focal: bool
    ) -> tuple[FittedPose, np.ndarray, np.ndarray]:
        """The pose with points of the map that were looked for in the predicted view, and its correspondences."""
        keypoint, point = table.keypoint[fit.inliers], table.point[fit.inliers]
        supporting = sorted(table.photos, key=lambda number: -int(fit.inliers[table.photos[number]].sum()))
        points, described = self._matcher.points(table, supporting)
        row_of = np.searchsorted(points, point)
        known = paired_distances(features.descriptors[keypoint], described[row_of])
        fresh = ~np.isin(points, point)
        found = guided_matches(
            features,
            first_at_place(features.frames),
            fit,
            (table.part.model.xyz[points[fresh]], described[fresh]),
            radius=2 * max_error,
            limit=float(np.quantile(known, 0.9)),
        )
        found = found[~np.isin(found[:, 0], keypoint)]
        xy = features.xy[np.concatenate([table.keypoint, found[:, 0]])].astype(np.float64)
        xyz = table.part.model.xyz[np.concatenate([table.point, points[fresh][found[:, 1]]])]
        start = replace(fit, inliers=np.concatenate([fit.inliers, np.ones(len(found), bool)]))
        return refit(start, xy, xyz, max_error=max_error, free_focal=free_focal), xy, xyz

    def _supporting(self, table: Correspondences, inliers: np.ndarray) -> tuple[MatchedPhoto, ...]:
        photos = [
            MatchedPhoto(self._map.files.photos[number].name, len(rows), int(inliers[rows].sum()))
            for number, rows in table.photos.items()
        ]
        return tuple(sorted(photos, key=lambda photo: (-photo.inliers, -photo.matches)))


def _measured(fit: FittedPose, xy: np.ndarray, xyz: np.ndarray, table: Correspondences, guess: _Guess) -> QueryPose:
    """A fit with its figures, each keypoint counted once."""
    rows = np.flatnonzero(fit.inliers)
    _, first = np.unique(xy[rows], axis=0, return_index=True)
    at = rows[first]
    seen, depth = project(fit.camera, fit.cam_from_world, xyz[at])
    off_centre = _OFF_CENTRE * max(fit.camera.width, fit.camera.height) if guess.free else 0.0
    centre_sigma, rotation_sigma = sigmas(fit, xy, xyz, free_focal=guess.free, principal_sigma=off_centre)
    return QueryPose(
        cam_from_world=fit.cam_from_world,
        camera=replace(fit.camera, source=str(guess.origin)),
        origin=guess.origin,
        component=table.part.folder,
        inliers=len(at),
        correspondences=len(np.unique(table.keypoint)),
        coverage=coverage(fit.camera, xy[at]),
        error=float(np.median(np.linalg.norm(seen - xy[at], axis=1))),
        centre_sigma=centre_sigma,
        rotation_sigma=rotation_sigma,
        depth=float(np.median(depth)),
    )


def _fits(camera: Camera, photo: Photo) -> bool:
    return (camera.width, camera.height) == (photo.width, photo.height)


def _as_good(answer: Localisation, other: Localisation) -> bool:
    if answer.pose is None or other.pose is None:
        return False
    alike = answer.pose.inliers >= _AS_MANY * other.pose.inliers
    return alike and answer.pose.error <= _AS_NEAR * other.pose.error


def _held_to(near: Near | None, answer: Localisation) -> Localisation:
    """A pose elsewhere than the place that was given contradicts it, and is not given."""
    if near is None or answer.pose is None:
        return answer
    apart = float(np.linalg.norm(answer.pose.centre - near.centre))
    if apart <= near.radius:
        return answer
    told = f"{answer.reason}, but {apart:.3g} away from the given place, where at most {near.radius:.3g} was allowed"
    photos = tuple(replace(photo, inliers=0) for photo in answer.photos)
    evidence = answer.evidence and replace(answer.evidence, inliers=np.zeros_like(answer.evidence.inliers))
    return replace(
        answer,
        verdict=Verdict.NOT_FOUND,
        reason=told,
        try_="leave --near out",
        pose=None,
        photos=photos,
        evidence=evidence,
    )


def _merit(answer: Localisation) -> tuple[int, int]:
    rank = {Verdict.FOUND: 2, Verdict.UNCERTAIN: 1, Verdict.NOT_FOUND: 0}[answer.verdict]
    matched = max((photo.matches for photo in answer.photos), default=0)
    return rank, answer.pose.inliers if answer.pose is not None else matched


def _key(photo: Photo) -> tuple[str, str, int, int, float]:
    exif = photo.exif
    return exif.make, exif.model, photo.width, photo.height, round(exif.focal_px or 0, 1)


@contextmanager
def _clock(seconds: dict[str, float], stage: str) -> Iterator[None]:
    begin = time.perf_counter()
    try:
        yield
    finally:
        seconds[stage] = time.perf_counter() - begin
