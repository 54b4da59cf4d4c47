"""The one adapter to pycolmap: pixel-centre shift, types, callbacks, statuses and errors.

COLMAP puts the centre of the top-left pixel at (0.5, 0.5), recon at (0, 0). Half a pixel is added on the way
in and taken off on the way out, here and nowhere else: for keypoints, principal points, F and H.
Written and tested against pycolmap 4.2; other modules never import pycolmap.
"""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipelines import model_files
from pipelines.core.errors import OutputError
from pipelines.core.types import Camera, Model, TwoView
from pipelines.store.files import nearly_full, write_errors

if TYPE_CHECKING:
    import pycolmap

_SHIFT = np.array([[1.0, 0.0, 0.5], [0.0, 1.0, 0.5], [0.0, 0.0, 1.0]])
_UNSHIFT = np.array([[1.0, 0.0, -0.5], [0.0, 1.0, -0.5], [0.0, 0.0, 1.0]])


def _pycolmap() -> Any:
    """pycolmap with its log kept off the terminal: errors reach the user through our own hierarchy."""
    import pycolmap

    pycolmap.logging.minloglevel = pycolmap.logging.Level.FATAL.value
    return pycolmap


def version() -> str:
    """Version of the installed pycolmap."""
    return _pycolmap().__version__


# --- cameras ----------------------------------------------------------------------------------------------------------


def to_colmap(camera: Camera, camera_id: int = 0) -> pycolmap.Camera:
    """COLMAP's camera for ours; only a focal length that was given or read from EXIF counts as known."""
    pycolmap = _pycolmap()
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


# --- two views --------------------------------------------------------------------------------------------------------


def verify_pair(
    cameras: tuple[Camera, Camera],
    xy: tuple[NDArray[np.float32], NDArray[np.float32]],
    matches: NDArray[np.int32],
    *,
    max_error: float,
    min_inliers: int,
    seed: int,
) -> TwoView | None:
    """Robust two-view geometry (LO-RANSAC over E, F and H; COLMAP chooses the model).

    Args:
        cameras: of the two photos.
        xy: (N,2) and (M,2) keypoint centres in pixels.
        matches: (K,2) indices into them.
        max_error: largest distance from the epipolar line or the transferred point, px.
        min_inliers: fewer inliers count as no geometry.
        seed: RANSAC's seed.

    Returns:
        The geometry, or None if fewer than ``min_inliers`` matches agree with any.
    """
    if len(matches) < min_inliers:
        return None
    pycolmap = _pycolmap()
    options = pycolmap.TwoViewGeometryOptions()
    options.min_num_inliers = min_inliers
    options.compute_relative_pose = True
    options.ransac.max_error = max_error
    options.ransac.random_seed = seed
    found = pycolmap.estimate_two_view_geometry(
        to_colmap(cameras[0], 1),
        xy[0].astype(np.float64) + 0.5,
        to_colmap(cameras[1], 2),
        xy[1].astype(np.float64) + 0.5,
        matches.astype(np.uint32),
        options,
    )
    inliers = np.asarray(found.inlier_matches, np.int32).reshape(-1, 2)
    if len(inliers) < min_inliers:
        return None
    pose = found.cam2_from_cam1
    return TwoView(
        raw=len(matches),
        inliers=inliers,
        config=pycolmap.TwoViewGeometryConfiguration(found.config).name,
        angle=max(0.0, float(found.tri_angle)),
        essential=found.E,
        fundamental=None if found.F is None else _SHIFT.T @ found.F @ _SHIFT,
        homography=None if found.H is None else _UNSHIFT @ found.H @ _SHIFT,
        b_from_a=None if pose is None else np.asarray(pose.matrix(), np.float64),
    )


def _to_geometry(view: TwoView) -> pycolmap.TwoViewGeometry:
    pycolmap = _pycolmap()
    geometry = pycolmap.TwoViewGeometry()
    geometry.config = pycolmap.TwoViewGeometryConfiguration.__members__[view.config].value
    geometry.inlier_matches = view.inliers.astype(np.uint32)
    if view.essential is not None:
        geometry.E = view.essential
    if view.fundamental is not None:
        geometry.F = _UNSHIFT.T @ view.fundamental @ _UNSHIFT
    if view.homography is not None:
        geometry.H = _SHIFT @ view.homography @ _UNSHIFT
    if view.b_from_a is not None:
        geometry.cam2_from_cam1 = pycolmap.Rigid3d(view.b_from_a)
    geometry.tri_angle = view.angle
    return geometry


