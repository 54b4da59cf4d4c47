"""Similarities between worlds that hold the same points or cameras."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def similarity(source: NDArray[np.float64], target: NDArray[np.float64]) -> tuple[float, NDArray, NDArray]:
    """Scale s, rotation R (3,3) and translation t with target ~ s R source + t, by least squares on (N,3) points.

    Umeyama, Least-squares estimation of transformation parameters, PAMI 1991.
    """
    source_mean, target_mean = source.mean(axis=0), target.mean(axis=0)
    centred = source - source_mean
    u, singular, vt = np.linalg.svd((target - target_mean).T @ centred)
    sign = np.diag([1.0, 1.0, np.sign(np.linalg.det(u @ vt))])
    rotation = u @ sign @ vt
    scale = float((singular * np.diag(sign)).sum() / (centred**2).sum())
    return scale, rotation, target_mean - scale * rotation @ source_mean


def camera_alignment(
    found: NDArray[np.float64], true: NDArray[np.float64]
) -> tuple[float, NDArray[np.float64], NDArray[np.float64]]:
    """Scale s, rotation R and translation t with x_true ~ s R x_found + t, from whole poses.

    The rotation is the chordal mean of what each camera says; scale and translation follow by least squares on the
    centres. Centres alone (:func:`similarity`) leave the turn about their line open: the cameras of Herz-Jesus-P8
    spread over 16, 2 and 0.3 m, and millimetres in the last turn the whole map by 0.1 to 0.25 degrees.

    Args:
        found, true: (N,3,4) cam_from_world of the same N >= 2 cameras in the two worlds.
    """
    total = np.einsum("nki,nkj->ij", true[:, :, :3], found[:, :, :3])
    u, _, vt = np.linalg.svd(total)
    rotation = u @ np.diag([1.0, 1.0, np.linalg.det(u @ vt)]) @ vt
    source, target = centres_of(found) @ rotation.T, centres_of(true)
    spread = source - source.mean(axis=0)
    scale = float((spread * (target - target.mean(axis=0))).sum() / (spread**2).sum())
    return scale, rotation, target.mean(axis=0) - scale * source.mean(axis=0)


def centres_of(cam_from_world: NDArray[np.float64]) -> NDArray[np.float64]:
    """(N,3) centres of cameras (N,3,4)."""
    return -np.einsum("nij,ni->nj", cam_from_world[:, :, :3], cam_from_world[:, :, 3])


def angle_between(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """Angle in radians between rotations (..., 3, 3), exact for small ones too: by the chord, not by the trace."""
    chord = np.linalg.norm(a - b, axis=(-2, -1))
    return 2 * np.arcsin(np.clip(chord / (2 * np.sqrt(2)), 0, 1))
