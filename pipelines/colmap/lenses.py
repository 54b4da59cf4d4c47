"""Which intrinsics do the photos of a model tell? Principal points and lens distortion, by their covariance.

A mapper begins with a principal point in the middle and one number for the distortion, and no lens is like that. To
free more than the photos tell bends a model, to free less bends it too; the covariance of the adjustment says which.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pipelines.colmap.cameras import load_pycolmap
from pipelines.colmap.problem import adjuster, noise_of

if TYPE_CHECKING:
    import pycolmap

_SURE = 1e-3
"""Standard deviation, in long sides of the photo, below which a place is told by the photos: that of the principal
point, and that to which the distortion takes the photo's corner."""
_MOST_PHOTOS = 40
"""That are asked: the covariance's time grows with their third power (12 photos: 0.1 s, 300: 35 s, 1.4 GB)."""
_LONG_TRACKS = 5
"""Photos that see those points which are asked first."""
_WORTH = 0.98
"""Share of the noise to which a richer lens must take it: what is told may still not be there, and takes up what else
is wrong. At Herz-Jesus-P8, whose photos have no distortion, OPENCV moves the principal point by 5 px, fifteen standard
deviations, and the noise falls by 0.5 %."""
_TRIAL = 1e-2
"""Relative change of the cost at which a trial of other lenses ends; 2 % of the noise are 4 % of the cost."""
_RICHER: Mapping[str, tuple[str, ...]] = {"SIMPLE_RADIAL": ("OPENCV", "RADIAL"), "RADIAL": ("OPENCV",)}
"""Lenses that may take the place of others."""
_RICHER_ROUND: Mapping[str, tuple[str, ...]] = {"SIMPLE_RADIAL": ("RADIAL",)}


def choose_lenses(model: pycolmap.Reconstruction, *, tangential: bool) -> bool:
    """Give those cameras of an adjusted model a richer lens (RADIAL for SIMPLE_RADIAL, OPENCV for either) whose photos
    tell its parameters and fit it better.

    Tangential parameters take up what is wrong with a principal point: they, and all that is asked along with them, are
    asked with principal points free.

    On sample_data seen through a lens with k1 = 0.08, k2 = -0.12 cameras of recon's maps are 0.07 mm off instead of
    3.5, with k1 = -0.12, k2 = 0.05, p1 = 0.0015, p2 = -0.001 they are 0.10 off instead of 2.5 (1.25 with RADIAL).

    Args:
        tangential: OPENCV too, and principal points free; or RADIAL alone, and principal points where they are.

    Returns:
        Whether there are any; the model is to be adjusted anew then.
    """
    richer = _RICHER if tangential else _RICHER_ROUND
    noise, told = noise_of(model), dict[int, str]()
    for lens in ("OPENCV", "RADIAL"):
        rest = {key for key in used_cameras(model) - set(told) if lens in richer.get(model.cameras[key].model_name, ())}
        if rest:
            trial = _with_lenses(model, dict.fromkeys(rest, lens))
            tells = _tells_lens if tangential else _tells_distortion
            told |= dict.fromkeys(_told(trial, rest, tells, noise, principal_points=tangential), lens)
    if not told:
        return False
    free = told.keys() if tangential else ()
    richest = _noise_with(model, told, noise, free)
    # A model with free principal points may have been adjusted less than its rival was.
    stands = _noise_with(model, {}, noise, free) if tangential else _noise_by_camera(model)
    chosen = {key: lens for key, lens in told.items() if richest[key] < _WORTH * stands[key]}
    round_ones = {key: "RADIAL" for key, lens in chosen.items() if "RADIAL" in richer[model.cameras[key].model_name]}
    if round_ones != chosen:
        between = _noise_with(model, chosen | round_ones, noise, free)
        chosen |= {key: lens for key, lens in round_ones.items() if richest[key] >= _WORTH * between[key]}
    _set_lenses(model, chosen)
    return bool(chosen)


def told_principal_points(model: pycolmap.Reconstruction, noise: float) -> set[int]:
    """Ids of the cameras whose principal points the photos tell, where the model stands.

    What long lenses leave open, all photos leave open as long as it is asked of all: of those not told the worse half
    is left where it is and the others are asked again, until all that are asked are told. Of sacre_coeur's ten cameras
    that tells three wide ones, one of them 1.3 % off the centre, which bent the map by 0.6 % of its size.

    Args:
        noise: the model's.
    """
    told: set[int] = set()
    for images, keys, least in _questions(model, used_cameras(model), told):
        told.update(_free_together(model, noise, images, keys, least))
    return told


