"""Two-view geometry, single poses, and the database of both."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pipelines.colmap.cameras import load_pycolmap, to_colmap
from pipelines.core.errors import OutputError
from pipelines.core.maps import Camera, TwoView
from pipelines.store.files import nearly_full, write_errors

if TYPE_CHECKING:
    import pycolmap


_SHIFT = np.array([[1.0, 0.0, 0.5], [0.0, 1.0, 0.5], [0.0, 0.0, 1.0]])
_UNSHIFT = np.array([[1.0, 0.0, -0.5], [0.0, 1.0, -0.5], [0.0, 0.0, 1.0]])


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
    pycolmap = load_pycolmap()
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
    pycolmap = load_pycolmap()
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
    *,
    shown_as: Path | None = None,
) -> None:
    """Write a COLMAP database, whole or not at all.

    Args:
        path: where no database stands yet; see :func:`put_database`.
        names: photo names; photo i gets image id i + 1.
        cameras: the distinct cameras; camera c gets camera id c + 1.
        camera_of: index into ``cameras`` for each photo.
        keypoints: per photo (N,6) x, y and the 2x2 affine shape a11, a12, a21, a22, as COLMAP stores it.
        matches: per pair of photo indices: raw matches (K,2) and the verified geometry.
        shown_as: the name to tell of if it cannot be written, where ``path`` is a draft of it.

    Raises:
        OutputError: the disk is full or read-only.
    """
    pycolmap = load_pycolmap()
    try:
        with pycolmap.Database.open(path) as database:  # A transaction that meets a full disk ends the process.
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
        if path.with_name(path.name + "-wal").exists():
            raise OSError(errno.ENOSPC, "SQLite could not take over its log")
    except (RuntimeError, OSError) as error:
        drop_database(path)
        why = "the disk is full" if nearly_full(path.parent) else str(error).splitlines()[-1]
        raise OutputError(
            f"Cannot write {shown_as or path}",
            why,
            "free some space and run the same command again; finished work is kept",
        ) from error


def put_views(path: Path, views: Mapping[tuple[int, int], TwoView]) -> None:
    """Give pairs of a database's photos other geometries, or their first ones.

    Args:
        path: made by :func:`write_database`.
        views: by pair of photo indices.

    Raises:
        OutputError: the disk is full.
    """
    with write_errors(path):
        try:
            with closing(load_pycolmap().Database.open(path)) as database:
                for (a, b), view in views.items():
                    if database.exists_two_view_geometry(a + 1, b + 1):
                        database.delete_two_view_geometry(a + 1, b + 1)
                    database.write_two_view_geometry(a + 1, b + 1, _to_geometry(view))
        except RuntimeError as error:
            if nearly_full(path.parent):
                raise OSError(errno.ENOSPC, "disk full") from error
            raise


def put_database(draft: Path, path: Path) -> None:
    """A database takes the place of another, whose log a killed program may have left: it would be replayed into it."""
    drop_database(path, logs_only=True)
    os.replace(draft, path)


def drop_database(path: Path, *, logs_only: bool = False) -> None:
    """Remove a database, if there is one, and SQLite's logs of it."""
    for ending in ("-wal", "-shm", "-journal", *(() if logs_only else ("",))):
        path.with_name(path.name + ending).unlink(missing_ok=True)


def database_names(path: Path) -> list[str]:
    """Names of a COLMAP database's photos in the order of their ids; none if it is missing or damaged."""
    import sqlite3

    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?immutable=1", uri=True)) as database:
            return [name for (name,) in database.execute("SELECT name FROM images ORDER BY image_id")]
    except sqlite3.Error:
        return []
