"""Frames and patches: exact sampling places, rotation, scale, border, anti-aliasing, speed."""

from __future__ import annotations

import time

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from descriptors import DescriptorError
from descriptors.frames import angles, centres, extract_patches, frames_from_keypoints, scale_frames, scales


def grid(size: int, magnification: float) -> np.ndarray:
    """Patch coordinates u (S,S,2), written out pixel by pixel from the definition."""
    u = [-magnification + (i + 0.5) * 2 * magnification / size for i in range(size)]
    return np.array([[(x, y) for x in u] for y in u])


def sampled_places(frame: np.ndarray, size: int, magnification: float) -> np.ndarray:
    """Photo coordinates (S,S,2) of the pixels of a frame's patch."""
    return grid(size, magnification) @ frame[:, :2].T.astype(float) + frame[:, 2]


def wave(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """A smooth picture whose value is known between pixels too."""
    return 128 + 60 * np.sin(x / 17 + 0.3) + 50 * np.cos(y / 23 + x / 41)


def draw(width: int, height: int, of=wave) -> np.ndarray:
    x, y = np.meshgrid(np.arange(width, dtype=float), np.arange(height, dtype=float))
    return np.clip(np.rint(of(x, y)), 0, 255).astype(np.uint8)


@pytest.mark.parametrize("slope", [(0.5, 0.0), (0.0, 0.5), (0.3, 0.4), (-0.2, 0.35)])
def test_samples_a_ramp_where_the_definition_says(slope):
    def ramp(x, y):
        return 120 + slope[0] * (x - 128) + slope[1] * (y - 128)

    frames = frames_from_keypoints([(128.25, 127.5), (110, 140.75)], [2.0, 1.3], [0.0, 1.1])
    patches = extract_patches(draw(256, 256, ramp), frames, patch_size=32, magnification=6.0)
    for frame, patch in zip(frames, patches, strict=True):
        place = sampled_places(frame, 32, 6.0)
        # The picture is rounded to whole grey levels, and so is the patch.
        assert np.abs(patch[0] - ramp(place[..., 0], place[..., 1])).max() <= 1.05


@settings(max_examples=40, deadline=None)
@given(
    x=st.floats(150, 350),
    y=st.floats(150, 350),
    sigma=st.floats(0.6, 12.0),
    angle=st.floats(-4, 4),
    size=st.sampled_from([16, 31, 32, 64]),
    magnification=st.floats(3.0, 7.5),
)
def test_samples_a_smooth_picture_at_any_similarity(x, y, sigma, angle, size, magnification):
    frames = frames_from_keypoints([(x, y)], sigma, angle)
    patch = extract_patches(draw(500, 500), frames, patch_size=size, magnification=magnification)[0, 0]
    place = sampled_places(frames[0], size, magnification)
    step = 2 * magnification * sigma / size
    # A level's blur flattens the waves by exp(-(blur * frequency)^2 / 2).
    tolerance = 1.6 + 110 * (1 - np.exp(-0.5 * (step / 17) ** 2))
    assert np.abs(patch - wave(place[..., 0], place[..., 1])).max() <= tolerance


def test_affine_frames_use_the_whole_matrix():
    frame = np.array([[[3.0, 1.0, 200.5], [-0.5, 1.5, 180.25]]], np.float32)
    patch = extract_patches(draw(400, 400), frame, patch_size=32, magnification=6.0)[0, 0]
    place = sampled_places(frame[0], 32, 6.0)
    assert np.abs(patch - wave(place[..., 0], place[..., 1])).max() <= 2.0


@pytest.mark.parametrize("sigma", [1.0, 2.9, 8.5])
@pytest.mark.parametrize("turns", [1, 2, 3])
def test_turning_the_photo_is_turning_the_frame(textured, turns, sigma):
    """A quarter turn moves pixels without resampling: both ways must give the same patch."""
    height, width = textured.shape
    frame = frames_from_keypoints([(160.3, 133.8)], sigma, 0.4)
    matrix, shift = {
        1: ([[0, 1], [-1, 0]], (0, width - 1)),
        2: ([[-1, 0], [0, -1]], (width - 1, height - 1)),
        3: ([[0, -1], [1, 0]], (height - 1, 0)),
    }[turns]
    turned = np.array(matrix) @ frame
    turned[0, :, 2] += shift
    want = extract_patches(textured, frame, patch_size=32, magnification=6.0)
    got = extract_patches(np.rot90(textured, turns), turned, patch_size=32, magnification=6.0)
    # Above the first octave the two pyramids keep different rows of pixels.
    assert np.abs(want.astype(int) - got).mean() < (0.5 if sigma < 2 else 2.0)


def test_a_positive_angle_turns_clockwise_on_the_screen():
    bright_below = np.zeros((101, 101), np.uint8)
    bright_below[51:] = 255
    patch = extract_patches(
        bright_below, frames_from_keypoints([(50, 50)], 2.0, np.pi / 2), patch_size=32, magnification=6.0
    )
    # The frame's x axis points down the photo, so what is below comes to lie on the right.
    assert patch[0, 0, :, 20:].min() == 255
    assert patch[0, 0, :, :12].max() == 0


@pytest.mark.parametrize("sigma", [1.0, 3.0, 9.0])
def test_a_photo_of_half_the_size_gives_the_same_patch(textured, sigma):
    smooth = cv2.GaussianBlur(textured, (0, 0), 1.5)
    frame = frames_from_keypoints([(160.0, 140.0)], sigma, 0.7)
    half = cv2.resize(smooth, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    want = extract_patches(smooth, frame, patch_size=32, magnification=6.0).astype(int)
    got = extract_patches(half, scale_frames(frame, 0.5), patch_size=32, magnification=6.0)
    contrast = want.std()
    assert contrast > 8
    assert np.abs(want - got).mean() < 0.12 * contrast


@pytest.mark.parametrize("sigma", [5.0, 6.3, 8.0, 16.0, 40.0])
@pytest.mark.parametrize("angle", [0.0, 0.5])
def test_does_not_alias(sigma, angle):
    """Stripes of 2.5 pixels, finer than the patch can hold, come out as grey and not as wide false stripes."""
    stripes = draw(1200, 1200, lambda x, y: 128 + 127 * np.sin(2 * np.pi * x / 2.5))
    frame = frames_from_keypoints([(600, 600)], sigma, angle)
    patch = extract_patches(stripes, frame, patch_size=32, magnification=6.0)
    assert patch.std() < 8


@pytest.mark.parametrize("sigma", [2.7, 5.4, 10.8])
def test_does_not_blur_away_what_a_patch_can_show(sigma):
    """A wave of six patch pixels keeps most of its contrast on each level, whole octave or between."""
    step = 12 * sigma / 32
    waves = draw(900, 900, lambda x, y: 128 + 100 * np.sin(2 * np.pi * x / (6 * step)))
    patch = extract_patches(waves, frames_from_keypoints([(450, 450)], sigma), patch_size=32, magnification=6.0)
    assert patch.astype(float).std() * np.sqrt(2) > 75


def test_outside_the_photo_its_edge_goes_on():
    image = draw(60, 40)
    frames = frames_from_keypoints([(-200, 20), (500, 20), (-300, -300), (30, 900)], 2.0)
    patches = extract_patches(image, frames, patch_size=16, magnification=5.0)
    rows = np.clip(np.rint(sampled_places(frames[0], 16, 5.0)[:, 0, 1]).astype(int), 0, 39)
    assert np.abs(patches[0, 0, :, 0] - image[rows, 0].astype(int)).max() <= 3
    assert np.ptp(patches[0, 0], axis=1).max() == 0
    assert np.abs(patches[1, 0, :, 0] - image[rows, -1].astype(int)).max() <= 3
    assert np.unique(patches[2]) == image[0, 0]
    assert np.ptp(patches[3, 0], axis=0).max() == 0


def test_no_frames_give_no_patches():
    patches = extract_patches(draw(20, 20), np.zeros((0, 2, 3), np.float32), patch_size=32, magnification=6.0)
    assert patches.shape == (0, 1, 32, 32)
    assert patches.dtype == np.uint8


def test_a_patch_depends_on_its_own_frame_only(textured, rng):
    frames = frames_from_keypoints(
        rng.uniform(-20, 300, (900, 2)), rng.lognormal(0.8, 1.0, 900), rng.uniform(-3, 3, 900)
    )
    together = extract_patches(textured, frames, patch_size=32, magnification=6.0)
    shuffle = rng.permutation(900)
    again = extract_patches(textured, frames[shuffle], patch_size=32, magnification=6.0)
    np.testing.assert_array_equal(together[shuffle], again)
    for index in (0, 17, 899):
        alone = extract_patches(textured, frames[index : index + 1], patch_size=32, magnification=6.0)
        np.testing.assert_array_equal(alone[0], together[index])


@pytest.mark.parametrize("shape", [(1, 1), (1, 50), (7, 3), (10, 30_000)])
def test_odd_photos_and_frames_larger_than_the_photo(shape):
    image = np.full(shape, 77, np.uint8)
    frames = frames_from_keypoints([(0, 0), (1, 5), (3, 3)], [0.01, 3.0, 5_000.0], 0.3)
    assert (extract_patches(image, frames, patch_size=32, magnification=6.0) == 77).all()


def test_large_patches_of_many_keypoints(textured):
    frames = frames_from_keypoints([(100 + i, 120) for i in range(5)], 20.0)
    large = extract_patches(textured, frames, patch_size=301, magnification=4.0)
    assert large.shape == (5, 1, 301, 301)
    place = np.rint(sampled_places(frames[3], 301, 4.0)).astype(int)
    inside = ((place > 0) & (place < 255)).all(axis=2)
    nearest = textured[np.clip(place[..., 1], 0, 255), np.clip(place[..., 0], 0, 255)].astype(int)
    assert np.abs(nearest - large[3, 0])[inside].mean() < 12


@pytest.mark.parametrize(
    ("image", "frames", "said"),
    [
        (np.zeros((9, 9, 3), np.uint8), np.zeros((1, 2, 3)), "(9, 9, 3)"),
        (np.zeros((9, 9), np.float64), np.zeros((1, 2, 3)), "float64"),
        (np.zeros((0, 9), np.uint8), np.zeros((1, 2, 3)), "(0, 9)"),
        (np.zeros((9, 9), np.uint8), np.zeros((1, 3, 2)), "(1, 3, 2)"),
        (np.zeros((9, 9), np.uint8), np.full((2, 2, 3), np.nan), "2 of 2 frames"),
        (np.zeros((1, 40_000), np.uint8), np.zeros((1, 2, 3)), "40000 x 1"),
    ],
)
def test_names_what_was_wrong(image, frames, said):
    with pytest.raises(DescriptorError) as caught:
        extract_patches(image, frames, patch_size=32, magnification=6.0)
    assert said in str(caught.value)


def test_accessors_give_back_what_went_in(rng):
    xy, sigma, angle = rng.uniform(0, 99, (50, 2)), rng.uniform(0.5, 40, 50), rng.uniform(-3.1, 3.1, 50)
    frames = frames_from_keypoints(xy, sigma, angle)
    assert frames.dtype == np.float32
    np.testing.assert_allclose(centres(frames), xy, rtol=1e-6)
    np.testing.assert_allclose(scales(frames), sigma, rtol=1e-5)
    np.testing.assert_allclose(angles(frames), angle, atol=1e-5)
    assert frames_from_keypoints(np.zeros((0, 2)), [], []).shape == (0, 2, 3)


def test_scale_frames_keeps_pixel_squares_together():
    frames = frames_from_keypoints([(0, 0), (10.5, 3)], [2.0, 3.0], [0.0, 1.0])
    double = scale_frames(frames, 2.0)
    np.testing.assert_allclose(centres(double), [(0.5, 0.5), (21.5, 6.5)])
    np.testing.assert_allclose(scales(double), [4, 6], rtol=1e-6)
    np.testing.assert_allclose(scale_frames(double, 0.5), frames, atol=1e-6)
    wide = scale_frames(frames, (2.0, 1.0))
    np.testing.assert_allclose(wide[:, 0], double[:, 0])
    np.testing.assert_allclose(wide[:, 1], frames[:, 1])


def test_thirty_thousand_patches_a_second(rng):
    image = cv2.GaussianBlur(rng.integers(0, 256, (1200, 1600), dtype=np.uint8), (0, 0), 2)
    frames = frames_from_keypoints(
        rng.uniform(0, 1200, (8192, 2)), 1.6 * 2 ** rng.exponential(0.9, 8192), rng.uniform(-3, 3, 8192)
    )

    def once() -> float:
        start = time.perf_counter()
        extract_patches(image, frames, patch_size=32, magnification=6.0)
        return time.perf_counter() - start

    assert 8192 / min(once() for _ in range(5)) > 30_000
