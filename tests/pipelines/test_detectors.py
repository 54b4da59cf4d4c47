"""Detectors: where they say a known blob or corner is, its scale, angle and shape; order, limits, odd pictures."""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest

import descriptors
from descriptors.frames import angles, centres, extract_patches, frames_from_keypoints, scales
from pipelines.core.errors import ConfigError, InputError
from pipelines.features.detectors import FUSED, Detections, DetectorConfig, detect, names
from pipelines.features.shape import adapt, orient

CORNERS = ("gftt", "harris", "fast", "orb")
BLOBS = ("dog", "hessian-affine", "akaze")


def blob(x: float, y: float, sigma: float, *, dark: bool = False) -> np.ndarray:
    """A Gaussian blob at a known place between pixels, in a picture whose sides halve and do not."""
    columns, rows = np.meshgrid(np.arange(360), np.arange(279))
    bump = 150 * np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * sigma**2))
    return np.rint(220 - bump if dark else 30 + bump).astype(np.uint8)


def cross(x: float, y: float, angle: float) -> np.ndarray:
    """Four quadrants meeting at a known place between pixels, blurred by half a pixel and sampled without aliasing."""
    fine = np.arange(0, 160, 0.125) - 0.4375
    columns, rows = np.meshgrid(fine - x, fine - y)
    cos, sin = math.cos(angle), math.sin(angle)
    quadrants = np.where((columns * cos + rows * sin > 0) ^ (rows * cos - columns * sin > 0), 200.0, 50.0)
    smooth = cv2.GaussianBlur(quadrants, (0, 0), 5.0)
    return np.rint(cv2.resize(smooth, (160, 160), interpolation=cv2.INTER_AREA)).astype(np.uint8)


@pytest.fixture(scope="module")
def picture() -> np.ndarray:
    """A (480,640) picture with structure at many scales."""
    rng = np.random.default_rng(5)
    total = sum(cv2.GaussianBlur(rng.standard_normal((480, 640)), (0, 0), s) * s for s in (1, 2, 4, 8, 16, 32))
    return np.clip(128 + 55 * total / total.std(), 0, 255).astype(np.uint8)


@pytest.mark.parametrize("name", BLOBS)
@pytest.mark.parametrize("sigma", [2.0, 3.0, 5.0, 8.0])
def test_blobs_are_found_where_they_are(name, sigma):
    rng = np.random.default_rng(1)
    off, scale = [], []
    for trial in range(6):
        x, y = 170 + rng.uniform(-9, 9), 140 + rng.uniform(-9, 9)
        found = detect(blob(x, y, sigma, dark=trial % 2 == 0), DetectorConfig(name))
        off.append(centres(found.frames)[0] - (x, y))
        scale.append(scales(found.frames)[0] / sigma)
    # Without its remedy OpenCV's SIFT is off by (0.25, 0.25).
    assert np.abs(np.mean(off, axis=0)).max() < 0.03 + 0.01 * sigma
    assert np.std(off, axis=0).max() < 0.12
    assert 0.65 < np.mean(scale) < 1.1


@pytest.mark.parametrize("name", ["gftt", "harris"])
def test_corners_are_found_between_pixels(name):
    rng = np.random.default_rng(2)
    off = []
    for _ in range(8):
        x, y = 80 + rng.uniform(-5, 5), 80 + rng.uniform(-5, 5)
        found = detect(cross(x, y, rng.uniform(0, 1.5)), DetectorConfig(name, max_keypoints=60))
        fine = found.frames[scales(found.frames) < 2.7]
        near = centres(fine) - (x, y)
        off.append(near[np.linalg.norm(near, axis=1).argmin()])
    assert np.abs(np.median(off, axis=0)).max() < 0.04
    assert np.median(np.linalg.norm(off, axis=1)) < 0.06