def write_database(
    path: Path,
    names: Sequence[str],
    cameras: Sequence[Camera],
    camera_of: Sequence[int],
    keypoints: Iterable[NDArray[np.float32]],
    matches: Iterable[tuple[tuple[int, int], NDArray[np.int32], TwoView | None]],
) -> None:
    """Write a COLMAP database; it takes the place of ``path`` once it is complete.

    Args:
        path: the database.
        names: photo names; photo i gets image id i + 1.
        cameras: the distinct cameras; camera c gets camera id c + 1.
        camera_of: index into ``cameras`` for each photo.
        keypoints: per photo (N,6) x, y and the 2x2 affine shape a11, a12, a21, a22, as COLMAP stores it.
        matches: per pair of photo indices: raw matches (K,2) and the verified geometry.

    Raises:
        OutputError: the disk is full or read-only.
    """
    pycolmap = _pycolmap()
    draft = path.with_name(f".{path.name}.draft")
    draft.unlink(missing_ok=True)
    try:
        with pycolmap.Database.open(draft) as database:  # A transaction that meets a full disk ends the process.
            for number, camera in enumerate(cameras, 1):
                colmap_camera = to_colmap(camera, number)
                database.write_camera(colmap_camera, use_camera_id=True)
                rig = pycolmap.Rig(rig_id=number)
                rig.add_ref_sensor(colmap_camera.sensor_id)
                database.write_rig(rig, use_rig_id=True)
            for number, (name, camera_index, points) in enumerate(zip(names, camera_of, keypoints, strict=True), 1):
                image = pycolmap.Image(name=name, camera_id=camera_index + 1, image_id=number)
                frame = pycolmap.Frame(frame_id=number, rig_id=camera_index + 1)
                frame.add_data_id(image.data_id)
                database.write_frame(frame, use_frame_id=True)
                image.frame_id = number
                database.write_image(image, use_image_id=True)
                shifted = points.astype(np.float32)
                shifted[:, :2] += 0.5
                database.write_keypoints(number, shifted)
            for (a, b), raw, view in matches:
                database.write_matches(a + 1, b + 1, raw.astype(np.uint32))
                if view is not None:
                    database.write_two_view_geometry(a + 1, b + 1, _to_geometry(view))
        if draft.with_name(draft.name + "-wal").exists():
            raise OSError(errno.ENOSPC, "SQLite could not take over its log")
        # A mapping that was killed leaves SQLite's log of the old database, which would be replayed into the new one.
        for log in ("-wal", "-shm", "-journal"):
            path.with_name(path.name + log).unlink(missing_ok=True)
        os.replace(draft, path)
    except (RuntimeError, OSError) as error:
        why = "the disk is full" if nearly_full(path.parent) else str(error).splitlines()[-1]
        raise OutputError(
            f"Cannot write {path}", why, "free some space and run the same command again; finished work is kept"
        ) from error
    finally:
        for leftover in path.parent.glob(f".{path.name}.draft*"):
            leftover.unlink(missing_ok=True)


# --- mapping ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class IncrementalJob:
    """A mapping; only the incremental one reports photos and scales thresholds.

    Attributes:
        database: made by :func:`write_database`.
        photos: folder of the photos (COLMAP wants one to exist; no photo is read).
        seed: seed of all random choices.
        min_model_size: components with fewer photos are dropped.
        fix_intrinsics: keep all camera parameters as they are in the database.
        error_scale: factor on COLMAP's pixel thresholds, for photos much larger than the working resolution.
        on_photo: called after each registered photo; an exception it raises ends the mapping.
    """

    database: Path
    photos: Path
    seed: int
    min_model_size: int
    fix_intrinsics: bool
    error_scale: float
    on_photo: Callable[[], None]


@contextmanager
def _scratch(beside: Path) -> Iterator[Path]:
    """A folder for what COLMAP insists on writing itself.

    Raises:
        OutputError: COLMAP failed on a full disk, in whatever words.
    """
    with write_errors(beside), tempfile.TemporaryDirectory(prefix=".", suffix=".draft", dir=beside) as folder:
        try:
            yield Path(folder)
        except RuntimeError as error:
            if nearly_full(beside):
                raise OSError(errno.ENOSPC, "disk full") from error
            raise


