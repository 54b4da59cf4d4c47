"""The pycolmap adapter against COLMAP's own synthetic scenes, and the half pixel."""

from __future__ import annotations

import numpy as np
import pycolmap
import pytest

from pipelines import colmap
from pipelines.benchmarks.truth import TrueCamera, pose_errors, similarity
from pipelines.colmap import thin
from pipelines.colmap.adjust import adjust, settle
from pipelines.colmap.lenses import _LONG_TRACKS, told_principal_points
from pipelines.colmap.mapping import _drop_points_of_two_views, _finish, _matches
from pipelines.colmap.problem import noise_of
from pipelines.core.errors import OutputError
from pipelines.core.maps import Camera, grouped
from pipelines.core.progress import Silent
from pipelines.sfm.mapping import _begun_better
from pipelines.sfm.why import MatchGraph

CAMERA = Camera("PINHOLE", 640, 480, (500.0, 510.0, 319.5, 239.5), "given")


def two_view_scene(rng, count=400, outliers=0.3):
    """Pixels of points in two cameras, in recon's convention, with false matches."""
    points = rng.uniform((-2, -2, 4), (2, 2, 8), (count, 3))
    angle = 0.15
    rotation = np.array([[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]])
    translation = np.array([-0.8, 0.05, 0.1])
    fx, fy, cx, cy = CAMERA.params

    def project(x):
        return np.column_stack([fx * x[:, 0] / x[:, 2] + cx, fy * x[:, 1] / x[:, 2] + cy])

    a, b = project(points), project(points @ rotation.T + translation)
    matches = np.column_stack([np.arange(count), np.arange(count)])
    wrong = rng.random(count) < outliers
    matches[wrong, 1] = rng.integers(0, count, wrong.sum())
    return a.astype(np.float32), b.astype(np.float32), matches.astype(np.int32), wrong, rotation, translation


def test_camera_round_trip_shifts_the_principal_point_by_half_a_pixel():
    made = colmap.to_colmap(CAMERA)
    assert tuple(made.params) == (500.0, 510.0, 320.0, 240.0)
    assert made.has_prior_focal_length
    guess = Camera("SIMPLE_RADIAL", 640, 480, (768.0, 319.5, 239.5, 0.0), "guess")
    assert not colmap.to_colmap(guess).has_prior_focal_length
    assert colmap.from_colmap(made, "given") == CAMERA


def test_verify_pair_finds_the_geometry_in_our_pixels():
    rng = np.random.default_rng(1)
    a, b, matches, wrong, rotation, translation = two_view_scene(rng)
    view = colmap.verify_pair((CAMERA, CAMERA), (a, b), matches, max_error=2.0, min_inliers=15, seed=0)
    assert view is not None and view.config == "CALIBRATED" and view.raw == len(matches)
    kept = set(map(tuple, view.inliers.tolist()))
    right = [tuple(row) for row in matches[~wrong].tolist()]
    assert sum(row in kept for row in right) > 0.99 * len(right)
    assert view.fundamental is None or epipolar(view.fundamental, a[matches[~wrong, 0]], b[matches[~wrong, 1]]) < 0.2
    assert view.b_from_a is not None
    np.testing.assert_allclose(view.b_from_a[:, :3], rotation, atol=2e-3)
    unit = translation / np.linalg.norm(translation)
    np.testing.assert_allclose(view.b_from_a[:, 3] / np.linalg.norm(view.b_from_a[:, 3]), unit, atol=1e-2)
    assert 0.05 < view.angle < 0.4


def epipolar(fundamental, a, b):
    """Median distance of b from the epipolar line of a, px."""
    line = np.column_stack([a, np.ones(len(a))]) @ fundamental.T
    product = (line * np.column_stack([b, np.ones(len(b))])).sum(1)
    return np.median(np.abs(product) / np.linalg.norm(line[:, :2], axis=1))