@pytest.mark.parametrize("name", CORNERS)
def test_corners_on_all_scales_lie_around_the_blob(name):
    """Detectors of whole pixels are right on the average, each of their scales for itself."""
    rng = np.random.default_rng(3)
    places: dict[float, list[np.ndarray]] = {}
    for trial in range(60):
        x, y = 170 + rng.uniform(-9, 9), 140 + rng.uniform(-9, 9)
        found = detect(blob(x, y, rng.uniform(1.0, 3.5), dark=trial % 2 == 0), DetectorConfig(name, upright=True))
        for scale in np.unique(scales(found.frames).round(1)):
            same = np.abs(scales(found.frames) - scale) < 0.06
            places.setdefault(float(scale), []).append(centres(found.frames[same]).mean(axis=0) - (x, y))
    often = {scale: np.array(off) for scale, off in places.items() if len(off) >= 15}
    assert len(often) >= 2
    for scale, off in often.items():
        # A whole-pixel detector errs evenly by half a pixel of its level: 0.29 standard deviation.
        uncertain = max(0.29 * scale / 2.58, off.std()) / math.sqrt(len(off))
        assert np.abs(off.mean(axis=0)).max() < 0.05 + 3 * uncertain, scale


@pytest.mark.parametrize("name", names())
def test_order_limit_and_distinctness(picture, name):
    found = detect(picture, DetectorConfig(name))
    assert isinstance(found, Detections)
    assert found.frames.dtype == found.scores.dtype == np.float32
    assert found.frames.shape == (len(found), 2, 3)
    assert len(found) > 300
    assert (np.diff(found.scores) <= 0).all()
    assert len(np.unique(found.frames.reshape(-1, 6), axis=0)) == len(found)
    x, y = centres(found.frames).T
    assert x.min() > -1 and y.min() > -1 and x.max() < 640 and y.max() < 480
    few = detect(picture, DetectorConfig(name, max_keypoints=100))
    assert 50 < places(few) <= most(name, 100)
    if name == "dog":  # keeps the largest
        assert scales(few.frames).min() >= np.median(scales(found.frames))
    else:
        assert np.median(few.scores) > np.median(found.scores)


def most(name: str, limit: int) -> int:
    """Keypoints that a limit allows: ``dog`` goes up to twice as far for a whole level of scale."""
    return 2 * limit if name == "dog" else limit


def places(found: Detections) -> int:
    """Keypoints that differ in more than their orientation, as the limit counts them."""
    key = np.column_stack([centres(found.frames), np.round(scales(found.frames), 3)])
    return len(np.unique(key, axis=0))


@pytest.mark.parametrize("name", names())
def test_the_same_picture_gives_the_same_keypoints(picture, name):
    config = DetectorConfig(name, max_keypoints=700)
    with ThreadPoolExecutor(3) as pool:
        several = list(pool.map(lambda _: detect(picture, config), range(3)))
    for other in several:
        np.testing.assert_array_equal(other.frames, several[0].frames)
        np.testing.assert_array_equal(other.scores, several[0].scores)


@pytest.mark.parametrize("name", names())
def test_a_threshold_can_be_given(picture, name):
    default = detect(picture, DetectorConfig(name, max_keypoints=100_000))
    high = {"dog": 0.1, "hessian-affine": 3e-3, "akaze": 5e-3, "gftt": 0.3, "harris": 0.1, "fast": 40, "orb": 40}[name]
    assert len(detect(picture, DetectorConfig(name, 100_000, threshold=high))) < 0.8 * len(default)


@pytest.mark.parametrize("name", names())
def test_upright_frames_point_up(picture, name):
    found = detect(picture, DetectorConfig(name, upright=True))
    assert len(found) > 300
    assert np.abs(found.frames[:, 0, 1]).max() < 1e-4
    assert found.frames[:, 1, 1].min() > 0


@pytest.mark.parametrize("name", names())
@pytest.mark.parametrize("shape", [(1, 1), (3, 900), (9, 9), (40, 33), (70, 70), (300, 300)])
def test_a_constant_picture_has_no_keypoints(name, shape):
    found = detect(np.full(shape, 99, np.uint8), DetectorConfig(name))
    assert found.frames.shape == (0, 2, 3)
    assert found.scores.shape == (0,)


