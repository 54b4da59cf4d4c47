"""The most likely pose, and intrinsics as far as they are not known, for points that are themselves uncertain.

Every correspondence counts as much as it is exact: a keypoint's place is less certain the larger it is, and a point of
the map is less certain along the rays that it was triangulated from (Vakhitov et al., Uncertainty-aware camera pose
estimation from points and lines, CVPR 2021). What is not known of the camera is estimated along, under what is known of
cameras at large: principal points lie near the centre, lenses distort little. Given enough points at various depths the
photo itself tells both; with few, or all in one plane, the priors hold, and the covariance says what is left open.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from pipelines import colmap
from pipelines.core.maps import Camera
from pipelines.geometry.robust import CAUCHY, LEAST_NOISE, MEDIAN_SQUARE
from pipelines.images.cameras import MODELS
from pipelines.localize.sightings import Sightings, by_place

_FOCAL, _CENTRE = ("f", "fx", "fy"), ("cx", "cy")
OFF_CENTRE = 0.002
"""Sigma of a principal point that is only assumed, as a share of the longer side. On the validation scenes 0.5 % is a
little worse than 0.2 % where a photo has few points; sample_data, 0.5 % off the centre, is found all the same."""
_DISTORTION = 0.1
"""Sigma of the first radial term of a lens that nothing is known of."""
_STEPS = 20
_CONVERGED, _FARTHEST = 1e-6, 3.0
"""Largest change of a step in radians, distances to the points, logarithms of the focal length, longer sides."""
_SMALL = 1e-5
"""Of which derivatives are taken by differences."""


@dataclass(frozen=True)
class Prior:
    """What is known of a camera whose intrinsics are not known altogether.

    Attributes:
        focal: standard deviation of its focal length, as a share of it; infinite if nothing is known.
        centre: standard deviation of its principal point, in longer sides.
    """

    focal: float
    centre: float = OFF_CENTRE


@dataclass(frozen=True)
class Refined:
    """A pose and its uncertainty.

    Attributes:
        camera: with the intrinsics as given, or as they were estimated.
        cam_from_world: (3,4).
        centre_sigma, rotation_sigma: map units and radians, roots of the traces of the covariances.
    """

    camera: Camera
    cam_from_world: NDArray[np.float64]
    centre_sigma: float
    rotation_sigma: float


def refine(
    camera: Camera,
    cam_from_world: NDArray[np.float64],
    seen: Sightings,
    *,
    known: Camera | None = None,
    prior: Prior | None = None,
) -> Refined | None:
    """Gauss-Newton on a robust likelihood (Cauchy) of all sightings, whose common noise is estimated along.

    Args:
        camera, cam_from_world: where to begin.
        seen: of which few are wrong.
        known: what was known of the camera, from which the estimate departs as little as it can; by default the same.
        prior: of the intrinsics; None if they are known altogether.

    Returns:
        None if it leads nowhere.
    """
    known = known or camera
    sigmas = {} if prior is None else _sigmas(known, prior)
    names = tuple(sigmas)
    precision = np.diag([0.0] * 6 + [sigmas[name] ** -2 for name in names])
    rotation, centre = cam_from_world[:, :3], -cam_from_world[:, :3].T @ cam_from_world[:, 3]
    unit = float(np.median(np.linalg.norm(seen.xyz - centre, axis=1)))
    change = _change(known, camera, names)
    for _ in range(_STEPS):
        now = _changed(known, names, change)
        with np.errstate(all="ignore"):
            linear = _linearised(now, names, rotation, centre, unit, seen)
            information, gradient = _normal_equations(*linear)
            gradient[6:] += precision.diagonal()[6:] * change
            try:
                step = -np.linalg.solve(information + precision, gradient)
            except np.linalg.LinAlgError:
                return None
        if not np.abs(step).max() <= _FARTHEST:
            return None
        rotation, centre = _turn(step[:3]) @ rotation, centre + unit * step[3:6]
        change += step[6:]
        if np.abs(step).max() < _CONVERGED:
            break
    spread = np.diag(np.linalg.inv(information + precision)).clip(0)
    return Refined(
        _changed(known, names, change),
        np.column_stack([rotation, -rotation @ centre]),
        float(np.sqrt(spread[3:6].sum())) * unit,
        float(np.sqrt(spread[:3].sum())),
    )


def _sigmas(camera: Camera, prior: Prior) -> dict[str, float]:
    """What is estimated of a camera, with its standard deviation: ``f`` stands for the logarithm of all focal lengths,
    principal points are in longer sides."""
    known = {**dict.fromkeys(_CENTRE, prior.centre), "k": _DISTORTION, "k1": _DISTORTION}
    return {"f": prior.focal} | {name: known[name] for name in MODELS[camera.model] if name in known}


def _change(known: Camera, camera: Camera, names: tuple[str, ...]) -> NDArray[np.float64]:
    """What makes one camera of the other, see :func:`_changed`."""
    before, now = (dict(zip(MODELS[one.model], one.params, strict=True)) for one in (known, camera))
    focal = next(name for name in _FOCAL if name in now)
    ratio = np.log(now[focal] / before[focal])
    return np.array([ratio if name == "f" else (now[name] - before[name]) / _unit(known, name) for name in names])


def _changed(camera: Camera, names: tuple[str, ...], change: NDArray[np.float64]) -> Camera:
    by = dict(zip(names, change.tolist(), strict=True))

    def value(name: str, before: float) -> float:
        if name in _FOCAL:
            return float(before * np.exp(by.get("f", 0.0)))
        return float(before + by.get(name, 0.0) * _unit(camera, name))

    return replace(camera, params=tuple(map(value, MODELS[camera.model], camera.params)))


def _unit(camera: Camera, name: str) -> float:
    """Of a change in a parameter, in the parameter's own unit."""
    return float(max(camera.width, camera.height)) if name in _CENTRE else 1.0