def test_verify_pair_is_repeatable_and_refuses_noise():
    rng = np.random.default_rng(2)
    a, b, matches, *_ = two_view_scene(rng)
    first, second = (
        colmap.verify_pair((CAMERA, CAMERA), (a, b), matches, max_error=2.0, min_inliers=15, seed=3) for _ in range(2)
    )
    np.testing.assert_array_equal(first.inliers, second.inliers)
    noise = rng.uniform(0, 480, (60, 2)).astype(np.float32), rng.uniform(0, 480, (60, 2)).astype(np.float32)
    pairs = np.column_stack([np.arange(60), np.arange(60)]).astype(np.int32)
    assert colmap.verify_pair((CAMERA, CAMERA), noise, pairs, max_error=1.0, min_inliers=25, seed=0) is None
    assert colmap.verify_pair((CAMERA, CAMERA), noise, pairs[:3], max_error=1.0, min_inliers=15, seed=0) is None


@pytest.fixture(scope="module")
def synthetic(tmp_path_factory):
    """A database that our adapter wrote from COLMAP's synthetic scene, and that scene."""
    folder = tmp_path_factory.mktemp("synthetic")
    options = pycolmap.SyntheticDatasetOptions()
    options.num_rigs = 1
    options.num_cameras_per_rig = 1
    options.num_frames_per_rig = 8
    options.num_points3D = 300
    pycolmap.set_random_seed(1)
    with pycolmap.Database.open(folder / "truth.db") as database:
        truth = pycolmap.synthesize_dataset(options, database)
        images = sorted(database.read_all_images(), key=lambda image: image.image_id)
        cameras = [colmap.from_colmap(database.read_camera(image.camera_id), "given") for image in images]
        keypoints = [np.asarray(database.read_keypoints(image.image_id), np.float32)[:, :2] - 0.5 for image in images]
        pairs = []
        for i, first in enumerate(images):
            for j in range(i + 1, len(images)):
                pairs.append(((i, j), np.asarray(database.read_matches(first.image_id, images[j].image_id), np.int32)))
    shapes = [np.column_stack([xy, np.tile([1.0, 0, 0, 1.0], (len(xy), 1))]).astype(np.float32) for xy in keypoints]
    matches = []
    for (i, j), raw in pairs:
        view = colmap.verify_pair(
            (cameras[i], cameras[j]), (keypoints[i], keypoints[j]), raw, max_error=2.0, min_inliers=15, seed=0
        )
        matches.append(((i, j), raw, view))
    names = [image.name for image in images]
    colmap.write_database(folder / "ours.db", names, cameras[:1], [0] * len(names), shapes, matches)
    return folder, truth, names


def job(folder, **changes):
    values = dict(
        database=folder / "ours.db",
        seed=0,
        min_model_size=3,
        fix_intrinsics=True,
        choose_lenses=False,
        error_scale=1.0,
        on_photo=lambda: None,
    )
    return colmap.IncrementalJob(**{**values, **changes})


def errors(model, truth, names):
    poses = {
        image.name: TrueCamera(np.eye(3), image.cam_from_world().matrix())
        for image in truth.images.values()
        if image.name in names
    }
    return pose_errors(model, poses)


def test_incremental_mapping_recovers_a_synthetic_scene(synthetic):
    folder, truth, names = synthetic
    called = []
    models = colmap.incremental_mapping(job(folder, on_photo=lambda: called.append(1)))
    assert len(models) == 1 and len(called) >= len(names) - 2
    model = colmap.to_model(models[0], {1: "given"})
    assert sorted(model.names) == sorted(names)
    assert model.cameras[0].source == "given"
    found = errors(model, truth, names)
    assert found.centre_max < 1e-3 and found.rotation_mean < 1e-4
    reprojected = project(model)
    assert np.abs(reprojected - model.obs_xy).max() < 0.05


def test_a_mapping_begins_with_the_two_photos_that_are_given(synthetic):
    folder, truth, names = synthetic
    (model,) = colmap.incremental_mapping(job(folder), begin=(4, 1))
    assert colmap.registered_names(model) == set(names)
    assert errors(colmap.to_model(model, {1: "given"}), truth, names).centre_max < 1e-3


