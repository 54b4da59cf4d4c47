"""One photo to its place in a map: features, similar photos, matches, pose, verdict."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import numpy as np

from pipelines.core.errors import ConfigError, InputError
from pipelines.core.types import Camera, Features, Photo
from pipelines.images.cameras import CameraConfig, camera_prior
from pipelines.localize.map import LocalMap
from pipelines.localize.matching import Correspondences, QueryMatcher
from pipelines.localize.pose import coverage, fit_pose, project, sigmas
from pipelines.localize.result import Evidence, Localisation, MatchedPhoto, Origin, QueryPose, Verdict
from pipelines.localize.verdict import judge

_FEW = 20
"""Keypoints below which a query says nothing."""


@dataclass(frozen=True)
class LocalizeConfig:
    """How photos are localised.

    Attributes:
        cameras: given intrinsics and camera model of the queries, if any.
        photos: photos of the map, those that look most alike, that a query is matched with.
        max_error: px at 1,600 px, largest reprojection error of an inlier; scaled with the photo's longer side.
    """

    cameras: CameraConfig = field(default_factory=CameraConfig)
    photos: int = 10
    max_error: float = 4.0

    def __post_init__(self) -> None:
        if self.photos < 1:
            raise ConfigError(f"{self.photos} photos to match with are too few", "it must be 1 or more", "--photos 10")
        if not 0 < self.max_error <= 100:
            raise ConfigError(
                f"A threshold of {self.max_error:g} px is not possible", "it lies between 0 and 100", "--max-error 4"
            )


@dataclass(frozen=True)
class _Guess:
    """Intrinsics to try."""

    camera: Camera
    origin: Origin


class Localizer:
    """A map in memory that answers queries."""

    def __init__(self, target: LocalMap, config: LocalizeConfig) -> None:
        self._map, self._config = target, config
        self._matcher = QueryMatcher(target)

    def localize(self, photo: Photo) -> Localisation:
        """Where a photo was taken, or why that cannot be said. A query that cannot be read is ``not found`` too.

        Raises:
            ConfigError: the given intrinsics do not fit the photo.
        """
        seconds: dict[str, float] = {}
        guesses = self._guesses(photo)
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
            numbers = self._matcher.similar(features, self._config.photos)
        with _clock(seconds, "matching"):
            tables = self._matcher.match(features, numbers)
        with _clock(seconds, "pose"):
            answers = [self._place(photo, features, table, guesses) for table in tables]
        best = max(answers, key=_merit)
        return replace(best, timings=seconds)

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
        return max(answers, key=_merit)

    def _try(self, photo: Photo, features: Features, table: Correspondences, guess: _Guess) -> Localisation:
        xy = features.xy[table.keypoint].astype(np.float64)
        xyz = table.part.model.xyz[table.point]
        matched = len(np.unique(table.keypoint))
        free = guess.origin in (Origin.EXIF, Origin.ESTIMATED)
        fit = fit_pose(
            guess.camera,
            xy,
            xyz,
            max_error=self._config.max_error * max(1.0, max(photo.width, photo.height) / 1600),
            seed=self._map.seed,
            estimate_focal=guess.origin is Origin.ESTIMATED,
            refine_focal=free,
        )
        inliers = np.zeros(len(xy), bool) if fit is None else fit.inliers
        pose = None
        if fit is not None:
            kept, first = np.unique(table.keypoint[inliers], return_index=True)
            at = np.flatnonzero(inliers)[first]
            seen, depth = project(fit.camera, fit.cam_from_world, xyz[at])
            centre_sigma, rotation_sigma = sigmas(fit, xy, xyz, free_focal=free)
            pose = QueryPose(
                cam_from_world=fit.cam_from_world,
                camera=replace(fit.camera, source=str(guess.origin)),
                origin=guess.origin,
                component=table.part.folder,
                inliers=len(kept),
                correspondences=matched,
                coverage=coverage(fit.camera, xy[at]),
                error=float(np.median(np.linalg.norm(seen - xy[at], axis=1))),
                centre_sigma=centre_sigma,
                rotation_sigma=rotation_sigma,
                depth=float(np.median(depth)),
            )
        verdict, reason, advice = judge(pose, matched)
        return Localisation(
            photo.name,
            verdict,
            reason,
            advice,
            pose if verdict is not Verdict.NOT_FOUND else None,
            len(features),
            self._supporting(table, inliers if verdict is not Verdict.NOT_FOUND else inliers & False),
            evidence=Evidence(xy, xyz, inliers if verdict is not Verdict.NOT_FOUND else inliers & False),
        )

    def _supporting(self, table: Correspondences, inliers: np.ndarray) -> tuple[MatchedPhoto, ...]:
        photos = [
            MatchedPhoto(self._map.files.photos[number].name, len(rows), int(inliers[rows].sum()))
            for number, rows in table.photos.items()
        ]
        return tuple(sorted(photos, key=lambda photo: (-photo.inliers, -photo.matches)))


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
