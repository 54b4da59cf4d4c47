"""Meshes: points of a known surface to triangles on it, fewer if so many are asked for, the file back, and pictures."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from pipelines.core.errors import InputError
from pipelines.dense.cloud import thinned
from pipelines.dense.fuse import POINT
from pipelines.dense.mesh import poisson, spacing
from pipelines.dense.mesh_files import Mesh, read_mesh, write_mesh
from pipelines.dense.picture import turns


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


def test_where_points_lie_farther_apart_the_mesh_is_whole_too() -> None:
    """A floor of which the far half has a point for each twenty-five of the near half, as a photo's has."""
    floor = []
    for start, apart in ((0.0, 0.01), (1.0, 0.05)):
        x, y = np.meshgrid(np.arange(start, start + 1, apart), np.arange(0, 1, apart))
        half = np.zeros(x.size, POINT)
        half["x"], half["y"], half["nz"], half["size"] = x.ravel(), y.ravel(), 1, apart
        floor.append(half)
    points = np.concatenate(floor)
    mesh = poisson(points, spacing(points))
    sides = mesh.xyz[mesh.faces[:, 1:]] - mesh.xyz[mesh.faces[:, :1]]
    area = np.linalg.norm(np.cross(sides[:, 0], sides[:, 1]), axis=1) / 2
    far = mesh.xyz[mesh.faces].mean(axis=1)[:, 0] > 1.05
    assert 0.9 < area[~far].sum() < 1.2 and 0.85 < area[far].sum() < 1.2


def test_points_of_a_thinned_cloud_are_larger_as_they_lie_farther_apart() -> None:
    part = np.zeros(10_000, POINT)
    part["size"] = 0.1
    points, source = thinned([(3, part)], len(part), 2500)
    assert len(points) == pytest.approx(2500, rel=0.1) and (source == 3).all()
    np.testing.assert_allclose(points["size"], 0.2, rtol=1e-6)


def test_of_hardly_any_points_the_mesh_is_empty(ball: np.ndarray) -> None:
    bare = ball[:5].copy()
    for name in ("nx", "ny", "nz"):
        bare[name] = 0
    for points in (bare, np.concatenate([bare, ball[5:6]]), ball[:1]):
        assert not len(poisson(points, spacing(points)).faces)


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


@pytest.mark.parametrize("around", [False, True])
def test_a_turntable_shows_the_whole_in_the_middle_of_each_picture(around: bool) -> None:
    """A wall that most points lie low in, and a few points far behind it."""
    random = np.random.default_rng(0)
    wall = np.c_[random.uniform(-3, 3, 5000), 2 - 3 * random.uniform(0, 1, 5000) ** 3, random.uniform(4, 6, 5000)]
    xyz = np.concatenate([wall, random.normal((30, 0, 60), 1, (60, 3))])
    towards = np.linspace(0, 2 * np.pi, 8, endpoint=False) if around else np.zeros(3)
    views = [SimpleNamespace(**_looking_at_the_wall(angle)) for angle in towards]
    for turn in turns(views, xyz, 6, (560, 420)):
        cam = wall @ turn.cam_from_world[:, :3].T + turn.cam_from_world[:, 3]
        xy = cam[:, :2] / cam[:, 2:] * turn.focal / (turn.width / 2, turn.height / 2)
        assert (np.abs(xy) < 1).all(axis=1).mean() > 0.97
        low, high = np.quantile(xy, [0.04, 0.96], axis=0)
        assert np.abs(low + high).max() < 0.25 and (high - low).max() > 1.5


def _looking_at_the_wall(angle: float) -> dict[str, np.ndarray]:
    c, s = np.cos(angle), np.sin(angle)
    rotation = np.array([[c, 0, -s], [0, 1, 0], [s, 0, c]])
    shift = np.array([0, 0, 8.0]) - rotation @ (0, 0, 5)
    return {"cam_from_world": np.column_stack([rotation, shift]), "centre": -rotation.T @ shift}
