"""Depth, agreement and fusion, against the exact depth of the rendered courtyard and its exact cameras."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from true_map import Truth, courtyard, true_model

from descriptors import dense
from pipelines.core.errors import ConfigError, InputError
from pipelines.core.maps import Model
from pipelines.core.progress import Silent
from pipelines.dense.agree import Checked, check
from pipelines.dense.census_sweep import census_volume
from pipelines.dense.config import DenseConfig
from pipelines.dense.exposure import gains
from pipelines.dense.folder import DenseFolder
from pipelines.dense.fuse import fuse, rank
from pipelines.dense.neighbours import Task, plan
from pipelines.dense.project import transfer, warp
from pipelines.dense.run import cost_function
from pipelines.dense.stages import sweep_all
from pipelines.dense.sweep import DepthMap, sweep
from pipelines.dense.views import View, prepare_views, small_pinhole
from pipelines.depth.cost import CostFunction
from pipelines.depth.sgm import Penalties
from sample_data.shots import sfm_shots

SIZE = 400
NUMBERS = range(4, 9)
AGREED = {name: getattr(DenseConfig(), name) for name in ("consistent", "max_pixels", "max_depth")}


@dataclass(frozen=True)
class Scene:
    truth: Truth
    model: Model
    views: list[View]
    tasks: list[Task]
    depth: list[DepthMap]
    checked: list[Checked]


@pytest.fixture(scope="module")
def scene(sample_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Scene:
    """Five photos from the middle of the arc, each with its depth, alone and checked."""
    truth = courtyard(sample_data, NUMBERS)
    model = true_model(truth)
    views = prepare_views(model, truth.photos, {}, tmp_path_factory.mktemp("views"), SIZE, progress=Silent())
    tasks = [task for task in plan(model, views, 4) if isinstance(task, Task)]
    assert len(tasks) == len(views)
    depth = [sweep(views, task, CostFunction(), Penalties()) for task in tasks]
    checked = [
        check(
            views,
            task.index,
            task.neighbours,
            lambda index: depth[index].depth,
            **AGREED,
        )
        for task in tasks
    ]
    return Scene(truth, model, views, tasks, depth, checked)


def off(depth: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, float]:
    """Relative errors where both are known, and the share of what is no sky that has a depth."""
    both = (depth > 0) & (truth > 0)
    return np.abs(depth[both] - truth[both]) / truth[both], both.sum() / (truth > 0).sum()


# --- against the truth ------------------------------------------------------------------------------------------------


def test_depth_is_the_true_depth(scene):
    for view, made, checked in zip(scene.views, scene.depth, scene.checked, strict=True):
        truth = scene.truth.depth(view.name)
        alone, _ = off(scene.truth.at_truth(view, made.depth), truth)
        found = scene.truth.at_truth(view, checked.depth)
        agreed, share = off(found, truth)
        assert np.median(alone) < 0.004 and np.mean(alone < 0.01) > 0.8
        assert np.median(agreed) < 0.003 and np.mean(agreed < 0.01) > 0.95
        assert share > 0.6
        sky = truth == 0
        assert np.mean(found[sky] > 0) < 0.03, "depth in the sky"


def test_normals_are_those_of_the_true_surface(scene):
    """The courtyard's floor is level: normals there point up."""
    view, checked = scene.views[2], scene.checked[2]
    up = view.cam_from_world[:, 2]  # the world's z axis in the camera's frame
    y, x = np.nonzero(checked.depth)
    cam = np.column_stack([x, y, np.ones(len(x))]) @ np.linalg.inv(view.intrinsics).T
    world = (cam * checked.depth[y, x, None] - view.cam_from_world[:, 3]) @ view.cam_from_world[:, :3]
    floor = np.abs(world[:, 2]) < 0.02
    assert floor.sum() > 500
    upward = checked.normal[y, x][floor] / 127 @ up
    assert np.median(upward) > 0.97
    rays = cam / np.linalg.norm(cam, axis=1, keepdims=True)
    facing = np.einsum("ij,ij->i", checked.normal[y, x].astype(float), rays)
    assert np.mean(facing < 0) > 0.995, "normals look away from the camera"


def test_a_descriptor_can_be_the_cost(scene):
    view = scene.views[2]
    small = [_at_size(scene, index, 256) for index in range(len(scene.views))]
    made = sweep(small, scene.tasks[2], cost_function("swift"), Penalties())
    errors, _ = off(scene.truth.at_truth(small[2], made.depth), scene.truth.depth(view.name))
    assert view.name == small[2].name and np.median(errors) < 0.01 and np.mean(errors < 0.02) > 0.6


