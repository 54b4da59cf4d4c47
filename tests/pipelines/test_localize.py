"""Poses, their uncertainty and verdicts, against cameras and points made up exactly."""

from __future__ import annotations

import json
from dataclasses import replace

import cv2
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from descriptors.views import Views
from pipelines.core.errors import ConfigError
from pipelines.core.maps import Camera, Model
from pipelines.core.types import Features, Photo
from pipelines.images.read import pixel_size
from pipelines.localize.guided import guided_matches, view_distances
from pipelines.localize.looks import Looks
from pipelines.localize.map import Component
from pipelines.localize.overlay import draw_overlay
from pipelines.localize.pose import Fit, coverage, fit_pose, project
from pipelines.localize.query import LocalizeConfig
from pipelines.localize.refine import Prior, Refined, refine
from pipelines.localize.result import Evidence, Localisation, Origin, QueryPose, Verdict
from pipelines.localize.sightings import Sightings, keypoint_variance, point_covariances
from pipelines.localize.verdict import judge

CAMERA = Camera("SIMPLE_RADIAL", 1000, 800, (900.0, 499.5, 399.5, 0.0), "given")
ROTATION = Rotation.from_euler("yxz", [20, -5, 3], degrees=True).as_matrix()
CENTRE = np.array([1.0, -2.0, 0.5])
POSE = np.column_stack([ROTATION, -ROTATION @ CENTRE])


