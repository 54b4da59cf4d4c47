"""The calibration of two photos from matches of points with known truth."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pipelines.core.maps import Camera
from pipelines.core.types import Features, Photo
from pipelines.pairwise.match import PairConfig, PairResult
from pipelines.pairwise.models import estimate
from pipelines.stereo.estimate import estimated_calibration

K = np.array([[2000.0, 0, 799.5], [0, 2000, 599.5], [0, 0, 1]])
CAMERA = Camera("SIMPLE_PINHOLE", 1600, 1200, (2000.0, 799.5, 599.5), "given")


def seen_from_two_places(near: float, far: float, noise: float = 0.3, off: float = 0.0) -> PairResult:
    """Matches of points at so many baselines; one keypoint in five lies ``off`` px too far down in the second photo."""
    random = np.random.default_rng(0)
    rays = np.c_[random.uniform(-0.35, 0.35, 600), random.uniform(-0.25, 0.25, 600), np.ones(600)]
    world = rays * random.uniform(near, far, (600, 1))
    frames = []
    for centre in ((0, 0, 0), (1, 0, 0)):
        xy = ((world - centre) / (world - centre)[:, 2:] @ K.T)[:, :2] + random.normal(0, noise, (600, 2))
        xy[::5, 1] += off * centre[0]
        frames.append(np.concatenate([np.zeros((600, 2, 2)), xy[:, :, None]], axis=2))
    features = tuple(Features(side, np.ones(600, np.float32), np.zeros((600, 1), np.float32)) for side in frames)
    photos = tuple(Photo(name, Path(name), 1600, 1200, name) for name in "ab")
    a, b = (side[:, :, 2] for side in frames)
    model = estimate("E", a, b, (K, K), max_error=3, noise=0.5, seed=0)
    pairs = np.repeat(np.arange(600, dtype=np.int32)[:, None], 2, axis=1)
    return PairResult(photos, PairConfig(), features, pairs, np.zeros(600), model, {}, 3.0, (CAMERA, CAMERA), (0, 0))


@pytest.mark.parametrize(("near", "far"), [(3, 9), (60, 400)])
def test_the_motion_is_found_however_far_the_scene_is(near: float, far: float) -> None:
    found = estimated_calibration(seen_from_two_places(near, far), (CAMERA, CAMERA))
    np.testing.assert_allclose(found.R, np.eye(3), atol=0.01)
    np.testing.assert_allclose(found.t, [-1, 0, 0], atol=0.1)


def test_keypoints_a_pixel_off_weigh_little_among_exact_ones() -> None:
    clean, mixed = (
        estimated_calibration(seen_from_two_places(3, 9, noise=0.1, off=off), (CAMERA, CAMERA)) for off in (0.0, 1.5)
    )
    np.testing.assert_allclose(mixed.R, clean.R, atol=1.2e-4)
    np.testing.assert_allclose(mixed.t, clean.t, atol=1e-4)
