"""A map as training data for descriptors: small photos and the tracks of its points, as ``descriptors.datasets`` reads.

Photos keep their lens distortion, for observations are pixels of the photo; K is the pinhole part of the camera, and
the whole camera stands beside it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from descriptors.frames import angles, scales
from pipelines import colmap
from pipelines.core.errors import InputError
from pipelines.core.maps import Camera, Model
from pipelines.core.progress import Progress, Silent
from pipelines.engine import map_items
from pipelines.export.files import MARK, photo_files, whole_folder, write_mark
from pipelines.export.run import photo_places, read_component
from pipelines.export.undistort import check_photos, photo_of
from pipelines.images.read import read_color_image
from pipelines.store.files import read_arrays, write_arrays, write_errors
from pipelines.store.folder import MapFolder

_JPEG_QUALITY = 90
# A keypoint that is smaller in the stored photo has no detail left in it.
_SMALLEST_SIGMA = 0.8


@dataclass(frozen=True)
class TrainingSet:
    """What was written: the folder, and the number of photos, points and observations."""

    folder: Path
    photos: int
    points: int
    observations: int


def export_training(
    map_folder: Path,
    out: Path | None = None,
    *,
    component: int = 0,
    photos: Path | None = None,
    max_size: int = 1024,
    force: bool = False,
    progress: Progress | None = None,
) -> TrainingSet:
    """Write ``images/`` and ``tracks.npz`` of a map that ``recon sfm`` made.

    Args:
        map_folder: run folder; its features give the scale and angle of each observation.
        out: folder to make; ``export/training`` inside the map unless given.
        component: which model of the map, 0 the largest.
        photos: where the photos are now, if they have moved.
        max_size: longer side of the stored photos at most, px.
        force: replace an earlier export in ``out``.
        progress: the listener.

    Raises:
        InputError: no such map, its features or photos are missing, or nothing in it is seen twice.
        OutputError: ``out`` is in the way, or cannot be written.
    """
    target = out or map_folder / "export" / "training"
    model = read_component(map_folder, component)
    places = photo_places(map_folder, model, photos)
    sigma, angle = _scale_and_angle(map_folder, model)
    files = {name: _as_jpeg(file) for name, file in photo_files(model.names, flat=True).items()}
    check_photos(model.names, places)
    with whole_folder(target, force) as draft:
        (draft / "images").mkdir()
        shrunk = _write_photos(model, places, draft / "images", files, max_size, progress or Silent())
        tracks = _tracks(model, [files[name] for name in model.names], shrunk, sigma, angle)
        if not len(tracks["obs_point"]):
            raise InputError("There is nothing to train on", "no point of the map is seen in two photos")
        write_arrays(draft / "tracks.npz", tracks)
        write_mark(draft, "training", files, models=_models(map_folder))
    return TrainingSet(target, len(model.names), len(tracks["xyz"]), len(tracks["obs_point"]))


def make_training(map_folder: Path, *, progress: Progress | None = None) -> None:
    """Make ``export/training`` of a map, unless it is there.

    Raises:
        InputError: it was made of other models than the map has now; else as :func:`export_training`.
        OutputError: as :func:`export_training`.
    """
    made = map_folder / "export" / "training"
    if not (made / "tracks.npz").is_file():
        export_training(map_folder, progress=progress)
        return
    with suppress(OSError, ValueError):
        known = json.loads((made / MARK).read_text("utf-8")).get("models")
        if known and known != _models(map_folder):
            raise InputError(
                f"The map in {map_folder} has changed since its training data were made",
                f"{made} has the tracks of its earlier models",
                f"recon data patches --map {map_folder} --force, and the same command again",
            )


def _models(map_folder: Path) -> str:
    """Digest of the models of a map."""
    digest = hashlib.sha256()
    for file in sorted(MapFolder(map_folder).sparse.glob("*/*.bin")):
        digest.update(f"{file.parent.name}/{file.name}".encode() + file.read_bytes())
    return digest.hexdigest()


def _scale_and_angle(map_folder: Path, model: Model) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Sigma (O,) in full-resolution pixels and angle (O,) of each observation, from the map's features."""
    folder = MapFolder(map_folder)
    keys = {entry["name"]: entry.get("features", "") for entry in folder.read_ledger().get("photos", [])}
    sigma, angle = np.empty(len(model.obs_image)), np.empty(len(model.obs_image))
    for name, rows in zip(model.names, model.rows_of_images, strict=True):
        arrays = read_arrays(folder.features / f"{keys.get(name)}.npz", ["frames"])
        if arrays is None or model.obs_keypoint[rows].max(initial=-1) >= len(arrays["frames"]):
            raise InputError(
                f"The features of {name} are not in {map_folder}",
                "training needs the scale and angle of each keypoint, which a COLMAP model alone does not have",
                "make the map with recon sfm and keep its features/ folder",
            )
        frames = arrays["frames"][model.obs_keypoint[rows]]
        sigma[rows], angle[rows] = scales(frames), angles(frames)
    return sigma, angle


