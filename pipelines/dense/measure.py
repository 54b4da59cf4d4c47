"""How well depth and mesh agree with the map's points, which they were not made of."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pipelines.core.maps import Model
from pipelines.dense.mesh import raycasting, tensor
from pipelines.dense.mesh_files import Mesh
from pipelines.dense.views import View

COMPLETE = 3.0
"""A point of the map counts as reached by the surface within so many steps between points of the cloud."""


def from_surface(xyz: NDArray[np.float64], mesh: Mesh | None, points: NDArray[np.void]) -> NDArray[np.float64]:
    """(P,) distance of each point from the mesh, or without one from the nearest point of the cloud."""
    if mesh is None or not len(mesh.faces):
        from scipy.spatial import cKDTree

        cloud = np.column_stack([points[name] for name in "xyz"])
        return np.asarray(cKDTree(cloud).query(xyz)[0], np.float64)
    scene, middle = raycasting(mesh)
    return scene.compute_distance(tensor(xyz - middle, np.float32)).numpy().astype(np.float64)


def against_map(model: Model, view: View, depth: NDArray[np.float32], index: int) -> tuple[float, float]:
    """Share of the map's points seen by a photo that have a depth in it, and the median relative difference."""
    xyz = model.xyz[model.obs_point[model.rows_of_images[index]]]
    cam = xyz @ view.cam_from_world[:, :3].T + view.cam_from_world[:, 3]
    pixel = cam @ view.intrinsics.T
    place = np.rint(pixel[:, :2] / np.where(cam[:, 2:] > 0, pixel[:, 2:], np.nan))
    inside = ((place >= 0) & (place < (view.width, view.height))).all(axis=1)
    columns, rows = place[inside].astype(np.int64).T
    found, wanted = depth[rows, columns], cam[inside, 2]
    known = found > 0
    off = np.abs(found[known] - wanted[known]) / wanted[known]
    return float(np.mean(known)) if len(known) else 0.0, float(np.median(off)) if known.any() else float("nan")
