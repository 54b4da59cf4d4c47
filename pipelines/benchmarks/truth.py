"""Ground-truth cameras in the forms that data sets come in, and errors of a model against them.

A model is defined up to a similarity; it is aligned to the truth by least squares on the camera centres
(Umeyama, Least-squares estimation of transformation parameters, PAMI 1991) before it is compared.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from pipelines.core.errors import InputError
from pipelines.core.maps import Model
from pipelines.core.types import Photo
from pipelines.geometry.similarity import angle_between, centres_of, similarity
from pipelines.images.read import scan


@dataclass(frozen=True)
class TrueCamera:
    """What is known of one photo.

    Attributes:
        intrinsics: (3,3) for the photo as it stands in the folder, the centre of the top-left pixel at (0, 0).
        cam_from_world: (3,4).
    """

    intrinsics: NDArray[np.float64]
    cam_from_world: NDArray[np.float64]


@dataclass(frozen=True)
class TrueDepth:
    """Exact depth of a photo.

    Attributes:
        depth: (h,w) along the optical axis, in the unit of the true cameras, at the photo's pixels
            (stride x, stride y); 0 where there is none.
        stride: px.
    """

    depth: NDArray[np.float64]
    stride: int


@dataclass(frozen=True)
class PoseErrors:
    """Errors after alignment: camera centres in the truth's unit, rotations in radians."""

    centre_mean: float
    centre_median: float
    centre_max: float
    rotation_mean: float


def read_dataset(folder: Path) -> tuple[Path, list[Photo], dict[str, TrueCamera]]:
    """The folder of a data set's photos (``images/`` in it, or itself), the photos, and their ground truth.

    Raises:
        InputError: it has no photos, or its truth cannot be read.
    """
    images = folder / "images" if (folder / "images").is_dir() else folder
    photos, _ = scan(images)
    return images, photos, read_truth(folder, {photo.name: (photo.width, photo.height) for photo in photos})


def read_truth(dataset: Path, sizes: Mapping[str, tuple[int, int]]) -> dict[str, TrueCamera]:
    """Ground truth of a data set, by photo name; {} if the folder holds none.

    Args:
        dataset: folder with ``gt/NAME.camera`` (Strecha et al. 2008) or ``cameras.json`` (recon's sample data).
        sizes: (width, height) of the photos as they stand, for truth that was measured at another size.

    Raises:
        InputError: a truth file that cannot be read.
    """
    try:
        if (dataset / "cameras.json").is_file():
            return _read_json(dataset / "cameras.json")
        return {
            name: _read_strecha(dataset / "gt" / f"{name}.camera", size)
            for name, size in sizes.items()
            if (dataset / "gt" / f"{name}.camera").is_file()
        }
    except (ValueError, KeyError, IndexError) as error:
        raise InputError(f"The ground truth in {dataset} cannot be read", str(error)) from error


def read_depths(dataset: Path) -> dict[str, TrueDepth]:
    """Exact depth of a data set's photos, by name, as recon's sample data have it; {} if the folder holds none.

    Raises:
        InputError: a file that is named there cannot be read.
    """
    record = dataset / "cameras.json"
    plain = json.loads(record.read_text()) if record.is_file() else {}
    if "depth" not in plain:
        return {}
    form, found = plain["depth"], {}
    try:
        unit, stride = float(form["metres_per_level"]), int(form["stride"])
        paths = {name: dataset / form["folder"] / f"{Path(name).stem}.png" for name in plain["photos"]}
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"The ground truth in {dataset} cannot be read", f"depth in {record}: {error}") from error
    for name, path in paths.items():
        levels = cv2.imread(str(path), cv2.IMREAD_UNCHANGED) if path.is_file() else None
        if levels is None or levels.ndim != 2:
            raise InputError(f"The true depth {path} cannot be read", f"{record} tells of it", "put the file back")
        found[name] = TrueDepth(levels.astype(np.float64) * unit, stride)
    return found


def _read_json(path: Path) -> dict[str, TrueCamera]:
    photos = json.loads(path.read_text())["photos"]
    return {
        name: TrueCamera(np.array(entry["K"], np.float64), np.array(entry["cam_from_world"], np.float64))
        for name, entry in photos.items()
    }


def _read_strecha(path: Path, size: tuple[int, int]) -> TrueCamera:
    """K (9), distortion (3), R camera-to-world (9), centre (3), width and height of the original photo."""
    values = np.array(path.read_text().split(), np.float64)
    intrinsics = values[:9].reshape(3, 3).copy()
    world_from_cam, centre, original = values[12:21].reshape(3, 3), values[21:24], values[24:26]
    factor = np.array(size) / original
    intrinsics[:2] *= factor[:, None]
    intrinsics[:2, 2] += 0.5 * factor - 0.5
    rotation = world_from_cam.T
    return TrueCamera(intrinsics, np.column_stack([rotation, -rotation @ centre]))


def pose_errors(model: Model, truth: Mapping[str, TrueCamera]) -> PoseErrors | None:
    """Errors of a model's cameras; None if fewer than three of its photos have a known pose."""
    rows = [index for index, name in enumerate(model.names) if name in truth]
    if len(rows) < 3:
        return None
    true = np.array([truth[model.names[index]].cam_from_world for index in rows])
    true_centres = centres_of(true)
    scale, rotation, translation = similarity(model.centres[rows], true_centres)
    aligned = scale * model.centres[rows] @ rotation.T + translation
    centre = np.linalg.norm(aligned - true_centres, axis=1)
    angle = angle_between(model.cam_from_world[rows][:, :, :3] @ rotation.T, true[:, :, :3])
    return PoseErrors(float(centre.mean()), float(np.median(centre)), float(centre.max()), float(angle.mean()))


def distinct_points(model: Model) -> int:
    """Number of points, those that share a keypoint's place in some photo counted as one.

    SIFT gives a keypoint once for each of its orientations, and each may become a 3D point of its own.
    """
    if not len(model.xyz):
        return 0
    places = np.column_stack([model.obs_image, model.obs_xy.view(np.int32)])
    _, place = np.unique(places, axis=0, return_inverse=True)
    points, count = len(model.xyz), len(model.xyz) + int(place.max()) + 1
    links = coo_matrix((np.ones(len(place)), (model.obs_point, points + place.reshape(-1))), shape=(count, count))
    return int(connected_components(links, directed=False)[0])
