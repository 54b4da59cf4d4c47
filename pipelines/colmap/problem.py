"""The bundle adjustment of a finished model: all poses and points, and those intrinsics that are free."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

import numpy as np

from pipelines.colmap.cameras import load_pycolmap
from pipelines.geometry.robust import CAUCHY, LEAST_NOISE, MEAN_LENGTH

if TYPE_CHECKING:
    import pycolmap


def adjuster(
    model: pycolmap.Reconstruction,
    noise: float,
    tolerance: float = 1e-3,
    *,
    fix_intrinsics: bool = False,
    principal_points: Collection[int] = (),
    images: Collection[int] = (),
    min_track_length: int = 0,
) -> pycolmap.CeresBundleAdjuster:
    """The problem of all poses and points, and of intrinsics but for principal points; or of all intrinsics of the
    cameras ``principal_points``, while those of the others stay as they are.

    Args:
        noise: the model's, see :func:`noise_of`, for a loss as wide as residuals are.
        tolerance: relative change of the cost at which solving ends.
        images: only these; all if empty.
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
    for image in images or model.reg_image_ids():
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
