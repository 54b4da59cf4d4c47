"""Points to a mesh, without what the photos do not show.

Poisson: Kazhdan and Hoppe, Screened Poisson surface reconstruction, TOG 2013. It closes holes with bubbles and sheets:
what lies away from all points is cut off again.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.dense.mesh_files import Mesh

_DEEPEST, _SHALLOWEST = 11, 6
"""Levels of Poisson's octree."""
_REACH = 3.0
"""A vertex is cut off if it lies farther from the nearest point than so many times that point's size, or so many cells
of the octree."""
_SMALL = 0.01
"""Share of the largest piece's triangles below which a piece is removed."""
_LEAST_TRIANGLES = 50


def spacing(points: NDArray[np.void]) -> float:
    """Median distance of a point from its nearest neighbour."""
    from scipy.spatial import cKDTree

    xyz = _xyz(points)
    tree = cKDTree(xyz)
    some = xyz[np.random.default_rng(0).permutation(len(xyz))[:20_000]]
    return float(np.median(tree.query(some, k=2)[0][:, 1]))


def poisson(points: NDArray[np.void], step: float, most: int = 0) -> Mesh:
    """A mesh by way of an indicator function whose gradient is the points' normals.

    Args:
        points: of :data:`pipelines.dense.fuse.POINT`; those without a normal are left out. Far ones lie farther apart
            than near ones, which their sizes tell.
        step: distance between points; where it is none, or no two points have a normal, there is an empty mesh.
        most: triangles that are left; 0 leaves all. Flat places lose theirs first (Garland and Heckbert, Surface
            simplification using quadric error metrics, SIGGRAPH 1997).
    """
    import open3d as o3d
    from scipy.spatial import cKDTree

    facing = points[(points["nx"] != 0) | (points["ny"] != 0) | (points["nz"] != 0)]
    xyz = _xyz(facing)
    side = float(np.ptp(xyz, axis=0).max()) * 1.1 if len(xyz) else 0.0
    if not (side > 0 and 0 < step < np.inf):  # open3d would end the process
        return Mesh(np.zeros((0, 3)), np.zeros((0, 3), "f4"), np.zeros((0, 3), np.uint8), np.zeros((0, 3), np.int32))
    middle = xyz.mean(axis=0)
    cloud = o3d.geometry.PointCloud()
    cloud.points = o3d.utility.Vector3dVector(xyz - middle)
    cloud.normals = o3d.utility.Vector3dVector(np.column_stack([facing[name] for name in ("nx", "ny", "nz")]))
    rgb = np.column_stack([facing[name] for name in ("red", "green", "blue")])
    cloud.colors = o3d.utility.Vector3dVector(rgb / 255)
    depth = int(np.clip(np.floor(np.log2(max(side / step, 2))), _SHALLOWEST, _DEEPEST))  # no finer than the points
    with o3d.utility.VerbosityContextManager(o3d.utility.VerbosityLevel.Error):
        made, _ = o3d.geometry.TriangleMesh.create_from_point_cloud_poisson(cloud, depth=depth)
    away, nearest = cKDTree(xyz - middle).query(np.asarray(made.vertices))
    made.remove_vertices_by_mask(away > _REACH * np.maximum(facing["size"][nearest], side / 2**depth))
    return _finished(made, middle, most)


def _finished(made: Any, middle: NDArray[np.float64], most: int) -> Mesh:
    """Without small pieces, degenerate triangles and more triangles than ``most``, back in its place."""
    made.remove_degenerate_triangles()
    if len(made.triangles):
        sizes = _piece_sizes(np.asarray(made.triangles), len(made.vertices))
        made.remove_triangles_by_mask(sizes < max(_LEAST_TRIANGLES, _SMALL * sizes.max()))
    if most and len(made.triangles) > most:
        made = made.simplify_quadric_decimation(most)
        made.remove_degenerate_triangles()
    made.remove_unreferenced_vertices()
    made.compute_vertex_normals()
    rgb = np.clip(np.rint(np.asarray(made.vertex_colors) * 255), 0, 255).astype(np.uint8)
    return Mesh(
        np.asarray(made.vertices) + middle,
        np.asarray(made.vertex_normals, np.float32),
        rgb if len(rgb) else np.zeros((0, 3), np.uint8),
        np.asarray(made.triangles, np.int32),
    )


def raycasting(mesh: Mesh) -> tuple[Any, NDArray[np.float64]]:
    """open3d's scene of a mesh, and where its origin lies (3,): of 32 bit, coordinates must be small to be exact."""
    import open3d

    middle, scene = mesh.xyz.mean(axis=0), open3d.t.geometry.RaycastingScene()
    scene.add_triangles(tensor(mesh.xyz - middle, np.float32), tensor(mesh.faces, np.uint32))
    return scene, middle


def cast(
    scene: Any, middle: NDArray[np.float64], cam_from_world: NDArray[np.float64], rays: NDArray[np.float64]
) -> dict[str, Any]:
    """What rays (H,W,3) of a camera (3,4), in its frame, hit of a scene of :func:`raycasting`, as open3d tells it.

    ``t_hit`` is the depth where those of the rays are one, infinite where they meet nothing.
    """
    rotation, shift = cam_from_world[:, :3], cam_from_world[:, 3]
    along = rays @ rotation
    eye = np.broadcast_to(-rotation.T @ shift - middle, along.shape)
    hits: dict[str, Any] = scene.cast_rays(tensor(np.concatenate([eye, along], axis=-1), np.float32))
    return hits


def tensor(values: NDArray, kind: type) -> Any:
    """open3d's array of numbers of a kind."""
    import open3d

    o3d: Any = open3d  # its type hints know no arrays
    return o3d.core.Tensor(np.ascontiguousarray(values, kind))


def _piece_sizes(faces: NDArray[np.int32], vertices: int) -> NDArray[np.int64]:
    """(F,) for each of the triangles (F,3), how many its connected piece has (open3d takes twenty times as long)."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    sides = np.repeat(faces[:, 0], 2), faces[:, 1:].ravel()
    _, piece = connected_components(coo_matrix((np.ones(len(sides[0]), bool), sides), (vertices, vertices)), False)
    piece = piece[faces[:, 0]]
    return np.bincount(piece)[piece]


def _xyz(points: NDArray[np.void]) -> NDArray[np.float64]:
    return np.column_stack([points[name] for name in "xyz"]).astype(np.float64)
