"""Photos and models as a camera without lens distortion would have taken them: what NeRF, splatting and MVS tools read.

The new camera has the photo's resolution at its centre, square pixels, and as much of the view as has no blank
pixels, at most 120 degrees of it.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipelines import colmap
from pipelines.core.errors import ConfigError, InputError
from pipelines.core.maps import Camera, Model
from pipelines.core.progress import Progress
from pipelines.core.types import Photo
from pipelines.engine import map_items
from pipelines.images import formats
from pipelines.images.exif import read_exif
from pipelines.images.read import read_color
from pipelines.store.files import write_errors

JPEG_QUALITY = 95
_JPEG_SUFFIXES = (".jpg", ".jpeg")
_WIDEST = math.tan(math.radians(60))  # of a pinhole photo's half view: beyond, it is mostly stretched border
_SMALLEST = 16
_ROWS = 256
_GROWTH = 3  # a camera that makes a photo grow by more is a mapping gone wrong


# --- cameras ----------------------------------------------------------------------------------------------------------


def pinhole_camera(camera: Camera, *, centred: bool = False) -> Camera:
    """The PINHOLE camera of a photo without distortion.

    Args:
        camera: of the photo as it was taken.
        centred: the principal point must lie in the middle and the pixels be square, as for formats that store one
            focal length and no principal point; the photo is cut to that.

    Raises:
        ConfigError: no pinhole camera can show this view (a full panorama, or nonsense parameters).
    """
    if _is_pinhole(camera, centred):
        fx, fy = (camera.params[0], camera.params[-3])
        return replace(camera, model="PINHOLE", params=(fx, fy, *camera.params[-2:]))
    left, top, right, bottom = _clear_view(camera)
    middle = np.array([(camera.width - 1) / 2, (camera.height - 1) / 2])
    cross = np.array([[-0.5, 0], [0.5, 0], [0, -0.5], [0, 0.5]])
    across = colmap.rays_of_pixels(camera, middle + cross)
    pixel = math.sqrt(abs((across[1, 0] - across[0, 0]) * (across[3, 1] - across[2, 1])))
    if centred:
        right, bottom = min(-left, right), min(-top, bottom)
        left, top = -right, -bottom
    spans = (right - left, bottom - top) if pixel > 0 else (0.0, 0.0)
    width, height = (math.floor(span / pixel + 1e-6) + 1 if span > 0 else 0 for span in spans)
    sane = min(width, height) >= _SMALLEST and max(width, height) <= _GROWTH * max(camera.width, camera.height)
    if camera.model == "EQUIRECTANGULAR" or not sane:
        raise ConfigError(
            f"Photos of a {camera.model} camera of {camera.width} x {camera.height} pixels cannot be undistorted",
            "no photo without distortion shows enough of their view",
            "recon export --to colmap, which keeps the camera as it is",
        )
    focal = 1 / pixel
    centre = ((width - 1) / 2, (height - 1) / 2) if centred else (-left * focal, -top * focal)
    return Camera("PINHOLE", width, height, (focal, focal, *centre), camera.source)


def _is_pinhole(camera: Camera, centred: bool) -> bool:
    if camera.model not in ("PINHOLE", "SIMPLE_PINHOLE"):
        return False
    in_middle = camera.params[-2:] == ((camera.width - 1) / 2, (camera.height - 1) / 2)
    return not centred or (in_middle and camera.params[0] == camera.params[-3])


def _clear_view(camera: Camera) -> tuple[float, float, float, float]:
    """Left, top, right and bottom of a rectangle in the plane z = 1 that lies within the photo."""
    x, y = np.arange(camera.width), np.arange(camera.height)
    edges = (
        (np.column_stack([np.zeros(len(y)), y]), 0, np.max, -_WIDEST),
        (np.column_stack([x, np.zeros(len(x))]), 1, np.max, -_WIDEST),
        (np.column_stack([np.full(len(y), camera.width - 1), y]), 0, np.min, _WIDEST),
        (np.column_stack([x, np.full(len(x), camera.height - 1)]), 1, np.min, _WIDEST),
    )
    bounds = []
    for pixels, axis, innermost, limit in edges:
        rays = colmap.rays_of_pixels(camera, pixels)
        # Where the lens sees past the plane (fisheye) COLMAP's answer does not lead back to the pixel.
        with np.errstate(invalid="ignore"):
            lost = ~(np.abs(colmap.pixels_of_rays(camera, rays) - pixels).max(axis=1) < 0.5)
        inner = rays[~lost, axis]
        bound = float(innermost(inner)) if len(inner) else limit
        bounds.append(max(bound, limit) if limit < 0 else min(bound, limit))
    return bounds[0], bounds[1], bounds[2], bounds[3]


def undistorted(model: Model, *, centred: bool = False) -> Model:
    """The same model seen by :func:`pinhole_camera`: new cameras, and observations moved to their pixels.

    Raises:
        ConfigError: see :func:`pinhole_camera`.
    """
    new = {camera: pinhole_camera(camera, centred=centred) for camera in dict.fromkeys(model.cameras)}
    obs_xy = np.empty_like(model.obs_xy)
    for camera, rows in zip(model.cameras, model.rows_of_images, strict=True):
        rays = colmap.rays_of_pixels(camera, model.obs_xy[rows])
        obs_xy[rows] = colmap.pixels_of_rays(new[camera], rays)
    return replace(model, cameras=tuple(new[camera] for camera in model.cameras), obs_xy=obs_xy)


# --- photos -----------------------------------------------------------------------------------------------------------


def write_photos(
    model: Model,
    pinholes: Sequence[Camera],
    photos: Mapping[str, Path],
    files: Mapping[str, Path],
    progress: Progress,
) -> None:
    """Write each photo of a model as its pinhole camera sees it, upright; a JPEG that fits already is copied.

    Args:
        model: with the cameras that took the photos.
        pinholes: one per photo of the model.
        photos: photo name -> where it stands.
        files: photo name -> file to write, JPEG or PNG by its ending.
        progress: told about each photo.

    Raises:
        InputError: a photo is missing or has changed.
        OutputError: a file cannot be written.
    """
    check_photos(model.names, photos)
    members: dict[tuple[Camera, Camera], list[str]] = {}
    for name, camera, pinhole in zip(model.names, model.cameras, pinholes, strict=True):
        members.setdefault((camera, pinhole), []).append(name)
    with progress.stage("undistort photos", len(model.names)) as task:
        for (camera, pinhole), names in members.items():
            lens = _Lens(camera, pinhole)
            write = partial(_write_photo, lens, photos, files)
            for name in map_items(write, names):
                task.advance(note=name)


def pixels_by_rows(
    camera: Camera, intrinsics: NDArray[np.float64], shape: tuple[int, int]
) -> Iterator[tuple[slice, NDArray[np.float64]]]:
    """Where the pixels of a pinhole photo lie in the photo as taken.

    Args:
        camera: that took the photo.
        intrinsics: (3,3) of the pinhole photo.
        shape: its height and width.

    Yields:
        Rows, some at a time, so that float64 is never held for a whole photo, and (h,W,2) px of the photo as taken.
    """
    height, width = shape
    (fx, _, cx), (_, fy, cy), _ = intrinsics
    u = (np.arange(width) - cx) / fx
    for first in range(0, height, _ROWS):
        v = (np.arange(first, min(first + _ROWS, height)) - cy) / fy
        pixels = colmap.pixels_of_rays(camera, np.column_stack([np.tile(u, len(v)), np.repeat(v, len(u))]))
        yield slice(first, first + _ROWS), pixels.reshape(len(v), width, 2)


class _Lens:
    """Where each pixel of the pinhole photo lies in the photo as taken; made once for all photos of a camera."""

    def __init__(self, camera: Camera, pinhole: Camera) -> None:
        self.camera = camera
        self.straight = _is_pinhole(camera, centred=False) and pinhole == pinhole_camera(camera)
        self.across = np.zeros((0, 0), np.float32)
        self.down = self.across
        if self.straight:
            return
        shape = (pinhole.height, pinhole.width)
        self.across, self.down = np.empty(shape, np.float32), np.empty(shape, np.float32)
        for rows, pixels in pixels_by_rows(camera, pinhole.K, shape):
            self.across[rows], self.down[rows] = pixels[..., 0], pixels[..., 1]

    def __call__(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        import cv2

        if self.straight:
            return pixels
        border = cv2.BORDER_REPLICATE
        return np.asarray(cv2.remap(pixels, self.across, self.down, cv2.INTER_CUBIC, borderMode=border), np.uint8)


def _write_photo(lens: _Lens, photos: Mapping[str, Path], files: Mapping[str, Path], name: str) -> str:
    import cv2

    source, target = photos[name], files[name]
    photo = photo_of(name, source, lens.camera)
    with write_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        pixels = read_color(photo)
        same_kind = source.suffix.lower() in _JPEG_SUFFIXES and target.suffix.lower() in _JPEG_SUFFIXES
        if lens.straight and same_kind and photo.exif.orientation == 1:
            shutil.copyfile(source, target)  # nothing to change: no second loss of JPEG
            return name
        ok, data = cv2.imencode(target.suffix, lens(pixels)[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
        if not ok:
            raise InputError(f"{name} cannot be written as {target.suffix}", "OpenCV refuses it")
        target.write_bytes(data.tobytes())
    return name


def check_photos(names: Sequence[str], photos: Mapping[str, Path]) -> None:
    """Raise an InputError if a photo is not where it should be."""
    missing = [name for name in names if not photos[name].is_file()]
    if missing:
        raise InputError(
            f"{len(missing)} of {len(names)} photos of the map are gone",
            f"there is no {photos[missing[0]]}",
            "name the folder where they are now with --photos",
        )


def photo_of(name: str, path: Path, camera: Camera) -> Photo:
    """The photo at ``path``, of the size that its camera says.

    Raises:
        InputError: it has another size, as a resized copy has.
    """
    try:
        with formats.open_picture(np.fromfile(path, np.uint8)) as picture:
            exif = read_exif(picture, *picture.size)
            width, height = picture.size
    except Exception:  # not for Pillow, whatever it raises; the reader will tell what it is
        return Photo(name, path, camera.width, camera.height, "")
    if sorted((width, height)) != sorted((camera.width, camera.height)):
        raise InputError(
            f"{name} is not the photo that the map was made of",
            f"{path} has {width} x {height} pixels, and that one had {camera.width} x {camera.height}",
            "--photos with the photos as they were, or make the map anew",
        )
    return Photo(name, path, camera.width, camera.height, "", exif)
