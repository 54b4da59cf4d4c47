"""The pose of one camera from points seen in it, by COLMAP's LO-RANSAC."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipelines.colmap.cameras import from_colmap, load_pycolmap, to_colmap
from pipelines.core.maps import Camera

_MIN_POINTS = 4


@dataclass(frozen=True)
class FittedPose:
    """A camera's pose as it fits its points.

    Attributes:
        cam_from_world: (3,4).
        camera: with the focal length as given, or as it was estimated or refined.
        inliers: (N,) bool, the points that it was fitted to.
    """

    cam_from_world: NDArray[np.float64]
    camera: Camera
    inliers: NDArray[np.bool_]


def absolute_pose(
    camera: Camera,
    xy: NDArray[np.float64],
    xyz: NDArray[np.float64],
    *,
    max_error: float,
    seed: int,
    estimate_focal: bool = False,
) -> FittedPose | None:
    """Best pose for 2D-3D correspondences of which many may be wrong (LO-RANSAC over P3P, or P4Pf).

    Args:
        camera: of the photo.
        xy, xyz: (N,2) pixels and (N,3) points in the world.
        max_error: largest reprojection error of an inlier, px.
        seed: RANSAC's seed.
        estimate_focal: the camera's focal length is not known.

    Returns:
        None if no pose was found.
    """
    if len(xy) < _MIN_POINTS:
        return None
    pycolmap = load_pycolmap()
    options = pycolmap.AbsolutePoseEstimationOptions()
    options.estimate_focal_length = estimate_focal
    options.ransac.max_error = max_error
    options.ransac.random_seed = seed
    made = to_colmap(camera)
    found = pycolmap.estimate_absolute_pose(xy + 0.5, xyz, made, options)
    if found is None:
        return None
    pose = np.asarray(found["cam_from_world"].matrix(), np.float64)
    fitted = from_colmap(made, camera.source)
    if not (np.isfinite(pose).all() and np.isfinite(fitted.params).all()):
        return None
    return FittedPose(pose, fitted, np.asarray(found["inlier_mask"], bool).reshape(-1))
