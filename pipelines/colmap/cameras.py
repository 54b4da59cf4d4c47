"""Cameras to and from COLMAP."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipelines.core.maps import Camera

if TYPE_CHECKING:
    import pycolmap


def load_pycolmap() -> Any:
    """pycolmap with its log kept off the terminal: errors reach the user through our own hierarchy."""
    import pycolmap

    pycolmap.logging.minloglevel = pycolmap.logging.Level.FATAL.value
    return pycolmap


def to_colmap(camera: Camera, camera_id: int = 0) -> pycolmap.Camera:
    """COLMAP's camera for ours; only a focal length that was given or read from EXIF counts as known."""
    pycolmap = load_pycolmap()
    made = pycolmap.Camera(
        model=camera.model, width=camera.width, height=camera.height, params=np.array(camera.params, np.float64)
    )
    made.camera_id = camera_id
    params = made.params.copy()
    params[list(made.principal_point_idxs())] += 0.5
    made.params = params
    made.has_prior_focal_length = camera.source != "guess"
    return made


def from_colmap(camera: pycolmap.Camera, source: str) -> Camera:
    """Our camera for COLMAP's."""
    params = camera.params.copy()
    params[list(camera.principal_point_idxs())] -= 0.5
    return Camera(camera.model_name, camera.width, camera.height, tuple(float(value) for value in params), source)


def rays_of_pixels(camera: Camera, xy: NDArray) -> NDArray[np.float64]:
    """(N,2) pixels -> (N,2) points of the plane z = 1 of the camera's frame, lens distortion removed; NaN if none."""
    rays = to_colmap(camera).cam_from_img(np.asarray(xy, np.float64) + 0.5)
    return np.asarray(rays, np.float64).reshape(-1, 2)


def pixels_of_rays(camera: Camera, rays: NDArray) -> NDArray[np.float64]:
    """(N,2) points of the plane z = 1 of the camera's frame -> (N,2) pixels, lens distortion applied."""
    flat = np.asarray(rays, np.float64)
    pixels = to_colmap(camera).img_from_cam(np.column_stack([flat, np.ones(len(flat))]))
    return np.asarray(pixels, np.float64).reshape(-1, 2) - 0.5
