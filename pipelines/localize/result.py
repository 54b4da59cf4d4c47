"""What localising a photo gives: a verdict, and a pose only if it was verified."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.core.config import finite
from pipelines.core.maps import Camera


class Verdict(StrEnum):
    """How sure a pose is."""

    FOUND = "found"
    UNCERTAIN = "uncertain"
    NOT_FOUND = "not found"


class Origin(StrEnum):
    """Where the intrinsics came from."""

    GIVEN = "given"
    MAP = "map"
    """The map holds photos of the same camera, by EXIF or, without it, by size and fit; theirs are used as refined."""
    EXIF = "exif"
    """EXIF's focal length, refined with the pose, as are principal point and radial distortion."""
    ESTIMATED = "estimated"
    """Nothing was known: focal length, principal point and radial distortion were found together with the pose."""


@dataclass(frozen=True)
class QueryPose:
    """A verified pose of a query photo.

    Attributes:
        cam_from_world: (3,4) float64, x_cam = R x_world + t, in the units of the map.
        camera: intrinsics, recon's pixel convention.
        origin: where they came from.
        component: folder of the map's model that the pose refers to, e.g. ``sparse/0``.
        inliers: keypoints of the query that agree with the pose, each counted once.
        guided: further ones, found where the pose says that points of the map are seen; they make it more exact, but
            say nothing for it.
        correspondences: keypoints of the query that were matched with a point of the map.
        coverage: share of the 8 x 8 cells of the photo that hold an inlier.
        error: median reprojection error of the inliers, px.
        centre_sigma: standard deviation of the camera's centre, map units: root of the covariance's trace.
        rotation_sigma: the same of the rotation, radians.
        depth: median distance of the inliers' points from the camera, map units.
        metric: whether the map's units are metres, see ``recon map align``.
        place: latitude and longitude in degrees, altitude in metres, if the map knows where on earth it is.

    Both standard deviations follow from the inliers' residuals, from how exactly each point was triangulated and,
    where intrinsics were not given or the map's, from what the photo leaves open of them. What all points have in
    common, the error of the map's cameras, is not in them.
    """

    cam_from_world: NDArray[np.float64]
    camera: Camera
    origin: Origin
    component: str
    inliers: int
    correspondences: int
    coverage: float
    error: float
    centre_sigma: float
    rotation_sigma: float
    depth: float
    guided: int = 0
    metric: bool = False
    place: tuple[float, float, float] | None = None

    @property
    def centre(self) -> NDArray[np.float64]:
        """(3,) camera centre in the world."""
        return -self.cam_from_world[:, :3].T @ self.cam_from_world[:, 3]

    @property
    def quaternion(self) -> NDArray[np.float64]:
        """(4,) rotation cam_from_world as w, x, y, z of unit length, w >= 0."""
        from scipy.spatial.transform import Rotation

        return Rotation.from_matrix(self.cam_from_world[:, :3]).as_quat(canonical=True, scalar_first=True)

    @property
    def ratio(self) -> float:
        """Inliers over correspondences."""
        return self.inliers / max(1, self.correspondences)


@dataclass(frozen=True)
class MatchedPhoto:
    """A photo of the map that the query was matched with.

    Attributes:
        matches: matches with keypoints that see a point of the map.
        inliers: those that agree with the pose.
    """

    name: str
    matches: int
    inliers: int


@dataclass(frozen=True)
class Evidence:
    """The correspondences behind a verdict, for pictures and checks.

    Attributes:
        xy: (N,2) float64 pixels of the query.
        xyz: (N,3) float64 points of the map.
        inliers: (N,) bool.
    """

    xy: NDArray[np.float64]
    xyz: NDArray[np.float64]
    inliers: NDArray[np.bool_]


@dataclass(frozen=True)
class Localisation:
    """The answer for one query photo.

    Attributes:
        name: of the query.
        verdict: see :class:`Verdict`.
        reason: in plain words, what the verdict rests on.
        try_: what may help; empty if found.
        pose: None exactly if the verdict is ``not found``.
        keypoints: number found in the query.
        photos: photos of the map that it was matched with, most inliers first.
        timings: seconds per stage.
        evidence: None if nothing was matched.
    """

    name: str
    verdict: Verdict
    reason: str
    try_: str = ""
    pose: QueryPose | None = None
    keypoints: int = 0
    photos: tuple[MatchedPhoto, ...] = ()
    timings: Mapping[str, float] = field(default_factory=dict)
    evidence: Evidence | None = None

    def as_plain(self) -> dict[str, Any]:
        """A JSON value; angles in degrees."""
        return {
            "query": self.name,
            "verdict": str(self.verdict),
            "reason": self.reason,
            "try": self.try_,
            "keypoints": self.keypoints,
            "pose": None if self.pose is None else _plain_pose(self.pose),
            "matched_with": [
                {"name": photo.name, "matches": photo.matches, "inliers": photo.inliers} for photo in self.photos
            ],
            "seconds": dict(self.timings),
        }


def _plain_pose(pose: QueryPose) -> dict[str, Any]:
    camera = pose.camera
    return {
        "cam_from_world": {
            "quaternion_wxyz": pose.quaternion.tolist(),
            "translation": pose.cam_from_world[:, 3].tolist(),
            "matrix": pose.cam_from_world.tolist(),
        },
        "centre": pose.centre.tolist(),
        "unit": "metres" if pose.metric else "map units",
        "place": None
        if pose.place is None
        else dict(zip(("latitude", "longitude", "altitude"), pose.place, strict=True)),
        "component": pose.component,
        "intrinsics": {
            "model": camera.model,
            "width": camera.width,
            "height": camera.height,
            "params": list(camera.params),
            "origin": str(pose.origin),
            "estimated": pose.origin is Origin.ESTIMATED,
        },
        "inliers": pose.inliers,
        "guided": pose.guided,
        "correspondences": pose.correspondences,
        "inlier_ratio": round(pose.ratio, 4),
        "coverage": round(pose.coverage, 4),
        "reprojection_error_px": round(pose.error, 4),
        "sigma_centre": finite(pose.centre_sigma),
        "sigma_rotation_deg": finite(float(np.degrees(pose.rotation_sigma))),
        "sigma_includes_map_error": False,
    }