def _at_size(scene: Scene, index: int, size: int) -> View:
    view = scene.views[index]
    width, height, k = small_pinhole(scene.model.cameras[index], size)
    file = view.file.with_name(f"{index}-{size}.png")
    pixels = cv2.resize(view.read(), (width, height), interpolation=cv2.INTER_AREA)
    cv2.imwrite(str(file), pixels[..., ::-1])
    return replace(view, width=width, height=height, intrinsics=k, file=file)


def test_what_only_one_photo_says_is_dropped(scene):
    """A wrong depth in one photo, a wall in the air before its camera, has no neighbour that agrees."""
    wrong = scene.depth[2].depth.copy()
    wrong[50:150, 100:200] = 3.6
    task = scene.tasks[2]
    maps = {**{index: one.depth for index, one in enumerate(scene.depth)}, 2: wrong}
    checked = check(scene.views, 2, task.neighbours, maps.__getitem__, **AGREED)
    assert np.mean(checked.depth[55:145, 105:195] > 0) < 0.01
    assert np.mean(checked.depth[:, 210:] > 0) == pytest.approx(np.mean(scene.checked[2].depth[:, 210:] > 0), abs=0.02)
    alone = check(scene.views, 2, [], maps.__getitem__, **AGREED)
    assert not alone.depth.any(), "no neighbour has a depth to agree with"


@pytest.mark.parametrize(("rim", "left"), [(3, 0.35), (8, 0.5)])
def test_sky_beside_a_silhouette_is_dropped_though_all_photos_agree_about_it(scene, rim, left):
    """The exact depth, grown by some pixels into the sky, as windows that hold an edge grow it."""
    maps, skies = {}, {}
    for index, view in enumerate(scene.views):
        exact = cv2.resize(scene.truth.depth(view.name), (view.width, view.height), interpolation=cv2.INTER_NEAREST)
        grown = cv2.dilate(exact, np.ones((2 * rim + 1, 2 * rim + 1)))
        maps[index] = np.where(exact > 0, exact, grown).astype(np.float32)
        skies[index] = exact == 0
    checked = check(scene.views, 2, scene.tasks[2].neighbours, maps.__getitem__, **AGREED)
    grown = skies[2] & (maps[2] > 0)
    beside = ~skies[2] & (cv2.dilate(grown.astype(np.uint8), np.ones((7, 7))) > 0)
    assert grown.sum() > 1000 and np.mean(checked.depth[grown] > 0) < left
    assert np.mean(checked.depth[beside] > 0) > 0.75


# --- fusion -----------------------------------------------------------------------------------------------------------


def test_fused_points_lie_on_the_surface_and_none_comes_twice(scene):
    place = rank(scene.views, [float(np.median(one.depth[one.depth > 0])) for one in scene.checked])
    parts = []
    for task in scene.tasks:
        before = [other for other in range(len(scene.views)) if place[other] < place[task.index]]
        parts.append(fuse(scene.views, task.index, before, scene.checked.__getitem__, np.ones(3)))
    total, each = sum(map(len, parts)), [int((one.depth > 0).sum()) for one in scene.checked]
    assert max(each) <= total < 0.55 * sum(each), "photos of one place add what others have added"
    points = np.concatenate(parts)
    xyz = np.column_stack([points[name] for name in "xyz"]).astype(float)
    # Every pixel that was checked is near a point of the cloud.
    from scipy.spatial import cKDTree

    view, checked = scene.views[0], scene.checked[0]
    rows, columns = np.nonzero(checked.depth)
    cam = np.column_stack([columns, rows, np.ones(len(rows))]) @ np.linalg.inv(view.intrinsics).T
    world = (cam * checked.depth[rows, columns, None] - view.cam_from_world[:, 3]) @ view.cam_from_world[:, :3]
    away = cKDTree(xyz).query(world)[0]
    assert np.mean(away < 0.012 * checked.depth[rows, columns]) > 0.99
    assert points["views"].min() >= 3 and np.abs(xyz[:, 2]).max() < 12


def test_a_photo_of_another_exposure_is_no_patch_in_the_cloud(scene, tmp_path):
    """One photo made darker and redder than it was gets its colours back, as far as the others' exposures tell."""
    tint = np.array([0.85, 0.7, 0.6])
    file = tmp_path / "dark.png"
    cv2.imwrite(str(file), np.rint(scene.views[2].read() * tint).astype(np.uint8)[..., ::-1])
    views = [replace(view, file=file) if index == 2 else view for index, view in enumerate(scene.views)]
    checked = [
        check(views, task.index, task.neighbours, lambda k: scene.depth[k].depth, **AGREED) for task in scene.tasks
    ]
    before, after = (
        gains({task.index: (task.neighbours, made[task.index].ratios) for task in scene.tasks})
        for made in (scene.checked, checked)
    )
    restored = after[2] / after[0] / (before[2] / before[0])
    np.testing.assert_allclose(restored, 1 / tint, rtol=0.02)
    plain = fuse(scene.views, 2, [], scene.checked.__getitem__, before[2])
    dark = fuse(views, 2, [], checked.__getitem__, after[2] * before[0] / after[0])
    assert abs(int(np.median(plain["green"])) - int(np.median(dark["green"]))) <= 3
    exposures = np.log([shot.exposure for shot in sfm_shots()][NUMBERS.start - 1 : NUMBERS.stop - 1])
    factors = np.log([before[index][1] for index in range(len(exposures))])
    wanted = -(exposures - exposures.mean()) / 2.2  # light to grey levels
    np.testing.assert_allclose(factors - factors.mean(), wanted, atol=0.006)