class Told(Silent):
    """Progress that keeps what it was told."""

    def __init__(self):
        self.said = []

    def say(self, text):
        self.said.append(text)


def test_a_model_of_few_of_the_photos_that_hang_together_is_begun_anew(synthetic):
    folder, _, names = synthetic
    count = len(names)
    views = {(i, j): [0] * (100 - j) for i in range(count) for j in range(i + 1, count)}
    graph = MatchGraph(tuple(names), (0,) * count, {}, views)
    few = colmap.incremental_mapping(job(folder), names=names[:3])
    assert few[0].num_reg_images() == 3
    told = Told()
    (made,) = _begun_better(job(folder), few, graph, told)
    assert colmap.registered_names(made) == set(names)
    assert told.said == [f"The largest model has 3 of {count} photos that hang together; beginning with others"]
    assert _begun_better(job(folder), [made], graph, told) == [made] and len(told.said) == 1


def test_few_photos_stay_few_where_no_more_hang_together(synthetic):
    folder, _, names = synthetic
    graph = MatchGraph(tuple(names), (0,) * len(names), {}, {(0, 1): [0], (1, 2): [0]})
    few = colmap.incremental_mapping(job(folder), names=names[:3])
    assert _begun_better(job(folder), few, graph, Silent()) is few
    alone = MatchGraph(tuple(names), (0,) * len(names), {}, {(0, 1): [0]})
    assert _begun_better(job(folder), [], alone, Silent()) == []


def project(model):
    """Each observation's point through its camera, by the model's own parameters (SIMPLE_RADIAL)."""
    cameras = np.array([camera.params for camera in model.cameras])[model.obs_image]
    pose = model.cam_from_world[model.obs_image]
    x = np.einsum("nij,nj->ni", pose[:, :, :3], model.xyz[model.obs_point]) + pose[:, :, 3]
    uv = x[:, :2] / x[:, 2:]
    uv = uv * (1 + cameras[:, 3:4] * (uv**2).sum(1, keepdims=True))
    return cameras[:, :1] * uv + cameras[:, 1:3]


def test_an_exception_in_the_callback_ends_the_mapping(synthetic):
    folder, *_ = synthetic

    def stop():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        colmap.incremental_mapping(job(folder, on_photo=stop))
    assert not list(folder.glob(".*draft*"))


def test_mapping_some_of_the_photos_and_going_on(synthetic, tmp_path):
    folder, _, names = synthetic
    some = colmap.incremental_mapping(job(folder), names=names[:5])
    assert colmap.registered_names(some[0]) == set(names[:5])
    colmap.write_model(some[0], tmp_path / "0")
    grown = colmap.incremental_mapping(job(folder), start=tmp_path / "0")
    assert colmap.registered_names(grown[0]) == set(names)


def test_points_of_two_photos_stay_only_where_there_are_no_others(synthetic):
    folder, _, names = synthetic
    pair = colmap.to_model(colmap.incremental_mapping(job(folder, min_model_size=2), names=names[:2])[0])
    assert len(pair.names) == 2 and len(pair.xyz) > 20 and (pair.track_lengths == 2).all()
    several = colmap.incremental_mapping(job(folder))[0]
    kept = several.num_points3D()
    lost = min(several.points3D)
    seen = [(element.image_id, element.point2D_idx) for element in several.points3D[lost].track.elements]
    for image_id, keypoint in seen[2:]:
        several.delete_observation(image_id, keypoint)
    assert several.points3D[lost].track.length() == 2
    _drop_points_of_two_views(several)
    assert several.num_points3D() == kept - 1 and lost not in several.points3D
    assert min(point.track.length() for point in several.points3D.values()) > 2


