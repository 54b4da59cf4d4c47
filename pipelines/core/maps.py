"""What maps are made of and what is told of them. Frozen; shapes and frames stand in each docstring.

Pixels and poses are those of :mod:`pipelines.core.types`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from pipelines.core.types import Rejected


@dataclass(frozen=True)
class Camera:
    """Intrinsics in COLMAP's parametrisation but recon's pixel convention (top-left pixel centre at (0, 0)).

    Attributes:
        model: COLMAP camera model name, e.g. ``SIMPLE_RADIAL``.
        width, height: pixels the parameters are given for.
        params: the model's parameters in COLMAP's order.
        source: ``given`` (by the user), ``exif``, or ``guess`` (1.2 x the longer side).
    """

    model: str
    width: int
    height: int
    params: tuple[float, ...]
    source: str

    @property
    def K(self) -> NDArray[np.float64]:
        """(3,3) intrinsics, lens distortion left out; without a focal length (panorama), those of 90 degrees."""
        p = self.params
        if self.model.startswith(("SIMPLE_", "RADIAL")):  # COLMAP's models with one focal length
            fx, fy, cx, cy = p[0], *p[:3]
        elif len(p) >= 4:
            fx, fy, cx, cy = p[:4]
        else:
            fx, fy, cx, cy = self.width / 2, self.width / 2, (self.width - 1) / 2, (self.height - 1) / 2
        return np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1.0]])


@dataclass(frozen=True)
class TwoView:
    """Verified geometry of a pair of photos (a, b).

    Attributes:
        raw: number of matches that were looked at: those of the descriptors alone and those the geometry confirmed.
        inliers: (M,2) int32 keypoint indices in a and b that agree with one epipolar geometry or homography.
        config: COLMAP's name of the configuration, e.g. ``CALIBRATED``, ``PLANAR``, ``DEGENERATE``.
        angle: median triangulation angle in radians, 0 where it is unknown.
        essential, fundamental, homography: (3,3) float64, x_b^T F x_a = 0 and x_b ~ H x_a in pixels; None if not
            estimated.
        b_from_a: (3,4) float64 relative pose with translation of unit length; None if not estimated.
    """

    raw: int
    inliers: NDArray[np.int32]
    config: str
    angle: float = 0.0
    essential: NDArray[np.float64] | None = None
    fundamental: NDArray[np.float64] | None = None
    homography: NDArray[np.float64] | None = None
    b_from_a: NDArray[np.float64] | None = None

    def __len__(self) -> int:
        return len(self.inliers)


@dataclass(frozen=True)
class Unregistered:
    """A photo that is not in the model: why, in plain words, and what to try."""

    name: str
    why: str
    try_: str


@dataclass(frozen=True)
class PhotoRow:
    """One line of the per-photo table of a map's report.

    Attributes:
        component: index of the model that holds the photo, None if it is in none.
        observations: keypoints of the photo that see a 3D point of its model.
        error: mean reprojection error in pixels, NaN if not registered.
        best: name of the photo with most verified matches, and their number.
    """

    name: str
    keypoints: int
    verified: int
    best: tuple[str, int] | None
    component: int | None
    observations: int
    error: float
    focal_px: float
    camera_source: str


@dataclass(frozen=True)
class MapSummary:
    """Everything that the report and ``recon.json`` say about a finished (or failed) run.

    Attributes:
        verdict: one sentence in plain words.
        photos: one row per readable photo, in name order.
        rejected: files that were no usable photos.
        unregistered: photos that are in no model, with reasons.
        links: verified pairs (name a, name b, verified matches, raw matches).
        components: per model, largest first: number of photos, points, mean track length, mean reprojection error (px).
        timings: seconds per stage, in the order of work.
        settings: option -> value as text, what the run was made with.
        versions: package -> version.
        peak_memory: bytes, of this process.
    """

    verdict: str
    photos: tuple[PhotoRow, ...]
    rejected: tuple[Rejected, ...]
    unregistered: tuple[Unregistered, ...]
    links: tuple[tuple[str, str, int, int], ...]
    components: tuple[ComponentRow, ...]
    timings: Mapping[str, float]
    settings: Mapping[str, str]
    versions: Mapping[str, str]
    peak_memory: int


@dataclass(frozen=True)
class ComponentRow:
    """One model of a map: its folder under ``sparse/`` and its figures."""

    folder: str
    photos: int
    points: int
    observations: int
    track_length: float
    error: float


def grouped(labels: NDArray[np.integer], count: int) -> list[NDArray[np.int64]]:
    """The rows (ascending) at which each of the labels 0, 1, … count - 1 stands in (N,)."""
    order = np.argsort(labels, kind="stable")
    return np.split(order, np.searchsorted(labels[order], np.arange(1, count)))[:count]


@dataclass(frozen=True)
class Model:
    """A sparse model, free of pycolmap, for reports, exporters and viewers.

    Attributes:
        names: photo names of the registered photos, I of them.
        cameras: one Camera per photo (I,).
        cam_from_world: (I,3,4) float64.
        xyz: (P,3) float64 points, x_in_world.
        rgb: (P,3) uint8.
        errors: (P,) float32 mean reprojection error in pixels.
        obs_image, obs_point: (O,) int32 indices into names and xyz: which photo sees which point.
        obs_keypoint: (O,) int32 index of the keypoint among the photo's features.
        obs_xy: (O,2) float32 pixels.
    """

    names: tuple[str, ...]
    cameras: tuple[Camera, ...]
    cam_from_world: NDArray[np.float64]
    xyz: NDArray[np.float64]
    rgb: NDArray[np.uint8]
    errors: NDArray[np.float32]
    obs_image: NDArray[np.int32]
    obs_point: NDArray[np.int32]
    obs_keypoint: NDArray[np.int32]
    obs_xy: NDArray[np.float32]

    @cached_property
    def rows_of_images(self) -> list[NDArray[np.int64]]:
        """The rows of the observations of each photo (I), in their order."""
        return grouped(self.obs_image, len(self.names))

    @cached_property
    def rows_of_points(self) -> list[NDArray[np.int64]]:
        """The rows of the observations of each point (P), in their order."""
        return grouped(self.obs_point, len(self.xyz))

    @property
    def track_lengths(self) -> NDArray[np.int64]:
        """(P,) number of photos that see each point."""
        return np.bincount(self.obs_point, minlength=len(self.xyz))

    @property
    def reprojection_errors(self) -> NDArray[np.float32]:
        """(O,) mean reprojection error of the point behind each observation, in pixels."""
        return self.errors[self.obs_point]

    @property
    def centres(self) -> NDArray[np.float64]:
        """(I,3) camera centres in world coordinates."""
        rotation, translation = self.cam_from_world[:, :, :3], self.cam_from_world[:, :, 3]
        return -np.einsum("ikj,ik->ij", rotation, translation)
