"""Places measured by tracking and shifts of pixels, against photos warped and bent in known ways."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from pipelines.images.read import Image
from pipelines.stitch.local import Shifts, fit_shifts
from pipelines.stitch.overlap import Overlap
from pipelines.stitch.refine import refine

SIZE = (640, 480)
TURN = np.array([[1.02, 0.03, -170.4], [-0.02, 0.99, 12.7], [4e-5, 1e-5, 1.0]])
"""x_b ~ TURN x_a."""


def textured(random: np.random.Generator) -> np.ndarray:
    """(H,W) grey blobs of many sizes."""
    picture = np.zeros((SIZE[1], SIZE[0] + 400), np.float32)
    for sigma in (2, 4, 8, 16):
        noise = cv2.GaussianBlur(random.normal(size=picture.shape).astype(np.float32), (0, 0), sigma)
        picture += noise / noise.std()
    return np.clip(128 + 25 * picture, 0, 255)


def carried(homography: np.ndarray, points: np.ndarray) -> np.ndarray:
    at = np.c_[points, np.ones(len(points))] @ homography.T
    return at[:, :2] / at[:, 2:]


def pair(random: np.random.Generator) -> tuple[Image, Image]:
    """A photo, and the one that TURN gives, half as bright on one side and with noise."""
    wide = textured(random)
    a = wide[:, : SIZE[0]]
    b = cv2.warpPerspective(wide, TURN, SIZE, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT)
    b = b * np.linspace(0.5, 1.0, SIZE[0]) + random.normal(0, 1.5, b.shape)
    return tuple(Image(np.clip(np.rint(p), 0, 255).astype(np.uint8), (2.0, 2.0)) for p in (a, b))  # type: ignore[return-value]


def test_tracked_places_lie_where_the_photos_were_warped_to_whatever_their_brightness():
    random = np.random.default_rng(0)
    images = pair(random)
    to_full = np.array([[2, 0, 0.5], [0, 2, 0.5], [0, 0, 1.0]])
    true = to_full @ TURN @ np.linalg.inv(to_full)
    rough = true + np.array([[0, 0, 5.0], [0, 0, -4.0], [0, 0, 0]])  # as from few keypoints: 3 px of 640 wide
    keypoints = random.uniform(400, 900, (40, 2))
    overlap = Overlap(keypoints, carried(true, keypoints), rough, 40)
    left_out = Overlap(keypoints[:5], keypoints[:5], np.eye(3), 40)
    found = refine({(0, 1): overlap, (0, 2): left_out}, [*images, images[0]], workers=1)
    assert list(found) == [(0, 1)]
    one = found[0, 1]
    assert len(one) > 150 and one.kept
    apart = np.linalg.norm(carried(true, one.a) - one.b, axis=1)
    assert np.median(apart) < 0.2 and np.quantile(apart, 0.95) < 0.8  # px of 1,280 wide
    # They are spread over the whole overlap, not where keypoints were.
    cells = {tuple(cell) for cell in (one.a // 160).astype(int)}
    overlapping = {(x, y) for x in range(2, 7) for y in range(1, 5)}
    assert len(cells & overlapping) > 0.9 * len(overlapping)


def test_where_nothing_can_be_tracked_the_keypoints_stay():
    blank = Image(np.full((480, 640), 90, np.uint8), (1.0, 1.0))
    points = np.random.default_rng(1).uniform(100, 400, (40, 2))
    overlap = Overlap(points, points, np.eye(3), 40)
    assert refine({(0, 1): overlap}, [blank, blank], workers=1)[0, 1] is overlap


def bend(xy: np.ndarray) -> np.ndarray:
    """Parallax: what lies around the middle of the overlap is 6 px off, what lies far from it is not."""
    near = np.exp(-(((xy - [500, 240]) / [120, 150]) ** 2).sum(1) / 2)
    return near[:, None] * [6.0, -2.0]


def test_shifts_make_matches_meet_half_of_the_way_each_and_fade_away_from_them():
    random = np.random.default_rng(2)
    x = random.uniform([340, 0], SIZE, (400, 2))
    y = x - [300, 0] + bend(x) + random.normal(0, 0.2, x.shape)
    wrong = random.random(len(x)) < 0.05
    y[wrong] += random.uniform(-25, 25, (wrong.sum(), 2))

    def carry(source: int, target: int, xy: np.ndarray) -> np.ndarray:
        return xy + np.array([300.0 * (source - target), 0])

    shifts = fit_shifts(carry, {(0, 1): (x, y)}, [SIZE, SIZE])
    places = random.uniform([360, 20], [620, 460], (300, 2))
    there = shifts[1].undo(carry(0, 1, shifts[0].apply(places)))
    apart = np.linalg.norm(there - (places - [300, 0] + bend(places)), axis=1)
    assert np.median(apart) < 0.4 and apart.max() < 1.5
    peak = shifts[0].at(np.array([[500.0, 240]]))[0]
    np.testing.assert_allclose(peak, [3, -1], atol=0.6)
    assert np.abs(shifts[0].at(np.array([[20.0, 240]]))).max() < 0.1 * peak[0]


def test_matches_that_meet_already_shift_nothing():
    x = np.random.default_rng(3).uniform(0, SIZE, (200, 2))
    shifts = fit_shifts(lambda source, target, xy: xy, {(0, 1): (x, x)}, [SIZE, SIZE, SIZE])
    assert len(shifts) == 3 and all(np.abs(one.grid).max() == 0 for one in shifts)


def test_shifts_are_undone_and_come_back_from_json():
    grid = cv2.GaussianBlur(np.random.default_rng(4).normal(0, 12, (25, 33, 2)).astype(np.float32), (0, 0), 2)
    shifts = Shifts(20.0, grid)
    xy = np.random.default_rng(5).uniform(0, SIZE, (500, 2))
    np.testing.assert_allclose(shifts.undo(shifts.apply(xy)), xy, atol=0.003)
    assert np.isnan(shifts.undo(np.array([[np.nan, 3.0]]))).all()
    back = Shifts.unpacked(shifts.packed())
    np.testing.assert_allclose(back.grid, grid, atol=0.0051)
    assert back.step == pytest.approx(20)
