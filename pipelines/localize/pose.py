"""Correspondences to a pose: RANSAC, refinement, strict inliers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipelines import colmap
from pipelines.core.maps import Camera
from pipelines.localize.refine import Prior, Refined, refine
from pipelines.localize.sightings import Sightings

_LOOSE = 3.0
"""RANSAC's threshold over the strict one: EXIF's focal length is a few per cent off, 10 px at the photo's edge."""
_ROUNDS = 3
_CELLS = 8
_LEAST = 6
_FOCAL_LONG_SIDES = (0.2, 30.0)
"""Focal lengths, in long sides of the photo, that a lens may have."""


def project(
    camera: Camera, cam_from_world: NDArray[np.float64], xyz: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(N,2) pixels and (N,) depths along the optical axis of world points (N,3); NaN pixels behind the camera."""
    seen = xyz @ cam_from_world[:, :3].T + cam_from_world[:, 3]
    front = seen[:, 2] > 1e-9
    xy = np.full((len(xyz), 2), np.nan)
    if front.any():
        xy[front] = colmap.pixels_of_rays(camera, seen[front, :2] / seen[front, 2:])
    return xy, seen[:, 2]


def reprojection_errors(
    camera: Camera, cam_from_world: NDArray[np.float64], xy: NDArray[np.float64], xyz: NDArray[np.float64]
) -> NDArray[np.float64]:
    """(N,) distances in px between keypoints and their points as the camera sees them; infinite behind it."""
    errors = np.linalg.norm(project(camera, cam_from_world, xyz)[0] - xy, axis=1)
    return np.where(np.isfinite(errors), errors, np.inf)


@dataclass(frozen=True)
class Fit(Refined):
    """A pose as it fits its sightings.

    Attributes:
        inliers: (N,) bool, the sightings that it was fitted to.
    """

    inliers: NDArray[np.bool_]


def fit_pose(camera: Camera, seen: Sightings, *, max_error: float, seed: int, prior: Prior | None = None) -> Fit | None:
    """RANSAC with a loose threshold, then refinement and a new choice of inliers with the strict one.

    Args:
        camera: of the photo.
        seen: keypoints and points, of which many may be wrong.
        max_error: the strict threshold, px.
        seed: RANSAC's.
        prior: of the intrinsics, RANSAC looks for a focal length of which nothing is known; None if they are known
            altogether.

    Returns:
        None if no pose has six strict inliers.
    """
    unknown = prior is not None and np.isinf(prior.focal)
    found = colmap.absolute_pose(
        camera, seen.xy, seen.xyz, max_error=_LOOSE * max_error, seed=seed, estimate_focal=unknown
    )
    if found is None:
        return None
    start = Fit(found.camera, found.cam_from_world, np.inf, np.inf, found.inliers)
    return refit(start, camera, seen, max_error=max_error, prior=prior)


def refit(fit: Fit, camera: Camera, seen: Sightings, *, max_error: float, prior: Prior | None) -> Fit | None:
    """The pose refined on the inliers, and which sightings are strict ones of it, until these are settled.

    Args:
        fit: where to begin.
        camera: what was known of the photo's camera.
        seen, max_error, prior: as of :func:`fit_pose`.

    Returns:
        None if fewer than six strict inliers are left.
    """
    for _ in range(_ROUNDS):
        if fit.inliers.sum() < _LEAST:
            return None
        refined = refine(fit.camera, fit.cam_from_world, seen[fit.inliers], known=camera, prior=prior)
        if refined is None or not _possible(refined.camera):
            return None
        errors = reprojection_errors(refined.camera, refined.cam_from_world, seen.xy, seen.xyz)
        before, inliers = fit.inliers, errors <= max_error
        fit = Fit(refined.camera, refined.cam_from_world, refined.centre_sigma, refined.rotation_sigma, inliers)
        if (inliers == before).all():
            break
    return fit if fit.inliers.sum() >= _LEAST else None


def _possible(camera: Camera) -> bool:
    share = camera.params[0] / max(camera.width, camera.height)
    return _FOCAL_LONG_SIDES[0] <= share <= _FOCAL_LONG_SIDES[1]


def coverage(camera: Camera, xy: NDArray[np.float64]) -> float:
    """Share of the 8 x 8 cells of the photo that hold one of the pixels (N,2)."""
    cells = np.floor((xy + 0.5) / (camera.width, camera.height) * _CELLS).astype(int).clip(0, _CELLS - 1)
    return len(np.unique(cells, axis=0)) / _CELLS**2 if len(xy) else 0.0
