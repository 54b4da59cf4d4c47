"""Poses, their uncertainty and verdicts, against cameras and points made up exactly."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from pipelines.colmap import FittedPose
from pipelines.core.errors import ConfigError
from pipelines.core.types import Camera, Features
from pipelines.localize.guided import guided_matches, paired_distances
from pipelines.localize.pose import coverage, fit_pose, project, refit, sigmas
from pipelines.localize.query import LocalizeConfig
from pipelines.localize.result import Localisation, Origin, QueryPose, Verdict
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


def centre_of(fit: FittedPose) -> np.ndarray:
    return -fit.cam_from_world[:, :3].T @ fit.cam_from_world[:, 3]


def fitted(
    camera: Camera, xy: np.ndarray, xyz: np.ndarray, *, estimate: bool = False, refine: bool = False
) -> FittedPose:
    fit = fit_pose(camera, xy, xyz, max_error=4.0, seed=0, estimate_focal=estimate, refine_focal=refine)
    assert fit is not None
    return fit


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
    fit = fitted(CAMERA, xy, xyz)
    np.testing.assert_allclose(fit.cam_from_world, POSE, atol=1e-5)
    assert fit.inliers[:60].all() and fit.inliers[60:].sum() <= 3
    assert fit.camera == CAMERA


@pytest.mark.parametrize(("focal", "estimate"), [(930.0, False), (1600.0, True), (300.0, True)])
def test_a_wrong_focal_length_is_mended_or_estimated(focal, estimate):
    xy, xyz = scene(150)
    camera = replace(CAMERA, params=(focal, *CAMERA.params[1:]))
    fit = fitted(camera, xy, xyz, estimate=estimate, refine=not estimate)
    assert fit.camera.params[0] == pytest.approx(900, abs=0.05)
    np.testing.assert_allclose(centre_of(fit), CENTRE, atol=1e-3)


@pytest.mark.parametrize("count", [0, 3, 5])
def test_too_few_correspondences_are_no_pose(count):
    xy, xyz = scene(count)
    assert fit_pose(CAMERA, xy, xyz, max_error=4, seed=0, estimate_focal=False, refine_focal=False) is None


def test_chance_is_no_pose():
    xy, xyz = scene(150)
    xy = np.random.default_rng(2).permutation(xy)
    for estimate in (False, True):
        fit = fit_pose(CAMERA, xy, xyz, max_error=4, seed=0, estimate_focal=estimate, refine_focal=False)
        assert fit is None or fit.inliers.sum() < 12


@pytest.mark.parametrize(("noise", "free"), [(0.5, False), (1.0, False), (0.5, True)])
def test_sigmas_are_the_spread_of_many_trials(noise, free):
    xy, xyz = scene(80)
    rng = np.random.default_rng(3)
    centres, turns, told = [], [], []
    for _ in range(80):
        seen = xy + rng.normal(0, noise, xy.shape)
        fit = fitted(CAMERA, seen, xyz, refine=free)
        centres.append(centre_of(fit))
        turns.append(Rotation.from_matrix(fit.cam_from_world[:, :3] @ ROTATION.T).as_rotvec())
        told.append(sigmas(fit, seen, xyz, free_focal=free))
    spread = [float(np.sqrt(np.var(rows, axis=0).sum())) for rows in (centres, turns)]
    # 80 trials tell a standard deviation to about 8 %; the robust loss costs a little besides.
    np.testing.assert_allclose(np.mean(told, axis=0), spread, rtol=0.3)


@pytest.mark.parametrize("free", [False, True])
def test_sigmas_know_that_the_principal_point_may_be_off(free):
    xy, xyz = scene(80)
    rng = np.random.default_rng(4)
    centres, told = [], []
    for _ in range(80):
        # A photo whose principal point is elsewhere, fitted by a camera that has it at the centre.
        seen = xy + rng.normal(0, 5, 2) + rng.normal(0, 0.1, xy.shape)
        fit = FittedPose(POSE, CAMERA, np.ones(80, bool))
        fit = refit(fit, seen, xyz, max_error=1000, free_focal=free)
        centres.append(centre_of(fit))
        told.append(sigmas(fit, seen, xyz, free_focal=free, principal_sigma=5)[0])
    spread = float(np.sqrt(np.var(centres, axis=0).sum()))
    assert np.mean(told) == pytest.approx(spread, rel=0.35)
    assert sigmas(fit, seen, xyz, free_focal=free)[0] < spread / 3


def test_points_on_a_line_through_the_camera_leave_the_pose_open():
    xy, xyz = scene(40)
    line = CENTRE + np.linspace(5, 8, 40)[:, None] * ROTATION[2]
    line += 1e-4 * np.random.default_rng(0).normal(size=line.shape)
    seen = project(CAMERA, POSE, line)[0] + np.random.default_rng(1).normal(0, 0.3, xy.shape)
    fit = FittedPose(POSE, CAMERA, np.ones(40, bool))
    assert sigmas(fit, seen, line, free_focal=False)[0] > 10 * sigmas(fit, xy + 0.3, xyz, free_focal=False)[0]


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
    fit, places = FittedPose(POSE, CAMERA, np.ones(6, bool)), np.arange(7, dtype=np.int32)
    # 2 is too far off, 3 does not look like its point, 4 has an equal rival two pixels off.
    found = guided_matches(features, places, fit, (xyz, described), radius=8, limit=0.5)
    assert found.tolist() == [[0, 0], [1, 1], [5, 5]]
    # As the same place in another orientation it is no rival.
    places[6] = 4
    found = guided_matches(features, places, fit, (xyz, described), radius=8, limit=0.5)
    assert found.tolist() == [[0, 0], [1, 1], [4, 4], [5, 5]]
    empty = Features(frames[:0], np.ones(0, np.float32), looks[:0])
    assert guided_matches(empty, places[:0], fit, (xyz, described), radius=8, limit=0.5).shape == (0, 2)


def test_bits_that_differ_are_counted():
    a = np.array([[0b1010, 0], [255, 1]], np.uint8)
    assert paired_distances(a, np.array([[0b0110, 0], [0, 0]], np.uint8)).tolist() == [2, 9]


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
