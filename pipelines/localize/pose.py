"""Correspondences to a pose with its uncertainty: RANSAC, refinement, strict inliers, covariance."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from pipelines import colmap
from pipelines.colmap import FittedPose
from pipelines.core.types import Camera
from pipelines.images.cameras import MODELS

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


def fit_pose(
    camera: Camera,
    xy: NDArray[np.float64],
    xyz: NDArray[np.float64],
    *,
    max_error: float,
    seed: int,
    estimate_focal: bool,
    refine_focal: bool,
) -> FittedPose | None:
    """RANSAC with a loose threshold, then refinement and a new choice of inliers with the strict one.

    Args:
        camera: of the photo.
        xy, xyz: (N,2), (N,3) correspondences.
        max_error: the strict threshold, px.
        seed: RANSAC's.
        estimate_focal: nothing is known of the focal length.
        refine_focal: what is known of it may be a few per cent off.

    Returns:
        None if no pose has six strict inliers.
    """
    found = colmap.absolute_pose(
        camera, xy, xyz, max_error=_LOOSE * max_error, seed=seed, estimate_focal=estimate_focal
    )
    for _ in range(_ROUNDS):
        if found is None or found.inliers.sum() < _LEAST:
            return None
        found = colmap.refine_pose(found, xy, xyz, refine_focal=refine_focal or estimate_focal)
        if found is None or not _possible(found.camera):
            return None
        errors = reprojection_errors(found.camera, found.cam_from_world, xy, xyz)
        found = replace(found, inliers=errors <= max_error)
    if found is None or found.inliers.sum() < _LEAST:
        return None
    return found


def refit(
    fit: FittedPose, xy: NDArray[np.float64], xyz: NDArray[np.float64], *, max_error: float, free_focal: bool
) -> FittedPose:
    """The pose refined on more correspondences, and which of them are strict inliers; as it was if that fails."""
    found = fit
    for _ in range(_ROUNDS):
        refined = colmap.refine_pose(found, xy, xyz, refine_focal=free_focal)
        if refined is None or not _possible(refined.camera):
            return fit
        errors = reprojection_errors(refined.camera, refined.cam_from_world, xy, xyz)
        found = replace(refined, inliers=errors <= max_error)
    return found


def _possible(camera: Camera) -> bool:
    share = camera.params[0] / max(camera.width, camera.height)
    return _FOCAL_LONG_SIDES[0] <= share <= _FOCAL_LONG_SIDES[1]


def sigmas(
    fit: FittedPose,
    xy: NDArray[np.float64],
    xyz: NDArray[np.float64],
    *,
    free_focal: bool,
    principal_sigma: float = 0.0,
) -> tuple[float, float]:
    """Standard deviations of the camera's centre (map units) and rotation (radians): roots of the traces.

    The covariance is s^2 (J^T J)^-1 with the residuals' own variance s^2; points are taken as exact. pycolmap's own
    takes s = 1 px whatever the residuals are. To it comes what a wrong principal point shifts the least-squares
    solution by, p^2 G G^T with G = (J^T J)^-1 J^T J_p.

    Args:
        fit: the pose.
        xy, xyz: its correspondences.
        free_focal: the focal length was fitted too.
        principal_sigma: standard deviation p of the principal point, px.
    """
    kept = fit.inliers
    residuals = project(fit.camera, fit.cam_from_world, xyz[kept])[0] - xy[kept]
    rotation, centre = fit.cam_from_world[:, :3], -fit.cam_from_world[:, :3].T @ fit.cam_from_world[:, 3]
    distance = float(np.median(np.linalg.norm(xyz[kept] - centre, axis=1)))

    def moved(step: NDArray[np.float64]) -> NDArray[np.float64]:
        turned = _turn(step[:3]) @ rotation
        place = centre + step[3:6] * distance
        pose = np.column_stack([turned, -turned @ place])
        return project(_zoomed(fit.camera, 1 + step[6]), pose, xyz[kept])[0].ravel()

    jacobian = _differences(moved, 7 if free_focal else 6)
    freedom = max(1, residuals.size - jacobian.shape[1])
    variance = float((residuals**2).sum()) / freedom
    try:
        inverse = np.linalg.inv(jacobian.T @ jacobian)
    except np.linalg.LinAlgError:
        return float("inf"), float("inf")
    shift = inverse @ jacobian.T @ np.tile(np.eye(2), (len(residuals), 1))
    spread = np.clip(np.diag(inverse * variance + principal_sigma**2 * shift @ shift.T), 0, None)
    return float(np.sqrt(spread[3:6].sum()) * distance), float(np.sqrt(spread[:3].sum()))


def _differences(function: Callable[[NDArray], NDArray], count: int, step: float = 1e-5) -> NDArray[np.float64]:
    """Central differences (R,count) of a function of seven small numbers, at 0."""
    rows = np.eye(7)[:count] * step
    return np.stack([(function(row) - function(-row)) / (2 * step) for row in rows], axis=1)


def _turn(vector: NDArray[np.float64]) -> NDArray[np.float64]:
    from scipy.spatial.transform import Rotation

    return Rotation.from_rotvec(vector).as_matrix()


def _zoomed(camera: Camera, factor: float) -> Camera:
    names = MODELS[camera.model]
    focal = ("f", "fx", "fy")
    return replace(
        camera,
        params=tuple(
            value * factor if name in focal else value for name, value in zip(names, camera.params, strict=True)
        ),
    )


def coverage(camera: Camera, xy: NDArray[np.float64]) -> float:
    """Share of the 8 x 8 cells of the photo that hold one of the pixels (N,2)."""
    cells = np.floor((xy + 0.5) / (camera.width, camera.height) * _CELLS).astype(int).clip(0, _CELLS - 1)
    return len(np.unique(cells, axis=0)) / _CELLS**2 if len(xy) else 0.0
