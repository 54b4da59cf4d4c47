"""Models to and from COLMAP, in memory and on disk."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pipelines import model_files
from pipelines.colmap.cameras import from_colmap, load_pycolmap, to_colmap
from pipelines.core.errors import OutputError
from pipelines.core.maps import Camera, Model, grouped

if TYPE_CHECKING:
    import pycolmap


def is_model(folder: Path) -> bool:
    """Whether a folder holds a COLMAP model that can be read whole."""
    if any(folder.glob("*.bin")):
        return _counts(folder) is not None
    try:
        load(folder)
    except (RuntimeError, ValueError):
        return False
    return True


def _counts(folder: Path) -> tuple[int, int] | None:
    """Photos and points of a binary model, None if it is not whole."""
    pycolmap = load_pycolmap()
    kinds = [kind for name, kind in pycolmap.CameraModelId.__members__.items() if name != "INVALID"]
    parameters = {
        int(kind.value): len(pycolmap.Camera.create_from_model_id(1, kind, 1.0, 2, 2).params) for kind in kinds
    }
    return model_files.counts(folder, parameters)


def component_folders(sparse: Path) -> list[Path]:
    """The models ``0``, ``1`` … in the folder ``sparse`` of a map, largest first."""
    found = [path for path in sparse.glob("*") if path.name.isdigit() and is_model(path)]
    return sorted(found, key=lambda path: int(path.name))


def load(folder: Path) -> pycolmap.Reconstruction:
    """Read a COLMAP model (binary or text)."""
    return load_pycolmap().Reconstruction(folder)


def registered_names(reconstruction: pycolmap.Reconstruction) -> set[str]:
    """Names of the photos that a model holds."""
    return {reconstruction.images[image_id].name for image_id in reconstruction.reg_image_ids()}


def write_model(model: pycolmap.Reconstruction, folder: Path) -> None:
    """Write a model in COLMAP's binary form and look at what stands there: COLMAP does not notice a full disk.

    Raises:
        OutputError: what stands on disk is not what was written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        model.write_binary(folder)
        for file in folder.iterdir():
            with open(file, "rb") as stream:
                os.fsync(stream.fileno())
        whole = _counts(folder) == (model.num_reg_images(), model.num_points3D())
    except (RuntimeError, ValueError, OSError):
        whole = False
    if not whole:
        raise OutputError(
            f"Cannot write the model to {folder}",
            "what stands on the disk is not what was written; most likely it is full",
            "free some space and run the same command again; finished work is kept",
        )


def to_model(reconstruction: pycolmap.Reconstruction, sources: Mapping[int, str] | None = None) -> Model:
    """A model free of pycolmap.

    Args:
        reconstruction: COLMAP's model.
        sources: where the intrinsics of each camera id came from; ``map`` where not given.
    """
    image_ids = sorted(reconstruction.reg_image_ids())
    point_ids = sorted(reconstruction.points3D)
    index_of = {image_id: index for index, image_id in enumerate(image_ids)}
    images = [reconstruction.images[image_id] for image_id in image_ids]
    points = [reconstruction.points3D[point_id] for point_id in point_ids]
    observations = [
        (index_of[element.image_id], point_index, element.point2D_idx)
        for point_index, point in enumerate(points)
        for element in point.track.elements
    ]
    table = np.array(observations, np.int32).reshape(-1, 3)
    obs_xy = np.empty((len(table), 2), np.float32)
    for image, rows in zip(images, grouped(table[:, 0], len(images)), strict=True):
        # Only keypoints that see a point: asking for a Python object of each costs more than all else here.
        xy = np.full((image.num_points2D(), 2), np.nan, np.float32)
        seen = np.array([point.xy for point in image.get_observation_points2D()], np.float32).reshape(-1, 2)
        xy[image.get_observation_point2D_idxs()] = seen
        obs_xy[rows] = xy[table[rows, 2]] - 0.5
    return Model(
        names=tuple(image.name for image in images),
        cameras=_cameras(reconstruction, sources),
        cam_from_world=poses(reconstruction),
        xyz=_places(points),
        rgb=np.array([point.color for point in points], np.uint8).reshape(-1, 3),
        errors=_errors(points),
        obs_image=table[:, 0].copy(),
        obs_point=table[:, 1].copy(),
        obs_keypoint=table[:, 2].copy(),
        obs_xy=obs_xy,
    )


def adjusted(model: Model, reconstruction: pycolmap.Reconstruction, sources: Mapping[int, str] | None = None) -> Model:
    """What :func:`to_model` makes of a model whose cameras and points, but not observations, have moved since then."""
    points = [reconstruction.points3D[point_id] for point_id in sorted(reconstruction.points3D)]
    return replace(
        model,
        cameras=_cameras(reconstruction, sources),
        cam_from_world=poses(reconstruction),
        xyz=_places(points),
        errors=_errors(points),
    )