@pytest.mark.parametrize("name", names())
@pytest.mark.parametrize("shape", [(1, 1), (2, 30_000), (10, 3_000), (17, 9), (31, 31), (64, 65), (100, 90)])
def test_small_and_narrow_pictures(name, shape):
    noise = np.random.default_rng(4).integers(0, 256, shape, dtype=np.uint8)
    found = detect(noise, DetectorConfig(name))
    assert np.isfinite(found.frames).all()
    for (detector, descriptor), both in FUSED.items():
        if detector == name:
            detections, described = both(noise, DetectorConfig(name))
            assert described.shape == (len(detections), descriptors.spec(descriptor).width)


@pytest.mark.parametrize("name", names())
def test_turning_the_picture_turns_the_keypoints(picture, name):
    """After a quarter turn the same places are found, with the angle turned along."""
    found = detect(picture, DetectorConfig(name, max_keypoints=300)).frames
    turned = detect(np.ascontiguousarray(np.rot90(picture)), DetectorConfig(name, max_keypoints=300)).frames
    back = np.array([[0, -1], [1, 0]]) @ turned + np.array([[[0, 0, 639], [0, 0, 0]]])
    gap = np.linalg.norm(centres(found)[:, None] - centres(back)[None], axis=2) / scales(found)[:, None]
    gap += np.abs(np.log2(scales(found)[:, None] / scales(back)[None]))
    gap += np.abs(np.angle(np.exp(1j * (angles(found)[:, None] - angles(back)[None]))))
    assert (gap.min(axis=1) < 0.35).mean() > 0.6


@pytest.mark.parametrize("pair", FUSED)
@pytest.mark.parametrize("upright", [False, True])
def test_fused_gives_one_descriptor_per_detection_in_order(picture, pair, upright):
    """Described again from patches, every detection must get nearly its own fused descriptor."""
    detector, name = pair
    config = DetectorConfig(detector, max_keypoints=500, upright=upright)
    found, fused = FUSED[pair](picture, config)
    alone = detect(picture, config)
    assert len(found) == len(fused)
    if not upright:
        np.testing.assert_array_equal(found.frames, alone.frames)
    assert places(found) <= most(detector, 500)
    d = descriptors.load(name)
    assert fused.dtype == d.spec.dtype
    again = d.describe(
        extract_patches(picture, found.frames, patch_size=d.spec.patch_size, magnification=d.spec.magnification)
    )
    if d.spec.kind == "float":
        np.testing.assert_allclose(np.linalg.norm(fused, axis=1), 1, atol=1e-5)
        assert np.median((fused * again).sum(axis=1)) > 0.98
        own = (fused @ again.T).argmax(axis=1)
    else:
        distance = np.unpackbits(fused[:, None] ^ again[None], axis=2).sum(axis=2)
        assert np.median(np.diag(distance)) < 30
        own = distance.argmin(axis=1)
    assert (own == np.arange(len(found))).mean() > 0.8


@pytest.mark.parametrize("pair", FUSED)
def test_fused_on_a_constant_picture(pair):
    detections, described = FUSED[pair](np.full((200, 200), 7, np.uint8), DetectorConfig(pair[0]))
    assert len(detections) == 0
    assert described.shape == (0, descriptors.spec(pair[1]).width)
    assert described.dtype == descriptors.spec(pair[1]).dtype


def ellipse(axes: tuple[float, float], tilt: float) -> tuple[np.ndarray, np.ndarray]:
    """An elliptic Gaussian blob in the middle of a picture, and its covariance."""
    turn = np.array([[math.cos(tilt), -math.sin(tilt)], [math.sin(tilt), math.cos(tilt)]])
    covariance = turn @ np.diag(np.square(axes)) @ turn.T
    place = np.stack(np.meshgrid(np.arange(201), np.arange(201)), axis=-1) - 100.0
    bump = np.exp(-0.5 * np.einsum("yxi,ij,yxj->yx", place, np.linalg.inv(covariance), place))
    return np.rint(30 + 180 * bump).astype(np.uint8), covariance


