"""One photo to its place in a map: features, similar photos, matches, pose, verdict."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from pipelines.core.clock import timed
from pipelines.core.errors import ConfigError, InputError
from pipelines.core.maps import Camera
from pipelines.core.thresholds import threshold_scale
from pipelines.core.types import Features, Photo
from pipelines.geometry.earth import to_places
from pipelines.images.cameras import CameraConfig, camera_prior
from pipelines.images.read import pixel_size, read_gray
from pipelines.localize.guided import guided_matches, view_distances
from pipelines.localize.map import Component, LocalMap
from pipelines.localize.matching import Correspondences, Near, QueryMatcher
from pipelines.localize.pose import Fit, coverage, fit_pose, project, refit
from pipelines.localize.refine import OFF_CENTRE, Prior
from pipelines.localize.result import Evidence, Localisation, MatchedPhoto, Origin, QueryPose, Verdict
from pipelines.localize.sightings import Sightings, sightings
from pipelines.localize.verdict import judge
from pipelines.matching.candidates import first_at_place

_FEW = 20
"""Keypoints below which a query says nothing."""

_EXIF_SIGMA = 0.05
"""Of EXIF's focal length, as a share of it."""
_MAP_CAMERAS = 3
"""Cameras of the map that are tried for a photo without EXIF."""
_AS_MANY, _AS_NEAR, _AS_LONG = 0.97, 1.3, 0.025
"""Share of the inliers, times the error, and difference in focal length with which a camera of the map counts as the
photo's. Of 38 photos of et, kermit, crazyhorse and cyprus, each without EXIF in a map of the others that were taken by
the same camera, all had 0.99, 1.23 and 0.023 at worst."""


