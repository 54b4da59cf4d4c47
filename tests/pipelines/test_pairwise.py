"""Models of two photos from points with known truth, and the choice among them."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from PIL import Image

from pipelines.core.errors import ConfigError, InputError
from pipelines.features.detectors import DetectorConfig
from pipelines.features.extract import FeatureConfig
from pipelines.geometry.chance import log_false_alarms_of
from pipelines.pairwise.match import PairConfig, match_two, plain, read_two
from pipelines.pairwise.models import KINDS, PairModel, estimate, gric, homography_error

K = np.array([[800.0, 0, 399.5], [0, 800, 299.5], [0, 0, 1]])
TURN = cv2.Rodrigues(np.array([0.03, 0.12, -0.02]))[0]
STEP = np.array([0.6, 0.05, 0.1])


def points(seed: int, count: int = 400, wrong: int = 100, step: np.ndarray = STEP, noise: float = 0.3):
    """Matches of two cameras: the first ``wrong`` are random. -> (N,2), (N,2), truth (N,) bool."""
    random = np.random.default_rng(seed)
    rays = np.column_stack([random.uniform(-0.4, 0.4, (count, 2)), np.ones(count)])
    world = rays * random.uniform(3, 9, (count, 1))
    a, b = (scene @ K.T for scene in (world, world @ TURN.T + step))
    a, b = (side[:, :2] / side[:, 2:] + random.normal(0, noise, (count, 2)) for side in (a, b))
    b[:wrong] = random.uniform(0, [800, 600], (wrong, 2))
    return a, b, np.arange(count) >= wrong


def fitted(a: np.ndarray, b: np.ndarray):
    models = [estimate(kind, a, b, (K, K), max_error=3, noise=0.5, seed=1) for kind in KINDS]
    return {model.kind: model for model in models if model is not None}


def test_a_camera_that_turned_is_a_homography_with_the_known_matrix():
    a, b, true = points(1, step=np.zeros(3))
    found = fitted(a, b)
    assert min(found.values(), key=lambda model: model.gric).kind == "H"
    corners = np.array([[0.0, 0], [799, 0], [799, 599], [0, 599]])
    truth = K @ TURN @ np.linalg.inv(K)
    shown, meant = (cv2.perspectiveTransform(corners[None], h)[0] for h in (found["H"].matrix, truth))
    assert np.abs(shown - meant).max() < 1.0
    assert found["H"].inliers[true].mean() > 0.98 and found["H"].inliers[~true].mean() < 0.03


def test_a_camera_that_moved_is_an_essential_matrix_with_the_known_pose():
    a, b, true = points(2)
    found = fitted(a, b)
    best = min(found.values(), key=lambda model: model.gric)
    assert best.kind == "E"
    cross = np.array([[0, -STEP[2], STEP[1]], [STEP[2], 0, -STEP[0]], [-STEP[1], STEP[0], 0]])
    truth = cross @ TURN
    truth /= np.linalg.norm(truth)
    assert min(np.abs(best.matrix - truth).max(), np.abs(best.matrix + truth).max()) < 0.01
    assert best.inliers[true].mean() > 0.98 and best.inliers[~true].mean() < 0.1


def test_a_wrong_focal_length_makes_it_a_fundamental_matrix():
    a, b, _ = points(3, noise=0.1)
    wrong = np.diag([2.5, 2.5, 1]) @ K
    models = [estimate(kind, a, b, (wrong, K), max_error=3, noise=0.5, seed=1) for kind in KINDS]
    assert min((model for model in models if model), key=lambda model: model.gric).kind == "F"


def test_homography_error_is_the_distance_for_a_shift():
    # Under a pure shift a match that is off by e lies e / sqrt(2) from the nearest perfect match in both photos.
    a = np.array([[10.0, 20], [50, 60]])
    shift = np.array([[1.0, 0, 5], [0, 1, -7], [0, 0, 1]])
    b = a + np.array([5, -7]) + np.array([[0, 0], [3, 4]])
    np.testing.assert_allclose(homography_error(a, b, shift), [0, 5 / np.sqrt(2)], atol=1e-12)


def test_gric_by_hand():
    # Two matches, errors 0.5 and 100 px at noise 0.5: rho = 1 and the cap 2 (4 - 2) = 4.
    worth = 1 + 4 + np.log(4) * 2 * 2 + np.log(8) * 8
    assert gric(np.array([0.5, 100]), 0.5, 2, 8) == pytest.approx(worth)


def test_chance_on_random_matches():
    def chance(kind: str, model: PairModel) -> float:
        return log_false_alarms_of(KINDS[kind].family, model.errors, (800, 600))

    a, b, _ = points(4, count=120, wrong=120)
    for kind, model in fitted(a, b).items():
        assert chance(kind, model) > -1
    a, b, _ = points(5, count=120, wrong=40)
    for kind in ("F", "E"):
        assert chance(kind, fitted(a, b)[kind]) < -20


def test_too_few_matches_and_matches_in_one_place_give_no_model():
    for kind, row in KINDS.items():
        few = np.random.default_rng(0).uniform(0, 500, (row.minimum - 1, 2))
        assert estimate(kind, few, few, (K, K), max_error=3, noise=0.5, seed=0) is None
    same = np.full((30, 2), 100.0)
    for kind in KINDS:
        model = estimate(kind, same, same, (K, K), max_error=3, noise=0.5, seed=0)
        assert model is None or np.isfinite(model.matrix).all()


def small(**options) -> PairConfig:
    return PairConfig(FeatureConfig(detector=DetectorConfig(max_keypoints=800), max_side=512), **options)


def test_photos_with_the_same_seed_give_the_same_result(sample_data):
    folder = sample_data / "panorama" / "images"
    photos = read_two(folder / "pano_1.jpg", folder / "pano_2.jpg")
    first, second = (match_two(photos, small(seed=3)) for _ in range(2))
    assert first.model.kind == "H" and first.overlap
    np.testing.assert_array_equal(first.model.matrix, second.model.matrix)
    assert plain(first)["inliers"] == first.inliers.sum() > 100


def test_photos_that_do_not_overlap_and_a_blank_one(sample_data, tmp_path):
    folder = sample_data / "panorama" / "images"
    far = match_two(read_two(folder / "pano_1.jpg", folder / "pano_4.jpg"), small())
    assert not far.overlap
    blank = tmp_path / "blank.png"
    Image.new("L", (300, 200), 128).save(blank)
    nothing = match_two(read_two(folder / "pano_1.jpg", blank), small())
    assert nothing.model is None and not nothing.overlap and plain(nothing)["matrix"] is None


def test_bad_input_is_told(sample_data, tmp_path):
    photo = sample_data / "panorama" / "images" / "pano_1.jpg"
    with pytest.raises(InputError, match="twice"):
        read_two(photo, photo)
    with pytest.raises(InputError, match="folder"):
        read_two(photo, tmp_path)
    with pytest.raises(InputError, match="no such file"):
        read_two(photo, tmp_path / "gone.jpg")
    with pytest.raises(ConfigError, match="model"):
        PairConfig(model="G")
