"""Which intrinsics do the photos of a model tell? Principal points and lens distortion, by their covariance.

A mapper begins with a principal point in the middle and one number for the distortion, and no lens is like that. To
free more than the photos tell bends a model, to free less bends it too; the covariance of the adjustment says which.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping
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
_FEWEST_PHOTOS = 3
"""Of a camera: in one photo alone, a principal point and a rotation are hard to tell apart."""
_MOST_PHOTOS = 40
"""That are asked: the covariance's time grows with their third power (12 photos: 0.1 s, 300: 35 s, 1.4 GB)."""
_WORTH = 0.98
"""Share of the noise to which a richer lens must take it: what is told may still not be there, and takes up what else
is wrong. At Herz-Jesus-P8, whose photos have no distortion, OPENCV moves the principal point by 5 px, fifteen standard
deviations, and the noise falls by 0.5 %."""
_SIMPLEST = "SIMPLE_RADIAL"
_LENSES = ("OPENCV", "RADIAL")
"""Camera models that take the place of the simplest, those with more parameters first."""


def choose_lenses(model: pycolmap.Reconstruction) -> bool:
    """Give those cameras of an adjusted model a richer lens whose photos tell its parameters and fit it better.

    On sample_data seen through a lens with k1 = 0.08, k2 = -0.12 cameras of recon's maps are 0.07 mm off instead of
    3.5, with k1 = -0.12, k2 = 0.05, p1 = 0.0015, p2 = -0.001 they are 0.10 off instead of 2.5 (1.25 with RADIAL).

    Returns:
        Whether there are any; the model is to be adjusted anew then.
    """
    told = _told_lenses(model)
    if not told:
        return False
    noise, richest = (_noise_with(model, lenses, told) for lenses in ({}, told))
    chosen = {key: lens for key, lens in told.items() if richest[key] < _WORTH * noise[key]}
    if chosen:
        plainer = dict.fromkeys(chosen, _LENSES[-1])
        noise = richest if plainer == chosen else _noise_with(model, plainer, chosen)
        chosen = {key: lens if richest[key] < _WORTH * noise[key] else plainer[key] for key, lens in chosen.items()}
        _set_lenses(model, chosen)
    return bool(chosen)


def _told_lenses(model: pycolmap.Reconstruction) -> dict[int, str]:
    """For cameras that have the simplest lens, the richest that their photos tell, if any."""
    rest = {key for key in _shared(model) if model.cameras[key].model_name == _SIMPLEST}
    told: dict[int, str] = {}
    for lens in _LENSES:
        trial = load_pycolmap().Reconstruction(model)
        _set_lenses(trial, dict.fromkeys(rest, lens))
        for key, covariance in _covariances(trial, rest).items():
            camera = trial.cameras[key]
            if _tells_principal_point(camera, covariance) and _tells_distortion(camera, covariance):
                told[key] = lens
        rest -= set(told)
    return told


def _set_lenses(model: pycolmap.Reconstruction, lenses: Mapping[int, str]) -> None:
    """Other lenses for cameras with the simplest, which project as before."""
    for key, lens in lenses.items():
        camera = model.cameras[key]
        focal, x, y, k = camera.params
        camera.model = load_pycolmap().CameraModelId.__members__[lens]
        camera.params = {"OPENCV": [focal, focal, x, y, k, 0, 0, 0], "RADIAL": [focal, x, y, k, 0]}[lens]


def _noise_with(
    model: pycolmap.Reconstruction, lenses: Mapping[int, str], principal_points: Collection[int]
) -> dict[int, float]:
    """:func:`_noise_by_camera` of the model adjusted with other lenses; with principal points, as OPENCV's tangential
    parameters would take up where these lie."""
    trial = load_pycolmap().Reconstruction(model)
    _set_lenses(trial, lenses)
    adjuster(trial, principal_points=principal_points).solve()
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


def told_principal_points(model: pycolmap.Reconstruction) -> set[int]:
    """Ids of the cameras whose principal points the photos tell, where the model stands."""
    found = _covariances(model, _shared(model))
    return {key for key, covariance in found.items() if _tells_principal_point(model.cameras[key], covariance)}


def _shared(model: pycolmap.Reconstruction) -> set[int]:
    photos = Counter(model.images[key].camera_id for key in model.reg_image_ids())
    return {key for key, count in photos.items() if count >= _FEWEST_PHOTOS}


def _covariances(model: pycolmap.Reconstruction, cameras: Collection[int]) -> Mapping[int, NDArray[np.float64]]:
    """(P,P) covariance of all parameters of cameras, each asked of its own photos and of those that share most points
    with them; without those for which some parameter is not told at all."""
    pycolmap = load_pycolmap()
    asked = defaultdict(list)
    for key in sorted(cameras):
        asked[_neighbourhood(model, key)].append(key)
    options = pycolmap.BACovarianceOptions()
    options.params = pycolmap.BACovarianceOptionsParams.ALL
    # With residuals in px, the covariance is that of keypoints that are exact to one px.
    noise, found = noise_of(model), {}
    for images, keys in asked.items():
        every = pycolmap.estimate_ba_covariance(options, model, adjuster(model, principal_points=keys, images=images))
        if every is not None:
            for key in keys:
                found[key] = noise**2 * every.get_other_params_cov(model.cameras[key].params)
    return found


def _neighbourhood(model: pycolmap.Reconstruction, camera: int) -> tuple[int, ...]:
    """Ids of the photos that tell most of a camera: of its own the one with the most points, then always that which
    shares most points with those before; all photos of a small model. Fewer only make the camera seem less told."""
    every = sorted(model.reg_image_ids())
    if len(every) <= _MOST_PHOTOS:
        return tuple(every)
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
    return tuple(sorted(taken))


def _tells_principal_point(camera: pycolmap.Camera, covariance: NDArray[np.float64]) -> bool:
    variances = np.diag(covariance)[list(camera.principal_point_idxs())]
    return bool(variances.max() < (_SURE * max(camera.width, camera.height)) ** 2)


def _tells_distortion(camera: pycolmap.Camera, covariance: NDArray[np.float64]) -> bool:
    """By where the photo's corners lie with parameters that are off by a standard deviation along each axis of the
    distortion's part of the covariance."""
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
    variances = np.einsum("cdi,ij,cdj->c", jacobian, covariance[np.ix_(rows, rows)], jacobian)
    return bool(variances.max() < (_SURE * max(camera.width, camera.height)) ** 2)