def incremental_mapping(
    job: IncrementalJob,
    *,
    start: Path | None = None,
    names: Sequence[str] = (),
    snapshots: Path | None = None,
    snapshot_every: int = 0,
) -> list[pycolmap.Reconstruction]:
    """Run an incremental mapping.

    Args:
        job: what to map, and how.
        start: a sparse model to go on from.
        names: map only these photos; all if empty.
        snapshots: folder that receives a sparse model every ``snapshot_every`` photos.

    Returns:
        The models, most photos first; empty if there was no good initial pair.
    """
    pycolmap = _pycolmap()
    pycolmap.set_random_seed(job.seed)
    options = pycolmap.IncrementalPipelineOptions()
    options.random_seed = options.mapper.random_seed = options.triangulation.random_seed = job.seed
    # From 50,000 residuals on, COLMAP adjusts in threads, whose sums come in any order: no two models are equal.
    options.num_threads = 1
    # COLMAP adjusts everything anew whenever the model has grown by a tenth, and each neighbourhood twice. On rendered
    # photos with exact truth half the effort gave the same cameras (1.58 mm against 1.62) in 57 % of the time; the
    # last adjustment is of everything until nothing changes, as before.
    options.ba_global_frames_ratio = options.ba_global_points_ratio = 1.5
    options.ba_local_max_refinements = 1
    options.min_model_size = job.min_model_size
    options.extract_colors = False
    options.image_names = list(names)
    for part, threshold in _PIXEL_THRESHOLDS:
        holder = getattr(options, part)
        setattr(holder, threshold, getattr(holder, threshold) * job.error_scale)
    if snapshots is not None:
        options.snapshot_path = snapshots
        options.snapshot_frames_freq = snapshot_every
    if job.fix_intrinsics:
        options.ba_refine_focal_length = options.ba_refine_extra_params = False
        options.mapper.abs_pose_refine_focal_length = options.mapper.abs_pose_refine_extra_params = False
    with _scratch(job.database.parent) as scratch:
        found = pycolmap.incremental_mapping(
            database_path=job.database,
            image_path=job.photos,
            output_path=scratch,
            options=options,
            input_path=start or "",
            initial_image_pair_callback=job.on_photo,
            next_image_callback=job.on_photo,
        )
    return largest_first(found.values())


_PIXEL_THRESHOLDS = (
    ("mapper", "init_max_error"),
    ("mapper", "abs_pose_max_error"),
    ("mapper", "filter_max_reproj_error"),
    ("triangulation", "merge_max_reproj_error"),
    ("triangulation", "complete_max_reproj_error"),
)


def global_mapping(job: IncrementalJob) -> list[pycolmap.Reconstruction]:
    """Global mapping (GLOMAP) of a database; models as in :func:`incremental_mapping`. It reports no progress."""
    pycolmap = _pycolmap()
    pycolmap.set_random_seed(job.seed)
    options = pycolmap.GlobalPipelineOptions()
    mapper = options.mapper
    for part in (options, mapper, mapper.rotation_averaging, mapper.global_positioning, mapper.retriangulation):
        part.random_seed = job.seed
    options.num_threads = mapper.num_threads = 1
    options.min_model_size = job.min_model_size
    if job.fix_intrinsics:
        mapper.bundle_adjustment.refine_focal_length = mapper.bundle_adjustment.refine_extra_params = False
    with _scratch(job.database.parent) as scratch:
        found = pycolmap.global_mapping(job.database, job.photos, scratch, options)
    return largest_first(found.values())


def largest_first(models: Iterable[pycolmap.Reconstruction]) -> list[pycolmap.Reconstruction]:
    """Models in the order of their photos, then points."""
    return sorted(models, key=lambda model: (-model.num_reg_images(), -model.num_points3D()))


# --- models -----------------------------------------------------------------------------------------------------------


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
    pycolmap = _pycolmap()
    kinds = [kind for name, kind in pycolmap.CameraModelId.__members__.items() if name != "INVALID"]
    parameters = {
        int(kind.value): len(pycolmap.Camera.create_from_model_id(1, kind, 1.0, 2, 2).params) for kind in kinds
    }
    return model_files.counts(folder, parameters)


def load(folder: Path) -> pycolmap.Reconstruction:
    """Read a COLMAP model (binary or text)."""
    return _pycolmap().Reconstruction(folder)


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
    keypoints = [np.array([point.xy for point in image.points2D], np.float32).reshape(-1, 2) for image in images]
    observations = [
        (index_of[element.image_id], point_index, element.point2D_idx)
        for point_index, point in enumerate(points)
        for element in point.track.elements
    ]
    table = np.array(observations, np.int32).reshape(-1, 3)
    obs_xy = np.empty((len(table), 2), np.float32)
    for index, xy in enumerate(keypoints):
        rows = table[:, 0] == index
        obs_xy[rows] = xy[table[rows, 2]] - 0.5
    return Model(
        names=tuple(image.name for image in images),
        cameras=tuple(
            from_colmap(reconstruction.cameras[image.camera_id], (sources or {}).get(image.camera_id, "map"))
            for image in images
        ),
        cam_from_world=np.array([image.cam_from_world().matrix() for image in images], np.float64).reshape(-1, 3, 4),
        xyz=np.array([point.xyz for point in points], np.float64).reshape(-1, 3),
        rgb=np.array([point.color for point in points], np.uint8).reshape(-1, 3),
        errors=np.array([point.error for point in points], np.float32),
        obs_image=table[:, 0].copy(),
        obs_point=table[:, 1].copy(),
        obs_keypoint=table[:, 2].copy(),
        obs_xy=obs_xy,
    )


