"""Incremental and global mapping, and what is added to a model afterwards."""

from __future__ import annotations

import errno
import math
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.colmap.adjust import adjust
from pipelines.colmap.cameras import load_pycolmap
from pipelines.colmap.lenses import choose_lenses, used_cameras
from pipelines.colmap.thin import thin_database
from pipelines.store.files import nearly_full, write_errors

if TYPE_CHECKING:
    import pycolmap


@dataclass(frozen=True)
class IncrementalJob:
    """A mapping; only the incremental one reports photos and scales thresholds.

    Attributes:
        database: made by :func:`write_database`.
        seed: seed of all random choices.
        min_model_size: components with fewer photos are dropped.
        fix_intrinsics: keep all camera parameters as they are in the database.
        choose_lenses: give cameras the lens that their photos tell (:func:`pipelines.colmap.lenses.choose_lenses`).
        error_scale: factor on COLMAP's pixel thresholds, for photos much larger than the working resolution.
        on_photo: called after each registered photo; an exception it raises ends the mapping.
        snapshots: folder that receives a sparse model every ``snapshot_every`` photos; None for none.
    """

    database: Path
    seed: int
    min_model_size: int
    fix_intrinsics: bool
    choose_lenses: bool
    error_scale: float
    on_photo: Callable[[], None]
    snapshots: Path | None = None
    snapshot_every: int = 0