def test_photos_that_tell_nothing_of_their_exposures_keep_their_colours():
    unknown = np.full((1, 3), np.nan, np.float32)
    found = gains({4: ([7], unknown), 7: ([4], unknown), 9: ([], np.zeros((0, 3), np.float32))})
    assert sorted(found) == [4, 7, 9] and all((gain == 1).all() for gain in found.values())


# --- neighbours -------------------------------------------------------------------------------------------------------


def test_neighbours_are_the_photos_beside(scene):
    for task in scene.tasks:
        assert task.index not in task.neighbours
        assert set(task.neighbours[:2]) <= {task.index + step for step in (-2, -1, 1, 2)}
    truth = scene.truth.depth(scene.views[2].name)
    task = scene.tasks[2]
    inside = (truth > 1 / task.near) & (truth < 1 / task.far)
    assert inside.sum() > 0.98 * (truth > 0).sum()


def test_a_photo_from_the_same_place_is_no_neighbour(scene):
    """Two photos from one tripod share all points, and tell nothing of depth."""
    poses = scene.model.cam_from_world.copy()
    poses[1] = poses[0]
    views = [replace(view, cam_from_world=pose) for view, pose in zip(scene.views, poses, strict=True)]
    tasks = plan(replace(scene.model, cam_from_world=poses), views, 4)
    assert isinstance(tasks[0], Task) and 1 not in tasks[0].neighbours
    alone = replace(
        scene.model,
        obs_point=np.arange(len(scene.model.obs_point), dtype=np.int32),
        xyz=np.repeat(scene.model.xyz, 10, axis=0)[: len(scene.model.obs_point)],
    )
    assert all(isinstance(task, str) for task in plan(alone, views, 4))


# --- the kernels ------------------------------------------------------------------------------------------------------


def test_census_volume_is_census_of_warped_pictures(scene):
    """The kernel that does all at once against the engine's cost of pictures warped one at a time."""
    rng = np.random.default_rng(3)
    gray = cv2.GaussianBlur(rng.integers(0, 256, (60, 90)).astype(np.uint8), (0, 0), 1.2)
    sources = []
    for size in ((60, 90), (70, 80)):
        picture = cv2.GaussianBlur(rng.integers(0, 256, size).astype(np.uint8), (0, 0), 1.2)
        turned = np.eye(3) + rng.normal(size=(3, 3)) * [[0.01, 0.01, 2], [0.01, 0.01, 2], [1e-5, 1e-5, 0.01]]
        sources.append((picture, turned, np.array([20.0, 4.0, 0.02])))
    base = rng.uniform(0.2, 0.21, gray.shape).astype(np.float32)
    offsets = np.array([0.0, 0.07, 0.2])
    volume = census_volume(gray, sources, base, offsets)
    cost = CostFunction()
    mine = cost.features(gray)
    for number, offset in enumerate(offsets):
        costs, whole = [], np.ones(gray.shape, np.uint8)
        for picture, a, b in sources:
            warped, seen = warp(picture, base, offset, a, b)
            costs.append(cost.shifted(mine, cost.features(warped), 0, 1)[:, :, 0].astype(float))
            whole &= cv2.erode(seen.astype(np.uint8), np.ones((7, 9), np.uint8))
        known = whole[10:-10, 14:-14] > 0  # there both pictures fill the window
        assert known.mean() > 0.2
        wanted = np.min(costs, axis=0)[10:-10, 14:-14][known]  # the better half of two
        assert np.mean(np.abs(volume[10:-10, 14:-14, number][known] - wanted) <= 1) > 0.97


def test_depth_is_kept_under_what_described_the_pixels(monkeypatch):
    asked: list[str] = []
    work = SimpleNamespace(
        progress=Silent(), depth={}, tasks={0: Task(0, (), 1.0, 2.0)},
        views=[SimpleNamespace(plain=lambda: "photo", name="photo")],
        folder=SimpleNamespace(has=lambda key: asked.append(key) or True),
    )  # fmt: skip
    swift = cost_function("swift")
    for cost in (CostFunction(), swift, swift):
        sweep_all(work, cost)
    monkeypatch.setattr(dense, "_VERSION", 99)
    del swift.describer.fingerprint
    sweep_all(work, swift)
    sweep_all(work, cost_function("sift"))
    assert asked[1] == asked[2] and len(set(asked)) == 4


