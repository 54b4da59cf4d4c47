"""The formats that a model can be exported to: one function each, and the table of them."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipelines import colmap
from pipelines.core.maps import Camera, Model
from pipelines.core.progress import Progress
from pipelines.export.files import camera_pyramids
from pipelines.export.ply import write_ply
from pipelines.export.undistort import undistorted, write_photos

# Camera axes x right, y up, z backwards (OpenGL, Bundler, NeRF) from recon's x right, y down, z ahead.
_FLIP = np.diag([1.0, -1.0, -1.0])
# NeRF tools and COLMAP put the centre of the top-left pixel at (0.5, 0.5).
_HALF = 0.5


@dataclass(frozen=True)
class Job:
    """What a format's function is given.

    Attributes:
        model: the model to export.
        photos: photo name -> where it stands.
        folder: empty folder to write into.
        files: photo name -> file name in the export, for formats with photos.
        progress: the listener.
    """

    model: Model
    photos: Mapping[str, Path]
    folder: Path
    files: Mapping[str, str]
    progress: Progress


@dataclass(frozen=True)
class Format:
    """A row of the table of formats.

    Attributes:
        about: what it holds and who reads it.
        write: fills the job's folder.
        flat: photo files without folders and white space in their names.
    """

    about: str
    write: Callable[[Job], None]
    flat: bool = False


# --- as it is ---------------------------------------------------------------------------------------------------------


def _colmap(job: Job) -> None:
    made = colmap.from_model(job.model)
    colmap.write_model(made, job.folder)
    if any(any(char.isspace() for char in name) for name in job.model.names):
        job.progress.warn("COLMAP's text form cannot hold photo names with spaces: only the binary form is written.")
    else:
        colmap.write_text(made, job.folder)


def _ply(job: Job) -> None:
    write_ply(job.folder / "points.ply", job.model.xyz, job.model.rgb)
    write_ply(job.folder / "cameras.ply", *camera_pyramids(job.model))


def _poses(job: Job) -> None:
    from scipy.spatial.transform import Rotation

    model = job.model
    rotation = Rotation.from_matrix(model.cam_from_world[:, :, :3])
    quaternions = rotation.as_quat(canonical=True, scalar_first=True)
    _poses_json(job.folder / "poses.json", model, quaternions)
    with open(job.folder / "poses.csv", "w", newline="", encoding="utf-8") as stream:
        table = csv.writer(stream)
        table.writerow(["name", "x", "y", "z", "qw", "qx", "qy", "qz", "model", "width", "height", "params"])
        for name, camera, centre, turn in zip(model.names, model.cameras, model.centres, quaternions, strict=True):
            params = " ".join(repr(value) for value in camera.params)
            table.writerow([name, *centre, *turn, camera.model, camera.width, camera.height, params])
    # TUM's trajectory has times; photos have none that can be trusted, so their numbers stand in for them.
    lines = ["# photo number, camera centre x y z, world_from_cam quaternion x y z w"]
    for number, row in enumerate(np.hstack([model.centres, rotation.inv().as_quat(canonical=True)])):
        lines.append(f"{number} {_numbers(row)}")
    (job.folder / "poses.tum").write_text("\n".join(lines) + "\n", encoding="ascii")


def _poses_json(path: Path, model: Model, quaternions: NDArray[np.float64]) -> None:
    about = (
        "x_cam = R x_world + t, x right, y down, z ahead; camera parameters in COLMAP's order, in pixels with the "
        "centre of the top-left one at (0, 0)"
    )
    rows = zip(model.names, model.cameras, model.centres, quaternions, model.cam_from_world, strict=True)
    records = [
        {
            "name": name,
            "centre": centre.tolist(),
            "cam_from_world_quaternion_wxyz": quaternion.tolist(),
            "cam_from_world": matrix.tolist(),
            "camera": {key: getattr(camera, key) for key in ("model", "width", "height", "params")},
        }
        for name, camera, centre, quaternion, matrix in rows
    ]
    text = json.dumps({"about": about, "photos": records}, indent=1, ensure_ascii=False)
    path.write_text(text + "\n", encoding="utf-8")


# --- with undistorted photos ------------------------------------------------------------------------------------------


def _pinhole(job: Job, *, centred: bool = False) -> Model:
    """Write the undistorted photos to ``images/`` and return the model that belongs to them, with their file names."""
    model = undistorted(job.model, centred=centred)
    files = {name: job.folder / "images" / file for name, file in job.files.items()}
    write_photos(job.model, model.cameras, job.photos, files, job.progress)
    return replace(model, names=tuple(job.files[name] for name in model.names))


def _intrinsics(camera: Camera) -> dict[str, float]:
    fx, fy, cx, cy = camera.params
    return {"w": camera.width, "h": camera.height, "fl_x": fx, "fl_y": fy, "cx": cx + _HALF, "cy": cy + _HALF}


def _nerfstudio(job: Job) -> None:
    model = _pinhole(job)
    shared = len(set(model.cameras)) == 1
    frames = []
    for name, camera, pose in zip(model.names, model.cameras, model.cam_from_world, strict=True):
        matrix = np.eye(4)
        matrix[:3, :3] = pose[:, :3].T @ _FLIP
        matrix[:3, 3] = -pose[:, :3].T @ pose[:, 3]
        frame: dict[str, object] = {"file_path": f"images/{name}", "transform_matrix": matrix.tolist()}
        frames.append(frame if shared else {**_intrinsics(camera), **frame})
    head = {"camera_model": "PINHOLE", **(_intrinsics(model.cameras[0]) if shared else {})}
    text = json.dumps({**head, "ply_file_path": "sparse_pc.ply", "frames": frames}, indent=2, ensure_ascii=False)
    (job.folder / "transforms.json").write_text(text + "\n", encoding="utf-8")
    write_ply(job.folder / "sparse_pc.ply", model.xyz, model.rgb)


def _gaussian_splatting(job: Job) -> None:
    # The authors' renderer leaves the principal point out: it must lie in the middle.
    colmap.write_model(colmap.from_model(_pinhole(job, centred=True)), job.folder / "sparse" / "0")


def _openmvs(job: Job) -> None:
    made = colmap.from_model(_pinhole(job))
    colmap.write_model(made, job.folder / "sparse")
    colmap.write_text(made, job.folder / "sparse")  # older versions of InterfaceCOLMAP read nothing else


def _colmap_dense(job: Job) -> None:
    model = _pinhole(job)
    colmap.write_model(colmap.from_model(model), job.folder / "sparse")
    stereo = job.folder / "stereo"
    for name in ("depth_maps", "normal_maps", "consistency_graphs"):
        for file in model.names:
            (stereo / name / file).parent.mkdir(parents=True, exist_ok=True)
    (stereo / "fusion.cfg").write_text("".join(f"{name}\n" for name in model.names), encoding="utf-8")
    sources = "".join(f"{name}\n__auto__, 20\n" for name in model.names)
    (stereo / "patch-match.cfg").write_text(sources, encoding="utf-8")


def _bundler(job: Job) -> None:
    model = _pinhole(job, centred=True)
    lines = ["# Bundle file v0.3", f"{len(model.names)} {len(model.xyz)}"]
    for camera, pose in zip(model.cameras, model.cam_from_world, strict=True):
        lines.append(f"{camera.params[0]:.12g} 0 0")
        lines += [_numbers(row) for row in _FLIP @ pose[:, :3]] + [_numbers(_FLIP @ pose[:, 3])]
    lines += _bundler_points(model)
    (job.folder / "bundle.out").write_text("\n".join(lines) + "\n", encoding="ascii")
    rows = zip(model.names, model.cameras, strict=True)
    photos = "".join(f"images/{name} 0 {camera.params[0]:.12g}\n" for name, camera in rows)
    (job.folder / "list.txt").write_text(photos, encoding="utf-8")


def _bundler_points(model: Model) -> list[str]:
    """Three lines a point: position, colour, and the photos, keypoint numbers and pixels (from the middle, y up)."""
    middle = np.array([[(camera.width - 1) / 2, (camera.height - 1) / 2] for camera in model.cameras])
    pixels = (model.obs_xy - middle[model.obs_image]) * [1.0, -1.0]
    key = np.empty(len(model.obs_image), np.int64)
    for rows in model.rows_of_images:
        key[rows] = np.arange(len(rows))
    lines = []
    for xyz, rgb, rows in zip(model.xyz, model.rgb, model.rows_of_points, strict=True):
        views = [f"{model.obs_image[k]} {key[k]} {pixels[k, 0]:.6g} {pixels[k, 1]:.6g}" for k in rows]
        lines += [_numbers(xyz), " ".join(map(str, rgb.tolist())), " ".join([str(len(views)), *views])]
    return lines


def _numbers(values: NDArray[np.float64] | Sequence[float]) -> str:
    return " ".join(f"{value:.12g}" for value in values)


# fmt: off
FORMATS: Mapping[str, Format] = {
    "colmap": Format("COLMAP model, binary and text, cameras as they are", _colmap),
    "ply": Format("coloured points, and the cameras as small pyramids", _ply),
    "poses": Format("camera poses and intrinsics as CSV, JSON and TUM trajectory", _poses),
    "nerfstudio": Format("transforms.json, undistorted photos, sparse points", _nerfstudio),
    "gaussian-splatting": Format("images/ and sparse/0 of undistorted PINHOLE photos", _gaussian_splatting, flat=True),
    "openmvs": Format("images/ and sparse/ for InterfaceCOLMAP of OpenMVS", _openmvs, flat=True),
    "colmap-dense": Format("workspace for COLMAP's patch_match_stereo and stereo_fusion", _colmap_dense, flat=True),
    "bundler": Format("bundle.out v0.3, list.txt, undistorted photos", _bundler, flat=True),
}
# fmt: on