def scene(count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """(N,2) pixels and (N,3) world points all over the picture, 4 to 12 away."""
    rng = np.random.default_rng(seed)
    depth = rng.uniform(4, 12, count)
    xy = rng.uniform((0, 0), (999, 799), (count, 2))
    rays = np.column_stack([(xy - (499.5, 399.5)) / 900, np.ones(count)]) * depth[:, None]
    return xy, (rays - POSE[:, 3]) @ ROTATION


def sighted(xy: np.ndarray, xyz: np.ndarray) -> Sightings:
    """All equally exact, and the points altogether."""
    return Sightings(xy, xyz, np.ones(len(xy)), np.zeros((len(xy), 3, 3)))


def centre_of(fit: Fit | Refined) -> np.ndarray:
    return -fit.cam_from_world[:, :3].T @ fit.cam_from_world[:, 3]


def fitted(camera: Camera, seen: Sightings, prior: Prior | None = None) -> Fit:
    fit = fit_pose(camera, seen, max_error=4.0, seed=0, prior=prior)
    assert fit is not None
    return fit


def refined(camera: Camera, seen: Sightings, prior: Prior | None = None) -> Refined:
    found = refine(camera, POSE, seen, prior=prior)
    assert found is not None
    return found


# --- pose -------------------------------------------------------------------------------------------------------------


def test_projection_is_the_pinhole_formula_and_nothing_is_seen_behind():
    xy, xyz = scene(50)
    seen, depth = project(CAMERA, POSE, xyz)
    np.testing.assert_allclose(seen, xy, atol=1e-6)
    assert depth.min() > 3.9
    behind = CENTRE - 2 * ROTATION[2]
    seen, depth = project(CAMERA, POSE, behind[None])
    assert np.isnan(seen).all() and depth[0] == pytest.approx(-2)


def test_exact_pose_among_wrong_matches():
    xy, xyz = scene(200)
    rng = np.random.default_rng(1)
    xy[60:] = rng.uniform((0, 0), (999, 799), (140, 2))
    fit = fitted(CAMERA, sighted(xy, xyz))
    np.testing.assert_allclose(fit.cam_from_world, POSE, atol=1e-5)
    assert fit.inliers[:60].all() and fit.inliers[60:].sum() <= 3
    assert fit.camera == CAMERA


@pytest.mark.parametrize(("focal", "sigma"), [(930.0, 0.05), (1600.0, np.inf), (300.0, np.inf)])
def test_a_wrong_focal_length_is_mended_or_estimated(focal, sigma):
    camera = replace(CAMERA, params=(focal, *CAMERA.params[1:]))
    fit = fitted(camera, sighted(*scene(150)), Prior(sigma))
    assert fit.camera.params[0] == pytest.approx(900, abs=0.05)
    np.testing.assert_allclose(centre_of(fit), CENTRE, atol=1e-3)


@pytest.mark.parametrize(
    ("model", "params"),
    [
        ("SIMPLE_RADIAL", (900.0, 507.5, 395.0, -0.08)),
        ("SIMPLE_PINHOLE", (900.0, 507.5, 395.0)),
        ("OPENCV", (900.0, 900.0, 507.5, 395.0, -0.08, 0.0, 0.0, 0.0)),
    ],
)
def test_a_photo_of_many_depths_tells_its_principal_point_and_distortion(model, params):
    true = Camera(model, 1000, 800, params, "given")
    _, xyz = scene(400)
    rng = np.random.default_rng(1)
    xy = project(true, POSE, xyz)[0] + rng.normal(0, 0.2, (400, 2))
    neutral = {3: (1200.0, 499.5, 399.5), 4: (1200.0, 499.5, 399.5, 0.0)}.get(
        len(params), (1200.0, 1200.0, 499.5, 399.5, 0.0, 0.0, 0.0, 0.0)
    )
    fit = fitted(replace(true, params=neutral), sighted(xy, xyz), Prior(np.inf))
    np.testing.assert_allclose(fit.camera.params[:1], params[:1], rtol=3e-3)
    np.testing.assert_allclose(fit.camera.params[-3:], params[-3:], atol=1.5)
    known = fitted(true, sighted(xy, xyz))
    assert np.linalg.norm(centre_of(known) - CENTRE) < known.centre_sigma * 3
    assert np.linalg.norm(centre_of(fit) - CENTRE) < fit.centre_sigma * 3 < 12 * known.centre_sigma


def test_a_cropped_photo_is_placed_better_where_the_maps_photos_say_how_far_off_principal_points_lie():
    true = replace(CAMERA, params=(900.0, 511.5, 389.5, 0.0))
    off: dict[float, list[float]] = {0.002: [], 0.011: []}
    for seed in range(8):
        _, xyz = scene(60, seed)
        xy = project(true, POSE, xyz)[0] + np.random.default_rng(seed).normal(0, 0.5, (60, 2))
        for centre, errors in off.items():
            found = refined(CAMERA, sighted(xy, xyz), Prior(np.inf, centre))
            errors.append(float(np.linalg.norm(centre_of(found) - CENTRE)))
    assert np.mean(off[0.011]) < 0.75 * np.mean(off[0.002])


def test_how_far_off_principal_points_lie_is_told_by_those_that_photos_told():
    cameras = {0: CAMERA, 1: replace(CAMERA, params=(900.0, 511.5, 383.5, 0.0)), 2: CAMERA}
    none = np.zeros(0, np.int32)
    model = Model((), (), np.zeros((0, 3, 4)), np.zeros((0, 3)), np.zeros((0, 3), np.uint8), np.zeros(0, np.float32),
                  none, none, none, np.zeros((0, 2), np.float32))  # fmt: skip
    part = Component("sparse/0", model, {}, cameras, Looks(np.zeros((0, 8), np.int8), {}))
    assert part.off_centre == pytest.approx(np.sqrt((0.012**2 + 0.016**2) / 2))
    assert replace(part, cameras={0: CAMERA}).off_centre == 0


def test_where_points_tell_nothing_of_the_camera_what_is_known_of_cameras_holds():
    _, xyz = scene(300)
    local = xyz @ ROTATION.T + POSE[:, 3]
    local *= 8 / local[:, 2:]  # a wall, seen straight on: focal length and distance cannot be told apart
    wall = (local - POSE[:, 3]) @ ROTATION
    xy = project(CAMERA, POSE, wall)[0] + np.random.default_rng(1).normal(0, 0.2, (300, 2))
    found = refined(CAMERA, sighted(xy, wall), Prior(0.05))
    assert abs(found.camera.params[1] - 499.5) < 10 and found.centre_sigma > 0.2
    assert refined(CAMERA, sighted(xy, wall)).centre_sigma < 0.02


@pytest.mark.parametrize("count", [0, 3, 5])
def test_too_few_correspondences_are_no_pose(count):
    assert fit_pose(CAMERA, sighted(*scene(count)), max_error=4, seed=0) is None


def test_chance_is_no_pose():
    xy, xyz = scene(150)
    xy = np.random.default_rng(2).permutation(xy)
    for prior in (None, Prior(np.inf)):
        fit = fit_pose(CAMERA, sighted(xy, xyz), max_error=4, seed=0, prior=prior)
        assert fit is None or fit.inliers.sum() < 12


@pytest.mark.parametrize(("noise", "prior"), [(0.5, None), (1.0, None), (0.5, Prior(np.inf))])
def test_sigmas_are_the_spread_of_many_trials(noise, prior):
    xy, xyz = scene(80)
    rng = np.random.default_rng(3)
    true = np.array(CAMERA.params)
    centres, turns, told = [], [], []
    for _ in range(80):
        # Where intrinsics are estimated they differ from what is expected as the priors say.
        camera = CAMERA if prior is None else replace(CAMERA, params=tuple(true + rng.normal(0, (0, 2, 2, 0.1))))
        seen = project(camera, POSE, xyz)[0] + rng.normal(0, noise, xy.shape)
        found = refined(CAMERA, sighted(seen, xyz), prior)
        centres.append(centre_of(found))
        turns.append(Rotation.from_matrix(found.cam_from_world[:, :3] @ ROTATION.T).as_rotvec())
        told.append((found.centre_sigma, found.rotation_sigma))
    spread = [float(np.sqrt(np.var(rows, axis=0).sum())) for rows in (centres, turns)]
    # 80 trials tell a standard deviation to about 8 %; the robust loss costs a little besides.
    np.testing.assert_allclose(np.mean(told, axis=0), spread, rtol=0.3)


def test_what_is_exact_counts_more():
    xy, xyz = scene(80)
    rng = np.random.default_rng(4)
    variance = np.where(np.arange(80) < 40, 1.0, 100.0)
    plain, weighted = [], []
    for _ in range(40):
        seen = xy + rng.normal(0, 0.3, xy.shape) * np.sqrt(variance)[:, None]
        plain.append(centre_of(refined(CAMERA, sighted(seen, xyz))))
        weighted.append(centre_of(refined(CAMERA, Sightings(seen, xyz, variance, np.zeros((80, 3, 3))))))
    rough, exact = (np.linalg.norm(np.array(rows) - CENTRE, axis=1).mean() for rows in (plain, weighted))
    assert exact < 0.8 * rough


def test_points_on_a_line_through_the_camera_leave_the_pose_open():
    xy, xyz = scene(40)
    line = CENTRE + np.linspace(5, 8, 40)[:, None] * ROTATION[2]
    line += 1e-4 * np.random.default_rng(0).normal(size=line.shape)
    seen = project(CAMERA, POSE, line)[0] + np.random.default_rng(1).normal(0, 0.3, xy.shape)
    fit = refine(CAMERA, POSE, sighted(seen, line))
    assert fit is None or fit.centre_sigma > 10 * refined(CAMERA, sighted(xy + 0.3, xyz)).centre_sigma


def test_keypoints_are_less_exact_the_larger_they_are():
    assert keypoint_variance(np.array([2.0, 6.0]), 1.0).tolist() == [1, 5]
    assert keypoint_variance(np.array([8.0]), 4.0).tolist() == [16]
    assert pixel_size(6000, 4000, 1600) == 3.75 and pixel_size(640, 480, 1600) == 1


def test_a_points_covariance_is_the_spread_of_its_triangulation():
    """Two and three cameras; the point triangulated by least squares from keypoints with a pixel of noise."""
    poses = [np.column_stack([np.eye(3), [-x, 0.0, 0]]) for x in (0.0, 1.0, 3.0)]
    points = np.array([[0.3, 0.2, 6.0], [1.0, -0.5, 8.0]])
    image, point = np.array([0, 1, 0, 1, 2]), np.array([0, 0, 1, 1, 1])
    none = np.zeros(0, np.float32)
    model = Model(("a", "b", "c"), (CAMERA,) * 3, np.array(poses), points, np.zeros((2, 3), np.uint8), none,
                  image, point, np.zeros(5, np.int32), np.zeros((5, 2), np.float32))  # fmt: skip
    told = point_covariances(model, np.array([1, 0]), np.ones(3))[::-1]
    rng = np.random.default_rng(0)
    for row in range(2):
        seen = [poses[index] for index in image[point == row]]
        rows = np.concatenate([_direct(pose, points[row]) for pose in seen])
        spread = np.cov(np.linalg.pinv(rows) @ rng.normal(0, 1, (len(rows), 20_000)))
        np.testing.assert_allclose(told[row], spread, rtol=0.06, atol=2e-5)
    assert point_covariances(model, np.array([0]), np.full(3, 2.0))[0] == pytest.approx(4 * told[0])


def _direct(pose: np.ndarray, point: np.ndarray) -> np.ndarray:
    """(2,3) derivative of a pixel by the point, by differences."""
    steps = 1e-5 * np.eye(3)
    ahead, behind = (project(CAMERA, pose, point + sign * steps)[0] for sign in (1, -1))
    return ((ahead - behind) / 2e-5).T


def test_guided_matches_are_near_the_expected_place_and_look_alike():
    xy, xyz = scene(6)
    described = np.eye(6, dtype=np.float32)
    keypoints = xy.astype(np.float32) + np.float32([[1, 0], [0, 1], [30, 0], [0, 0], [0, 0], [0, 0]])
    looks = described.copy()
    looks[3] = (described[3] + 9 * described[0]) / np.sqrt(82)  # hardly like point 3
    rival = keypoints[4:5] + np.float32([2, 0])
    keypoints, looks = np.concatenate([keypoints, rival]), np.concatenate([looks, described[4:5]])
    frames = np.concatenate([np.tile(np.eye(2, dtype=np.float32), (7, 1, 1)), keypoints[:, :, None]], axis=2)
    features = Features(frames, np.ones(7, np.float32), looks)
    fit, places = Fit(CAMERA, POSE, 0.1, 0.1, np.ones(6, bool)), np.arange(7, dtype=np.int32)
    # Point 1 was also seen in another way.
    views, _ = Views.grouped(np.concatenate([described, described[2:3]]), np.array([0, 1, 2, 3, 4, 5, 1]))
    points = xyz, views, np.arange(6)
    # 2 is too far off, 3 does not look like its point, 4 has an equal rival two pixels off.
    found = guided_matches(features, places, fit, points, radius=8, limit=0.5)
    assert found.tolist() == [[0, 0], [1, 1], [5, 5]]
    # As the same place in another orientation it is no rival.
    places[6] = 4
    found = guided_matches(features, places, fit, points, radius=8, limit=0.5)
    assert found.tolist() == [[0, 0], [1, 1], [4, 4], [5, 5]]
    found = guided_matches(features, places, fit, (xyz, views, np.array([1, 4])), radius=8, limit=0.5)
    assert found.tolist() == [[1, 1], [4, 4]]
    empty = Features(frames[:0], np.ones(0, np.float32), looks[:0])
    assert guided_matches(empty, places[:0], fit, points, radius=8, limit=0.5).shape == (0, 2)


def test_the_nearest_view_counts():
    a = np.array([[0b1010, 0], [255, 1]], np.uint8)
    views, owners = Views.grouped(np.array([[0, 0], [0b0110, 0], [255, 3]], np.uint8), np.array([7, 4, 7]))
    assert owners.tolist() == [4, 7]
    assert view_distances(a, views, np.array([0, 1])).tolist() == [2, 1]


def test_coverage_counts_cells():
    camera = replace(CAMERA, width=800, height=800)
    assert coverage(camera, np.empty((0, 2))) == 0
    assert coverage(camera, np.array([[0.0, 0.0], [99.0, 99.0]])) == 1 / 64
    assert coverage(camera, np.array([[99.4, 0.0], [99.6, 0.0], [799.4, 799.4], [-0.5, 799]])) == 4 / 64
    every = np.stack(np.meshgrid(np.arange(8), np.arange(8)), -1).reshape(-1, 2) * 100.0 + 50
    assert coverage(camera, every) == 1


# --- verdict ----------------------------------------------------------------------------------------------------------


def pose(**changes: object) -> QueryPose:
    sure = QueryPose(POSE, CAMERA, Origin.GIVEN, "sparse/0", 200, 250, 0.5, 0.4, 0.01, 0.001, 8.0)
    return replace(sure, **changes)


@pytest.mark.parametrize(
    ("given", "verdict", "word"),
    [
        (pose(), Verdict.FOUND, "200 of 300"),
        (pose(inliers=20), Verdict.UNCERTAIN, "20 of 300"),
        (pose(inliers=8), Verdict.NOT_FOUND, "8 of 300"),
        (pose(coverage=2 / 64), Verdict.UNCERTAIN, "small part"),
        (pose(centre_sigma=2.0), Verdict.UNCERTAIN, "leave the place open"),
        (pose(centre_sigma=float("nan")), Verdict.UNCERTAIN, "leave the place open"),
        (pose(rotation_sigma=0.5), Verdict.UNCERTAIN, "leave the place open"),
        (None, Verdict.NOT_FOUND, "300"),
    ],
)
def test_verdicts(given, verdict, word):
    found, reason, advice = judge(given, 300)
    assert found is verdict and word in reason
    assert bool(advice) == (verdict is not Verdict.FOUND)


def test_an_answer_as_json_has_numbers_by_hand():
    turned = np.column_stack([[[0.0, -1, 0], [1, 0, 0], [0, 0, 1]], [3.0, 4, 5]])  # 90 degrees about z
    plain = Localisation("a.jpg", Verdict.FOUND, "because", pose=pose(cam_from_world=turned)).as_plain()
    np.testing.assert_allclose(plain["pose"]["cam_from_world"]["quaternion_wxyz"], [0.5**0.5, 0, 0, 0.5**0.5])
    np.testing.assert_allclose(plain["pose"]["centre"], [-4, 3, -5])
    assert plain["pose"]["sigma_rotation_deg"] == pytest.approx(0.0572958)
    assert plain["pose"]["inlier_ratio"] == 0.8 and plain["pose"]["intrinsics"]["estimated"] is False

    vague = Localisation("a.jpg", Verdict.UNCERTAIN, "why", pose=pose(centre_sigma=float("inf"))).as_plain()
    assert json.loads(json.dumps(vague, allow_nan=False))["pose"]["sigma_centre"] is None


@pytest.mark.parametrize("options", [{"photos": 0}, {"max_error": 0.0}, {"max_error": float("nan")}])
def test_impossible_options_are_refused(options):
    with pytest.raises(ConfigError):
        LocalizeConfig(**options)


def test_thousands_of_matches_leave_the_photo_visible(tmp_path):
    cv2.imwrite(str(tmp_path / "grey.png"), np.full((800, 1000, 3), 128, np.uint8))
    photo = Photo("grey.png", tmp_path / "grey.png", 1000, 800, "")
    for count in (40, 4000):
        xy, xyz = scene(count)
        evidence = Evidence(xy, xyz, np.arange(count) % 10 > 0)
        pose = QueryPose(POSE, CAMERA, Origin.GIVEN, "sparse/0", count, count, 1.0, 0.1, 0.01, 0.001, 8.0)
        answer = Localisation("grey.png", Verdict.FOUND, "told", pose=pose, evidence=evidence)
        drawn = draw_overlay(photo, answer, xyz)[:760].astype(int)
        changed = (np.abs(drawn - 128).max(axis=2) > 60).mean()
        assert count * 8 / drawn[:, :, 0].size < changed < 0.25, (count, changed)
