"""Scenes: photos with a map beside them (``images/`` and ``tracks.npz``) → tracks for training and validation."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from descriptors.contract import DescriptorError
from descriptors.datasets.tracks import Tracks
from descriptors.frames import frames_from_keypoints

VALIDATION = (
    "cyprus", "crazyhorse", "piazza_san_marco", "st_pauls", "et", "kermit", "temple_ring", "brighton_beach", "seneca",
)  # fmt: skip
"""Scenes that no weights are trained on: checks, thresholds and boards only."""


class DataError(DescriptorError):
    """Training data is missing or not what it should be; the message says what, where and what to do."""


def scene_folders(data_dir: Path, *, validation: bool) -> list[Path]:
    """Folders of the training or of the validation scenes below ``data_dir/scenes``, sorted by name.

    Raises:
        DataError: there is no such folder, or it holds no scene of the kind.
    """
    root = Path(data_dir) / "scenes"
    if not root.is_dir():
        raise DataError(f"There is no folder {root}. Give the folder that holds scenes/NAME/images and tracks.npz.")
    found = [f.parent for f in sorted(root.glob("*/tracks.npz")) if (f.parent.name in VALIDATION) == validation]
    if not found:
        kind = "validation" if validation else "training"
        raise DataError(f"{root} holds no {kind} scene: each needs images/ and tracks.npz. Validation: {VALIDATION}.")
    return found


def read_grey(path: Path) -> NDArray[np.uint8]:
    """A photo (H,W) uint8 as stored, its EXIF orientation ignored: tracks refer to the stored pixels.

    Raises:
        DataError: the file is not there or is no photo.
    """
    image = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE | cv2.IMREAD_IGNORE_ORIENTATION)
    if image is None:
        raise DataError(f"{path} could not be read as a photo. Copy it again, or take it away.")
    return image  # type: ignore[return-value]


def read_tracks(folder: Path, *names: str) -> dict[str, NDArray]:
    """Arrays of ``tracks.npz`` in a folder, by name.

    Raises:
        DataError: the file cannot be read, is damaged, or lacks one of them.
    """
    path = folder / "tracks.npz"
    try:
        with np.load(path, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in names if name in stored.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(f"{path} is damaged or no file of tracks. Copy it again, or make it anew.") from error
    missing = sorted(set(names) - set(arrays))
    if missing:
        raise DataError(f"{path} lacks {missing}. See the README beside the scenes.")
    return arrays


def load_scene(folder: Path) -> Tracks:
    """Tracks of one scene; points seen once are left out.

    ``tracks.npz`` gives observations in COLMAP's convention (top-left pixel centre at 0.5); here it is at 0.

    Raises:
        DataError: a photo is missing, or ``tracks.npz`` is damaged or lacks an array.
    """
    data = read_tracks(
        folder, "names", "cam_from_world", "K", "xyz", "obs_image", "obs_point", "obs_xy", "obs_scale", "obs_angle"
    )
    images = tuple(read_grey(folder / "images" / str(name)) for name in data["names"])
    point, image = data["obs_point"].astype(np.int64), data["obs_image"].astype(np.int32)
    seen = np.bincount(point, minlength=len(data["xyz"]))
    keep = np.flatnonzero(seen[point] >= 2)
    keep = keep[np.argsort(point[keep], kind="stable")]
    points, counts = np.unique(point[keep], return_counts=True)
    point, image = point[keep], image[keep]
    xyz = data["xyz"].astype(np.float64)

    pose = data["cam_from_world"].astype(np.float64)
    centre = -np.einsum("iba,ib->ia", pose[:, :, :3], pose[:, :, 3])
    rays = centre[image] - xyz[point]
    depth = np.linalg.norm(rays, axis=1)
    start = np.concatenate([[0], np.cumsum(counts)])
    sigma = data["obs_scale"].astype(np.float64)[keep]
    world_sigma = sigma * depth / data["K"][image, 0, 0]
    return Tracks(
        images=images,
        obs_image=image,
        frames=frames_from_keypoints(data["obs_xy"][keep] - 0.5, sigma, data["obs_angle"][keep]),
        rays=(rays / depth[:, None]).astype(np.float32),
        start=start.astype(np.int64),
        place=xyz[points],
        radius=np.minimum.reduceat(world_sigma, start[:-1]),
        group=np.zeros(len(points), np.int32),
    )