def _linearised(
    camera: Camera,
    names: tuple[str, ...],
    rotation: NDArray[np.float64],
    centre: NDArray[np.float64],
    unit: float,
    seen: Sightings,
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """(N,2) residuals, (N,2,6+K) their derivatives by turn, centre and intrinsics, (N,2,2) their covariances."""
    x = (seen.xyz - centre) @ rotation.T
    rays = x[:, :2] / x[:, 2:]
    pixels = colmap.pixels_of_rays
    residuals = pixels(camera, rays) - seen.xy
    steps = _SMALL * np.eye(2)
    by_ray = np.stack([pixels(camera, rays + step) - pixels(camera, rays - step) for step in steps], axis=2)
    by_x = by_ray / (2 * _SMALL) @ by_place(x)
    by_point = by_x @ rotation
    turn = np.cross(x[:, None, :], by_x)  # a . (w x x) = (x x a) . w
    one = np.array([_SMALL])
    ahead, behind = ([pixels(_changed(camera, (name,), step), rays) for name in names] for step in (one, -one))
    intrinsic = [(a - b)[:, :, None] / (2 * _SMALL) for a, b in zip(ahead, behind, strict=True)]
    jacobian = np.concatenate([turn, -unit * by_point, *intrinsic], axis=2)
    covariance = by_point @ seen.covariance @ by_point.transpose(0, 2, 1)
    covariance += seen.variance[:, None, None] * np.eye(2)
    return residuals, jacobian, covariance


def _normal_equations(
    residuals: NDArray[np.float64], jacobian: NDArray[np.float64], covariance: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Information (6+K,6+K) and gradient of the sightings, each weighted by how exact it is and how far off."""
    weights = np.linalg.inv(covariance)
    squared = np.einsum("ni,nij,nj->n", residuals, weights, residuals)
    noise = max(float(np.median(squared)) / MEDIAN_SQUARE, LEAST_NOISE**2)
    weights *= (1 / (noise * (1 + squared / (noise * CAUCHY**2))))[:, None, None]
    weighted = weights @ jacobian
    information = np.einsum("nik,nil->kl", jacobian, weighted)
    return information, np.einsum("nik,ni->k", weighted, residuals)


def _turn(vector: NDArray[np.floating]) -> NDArray[np.float64]:
    from scipy.spatial.transform import Rotation

    return np.asarray(Rotation.from_rotvec(vector).as_matrix())