@pytest.mark.parametrize("fixed", [True, False])
def test_a_finished_model_takes_up_what_its_matches_show(synthetic, fixed):
    folder, truth, names = synthetic
    model = colmap.incremental_mapping(job(folder))[0]
    points, seen = model.num_points3D(), model.compute_num_observations()
    for point_id in sorted(model.points3D)[::3]:
        model.delete_point3D(point_id)
    if not fixed:
        for camera in model.cameras.values():
            camera.params = np.array([1.03 * camera.params[0], *camera.params[1:]])
    options = pycolmap.IncrementalPipelineOptions()
    options.triangulation.ignore_two_view_tracks = True
    _finish(model, _matches(folder / "ours.db", options), options, fix_intrinsics=fixed)
    assert model.num_points3D() >= 0.98 * points and model.compute_num_observations() >= 0.98 * seen
    assert errors(colmap.to_model(model), truth, names).centre_max < 0.05


def test_keypoints_a_pixel_off_weigh_little_among_exact_ones(synthetic):
    _, truth, names = synthetic
    rng = np.random.default_rng(0)

    def settled(share):
        model = pycolmap.Reconstruction(truth)
        for number in model.reg_image_ids():
            for point in model.image(number).points2D:
                point.xy += rng.normal(scale=0.1, size=2)
                if number % 2 and rng.random() < share:  # all to one side, as where a pattern repeats
                    point.xy += np.array([1.5, 0.0])
        adjust(model, fix_intrinsics=True)
        return errors(colmap.to_model(model), truth, names).centre_mean

    assert settled(0.2) < 2 * settled(0.0)


def inlier_matches(path):
    with pycolmap.Database.open(path) as database:
        keys, views = database.read_two_view_geometries()
        return {pycolmap.pair_id_to_image_pair(key): view.inlier_matches for key, view in zip(keys, views, strict=True)}


def test_cameras_come_of_few_matches_and_points_of_all(synthetic, tmp_path, monkeypatch):
    folder, truth, names = synthetic
    assert thin.thin_database(folder / "ours.db", tmp_path / "thin.db") == folder / "ours.db"
    (whole,) = colmap.incremental_mapping(job(folder))
    monkeypatch.setattr(thin, "_MANY", 0)
    monkeypatch.setattr(thin, "_MATCHES", 120)
    assert thin.thin_database(folder / "ours.db", tmp_path / "thin.db") == tmp_path / "thin.db"
    every, few = inlier_matches(folder / "ours.db"), inlier_matches(tmp_path / "thin.db")
    assert every.keys() == few.keys()
    assert all(len(few[pair]) >= min(120, len(some)) for pair, some in every.items())
    assert sum(map(len, few.values())) < 0.7 * sum(map(len, every.values()))
    (model,) = colmap.incremental_mapping(job(folder))
    assert errors(colmap.to_model(model, {1: "given"}), truth, names).centre_max < 1e-3
    assert model.num_points3D() >= 0.99 * whole.num_points3D()


def test_the_longest_tracks_are_kept_whole_and_those_that_show_two_places_of_a_photo_last(monkeypatch):
    monkeypatch.setattr(thin, "_MATCHES", 1)
    # Tracks: 0 in all four photos, 1 of photo 5 with 1 and 2 of photo 7, 3 in three photos.
    pairs = [(5, 6), (6, 7), (5, 7), (7, 8), (5, 8)]
    matches = [[[1, 1], [0, 0], [3, 3]], [[1, 1], [0, 0], [3, 3]], [[1, 2], [3, 3]], [[0, 0]], [[0, 0]]]
    kept = thin._on_long_tracks(pairs, [np.array(some, np.uint32) for some in matches])
    assert [one.tolist() for one in kept] == [[False, True, True]] * 2 + [[False, True], [True], [True]]


def test_global_mapping(synthetic):
    folder, truth, names = synthetic
    models = colmap.global_mapping(job(folder))
    assert errors(colmap.to_model(models[0]), truth, names).centre_max < 0.05


def test_a_database_without_pairs_gives_no_model(synthetic, tmp_path):
    empty = np.zeros((0, 6), np.float32)
    colmap.write_database(tmp_path / "ours.db", ["a", "b"], [CAMERA], [0, 0], [empty, empty], [])
    assert colmap.incremental_mapping(job(tmp_path)) == []