@contextmanager
def _scratch(beside: Path) -> Iterator[Path]:
    """A folder for what COLMAP insists on writing itself, and for the photos that it asks for and does not read.

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


_PIXEL_THRESHOLDS = (
    ("mapper", "init_max_error"),
    ("mapper", "abs_pose_max_error"),
    ("mapper", "filter_max_reproj_error"),
    ("triangulation", "merge_max_reproj_error"),
    ("triangulation", "complete_max_reproj_error"),
)


def _incremental_options(job: IncrementalJob) -> pycolmap.IncrementalPipelineOptions:
    """COLMAP's own, with the job's seed and thresholds, for the same model each time."""
    pycolmap = load_pycolmap()
    pycolmap.set_random_seed(job.seed)
    options = pycolmap.IncrementalPipelineOptions()
    options.random_seed = options.mapper.random_seed = options.triangulation.random_seed = job.seed
    # From 50,000 residuals on, COLMAP adjusts in threads, whose sums come in any order: no two models are equal.
    options.num_threads = 1
    options.extract_colors = False
    for part, threshold in _PIXEL_THRESHOLDS:
        holder = getattr(options, part)
        setattr(holder, threshold, getattr(holder, threshold) * job.error_scale)
    return options


def incremental_mapping(
    job: IncrementalJob,
    *,
    start: Path | None = None,
    begin: tuple[int, int] | None = None,
    names: Sequence[str] = (),
) -> list[pycolmap.Reconstruction]:
    """Run an incremental mapping: cameras from few matches (:func:`thin_database`), then points from all of them.

    Args:
        job: what to map, and how.
        start: a sparse model to go on from; it is the only one that is returned.
        begin: the two photos, as numbers of the job's, to make one model from; COLMAP chooses them unless they are
            given, and goes on with others when nothing more can be added.
        names: map only these photos; all if empty.

    Returns:
        The models, most photos first; empty if there was no good initial pair.
    """
    pycolmap = load_pycolmap()
    options = _incremental_options(job)
    # COLMAP adjusts everything anew whenever the model has grown by a tenth, and each neighbourhood twice, to the last
    # digit. On rendered photos with exact truth this lighter work gave the same cameras (1.51 mm either way) in less
    # than half of the time, and on cyprus, monstree and cippus the same number of points to 0.3 %; see adjust.
    options.ba_global_frames_ratio = options.ba_global_points_ratio = 1.5
    options.ba_local_max_refinements, options.ba_local_max_num_iterations = 1, 5
    options.ba_global_function_tolerance, options.ba_local_function_tolerance = 1e-4, 1e-3
    options.min_model_size = job.min_model_size
    options.image_names = list(names)
    options.multiple_models = start is None and begin is None
    if begin is not None:
        options.init_image_id1, options.init_image_id2 = begin[0] + 1, begin[1] + 1
        options.init_num_trials = 1
    if job.snapshots is not None:
        options.snapshot_path = job.snapshots
        options.snapshot_frames_freq = job.snapshot_every
    if job.fix_intrinsics:
        options.ba_refine_focal_length = options.ba_refine_extra_params = False
        options.mapper.abs_pose_refine_focal_length = options.mapper.abs_pose_refine_extra_params = False
    known = pycolmap.Reconstruction(start).cameras.values() if start is not None else ()
    with _lenses_of(known, job.database):
        # Points that two photos see are left out, if there are others: two photos, or a chain of them, have no others.
        for leave_out in (True, False):
            options.triangulation.ignore_two_view_tracks = leave_out
            with _scratch(job.database.parent) as scratch:
                found = pycolmap.incremental_mapping(
                    database_path=thin_database(job.database, scratch / "thin.db"),
                    image_path=scratch,
                    output_path=scratch,
                    options=options,
                    input_path=start or "",
                    initial_image_pair_callback=job.on_photo,
                    next_image_callback=job.on_photo,
                )
            if found:
                matches = _matches(job.database, options)
                break
    for model in found.values():
        _finish(model, matches, options, fix_intrinsics=job.fix_intrinsics)
        if job.choose_lenses and choose_lenses(model, tangential=False):
            take_up(job, model)
    return largest_first(found.values())


def take_up(job: IncrementalJob, model: pycolmap.Reconstruction) -> None:
    """Add to a model what the matches of the job's database show of it, and adjust it.

    Args:
        job: as it was mapped.
        model: of the database's photos; points that two photos see come in only where it has such points already.
    """
    options = _incremental_options(job)
    options.triangulation.ignore_two_view_tracks = all(point.track.length() > 2 for point in model.points3D.values())
    with _lenses_of(model.cameras.values(), job.database):
        matches = _matches(job.database, options)
    _finish(model, matches, options, fix_intrinsics=job.fix_intrinsics)


_NEAR = 2.0
"""Times the reprojection error up to which an observation stays, within which it is made part of a point."""

_ROUNDS, _STILL = 3, 1e-3
"""Of :func:`_finish` at most, and the change of a focal length below which it is over."""


def _matches(database: Path, options: pycolmap.IncrementalPipelineOptions) -> pycolmap.DatabaseCache:
    pycolmap = load_pycolmap()
    seen = pycolmap.DatabaseCacheOptions()
    seen.min_num_matches = options.min_num_matches
    with closing(pycolmap.Database.open(database)) as opened:
        return pycolmap.DatabaseCache.create(opened, seen)


def _finish(
    model: pycolmap.Reconstruction,
    matches: pycolmap.DatabaseCache,
    options: pycolmap.IncrementalPipelineOptions,
    *,
    fix_intrinsics: bool,
) -> None:
    """Take up what matches show of a finished model and adjust it, until focal lengths stay as they are.

    What the mapper has left out while cameras were wrong, it seldom looks at again, and the rest holds the cameras
    where they are. Without one of their photos, maps of the validation scenes kermit and et moved by 0.084 and 0.018 %
    of their size with this and by 0.087 and 0.017 % without (mean of the medians over cameras), sacre_coeur's, whose
    focal lengths nothing else tells, by 0.52 and 0.63 %; there are 0.5 to 1.5 % more observations.
    """
    pycolmap = load_pycolmap()
    _look_closely(model, options)
    for _ in range(_ROUNDS):
        mapper = pycolmap.IncrementalMapper(matches)
        mapper.begin_reconstruction(model)
        for image in sorted(model.reg_image_ids()):
            mapper.triangulate_image(options.triangulation, image)
        mapper.complete_and_merge_tracks(options.triangulation)
        mapper.filter_points(options.mapper)
        mapper.end_reconstruction(False)
        if options.triangulation.ignore_two_view_tracks:
            _drop_points_of_two_views(model)
        before = {key: camera.mean_focal_length() for key, camera in model.cameras.items()}
        adjust(model, fix_intrinsics=fix_intrinsics)
        if all(abs(model.cameras[key].mean_focal_length() / focal - 1) < _STILL for key, focal in before.items()):
            break
    # Wrong keypoints, which bend nothing any more, now stand out.
    limits = options.mapper.filter_max_reproj_error, options.mapper.filter_min_tri_angle
    pycolmap.ObservationManager(model).filter_all_points3D(*limits)
    if options.triangulation.ignore_two_view_tracks:
        _drop_points_of_two_views(model)
    model.update_point_3d_errors()


def _look_closely(model: pycolmap.Reconstruction, options: pycolmap.IncrementalPipelineOptions) -> None:
    """Make points only of what agrees with the model's cameras, which are nearly known: COLMAP's two degrees are for
    cameras that may not be, and of what it puts together by them, the filter takes away right with wrong.

    In a map of sample_data there are 70,600 observations with this and 68,900 without.
    """
    usual, made = load_pycolmap().IncrementalTriangulatorOptions(), options.triangulation
    shortest = min(model.cameras[key].mean_focal_length() for key in used_cameras(model))
    angle = math.degrees(_NEAR * options.mapper.filter_max_reproj_error / shortest)
    made.create_max_angle_error = min(usual.create_max_angle_error, angle)
    made.continue_max_angle_error = min(usual.continue_max_angle_error, angle)


@contextmanager
def _lenses_of(cameras: Iterable[pycolmap.Camera], database: Path) -> Iterator[None]:
    """A database with the lenses of a model's cameras: COLMAP goes on with no others. Afterwards it has its own: for a
    model to be begun, those of another have too many parameters."""
    known = put_lenses(cameras, database)
    try:
        yield
    finally:
        put_lenses(known, database)


def put_lenses(cameras: Iterable[pycolmap.Camera], path: Path) -> list[pycolmap.Camera]:
    """Give the cameras of a database the models and parameters of others where the models differ.

    Returns:
        Those cameras as they were.
    """
    before = []
    with closing(load_pycolmap().Database.open(path)) as database:
        for camera in cameras:
            known = database.read_camera(camera.camera_id)
            if known.model != camera.model:
                before.append(known)
                other = database.read_camera(camera.camera_id)
                other.model, other.params = camera.model, camera.params
                database.update_camera(other)
    return before


def _drop_points_of_two_views(model: pycolmap.Reconstruction) -> None:
    """Points that lost all but two of their photos on the way: nothing vouches for them any more. A model of two photos
    has no others.

    In a map of sample_data, a quarter of them had a wrong depth (by 2 % or more), of those that three photos see 1.7 %.
    """
    if model.num_reg_images() < 3:
        return
    for point_id in [key for key, point in model.points3D.items() if point.track.length() < 3]:
        model.delete_point3D(point_id)


def global_mapping(job: IncrementalJob) -> list[pycolmap.Reconstruction]:
    """Global mapping (GLOMAP) of a database; models as in :func:`incremental_mapping`. It reports no progress."""
    pycolmap = load_pycolmap()
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
        found = pycolmap.global_mapping(job.database, scratch, scratch, options)
    for model in found.values():
        adjust(model, fix_intrinsics=job.fix_intrinsics)
        if job.choose_lenses and choose_lenses(model, tangential=False):
            adjust(model, fix_intrinsics=job.fix_intrinsics)
        model.update_point_3d_errors()
    return largest_first(found.values())


def triangulate(job: IncrementalJob, cameras: pycolmap.Reconstruction) -> pycolmap.Reconstruction:
    """The points of cameras that stay where they are, from the verified matches of a database.

    Args:
        job: of a database whose cameras and photos have the ids of the model's.
        cameras: a model of cameras and poses without points, see :func:`pipelines.colmap.from_model`.
    """
    options = _incremental_options(job)
    with _scratch(job.database.parent) as scratch:
        return load_pycolmap().triangulate_points(
            cameras, job.database, scratch, scratch, clear_points=True, options=options, refine_intrinsics=False
        )


def largest_first(models: Iterable[pycolmap.Reconstruction]) -> list[pycolmap.Reconstruction]:
    """Models in the order of their photos, then points."""
    return sorted(models, key=lambda model: (-model.num_reg_images(), -model.num_points3D()))