def _free_together(
    model: pycolmap.Reconstruction, noise: float, images: Collection[int], keys: Collection[int], least: int
) -> Collection[int]:
    """Those of the cameras whose principal points are all told while the others' stay."""
    while keys:
        every = _covariances(model, noise, images, keys, keys, least)
        spread = {key: _principal_point_spread(model.cameras[key], every.get(key)) for key in keys}
        told = sum(value < _SURE for value in spread.values())
        if told == len(keys):
            break
        keys = sorted(keys, key=lambda key: (spread[key], key))[: (told + len(keys)) // 2]
    return keys


def _principal_point_spread(camera: pycolmap.Camera, covariance: NDArray[np.float64] | None) -> float:
    """Standard deviation of a camera's principal point, in long sides; infinite if nothing is told of it."""
    if covariance is None:
        return float("inf")
    variances = np.diag(covariance)[list(camera.principal_point_idxs())]
    return float(np.sqrt(variances.max())) / max(camera.width, camera.height)


def used_cameras(model: pycolmap.Reconstruction) -> set[int]:
    """Ids of the cameras of a model's photos."""
    return {model.images[key].camera_id for key in model.reg_image_ids()}


def _set_lenses(model: pycolmap.Reconstruction, lenses: Mapping[int, str]) -> None:
    """Richer lenses for cameras, which project as before."""
    for key, lens in lenses.items():
        camera = model.cameras[key]
        focal, x, y, *distortion = camera.params
        k1, k2 = [*distortion, 0.0][:2]
        camera.model = load_pycolmap().CameraModelId.__members__[lens]
        camera.params = [focal, focal, x, y, k1, k2, 0.0, 0.0] if lens == "OPENCV" else [focal, x, y, k1, k2]


def _with_lenses(model: pycolmap.Reconstruction, lenses: Mapping[int, str]) -> pycolmap.Reconstruction:
    """A copy with other lenses."""
    copy = load_pycolmap().Reconstruction(model)
    _set_lenses(copy, lenses)
    return copy


def _noise_with(
    model: pycolmap.Reconstruction, lenses: Mapping[int, str], noise: float, principal_points: Collection[int]
) -> dict[int, float]:
    """:func:`_noise_by_camera` of the model adjusted with other lenses."""
    trial = _with_lenses(model, lenses)
    adjuster(trial, noise, _TRIAL, principal_points=principal_points).solve()
    return _noise_by_camera(trial)


def _noise_by_camera(model: pycolmap.Reconstruction) -> dict[int, float]:
    """Median, over the points that a camera saw, of their mean residuals, px."""
    model.update_point_3d_errors()
    errors = {key: point.error for key, point in model.points3D.items()}
    seen: dict[int, list[float]] = defaultdict(list)
    for key in model.reg_image_ids():
        image = model.images[key]
        seen[image.camera_id] += [errors[point.point3D_id] for point in image.get_observation_points2D()]
    return {camera: float(np.median(found)) for camera, found in seen.items() if found}


def _told(
    model: pycolmap.Reconstruction,
    cameras: Collection[int],
    tells: Callable[[pycolmap.Camera, NDArray[np.float64]], bool],
    noise: float,
    *,
    principal_points: bool,
) -> set[int]:
    """Those of the cameras of which the covariance of all parameters, principal points free or not, tells what
    ``tells`` looks for."""
    told: set[int] = set()
    for images, keys, least in _questions(model, cameras, told):
        every = _covariances(model, noise, images, keys, keys if principal_points else (), least)
        told.update(key for key, covariance in every.items() if tells(model.cameras[key], covariance))
    return told


def _covariances(
    model: pycolmap.Reconstruction,
    noise: float,
    images: Collection[int],
    keys: Collection[int],
    principal_points: Collection[int],
    least: int,
) -> dict[int, NDArray[np.float64]]:
    """Camera -> covariance of its intrinsics, as some photos and the points that ``least`` of them see tell it, those
    principal points free; cameras of which nothing is told are left out."""
    pycolmap = load_pycolmap()
    options = pycolmap.BACovarianceOptions()
    options.params = pycolmap.BACovarianceOptionsParams.ALL
    problem = adjuster(model, noise, principal_points=principal_points, images=images, min_track_length=least)
    every = pycolmap.estimate_ba_covariance(options, model, problem)
    if every is None:  # Some parameter is not told at all.
        return {}
    found = {key: every.get_other_params_cov(model.cameras[key].params) for key in keys}
    # With residuals in px, the covariance is that of keypoints that are exact to one px.
    return {key: noise**2 * covariance for key, covariance in found.items() if covariance is not None}


def _questions(
    model: pycolmap.Reconstruction, cameras: Collection[int], told: Collection[int]
) -> Iterator[tuple[list[int], list[int], int]]:
    """Photos and cameras of :func:`_asked`, and how many photos at least see the points that are asked.

    What some points tell, all of them tell, and points that many photos see tell most: they are asked alone first, and
    all of them only where some of the cameras are not in ``told`` by then, to which the caller adds those that are.
    """
    for images, keys in _asked(model, cameras):
        for least in (_LONG_TRACKS, 0):
            if not set(keys) <= set(told):
                yield images, keys, least


def _asked(model: pycolmap.Reconstruction, cameras: Collection[int]) -> Iterator[tuple[list[int], list[int]]]:
    """Photos that are asked together, and the cameras that they are asked of: the neighbourhood of a camera is asked of
    all others, too, that have no photo outside of it."""
    own: dict[int, set[int]] = defaultdict(set)
    for image in model.reg_image_ids():
        own[model.images[image].camera_id].add(image)
    left = sorted(cameras)
    while left:
        images = _neighbourhood(model, left[0])
        inside = set(images)
        keys = [key for key in left if key == left[0] or own[key] <= inside]
        yield images, keys
        left = [key for key in left[1:] if not own[key] <= inside]


def _neighbourhood(model: pycolmap.Reconstruction, camera: int) -> list[int]:
    """Ids of the photos that tell most of a camera: of its own the one with the most points, then always that which
    shares most points with those before; all photos of a small model. Fewer only make the camera seem less told."""
    every = sorted(model.reg_image_ids())
    if len(every) <= _MOST_PHOTOS:
        return every
    own = [key for key in every if model.images[key].camera_id == camera]
    taken = [max(own, key=lambda key: (model.images[key].num_points3D, -key))]
    shares: Counter[int] = Counter()
    seen: set[int] = set()
    while len(taken) < _MOST_PHOTOS:
        points = {point.point3D_id for point in model.images[taken[-1]].get_observation_points2D()} - seen
        seen |= points
        for point in points:
            shares.update({element.image_id for element in model.points3D[point].track.elements})
        left = [key for key in shares if key not in taken]
        if not left:
            break
        taken.append(max(left, key=lambda key: (shares[key], model.images[key].camera_id == camera, -key)))
    return sorted(taken)


def _tells_lens(camera: pycolmap.Camera, covariance: NDArray[np.float64]) -> bool:
    return _tells_principal_point(camera, covariance) and _tells_distortion(camera, covariance)


def _tells_principal_point(camera: pycolmap.Camera, covariance: NDArray[np.float64]) -> bool:
    return _principal_point_spread(camera, covariance) < _SURE


def _tells_distortion(camera: pycolmap.Camera, covariance: NDArray[np.float64]) -> bool:
    """By the variance of where the photo's corners lie, as the distortion's part of the covariance, its last rows,
    gives it."""
    corners = np.array([[x, y, 1.0] for x in (-0.5, 0.5) for y in (-0.5, 0.5)])
    corners *= [camera.width / camera.mean_focal_length(), camera.height / camera.mean_focal_length(), 1]
    rows = list(camera.extra_params_idxs())
    stands, step = np.array(camera.params), 1e-4
    base = camera.img_from_cam(corners)
    moves = []
    for row in rows:
        camera.params = (stands + step * (np.arange(len(stands)) == row)).tolist()
        moves.append((camera.img_from_cam(corners) - base) / step)
    camera.params = stands.tolist()
    jacobian = np.stack(moves, axis=-1)
    variances = np.einsum("cdi,ij,cdj->c", jacobian, covariance[-len(rows) :, -len(rows) :], jacobian)
    return bool(variances.max() < (_SURE * max(camera.width, camera.height)) ** 2)
