"""The last adjustment of a finished model: a loss as narrow as residuals are small, and principal points."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from pipelines.colmap.lenses import told_principal_points
from pipelines.colmap.problem import adjuster, noise_of

if TYPE_CHECKING:
    import pycolmap

_FIRST, _USUAL, _OWN = 1e-2, 1e-3, 1e-5
"""Relative changes of the cost at which an adjustment ends: the first round of :func:`settle`, which is for the loss
of the next, as narrow as residuals are then; others; and others where photos have focal lengths of their own, which
trade with each other and with depths at next to no cost. With 1e-4 throughout, cameras of sample_data and
fountain-P11 came out the same to 3 % in twice the time; with 1e-3, maps of sacre_coeur without one of its photos move
by 0.51 instead of 0.45 % of their size (mean of the medians over cameras)."""

_NARROWER = 0.8
"""Share to which residuals must have fallen for another round, and noise for principal points to be asked again."""

_TURNS, _STILL = 20, 3e-4
"""Of :func:`_alternate` at most, and the change of a focal length below which it is over."""

_FLAT = 0.1
"""Of all of these, where tangential distortion is fitted: it trades with the principal point at next to no cost.
Without, cameras of sample_data through such a lens are turned by 0.04 instead of 0.008 degrees."""


def settle(model: pycolmap.Reconstruction, *, fix_intrinsics: bool) -> None:
    """Adjust a finished model, with the principal points of those cameras whose photos tell them.

    A mapper leaves principal points in the middle, where no camera has them exactly. What that does to the poses is
    more than all noise of the keypoints: in maps of fountain-P11, Herz-Jesus-P8 and sample_data cameras are 2.6, 4.2
    and 0.24 mm off instead of 5.5, 8.0 and 1.85 mm.

    Args:
        model: nearly adjusted, with points, or nothing is done.
        fix_intrinsics: keep all camera parameters as they are.
    """
    if not model.num_points3D():
        return
    noise, told, asked = noise_of(model), set[int](), math.inf
    later = _tolerance(model, fix_intrinsics)
    for number, tolerance in enumerate((_FIRST, later, later)):
        before = noise
        # What is wrong with a principal point is noise at first, in which others are not told.
        if not fix_intrinsics and told != set(model.cameras) and noise < _NARROWER * asked:
            told |= told_principal_points(model, noise)
            asked = noise
        flat = _FLAT if any(model.cameras[key].model_name == "OPENCV" for key in told) else 1.0
        if told != set(model.cameras):
            adjuster(model, noise, tolerance, fix_intrinsics=fix_intrinsics).solve()
            noise = noise_of(model)
        if told:
            adjuster(model, noise, flat * tolerance, principal_points=told).solve()
            noise = noise_of(model)
        if number and noise > _NARROWER * before:
            break
    if told and told != set(model.cameras):
        _alternate(model, told, flat * later)


def _alternate(model: pycolmap.Reconstruction, told: set[int], tolerance: float) -> None:
    """Adjust all intrinsics of the cameras ``told``, then those of all cameras but for principal points, in turn, until
    focal lengths stay: COLMAP frees the principal points of all cameras that it adjusts or of none, and focal lengths
    trade with them."""
    for _ in range(_TURNS):
        before = {key: camera.mean_focal_length() for key, camera in model.cameras.items()}
        adjuster(model, noise_of(model), tolerance, principal_points=told).solve()
        adjuster(model, noise_of(model), tolerance).solve()
        if all(abs(model.cameras[key].mean_focal_length() / focal - 1) < _STILL for key, focal in before.items()):
            break


def adjust(model: pycolmap.Reconstruction, *, fix_intrinsics: bool) -> None:
    """Adjust all but principal points until little moves, with a loss (Cauchy's) as narrow as residuals are small.

    The mapper stops while focal lengths and depths still trade with each other, and squares the errors of points up to
    its limit of 4 px. Against a loss (soft L1) of 1 px, cameras of sample_data are twice as exact (0.23 instead of
    0.46 mm off with the true intrinsics), and maps of the validation scenes et, kermit, crazyhorse without one of their
    photos move by 0.015, 0.065, 0.005 % of their size instead of 0.018, 0.084, 0.008 (mean of medians over cameras).
    """
    if model.num_points3D():
        tolerance = _tolerance(model, fix_intrinsics)
        adjuster(model, noise_of(model), tolerance, fix_intrinsics=fix_intrinsics).solve()


def _tolerance(model: pycolmap.Reconstruction, fix_intrinsics: bool) -> float:
    own = not fix_intrinsics and 2 * len(model.cameras) > model.num_reg_images()
    return _OWN if own else _USUAL
