"""Meshes: points of a known surface to triangles on it, fewer of them if so many are asked for, and the file back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pipelines.core.errors import InputError
from pipelines.dense.fuse import POINT
from pipelines.dense.mesh import poisson
from pipelines.dense.mesh_files import Mesh, read_mesh, write_mesh


@pytest.fixture(scope="module")
def ball() -> np.ndarray:
    """Points of a ball of radius 1."""
    towards = np.random.default_rng(0).normal(size=(20_000, 3))
    towards /= np.linalg.norm(towards, axis=1, keepdims=True)
    points = np.zeros(len(towards), POINT)
    for axis, (place, tilt) in enumerate((("x", "nx"), ("y", "ny"), ("z", "nz"))):
        points[place], points[tilt] = towards[:, axis] + 5, towards[:, axis]
    points["red"] = 200
    return points


def test_a_mesh_lies_on_the_surface_with_fewer_triangles_too(ball: np.ndarray) -> None:
    whole, small = poisson(ball, 0.03), poisson(ball, 0.03, 2000)
    assert len(whole.faces) > 8000 and 1500 < len(small.faces) <= 2000
    for mesh, off in ((whole, 0.01), (small, 0.02)):
        assert np.abs(np.linalg.norm(mesh.xyz - 5, axis=1) - 1).max() < off
        assert (np.abs(mesh.rgb.astype(int) - (200, 0, 0)) <= 1).all()
        outwards = (mesh.normals * (mesh.xyz - 5)).sum(axis=1)
        assert outwards.min() > 0.9


def test_a_mesh_comes_back_from_its_file(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    xyz = rng.normal(size=(30, 3)).astype(np.float32).astype(np.float64)
    rgb, normals = rng.integers(0, 256, (30, 3)).astype(np.uint8), rng.normal(size=(30, 3)).astype(np.float32)
    mesh = Mesh(xyz, normals, rgb, rng.integers(0, 30, (40, 3)).astype(np.int32))
    write_mesh(mesh, tmp_path / "mesh.ply")
    found = read_mesh(tmp_path / "mesh.ply")
    for name in ("xyz", "normals", "rgb", "faces"):
        np.testing.assert_array_equal(getattr(found, name), getattr(mesh, name))
    (tmp_path / "cut.ply").write_bytes((tmp_path / "mesh.ply").read_bytes()[:-1])
    with pytest.raises(InputError, match="no mesh"):
        read_mesh(tmp_path / "cut.ply")