@pytest.mark.parametrize("axes", [(5.0, 5.0), (8.0, 5.0), (10.0, 4.0), (12.0, 4.0)])
@pytest.mark.parametrize("tilt", [0.0, 0.6, 2.2])
def test_the_affine_shape_of_an_ellipse(axes, tilt):
    image, covariance = ellipse(axes, tilt)
    sigma = math.sqrt(axes[0] * axes[1])
    frames, settled = adapt(image, frames_from_keypoints([(100, 100)], sigma))
    assert settled.all()
    shape = frames[0, :, :2] @ frames[0, :, :2].T
    want = covariance / np.sqrt(np.linalg.det(covariance)) * sigma**2
    assert np.abs(shape - want).max() < 0.15 * np.abs(want).max()
    assert abs(frames[0, 0, 1]) < 1e-4
    np.testing.assert_allclose(scales(frames), sigma, rtol=1e-4)


def test_hessian_affine_finds_the_ellipse():
    image, covariance = ellipse((9.0, 4.5), 0.6)
    found = detect(image, DetectorConfig("hessian-affine"))
    strongest = found.frames[0].astype(float)
    np.testing.assert_allclose(strongest[:, 2], (100, 100), atol=0.2)
    values, vectors = np.linalg.eigh(strongest[:, :2] @ strongest[:, :2].T)
    _, want_vectors = np.linalg.eigh(covariance)
    assert abs(math.sqrt(values[1] / values[0]) - 2.0) < 0.3
    assert abs(vectors[:, 1] @ want_vectors[:, 1]) > 0.99


def test_a_stripe_has_no_affine_shape():
    stripe = np.full((120, 120), 40, np.uint8)
    stripe[55:65] = 200
    _, settled = adapt(stripe, frames_from_keypoints([(60, 60)], 4.0))
    assert not settled.any()
    frames, settled = adapt(stripe, np.empty((0, 2, 3), np.float32))
    assert frames.shape == (0, 2, 3) and settled.shape == (0,)


@pytest.mark.parametrize("angle", np.linspace(-3, 3, 13))
def test_orientation_of_a_ramp(angle):
    columns, rows = np.meshgrid(np.arange(101) - 50, np.arange(101) - 50)
    ramp = np.rint(128 + 1.7 * (columns * math.cos(angle) + rows * math.sin(angle))).clip(0, 255).astype(np.uint8)
    turned = orient(ramp, frames_from_keypoints([(50, 50)], 3.0))
    assert abs(np.angle(np.exp(1j * (angles(turned)[0] - angle)))) < math.radians(5)
    np.testing.assert_allclose(scales(turned), 3.0, rtol=1e-5)


def test_orientation_is_that_of_sift(picture):
    """At SIFT's own keypoints the dominant orientation is one that SIFT found there."""
    sift = detect(picture, DetectorConfig("dog", max_keypoints=400)).frames
    ours = orient(picture, frames_from_keypoints(centres(sift), scales(sift)))
    same = np.abs(centres(sift)[:, None] - centres(sift)[None]).max(axis=2) < 1e-3
    gap = np.abs(np.angle(np.exp(1j * (angles(ours)[:, None] - angles(sift)[None]))))
    assert (np.where(same, gap, 9).min(axis=1) < math.radians(10)).mean() > 0.85


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"name": "hesian-affine"}, "hessian-affine"),
        ({"name": "superpoint"}, "known are dog"),
        ({"max_keypoints": 0}, "0 keypoints"),
        ({"threshold": -1.0}, "over 0"),
    ],
)
def test_a_wrong_config_is_named(wrong, said):
    with pytest.raises(ConfigError, match=said):
        DetectorConfig(**wrong)


@pytest.mark.parametrize("image", [np.zeros((9, 9, 3), np.uint8), np.zeros((9, 9)), np.zeros((0, 4), np.uint8)])
def test_a_wrong_picture_is_named(image):
    with pytest.raises(InputError, match="uint8"):
        detect(image, DetectorConfig())
    for pair, both in FUSED.items():
        with pytest.raises(InputError):
            both(image, DetectorConfig(pair[0]))


@pytest.mark.real
@pytest.mark.parametrize("name", names())
def test_thousands_on_a_photo(shared_data, name):
    image = cv2.imread(str(sorted((shared_data / "multiview/fountain-P11/images").iterdir())[0]), cv2.IMREAD_GRAYSCALE)
    assert 4_000 < places(detect(image, DetectorConfig(name))) <= most(name, 8_192)