def test_transfer_agrees_with_projection():
    rng = np.random.default_rng(1)
    k, other = (
        np.array([[500, 0, 200], [0, 490, 150], [0, 0, 1.0]]),
        np.array([[300, 0, 99], [0, 300, 80], [0, 0, 1.0]]),
    )
    pose, away = (np.column_stack([cv2.Rodrigues(rng.normal(0, 0.1, 3))[0], rng.normal(0, 0.3, 3)]) for _ in range(2))
    world = rng.uniform(-1, 1, 3) + np.array([0, 0, 6.0])
    cam, there = pose[:, :3] @ world + pose[:, 3], away[:, :3] @ world + away[:, 3]
    a, b = transfer(k, pose, other, away)
    pixel = k @ cam / cam[2]
    np.testing.assert_allclose(cam[2] * (a @ pixel + b / cam[2]), other @ there, rtol=1e-9)


# --- pictures and options ---------------------------------------------------------------------------------------------


def test_a_distorted_photo_is_undistorted(scene, tmp_path):
    """A photo taken through a lens, made from a rendered one, comes back as it was."""
    from pipelines import colmap
    from pipelines.core.maps import Camera

    lens = Camera("SIMPLE_RADIAL", 1024, 768, (862.4, 511.5, 383.5, -0.09), "given")
    straight = cv2.imread(str(scene.truth.photos[scene.truth.names[0]]))
    y, x = np.mgrid[:768, :1024]
    rays = colmap.rays_of_pixels(lens, np.column_stack([x.ravel(), y.ravel()]))
    k, _ = scene.truth.cameras[scene.truth.names[0]]
    at = (rays * (k[0, 0], k[1, 1]) + k[:2, 2]).astype(np.float32).reshape(768, 1024, 2)
    bent = cv2.remap(straight, at[..., 0], at[..., 1], cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    cv2.imwrite(str(tmp_path / "bent.png"), bent)
    model = replace(scene.model, names=("bent.png",), cameras=(lens,), cam_from_world=scene.model.cam_from_world[:1])
    (view,) = prepare_views(model, {"bent.png": tmp_path / "bent.png"}, {}, tmp_path, 500, progress=Silent())
    y, x = np.mgrid[: view.height, : view.width]
    rays = np.stack([x, y, np.ones(x.shape)], axis=-1) @ np.linalg.inv(view.intrinsics).T
    at = (rays @ k.T)[..., :2].astype(np.float32)
    blurred = cv2.GaussianBlur(straight, (0, 0), 0.8)
    wanted = cv2.remap(blurred, at[..., 0], at[..., 1], cv2.INTER_LINEAR)[..., ::-1]
    inner = np.s_[30:-30, 30:-30]
    assert np.median(np.abs(view.read()[inner].astype(int) - wanted[inner])) <= 3
    shifted = np.roll(wanted, 1, axis=1)
    assert np.mean(np.abs(view.read()[inner].astype(int) - wanted[inner])) < 0.5 * np.mean(
        np.abs(view.read()[inner].astype(int) - shifted[inner])
    )


def test_a_photo_that_has_changed_is_refused(scene, tmp_path):
    name = scene.truth.names[0]
    with pytest.raises(InputError, match="is not the photo that the map was made of"):
        prepare_views(scene.model, scene.truth.photos, {name: "0" * 64}, tmp_path, 200, progress=Silent())


def test_photos_that_differ_in_their_ending_alone_have_a_depth_map_each():
    files = DenseFolder(Path("dense")).map_files(["b/c d.jpg", "a.jpg", "a.png", "a.tif"])
    assert [file.name for file in files.values()] == ["b__c_d.png", "a.png", "a_2.png", "a_3.png"]


@pytest.mark.parametrize(
    "wrong", [{"size": 50}, {"neighbours": 0}, {"consistent": 9}, {"mesh": "voxels"}, {"consistent": 0}]
)
def test_wrong_options(wrong):
    with pytest.raises(ConfigError):
        DenseConfig(**wrong)


def test_more_agreement_than_there_are_photos_is_told_with_what_is_possible():
    with pytest.raises(ConfigError, match="Try: --consistent 4, or more --neighbours"):
        DenseConfig(consistent=99, neighbours=4)


def test_a_metric_network_is_no_cost():
    with pytest.raises(ConfigError, match="cannot be the matching cost"):
        cost_function("matchnet")
