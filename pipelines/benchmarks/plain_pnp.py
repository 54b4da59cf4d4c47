"""The peer of ``recon benchmark localize``: RootSIFT, a ratio test, OpenCV's solvePnPRansac, as in tutorials."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from descriptors.distances import nearest
from pipelines.core.maps import Camera
from pipelines.core.types import Features
from pipelines.engine import cores
from pipelines.localize.map import LocalMap

_RATIO = 0.8


def plain_pose(target: LocalMap, features: Features, camera: Camera, numbers: list[int]) -> NDArray[np.float64] | None:
    """Pose of a query by OpenCV's own defaults: 8 px, 100 rounds, no verification; None if it gives none.

    Args:
        target: a map of RootSIFT features.
        features: of the query, of the same kind.
        camera: its intrinsics; distortion is left out.
        numbers: photos of the map to match with; the same as recon's own.

    Returns:
        (3,4) cam_from_world.
    """
    part_of = target.registered()
    xy, xyz = [], []
    for number in numbers:
        part = part_of[number]
        if part is not target.components[0]:
            continue
        found, distance = nearest(features.descriptors, target.files.load(number).descriptors, 2, threads=cores())
        if found.shape[1] < 2:
            continue
        points = part.point_of[number]
        kept = np.flatnonzero((distance[:, 0] < _RATIO * distance[:, 1]) & (found[:, 0] < len(points)))
        point = points[found[kept, 0]]
        xy.append(features.xy[kept[point >= 0]])
        xyz.append(part.model.xyz[point[point >= 0]])
    if sum(map(len, xy)) < 4:
        return None
    try:
        ok, turn, shift, inliers = cv2.solvePnPRansac(
            np.concatenate(xyz), np.concatenate(xy).astype(np.float64), camera.K, np.zeros(4)
        )
    except cv2.error:
        return None
    if not ok or inliers is None:
        return None
    return np.column_stack([cv2.Rodrigues(turn)[0], shift.reshape(3)])
