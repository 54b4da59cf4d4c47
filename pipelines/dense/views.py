"""The photos of a map as dense matching reads them: undistorted, small, on disk, each with its pinhole camera."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from pipelines.core.errors import InputError
from pipelines.core.maps import Camera, Model
from pipelines.core.progress import Progress
from pipelines.dense.project import transfer
from pipelines.engine import map_items
from pipelines.export.undistort import check_photos, photo_of, pinhole_camera, pixels_by_rows
from pipelines.images.read import read_color_image
from pipelines.store.files import fingerprint, make_folder, write_atomic

_CODE = 1
"""Raised when the pictures change for the same photo."""


@dataclass(frozen=True)
class View:
    """A photo as a pinhole camera would have taken it, at working size.

    Attributes:
        name: of the photo.
        key: fingerprint of its pixels.
        width, height: px.
        intrinsics: (3,3), the centre of the top-left pixel at (0, 0).
        cam_from_world: (3,4).
        file: the picture, PNG.
    """

    name: str
    key: str
    width: int
    height: int
    intrinsics: NDArray[np.float64]
    cam_from_world: NDArray[np.float64]
    file: Path

    @property
    def centre(self) -> NDArray[np.float64]:
        """(3,) camera centre in the world."""
        return -self.cam_from_world[:, :3].T @ self.cam_from_world[:, 3]

    def read(self) -> NDArray[np.uint8]:
        """(H,W,3) RGB pixels.

        Raises:
            InputError: the file is gone.
        """
        pixels = cv2.imread(str(self.file), cv2.IMREAD_COLOR) if self.file.is_file() else None
        if pixels is None or pixels.shape[:2] != (self.height, self.width):
            raise InputError(
                f"{self.file} cannot be read back", "it is missing or damaged", "run the same command again"
            )
        return np.asarray(pixels[..., ::-1], np.uint8)

    def onto(self, other: View) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """A and b of :func:`pipelines.dense.project.transfer`, from this photo to another."""
        return transfer(self.intrinsics, self.cam_from_world, other.intrinsics, other.cam_from_world)

    def plain(self) -> tuple[object, ...]:
        """What its geometry and pixels are, for fingerprints."""
        return self.key, self.intrinsics.ravel().tolist(), self.cam_from_world.ravel().tolist()


def small_pinhole(camera: Camera, size: int) -> tuple[int, int, NDArray[np.float64]]:
    """Width, height and intrinsics (3,3) of the undistorted photo whose longer side is at most ``size``."""
    full = pinhole_camera(camera)
    shrink = min(1.0, size / max(full.width, full.height))
    width, height = max(1, round(full.width * shrink)), max(1, round(full.height * shrink))
    fx, fy, cx, cy = full.params
    across, down = width / full.width, height / full.height
    k = np.array([[fx * across, 0, (cx + 0.5) * across - 0.5], [0, fy * down, (cy + 0.5) * down - 0.5], [0, 0, 1]])
    return width, height, k


def prepare_views(
    model: Model,
    photos: Mapping[str, Path],
    known: Mapping[str, str],
    folder: Path,
    size: int,
    *,
    progress: Progress,
) -> list[View]:
    """Undistort the photos of a model; pictures that are there already are not made again.

    Args:
        model: the map's.
        photos: name -> where it stands.
        known: name -> sha256 that the photo had when the map was made, as far as that is known.
        folder: where the pictures go.
        size: longer side, px.
        progress: the listener.

    Raises:
        InputError: a photo is missing, cannot be read, or is not the one that the map was made of.
        ConfigError: no pinhole camera can show the photos' view.
        OutputError: a picture cannot be written.
    """
    check_photos(model.names, photos)
    make_folder(folder)
    lenses = {camera: small_pinhole(camera, size) for camera in dict.fromkeys(model.cameras)}

    def one(index: int) -> View:
        name, camera = model.names[index], model.cameras[index]
        content = hashlib.sha256(photos[name].read_bytes()).hexdigest()
        if known.get(name, content) != content:
            raise InputError(
                f"{name} is not the photo that the map was made of",
                f"{photos[name]} has changed since",
                "put the photo back, or make the map anew",
            )
        key = fingerprint("dense picture", _CODE, content, camera, size)
        width, height, k = lenses[camera]
        view = View(name, key, width, height, k, model.cam_from_world[index], folder / f"{key}.png")
        if not _whole(view):
            pixels = _undistort(name, photos[name], camera, view, size)
            data = cv2.imencode(".png", pixels[..., ::-1], [cv2.IMWRITE_PNG_COMPRESSION, 3])[1]
            write_atomic(view.file, lambda stream: stream.write(data.tobytes()))
        return view

    views: list[View] = []
    with progress.stage("Undistort", len(model.names)) as task:
        for view in map_items(one, range(len(model.names))):
            views.append(view)
            task.advance(note=view.name)
    return views


def _whole(view: View) -> bool:
    try:
        view.read()
    except InputError:
        return False
    return True


def _undistort(name: str, path: Path, camera: Camera, view: View, size: int) -> NDArray[np.uint8]:
    """(H,W,3) RGB pixels of the view; the photo is shrunk first, so that nothing aliases."""
    grown = size * max(camera.width, camera.height) / max(view.width, view.height)
    image = read_color_image(photo_of(name, path, camera), min(round(grown), max(camera.width, camera.height)))
    shape = (view.height, view.width)
    across, down = np.empty(shape, np.float32), np.empty(shape, np.float32)
    for rows, pixels in pixels_by_rows(camera, view.intrinsics, shape):
        across[rows], down[rows] = np.moveaxis((pixels + 0.5) / image.scale - 0.5, -1, 0)
    return np.asarray(cv2.remap(image.pixels, across, down, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE), np.uint8)
