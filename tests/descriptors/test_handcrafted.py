"""SIFT and RootSIFT from patches: against OpenCV's SIFT, against a plain loop over the definition, and the contract."""

from __future__ import annotations

import dataclasses
import math

import cv2
import numpy as np
import pytest

import descriptors
from descriptors import DescriptorError, handcrafted
from descriptors.frames import centres, extract_patches, frames_from_keypoints, scales

NAMES = ("sift", "rootsift")


def ramp(angle: float) -> np.ndarray:
    """A patch (1,1,32,32) whose gradient points in the given direction (radians, counter-clockwise on the screen)."""
    y, x = np.mgrid[-15.5:16, -15.5:16]
    return np.float32(128 + 4 * (x * np.cos(angle) - y * np.sin(angle)))[None, None]


def sift_by_definition(patch: np.ndarray, sigma: float) -> np.ndarray:
    """SIFT's 128 numbers, pixel by pixel: the patch covers 15 sigma, the cells 12, a cell is 3."""
    smooth = cv2.GaussianBlur(patch.astype(np.float64), (0, 0), sigma, borderType=cv2.BORDER_REPLICATE)
    size = len(patch)
    sums = np.zeros((4, 4, 8))
    for i in range(1, size - 1):
        for j in range(1, size - 1):
            dx = smooth[i, j + 1] - smooth[i, j - 1]
            dy = smooth[i - 1, j] - smooth[i + 1, j]
            row, column = ((2 * k + 1) / size * 2.5 - 2.5 for k in (i, j))
            strength = math.hypot(dx, dy) * math.exp(-(row**2 + column**2) / 8)
            direction = math.atan2(dy, dx) / math.tau * 8 % 8
            for a in range(4):
                for b in range(4):
                    share = max(0, 1 - abs(row + 1.5 - a)) * max(0, 1 - abs(column + 1.5 - b))
                    for o in (int(direction), int(direction) + 1):
                        sums[a, b, o % 8] += strength * share * (1 - abs(direction - o))
    vector = sums.ravel() / np.linalg.norm(sums)
    vector = np.minimum(vector, 0.2)
    return vector / np.linalg.norm(vector)


def test_sift_is_its_definition(textured):
    patches = extract_patches(
        textured, frames_from_keypoints([(90, 100), (160, 120)], 2.4, [0.3, 2.0]), patch_size=32, magnification=7.5
    )
    sift = descriptors.load("sift")
    sigma = handcrafted._FAMILY["sift"].blur * 32 / 15
    for patch, got in zip(patches, sift.describe(patches), strict=True):
        # OpenCV's arc tangent is good to 0.3 degrees; the definition leaves out the outermost pixels.
        assert got @ sift_by_definition(patch[0], sigma) > 0.999


@pytest.mark.parametrize("direction", range(8))
def test_a_ramp_falls_into_its_direction(direction):
    sift = descriptors.load("sift").describe(ramp(direction * math.tau / 8)).reshape(16, 8)
    assert (sift.argmax(axis=1) == direction).all()
    others = np.delete(sift, direction, axis=1)
    assert others.max() < 0.05 * sift.max()


def test_a_direction_between_two_is_shared():
    sums = descriptors.load("sift").describe(ramp(math.tau / 16)).reshape(16, 8)
    np.testing.assert_allclose(sums[:, 0], sums[:, 1], rtol=0.05)


def test_brightness_and_contrast_do_not_matter(textured):
    patches = textured[None, None, 40:72, 60:92].astype(np.float32)
    for name in NAMES:
        d = descriptors.load(name)
        np.testing.assert_allclose(d.describe(patches), d.describe(0.4 * patches + 70), atol=2e-3)


def test_no_element_dominates(textured):
    # After clipping at 0.2 and scaling back to unit length elements end a little above it.
    spike = np.full((1, 1, 32, 32), 100, np.float32)
    spike[:, :, :, 17:] = 200
    sift = descriptors.load("sift").describe(spike)
    assert sift.max() < 0.5
    np.testing.assert_allclose(np.sort(sift[0])[-4:], sift.max(), rtol=1e-4)


def test_rootsift_is_the_root_of_sift(textured):
    patches = np.stack([textured[None, y : y + 32, y : y + 32] for y in range(0, 200, 20)])
    sift = descriptors.load("sift").describe(patches)
    want = np.sqrt(sift / sift.sum(axis=1, keepdims=True))
    np.testing.assert_allclose(descriptors.load("rootsift").describe(patches), want, atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_a_flat_patch_gives_a_unit_vector(name):
    for value in (0, 93, 255):
        flat = descriptors.load(name).describe(np.full((3, 1, 32, 32), value, np.uint8))
        np.testing.assert_allclose(flat, 1 / np.sqrt(128), rtol=1e-5)


def test_another_sampling_changes_the_fingerprint_and_little_else(textured):
    spec = descriptors.spec("sift")
    fine = handcrafted.load(dataclasses.replace(spec, patch_size=64))
    assert fine.fingerprint != descriptors.load("sift").fingerprint
    assert descriptors.load("sift").fingerprint != descriptors.load("rootsift").fingerprint
    assert handcrafted.load(spec).fingerprint == descriptors.load("sift").fingerprint
    frames = frames_from_keypoints([(120, 130)], 4.0, 0.2)
    two = [
        d.describe(extract_patches(textured, frames, patch_size=d.spec.patch_size, magnification=7.5))
        for d in (fine, descriptors.load("sift"))
    ]
    assert (two[0] * two[1]).sum() > 0.985


def test_an_unknown_member_is_named():
    with pytest.raises(DescriptorError, match="'surf'"):
        handcrafted.load(dataclasses.replace(descriptors.spec("sift"), name="surf"))


def opencv_sift(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    keypoints, want = cv2.SIFT_create(1500, enable_precise_upscale=True).detectAndCompute(image, None)
    frames = frames_from_keypoints(
        [k.pt for k in keypoints], [k.size / 2 for k in keypoints], np.deg2rad([k.angle for k in keypoints])
    )
    return frames, want / np.linalg.norm(want, axis=1, keepdims=True)


def agreement(image: np.ndarray) -> np.ndarray:
    """Cosine between our and OpenCV's SIFT of the same keypoints; beyond the border the two have different rules."""
    frames, want = opencv_sift(image)
    reach, (height, width) = 7.5 * np.sqrt(2) * scales(frames), image.shape
    x, y = centres(frames).T
    inside = (np.minimum(x, y) > reach) & (x < width - 1 - reach) & (y < height - 1 - reach)
    frames, want = frames[inside], want[inside]
    assert len(frames) > 300
    d = descriptors.load("sift")
    patches = extract_patches(image, frames, patch_size=32, magnification=d.spec.magnification)
    return (d.describe(patches) * want).sum(axis=1)


def test_agrees_with_opencv_on_a_drawn_picture(textured):
    image = cv2.resize(textured, None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC)
    cosine = agreement(image)
    assert np.median(cosine) > 0.99
    assert np.quantile(cosine, 0.05) > 0.97


@pytest.mark.real
def test_agrees_with_opencv_on_a_photo(shared_data):
    image = cv2.imread(str(sorted((shared_data / "scenes/cyprus/images").glob("*.jpg"))[0]), cv2.IMREAD_GRAYSCALE)
    cosine = agreement(image)
    assert np.mean(cosine) > 0.993
    assert np.quantile(cosine, 0.05) > 0.98