def _cameras(reconstruction: pycolmap.Reconstruction, sources: Mapping[int, str] | None) -> tuple[Camera, ...]:
    keys = [reconstruction.images[image_id].camera_id for image_id in sorted(reconstruction.reg_image_ids())]
    return tuple(from_colmap(reconstruction.cameras[key], (sources or {}).get(key, "map")) for key in keys)


def _places(points: Sequence[pycolmap.Point3D]) -> NDArray[np.float64]:
    return np.array([point.xyz for point in points], np.float64).reshape(-1, 3)


def _errors(points: Sequence[pycolmap.Point3D]) -> NDArray[np.float32]:
    return np.array([point.error for point in points], np.float32)


def poses(reconstruction: pycolmap.Reconstruction) -> NDArray[np.float64]:
    """(I,3,4) cam_from_world of the photos, in the order of :func:`to_model`."""
    images = [reconstruction.images[image_id] for image_id in sorted(reconstruction.reg_image_ids())]
    return np.array([image.cam_from_world().matrix() for image in images], np.float64).reshape(-1, 3, 4)


def read_model(folder: Path) -> Model:
    """Read a COLMAP model as ours; see :func:`to_model`."""
    return to_model(load(folder))


def set_colours(reconstruction: pycolmap.Reconstruction, rgb: NDArray[np.uint8]) -> None:
    """Colour the points of a model, in the order of :func:`to_model`."""
    for point_id, colour in zip(sorted(reconstruction.points3D), rgb, strict=True):
        reconstruction.points3D[point_id].color = colour


def set_keypoints(
    reconstruction: pycolmap.Reconstruction, model: Model, xy: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Move the keypoints that see a point to (O,2) px, in the order of the observations of ``model``, which is
    :func:`to_model`'s of it.

    Returns:
        (O,2) px: where :func:`to_model` finds them from now on.
    """
    at = np.asarray(xy, np.float64) + 0.5
    for image_id, rows in zip(sorted(reconstruction.reg_image_ids()), model.rows_of_images, strict=True):
        keypoints = reconstruction.images[image_id].points2D
        for keypoint, place in zip(model.obs_keypoint[rows].tolist(), at[rows], strict=True):
            keypoints[keypoint].xy = place
    return at.astype(np.float32) - np.float32(0.5)


def transform(
    reconstruction: pycolmap.Reconstruction, scale: float, rotation: NDArray[np.float64], shift: NDArray[np.float64]
) -> None:
    """Move a model into the world of x_new = scale rotation x + shift."""
    pycolmap = load_pycolmap()
    reconstruction.transform(pycolmap.Sim3d(scale, pycolmap.Rotation3d(rotation), shift))


def from_model(model: Model) -> pycolmap.Reconstruction:
    """COLMAP's model for ours; of the keypoints it has those that see a point. Equal cameras become one."""
    pycolmap = load_pycolmap()
    made = pycolmap.Reconstruction()
    camera_ids = {camera: number for number, camera in enumerate(dict.fromkeys(model.cameras), 1)}
    for camera, number in camera_ids.items():
        made.add_camera_with_trivial_rig(to_colmap(camera, number))
    keypoint = np.empty(len(model.obs_image), np.int64)
    for index, (name, rows) in enumerate(zip(model.names, model.rows_of_images, strict=True)):
        keypoint[rows] = np.arange(len(rows))
        image = pycolmap.Image(
            name=name,
            keypoints=model.obs_xy[rows].astype(np.float64) + 0.5,
            camera_id=camera_ids[model.cameras[index]],
            image_id=index + 1,
        )
        made.add_image_with_trivial_frame(image, pycolmap.Rigid3d(model.cam_from_world[index]))
    for xyz, rgb, error, rows in zip(model.xyz, model.rgb, model.errors, model.rows_of_points, strict=True):
        seen = zip(model.obs_image[rows], keypoint[rows], strict=True)
        track = pycolmap.Track([pycolmap.TrackElement(int(image) + 1, int(point)) for image, point in seen])
        made.points3D[made.add_point3D(xyz, track, rgb)].error = float(error)
    return made


def write_text(model: pycolmap.Reconstruction, folder: Path) -> None:
    """Write a model in COLMAP's text form, which cannot hold white space in names; COLMAP does not notice a full disk.

    Raises:
        OutputError: what stands on disk is not what was written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    try:
        model.write_text(folder)
        with open(folder / "points3D.txt", encoding="utf-8") as stream:
            lines = sum(line.endswith("\n") and not line.startswith("#") for line in stream)
    except (RuntimeError, ValueError, OSError):
        lines = -1
    if lines != model.num_points3D():
        raise OutputError(
            f"Cannot write the model to {folder}",
            "what stands on the disk is not what was written; most likely it is full",
            "free some space and run the same command again",
        )
