"""Where an adjustment begins: rotations along the strongest homographies, and a focal length under which these turn."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pipelines.core.median import median
from pipelines.stitch.adjust import Array, Turned

_ENOUGH = 100
"""Homographies that a focal length is guessed from."""


def first_guess(
    count: int,
    group: NDArray[np.int64],
    links: Sequence[tuple[int, int, Array, int]],
    centres: Array,
    focals: Array,
) -> Turned:
    """Rotations from homographies along the strongest links.

    Args:
        count: photos, all connected by the links.
        group: (N,) focal group of each.
        links: (i, j, homography x_j ~ H x_i in px, inliers).
        centres: (N,2) px.
        focals: (G,) px.
    """
    around: list[list[tuple[int, int, Array]]] = [[] for _ in range(count)]
    for i, j, homography, inliers in links:
        turn = _turn(homography, centres[i], centres[j], focals[group[i]], focals[group[j]])
        around[i].append((inliers, j, turn))
        around[j].append((inliers, i, turn.T))
    root = max(range(count), key=lambda i: sum(inliers for inliers, _, _ in around[i]))
    found = {root: np.eye(3)}
    while len(found) < count:
        edges = [(inliers, i, j, turn) for i in found for inliers, j, turn in around[i] if j not in found]
        _, i, j, turn = max(edges, key=lambda edge: edge[0])
        found[j] = turn @ found[i]
    return Turned(np.stack([found[i] for i in range(count)]), focals, np.zeros(len(focals)), group)


def _turn(homography: Array, centre_i: Array, centre_j: Array, focal_i: float, focal_j: float) -> Array:
    """The rotation nearest to K_j^-1 H K_i."""
    u, _, vt = np.linalg.svd(_normalised(homography, centre_i, centre_j, focal_i, focal_j))
    return u @ np.diag([1, 1, np.sign(np.linalg.det(u @ vt))]) @ vt


def _normalised(homography: Array, centre_i: Array, centre_j: Array, focal_i: float, focal_j: float) -> Array:
    k_i = np.array([[focal_i, 0, centre_i[0]], [0, focal_i, centre_i[1]], [0, 0, 1]])
    k_j = np.array([[focal_j, 0, centre_j[0]], [0, focal_j, centre_j[1]], [0, 0, 1]])
    turn = np.linalg.inv(k_j) @ homography @ k_i
    return turn / np.cbrt(np.linalg.det(turn))


def focal_from_homographies(
    links: Sequence[tuple[int, int, Array, int]], centres: Array, sides: Array, *, guess: float
) -> float:
    """Focal length, in long sides, under which the homographies are nearest to rotations; for photos without EXIF.

    Args:
        links: as in :func:`first_guess`.
        sides: (N,) long sides, px.
        guess: taken where the homographies do not tell, e.g. for two identical photos.
    """
    strongest = sorted(links, key=lambda link: -link[3])[:_ENOUGH]
    matrices = np.stack([link[2] for link in strongest])
    ends = np.array([link[:2] for link in strongest]).T
    candidates = guess * np.exp(np.linspace(np.log(0.3), np.log(6), 80))
    cameras = np.zeros((len(candidates), 2, len(strongest), 3, 3))
    cameras[..., 0, 0] = cameras[..., 1, 1] = candidates[:, None, None] * sides[ends]
    cameras[..., :2, 2], cameras[..., 2, 2] = centres[ends], 1
    turns = np.linalg.inv(cameras[:, 1]) @ matrices @ cameras[:, 0]
    # Of a matrix scaled to determinant 1 the singular values' logarithms add up to 0: their spread is the strain.
    strain = np.log(np.linalg.svd(turns, compute_uv=False)).std(axis=2)
    costs = median(strain, axis=1) + 1e-4 * np.log(candidates / guess) ** 2
    return float(candidates[int(np.argmin(costs))])