@dataclass(frozen=True)
class LocalizeConfig:
    """How photos are localised.

    Attributes:
        cameras: given intrinsics and camera model of the queries, if any.
        photos: photos of the map, those that look most alike, that a query is matched with.
        max_error: px at 1,600 px, largest reprojection error of an inlier; scaled with the photo's longer side.
        guided: look for further points of the map where a pose says that they are seen, and refine with them.
        near: a place: match with photos of the map that were taken near it, and give no pose away from it.
        map_cameras: a photo without EXIF may be by a camera of the map; without this its focal length is estimated.
    """

    cameras: CameraConfig = field(default_factory=CameraConfig)
    photos: int = 10
    max_error: float = 4.0
    guided: bool = True
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

    def prior(self, part: Component) -> Prior | None:
        """Of the intrinsics of a photo of a map's model; None if they are known."""
        focal = {Origin.EXIF: _EXIF_SIGMA, Origin.ESTIMATED: float("inf")}.get(self.origin)
        return None if focal is None else Prior(focal, max(OFF_CENTRE, part.off_centre))


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
        with timed(seconds, "pose"):
            answers = [self._place(photo, ready.features, table, guesses) for table in ready.tables]
        best = _held_to(self._config.near, max(answers, key=_merit))
        pose = None if best.pose is None else self._on_earth(best.pose)
        return replace(best, pose=pose, timings=seconds)

    def prepare(self, photo: Photo) -> Prepared | Localisation:
        """A query's features and matches, which do not depend on intrinsics; or why it has none."""
        seconds: dict[str, float] = {}
        try:
            with timed(seconds, "features"):
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
        with timed(seconds, "retrieval"):
            numbers = self._matcher.similar(features, self._config.photos, self._config.near)
        with timed(seconds, "matching"):
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
        photos, wanted = self._map.files.photos, self._config.cameras.model
        for part in self._map.components:
            for number, camera in part.cameras.items():
                if wanted in ("", camera.model) and _key(photos[number]) == _key(photo):
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
        point = table.point
        seen = self._sightings(photo, features, table.part, table.keypoint, point)
        matched = len(np.unique(table.keypoint))
        max_error = self._config.max_error * threshold_scale(photo)
        prior = guess.prior(table.part)
        fit = fit_pose(guess.camera, seen, max_error=max_error, seed=self._map.seed, prior=prior)
        pose = None if fit is None else _measured(fit, seen, table, guess)
        verdict, reason, advice = judge(pose, matched)
        if fit is None or pose is None or verdict is Verdict.NOT_FOUND:
            none = np.zeros(len(seen), bool)
            photos, evidence = self._supporting(table, none), Evidence(seen.xy, seen.xyz, none)
            return Localisation(
                photo.name, verdict, reason, advice, keypoints=len(features), photos=photos, evidence=evidence
            )
        photos, guided = self._supporting(table, fit.inliers), 0
        if self._config.guided:
            keypoint, fresh = self._guided(features, table, fit, max_error)
            more = self._sightings(photo, features, table.part, keypoint, fresh)
            both = seen + more
            start = replace(fit, inliers=np.concatenate([fit.inliers, np.ones(len(more), bool)]))
            again = refit(start, guess.camera, both, max_error=max_error, prior=prior)
            if again is not None:
                guided = int(again.inliers[len(seen) :].sum())
                fit, seen, point = again, both, np.concatenate([point, fresh])
        exactly, fit = self._exact(photo, table.part, point, fit, seen, guess, max_error) or (seen, fit)
        measured = _measured(fit, exactly, table, guess)
        pose = replace(measured, inliers=pose.inliers, coverage=pose.coverage, guided=guided)
        evidence = Evidence(seen.xy, seen.xyz, fit.inliers)
        return Localisation(photo.name, verdict, reason, advice, pose, len(features), photos, evidence=evidence)

    def _sightings(
        self, photo: Photo, features: Features, part: Component, keypoints: np.ndarray, points: np.ndarray
    ) -> Sightings:
        side = self._map.features.max_side
        pixel = pixel_size(photo.width, photo.height, side)
        return sightings(features, keypoints, part.model, points, pixel=pixel, max_side=side)

    def _exact(
        self, photo: Photo, part: Component, points: np.ndarray, fit: Fit, seen: Sightings, guess: _Guess, limit: float
    ) -> tuple[Sightings, Fit] | None:
        """The sightings with places measured by grey values, and the pose that they give; None if the map does not
        know what is around its points."""
        if part.patches is None:
            return None
        rows, side = np.flatnonzero(fit.inliers), self._map.features.max_side
        try:
            image = read_gray(photo, side)
        except InputError:
            return None
        xy = seen.xy[rows].astype(np.float32)
        moved, good = part.patches.found_in(image, fit.camera, fit.cam_from_world, points[rows], xy)
        exact = seen.measured_anew(rows, moved, good, pixel_size(photo.width, photo.height, side))
        again = refit(fit, guess.camera, exact, max_error=limit, prior=guess.prior(part))
        return None if again is None else (exact, again)

    def _guided(
        self, features: Features, table: Correspondences, fit: Fit, max_error: float
    ) -> tuple[np.ndarray, np.ndarray]:
        """Keypoints, and points of the map that were looked for in the predicted view and found in them."""
        keypoint, point = table.keypoint[fit.inliers], table.point[fit.inliers]
        views, points = table.views, table.shown
        known = view_distances(features.descriptors[keypoint], views, np.searchsorted(points, point))
        fresh = np.flatnonzero(~np.isin(points, point))
        found = guided_matches(
            features,
            first_at_place(features.frames),
            fit,
            (table.part.model.xyz[points], views, fresh),
            radius=2 * max_error,
            limit=float(np.quantile(known, 0.9)),
        )
        found = found[~np.isin(found[:, 0], keypoint)]
        return found[:, 0], points[found[:, 1]]

    def _supporting(self, table: Correspondences, inliers: np.ndarray) -> tuple[MatchedPhoto, ...]:
        photos = [
            MatchedPhoto(self._map.files.photos[number].name, len(rows), int(inliers[rows].sum()))
            for number, rows in table.photos.items()
        ]
        return tuple(sorted(photos, key=lambda photo: (-photo.inliers, -photo.matches)))


def _measured(fit: Fit, seen: Sightings, table: Correspondences, guess: _Guess) -> QueryPose:
    """A fit with its figures, each keypoint counted once."""
    rows = np.flatnonzero(fit.inliers)
    _, first = np.unique(seen.xy[rows], axis=0, return_index=True)
    at = rows[first]
    projected, depth = project(fit.camera, fit.cam_from_world, seen.xyz[at])
    return QueryPose(
        cam_from_world=fit.cam_from_world,
        camera=replace(fit.camera, source=str(guess.origin)),
        origin=guess.origin,
        component=table.part.folder,
        inliers=len(at),
        correspondences=len(np.unique(table.keypoint)),
        coverage=coverage(fit.camera, seen.xy[at]),
        error=float(np.median(np.linalg.norm(projected - seen.xy[at], axis=1))),
        centre_sigma=fit.centre_sigma,
        rotation_sigma=fit.rotation_sigma,
        depth=float(np.median(depth)),
    )


def _fits(camera: Camera, photo: Photo) -> bool:
    return (camera.width, camera.height) == (photo.width, photo.height)


def _as_good(answer: Localisation, other: Localisation) -> bool:
    if answer.pose is None or other.pose is None:
        return False
    alike = abs(answer.pose.camera.params[0] / other.pose.camera.params[0] - 1) <= _AS_LONG
    as_many = answer.pose.inliers >= _AS_MANY * other.pose.inliers
    return alike and as_many and answer.pose.error <= _AS_NEAR * other.pose.error


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
