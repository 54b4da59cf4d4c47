"""Depth maps and a mesh of ``recon dense`` against exact depth, as sample_data has it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from pipelines.benchmarks.truth import TrueCamera, TrueDepth
from pipelines.core.maps import Model
from pipelines.dense.folder import DenseFolder
from pipelines.dense.mesh import cast, raycasting
from pipelines.dense.mesh_files import Mesh
from pipelines.dense.views import small_pinhole
from pipelines.geometry.similarity import camera_alignment

WRONG = 0.01
"""Relative difference from the true depth beyond which one is wrong."""
_STEADY = 0.05
"""Relative range of the true depth within 3 x 3 places below which it makes no step there."""


@dataclass(frozen=True)
class Exact:
    """Shares are of all places of all photos whose true depth is known; sky is where there is none.

    Attributes:
        deviation: median relative error of the depth maps.
        right: share of the depths that are within 1 %.
        covered: share of what is no sky with a depth within 1 %.
        sky: share of the sky with a depth.
        mesh_right, mesh_nearer, mesh_farther: share of what is no sky, and no step of the true depth, where the mesh is
            within 1 %, or nearer, or farther, as the true cameras see it.
        mesh_sky: share of the sky where they see the mesh.
    """

    deviation: float
    right: float
    covered: float
    sky: float
    mesh_right: float
    mesh_nearer: float
    mesh_farther: float
    mesh_sky: float


def against_depth(
    model: Model,
    mesh: Mesh,
    folder: DenseFolder,
    photos: list[dict[str, Any]],
    truth: dict[str, TrueCamera],
    depths: dict[str, TrueDepth],
) -> Exact:
    """Measure what a dense folder holds.

    Args:
        model: the map's.
        mesh: in the map's frame.
        folder: with the depth maps.
        photos: the ledger's, in the model's order.
        truth, depths: name -> true camera and depth, of two photos of the model at least.

    Raises:
        InputError: a depth map is missing or damaged.
    """
    rows = [index for index, name in enumerate(model.names) if name in truth and name in depths]
    poses = np.array([truth[model.names[index]].cam_from_world for index in rows])
    scale, rotation, shift = camera_alignment(model.cam_from_world[rows], poses)
    scene, middle = raycasting(replace(mesh, xyz=scale * mesh.xyz @ rotation.T + shift))
    errors, counts = [], np.zeros(8)
    for index in rows:
        true, name = depths[model.names[index]], model.names[index]
        sky, steady = true.depth == 0, _steady(true.depth)
        found = np.zeros_like(true.depth)
        if photos[index]["depth_file"]:
            depth = folder.read_checked(photos[index]["depth_file"]).depth
            *_, intrinsics = small_pinhole(model.cameras[index], max(depth.shape))
            found = sampled(depth, intrinsics, truth[name].intrinsics, true) * scale
        both = (found > 0) & ~sky
        errors.append(np.abs(found[both] / true.depth[both] - 1))
        hits = cast(scene, middle, truth[name].cam_from_world, _rays(truth[name].intrinsics, true))
        met = hits["t_hit"].numpy().astype(np.float64)
        off = np.where(steady, met, np.nan) / np.where(sky, 1, true.depth) - 1
        counts += [
            (~sky).sum(), sky.sum(), (found[sky] > 0).sum(), np.isfinite(met[sky]).sum(),
            steady.sum(), (np.abs(off) <= WRONG).sum(), (off < -WRONG).sum(), (np.isfinite(off) & (off > WRONG)).sum(),
        ]  # fmt: skip
    error = np.concatenate(errors)
    good = float(np.sum(error <= WRONG))
    surface, sky_size, filled, mesh_sky, *of_mesh = counts.tolist()
    right, nearer, farther = (part / max(of_mesh[0], 1) for part in of_mesh[1:])
    return Exact(
        deviation=float(np.median(error)) if len(error) else float("nan"),
        right=good / max(len(error), 1),
        covered=good / max(surface, 1),
        sky=filled / max(sky_size, 1),
        mesh_right=right,
        mesh_nearer=nearer,
        mesh_farther=farther,
        mesh_sky=mesh_sky / max(sky_size, 1),
    )


def sampled(
    depth: NDArray[np.float32], intrinsics: NDArray[np.float64], true_intrinsics: NDArray[np.float64], true: TrueDepth
) -> NDArray[np.float64]:
    """(h,w) a depth map at the places whose true depth is known, interpolated; 0 where one of four pixels has none.

    Args:
        depth: (H,W).
        intrinsics: (3,3) of the depth map.
        true_intrinsics: (3,3) of the photo.
        true: says which places.
    """
    at = (_rays(true_intrinsics, true) @ intrinsics.T)[..., :2].astype(np.float32)
    inverse = np.where(depth > 0, 1 / np.maximum(depth, 1e-9), 0).astype(np.float32)
    there = cv2.remap(inverse, at[..., 0], at[..., 1], cv2.INTER_LINEAR)
    whole = cv2.remap((depth > 0).astype(np.float32), at[..., 0], at[..., 1], cv2.INTER_LINEAR)
    return np.where(whole > 0.999, 1 / np.maximum(there, 1e-9), 0)


def _rays(intrinsics: NDArray[np.float64], true: TrueDepth) -> NDArray[np.float64]:
    """(h,w,3) rays of depth one, in the camera's frame, through the places whose true depth is known."""
    rows, columns = true.depth.shape
    y, x = np.mgrid[:rows, :columns] * float(true.stride)
    return np.stack([x, y, np.ones(x.shape)], axis=-1) @ np.linalg.inv(intrinsics).T


def _steady(depth: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Where there is a true depth, and no step of it: beside one, either side may be right."""
    nearest, farthest = cv2.erode(depth, np.ones((3, 3))), cv2.dilate(depth, np.ones((3, 3)))
    return (depth > 0) & (farthest - nearest < _STEADY * depth)
