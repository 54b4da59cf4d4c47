"""The last adjustment of a finished model: a loss as narrow as residuals are small, and principal points."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from typing import TYPE_CHECKING

import numpy as np

from pipelines.colmap.cameras import load_pycolmap
from pipelines.geometry.robust import CAUCHY, LEAST_NOISE, MEAN_LENGTH

if TYPE_CHECKING:
    import pycolmap

_SURE = 1e-3
"""Standard deviation of a principal point, in long sides, below which the photos tell it."""
_FEWEST_PHOTOS = 3
"""Of a camera: in one photo alone, a principal point and a rotation are hard to tell apart."""
_LONG_TRACKS = 5
"""Photos that see those points which are asked first."""
_TOLERANCES, _NARROWER = (1e-2, 1e-3, 1e-3), 0.8
"""Relative changes of the cost at which the rounds of :func:`settle` end, and the share to which residuals must have
fallen for the third. The first is for the loss of the next, which is as narrow as residuals are then. With 1e-4
throughout, cameras of sample_data and fountain-P11 came out the same to 3 % in twice the time."""


def settle(model: pycolmap.Reconstruction, *, fix_intrinsics: bool) -> None:
    """Adjust a finished model, with the principal points of those cameras that took enough photos to tell them.

    A mapper leaves principal points in the middle, where no camera has them exactly. What that does to the poses is
    more than all noise of the keypoints: in maps of fountain-P11, Herz-Jesus-P8 and sample_data cameras are 2.6, 4.2
    and 0.24 mm off instead of 5.5, 8.0 and 1.85 mm.

    Args:
        model: nearly adjusted, with points, or nothing is done.
        fix_intrinsics: keep all camera parameters as they are.
    """
    if not model.num_points3D():
        return
    noise = noise_of(model)
    told = set() if fix_intrinsics else _told_principal_points(model, noise)
    for number, tolerance in enumerate(_TOLERANCES):
        before = noise
        if told != set(model.cameras):
            _adjuster(model, noise, tolerance, fix_intrinsics=fix_intrinsics).solve()
            noise = noise_of(model)
        if told:
            _adjuster(model, noise, tolerance, principal_points=told).solve()
            noise = noise_of(model)
        if number and noise > _NARROWER * before:
            break


def adjust(model: pycolmap.Reconstruction, *, fix_intrinsics: bool) -> None:
    """Adjust all but principal points until little moves, with a loss (Cauchy's) as narrow as residuals are small.

    The mapper stops while focal lengths and depths still trade with each other, and squares the errors of points up to
    its limit of 4 px. Against a loss (soft L1) of 1 px, cameras of sample_data are twice as exact (0.23 instead of
    0.46 mm off with the true intrinsics), and maps of the validation scenes et, kermit, crazyhorse without one of their
    photos move by 0.015, 0.065, 0.005 % of their size instead of 0.018, 0.084, 0.008 (mean of medians over cameras).
    """
    if model.num_points3D():
        _adjuster(model, noise_of(model), fix_intrinsics=fix_intrinsics).solve()


def _told_principal_points(model: pycolmap.Reconstruction, noise: float) -> set[int]:
    """Ids of the cameras whose principal points the photos tell, by their covariance where the model stands.

    What some points tell, all of them tell, and points that many photos see tell most: they are asked alone first.
    """
    photos = Counter(model.images[key].camera_id for key in model.reg_image_ids())
    shared = {key for key, count in photos.items() if count >= _FEWEST_PHOTOS}
    told: set[int] = set()
    for least in (_LONG_TRACKS, 0):
        if told != shared:
            told = _told_by_points(model, noise, shared, least)
    return told


def _told_by_points(model: pycolmap.Reconstruction, noise: float, shared: set[int], least: int) -> set[int]:
    """Those of the cameras ``shared`` whose principal points are told by the points that ``least`` photos see."""
    pycolmap = load_pycolmap()
    options = pycolmap.BACovarianceOptions()
    options.params = pycolmap.BACovarianceOptionsParams.ALL
    # With residuals in px, the covariance is that of keypoints that are exact to one px.
    adjuster = _adjuster(model, noise, principal_points=shared, min_track_length=least)
    every = pycolmap.estimate_ba_covariance(options, model, adjuster)
    if every is None:  # Some parameter is not told at all.
        return set()
    told = set()
    for key in shared:
        camera = model.cameras[key]
        covariance = every.get_other_params_cov(camera.params)
        if covariance is None:  # None of those points is in its photos.
            continue
        variance = np.diag(covariance)[list(camera.principal_point_idxs())].max()
        if noise * np.sqrt(variance) < _SURE * max(camera.width, camera.height):
            told.add(key)
    return told


def _adjuster(
    model: pycolmap.Reconstruction,
    noise: float,
    tolerance: float = 1e-3,
    *,
    fix_intrinsics: bool = False,
    principal_points: Collection[int] = (),
    min_track_length: int = 0,
) -> pycolmap.CeresBundleAdjuster:
    """The problem of all poses and points, and of intrinsics but for principal points; or of all intrinsics of the
    cameras ``principal_points``, while those of the others stay as they are.

    Args:
        noise: the model's, see :func:`noise_of`.
        min_track_length: points that fewer photos see are left out.
    """
    pycolmap = load_pycolmap()
    options = pycolmap.BundleAdjustmentOptions()
    options.print_summary = False
    options.refine_focal_length = options.refine_extra_params = not fix_intrinsics
    options.refine_principal_point = bool(principal_points)
    options.min_track_length = min_track_length
    options.ceres.loss_function_type = pycolmap.LossFunctionType.CAUCHY
    options.ceres.loss_function_scale = CAUCHY * noise
    solver = options.ceres.solver_options
    solver.function_tolerance, solver.gradient_tolerance, solver.parameter_tolerance = tolerance, 1e-10, 1e-10
    # Sums of several threads come in any order.
    solver.max_num_iterations, solver.num_threads = 100, 1
    what = pycolmap.BundleAdjustmentConfig()
    for image in model.reg_image_ids():
        what.add_image(image)
    if principal_points:
        for camera in set(model.cameras) - set(principal_points):
            what.set_constant_cam_intrinsics(camera)
    what.fix_gauge(pycolmap.BundleAdjustmentGauge.TWO_CAMS_FROM_WORLD)
    # pycolmap.bundle_adjustment would do all this, and switch COLMAP's log on.
    return pycolmap.create_default_ceres_bundle_adjuster(options, what, model)


def noise_of(model: pycolmap.Reconstruction) -> float:
    """Standard deviation of keypoints' places along each axis, px, by the middle one of the points' mean residuals."""
    model.update_point_3d_errors()
    middle = float(np.median([point.error for point in model.points3D.values()]))
    return max(middle / MEAN_LENGTH, LEAST_NOISE)