def _as_jpeg(file: str) -> str:
    return file if file.lower().endswith((".jpg", ".jpeg")) else f"{file}.jpg"


def _write_photos(
    model: Model, places: dict[str, Path], folder: Path, files: dict[str, str], max_size: int, progress: Progress
) -> NDArray[np.float64]:
    """Write the photos upright; (I,2) stored pixels per full-resolution pixel, across and down."""
    write = partial(_write_photo, model, places, folder, files, max_size)
    with progress.stage("photos", len(model.names)) as task:
        factors = []
        for factor in map_items(write, range(len(model.names))):
            factors.append(factor)
            task.advance()
    return np.array(factors, np.float64).reshape(-1, 2)


def _write_photo(
    model: Model, places: dict[str, Path], folder: Path, files: dict[str, str], max_size: int, index: int
) -> tuple[float, float]:
    import cv2

    name = model.names[index]
    image = read_color_image(photo_of(name, places[name], model.cameras[index]), max_size)
    path = folder / files[name]
    with write_errors(path):
        data = cv2.imencode(".jpg", image.pixels[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])[1]
        path.write_bytes(data.tobytes())
    return 1 / image.scale[0], 1 / image.scale[1]


def _tracks(
    model: Model,
    files: Sequence[str],
    shrunk: NDArray[np.float64],
    sigma: NDArray[np.float64],
    angle: NDArray[np.float64],
) -> dict[str, NDArray]:
    """The arrays of ``tracks.npz``: pixels of the stored photos in COLMAP's convention, points seen twice at least."""
    stored = sigma * np.sqrt(shrunk.prod(axis=1))[model.obs_image]
    keep = stored >= _SMALLEST_SIGMA
    keep &= np.bincount(model.obs_point[keep], minlength=len(model.xyz))[model.obs_point] >= 2
    points, point = np.unique(model.obs_point[keep], return_inverse=True)
    k = np.array([_pinhole(camera) for camera in model.cameras]).reshape(-1, 3, 3)
    k[:, :2] *= shrunk[:, :, None]
    # COLMAP's pixels: their origin is the photo's corner, so that shrinking is a factor.
    xy = (model.obs_xy[keep].astype(np.float64) + 0.5) * shrunk[model.obs_image[keep]]
    cameras = [
        json.dumps({"model": c.model, "width": c.width, "height": c.height, "params": c.params}) for c in model.cameras
    ]
    return {
        "names": np.array(files),
        "K": k,
        "cam_from_world": model.cam_from_world,
        "xyz": model.xyz[points],
        "obs_image": model.obs_image[keep],
        "obs_point": point.astype(np.int32),
        "obs_xy": xy.astype(np.float32),
        "obs_scale": stored[keep].astype(np.float32),
        "obs_angle": angle[keep].astype(np.float32),
        "cameras": np.array(cameras),
    }


def _pinhole(camera: Camera) -> NDArray[np.float64]:
    """K (3,3) of a camera near its optical axis, in COLMAP's full-resolution pixels."""
    step = 1e-4
    middle, right, down = colmap.pixels_of_rays(camera, np.array([[0, 0], [step, 0], [0, step]])) + 0.5
    return np.array([[(right - middle)[0] / step, 0, middle[0]], [0, (down - middle)[1] / step, middle[1]], [0, 0, 1]])