def read_model(folder: Path) -> Model:
    """Read a COLMAP model as ours; see :func:`to_model`."""
    return to_model(load(folder))


def set_colours(reconstruction: pycolmap.Reconstruction, rgb: NDArray[np.uint8]) -> None:
    """Colour the points of a model, in the order of :func:`to_model`."""
    for point_id, colour in zip(sorted(reconstruction.points3D), rgb, strict=True):
        reconstruction.points3D[point_id].color = colour


# --- poses ------------------------------------------------------------------------------------------------------------


def absolute_pose_inliers(
    camera: Camera, xy: NDArray[np.float64], xyz: NDArray[np.float64], *, max_error: float, seed: int
) -> int:
    """Number of 2D-3D correspondences that agree with the best single camera pose (LO-RANSAC P3P); 0 if none.

    Args:
        camera: of the photo.
        xy, xyz: (N,2) pixels and (N,3) points in the world.
        max_error: largest reprojection error, px.
        seed: RANSAC's seed.
    """
    if len(xy) < 4:
        return 0
    pycolmap = _pycolmap()
    options = pycolmap.AbsolutePoseEstimationOptions()
    options.ransac.max_error = max_error
    options.ransac.random_seed = seed
    found = pycolmap.estimate_absolute_pose(xy + 0.5, xyz, to_colmap(camera), options)
    return 0 if found is None else int(found["num_inliers"])


# --- export -----------------------------------------------------------------------------------------------------------


def from_model(model: Model) -> pycolmap.Reconstruction:
    """COLMAP's model for ours; of the keypoints it has those that see a point. Equal cameras become one."""
    pycolmap = _pycolmap()
    made = pycolmap.Reconstruction()
    camera_ids = {camera: number for number, camera in enumerate(dict.fromkeys(model.cameras), 1)}
    for camera, number in camera_ids.items():
        made.add_camera_with_trivial_rig(to_colmap(camera, number))
    rows_of_image = np.argsort(model.obs_image, kind="stable")
    bounds = np.searchsorted(model.obs_image[rows_of_image], np.arange(len(model.names) + 1))
    keypoint = np.empty(len(model.obs_image), np.int64)
    for index, name in enumerate(model.names):
        rows = rows_of_image[bounds[index] : bounds[index + 1]]
        keypoint[rows] = np.arange(len(rows))
        image = pycolmap.Image(
            name=name,
            keypoints=model.obs_xy[rows].astype(np.float64) + 0.5,
            camera_id=camera_ids[model.cameras[index]],
            image_id=index + 1,
        )
        made.add_image_with_trivial_frame(image, pycolmap.Rigid3d(model.cam_from_world[index]))
    rows_of_point = np.argsort(model.obs_point, kind="stable")
    bounds = np.searchsorted(model.obs_point[rows_of_point], np.arange(len(model.xyz) + 1))
    for index, (xyz, rgb, error) in enumerate(zip(model.xyz, model.rgb, model.errors, strict=True)):
        rows = rows_of_point[bounds[index] : bounds[index + 1]]
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


def rays_of_pixels(camera: Camera, xy: NDArray) -> NDArray[np.float64]:
    """(N,2) pixels -> (N,2) points of the plane z = 1 of the camera's frame, lens distortion removed; NaN if none."""
    rays = to_colmap(camera).cam_from_img(np.asarray(xy, np.float64) + 0.5)
    return np.asarray(rays, np.float64).reshape(-1, 2)


def pixels_of_rays(camera: Camera, rays: NDArray) -> NDArray[np.float64]:
    """(N,2) points of the plane z = 1 of the camera's frame -> (N,2) pixels, lens distortion applied."""
    flat = np.asarray(rays, np.float64)
    pixels = to_colmap(camera).img_from_cam(np.column_stack([flat, np.ones(len(flat))]))
    return np.asarray(pixels, np.float64).reshape(-1, 2) - 0.5