def test_rows_of_each_label():
    def rows(labels, count):
        return [part.tolist() for part in grouped(np.array(labels, np.int32), count)]

    assert rows([2, 0, 2, 1, 0], 4) == [[1, 4], [3], [0, 2], []]
    assert rows([], 2) == [[], []] and rows([], 0) == []


def test_colours_and_files(synthetic, tmp_path):
    folder, *_ = synthetic
    model = colmap.incremental_mapping(job(folder))[0]
    rgb = np.random.default_rng(0).integers(0, 255, (model.num_points3D(), 3), dtype=np.uint8)
    colmap.set_colours(model, rgb)
    colmap.write_model(model, tmp_path / "0")
    assert colmap.is_model(tmp_path / "0")
    np.testing.assert_array_equal(colmap.read_model(tmp_path / "0").rgb, rgb)
    (tmp_path / "0" / "points3D.bin").write_bytes(b"")
    assert not colmap.is_model(tmp_path / "0")
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError):
        colmap.write_model(model, tmp_path / "file" / "0")


def test_a_pose_has_the_inliers_that_are_right(synthetic):
    folder, *_ = synthetic
    model = colmap.to_model(colmap.incremental_mapping(job(folder))[0])
    rows = model.obs_image == 2
    xy, xyz = model.obs_xy[rows].astype(float), model.xyz[model.obs_point[rows]]
    wrong = xy.copy()
    wrong[: len(wrong) // 2] += 100
    camera = model.cameras[2]
    assert colmap.absolute_pose(camera, xy, xyz, max_error=2.0, seed=0).inliers.all()
    found = colmap.absolute_pose(camera, wrong, xyz, max_error=2.0, seed=0).inliers.sum()
    assert len(xy) // 2 - 2 <= found <= len(xy) // 2 + 3
    assert colmap.absolute_pose(camera, xy[:3], xyz[:3], max_error=2.0, seed=0) is None


def test_similarity_recovers_scale_rotation_translation():
    rng = np.random.default_rng(0)
    source = rng.normal(size=(9, 3))
    rotation = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    rotation *= np.sign(np.linalg.det(rotation))
    scale, found, translation = similarity(source, 2.5 * source @ rotation.T + [1, 2, 3])
    assert scale == pytest.approx(2.5)
    np.testing.assert_allclose(found, rotation, atol=1e-12)
    np.testing.assert_allclose(translation, [1, 2, 3], atol=1e-12)


def test_principal_points_are_found_where_enough_photos_tell_them(synthetic):
    _, truth, names = synthetic
    model = pycolmap.Reconstruction(truth)
    (camera,) = model.cameras.values()
    middle = camera.params.copy()
    x, y = camera.principal_point_idxs()
    camera.params = middle + np.eye(len(middle))[x] * 7 - np.eye(len(middle))[y] * 5
    rng = np.random.default_rng(0)
    for number in model.reg_image_ids():
        image = model.image(number)
        for point in image.points2D:
            if point.has_point3D():
                seen = image.cam_from_world() * model.points3D[point.point3D_id].xyz
                point.xy = camera.img_from_cam(seen[None])[0] + rng.normal(scale=0.1, size=2)
    true = camera.params.copy()

    def settled(fixed):
        given = pycolmap.Reconstruction(model)
        given.cameras[camera.camera_id].params = middle
        adjust(given, fix_intrinsics=fixed)
        settle(given, fix_intrinsics=fixed)
        return given.cameras[camera.camera_id].params, errors(colmap.to_model(given), truth, names).centre_mean

    params, off = settled(fixed=False)
    assert np.abs(params - true)[[x, y]].max() < 0.5
    kept, off_with_middle = settled(fixed=True)
    assert (kept == middle).all() and off < 0.5 * off_with_middle

    for point in model.points3D.values():  # that few photos see
        seen_at = [(element.image_id, element.point2D_idx) for element in point.track.elements]
        for row in rng.permutation(len(seen_at))[_LONG_TRACKS - 1 :]:
            model.delete_observation(*seen_at[row])
    assert max(point.track.length() for point in model.points3D.values()) < _LONG_TRACKS
    assert told_principal_points(model, noise_of(model)) == {camera.camera_id}
